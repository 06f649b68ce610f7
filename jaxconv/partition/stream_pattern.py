"""Which positions of an array along time those of another are made of, far from both ends and near them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry import Taps


class Unaligned(Exception):
    """Two lengths differ by what is no whole number of periods."""


class TooShort(Exception):
    """A length at which what happens at both ends can't be told apart."""


class Unfit(Exception):
    """Why something can't be computed piece by piece.

    Args:
      why: the reason.
      sure: whether it holds however the two lengths differ.
    """

    def __init__(self, why: str, sure: bool = True) -> None:
        super().__init__(why)
        self.sure = sure


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """For each position of a result the positions that it is a sum of.

    Attributes:
      index: `(positions, taps)`; -1 is none.
      size: positions of what is summed.
      weight: of each; None for a result that is a copy.
    """

    index: np.ndarray
    size: int
    weight: np.ndarray | None = None

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> Rows:
        """Those of a product with a matrix; a row of fewer terms than others repeats one with weight 0."""
        most = max(int((matrix != 0).sum(1).max(initial=0)), 1)
        order = np.argsort(matrix == 0, axis=1, kind="stable")[:, :most]
        weight = np.take_along_axis(matrix, order, 1)
        if most == 1 and (weight == 1).all():
            return cls(order, matrix.shape[1])
        return cls(np.where(weight != 0, order, order[:, :1]), matrix.shape[1], weight)


@dataclasses.dataclass(frozen=True, eq=False)
class Pattern:
    """Rows of any length: position q * period + r is made of positions q * advance + t, but for the ends.

    Attributes:
      advance: by how many positions a period moves on.
      index: `(period, taps)`.
      weight: likewise; None for copies.
      left: indices of the first positions, where they are others; -1 is none.
      left_weight: of these.
      right: of the last positions, counted from the end of what they are made of; 0 is none.
      right_weight: of these.
    """

    advance: int
    index: np.ndarray
    weight: np.ndarray | None
    left: np.ndarray
    left_weight: np.ndarray | None
    right: np.ndarray
    right_weight: np.ndarray | None

    @property
    def period(self) -> int:
        """Number of its rows."""
        return len(self.index)

    @property
    def taps(self) -> Taps:
        """Far from the ends."""
        return Taps(self.period, self.advance, tuple(tuple(sorted(set(row))) for row in self.index.tolist()))

    @property
    def edges(self) -> bool:
        """Whether there are other rows at an end."""
        return len(self.left) + len(self.right) > 0

    def signature(self) -> str:
        """Equal for equal patterns."""
        arrays = [v for v in dataclasses.astuple(self) if isinstance(v, np.ndarray)]
        return repr((self.advance, [(a.shape, a.round(5).tolist()) for a in arrays]))

    def beyond(self, sizes: tuple[int, int]) -> tuple[int, int]:
        """How far rows at the ends reach before and behind those that their places would have far from them.

        Args:
          sizes: of the result and of what it is made of, for any one length.
        """
        least, most = int(self.index.min()), int(self.index.max())
        before = behind = 0
        count, size = sizes
        ends = [(o, row) for o, row in enumerate(self.left)]
        ends += [
            (count - len(self.right) + i, np.where(row < 0, size + row, -1))
            for i, row in enumerate(self.right)
        ]
        for o, row in ends:
            start = o // self.period * self.advance
            for i in row[row >= 0].tolist():
                before = max(before, start + least - i)
                behind = max(behind, i - start - most)
        return before, behind


def fit(short: Rows, long: Rows) -> Pattern:
    """The pattern of rows that were written out for two lengths, whole periods apart.

    Raises:
      Unfit: if there is none.
      TooShort: if the lengths are too small to see one.
    """
    period, advance = ratio(len(long.index) - len(short.index), long.size - short.size)
    index, weight = _middle(long, period, advance)
    found = [_ends(rows, period, advance, index, weight) for rows in (short, long)]
    if found[0] != found[1]:
        raise TooShort
    left, right = found[1]
    if any(left + right + 2 * period > len(rows.index) for rows in (short, long)):
        raise TooShort
    parts: list[Pattern] = []
    for rows in (short, long):
        last = rows.index[len(rows.index) - right :]
        from_end = np.where(last < 0, 0, last - rows.size)
        weights = (None, None)
        if rows.weight is not None:
            weights = rows.weight[:left], rows.weight[len(rows.index) - right :]
        parts.append(Pattern(advance, index, weight, rows.index[:left], weights[0], from_end, weights[1]))
    if parts[0].signature() != parts[1].signature():
        raise Unfit("one end of the signal is part of the other", sure=False)
    return parts[1]


def ratio(results: int, positions: int) -> tuple[int, int]:
    """Period and advance of a result that grows by so many while its operand grows by so many."""
    if results < 1 or positions < 1:
        raise Unfit("it does not grow with the signal", sure=False)
    common = math.gcd(results, positions)
    return results // common, positions // common


def _middle(rows: Rows, period: int, advance: int) -> tuple[np.ndarray, np.ndarray | None]:
    q = len(rows.index) // 2 // period
    if (q + 2) * period > len(rows.index):
        raise TooShort
    here, following = (rows.index[(q + i) * period : (q + i + 1) * period] for i in (0, 1))
    if not np.array_equal(here + advance, following):
        raise Unfit("its positions do not move along with time", sure=False)
    return here - q * advance, None if rows.weight is None else rows.weight[q * period : (q + 1) * period]


def _ends(
    rows: Rows, period: int, advance: int, index: np.ndarray, weight: np.ndarray | None
) -> tuple[int, int]:
    """How many positions at both ends are made of others than the pattern says."""
    o = np.arange(len(rows.index))
    there = (o // period * advance)[:, None] + index[o % period]
    outside = (there < 0) | (there >= rows.size)
    same = (rows.index == there) | ((rows.index < 0) & outside)
    if weight is not None and rows.weight is not None:
        wanted = weight[o % period]
        same = (same | (np.abs(wanted) < 1e-7)) & (np.abs(rows.weight - wanted) < 1e-6)
    other = np.flatnonzero(~same.all(1))
    half = len(o) // 2
    first, last = other[other < half], other[other >= half]
    return (int(first[-1]) + 1 if len(first) else 0), (len(o) - int(last[0]) if len(last) else 0)
