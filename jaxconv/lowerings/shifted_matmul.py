"""One matrix product for each tap of the kernel: y = sum over t of shift(x, t) w[t], and its transposes.

Wins for 1x1 kernels (a single product), for wide channels where XLA's own convolution is slow (three and more
spatial dimensions, weight gradients of grouped and dilated kernels). Multiply-adds: those of the form plus
the padding. Workspace: one shifted copy at a time. Error: that of one dot product of the contraction's
length.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import ConvSpec, Slot
from ._base import Lowering, Target, Work, product_operands
from .kernels import adjoint_kernel, adjoint_spec
from .windows import UNROLL, columns, from_rows, offsets, padded, rows, window


def forward(spec: ConvSpec, target: Target, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """From x (N, *s, C) and w (*k, C/g, O), y (N, *o, O)."""
    x, kernel, dtype = product_operands(x, kernel, target)
    g, taps = spec.groups, offsets(spec.axes)
    x = rows(padded(spec, x), g)
    kernel = jnp.moveaxis(kernel.reshape(len(taps), -1, g, spec.out_channels // g), 2, 1)

    def tap(offset: Any, w: jax.Array) -> jax.Array:
        return matmul(window(x, spec.axes, 2, offset).reshape(g, -1, x.shape[-1]), w, target, dtype)

    if len(taps) <= UNROLL:
        parts = [tap(t, kernel[i]) for i, t in enumerate(taps)]
        y = sum(parts[1:], parts[0])
    else:
        zero = jnp.zeros_like(tap(taps[0], kernel[0]))
        y, _ = lax.scan(lambda y, t: (y + tap(*t), None), zero, (jnp.asarray(taps), kernel))
    return from_rows(y.reshape(g, *spec.output_shape[:-1], -1)).astype(target.dtype)


def weight_grad(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """From x (N, *s, C) and g (N, *o, O), w (*k, C/g, O).

    XLA's CPU backend multiplies three times faster if the contracted axis is the last of the first operand.
    """
    x, g, dtype = product_operands(x, g, target)
    groups, m = spec.groups, spec.batch * math.prod(a.out for a in spec.axes)
    x, g = columns(padded(spec, x), groups), rows(g, groups).reshape(groups, m, -1)

    def tap(offset: Any) -> jax.Array:
        seen = window(x, spec.axes, 3, offset).reshape(groups, -1, m)
        return matmul(seen, g, target, dtype).astype(target.dtype)

    taps = offsets(spec.axes)
    w = jnp.stack([tap(t) for t in taps]) if len(taps) <= UNROLL else lax.map(tap, jnp.asarray(taps))
    return jnp.moveaxis(w, 1, 2).reshape(spec.kernel_shape)


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


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    if slot == "weight_grad":
        return weight_grad(spec, target, a, b)
    if slot == "input_grad":
        return forward(adjoint_spec(spec), target, a, adjoint_kernel(b, spec.groups))
    return forward(spec, target, a, b)


def _work(slot: Slot, spec: ConvSpec) -> Work:
    if slot == "input_grad":
        return _work("forward", adjoint_spec(spec))
    m, t = spec.batch * math.prod(a.out for a in spec.axes), math.prod(a.kernel for a in spec.axes)
    g = spec.groups
    i, o = spec.in_channels // g, spec.out_channels // g
    seen, sums = (0 if t == 1 else g * m * i), (g * m * o if slot == "forward" else 0)
    dot = (g * t, m, i, o) if slot == "forward" else (g * t, i, m, o)
    return Work((dot,), t * (2 * seen + 2 * sums), seen + sums, steps=2 + 3 * min(t, UNROLL))


LOWERING = Lowering("shifted_matmul", _supports, _run, _work)
