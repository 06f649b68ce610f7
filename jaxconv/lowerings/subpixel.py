"""Transposed convolution by phases: outputs p, p + stride, ... see every stride-th tap only, at stride 1.

Where the stride divides the kernel, or the phases are many, they are the channels of one convolution:
i + lo = m * stride + p and k = p + b * stride touch at o = m - b, so g is convolved with ceil(k / stride)
taps to prod(stride) times the channels, and a pixel shuffle interleaves them. Otherwise each phase is a small
convolution of its own. From i + lo = o * stride + k * dilation with i = p + m * stride and
step = gcd(stride, dilation): the taps of phase p are k = first, first + stride/step, ..., and
o = m + offset - j * dilation/step for the j-th of them.

Wins where the stride divides the kernel, so that no phase has a zero. Multiply-adds: those of the form, as
channels times prod(ceil(k / stride) * stride / k). Error: that of one dot product of the contraction's
length.

References:
  Shi et al.: Is the deconvolution layer the same as a convolutional layer? 2016, arXiv:1609.07009.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import Axis, ConvSpec, Slot
from . import depthwise_mac, direct
from ._base import Lowering, Target, Work
from ._core import on_core
from .kernels import adjoint_kernel, phase_kernel


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase along one axis: its taps `first::step` and their convolution of g (None: all zeros)."""

    first: int
    step: int
    axis: Axis | None


def phases(axis: Axis) -> list[Phase]:
    """The phases of the input positions of a convolution along one axis."""
    step = math.gcd(axis.stride, axis.dilation)
    result: list[Phase] = []
    for p in range(min(axis.stride, axis.size)):
        count = -(-(axis.size - p) // axis.stride)
        first = next(
            (k for k in range(axis.kernel) if (p + axis.lo - k * axis.dilation) % axis.stride == 0), None
        )
        if first is None:
            result.append(Phase(0, 1, None))
            continue
        taps = -(-(axis.kernel - first) // (axis.stride // step))
        offset = (p + axis.lo - first * axis.dilation) // axis.stride
        bare = Axis(axis.out, taps, dilation=axis.dilation // step)
        lo = bare.span - 1 - offset
        hi = count - 1 + bare.span - lo - axis.out
        result.append(Phase(first, axis.stride // step, dataclasses.replace(bare, lo=lo, hi=hi)))
    return result


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del dtype, precision
    if slot != "input_grad":
        return f"subpixel computes input_grad, not {slot}."
    if all(a.stride == 1 for a in spec.axes):
        return "subpixel splits a stride into phases; at stride 1 there is one, and it is direct."
    return None


def _as_channels(spec: ConvSpec) -> bool:
    """Whether all phases are one convolution.

    They are where that costs nothing, where they are many, and where it is depthwise, so that products are
    not what costs.
    """
    if any(a.dilation > 1 for a in spec.axes):
        return False
    if _inner(spec) is not direct.LOWERING:
        return True
    return all(a.kernel % a.stride == 0 for a in spec.axes) or math.prod(a.stride for a in spec.axes) > 8


def _run(slot: Slot, spec: ConvSpec, target: Target, g: jax.Array, kernel: jax.Array) -> jax.Array:
    del slot
    return (_channels if _as_channels(spec) else _parts)(spec, target, g, kernel)


def _inner(spec: ConvSpec) -> Lowering:
    """What convolves to channels."""
    return (depthwise_mac if spec.depthwise and spec.out_channels == spec.groups else direct).LOWERING


def channel_axis(axis: Axis) -> Axis:
    """One axis of the convolution to channels; lo % stride positions in front are then to be cropped."""
    taps = -(-axis.kernel // axis.stride)
    first, last = axis.lo // axis.stride, (axis.lo + axis.size - 1) // axis.stride
    return Axis(axis.out, taps, lo=taps - 1 - first, hi=last + 1 - axis.out)


def _channel_spec(spec: ConvSpec) -> ConvSpec:
    phases = math.prod(a.stride for a in spec.axes)
    axes = tuple(channel_axis(a) for a in spec.axes)
    return ConvSpec(spec.batch, spec.out_channels, phases * spec.in_channels, spec.groups, axes)


def _channels(spec: ConvSpec, target: Target, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """All phases as the channels of one convolution, then the pixel shuffle."""
    rank, groups, small = spec.rank, spec.groups, _channel_spec(spec)
    strides = [a.stride for a in spec.axes]
    kernel = phase_kernel(kernel, strides, groups).reshape(small.kernel_shape)
    y = on_core(_inner(spec).run, "forward", small, target, g, kernel)
    # N m1 m2 ... G p1 p2 ... I -> N (m1 p1) (m2 p2) ... (G I)
    y = y.reshape(*y.shape[:-1], groups, *strides, spec.in_channels // groups)
    order = (0, *(axis for j in range(1, rank + 1) for axis in (j, rank + 1 + j)), rank + 1, 2 * rank + 2)
    y = jnp.transpose(y, order)
    sizes = [a.out * s for a, s in zip(small.axes, strides, strict=True)]
    y = y.reshape(spec.batch, *sizes, spec.in_channels)
    starts = (0, *(a.lo % a.stride for a in spec.axes), 0)
    return lax.slice(y, starts, [s + n for s, n in zip(starts, spec.input_shape, strict=True)])


def _parts(spec: ConvSpec, target: Target, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each phase as a convolution of its own, then all of them interleaved."""
    per_axis = [phases(a) for a in spec.axes]
    longest = [-(-a.size // a.stride) for a in spec.axes]
    parts = [
        _phase(spec, target, combination, longest, g, kernel) for combination in itertools.product(*per_axis)
    ]
    # (p1 p2 ...) N m1 m2 ... C -> N (m1 p1) (m2 p2) ... C
    counts = [len(p) for p in per_axis]
    x = jnp.stack(parts).reshape(*counts, *parts[0].shape)
    rank = spec.rank
    order = (rank, *(axis for i in range(rank) for axis in (rank + 1 + i, i)), 2 * rank + 1)
    x = jnp.transpose(x, order)
    x = x.reshape(spec.batch, *(m * p for m, p in zip(longest, counts, strict=True)), spec.in_channels)
    return lax.slice(x, (0,) * x.ndim, spec.input_shape)


def _phase(
    spec: ConvSpec,
    target: Target,
    combination: tuple[Phase, ...],
    longest: list[int],
    g: jax.Array,
    kernel: jax.Array,
) -> jax.Array:
    """One phase (N, *m, C), padded behind to the length of the longest."""
    shape = (spec.batch, *longest, spec.in_channels)
    axes = tuple(p.axis for p in combination if p.axis is not None)
    if len(axes) < spec.rank:
        return lax.full(shape, 0, target.dtype)
    part = kernel[tuple(slice(p.first, None, p.step) for p in combination)]
    small = ConvSpec(spec.batch, spec.out_channels, spec.in_channels, spec.groups, axes)
    x = on_core(direct.LOWERING.run, "forward", small, target, g, adjoint_kernel(part, spec.groups))
    return jnp.pad(x, [(0, n - m) for n, m in zip(shape, x.shape, strict=True)])


def _work(slot: Slot, spec: ConvSpec) -> Work:
    del slot
    if _as_channels(spec):
        small = _inner(spec).work("forward", _channel_spec(spec))
        shuffled = math.prod(spec.input_shape)
        return dataclasses.replace(small, moved=small.moved + 2 * shuffled, workspace=shuffled, steps=6)
    g, shuffled = spec.groups, math.prod(spec.input_shape)
    dots: list[tuple[int, int, int, int]] = []
    for combination in itertools.product(*(phases(a) for a in spec.axes)):
        axes = [p.axis for p in combination if p.axis is not None]
        if len(axes) == spec.rank:
            m, taps = (math.prod(n) for n in zip(*((a.out, a.kernel) for a in axes), strict=True))
            dots.append((g, spec.batch * m, taps * spec.out_channels // g, spec.in_channels // g))
    return Work(tuple(dots), 4 * shuffled, shuffled, steps=3 * len(dots) + 3)


LOWERING = Lowering("subpixel", _supports, _run, _work)
