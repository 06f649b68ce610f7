"""Initialisers for layers that upsample.

All return what `jax.nn.initializers` return, a function `init(key, shape, dtype)`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.nn.initializers import lecun_normal

from ..geometry.padding import per_axis
from ..lowerings.kernels import swap_channels

Initializer = Callable[..., Any]

_LECUN_NORMAL = lecun_normal()


def transposed(base: Initializer, *, groups: int = 1) -> Initializer:
    """An initialiser for transposed kernels from one for kernels of convolutions.

    `base` sees the shape `(*k, in/groups, out)`, in which fan-in and fan-out are what their names say, and
    its result is moved to the layout `(*k, out/groups, in)`. ConvTranspose does so with every `kernel_init`.

    Fan-in is counted as if there were no stride, prod(k) * in/groups. With strides, only one in prod(strides)
    taps meets an output, so the output's variance is smaller by that factor; multiply the scale of a
    `variance_scaling` by prod(strides) to restore it.

    Args:
      base: an initialiser that takes a convolution's kernel shape.
      groups: the groups of the transposed convolution.

    Returns:
      An initialiser that takes the shape `(*k, out/groups, in)`.

    Raises:
      ValueError: when called, if `groups` does not divide `in`.

    Example:
      >>> import jax
      >>> kernel = transposed(lecun_normal())(jax.random.key(0), (3, 3, 2, 5))
      >>> kernel.shape
      (3, 3, 2, 5)
      >>> bool((kernel == lecun_normal()(jax.random.key(0), (3, 3, 5, 2)).swapaxes(-1, -2)).all())
      True
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
        window, share, n = _parts(shape)
        if n % groups:
            raise ValueError(
                f"groups={groups} must divide the {n} inputs of a transposed kernel of shape {tuple(shape)}."
            )
        value = base(key, (*window, n // groups, share * groups), dtype)
        return _map_value(functools.partial(swap_channels, groups=groups), value)

    return init


def bilinear(strides: int | Sequence[int]) -> Initializer:
    """Linear interpolation by a transposed convolution, in any number of dimensions.

    Along each axis w[t] = max(0, 1 - |t - (k-1)/2| / stride), then each phase w[p::stride] is scaled to sum
    1, so that a constant stays constant. A kernel of 2*stride - stride%2 holds the whole triangle; one of
    `stride` repeats pixels. Each channel goes to itself and to no other: for in_features == out_features.

    Args:
      strides: the upsampling factor, one for all axes or one for each.

    Returns:
      An initialiser for kernels `(*k, out/groups, in)`; the key is not used.

    Raises:
      ValueError: when called, for a kernel smaller than the stride or channels that do not pair up.

    References:
      Long, Shelhamer, Darrell, Fully convolutional networks for semantic segmentation, 2015,
      doi:10.1109/CVPR.2015.7298965.

    Example:
      >>> import jax
      >>> bilinear(2)(jax.random.key(0), (4, 1, 1)).ravel()
      Array([0.25, 0.75, 0.75, 0.25], dtype=float32)
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        del key
        window, share, n = _parts(shape)
        if n % share:
            raise ValueError(
                f"bilinear needs in_features == out_features, got a kernel of shape {tuple(shape)}."
            )
        steps = per_axis(strides, len(window), "strides")
        taps = functools.reduce(np.multiply.outer, map(_triangle, window, steps))
        pairing = np.arange(n) % share == np.arange(share)[:, None]
        return jnp.asarray(taps[..., None, None] * pairing, dtype)

    return init


def icnr(factor: int | Sequence[int], base: Initializer = _LECUN_NORMAL) -> Initializer:
    """For a convolution followed by `pixel_shuffle`: at first all sub-pixels of a pixel are equal.

    The layer then starts as a convolution followed by nearest-neighbour upsampling, without a checkerboard.

    Args:
      factor: the factor of `pixel_shuffle`, one for all axes or one for each.
      base: draws the kernel `(*k, in/groups, out)` of that convolution.

    Returns:
      An initialiser for kernels `(*k, in/groups, out * prod(factor))`.

    Raises:
      ValueError: when called, if the last axis is no multiple of prod(factor).

    References:
      Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017, arXiv:1707.02937.

    Example:
      >>> import jax
      >>> kernel = icnr(2)(jax.random.key(0), (3, 3, 5, 8))  # two channels of 2 x 2 sub-pixels
      >>> bool((kernel[..., :4] == kernel[..., :1]).all()), bool((kernel[..., 4:] == kernel[..., :1]).any())
      (True, False)
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
        window, share, n = _parts(shape)
        block = math.prod(per_axis(factor, len(window), "factor"))
        if n % block:
            raise ValueError(f"icnr: {n} features in kernel shape {tuple(shape)} are no multiple of {block}.")
        value = base(key, (*window, share, n // block), dtype)
        return _map_value(lambda kernel: jnp.repeat(kernel, block, axis=-1), value)

    return init


def icnr_transpose(
    strides: int | Sequence[int],
    base: Initializer = _LECUN_NORMAL,
    *,
    crop: int | Sequence[int] | None = None,
) -> Initializer:
    """For a transposed convolution: at first all outputs of one input pixel are equal.

    Output j sees tap t through input i if j = i*stride + t - crop. So the taps are cut into blocks of stride
    that begin where t - crop is a multiple of the stride, each block is one tap of a smaller kernel, and taps
    outside whole blocks are zero. The layer starts as a convolution followed by nearest-neighbour upsampling,
    whatever the kernel size.

    Args:
      strides: the strides of the layer, one for all axes or one for each.
      base: draws the smaller kernel.
      crop: how much the padding crops in front, one for all axes or one for each. None is what "SAME" crops.

    Returns:
      An initialiser for kernels whose leading axes are the window; any layout of the two channel axes.

    Raises:
      ValueError: when called, for a kernel that holds no whole block.

    References:
      Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017, arXiv:1707.02937.

    Example:
      >>> import jax
      >>> ones = jax.nn.initializers.ones
      >>> icnr_transpose(2, ones)(jax.random.key(0), (4, 1, 1)).ravel()  # SAME crops one
      Array([0., 1., 1., 0.], dtype=float32)
      >>> icnr_transpose(2, ones, crop=0)(jax.random.key(0), (4, 1, 1)).ravel()
      Array([1., 1., 1., 1.], dtype=float32)
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
        window, a, b = _parts(shape)
        rank = len(window)
        steps = per_axis(strides, rank, "strides")
        same = [max(k - s, 0) // 2 for k, s in zip(window, steps, strict=True)]
        starts = [
            c % s for c, s in zip(same if crop is None else per_axis(crop, rank, "crop"), steps, strict=True)
        ]
        blocks = [(k - start) // s for k, start, s in zip(window, starts, steps, strict=True)]
        if min(blocks) < 1:
            raise ValueError(
                f"icnr_transpose: kernel {tuple(window)} holds no whole block of strides={strides}."
            )
        ends = [k - start - n * s for k, start, n, s in zip(window, starts, blocks, steps, strict=True)]

        def spread(kernel: jax.Array) -> jax.Array:
            for axis, s in enumerate(steps):
                kernel = jnp.repeat(kernel, s, axis=axis)
            return jnp.pad(kernel, [*zip(starts, ends, strict=True), (0, 0), (0, 0)])

        return _map_value(spread, base(key, (*blocks, a, b), dtype))

    return init


def _triangle(kernel: int, stride: int) -> np.ndarray:
    if kernel < stride:
        raise ValueError(
            f"bilinear needs a kernel of at least the stride; got kernel={kernel}, stride={stride}."
        )
    taps = np.maximum(0.0, 1 - np.abs(np.arange(kernel) - (kernel - 1) / 2) / stride)
    for phase in range(stride):
        taps[phase::stride] /= taps[phase::stride].sum()
    return taps


def _parts(shape: Sequence[int]) -> tuple[list[int], int, int]:
    """Window and the two channel axes of a kernel's shape."""
    if len(shape) < 3:
        raise ValueError(f"a kernel of shape {tuple(shape)} has no window; wanted (*k, channels, channels).")
    *window, a, b = shape
    return window, a, b


def _map_value(function: Callable[[jax.Array], jax.Array], value: Any) -> Any:
    """Applies `function` to an array, or inside the box that carries an NNX or Linen variable's metadata."""
    if isinstance(value, nnx.VariableMetadata):
        return dataclasses.replace(value, raw_value=function(value.raw_value))
    return jax.tree.map(function, value)
