"""The textbook's transposed convolution: g stuffed with zeros, convolved with the flipped kernel at stride 1.

It never wins: prod(stride) times the multiply-adds of the form, and the stuffed array in memory. It is what
the other two methods are compared with and what most libraries' transposed convolutions compile to.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
from jax import lax

from ..geometry import ConvSpec, Slot
from . import direct
from ._base import Lowering, Target, Work
from .kernels import adjoint_kernel, adjoint_spec


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del spec, dtype, precision
    return None if slot == "input_grad" else f"zero_insertion computes input_grad, not {slot}."


def _run(slot: Slot, spec: ConvSpec, target: Target, g: jax.Array, kernel: jax.Array) -> jax.Array:
    del slot
    adjoint = adjoint_spec(spec)
    gaps = [(0, 0, 0), *((0, 0, a.base - 1) for a in adjoint.axes), (0, 0, 0)]
    # Without the barrier XLA would fold the zeros back into the convolution's window.
    stuffed = lax.optimization_barrier(lax.pad(g, lax.full((), 0, g.dtype), gaps))
    axes = tuple(dataclasses.replace(a, size=a.extent, base=1) for a in adjoint.axes)
    dense = dataclasses.replace(adjoint, axes=axes)
    return direct.forward(dense, target, stuffed, adjoint_kernel(kernel, spec.groups))


def _work(slot: Slot, spec: ConvSpec) -> Work:
    del slot
    m, g = spec.batch * math.prod(a.size for a in spec.axes), spec.groups
    k = math.prod(a.kernel for a in spec.axes) * spec.out_channels // g
    stuffed = spec.batch * spec.out_channels * math.prod(a.out * a.stride for a in spec.axes)
    return Work(((g, m, k, spec.in_channels // g),), 2 * stuffed, stuffed, steps=3)


LOWERING = Lowering("zero_insertion", _supports, _run, _work)
