"""The convolution that XLA has itself, in canonical form; the others are measured against it.

It always applies. Multiply-adds: those of the form itself in all slots, except that XLA's CPU backend
computes grouped weight gradients as dense ones. Error: that of one dot product of the contraction's length.

XLA has no convolution whose open array is the kernel, so the weight gradient is one of x with g as its
window, in the form that the GPU backend recognises as backward-filter. More than three spatial dimensions
are a scalar loop on every backend.

For a GPU, XLA writes out what cuDNN does not take: a border that is not alike on both sides, and with it the
zeros between the taps of a dilated kernel. So the border is made alike where positions behind the last window
allow that, and is otherwise put there before the convolution.

For a TPU, axes change places in the dimension numbers, as in JAX's own gradients, and not as arrays. Layouts
are the compiler's there, and it finds worse ones for arrays that were transposed: a causal depthwise layer's
weight gradient then takes 8 times the cycles.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import Axis, ConvSpec, Slot
from ._base import Lowering, Target, Work, convolve
from .kernels import adjoint_kernel, adjoint_spec

# Platforms with cuDNN or its like.
GPUS = ("cuda", "rocm")


def forward(spec: ConvSpec, target: Target, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """From x (N, *s, C) and w (*k, C/g, O), y (N, *o, O)."""
    x, borders = _bordered(x, spec.axes, target)
    return convolve(
        x,
        kernel,
        tuple(a.stride for a in spec.axes),
        borders,
        target,
        rhs_dilation=tuple(a.dilation for a in spec.axes),
        feature_group_count=spec.groups,
    )


def _bordered(
    x: jax.Array, axes: Sequence[Axis], target: Target
) -> tuple[jax.Array, tuple[tuple[int, int], ...]]:
    """The array to convolve, and the border that the convolution is to add."""
    borders = tuple((a.lo, a.hi) for a in axes)
    if target.platform not in GPUS:
        return x, borders
    borders = tuple((a.lo, a.lo if dataclasses.replace(a, hi=a.lo).out == a.out else a.hi) for a in axes)
    dilated = any(a.dilation > 1 and a.kernel > 1 for a in axes)
    if not dilated or any(a.base > 1 for a in axes):
        return x, borders
    if any(lo != hi for lo, hi in borders):
        x, borders = jnp.pad(x, ((0, 0), *borders, (0, 0))), ((0, 0),) * len(axes)
    # Without the barrier XLA would fold a border, this one or that of a layer, into the convolution's window.
    return lax.optimization_barrier(x), borders


def input_grad(spec: ConvSpec, target: Target, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """From g (N, *o, O) and w (*k, C/g, O), x (N, *s, C): g, stuffed with zeros, times the flipped kernel.

    The kernel is reversed as an array, not as a window: XLA's GPU backend recognises a backward-data
    convolution by that, and its CPU backend has no fast path for a reversed window.
    """
    axes = [_not_a_group(a.adjoint()) for a in spec.axes]
    g, borders = _bordered(g, axes, target)
    n, numbers = spec.rank, None
    if target.platform == "tpu" and spec.groups == 1:
        data = (0, n + 1, *range(1, n + 1))
        numbers = lax.ConvDimensionNumbers(data, (n, n + 1, *range(n)), data)
        kernel = lax.rev(kernel, tuple(range(n)))
    else:
        kernel = adjoint_kernel(kernel, spec.groups)
    x = convolve(
        g,
        kernel,
        (1,) * n,
        borders,
        target,
        numbers,
        lhs_dilation=tuple(a.base for a in axes),
        rhs_dilation=tuple(a.dilation for a in axes),
        feature_group_count=spec.groups,
    )
    return x if x.shape == spec.input_shape else lax.slice(x, (0,) * x.ndim, spec.input_shape)


def _not_a_group(axis: Axis) -> Axis:
    """Keeps an axis from being taken for a group dimension, by one position more (which is cut off again).

    XLA marks groups as axes of base dilation = kernel, stride = kernel - 1 and no padding. It takes a kernel
    of 2 over an input stuffed by 2 for one, and aborts the process where it then exchanges the operands.
    """
    alike = (axis.base, axis.kernel, axis.dilation, axis.lo, axis.hi) == (2, 2, 1, 0, 0)
    return dataclasses.replace(axis, hi=1) if alike else axis


def weight_grad(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """From x (N, *s, C) and g (N, *o, O), w (*k, C/g, O).

    Batch and input channels change places: x is read as C images of N channels, g as their kernel, and stride
    and dilation change places.
    """
    if target.platform in GPUS and window_beyond_map(spec):
        return adjoint_kernel(weight_grad(adjoint_spec(spec), target, g, x), spec.groups)
    # Positions that no tap reaches would lengthen the result; they are cut off here rather than padded
    # negatively. Of what a single tap strides over, a GPU is spared the copy.
    reached = [min(a.size, a.size + a.tight_hi) for a in spec.axes]
    alone = [a.stride if a.kernel == 1 and target.platform in GPUS else 1 for a in spec.axes]
    if reached != [a.size for a in spec.axes] or any(step > 1 for step in alone):
        x = lax.slice(x, (0,) * x.ndim, (x.shape[0], *reached, x.shape[-1]), (1, *alone, 1))
    n, numbers = spec.rank, None
    if target.platform == "tpu":
        data = (n + 1, 0, *range(1, n + 1))
        numbers = lax.ConvDimensionNumbers(data, data, (n, n + 1, *range(n)))
    else:
        x, g = jnp.swapaxes(x, 0, -1), jnp.moveaxis(g, 0, -2)
    dw = convolve(
        x,
        g,
        tuple(a.dilation for a in spec.axes),
        tuple((a.lo, a.hi) for a in spec.axes),
        target,
        numbers,
        rhs_dilation=tuple(a.stride // step for a, step in zip(spec.axes, alone, strict=True)),
        batch_group_count=spec.groups,
    )
    return dw if numbers else jnp.moveaxis(dw, 0, -2)


def window_beyond_map(spec: ConvSpec) -> bool:
    """Whether XLA would exchange a weight gradient's operands, by which it is no backward-filter any more.

    At stride 1 it is one of g over x as well, with x as the smaller window.
    """
    strided = any(a.stride > 1 or a.dilation > 1 for a in spec.axes)
    places, positions = (math.prod(getattr(a, n) for a in spec.axes) for n in ("out", "size"))
    return not strided and places > positions


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    return {"forward": forward, "input_grad": input_grad, "weight_grad": weight_grad}[slot](
        spec, target, a, b
    )


def _work(slot: Slot, spec: ConvSpec) -> Work:
    g, taps = spec.groups, math.prod(a.kernel for a in spec.axes)
    # XLA multiplies the zeros between inputs only where it has no program without them.
    stuffed = slot == "input_grad" and (g > 1 or spec.rank > 2 or any(a.dilation > 1 for a in spec.axes))
    positions = math.prod(a.size if stuffed else a.out for a in spec.axes)
    m, i, o = spec.batch * positions, spec.in_channels // g, spec.out_channels // g
    dot = {
        "forward": (g, m, taps * i, o),
        "input_grad": (g, m, taps * o, i),
        "weight_grad": (1, taps * i * g, m, o * g),
    }[slot]
    return Work((dot,), 0, 0)


LOWERING = Lowering("direct", lambda *_: None, _run, _work)
