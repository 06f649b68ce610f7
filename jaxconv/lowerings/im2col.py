"""One matrix product over patches: y = patches(x) w, and its transposes.

Wins where channels are few, so that a product for each tap would be narrow; in most dense weight gradients on
CPU; and where the kernel has more positions than the map, which XLA's CPU backend would run with a reversed
window, as a scalar loop.
Multiply-adds: those of the form plus the padding. Workspace: prod(k) / prod(stride) times the input. Error:
that of one dot product of the contraction's length.

A weight gradient of stride 1 is one of g over x as well as of x over g. The array with fewer channels is the
one that is unfolded, so that the last layer of a network, of 64 channels to 3, costs no more than the first.
For a GPU or TPU that of patches which do not overlap is one product of the array as it is, cut into blocks.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import ConvSpec, Slot
from ._base import Lowering, Target, Work, product_operands
from .kernels import adjoint_kernel, adjoint_spec, by_slot
from .shifted_matmul import matmul
from .windows import from_rows, padded, patch_columns, patches, rows, slices


def forward(spec: ConvSpec, target: Target, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """From x (N, *s, C) and w (*k, C/g, O), y (N, *o, O)."""
    x, kernel, dtype = product_operands(x, kernel, target)
    unfolded = patches(rows(padded(spec, x), spec.groups), spec.axes)
    g, k = spec.groups, unfolded.shape[-1]
    w = jnp.moveaxis(kernel.reshape(k, g, -1), 1, 0)
    y = matmul(unfolded.reshape(g, -1, k), w, target, dtype)
    return from_rows(y.reshape(*unfolded.shape[:-1], -1)).astype(target.dtype)


def weight_grad(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """From x (N, *s, C) and g (N, *o, O), w (*k, C/g, O): the patches are laid out contraction last."""
    if target.platform != "cpu" and apart(spec):
        return _blocks(spec, target, x, g)
    if _exchanged(spec):
        return adjoint_kernel(_columns(adjoint_spec(spec), target, g, x), spec.groups)
    return _columns(spec, target, x, g)


def apart(spec: ConvSpec) -> bool:
    """Whether the patches are the blocks that the input is cut into: none overlap, and there is no border."""
    return spec.groups == 1 and all(
        (a.kernel, a.dilation, a.lo, a.hi) == (a.stride, 1, 0, 0) for a in spec.axes
    )


def _blocks(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """One product that contracts the batch and all blocks; where they lie is left to the compiler."""
    x, g, dtype = product_operands(x, g, target)
    x = lax.slice(x, (0,) * x.ndim, (x.shape[0], *(a.out * a.stride for a in spec.axes), x.shape[-1]))
    x = x.reshape(x.shape[0], *(n for a in spec.axes for n in (a.out, a.stride)), x.shape[-1])
    contracted = ((0, *range(1, x.ndim - 1, 2)), tuple(range(g.ndim - 1)))
    w = lax.dot_general(
        x, g, (contracted, ((), ())), precision=target.precision, preferred_element_type=dtype
    )
    return w.astype(target.dtype)


def _columns(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    x, g, dtype = product_operands(x, g, target)
    m = spec.batch * math.prod(a.out for a in spec.axes)
    unfolded = patch_columns(padded(spec, x), spec.axes, spec.groups)
    w = matmul(
        unfolded.reshape(spec.groups, -1, m), rows(g, spec.groups).reshape(spec.groups, m, -1), target, dtype
    )
    return jnp.moveaxis(w, 0, 1).reshape(spec.kernel_shape).astype(target.dtype)


def _exchanged(spec: ConvSpec) -> bool:
    """Whether the weight gradient unfolds g."""
    if spec.symbolic_channels or any(a.stride > 1 for a in spec.axes):
        return False  # with a stride, g has zeros between its positions
    inputs, outputs = (math.prod(getattr(a, n) for a in spec.axes) for n in ("size", "out"))
    return spec.out_channels * inputs < spec.in_channels * outputs


def _supports(slot: Slot, spec: ConvSpec, dtype: object, precision: object) -> str | None:
    del dtype, precision
    if slot == "input_grad" and any(a.stride > 1 for a in spec.axes):
        return "im2col's input gradient wants stride 1; overlap_add is its transpose for any."
    return None


def _work(slot: Slot, spec: ConvSpec) -> Work:
    if slot == "input_grad":
        return _work("forward", adjoint_spec(spec))
    if slot == "weight_grad" and _exchanged(spec):
        spec = adjoint_spec(spec)
    m, g = spec.batch * math.prod(a.out for a in spec.axes), spec.groups
    k, n = math.prod(a.kernel for a in spec.axes) * spec.in_channels // g, spec.out_channels // g
    dot = (g, m, k, n) if slot == "forward" else (g, k, m, n)
    unfolded = g * m * k
    return Work((dot,), 2 * unfolded, unfolded, steps=3 + sum(map(slices, spec.axes)))


LOWERING = Lowering("im2col", _supports, by_slot(forward, weight_grad), _work)
