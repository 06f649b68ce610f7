"""What each position of an array sees of one dimension of the function's input: the first and last position.

The bounds are arrays of as many dimensions as the array itself, with size 1 along those that make no
difference. So a convolution, a reshape or a concatenation does to them much what it does to the array.

There are two kinds. With `axis=None` a span has an entry for each position, and what lies beyond a border
is not there. With an axis it has one period along that dimension, as `geometry.Taps` has, and no borders.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..geometry import Taps, combined

WHOLE = "it takes in whole rows"
NOTHING = 2**40  # of a position that sees nothing, `first` is this and `last` minus this


class Spread(Exception):
    """Fields do not repeat along one dimension any more; the message says why."""

    def __init__(self, why: str, everything: bool = False) -> None:
        super().__init__(why)
        self.why: str = why
        self.everything: bool = everything


@dataclasses.dataclass(frozen=True, eq=False)
class Span:
    """First and last positions that are seen.

    Attributes:
      first: the first ones.
      last: the last ones.
      axis: the dimension along which the bounds repeat; None if they are written out.
      advance: by how much they have moved after a period, the size of that dimension of the bounds.
      windowed: whether a window has moved along the axis.
    """

    first: np.ndarray
    last: np.ndarray
    axis: int | None = None
    advance: int = 0
    windowed: bool = False

    @classmethod
    def every(cls, size: int, ndim: int) -> Span:
        """Each position of an array sees all of an axis of this size."""
        shape = (1,) * ndim
        return cls(np.full(shape, 0), np.full(shape, size - 1))

    @classmethod
    def itself(cls, shape: Sequence[int], dim: int, *, far: bool) -> Span:
        """Each position of the input sees itself along one of its dimensions."""
        if far:
            zero = np.zeros((1,) * len(shape), np.int64)
            return cls(zero, zero, dim, 1)
        place = np.arange(shape[dim]).reshape([-1 if d == dim else 1 for d in range(len(shape))])
        return cls(place, place)

    @property
    def ndim(self) -> int:
        """Dimensions of the array."""
        return self.first.ndim

    def map(self, change: Callable[[np.ndarray], np.ndarray], axis: int | None) -> Span:
        """The same change of form for both bounds, and where the axis is then."""
        return dataclasses.replace(self, first=change(self.first), last=change(self.last), axis=axis)

    def cut(self, low: int, high: int) -> Span:
        """Without positions before `low` and behind `high`."""
        first, last = np.maximum(self.first, low), np.minimum(self.last, high)
        gone = first > last
        return dataclasses.replace(
            self, first=np.where(gone, NOTHING, first), last=np.where(gone, -NOTHING, last)
        )

    def along(
        self,
        dim: int,
        taps: Taps | None,
        size: int,
        out: int,
        *,
        windowed: bool = True,
        rows: tuple[tuple[int, ...], ...] | None = None,
    ) -> Span:
        """After a window along one dimension.

        Args:
          dim: the dimension.
          taps: its pattern; None if it does not repeat.
          size: of the dimension.
          out: of the result's.
          windowed: whether it is one in space.
          rows: what each position of the result touches, where the pattern does not say it at the borders.
        """
        if dim == self.axis:
            if taps is None:
                raise Spread("its windows do not repeat")
            return dataclasses.replace(self._repeating(dim, taps), windowed=self.windowed or windowed)
        taps = taps if rows is None else Taps(out, 0, rows)
        if self.first.shape[dim] != size or taps is None:
            return self
        shape = [*self.first.shape]
        shape[dim] = out
        first, last = np.full(shape, NOTHING), np.full(shape, -NOTHING)
        to_first, to_last = np.moveaxis(first, dim, 0), np.moveaxis(last, dim, 0)
        from_first, from_last = np.moveaxis(self.first, dim, 0), np.moveaxis(self.last, dim, 0)
        for r, row in enumerate(taps.taps):
            places = np.arange(r, out, taps.period)
            for t in row:
                touched = (places - r) // taps.period * taps.advance + t
                there = (touched >= 0) & (touched < size)
                o, i = places[there], touched[there]
                to_first[o] = np.minimum(to_first[o], from_first[i])
                to_last[o] = np.maximum(to_last[o], from_last[i])
        return dataclasses.replace(self, first=first, last=last)

    def _repeating(self, dim: int, taps: Taps) -> Span:
        inner = self.first.shape[dim]
        period, advance = combined(taps, (inner, self.advance))
        rows = [taps(o) for o in range(period)]

        def gathered(bounds: np.ndarray, nothing: int, join: Any) -> np.ndarray:
            found = []
            for row in rows:
                one = np.full_like(np.take(bounds, [0], dim), nothing)
                for i in row:
                    one = join(one, _moved(np.take(bounds, [i % inner], dim), i // inner * self.advance))
                found.append(one)
            return np.concatenate(found, dim)

        first, last = gathered(self.first, NOTHING, np.minimum), gathered(self.last, -NOTHING, np.maximum)
        return dataclasses.replace(self, first=first, last=last, advance=advance)

    def over(self, dims: Sequence[int], sizes: Sequence[int], *, keep: bool = False) -> Span:
        """What all positions along some dimensions see together; those are dropped, or have size 1."""
        if self.axis is not None and self.axis in dims and sizes[self.axis] != 1:
            raise Spread(WHOLE, everything=True)
        span = self
        for dim in dims:
            first, last = span.first.min(dim, keepdims=True), span.last.max(dim, keepdims=True)
            span = dataclasses.replace(span, first=first, last=last)
        if keep:
            return span
        if self.axis in dims:
            raise Spread("the dimension is dropped")
        axis = None if self.axis is None else self.axis - sum(d < self.axis for d in dims)
        return span.map(lambda bounds: np.squeeze(bounds, tuple(dims)), axis)

    def transposed(self, order: Sequence[int]) -> Span:
        """With dimensions in another order."""
        axis = None if self.axis is None else list(order).index(self.axis)
        return self.map(lambda bounds: np.transpose(bounds, order), axis)

    def spread_to(self, ndim: int, dims: Sequence[int]) -> Span:
        """As part of an array of more dimensions, of which `dims` are its own."""
        shape = [1] * ndim

        def change(bounds: np.ndarray) -> np.ndarray:
            for dim, size in zip(dims, bounds.shape, strict=True):
                shape[dim] = size
            return bounds.reshape(shape)

        return self.map(change, None if self.axis is None else dims[self.axis])

    def grouped(self, dim: int, groups: int, out: int) -> Span:
        """After all channels of a group, in dimension `dim`, have met."""
        if self.axis == dim:
            raise Spread("it takes in all channels", everything=True)
        if self.first.shape[dim] == 1:
            return self

        def met(bounds: np.ndarray, join: Any) -> np.ndarray:
            moved = np.moveaxis(bounds, dim, 0)
            joined = join(moved.reshape(groups, -1, *moved.shape[1:]), 1)
            return np.moveaxis(np.repeat(joined, out // groups, 0), 0, dim)

        return thinned(dataclasses.replace(self, first=met(self.first, np.min), last=met(self.last, np.max)))

    def longer(self, period: int) -> Span:
        """With a multiple of its period along the axis."""
        axis = self.axis
        assert axis is not None
        times = period // self.first.shape[axis]

        def repeated(bounds: np.ndarray) -> np.ndarray:
            return np.concatenate([_moved(bounds, q * self.advance) for q in range(times)], axis)

        return dataclasses.replace(self.map(repeated, axis), advance=times * self.advance)


def union(spans: Sequence[Span]) -> Span:
    """What is seen through any of several."""
    spans = alike(spans)
    first, last = spans[0].first, spans[0].last
    for span in spans[1:]:
        first, last = np.minimum(first, span.first), np.maximum(last, span.last)
    windowed = any(span.windowed for span in spans)
    return dataclasses.replace(spans[0], first=first, last=last, windowed=windowed)


def alike(spans: Sequence[Span]) -> list[Span]:
    """With the same period and advance."""
    if len(spans) == 1 or spans[0].axis is None:
        return list(spans)
    axis = spans[0].axis
    periods = [span.first.shape[axis] for span in spans if span.axis == axis]
    jumps = {
        (span.advance * math.lcm(*periods)) // period for span, period in zip(spans, periods, strict=False)
    }
    if len(periods) < len(spans) or len(jumps) > 1:
        raise Spread("branches of different jumps meet")
    return [span.longer(math.lcm(*periods)) for span in spans]


def thinned(span: Span) -> Span:
    """With size 1 along the dimensions that make no difference."""
    for dim, size in enumerate(span.first.shape):
        if dim != span.axis and size > 1:
            one = [np.take(bounds, [0], dim) for bounds in (span.first, span.last)]
            if (one[0] == span.first).all() and (one[1] == span.last).all():
                span = dataclasses.replace(span, first=one[0], last=one[1])
    return span


def _moved(bounds: np.ndarray, by: int) -> np.ndarray:
    return np.where(np.abs(bounds) == NOTHING, bounds, bounds + by)
