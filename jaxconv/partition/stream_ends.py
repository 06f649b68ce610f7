"""Whether what stands before and behind a signal is known in time: borders that are parts of the signal."""

from __future__ import annotations

import itertools

from ..geometry import SAME, Taps
from .stream_lines import Line, Op, Place, place
from .stream_pattern import Pattern

_WHY = (
    "{} can't be streamed: a border that is made of the signal, as reflection is, is wanted before that part "
    "of the signal is known. Use another padding mode, or pad the signal itself."
)


def check(ops: list[Op], out: Line, ready: Place) -> None:
    """Raises `ValueError` if a border takes more of the signal than the results that see it."""
    for op in ops:
        where = place(op.node)
        for operand in op.operands:
            if not isinstance(operand, Line):
                continue
            if op.pattern is not None:
                _check(op.pattern, (op.result, operand), operand.known, op.result.known, SAME, where)
            if operand.root is not None:
                _check(
                    operand.pattern,
                    (operand, operand.root),
                    operand.root.known,
                    op.result.known,
                    op.taps,
                    where,
                )
    if out.root is not None:
        _check(out.pattern, (out, out.root), out.root.known, ready, SAME, "the result of fn")


def _check(
    pattern: Pattern, lines: tuple[Line, Line], known: Place, results: Place, taps: Taps, where: str
) -> None:
    """Of a pattern between two lines: what results that see the first one know of the second."""
    most = int(pattern.index.max())
    count, size = (line.sizes[1] for line in lines)
    for i, row in enumerate(pattern.right):
        o = count - len(pattern.right) + i
        if row.min() < 0 and size + row[row < 0].max() > o // pattern.period * pattern.advance + most:
            raise ValueError(_WHY.format(where))
    for o, row in enumerate(pattern.left):
        if row.max() > o // pattern.period * pattern.advance + most:
            samples = next(n for n in itertools.count() if known.value(n) > row.max())
            seen = next(r for r in itertools.count() if max(taps(r), default=-1) >= o)
            if results.value(samples - 1) > seen:
                raise ValueError(_WHY.format(where))
