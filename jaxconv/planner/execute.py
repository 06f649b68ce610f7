"""Run a chosen algorithm on the part of a convolution where something touches."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
from jax import lax

from ..geometry import ConvSpec, Core, Slot
from ..lowerings import Target
from .plan import choose

Kind = Literal["input", "kernel", "output"]

# The arrays of each slot: two operands, then the result.
KINDS: dict[Slot, tuple[Kind, Kind, Kind]] = {
    "forward": ("input", "kernel", "output"),
    "input_grad": ("output", "kernel", "input"),
    "weight_grad": ("input", "output", "kernel"),
}


def execute(
    slot: Slot, spec: ConvSpec, target: Target, algorithm: str | None, a: jax.Array, b: jax.Array
) -> jax.Array:
    """Computes one slot; no lowering below ever sees negative padding or an empty array.

    Args:
      slot: the array to compute.
      spec: the convolution, with any padding.
      target: platform, result dtype, precision.
      algorithm: a forced choice, or None.
      a: first operand.
      b: second operand.

    Returns:
      The array of the open slot.
    """
    cores = [core for axis in spec.axes if (core := axis.core())]
    if len(cores) < spec.rank or 0 in (spec.batch, spec.in_channels, spec.out_channels):
        return lax.full(spec.result_shape(slot), 0, target.dtype)
    inner = dataclasses.replace(spec, axes=tuple(core.axis for core in cores))
    kinds = KINDS[slot]
    lowering, _ = choose(slot, inner, target, algorithm)
    y = lowering.run(slot, inner, target, _cut(a, kinds[0], cores), _cut(b, kinds[1], cores))
    return _restore(y, kinds[2], cores, spec.result_shape(slot))


def _range(kind: Kind, core: Core) -> tuple[int, int]:
    if kind == "input":
        return core.input_start, core.input_start + core.axis.size
    return core.output_start, core.output_start + core.axis.out


def _cut(array: jax.Array, kind: Kind, cores: list[Core]) -> jax.Array:
    if kind == "kernel":
        return array
    for i, core in enumerate(cores):
        array = lax.slice_in_dim(array, *_range(kind, core), axis=i + 1)
    return array


def _restore(array: jax.Array, kind: Kind, cores: list[Core], shape: tuple[int, ...]) -> jax.Array:
    if kind == "kernel" or array.shape == shape:
        return array
    pads = [
        (start, shape[i + 1] - stop, 0)
        for i, core in enumerate(cores)
        for start, stop in [_range(kind, core)]
    ]
    return lax.pad(array, lax.full((), 0, array.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
