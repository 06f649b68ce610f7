"""What the planner makes of a convolution of lax: which of its readings, and which algorithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..lowerings import Target, core_spec
from .cost import predict
from .measured import measured
from .plan import choose
from .readings import Reading, readings

# A reading that is not the natural one has to be this much faster, in part and in seconds: it moves arrays
# into another order, and predictions of short times are rough.
WORTH, LEAST = 0.7, 1e-4
# Beyond this many times as many positions in its kernel nobody means a reading.
FAR = 64


def best_reading(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], params: dict[str, Any], target: Target
) -> tuple[Reading, str | None] | None:
    """How to compute a convolution of lax, and the algorithm.

    Args:
      lhs_shape: of its first operand.
      rhs_shape: of its second.
      params: of its primitive.
      target: platform, result dtype, precision.

    Returns:
      The reading and the algorithm's name (None where the result is zeros); None if there is no reading.
    """
    found = possible_readings(lhs_shape, rhs_shape, params)
    if not found:
        return None
    natural = min(found, key=_extent)
    best, (name, seconds) = natural, _estimate(natural, target)
    for other in found:
        if other is not natural and _positions(other) <= FAR * _positions(natural):
            their_name, theirs = _estimate(other, target)
            if seconds is not None and theirs is not None and theirs < WORTH * seconds - LEAST:
                best, name = other, their_name
    return best, name


def possible_readings(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], params: dict[str, Any]
) -> list[Reading]:
    """As `readings`; none of a convolution with a symbolic size."""
    if not all(type(n) is int for n in (*lhs_shape, *rhs_shape, *map(sum, params["padding"]))):
        return []
    return readings(lhs_shape, rhs_shape, **params)


def _extent(reading: Reading) -> tuple[int, int]:
    """Positions of the kernel, then of the places it is put to: a border has places that are not needed."""
    return _positions(reading), math.prod(a.out for a in reading.spec.axes)


def _positions(reading: Reading) -> int:
    return math.prod(a.kernel for a in reading.spec.axes)


def _estimate(reading: Reading, target: Target) -> tuple[str | None, float | None]:
    """The algorithm of one reading, and its seconds where a table or the cost model knows them."""
    found = core_spec(reading.spec)
    if found is None:
        return None, 0.0
    slot, spec = reading.slot, found[0]
    name = choose(slot, spec, target, None)[0].name
    table = measured(slot, spec, target)
    seconds = table.seconds if table else predict([name], slot, spec, target)
    return name, seconds.get(name)
