"""Several narrow groups as one dense one, whose kernel is zero between them.

A matrix product of four channels costs a CPU about what one of sixteen costs. So neighbouring groups are
merged until they have `WIDE` channels, and are few enough for a convolution each.

Wins where groups are many and narrow. Multiply-adds: those of the form times the groups that are merged.
Error: that of one dot product of the contraction's length; a factor that is not finite makes NaNs of all
groups that are merged with its own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ..geometry import ConvSpec, Slot
from . import direct, per_group
from ._base import Lowering, Target, Work

# Channels that make a good product.
WIDE = 16


def _times(spec: ConvSpec) -> int:
    """How many groups become one: the fewest that leave wide and few enough ones."""
    narrow = min(spec.in_channels, spec.out_channels) // spec.groups
    divisors = (m for m in range(1, spec.groups) if spec.groups % m == 0)
    enough = (m for m in divisors if m * narrow >= WIDE and spec.groups // m <= per_group.MOST)
    return next(enough, spec.groups)


def merged(spec: ConvSpec) -> ConvSpec:
    """The convolution with the merged groups."""
    return dataclasses.replace(spec, groups=spec.groups // _times(spec))


def _algorithm(dense: ConvSpec) -> Lowering:
    """What computes the merged groups."""
    return (per_group if dense.groups > 1 else direct).LOWERING


def _block_diagonal(kernel: jax.Array, groups: int, times: int) -> jax.Array:
    """(*k, I/g, O) -> (*k, times I/g, O)."""
    *k, i, o = kernel.shape
    split = kernel.reshape(*k, 1, i, groups // times, times, o // groups)
    own = jnp.eye(times, dtype=bool)[:, None, None, :, None]
    return jnp.where(own, split, 0).reshape(*k, times * i, o)


def _diagonal_blocks(kernel: jax.Array, groups: int, times: int) -> jax.Array:
    """(*k, times I/g, O) -> (*k, I/g, O), without what lies between the groups."""
    *k, i, o = kernel.shape
    split = kernel.reshape(*k, times, i // times, groups // times, times, o // groups)
    own = [split[..., j, :, :, j, :] for j in range(times)]
    return jnp.stack(own, -2).reshape(*k, i // times, o)


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del slot, dtype, precision
    if spec.symbolic_channels or spec.groups == 1 or spec.depthwise or _times(spec) == 1:
        return (
            f"merged_groups wants groups, not depthwise ones, that are narrower than {WIDE} channels, "
            f"or more than {per_group.MOST}."
        )
    return None


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    dense, times = merged(spec), _times(spec)
    run = _algorithm(dense).run
    if slot == "weight_grad":
        return _diagonal_blocks(run(slot, dense, target, a, b), spec.groups, times)
    return run(slot, dense, target, a, _block_diagonal(b, spec.groups, times))


def _work(slot: Slot, spec: ConvSpec) -> Work:
    dense = merged(spec)
    return _algorithm(dense).work(slot, dense)


LOWERING = Lowering("merged_groups", _supports, _run, _work)
