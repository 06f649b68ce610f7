"""What the planner makes of a convolution of lax: which of its readings, and which algorithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..lowerings import Target, core_spec
from .cost import predict
from .measured import measured
from .plan import choose
from .readings import Reading, readings

# A reading that is not the natural one has to be this much faster, in part and in seconds: it moves arrays
# into another order, and predictions of short times are rough.
WORTH, LEAST = 0.7, 1e-4
# That of the same kernel, turned around, moves nothing else: what is measured decides, then this part.
TURNED = 0.9
# Beyond this many times as many positions in its kernel nobody means a reading.
FAR = 64


class _Estimate(NamedTuple):
    """The algorithm of a reading, its seconds where they are known, and whether that is by measurement."""

    name: str | None
    seconds: float | None
    measured: bool


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
    best, ours = natural, _estimate(natural, target)
    for other in found:
        if other is not natural and _positions(other) <= FAR * _positions(natural):
            theirs = _estimate(other, target)
            if _preferred(theirs, ours, _positions(other) == _positions(natural)):
                best, ours = other, theirs
    return best, ours.name


def _preferred(theirs: _Estimate, ours: _Estimate, turned: bool) -> bool:
    """Whether to take another reading, one that has the same kernel turned around or not."""
    if theirs.seconds is None or ours.seconds is None:
        return False
    if turned and theirs.measured != ours.measured:
        return theirs.measured
    if turned and theirs.name == "direct":
        return False  # it is the same program, whatever is predicted
    return theirs.seconds < (TURNED if turned else WORTH) * ours.seconds - LEAST


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


def _estimate(reading: Reading, target: Target) -> _Estimate:
    found = core_spec(reading.spec)
    if found is None:
        return _Estimate(None, 0.0, True)
    slot, spec = reading.slot, found[0]
    name = choose(slot, spec, target, None)[0].name
    table = measured(slot, spec, target)
    seconds = table.seconds if table else predict([name], slot, spec, target)
    return _Estimate(name, seconds.get(name), table is not None)
