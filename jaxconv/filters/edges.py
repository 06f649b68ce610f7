"""First and second differences: Sobel, Scharr, Prewitt and the Laplacian."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..typing import Algorithm
from . import arguments
from .apply import along, slide
from .arguments import Axes, Modes, Number
from .borders import extended

# Across the direction of the difference.
_SOBEL, _SCHARR, _PREWITT = (1.0, 2.0, 1.0), (3.0, 10.0, 3.0), (1.0, 1.0, 1.0)


def sobel(
    x: ArrayLike,
    *,
    axis: int | None = None,
    normalize: bool = True,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Difference of the two neighbours, smoothed across by (1, 2, 1); along one axis, or its size.

        y_a = ((-1, 0, 1) along a, (1, 2, 1) / 4 along the others) correlated with x
        y   = √(mean over axes a of y_a²)

    It is positive where x rises; a ramp of 1 a pixel gives 2, since the neighbours are two pixels apart. The
    norm of the gradient, in units of x per pixel, is y √n / 2 for n axes. Where the size is 0, so is its
    derivative.

    Args:
      x: image, any shape; integers become floating.
      axis: of the difference, an axis of x; None gives the size over all filtered axes, if there are several.
      normalize: False leaves out the divisor 4, as SciPy does.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x, in units of x per two pixels.

    Raises:
      ValueError: if axis is not one of axes, or an option is not possible.

    References:
      Duda, Hart: Pattern classification and scene analysis. 1973, page 271.
      skimage.filters.sobel, whose results these are; scipy.ndimage.sobel with an axis and normalize=False.

    Example:
      >>> import jax.numpy as jnp
      >>> x = 3.0 * jnp.arange(5.0) + jnp.zeros((4, 1))  # rises along axis 1
      >>> sobel(x, axis=1)[1].tolist()
      [3.0, 6.0, 6.0, 6.0, 3.0]
      >>> sobel(x, axis=1, normalize=False)[1, 2].item()
      24.0
    """
    return _differences(x, _SOBEL, axis, normalize, mode, cval, axes, algorithm)


def scharr(
    x: ArrayLike,
    *,
    axis: int | None = None,
    normalize: bool = True,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """As `sobel`, smoothed across by (3, 10, 3) / 16, which errs least in the direction of a gradient.

    Arguments and errors are those of `sobel`.

    Args:
      x: image, any shape; integers become floating.
      axis: of the difference, an axis of x; None gives the size over all filtered axes, if there are several.
      normalize: False leaves out the divisor 16.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x, in units of x per two pixels.

    Raises:
      ValueError: if axis is not one of axes, or an option is not possible.

    References:
      Scharr: Optimale Operatoren in der Digitalen Bildverarbeitung. Heidelberg, 2000,
      doi:10.11588/heidok.00000962.
      skimage.filters.scharr, whose results these are.

    Example:
      >>> import jax.numpy as jnp
      >>> step = jnp.zeros((5, 5)).at[:, 3:].set(1.0)
      >>> scharr(step, axis=1)[2].tolist()
      [0.0, 0.0, 1.0, 1.0, 0.0]
    """
    return _differences(x, _SCHARR, axis, normalize, mode, cval, axes, algorithm)


def prewitt(
    x: ArrayLike,
    *,
    axis: int | None = None,
    normalize: bool = True,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """As `sobel`, smoothed across by (1, 1, 1) / 3.

    Arguments and errors are those of `sobel`.

    Args:
      x: image, any shape; integers become floating.
      axis: of the difference, an axis of x; None gives the size over all filtered axes, if there are several.
      normalize: False leaves out the divisor 3, as SciPy does.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x, in units of x per two pixels.

    Raises:
      ValueError: if axis is not one of axes, or an option is not possible.

    References:
      Prewitt: Object enhancement and extraction. In Picture processing and psychopictorics, 1970, page 75.
      skimage.filters.prewitt, whose results these are; scipy.ndimage.prewitt with an axis and
      normalize=False.

    Example:
      >>> import jax.numpy as jnp
      >>> spot = jnp.zeros((5, 5)).at[2, 2].set(6.0)
      >>> prewitt(spot, axis=0)[:, 2].tolist()
      [0.0, 2.0, 0.0, -2.0, 0.0]
    """
    return _differences(x, _PREWITT, axis, normalize, mode, cval, axes, algorithm)


def _differences(
    x: ArrayLike,
    across: tuple[float, ...],
    axis: int | None,
    normalize: bool,
    mode: Modes,
    cval: Number,
    axes: Axes,
    algorithm: Algorithm | None,
) -> jax.Array:
    x = arguments.image(x)
    found = arguments.filtered_axes(axes, x.ndim)
    modes = arguments.modes(mode, len(found))
    wanted = found if axis is None else arguments.filtered_axes(axis, x.ndim)
    if len(wanted) > 1:
        x = arguments.real_image(x, "the size of a gradient")
    if not set(wanted) <= set(found):
        raise ValueError(f"axis={axis} is not one of the filtered axes {found}; leave axes out, or add it.")
    if x.size == 0:
        return x
    outer = extended(x, found, [(1, 1)] * len(found), modes, cval)
    parts = [slide(outer, _stencil(found, a, across, normalize), found, algorithm=algorithm) for a in wanted]
    if len(parts) == 1:
        return parts[0]
    # In half precision, squares of 256 are infinite and those of 1e-4 zero.
    wide = [p.astype(arguments.single(x.dtype)) for p in parts]
    return _root(functools.reduce(jnp.add, [p * p for p in wide]) / len(parts)).astype(x.dtype)


def _stencil(axes: tuple[int, ...], along: int, across: tuple[float, ...], normalize: bool) -> Any:
    smooth, change = np.array(across), np.array([-1.0, 0.0, 1.0])
    if normalize:
        smooth /= smooth.sum()
    return functools.reduce(np.multiply.outer, [change if a == along else smooth for a in axes])


def _root(square: jax.Array) -> jax.Array:
    """√ with gradient 0 at 0, one of the slopes that the size of a gradient has there."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def laplace(
    x: ArrayLike,
    *,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """The sum of second differences, (1, -2, 1) along each axis: positive in dark spots.

        y[i] = sum over axes a of x[i + e_a] - 2 x[i] + x[i - e_a]

    Args:
      x: image, any shape; integers become floating.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x, in units of x per square pixel.

    Raises:
      ValueError: if an option is not possible.

    References:
      scipy.ndimage.laplace, whose results these are; skimage.filters.laplace has the other sign.

    Example:
      >>> import jax.numpy as jnp
      >>> laplace(jnp.array([0.0, 1.0, 4.0, 9.0, 16.0])).tolist()
      [1.0, 2.0, 2.0, 2.0, -7.0]
    """
    x = arguments.image(x)
    found = arguments.filtered_axes(axes, x.ndim)
    modes = arguments.modes(mode, len(found))
    if x.size == 0:
        return x
    parts = [
        along(x, [1.0, -2.0, 1.0], a, m, cval, algorithm=algorithm) for a, m in zip(found, modes, strict=True)
    ]
    return sum(parts[1:], parts[0])
