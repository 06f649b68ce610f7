"""Gaussians, boxes, and what is a difference of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from ..typing import Algorithm
from . import arguments
from .apply import along, slide
from .arguments import Axes, Mode, Modes, Number
from .borders import extended
from .taps import IMPULSE, gaussian_taps, reach

# From this size on, a window is summed in steps.
_STEPS = 24


def gaussian(
    x: ArrayLike,
    sigma: Number | Sequence[Number],
    *,
    order: int | Sequence[int] = 0,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    truncate: float = 4.0,
    radius: int | Sequence[int] | None = None,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Smooths with a Gaussian, or takes derivatives of the smoothed image.

        y = x * g,   g(t) = exp(-t² / 2σ²) / (their sum over |t| <= radius),   along each axis

    It is differentiable in x and in sigma; for the latter, sigma is traced and radius has to be given.

    Args:
      x: image, any shape; integers become floating.
      sigma: standard deviation in pixels, one for all axes or one for each; 0 leaves an axis alone.
      order: of the derivative, one for all axes or one for each; 0 smooths only.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      truncate: the Gaussian is cut off after this many standard deviations.
      radius: taps on each side, in the place of truncate.
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x.

    Raises:
      ValueError: for a negative or traced sigma without radius, or an impossible option.

    References:
      scipy.ndimage.gaussian_filter, whose results these are.

    Example:
      >>> import jax.numpy as jnp
      >>> gaussian(jnp.array([0.0, 0.0, 1.0, 0.0, 0.0]), 1.0, radius=1)
      Array([0. , 0.274, 0.452, 0.274, 0. ], dtype=float32)
    """
    x = arguments.image(x)
    found = arguments.filtered_axes(axes, x.ndim)
    sigmas, orders, radii = (
        arguments.each(value, len(found), name)
        for value, name in ((sigma, "sigma"), (order, "order"), (radius, "radius"))
    )
    modes = arguments.modes(mode, len(found))
    if x.size == 0:
        return x
    for axis, s, n, m, r in zip(found, sigmas, orders, modes, radii, strict=True):
        x = _gaussian(x, axis, s, arguments.non_negative(n, "order"), m, cval, truncate, r, algorithm)
    return x


def _gaussian(
    x: jax.Array,
    axis: int,
    sigma: Number,
    order: int,
    mode: Mode,
    cval: Number,
    truncate: float,
    radius: int | None,
    algorithm: Algorithm | None,
) -> jax.Array:
    if not arguments.is_traced(sigma):
        sigma = arguments.concrete(sigma, "sigma", "")
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma={sigma} must be finite and not negative.")
        if sigma <= IMPULSE:
            return x
    taps = gaussian_taps(sigma, order, reach(sigma, truncate, radius))
    return along(x, taps, axis, mode, cval, algorithm=algorithm)


def box(
    x: ArrayLike,
    size: int | Sequence[int] = 3,
    *,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    origin: int | Sequence[int] = 0,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Replaces each position by the mean of a window.

    A large window of n along an axis is summed as n = a b + r: windows of a, b of them at distances of a,
    which is again such a sum, and the r that remain. The additions grow with log n; there is no running sum,
    whose errors would travel along the axis.

    Args:
      x: image, any shape; integers become floating, and so does the mean.
      size: of the window, one for all axes or one for each.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      origin: moves the window towards smaller indices, one for all axes or one for each; 0 centres it, an
        even one half a position in front of its middle.
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x.

    Raises:
      ValueError: for a size below 1, or an impossible option.

    References:
      scipy.ndimage.uniform_filter, whose results these are.

    Example:
      >>> import jax.numpy as jnp
      >>> box(jnp.array([0.0, 3.0, 6.0, 9.0])).tolist()
      [1.0, 3.0, 6.0, 8.0]
    """
    x = arguments.image(x)
    found = arguments.filtered_axes(axes, x.ndim)
    window = arguments.sizes(size, len(found))
    pairs, modes = arguments.reaches(window, origin), arguments.modes(mode, len(found))
    if x.size == 0:
        return x
    y = x.astype(arguments.single(x.dtype))  # the largest float16 is 65504, and a sum soon beyond it
    for axis, n, pair, m in zip(found, window, pairs, modes, strict=True):
        if n > 1:
            y = _window_sum(extended(y, [axis], [pair], [m], cval), n, axis, algorithm) / n
    return y.astype(x.dtype)


def _window_sum(
    x: jax.Array, count: int, axis: int, algorithm: Algorithm | None, dilation: int = 1
) -> jax.Array:
    """Sums of the windows that fit, of `count` positions at distances of `dilation`."""
    if count < _STEPS:
        return slide(x, np.ones(count), [axis], dilation=dilation, algorithm=algorithm)
    # Few at a time: the first step reads the border too, which costs XLA's CPU backend dear for ten and more.
    a = min(range(3, 6), key=lambda a: count // a + count % a)
    b, rest = divmod(count, a)
    out = x.shape[axis] - (count - 1) * dilation
    y = _window_sum(_window_sum(x, a, axis, algorithm, dilation), b, axis, algorithm, a * dilation)
    y = lax.slice_in_dim(y, 0, out, axis=axis)
    if rest:
        tail = _window_sum(x, rest, axis, algorithm, dilation)
        y += lax.slice_in_dim(tail, a * b * dilation, a * b * dilation + out, axis=axis)
    return y


def gaussian_laplace(
    x: ArrayLike,
    sigma: Number | Sequence[Number],
    *,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    truncate: float = 4.0,
    radius: int | Sequence[int] | None = None,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """The Laplacian of the smoothed image (LoG), which finds blobs of radius √2 σ and edges where it is zero.

        y = sum over axes a of ∂²(x * g) / ∂a²,   by second derivatives of the Gaussian g

    Args:
      x: image, any shape; integers become floating.
      sigma: standard deviation in pixels, one for all axes or one for each.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      truncate: the Gaussian is cut off after this many standard deviations.
      radius: taps on each side, in the place of truncate.
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x, in units of x per square pixel.

    Raises:
      ValueError: as `gaussian`.

    References:
      Marr, Hildreth: Theory of edge detection. Proc. R. Soc. Lond. B 207, 1980, doi:10.1098/rspb.1980.0020.
      scipy.ndimage.gaussian_laplace, whose results these are.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.arange(31.0) ** 2  # its second derivative is 2
      >>> print(f"{gaussian_laplace(x, 2.0)[15]:.2f}")
      1.97
    """
    x = arguments.image(x)
    found = arguments.filtered_axes(axes, x.ndim)
    options: dict[str, Any] = {"mode": mode, "cval": cval, "truncate": truncate, "radius": radius}
    parts = []
    for a in range(len(found)):
        order = [2 if i == a else 0 for i in range(len(found))]
        parts.append(gaussian(x, sigma, order=order, axes=found, algorithm=algorithm, **options))
    return sum(parts[1:], parts[0])


def difference_of_gaussians(
    x: ArrayLike,
    low_sigma: Number | Sequence[Number],
    high_sigma: Number | Sequence[Number] | None = None,
    *,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    truncate: float = 4.0,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Keeps the structures between two sizes (DoG): a band-pass filter.

        y = x * g(low_sigma) - x * g(high_sigma)

    Args:
      x: image, any shape; integers become floating.
      low_sigma: standard deviation of the narrower Gaussian in pixels, one for all axes or one for each.
      high_sigma: that of the wider one; by default 1.6 times as wide, which is closest to a Laplacian.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      truncate: the Gaussians are cut off after this many standard deviations.
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x.

    Raises:
      ValueError: as `gaussian`, or if high_sigma is the smaller one.

    References:
      Marr, Hildreth: Theory of edge detection. Proc. R. Soc. Lond. B 207, 1980, doi:10.1098/rspb.1980.0020.
      skimage.filters.difference_of_gaussians, whose results these are for mode="nearest".

    Example:
      >>> import jax.numpy as jnp
      >>> impulse = jnp.zeros(21).at[10].set(1.0)
      >>> print(f"{difference_of_gaussians(impulse, 1.0)[10]:.4f}")
      0.1496
    """
    x = arguments.image(x)
    found = arguments.filtered_axes(axes, x.ndim)
    low = arguments.each(low_sigma, len(found), "low_sigma")
    if high_sigma is None:
        high = tuple(1.6 * s for s in low)
    else:
        high = arguments.each(high_sigma, len(found), "high_sigma")
    known = [p for p in zip(low, high, strict=True) if not any(map(arguments.is_traced, p))]
    if any(a > b for a, b in known):
        raise ValueError(f"high_sigma={high_sigma} must not be below low_sigma={low_sigma}; exchange them.")
    options: dict[str, Any] = {"mode": mode, "cval": cval, "truncate": truncate, "axes": found}
    return gaussian(x, low, algorithm=algorithm, **options) - gaussian(
        x, high, algorithm=algorithm, **options
    )


def unsharp_mask(
    x: ArrayLike,
    sigma: Number | Sequence[Number] = 1.0,
    amount: Number = 1.0,
    *,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    truncate: float = 4.0,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Sharpens by adding what a Gaussian takes away.

        y = x + amount (x - x * g(sigma))

    The result is not clipped: next to edges it leaves the range of x.

    Args:
      x: image, any shape; integers become floating.
      sigma: standard deviation in pixels of the details to amplify, one for all axes or one for each.
      amount: how much; negative values blur.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      truncate: the Gaussian is cut off after this many standard deviations.
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x.

    Raises:
      ValueError: as `gaussian`.

    References:
      Polesel, Ramponi, Mathews: Image enhancement via adaptive unsharp masking. IEEE Trans. Image Process. 9,
      2000, doi:10.1109/83.826787.
      skimage.filters.unsharp_mask with preserve_range=True, whose results these are; its radius is our sigma.

    Example:
      >>> import jax.numpy as jnp
      >>> [f"{v:.2f}" for v in unsharp_mask(jnp.array([0.0, 0.0, 1.0, 1.0]), 0.4)]
      ['0.00', '-0.04', '1.04', '1.00']
    """
    x = arguments.image(x)
    blurred = gaussian(x, sigma, mode=mode, cval=cval, truncate=truncate, axes=axes, algorithm=algorithm)
    return x + amount * (x - blurred)
