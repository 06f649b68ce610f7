"""One plain convolution for each group, side by side.

XLA's CPU backend computes groups one after the other in a loop of its own, by small products; a convolution
without groups takes its fast path, and its weight gradient is not expanded into a dense one.

Wins where groups are few and wide. Multiply-adds: those of the form. Error: that of one dot product of the
contraction's length.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from ..geometry import ConvSpec, Slot
from . import direct
from ._base import Lowering, Target, Work

# Every group is a convolution to compile.
MOST = 16


def one_group(spec: ConvSpec) -> ConvSpec:
    """The convolution of each group."""
    g = spec.groups
    return dataclasses.replace(
        spec, in_channels=spec.in_channels // g, out_channels=spec.out_channels // g, groups=1
    )


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del slot, dtype, precision
    if 1 < spec.groups <= MOST:
        return None
    return f"per_group wants 2 to {MOST} groups, each a convolution of its own; here are {spec.groups}."


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    one = one_group(spec)
    # The channels that groups cut are the last axis of all arrays but for a kernel's inputs, already one's.
    parts = [
        direct.LOWERING.run(slot, one, target, left, right)
        for left, right in zip(jnp.split(a, spec.groups, -1), jnp.split(b, spec.groups, -1), strict=True)
    ]
    return jnp.concatenate(parts, -1)


def _work(slot: Slot, spec: ConvSpec) -> Work:
    one = direct.LOWERING.work(slot, one_group(spec))
    shapes = (*spec.operand_shapes(slot), spec.result_shape(slot))
    copied = sum(map(math.prod, shapes))
    dots = tuple((spec.groups * count, m, k, n) for count, m, k, n in one.dots)
    return Work(dots, 2 * copied, copied, steps=4 * spec.groups)


LOWERING = Lowering("per_group", _supports, _run, _work)
