"""One matrix product for each tap of the kernel: weight_grad[t] = shift(x, t)^T g.

Wins for the weight gradient of grouped and depthwise convolutions (no work for the zeros between groups), of
1x1 kernels (a single product), of three and more spatial dimensions, and of dilated kernels. Multiply-adds:
those of the form plus the padding. Error: that of one dot product of length N * prod(out).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import ConvSpec, Slot
from ._base import Lowering, Target, product_operands

# Beyond this many taps the products run in a loop: compile time would grow with every one written out.
UNROLL = 64


def weight_grad(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """From x (N, *s, C) and g (N, *o, O), w (*k, C/g, O)."""
    x, g, dtype = product_operands(x, g, target)
    x = jnp.pad(x, ((0, 0), *((a.lo, a.hi) for a in spec.axes), (0, 0)))
    product = _depthwise_product if spec.depthwise and spec.out_channels == spec.groups else _product

    def tap(offsets: jax.Array | tuple[int, ...]) -> jax.Array:
        return product(spec, target, dtype, window(spec, x, offsets), g).astype(target.dtype)

    kernel = tuple(a.kernel for a in spec.axes)
    taps = [
        tuple(t * a.dilation for t, a in zip(tap, spec.axes, strict=True))
        for tap in itertools.product(*map(range, kernel))
    ]
    stacked = jnp.stack([tap(t) for t in taps]) if len(taps) <= UNROLL else lax.map(tap, jnp.asarray(taps))
    return stacked.reshape(spec.kernel_shape)


def window(spec: ConvSpec, x: jax.Array, offsets: jax.Array | tuple[int, ...]) -> jax.Array:
    """The strided slice (N, *o, C) of the padded x that one tap sees."""
    n, c = x.shape[0], x.shape[-1]
    sizes = tuple((a.out - 1) * a.stride + 1 for a in spec.axes)
    if isinstance(offsets, tuple):
        limits = tuple(o + s for o, s in zip(offsets, sizes, strict=True))
        return lax.slice(x, (0, *offsets, 0), (n, *limits, c), (1, *(a.stride for a in spec.axes), 1))
    block = lax.dynamic_slice(x, (0, *offsets, 0), (n, *sizes, c))
    return lax.slice(block, (0,) * x.ndim, block.shape, (1, *(a.stride for a in spec.axes), 1))


def _product(spec: ConvSpec, target: Target, dtype: jnp.dtype, x: jax.Array, g: jax.Array) -> jax.Array:
    """Contract the M = N * prod(o) positions: (M, G, I), (M, G, O) -> (I, G O)."""
    m = spec.batch * math.prod(a.out for a in spec.axes)
    x, g = x.reshape(m, spec.groups, -1), g.reshape(m, spec.groups, -1)
    dw = lax.dot_general(
        x, g, (((0,), (0,)), ((1,), (1,))), precision=target.precision, preferred_element_type=dtype
    )  # (G, I, O)
    return jnp.swapaxes(dw, 0, 1).reshape(spec.kernel_shape[-2:])


def _depthwise_product(
    spec: ConvSpec, target: Target, dtype: jnp.dtype, x: jax.Array, g: jax.Array
) -> jax.Array:
    """One channel for each group: multiply and add up, (M, C), (M, C) -> (1, C)."""
    del target
    c = spec.groups
    return jnp.sum(x.reshape(-1, c).astype(dtype) * g.reshape(-1, c).astype(dtype), axis=0, keepdims=True)


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del spec, dtype, precision
    return None if slot == "weight_grad" else "shifted_matmul computes the weight gradient only."


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    del slot
    return weight_grad(spec, target, a, b)


LOWERING = Lowering("shifted_matmul", _supports, _run)
