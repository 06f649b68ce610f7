"""Depthwise convolution as shifted multiply-accumulates, which are one pass over the input.

    y[n, o, c] = sum over k of x[n, o * stride + k * dilation - lo, c] * w[k, c]

Wins where each channel is a group of its own: no matrix product is large enough to be one. Multiply-adds:
those of the form plus the padding. Error: that of one dot product of the contraction's length. The input
gradient at stride 1 is the forward operator with the flipped kernel; the weight gradient is one reduction
with a result for each tap.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..geometry import ConvSpec, Slot
from ._base import Lowering, Target, Work, once, product_operands
from .kernels import adjoint_kernel, adjoint_spec
from .windows import UNROLL, offsets, padded, window

# Positions that a reduction adds up at a time. The compiler writes so short a loop out; and what it walks
# over stays in the first cache where a power of two channels puts neighbouring positions into the same sets.
RUN = 8
# The most sums that it makes at once: with the factors, they have to find room in a CPU's registers.
SUMS = 13


def forward(spec: ConvSpec, target: Target, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """From x (N, *s, C) and w (*k, 1, C m), y (N, *o, C m)."""
    x, kernel, dtype = product_operands(x, kernel, target)
    x, kernel = _repeated(spec, padded(spec, x)), kernel.astype(dtype)
    if target.platform == "cpu":  # elsewhere each tap widens what it sees, or the wide array goes to memory
        x = x.astype(dtype)
    ones = (1,) * (spec.rank + 1)

    def row(x: jax.Array, w: jax.Array, taps: list[tuple[int, ...]]) -> jax.Array:
        parts = [window(x, spec.axes, 1, t).astype(dtype) * w[i] for i, t in enumerate(taps)]
        return sum(parts[1:], parts[0])

    taps = offsets(spec.axes)
    if len(taps) <= UNROLL:
        kernel = kernel.reshape(-1, *ones, spec.out_channels)
        return once(lambda x, w: row(x, w, taps).astype(target.dtype), target, x, kernel)
    x, starts, length = _in_rows(spec, x)
    missing = -spec.axes[-1].kernel % length
    kernel = jnp.pad(kernel, [*[(0, 0)] * (spec.rank - 1), (0, missing), (0, 0), (0, 0)])
    kernel = kernel.reshape(-1, length, *ones, spec.out_channels)
    taps = _row_taps(spec, length)
    zero = jnp.zeros_like(x, dtype, spec.output_shape)
    y, _ = lax.scan(
        lambda y, row_of: (y + row(_slab(spec, x, row_of[0], length), row_of[1], taps), None),
        zero,
        (starts, kernel),
    )
    return y.astype(target.dtype)


def weight_grad(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """From x (N, *s, C) and g (N, *o, C m), w (*k, 1, C m)."""
    x, g, dtype = product_operands(x, g, target)
    length, more = _runs(spec)
    g = jnp.pad(g.astype(dtype), [(0, 0)] * spec.rank + [(0, more), (0, 0)])
    last = spec.axes[-1]
    last = dataclasses.replace(last, hi=max(last.hi, last.tight_hi + more * last.stride))
    spec = dataclasses.replace(spec, axes=(*spec.axes[:-1], last))
    x = _repeated(spec, padded(spec, x).astype(dtype))
    runs = (*g.shape[:-2], -1, length, g.shape[-1])

    def row(x: jax.Array, taps: list[tuple[int, ...]]) -> jax.Array:
        passes = -(-len(taps) // SUMS)
        each = -(-len(taps) // passes)
        return jnp.concatenate([once(x, taps[i : i + each]) for i in range(0, len(taps), each)])

    def once(x: jax.Array, taps: list[tuple[int, ...]]) -> jax.Array:
        """One pass over x and g for all of these taps, which adds up runs, then the sum of all runs."""
        products = [(window(x, spec.axes, 1, t) * g).reshape(runs) for t in taps]
        zeros = [jnp.zeros((), dtype)] * len(taps)
        sums = lax.reduce(products, zeros, lambda a, b: list(map(lax.add, a, b)), (g.ndim - 1,))
        return jnp.stack(sums).sum(range(1, g.ndim))

    taps = offsets(spec.axes)
    if len(taps) <= UNROLL:
        w = row(x, taps)
    else:
        x, starts, length = _in_rows(spec, x)
        w = lax.map(lambda start: row(_slab(spec, x, start, length), _row_taps(spec, length)), starts)
        w = w.reshape(-1, starts.shape[0] // _outer(spec) * length, spec.out_channels)
        w = w[:, : spec.axes[-1].kernel]
    return w.reshape(spec.kernel_shape).astype(target.dtype)


def _runs(spec: ConvSpec) -> tuple[int, int]:
    """The weight gradient's lines are cut into runs: the length of one, and positions to be added."""
    out = spec.axes[-1].out
    count = -(-out // RUN)
    length = -(-out // count)
    return length, count * length - out


def _repeated(spec: ConvSpec, x: jax.Array) -> jax.Array:
    """Each channel as often as it has outputs."""
    multiplier = spec.out_channels // spec.groups
    return jnp.repeat(x, multiplier, axis=-1) if multiplier > 1 else x


def _outer(spec: ConvSpec) -> int:
    return math.prod(a.kernel for a in spec.axes[:-1])


def _in_rows(spec: ConvSpec, x: jax.Array) -> tuple[jax.Array, jax.Array, int]:
    """The taps cut into rows along the last axis: x lengthened for the last row, starts, taps in a row."""
    *outer, last = spec.axes
    count = -(-last.kernel // UNROLL)
    length = -(-last.kernel // count)
    starts = [(*o, r * length * last.dilation) for o in offsets(outer) for r in range(count)]
    more = (count * length - last.kernel) * last.dilation
    x = jnp.pad(x, [(0, 0)] * spec.rank + [(0, more), (0, 0)])
    return x, jnp.asarray(np.array(starts)), length


def _row_taps(spec: ConvSpec, length: int) -> list[tuple[int, ...]]:
    return [(*(0,) * (spec.rank - 1), t * spec.axes[-1].dilation) for t in range(length)]


def _slab(spec: ConvSpec, x: jax.Array, start: jax.Array, length: int) -> jax.Array:
    """What one row of taps sees."""
    sizes = [(a.out - 1) * a.stride + 1 for a in spec.axes]
    sizes[-1] += (length - 1) * spec.axes[-1].dilation
    return lax.dynamic_slice(x, (0, *start, 0), (x.shape[0], *sizes, x.shape[-1]))


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del dtype, precision
    if spec.groups != spec.in_channels:
        inner = spec.in_channels // spec.groups
        return f"depthwise_mac wants one input channel in each group; here are {inner}."
    if slot == "input_grad" and (spec.out_channels != spec.groups or any(a.stride > 1 for a in spec.axes)):
        return "depthwise_mac's input gradient wants stride 1 and a channel multiplier of 1."
    return None


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    if slot == "weight_grad":
        return weight_grad(spec, target, a, b)
    if slot == "input_grad":
        return forward(adjoint_spec(spec), target, a, adjoint_kernel(b, spec.groups))
    return forward(spec, target, a, b)


def _work(slot: Slot, spec: ConvSpec) -> Work:
    if slot == "input_grad":
        return _work("forward", adjoint_spec(spec))
    taps, output = math.prod(a.kernel for a in spec.axes), math.prod(spec.output_shape)
    moved = math.prod(spec.input_shape) * spec.out_channels // spec.in_channels + output
    loops = 1 if taps <= UNROLL else _outer(spec) * -(-spec.axes[-1].kernel // UNROLL)
    written_out = -(-taps // loops)
    # The weight gradient adds up runs first.
    passes, runs = 1, 0
    if slot == "weight_grad":
        passes, runs = -(-written_out // SUMS), written_out * output // _runs(spec)[0]
    moved_once = moved * passes + 2 * runs
    return Work(((taps * output, 1, 1, 1),), moved_once * loops, moved + runs, written_out)


LOWERING = Lowering("depthwise_mac", _supports, _run, _work)
