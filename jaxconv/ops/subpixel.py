"""A transposed convolution as a convolution and a pixel shuffle, and back: the same weights in another place.

With output position i + lo = m * stride + p and tap k = b * stride + p, block b of the taps carries input
m - b to sub-pixel p of pixel m. So the phases p are channels of a convolution with ceil(kernel / stride)
taps, blocks backwards, and taps that the kernel lacks are zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from ..geometry import normalize_transposed
from ..geometry.padding import Padding, pairs, per_axis
from ..geometry.spec import check_groups
from ..lowerings.kernels import phase_kernel, whole_kernel
from ..lowerings.subpixel import channel_axis
from .arguments import array, spatial_rank

Pairs = tuple[tuple[int, int], ...]

# The conversion holds for every size of the input, so it is read off one that no padding crops away.
_LONG = 1 << 20


class Subpixel(NamedTuple):
    """A sub-pixel convolution.

    Attributes:
      kernel: of the convolution, `(*b, in/groups, out * prod(stride))`, the channels as `pixel_shuffle` takes
        them.
      bias: of the convolution, or None.
      padding: of the convolution, `(lo, hi)` for each axis, negative where it crops.
      crop: what is to be cut off the shuffled result, `(lo, hi)` for each axis.
    """

    kernel: jax.Array
    bias: jax.Array | None
    padding: Pairs
    crop: Pairs


class Transposed(NamedTuple):
    """A transposed convolution.

    Attributes:
      kernel: `(*k, out/groups, in)`.
      bias: or None.
      padding: `(lo, hi)` for each axis, output_padding subtracted from hi.
    """

    kernel: jax.Array
    bias: jax.Array | None
    padding: Pairs


def to_subpixel(
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: int | Sequence[int],
    padding: Padding = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> Subpixel:
    """A transposed convolution as a sub-pixel convolution, without loss.

    For every x, `conv_transpose(x, kernel, bias, ...)` is

        pixel_shuffle(conv(x, s.kernel, s.bias, padding=s.padding, groups=groups), stride), cut by s.crop.

    Args:
      kernel: of the transposed convolution, `(*k, out/groups, in)`.
      bias: of the transposed convolution, or None.
      stride: its stride, one for all axes or one for each.
      padding: its padding, as in `conv_transpose`.
      output_padding: its output_padding.
      groups: its groups.

    Returns:
      Kernel, bias, padding and crop. Where the stride divides the kernel the weights are only moved,
      otherwise zeros are added.

    Raises:
      ValueError: for arguments that fit no transposed convolution.

    References:
      Shi et al., Is the deconvolution layer the same as a convolutional layer? 2016, arXiv:1609.07009.

    Example:
      >>> import jax.numpy as jnp
      >>> kernel = jnp.array([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
      >>> s = to_subpixel(kernel, stride=2, padding=1)
      >>> s.kernel[:, 0]  # two taps for each of two sub-pixels
      Array([[3., 4.],
             [1., 2.]], dtype=float32)
      >>> s.padding, s.crop
      (((1, 1),), ((1, 1),))
    """
    kernel = array(kernel, "kernel")
    rank = spatial_rank(kernel.shape)
    *taps, outer, inner = kernel.shape
    check_groups(groups, in_channels=inner)
    strides = per_axis(stride, rank, "stride")
    axes = normalize_transposed(
        padding,
        size=[_LONG] * rank,
        kernel=taps,
        stride=strides,
        dilation=1,
        output_padding=output_padding,
    )
    small = [channel_axis(axis) for axis in axes]
    fronts = [axis.lo % axis.stride for axis in axes]
    sizes = [a.out * s - front for a, s, front in zip(small, strides, fronts, strict=True)]
    crop = tuple((front, n - a.size) for front, n, a in zip(fronts, sizes, axes, strict=True))
    # (*b, O, G, *p, I) -> (*b, O, (G I p))
    phases = jnp.moveaxis(phase_kernel(kernel, strides, groups), -1, rank + 2)
    block = math.prod(strides)
    return Subpixel(
        phases.reshape(*phases.shape[:rank], inner // groups, outer * groups * block),
        None if bias is None else jnp.repeat(_bias(bias, outer * groups), block),
        tuple((a.lo, a.hi) for a in small),
        crop,
    )


def from_subpixel(
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | Sequence[tuple[int, int]] = 0,
    crop: int | Sequence[int] | Sequence[tuple[int, int]] = 0,
    kernel_size: Sequence[int] | None = None,
    groups: int = 1,
) -> Transposed:
    """A sub-pixel convolution as a transposed convolution: the inverse of `to_subpixel`, bit for bit.

    Args:
      kernel: of the convolution, `(*b, in/groups, out * prod(stride))`.
      bias: of the convolution, equal for all sub-pixels of a channel, or None.
      stride: the factor of the pixel shuffle, one for all axes or one for each.
      padding: of the convolution, as numbers.
      crop: what is cut off the shuffled result.
      kernel_size: taps of the transposed kernel, for one whose stride does not divide it; the taps behind
        them have to be zero. None keeps all, b * stride.
      groups: groups of the convolution.

    Returns:
      Kernel, bias and padding of the transposed convolution.

    Raises:
      ValueError: for shapes that do not fit, and if taps that are not zero would be dropped or the sub-pixels
        of a channel have different biases, unless the arrays are traced and have no values yet.

    Example:
      >>> import jax.numpy as jnp
      >>> kernel = jnp.arange(1.0, 4.0).reshape(3, 1, 1)
      >>> s = to_subpixel(kernel, stride=2, padding=1)
      >>> t = from_subpixel(s.kernel, stride=2, padding=s.padding, crop=s.crop, kernel_size=(3,))
      >>> t.kernel.ravel(), t.padding
      (Array([1., 2., 3.], dtype=float32), ((1, 1),))
    """
    kernel = array(kernel, "kernel")
    rank = spatial_rank(kernel.shape)
    *blocks, share, features = kernel.shape
    strides = per_axis(stride, rank, "stride")
    block = math.prod(strides)
    if min(strides) < 1 or features % block:
        raise ValueError(f"stride={strides} must be positive, and its product divide {features} features.")
    check_groups(groups, in_channels=features // block)
    full = tuple(b * s for b, s in zip(blocks, strides, strict=True))
    taps = full if kernel_size is None else per_axis(kernel_size, rank, "kernel_size")
    if any(not f - s < k <= f for k, f, s in zip(taps, full, strides, strict=True)):
        raise ValueError(
            f"kernel_size={taps} is impossible for {tuple(blocks)} taps at stride {strides}; the largest is "
            f"{full}."
        )
    # (*b, O, (G I p)) -> (*b, O, G, *p, I)
    phases = kernel.reshape(*blocks, share, groups, features // block // groups, *strides)
    whole = whole_kernel(jnp.moveaxis(phases, rank + 2, -1), full)
    result = whole[tuple(slice(k) for k in taps)]
    _check_same_count(whole, result, taps)
    ends = zip(taps, blocks, strides, pairs(padding, rank), pairs(crop, rank), strict=True)
    return Transposed(
        result,
        None if bias is None else _one_for_each(_bias(bias, features), block),
        tuple(
            ((b - 1 - lo) * s + front, k - 1 - hi * s - (s - 1 - behind))
            for k, b, s, (lo, hi), (front, behind) in ends
        ),
    )


def _bias(bias: jax.Array, features: int) -> jax.Array:
    bias = array(bias, "bias")
    if bias.shape != (features,):
        raise ValueError(f"bias has shape {bias.shape}; wanted ({features},), one number for each channel.")
    return bias


def _one_for_each(bias: jax.Array, block: int) -> jax.Array:
    """The bias of a channel, where all its sub-pixels have the same."""
    bias = bias.reshape(-1, block)
    if not isinstance(bias, jax.core.Tracer) and bool((bias != bias[:, :1]).any()):
        raise ValueError(
            "bias differs between the sub-pixels of a channel, and a transposed convolution has one for each "
            "channel; add the difference behind it."
        )
    return bias[:, 0]


def _check_same_count(whole: jax.Array, kept: jax.Array, taps: tuple[int, ...]) -> None:
    if isinstance(whole, jax.core.Tracer):
        return
    if bool(jnp.count_nonzero(whole) != jnp.count_nonzero(kept)):
        raise ValueError(f"kernel_size={taps} would drop taps that are not zero; leave it out to keep them.")
