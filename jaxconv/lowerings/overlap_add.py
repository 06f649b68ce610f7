"""Transposed convolution as one matrix product and a sum of overlapping patches.

    z[n, o, k, c] = sum over j of g[n, o, j] * w[k, c, j];    x[n, o * stride + k - lo, c] += z[n, o, k, c]

Along each axis the taps are cut into blocks of stride; block b of position o lands, whole, in block o + b of
the output. So the sum is that of ceil(k / stride) shifted arrays, without a gap or a scatter.

Wins in three dimensions and in groups, where XLA convolves the zeros between the inputs: multiply-adds are
exactly those of the form plus what is cropped. Workspace: prod(k) / prod(stride) times the output. Error:
that of one dot product, then ceil(k / stride) additions for each axis.

A convolution of stride 1 is a transposed one of the flipped kernel. As such it wins where it has fewer
channels in its result than in its input, because the patches are those of the result.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import Axis, ConvSpec, Slot
from ._base import Lowering, Target, Work, product_operands
from .kernels import adjoint_kernel, adjoint_spec


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del dtype, precision
    if slot == "weight_grad":
        return "overlap_add computes input_grad and forward, not weight_grad."
    if slot == "forward" and any(a.stride > 1 for a in spec.axes):
        return "overlap_add's forward wants stride 1, where a convolution is a transposed one too."
    if any(a.stride > 1 and a.dilation > 1 for a in spec.axes):
        return "overlap_add cuts the kernel into blocks of stride, which a dilated kernel is not."
    return None


def _run(slot: Slot, spec: ConvSpec, target: Target, g: jax.Array, kernel: jax.Array) -> jax.Array:
    if slot == "forward":
        spec, kernel = adjoint_spec(spec), adjoint_kernel(kernel, spec.groups)
    g, kernel, dtype = product_operands(g, kernel, target)
    groups, i, o = spec.groups, spec.in_channels // spec.groups, spec.out_channels // spec.groups
    outs, taps = tuple(a.out for a in spec.axes), tuple(a.kernel for a in spec.axes)
    z = jnp.einsum(
        "mgo,kigo->mkgi",
        g.reshape(-1, groups, o),
        kernel.reshape(-1, i, groups, o),
        precision=target.precision,
        preferred_element_type=dtype,
    ).reshape(spec.batch, *outs, *taps, spec.in_channels)
    for axis, a in enumerate(spec.axes, 1):
        z = _add_up(z, axis, axis + spec.rank, a)
    # N m1 m2 ... p1 p2 ... C -> N (m1 p1) (m2 p2) ... C
    order = (0, *(axis for m in range(1, spec.rank + 1) for axis in (m, m + spec.rank)), 2 * spec.rank + 1)
    sizes = [z.shape[m] * z.shape[m + spec.rank] for m in range(1, spec.rank + 1)]
    x = jnp.transpose(z, order).reshape(spec.batch, *sizes, spec.in_channels)
    ends = [(0, max(0, a.lo + a.size - n)) for a, n in zip(spec.axes, sizes, strict=True)]
    x = jnp.pad(x, [(0, 0), *ends, (0, 0)])
    starts = (0, *(a.lo for a in spec.axes), 0)
    limits = (spec.batch, *(a.lo + a.size for a in spec.axes), spec.in_channels)
    return lax.slice(x, starts, limits).astype(target.dtype)


def _add_up(z: jax.Array, position: int, tap: int, axis: Axis) -> jax.Array:
    """(..., o, ..., k, ...) -> (..., o + (blocks - 1) * dilation, ..., stride, ...)."""
    stride, d = axis.stride, axis.dilation
    blocks = -(-z.shape[tap] // stride)
    padding = [(0, 0)] * z.ndim
    padding[tap] = (0, blocks * stride - z.shape[tap])
    z = jnp.pad(z, padding)
    parts = []
    for b in range(blocks):
        shift = [(0, 0)] * z.ndim
        shift[position] = (b * d, (blocks - 1 - b) * d)
        parts.append(jnp.pad(lax.slice_in_dim(z, b * stride, (b + 1) * stride, axis=tap), shift))
    return sum(parts[1:], parts[0])


def _work(slot: Slot, spec: ConvSpec) -> Work:
    if slot == "forward":
        spec = adjoint_spec(spec)
    m, g = spec.batch * math.prod(a.out for a in spec.axes), spec.groups
    taps = math.prod(a.kernel for a in spec.axes)
    z = m * taps * spec.in_channels
    dot = (g, m, spec.out_channels // g, taps * spec.in_channels // g)
    return Work((dot,), 3 * z + 2 * math.prod(spec.input_shape), z, steps=4 + 3 * spec.rank)


LOWERING = Lowering("overlap_add", _supports, _run, _work)
