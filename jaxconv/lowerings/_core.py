"""Run an algorithm on the part of a convolution where something touches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
from jax import lax

from ..geometry import ConvSpec, Core, Slot
from ._base import Target

Kind = Literal["input", "kernel", "output"]
Run = Callable[[Slot, ConvSpec, Target, jax.Array, jax.Array], jax.Array]

# The arrays of each slot: two operands, then the result.
KINDS: dict[Slot, tuple[Kind, Kind, Kind]] = {
    "forward": ("input", "kernel", "output"),
    "input_grad": ("output", "kernel", "input"),
    "weight_grad": ("input", "output", "kernel"),
}


def core_spec(spec: ConvSpec) -> tuple[ConvSpec, list[Core]] | None:
    """The spec of the touching part and where it lies, or None where nothing touches."""
    cores = [core for axis in spec.axes if (core := axis.core())]
    if len(cores) < spec.rank or 0 in (spec.batch, spec.in_channels, spec.out_channels):
        return None
    return dataclasses.replace(spec, axes=tuple(core.axis for core in cores)), cores


def on_core(run: Run, slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes one slot of a convolution with any padding by an algorithm that sees core geometry only."""
    found = core_spec(spec)
    if found is None:
        return lax.full(spec.result_shape(slot), 0, target.dtype)
    inner, cores = found
    first, second, result = KINDS[slot]
    y = run(slot, inner, target, _cut(a, first, cores), _cut(b, second, cores))
    return _restore(y, result, cores, spec.result_shape(slot))


def _range(kind: Kind, core: Core) -> tuple[int, int]:
    if kind == "input":
        return core.input_start, core.input_start + core.axis.size
    return core.output_start, core.output_start + core.axis.out


def _cut(array: jax.Array, kind: Kind, cores: list[Core]) -> jax.Array:
    if kind == "kernel":
        return array
    for axis, core in enumerate(cores, 1):
        start, stop = _range(kind, core)
        if (start, stop) != (0, array.shape[axis]):
            array = lax.slice_in_dim(array, start, stop, axis=axis)
    return array


def _restore(array: jax.Array, kind: Kind, cores: list[Core], shape: tuple[int, ...]) -> jax.Array:
    if kind == "kernel" or array.shape == shape:
        return array
    ranges = [_range(kind, core) for core in cores]
    pads = [(start, n - stop, 0) for (start, stop), n in zip(ranges, shape[1:-1], strict=True)]
    return lax.pad(array, lax.full((), 0, array.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
