"""Transposed convolution by phases, each a small convolution at stride 1, interleaved.

Outputs p, p + stride, ... see every stride-th tap only. From i + lo = o * stride + k * dilation with
i = p + m * stride and step = gcd(stride, dilation): the taps of phase p are k = first, first + stride/step,
..., and o = m + offset - j * dilation/step for the j-th of them.

Wins where the stride is more than 1 and overlap_add's workspace hurts. Multiply-adds: exactly those of the
form. Error: that of one dot product of the contraction's length.
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
from . import direct
from ._base import Lowering, Target
from ._core import on_core
from .kernels import adjoint_kernel


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


def _run(slot: Slot, spec: ConvSpec, target: Target, g: jax.Array, kernel: jax.Array) -> jax.Array:
    del slot
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


LOWERING = Lowering("subpixel", _supports, _run)
