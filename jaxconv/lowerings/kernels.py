"""The kernel of the adjoint."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import ConvSpec


def swap_channels(kernel: jax.Array, groups: int) -> jax.Array:
    """(*k, I/g, O) -> (*k, O/g, I): within each group, input and output channels change places."""
    *k, i, o = kernel.shape
    split = kernel.reshape(*k, i, groups, o // groups)
    return jnp.swapaxes(split, -3, -1).reshape(*k, o // groups, groups * i)


def adjoint_kernel(kernel: jax.Array, groups: int) -> jax.Array:
    """The kernel that maps g back to x: flipped in space, channels exchanged within each group."""
    return lax.rev(swap_channels(kernel, groups), tuple(range(kernel.ndim - 2)))


def adjoint_spec(spec: ConvSpec) -> ConvSpec:
    """The convolution of g with the adjoint kernel; for stride 1 it is one like any other."""
    return dataclasses.replace(
        spec,
        in_channels=spec.out_channels,
        out_channels=spec.in_channels,
        axes=tuple(a.adjoint() for a in spec.axes),
    )
