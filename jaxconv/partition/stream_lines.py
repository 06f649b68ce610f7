"""Arrays of a stream: how many of their positions are known once so many samples have come.

With M samples more, each array has `gain` positions more. So with n = q M + r samples it has
gain * q + counts[r], a number that may be negative or count padding: positions before 0 stand for themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..geometry import Taps
from ..graph import Node, Value
from .stream_pattern import Pattern, Rows, Unaligned, Unfit, fit


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """A position that moves with the number of samples: gain * q + at[r]."""

    gain: int
    at: np.ndarray

    def __add__(self, shift: int) -> Place:
        """Moved by a constant."""
        return Place(self.gain, self.at + shift)

    def within(self, period: int, advance: int, shift: int) -> Place:
        """The first position, plus `shift`, of what the period that it is in is made of."""
        return Place(self.gain // period * advance, self.at // period * advance + shift)

    def aligned(self, period: int) -> Place:
        """The start of the period that it is in."""
        return Place(self.gain, self.at // period * period)

    def value(self, samples: int) -> int:
        """The position with so many samples."""
        periods, phase = divmod(samples, len(self.at))
        return periods * self.gain + int(self.at[phase])

    def reaches(self, least: int) -> int:
        """After how many periods it is at `least` or behind it, for each r."""
        return max(0, -((int(self.at.min()) - least) // self.gain))

    def after(self, samples: int) -> np.ndarray:
        """The place for each r with so many samples more."""
        n = np.arange(len(self.at)) + samples
        return n // len(self.at) * self.gain + self.at[n % len(self.at)]


@dataclasses.dataclass(eq=False)
class Line:
    """An array along time.

    Attributes:
      value: of the graph; of a part of it that has no value of its own, one of its shape but for time.
      dim: its dimension along time.
      sizes: along it, of the two lengths that were traced.
      period: after how many samples its positions have moved on by `advance`.
      advance: see `period`.
      root: what it consists of positions of; None if it is computed.
      rows: which positions, for the two lengths.
      fill: what stands where there is none.
      known: how many positions are; set once M is.
      keep: of a computed one, how many past positions are state.
      initial: what those are before the first sample.
    """

    value: Value
    dim: int
    sizes: tuple[int, int]
    period: int = 1
    advance: int = 1
    root: Line | None = None
    rows: tuple[np.ndarray, np.ndarray] | None = None
    fill: Any = None
    known: Place = dataclasses.field(default_factory=lambda: Place(0, np.zeros(1, int)))
    keep: int = 0
    initial: Any = 0
    _pattern: Pattern | None = None

    @property
    def grows(self) -> bool:
        """Whether it is longer for a longer signal."""
        return self.sizes[0] != self.sizes[1]

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """For both lengths, those of its root."""
        return self.rows or (np.arange(self.sizes[0]), np.arange(self.sizes[1]))

    @property
    def pattern(self) -> Pattern:
        """That in which it consists of its root."""
        if self._pattern is None:
            assert self.root is not None
            assert self.rows is not None
            both = zip(self.rows, self.root.sizes, strict=True)
            self._pattern = fit(*(Rows(index[:, None], size) for index, size in both))
        return self._pattern


@dataclasses.dataclass(frozen=True, eq=False)
class Steady:
    """An operand that does not depend on the signal, but has a dimension along time.

    Attributes:
      value: the operand.
      dim: the dimension.
      pattern: of its numbers, as weights; None if they are the same all along.
    """

    value: Value
    dim: int
    pattern: Pattern | None


@dataclasses.dataclass(eq=False)
class Op:
    """One step of the program that runs for each block.

    Attributes:
      kind: "plain", "window", "rows", "fold", "cumulative", "scan" or "copy".
      node: of the graph.
      taps: what a position of the results touches, of each operand that is a line.
      operands: in the node's order; None for what has no dimension along time.
      results: likewise.
      fill: what a window sees beyond the ends.
      pattern: of "rows".
    """

    kind: str
    node: Node
    taps: Taps
    operands: tuple[Line | Steady | None, ...]
    results: tuple[Line | None, ...]
    fill: Any = None
    pattern: Pattern | None = None

    @property
    def result(self) -> Line:
        """The first that is a line."""
        return next(line for line in self.results if line is not None)

    @property
    def reach(self) -> tuple[int, int]:
        """The least and the largest tap."""
        seen = [t for row in self.taps.taps for t in row]
        return min(seen), max(seen)

    @property
    def start(self) -> Place:
        """The first result of a block that is computed."""
        return self.result.known.aligned(self.taps.period)

    @property
    def begin(self) -> Place:
        """The first position of the operands that a block looks at."""
        return self.start.within(self.taps.period, self.taps.advance, self.reach[0])

    def length(self, count: int) -> int:
        """How many results are computed so that `count` are, wherever in a period they begin."""
        return whole(count, self.taps.period)

    def window(self, results: int) -> int:
        """How many positions of an operand so many results see, whole periods of them."""
        least, most = self.reach
        return (results // self.taps.period - 1) * self.taps.advance + most - least + 1


def whole(count: int, period: int) -> int:
    """The size of whole periods that hold `count` positions, wherever in a period these begin."""
    return count if period == 1 else -(-(count + period - 1) // period) * period


def follow(taps: Taps, lines: Sequence[Line], sizes: tuple[int, int]) -> tuple[int, int]:
    """Period and advance of a result; raises `Unaligned` if it grows otherwise."""
    grown = sizes[1] - sizes[0]
    period = 1
    for line in lines:
        more = line.sizes[1] - line.sizes[0]
        if more % taps.advance or more // taps.advance * taps.period != grown:
            raise Unaligned
        period = np.lcm(period, line.period * taps.advance // np.gcd(line.advance, taps.advance))
    first = lines[0]
    return int(period), int(period) // first.period * first.advance // taps.advance * taps.period


def known(taps: Taps, place: Place) -> Place:
    """How many results are known if so many positions are."""
    first = [
        ((place.at - 1 - max(row)) // taps.advance + 1) * taps.period + r
        for r, row in enumerate(taps.taps)
        if row
    ]
    return Place(place.gain // taps.advance * taps.period, np.min(first, 0))


def check_growing(line: Line) -> None:
    """Raises `Unfit` for what is only a part of the signal."""
    if not line.grows:
        raise Unfit("it keeps only a part of the signal")


def place(node: Node) -> str:
    """Where a node is, for a message."""
    return f"{node.name} in {node.layer or node.source or 'the function'}"
