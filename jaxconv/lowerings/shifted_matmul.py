"""One matrix product for each tap of the kernel: y = sum over t of shift(x, t) w[t], and its transposes.

Wins for 1x1 kernels (a single product), for wide channels where XLA's own convolution is slow (three and more
spatial dimensions, weight gradients of grouped and dilated kernels), and where taps see much padding: small
maps, large dilations. Multiply-adds: those of the form, exactly where each tap's product is cut to the
positions at which it touches the input, elsewhere plus the padding. Workspace: one shifted copy at a time.
Error: that of one dot product of the contraction's length.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import ConvSpec, Slot
from ._base import Lowering, Target, Work, product_operands
from .kernels import adjoint_spec, by_slot
from .windows import UNROLL, columns, cut, from_rows, offsets, padded, rows, touching, window

# Channels of a group; and what cutting has to leave of a weight gradient's positions.
THIN, LEAST_SAVED = 8, 0.9


def forward(spec: ConvSpec, target: Target, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """From x (N, *s, C) and w (*k, C/g, O), y (N, *o, O)."""
    x, kernel, dtype = product_operands(x, kernel, target)
    g, taps = spec.groups, offsets(spec.axes)
    kernel = jnp.moveaxis(kernel.reshape(len(taps), -1, g, spec.out_channels // g), 2, 1)

    def product(seen: jax.Array, w: jax.Array) -> jax.Array:
        y = matmul(seen.reshape(g, -1, seen.shape[-1]), w, target, dtype)
        return y.reshape(*seen.shape[:-1], -1)

    if _cut("forward", spec):
        x, parts = rows(x, g), []
        for i, outputs, inputs in touching(spec.axes):
            ends = [(o.start, a.out - o.stop) for o, a in zip(outputs, spec.axes, strict=True)]
            part = product(cut(x, 2, inputs), kernel[i])
            parts.append(jnp.pad(part, [(0, 0), (0, 0), *ends, (0, 0)]))
        return from_rows(sum(parts[1:], parts[0])).astype(target.dtype)
    x = rows(padded(spec, x), g)
    if len(taps) <= UNROLL:
        parts = [product(window(x, spec.axes, 2, t), kernel[i]) for i, t in enumerate(taps)]
        y = sum(parts[1:], parts[0])
    else:
        zero = jnp.zeros((g, *spec.output_shape[:-1], spec.out_channels // g), dtype)
        y, _ = lax.scan(
            lambda y, t: (y + product(window(x, spec.axes, 2, t[0]), t[1]), None),
            zero,
            (jnp.asarray(taps), kernel),
        )
    return from_rows(y).astype(target.dtype)


def weight_grad(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """From x (N, *s, C) and g (N, *o, O), w (*k, C/g, O).

    XLA's CPU backend multiplies three times faster if the contracted axis is the last of the first operand.
    """
    x, g, dtype = product_operands(x, g, target)
    groups, taps = spec.groups, offsets(spec.axes)
    g = rows(g, groups)

    def product(seen: jax.Array, g: jax.Array) -> jax.Array:
        m = math.prod(seen.shape[2:])
        w = matmul(seen.reshape(groups, -1, m), g.reshape(groups, m, -1), target, dtype)
        return w.astype(target.dtype)

    if _cut("weight_grad", spec):
        x = columns(x, groups)
        parts = [jnp.zeros((groups, x.shape[1], g.shape[-1]), target.dtype)] * len(taps)
        for i, outputs, inputs in touching(spec.axes):
            parts[i] = product(cut(x, 3, inputs), cut(g, 2, outputs))
        w = jnp.stack(parts)
    else:
        x = columns(padded(spec, x), groups)

        def tap(offset: Any) -> jax.Array:
            return product(window(x, spec.axes, 3, offset), g)

        w = jnp.stack([*map(tap, taps)]) if len(taps) <= UNROLL else lax.map(tap, jnp.asarray(taps))
    return jnp.moveaxis(w, 1, 2).reshape(spec.kernel_shape)


def _cut(slot: Slot, spec: ConvSpec) -> bool:
    """Whether each product is cut to the positions where its tap touches the input."""
    taps = math.prod(a.kernel for a in spec.axes)
    # The compiler makes a thin product one loop with the sum, and that loop needs parts of equal shape; and a
    # weight gradient copies the cut g for each tap.
    thin = spec.symbolic_channels or min(spec.in_channels, spec.out_channels) < THIN * spec.groups
    whole = LEAST_SAVED * taps * math.prod(a.out for a in spec.axes)
    return taps <= UNROLL and not thin and (slot == "forward" or _touched(spec) <= whole)


def _touched(spec: ConvSpec) -> int:
    """Positions of all taps that touch the input."""
    return math.prod(sum(stop - start for start, stop in a.taps()) for a in spec.axes)


def matmul(a: jax.Array, b: jax.Array, target: Target, dtype: Any) -> jax.Array:
    """(G, m, k) times (G, k, n); one group is a plain product, which XLA has better code for."""
    if a.shape[0] == 1:
        return jnp.matmul(a[0], b[0], precision=target.precision, preferred_element_type=dtype)[None]
    return jnp.matmul(a, b, precision=target.precision, preferred_element_type=dtype)


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del dtype, precision
    if slot == "input_grad" and any(a.stride > 1 for a in spec.axes):
        return "shifted_matmul's input gradient wants stride 1; overlap_add is its transpose for any."
    return None


def _work(slot: Slot, spec: ConvSpec) -> Work:
    if slot == "input_grad":
        return _work("forward", adjoint_spec(spec))
    g, t = spec.groups, math.prod(a.kernel for a in spec.axes)
    m = spec.batch * math.prod(a.out for a in spec.axes)
    if _cut(slot, spec):  # what a tap touches on average
        m = -(-spec.batch * _touched(spec) // t)
    i, o = spec.in_channels // g, spec.out_channels // g
    seen, sums = (0 if t == 1 else g * m * i), (g * m * o if slot == "forward" else 0)
    dot = (g * t, m, i, o) if slot == "forward" else (g * t, i, m, o)
    return Work((dot,), t * (2 * seen + 2 * sums), seen + sums, steps=2 + 3 * min(t, UNROLL))


LOWERING = Lowering("shifted_matmul", _supports, by_slot(forward, weight_grad), _work)
