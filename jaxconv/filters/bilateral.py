"""The bilateral filter: a mean over neighbours that are near in space and alike in value."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from . import arguments
from .arguments import Axes, Modes, Number
from .borders import extended
from .windows import fold, offsets


def bilateral(
    x: ArrayLike,
    sigma_spatial: Number,
    sigma_color: Number,
    *,
    radius: int | Sequence[int] | None = None,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    axes: Axes = None,
    channel_axis: int | None = None,
) -> jax.Array:
    """Smooths, but not across edges: neighbours count the less the more their value differs.

        y[i] = (sum over k of w[k] x[i + k]) / (sum over k of w[k])
        w[k] = exp(-|k|² / 2 sigma_spatial²) exp(-|x[i + k] - x[i]|² / 2 sigma_color²)

    over the window |k_a| <= radius along each axis a. It is differentiable in x and in both sigmas.

    Args:
      x: real image, any shape; integers become floating.
      sigma_spatial: standard deviation of the distance, in pixels.
      sigma_color: standard deviation of the difference, in units of x; of integer images too.
      radius: of the window, one for all axes or one for each; by default 3 sigma_spatial, rounded up, and at
        least 2, as in scikit-image.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      axes: axes to filter along, None for all but channel_axis; see `jaxconv.filters`.
      channel_axis: an axis over which |x[i + k] - x[i]| is a Euclidean distance, as that of colours; None
        compares each number on its own.

    Returns:
      The filtered image, of the shape of x.

    Raises:
      ValueError: for a complex x, a sigma that is not positive, a traced sigma_spatial without radius, or an
        impossible option.

    References:
      Tomasi, Manduchi: Bilateral filtering for gray and color images. ICCV 1998,
      doi:10.1109/ICCV.1998.710815.

    Example:
      >>> import jax.numpy as jnp
      >>> edge = jnp.array([0.0, 0.2, 0.0, 9.0, 9.2, 9.0])
      >>> bilateral(edge, 1.0, 1.0) * 10 // 1
      Array([ 0.,  1.,  0., 90., 91., 90.], dtype=float32)
    """
    x = arguments.real_image(x, "bilateral")
    channel = None if channel_axis is None else arguments.filtered_axes(channel_axis, x.ndim)[0]
    if axes is None:
        axes = [a for a in range(x.ndim) if a != channel]
    found = arguments.filtered_axes(axes, x.ndim)
    if channel in found:
        raise ValueError(f"channel_axis={channel_axis} is one of the filtered axes {found}; name the others.")
    radii = tuple(_radius(r, sigma_spatial) for r in arguments.each(radius, len(found), "radius"))
    for name, sigma in (("sigma_spatial", sigma_spatial), ("sigma_color", sigma_color)):
        if not arguments.is_traced(sigma) and not arguments.concrete(sigma, name, "") > 0:
            raise ValueError(f"{name}={sigma} must be positive.")
    modes = arguments.modes(mode, len(found))
    if x.size == 0:
        return x
    outer = extended(x, found, [(r, r) for r in radii], modes, cval)
    return _bilateral(x, outer, jnp.asarray(sigma_spatial), jnp.asarray(sigma_color), found, radii, channel)


def _radius(radius: Any, sigma_spatial: Number) -> int:
    if radius is None:
        return max(2, math.ceil(3 * arguments.concrete(sigma_spatial, "sigma_spatial", "or give radius=")))
    return arguments.non_negative(radius, "radius")


def _weighted_mean(
    x: jax.Array,
    outer: jax.Array,
    sigma_spatial: jax.Array,
    sigma_color: jax.Array,
    axes: tuple[int, ...],
    radii: tuple[int, ...],
    channel: int | None,
    loop: bool,
) -> jax.Array:
    """Of the image and the extended image."""
    dtype = arguments.single(x.dtype)
    centre, outer = x.astype(dtype), lax.optimization_barrier(outer.astype(dtype))
    near, alike = (-0.5 / s.astype(dtype) ** 2 for s in (sigma_spatial, sigma_color))
    middle = np.array(radii)

    def add(total: tuple[jax.Array, jax.Array], offset: Any, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        square = (value - centre) ** 2
        if channel is not None:
            square = square.sum(channel, keepdims=True)
        distance = jnp.asarray(((offset - middle) ** 2).sum(), dtype)
        weight = jnp.exp(near * distance + alike * square)
        return total[0] + weight * value, total[1] + weight

    weights = x.shape if channel is None else (*x.shape[:channel], 1, *x.shape[channel + 1 :])
    zeros = jnp.zeros(x.shape, dtype), jnp.zeros(weights, dtype)
    window = offsets([2 * r + 1 for r in radii])
    values, weight = fold(add, zeros, (outer,), axes, window, x.shape, loop=loop)
    return (values / weight).astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5, 6))
@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _bilateral(x, outer, sigma_spatial, sigma_color, axes, radii, channel):
    return _weighted_mean(x, outer, sigma_spatial, sigma_color, axes, radii, channel, loop=False)


@_bilateral.defjvp
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _bilateral_jvp(axes, radii, channel, primals, tangents):
    """The loop's: it is the same function, and its derivative is cheaper."""
    fn = functools.partial(_weighted_mean, axes=axes, radii=radii, channel=channel, loop=True)
    return jax.jvp(fn, primals, tangents)
