"""Depthwise convolution as shifted multiply-accumulates, which the compiler fuses into one pass.

    y[n, o, c] = sum over k of x[n, o * stride + k * dilation - lo, c] * w[k, c]

Wins where each channel is a group of its own: no matrix product is large enough to be one. Multiply-adds:
those of the form plus the padding. Error: that of one dot product of length prod(k). The input gradient at
stride 1 is the forward operator with the flipped kernel.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from ..geometry import ConvSpec, Slot
from ._base import Lowering, Target, product_operands
from .kernels import adjoint_kernel, adjoint_spec
from .shifted_matmul import window


def forward(spec: ConvSpec, target: Target, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """From x (N, *s, C) and w (*k, 1, C m), y (N, *o, C m)."""
    x, kernel, dtype = product_operands(x, kernel, target)
    x = jnp.pad(x, [(0, 0), *((a.lo, a.hi) for a in spec.axes), (0, 0)]).astype(dtype)
    multiplier = spec.out_channels // spec.groups
    if multiplier > 1:
        x = jnp.repeat(x, multiplier, axis=-1)
    *outer, last = (a.kernel for a in spec.axes)
    ones = (1,) * (spec.rank + 1)
    taps = kernel.reshape(*outer, last, *ones, spec.out_channels).astype(dtype)

    def row(index: tuple[Any, ...]) -> jax.Array:
        """All taps of the last axis, for one tap of the others."""
        y: Any = 0
        for t in range(last):
            offsets = tuple(k * a.dilation for k, a in zip((*index, t), spec.axes, strict=True))
            y = y + window(spec, x, offsets) * taps[(*index, t)]
        return y

    y: Any = 0
    for index in itertools.product(*map(range, outer)):
        y = y + row(index)
    return y.astype(target.dtype)


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del dtype, precision
    if spec.groups != spec.in_channels:
        inner = spec.in_channels // spec.groups
        return f"depthwise_mac wants one input channel in each group; here are {inner}."
    if slot == "weight_grad":
        return "depthwise_mac computes forward and input_grad; shifted_matmul has the weight gradient."
    if slot == "input_grad" and (spec.out_channels != spec.groups or any(a.stride > 1 for a in spec.axes)):
        return "depthwise_mac's input gradient wants stride 1 and a channel multiplier of 1."
    return None


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    if slot == "forward":
        return forward(spec, target, a, b)
    return forward(adjoint_spec(spec), target, a, adjoint_kernel(b, spec.groups))


LOWERING = Lowering("depthwise_mac", _supports, _run)
