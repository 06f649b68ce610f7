"""Moving blocks of channels to blocks of pixels and back, in any number of dimensions.

With factors r_1 .. r_n and R their product, channel c*R + p of a pixel is sub-pixel p of channel c, and p
counts the block in row-major order (the last spatial axis fastest). That is PyTorch's order,
(c, r_1, ..., r_n); TensorFlow's depth_to_space has (r_1, ..., r_n, c). ONNX calls them CRD and DCR.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from typing import Any

import jax

from ..typing import Layout, SubpixelOrder
from .arguments import array, per_axis, spatial_axes


def pixel_shuffle(
    x: jax.Array,
    factor: int | Sequence[int],
    *,
    order: SubpixelOrder = "torch",
    layout: Layout = "channels_last",
) -> jax.Array:
    """Turns blocks of channels into blocks of pixels: the second half of a sub-pixel convolution.

    y[n, i*r + a, j*s + b, c] = x[n, i, j, c*r*s + a*s + b], and likewise for any number of spatial axes.

    Args:
      x: channels-last `(*batch, *spatial, c * R)` or channels-first `(*batch, c * R, *spatial)`.
      factor: upsampling factor of each spatial axis, R their product. The length of a sequence is the
        number of spatial axes, and `x` then has any number of batch axes, none included. An int counts for
        all axes between one batch axis and the channels.
      order: what the channels of `x` count: "torch", channel by channel the sub-pixels, or "tensorflow",
        sub-pixel by sub-pixel the channels (its `depth_to_space`).
      layout: "channels_last" or "channels_first".

    Returns:
      `x` with each spatial axis multiplied by its factor and the channels divided by R.

    Raises:
      ValueError: if R does not divide the channels, or a factor, the rank or an option is impossible.

    References:
      Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel convolutional
      neural network, 2016, doi:10.1109/CVPR.2016.207.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.arange(8.0).reshape(1, 2, 4)  # one signal, two positions, four channels
      >>> pixel_shuffle(x, 2)[0].T
      Array([[0., 1., 4., 5.],
             [2., 3., 6., 7.]], dtype=float32)
    """
    x = array(x, "x", any_dtype=True)
    r, spatial = _factors(x, factor, order, layout)
    n, block = len(r), math.prod(r)
    last = layout == "channels_last"
    channel, batch = (spatial + n, spatial) if last else (spatial - 1, spatial - 1)
    channels = x.shape[channel]
    if channels % block:
        more = (channels // block + 1) * block
        raise ValueError(
            f"x has {channels} channels, and factor={r} needs a multiple of {block}; "
            f"give the convolution before it {more} of them."
        )
    # (*batch, *s, c, *r) or (*batch, c, *r, *s), TensorFlow's with *r before c; then each s_i meets its r_i.
    whole, part = (channel, channel + 1) if order == "torch" else (channel + n, channel)
    x = _split(x, channel, (channels // block, *r) if order == "torch" else (*r, channels // block))
    coarse = spatial if last else spatial + n
    pixels = [axis for i in range(n) for axis in (coarse + i, part + i)]
    x = x.transpose(*range(batch), *((*pixels, whole) if last else (whole, *pixels)))
    for axis in range(spatial, spatial + n):
        x = jax.lax.collapse(x, axis, axis + 2)
    return x


def pixel_unshuffle(
    x: jax.Array,
    factor: int | Sequence[int],
    *,
    order: SubpixelOrder = "torch",
    layout: Layout = "channels_last",
) -> jax.Array:
    """Turns blocks of pixels into blocks of channels: the inverse of `pixel_shuffle`.

    y[n, i, j, c*r*s + a*s + b] = x[n, i*r + a, j*s + b, c], and likewise for any number of spatial axes.

    Args:
      x: channels-last `(*batch, *spatial, c)` or channels-first `(*batch, c, *spatial)`.
      factor: downsampling factor of each spatial axis, an int or a sequence as in `pixel_shuffle`.
      order: of the channels of the result, as in `pixel_shuffle`; "tensorflow" is its `space_to_depth`.
      layout: "channels_last" or "channels_first".

    Returns:
      `x` with each spatial axis divided by its factor and the channels multiplied by their product.

    Raises:
      ValueError: if a factor does not divide its axis, or a factor, the rank or an option is impossible.

    References:
      Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel convolutional
      neural network, 2016, doi:10.1109/CVPR.2016.207.

    Example:
      >>> import jax.numpy as jnp
      >>> pixel_unshuffle(jnp.arange(6.0).reshape(1, 6, 1), 3)[0]
      Array([[0., 1., 2.],
             [3., 4., 5.]], dtype=float32)
    """
    x = array(x, "x", any_dtype=True)
    r, spatial = _factors(x, factor, order, layout)
    n = len(r)
    last = layout == "channels_last"
    channel, batch = (spatial + n, spatial) if last else (spatial - 1, spatial - 1)
    sizes = x.shape[spatial : spatial + n]
    if any(size % by for size, by in zip(sizes, r, strict=True)):
        raise ValueError(f"factor={r} must divide the spatial shape {sizes}; pad or crop x first.")
    # (*batch, s_1, r_1, .., s_n, r_n, c) or the same with c behind the batch; then the r_i go behind c
    # or before it.
    for i in reversed(range(n)):
        x = _split(x, spatial + i, (sizes[i] // r[i], r[i]))
    pixels = range(spatial, spatial + 2 * n, 2)
    parts = range(spatial + 1, spatial + 2 * n, 2)
    whole = channel + n if last else channel
    blocks = (whole, *parts) if order == "torch" else (*parts, whole)
    x = x.transpose(*range(batch), *((*pixels, *blocks) if last else (*blocks, *pixels)))
    return jax.lax.collapse(x, channel, channel + n + 1)


def _factors(x: jax.Array, factor: Any, order: str, layout: str) -> tuple[tuple[int, ...], int]:
    """One factor for each spatial axis, and the first of these axes."""
    if order not in typing.get_args(SubpixelOrder):
        raise ValueError(
            f"order={order!r} is not known; use one of {', '.join(typing.get_args(SubpixelOrder))}."
        )
    rank, spatial = spatial_axes(x.shape, factor, layout, "factor")
    factors = per_axis(factor, rank, "factor")
    if min(factors) < 1:
        raise ValueError(f"factor={factor!r} must be at least 1.")
    return factors, spatial


def _split(x: jax.Array, axis: int, sizes: Sequence[int]) -> jax.Array:
    """One axis as several. One at a time: reshaping several at once is refused under explicit sharding."""
    return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])
