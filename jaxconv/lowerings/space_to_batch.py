"""A dilated convolution as an undilated one over interleaved sub-images, which lie in the batch.

With input i = o + k * dilation - lo, output o = q * dilation + r sees every dilation-th input only, those of
i + lo = j * dilation + r: part r of the output is the undilated convolution j = q + k of part r of the input,
along every axis at once. A factor that stride and dilation share leaves inputs that nothing touches: those
are dropped, and the factor with them. The same parts serve all slots; the weight gradient adds them up, as it
does any batch.

Wins in three dimensions, where XLA's CPU backend is slow for a dilated kernel, and for some weight gradients;
in one and two dimensions it is level with `direct`, or behind by the copies. Multiply-adds: those of the
form, plus the padding and the rounding of each axis to a multiple of its dilation. Workspace: a copy of each
operand and of the result. Error: that of `direct`.

References:
  Chen et al.: DeepLab. 2018, doi:10.1109/TPAMI.2017.2699184 (section 3.1 deinterlaces the map so).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
from jax import lax

from ..geometry import Axis, ConvSpec, Slot
from . import direct
from ._base import Lowering, Target, Work
from ._core import KINDS, Kind, Run, on_core


@dataclasses.dataclass(frozen=True)
class Split:
    """One axis as `parts` interleaved ones.

    Of the inputs, `count` are touched: first, first + step, .... In front of them go `shift` zeros.
    """

    first: int
    step: int
    count: int
    shift: int
    parts: int
    axis: Axis


def split_axis(axis: Axis) -> Split:
    """Divides stride and dilation by what they share and splits the rest of the dilation.

    One of stride and dilation is then 1: see `_supports`.
    """
    step = math.gcd(axis.stride, axis.dilation)
    stride, parts = axis.stride // step, axis.dilation // step
    first = -axis.lo % step
    count = -(-(axis.size - first) // step)
    lo, shift = divmod((axis.lo + first) // step, parts)
    size, out = -(-(shift + count) // parts), -(-axis.out // parts)
    hi = (out - 1) * stride + axis.kernel - lo - size
    return Split(first, step, count, shift, parts, Axis(size, axis.kernel, stride, 1, lo, hi))


def split_spec(spec: ConvSpec) -> tuple[ConvSpec, list[Split]]:
    """The undilated convolution of all parts, and how each axis was split."""
    splits = [split_axis(a) for a in spec.axes]
    batch = spec.batch * math.prod(s.parts for s in splits)
    return dataclasses.replace(spec, batch=batch, axes=tuple(s.axis for s in splits)), splits


def in_parts(run: Run, slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes one slot of a dilated convolution by an algorithm that sees the parts."""
    inner, splits = split_spec(spec)
    if any(s.count <= 0 for s in splits):  # what stride and dilation share can step over the whole input
        return lax.full(spec.result_shape(slot), 0, target.dtype)
    first, second, result = KINDS[slot]
    y = on_core(run, slot, inner, target, _take(a, first, splits), _take(b, second, splits))
    return _put(y, result, splits, spec.result_shape(slot))


def _take(x: jax.Array, kind: Kind, splits: list[Split]) -> jax.Array:
    """(N, *(s parts), C) -> (N parts1 parts2 ..., *s, C)."""
    if kind == "kernel":
        return x
    n, *sizes, c = x.shape
    if kind == "input":
        x = lax.slice(x, (0, *(s.first for s in splits), 0), x.shape, (1, *(s.step for s in splits), 1))
        ends = [(s.shift, s.axis.size * s.parts - s.shift - s.count, 0) for s in splits]
    else:
        ends = [(0, -size % s.parts, 0) for s, size in zip(splits, sizes, strict=True)]
    x = lax.pad(x, lax.full((), 0, x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
    pairs = [m for s, size in zip(splits, x.shape[1:-1], strict=True) for m in (size // s.parts, s.parts)]
    rank = len(splits)
    # N s1 p1 s2 p2 ... C -> N p1 p2 ... s1 s2 ... C
    order = (0, *range(2, 2 * rank + 1, 2), *range(1, 2 * rank, 2), 2 * rank + 1)
    return lax.reshape(
        lax.transpose(lax.reshape(x, (n, *pairs, c)), order),
        (n * math.prod(pairs[1::2]), *pairs[0::2], c),
    )


def _put(x: jax.Array, kind: Kind, splits: list[Split], shape: tuple[int, ...]) -> jax.Array:
    """The transpose of `_take`; inputs that nothing touches become zeros."""
    if kind == "kernel":
        return x
    rank, c = len(splits), shape[-1]
    parts, sizes = [s.parts for s in splits], x.shape[1:-1]
    # N p1 p2 ... s1 s2 ... C -> N s1 p1 s2 p2 ... C
    order = (0, *(axis for i in range(1, rank + 1) for axis in (rank + i, i)), 2 * rank + 1)
    x = lax.transpose(lax.reshape(x, (shape[0], *parts, *sizes, c)), order)
    x = lax.reshape(x, (shape[0], *(m * p for m, p in zip(sizes, parts, strict=True)), c))
    if kind == "output":
        return lax.slice(x, (0,) * x.ndim, shape)
    x = lax.slice(
        x,
        (0, *(s.shift for s in splits), 0),
        (shape[0], *(s.shift + s.count for s in splits), c),
    )
    gaps = [
        (s.first, size - s.first - (s.count - 1) * s.step - 1, s.step - 1)
        for s, size in zip(splits, shape[1:-1], strict=True)
    ]
    return lax.pad(x, lax.full((), 0, x.dtype), [(0, 0, 0), *gaps, (0, 0, 0)])


def splittable(axis: Axis) -> bool:
    """Whether what stride and dilation do not share is on one side."""
    return math.gcd(axis.stride, axis.dilation) in (axis.stride, axis.dilation)


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del slot, dtype, precision
    if all(a.dilation == 1 for a in spec.axes):
        return "space_to_batch splits a dilation into parts; at dilation 1 there is one, and it is direct."
    for a in spec.axes:
        if not splittable(a):
            return f"space_to_batch wants stride {a.stride} to divide dilation {a.dilation}, or the reverse."
    return None


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    return in_parts(direct.LOWERING.run, slot, spec, target, a, b)


def _work(slot: Slot, spec: ConvSpec) -> Work:
    inner, _ = split_spec(spec)
    elements = {"input": math.prod(inner.input_shape), "output": math.prod(inner.output_shape)}
    copies = sum(elements.get(kind, 0) for kind in KINDS[slot])
    # Each copy is read and written twice: padded or sliced, and transposed.
    work = direct.LOWERING.work(slot, inner)
    return dataclasses.replace(
        work,
        moved=work.moved + 4 * copies,
        workspace=work.workspace + 2 * copies,
        steps=work.steps + 9,
    )


LOWERING = Lowering("space_to_batch", _supports, _run, _work)
