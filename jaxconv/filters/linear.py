"""Any kernel: correlation and convolution with SciPy's boundaries and origins."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..ops import arguments as edge
from ..typing import Algorithm
from . import arguments
from .apply import slide
from .arguments import Axes, Modes, Number
from .borders import extended
from .separable import Factor, factors, pays


def correlate(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    origin: int | tuple[int, ...] = 0,
    axes: Axes = None,
    separable: bool | None = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Correlates an image with a kernel: each position becomes a weighted sum of its neighbourhood.

        y[i] = sum over k of x[i + k - size // 2 - origin] * kernel[k]

    A kernel that is known while tracing and is an outer product, to the rounding of the image's dtype, is
    applied factor by factor: k + k multiply-adds in the place of k * k. `jaxconv.plan` of a function that
    calls this one shows the passes and the algorithm of each.

    Args:
      x: image, any shape; integers become floating.
      kernel: one dimension for each filtered axis. It is cast to the dtype of x.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      origin: moves the window towards smaller indices, one for all axes or one for each; 0 centres it, an
        even one half a position in front of its middle.
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      separable: None applies the kernel in factors where that pays; True insists on it and is refused for a
        kernel that has none or is traced; False applies it whole.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x.

    Raises:
      ValueError: if the kernel's rank is not the number of axes, or an option is not possible.

    References:
      scipy.ndimage.correlate, whose results these are.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.array([1.0, 2.0, 4.0, 8.0])
      >>> correlate(x, jnp.array([-1.0, 0.0, 1.0])).tolist()  # outside: 1 on the left, 8 on the right
      [1.0, 3.0, 6.0, 4.0]
    """
    return _correlate(arguments.image(x), _kernel(kernel), mode, cval, origin, axes, separable, algorithm)


def convolve(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    origin: int | tuple[int, ...] = 0,
    axes: Axes = None,
    separable: bool | None = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Convolves an image with a kernel: `correlate` with the kernel flipped.

        y[i] = sum over k of x[i - k + size // 2 + origin] * kernel[k]

    Arguments and errors are those of `correlate`; a positive origin moves the window the other way.

    Args:
      x: image, any shape; integers become floating.
      kernel: one dimension for each filtered axis. It is cast to the dtype of x.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      origin: moves the window towards larger indices, one for all axes or one for each.
      axes: axes to filter along, None for all; see `jaxconv.filters`.
      separable: whether to apply the kernel in factors, None where that pays.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The filtered image, of the shape of x.

    Raises:
      ValueError: if the kernel's rank is not the number of axes, or an option is not possible.

    References:
      scipy.ndimage.convolve, whose results these are.

    Example:
      >>> import jax.numpy as jnp
      >>> impulse = jnp.zeros(5).at[2].set(1.0)
      >>> convolve(impulse, jnp.array([1.0, 2.0, 3.0])).tolist()
      [0.0, 1.0, 2.0, 3.0, 0.0]
    """
    taps = _kernel(kernel)
    given = arguments.each(origin, taps.ndim, "origin")
    arguments.reaches(taps.shape, given)  # in the caller's words, before they are turned round
    # Of an even kernel, the flipped one's centre is the neighbour of the old one.
    turned = tuple(-int(o) - (n % 2 == 0) for o, n in zip(given, taps.shape, strict=True))
    flipped = taps[(slice(None, None, -1),) * taps.ndim]
    return _correlate(arguments.image(x), flipped, mode, cval, turned, axes, separable, algorithm)


def _kernel(kernel: Any) -> Any:
    """As a NumPy array where its values are known, so that they can be looked at."""
    kernel = kernel if arguments.is_traced(kernel) else np.asarray(kernel)
    edge.array(kernel, "kernel")
    if kernel.ndim == 0 or kernel.size == 0:
        raise ValueError(f"kernel has shape {kernel.shape}; wanted one dimension or more, and none empty.")
    return kernel


def _correlate(
    x: jax.Array,
    kernel: Any,
    mode: Any,
    cval: Number,
    origin: Any,
    axes: Axes,
    separable: bool | None,
    algorithm: Algorithm | None,
) -> jax.Array:
    found = arguments.filtered_axes(axes, x.ndim)
    if kernel.ndim != len(found):
        raise ValueError(
            f"kernel has {kernel.ndim} dimensions and the filter runs along {len(found)} axes of x, {found}; "
            "wanted as many. Name the kernel's axes of x in axes=."
        )
    if jnp.iscomplexobj(kernel) and not jnp.iscomplexobj(x):
        x = x.astype(jnp.result_type(x.dtype, jnp.complex64))
    reach = arguments.reaches(kernel.shape, origin)
    modes = arguments.modes(mode, len(found))
    if x.size == 0:
        return x
    # Once for all passes, so that a kernel in factors sees what the whole one sees.
    x = extended(x, found, reach, modes, cval)
    for part, values in _parts(kernel, x.dtype, separable):
        x = slide(x, values, [found[i] for i in part], algorithm=algorithm)
    return x


def _parts(kernel: Any, dtype: Any, separable: bool | None) -> list[Factor]:
    whole = [(tuple(range(kernel.ndim)), kernel)]
    if separable is False or kernel.ndim == 1:
        return whole
    if arguments.is_traced(kernel):
        if separable:
            raise ValueError(
                "separable=True wants a kernel that is known while tracing; correlate with its factors, one "
                "after the other, each along its own axes."
            )
        return whole
    # Half precision is summed in single.
    eps = min(float(jnp.finfo(dtype).eps), float(np.finfo(np.float32).eps))
    wide = kernel.astype(np.result_type(kernel.dtype, np.float64))
    parts = factors(wide, eps) if np.isfinite(wide).all() else whole
    if separable and len(parts) == 1:
        raise ValueError(
            f"separable=True, but no axis of the kernel of shape {kernel.shape} splits off to within "
            f"{eps:.1e} of its norm; use separable=None or False."
        )
    return parts if separable or pays(kernel, parts) else whole
