"""Time several programs in one process, in turns, so that whatever else the machine does meets all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

MOST_CALLS = 50
# The thread pools of two libraries disturb each other for about a millisecond when they change places. A call
# that takes this many budgets does not notice, and is not preceded by one that does not count.
_UNDISTURBED = 10


def interleave(
    calls: Mapping[str, Callable[[], Any]], rounds: int, budget_s: float
) -> dict[str, list[list[float]]]:
    """Seconds of every counted call, one list for each round.

    In each round every program in turn runs a block of calls: as many as fit into the budget, at least one
    and at most `MOST_CALLS`. The first call of a block does not count.

    Args:
      calls: the programs, each running to completion.
      rounds: how often each has its turn.
      budget_s: seconds of a block.

    Returns:
      For each program, `rounds` lists of seconds.
    """
    expected = {name: _expected(call, budget_s) for name, call in calls.items()}
    samples: dict[str, list[list[float]]] = {name: [] for name in calls}
    order = list(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in order:
                block = _block(calls[name], expected[name], budget_s)
                expected[name] = min(expected[name], *block)
                samples[name].append(block)
            order = order[1:] + order[:1]  # nobody always follows the same one
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return samples


def _expected(call: Callable[[], Any], budget_s: float) -> float:
    """Seconds of the second and third call, which the first has warmed up, if they are short."""
    first = _seconds(call)
    return min(_seconds(call) for _ in range(2)) if first < _UNDISTURBED * budget_s else first


def _block(call: Callable[[], Any], expected: float, budget_s: float) -> list[float]:
    if expected < _UNDISTURBED * budget_s:
        call()
    count = min(max(int(budget_s / max(expected, 1e-9)), 1), MOST_CALLS)
    return [_seconds(call) for _ in range(count)]


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
