"""Receptive fields: which positions of an input a position of a result sees, along one axis.

What a layer touches repeats: position o = q * period + r of its result touches the positions

    q * advance + t        for each t in taps[r]

of its input. A convolution has period 1 and its stride as advance; a transposed one has its stride as period
and advance 1. One layer after another is of the same form, so fields are exact, holes of dilated kernels
included. They hold far from the borders: there is no end to an axis here.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from .axis import Axis


@dataclasses.dataclass(frozen=True, slots=True)
class Taps:
    """A pattern of touched positions.

    Args:
      period: after how many positions of the result it repeats.
      advance: by how many positions of the input it has moved then.
      taps: for each position of the first period the positions that it touches, in order.

    Raises:
      ValueError: if there is not one entry of `taps` for each position of a period.

    Example:
      >>> up = Taps.of(Axis(5, 4, stride=2, lo=1).adjoint())  # a transposed convolution
      >>> up.taps, up.size, up.jump, up.start
      (((-1, 0), (0, 1)), 2, Fraction(1, 2), Fraction(-1, 1))
      >>> Taps.of(Axis(10, 3, dilation=2)).after(up)(0)
      (-1, 0, 1, 2)
    """

    period: int
    advance: int
    taps: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Refuses what is no period."""
        if self.period < 1 or len(self.taps) != self.period:
            raise ValueError(f"period={self.period} must be the number of taps' entries, {len(self.taps)}.")

    @classmethod
    def of(cls, axis: Axis) -> Taps:
        """Those of a convolution's axis: o * stride + k * dilation - lo = i * base."""
        common = math.gcd(axis.stride, axis.base)
        period = axis.base // common
        stuffed = [
            [o * axis.stride + k * axis.dilation - axis.lo for k in range(axis.kernel)] for o in range(period)
        ]
        taps = tuple(tuple(i // axis.base for i in row if i % axis.base == 0) for row in stuffed)
        return cls(period, axis.stride // common, taps)

    @classmethod
    def chain(cls, axes: Iterable[Axis | Taps]) -> Taps:
        """Of layers one after another, that next to the input first.

        Example:
          >>> field = Taps.chain([Axis(32, 3, lo=1, hi=1), Axis(32, 2, stride=2), Axis(16, 3, lo=1, hi=1)])
          >>> field.size, str(field.jump), str(field.start), field.halo
          (8, '2', '-3', (3, 3))
        """
        patterns = [axis if isinstance(axis, Taps) else cls.of(axis) for axis in axes]
        return functools.reduce(lambda done, layer: layer.after(done), patterns, SAME)

    @classmethod
    def fit(cls, rows: Sequence[Sequence[int]], size: int) -> Taps | None:
        """The pattern of a table, whose borders may lack positions.

        Args:
          rows: for each position of the result what it touches, in order.
          size: of the input.

        Returns:
          The pattern; None if the rows do not repeat, for any step that leads from one end to the other, or
          if each of them touches all of the input.
        """
        if all(len(row) == size for row in rows):
            return None
        # Half-pixel centres: size / len(rows) is the step; aligned corners: one less of each.
        both = [cls._fitted(rows, size, len(rows)), cls._fitted(rows, size - 1, len(rows) - 1)]
        return min((taps for taps in both if taps is not None), key=lambda taps: taps.period, default=None)

    @classmethod
    def _fitted(cls, rows: Sequence[Sequence[int]], inputs: int, outputs: int) -> Taps | None:
        if inputs < 1 or outputs < 1:
            return None
        common = math.gcd(inputs, outputs)
        period, advance = outputs // common, inputs // common
        found: list[set[int]] = [set() for _ in range(period)]
        for o, row in enumerate(rows):
            q, r = divmod(o, period)
            found[r].update(i - q * advance for i in row)
        taps = cls(period, advance, tuple(tuple(sorted(row)) for row in found))
        whole = (any(taps(o) == tuple(rows[o]) for o in range(r, len(rows), period)) for r in range(period))
        return taps if all(whole) else None

    def __call__(self, o: int) -> tuple[int, ...]:
        """The positions that o touches; o may be any integer."""
        q, r = divmod(o, self.period)
        return tuple(q * self.advance + t for t in self.taps[r])

    def after(self, first: Taps) -> Taps:
        """What is seen through `first`, whose result is this one's input."""
        period, advance = combined(self, (first.period, first.advance))
        seen = ({i for t in self(o) for i in first(t)} for o in range(period))
        return Taps(period, advance, tuple(tuple(sorted(row)) for row in seen))

    @property
    def jump(self) -> Fraction:
        """Positions of the input from one result to the next, on average over a period."""
        return Fraction(self.advance, self.period)

    @property
    def size(self) -> int:
        """Positions from the first to the last that one result sees: of the one that sees most."""
        return max((row[-1] - row[0] + 1 for row in self.taps if row), default=0)

    @property
    def start(self) -> Fraction | None:
        """The largest number such that o sees nothing before start + o * jump; None if nothing is seen.

        With period 1 that is the first position which o sees, for every o.
        """
        return min((row[0] - r * self.jump for r, row in enumerate(self.taps) if row), default=None)

    @property
    def halo(self) -> tuple[int, int]:
        """What whole periods of results need beside their own part of the input, before it and behind it.

        Results q * period to (q + n) * period own the inputs from q * advance to (q + n) * advance.
        """
        seen = [t for row in self.taps for t in row]
        if not seen:
            return 0, 0
        return max(0, -min(seen)), max(0, max(seen) + 1 - self.advance)


def combined(outer: Taps, inner: tuple[int, int]) -> tuple[int, int]:
    """Period and advance of a pattern after one with this period and advance."""
    period, advance = inner
    times = period // math.gcd(outer.advance, period)
    return outer.period * times, outer.advance * times // period * advance


SAME = Taps(1, 1, ((0,),))
