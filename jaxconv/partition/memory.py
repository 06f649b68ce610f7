"""How much memory a tile takes, and the largest tile that a budget allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..graph.nodes import Value
from .local import sizes
from .plan import Plan
from .regions import Region


def estimate(plan: Plan) -> int:
    """Bytes held at once if each step writes its result and nothing is kept longer than needed.

    What a compiler fuses takes less, what a convolution unfolds takes more.
    """
    last: dict[tuple[Value, Region], int] = {}
    for number, (node, _, _, operands) in enumerate(plan.steps):
        last |= {
            (v, part): number for v, part in zip(node.operands, operands, strict=True) if part is not None
        }
    ends: dict[int, list[tuple[Value, Region]]] = {}
    for key, number in last.items():
        ends.setdefault(number, []).append(key)
    held = most = sum(_bytes(value, region) for value, region in plan.moving)
    for number, (node, result, region, _) in enumerate(plan.steps):
        held += _bytes(node.results[result], region)
        most = max(most, held)
        held -= sum(_bytes(value, part) for value, part in ends.get(number, ()))
    return most


def _bytes(value: Value, region: Region) -> int:
    return math.prod(sizes(value.shape, region)) * value.dtype.itemsize


def compiled_bytes(compiled: Any) -> int | None:
    """What the compiler says that a program holds at once; None if it does not say."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    return found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes


def largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number from 1 to a limit that fits, where all smaller ones fit too; 1 if none does."""
    low, high = 1, max(limit, 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
