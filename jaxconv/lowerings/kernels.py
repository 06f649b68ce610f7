"""The kernel of the adjoint, and the algorithms that take the input gradient for a convolution with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import ConvSpec, Slot
from ._base import Target
from ._core import Run

Operator = Callable[[ConvSpec, Target, jax.Array, jax.Array], jax.Array]


def swap_channels(kernel: jax.Array, groups: int) -> jax.Array:
    """(*k, I/g, O) -> (*k, O/g, I): within each group, input and output channels change places."""
    *k, i, o = kernel.shape
    split = kernel.reshape(*k, i, groups, o // groups)
    return jnp.swapaxes(split, -3, -1).reshape(*k, o // groups, groups * i)


def adjoint_kernel(kernel: jax.Array, groups: int) -> jax.Array:
    """The kernel that maps g back to x: flipped in space, channels exchanged within each group."""
    return lax.rev(swap_channels(kernel, groups), tuple(range(kernel.ndim - 2)))


def phase_kernel(kernel: jax.Array, strides: Sequence[int], groups: int) -> jax.Array:
    """(*k, I/g, O) -> (*b, O/g, g, *p, I/g): tap k = b * stride + p, zeros behind, the blocks b backwards.

    A convolution with it, its last axes taken as channels, makes all phases p of the adjoint's result.
    """
    *taps, i, o = kernel.shape
    rank, blocks = len(taps), [-(-k // s) for k, s in zip(taps, strides, strict=True)]
    ends = [(0, b * s - k) for k, b, s in zip(taps, blocks, strides, strict=True)]
    kernel = jnp.pad(kernel, [*ends, (0, 0), (0, 0)])
    # (b1 p1) (b2 p2) ... I (G o) -> b1 b2 ... o G p1 p2 ... I
    pairs = (n for pair in zip(blocks, strides, strict=True) for n in pair)
    kernel = kernel.reshape(*pairs, i, groups, o // groups)
    order = (*range(0, 2 * rank, 2), 2 * rank + 2, 2 * rank + 1, *range(1, 2 * rank, 2), 2 * rank)
    return lax.rev(jnp.transpose(kernel, order), tuple(range(rank)))


def whole_kernel(phases: jax.Array, taps: Sequence[int]) -> jax.Array:
    """The kernel that `phase_kernel` has made this of; what lies behind its `taps` is dropped."""
    rank = len(taps)
    phases = lax.rev(phases, tuple(range(rank)))
    # b1 b2 ... o G p1 p2 ... I -> (b1 p1) (b2 p2) ... I (G o)
    pairs = (axis for j in range(rank) for axis in (j, rank + 2 + j))
    kernel = jnp.transpose(phases, (*pairs, 2 * rank + 2, rank + 1, rank))
    *split, i, g, o = kernel.shape
    whole = (b * p for b, p in zip(split[::2], split[1::2], strict=True))
    return kernel.reshape(*whole, i, g * o)[tuple(slice(k) for k in taps)]


def adjoint_spec(spec: ConvSpec) -> ConvSpec:
    """The convolution of g with the adjoint kernel; for stride 1 it is one like any other."""
    return dataclasses.replace(
        spec,
        in_channels=spec.out_channels,
        out_channels=spec.in_channels,
        axes=tuple(a.adjoint() for a in spec.axes),
    )


def by_slot(forward: Operator, weight_grad: Operator) -> Run:
    """The `run` of an algorithm whose input gradient is its forward operator with the adjoint's kernel."""

    def run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
        if slot == "weight_grad":
            return weight_grad(spec, target, a, b)
        if slot == "input_grad":
            return forward(adjoint_spec(spec), target, a, adjoint_kernel(b, spec.groups))
        return forward(spec, target, a, b)

    return run
