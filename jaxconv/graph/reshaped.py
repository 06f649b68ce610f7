"""Spans of reshaped and concatenated arrays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..geometry import Taps
from .spans import NOTHING, Span, Spread, alike, thinned


def reshaped(span: Span, old: Sequence[int], new: Sequence[int]) -> Span:
    """After a reshape of the array."""
    axis, shape = span.axis, []
    first, last = span.first, span.last
    before: list[int] = []  # the bounds' dimensions, those that are to be reshaped written out
    plan: list[tuple[int, ...]] = []
    advance, new_axis = span.advance, None
    for here, there in groups(old, new):
        held = tuple(first.shape[d] for d in here)
        sizes = tuple(old[d] for d in here)
        wanted = tuple(new[d] for d in there)
        if axis in here:
            turned = _turned(span, here, sizes, wanted)
            first, last, advance = turned.first, turned.last, turned.advance
            plan.append(turned.shape)
            before += turned.flat
            new_axis = there[turned.place]
        elif all(n == 1 for n in held):
            plan.append((1,) * len(wanted))
            before += held
        else:
            plan.append(wanted)
            before += sizes
        shape += plan[-1]
    written = [np.broadcast_to(bounds, before).reshape(shape) for bounds in (first, last)]
    return thinned(
        dataclasses.replace(span, first=written[0], last=written[1], axis=new_axis, advance=advance)
    )


@dataclasses.dataclass
class _Turned:
    """The bounds with a longer period, the shape of the axis' group before and after, the axis in it."""

    first: np.ndarray
    last: np.ndarray
    advance: int
    flat: tuple[int, ...]
    shape: tuple[int, ...]
    place: int


def _turned(span: Span, here: Sequence[int], sizes: Sequence[int], wanted: Sequence[int]) -> _Turned:
    """A period may be cut into inner dimensions, or be made longer by them; outer ones break it."""
    axis = span.axis
    assert axis is not None
    at = here.index(axis)
    if any(n != 1 for n in sizes[:at]):
        raise Spread("it puts rows one after another")
    if not wanted or (sizes[at] == 1 and math.prod(wanted) != 1):
        raise Spread("the dimension is dropped")
    place = next((i for i, n in enumerate(wanted) if n != 1), len(wanted) - 1)
    inner = math.prod(wanted[place + 1 :])
    behind = math.prod(sizes[at + 1 :])
    # Periods of the outer dimension, until whole inner ones are full.
    period = span.first.shape[axis]
    times = inner // math.gcd(period * behind, inner)
    long = span.longer(period * times)
    flat = tuple(period * times if d == axis else n for d, n in zip(here, sizes, strict=True))
    shape = tuple(math.prod(flat) // inner if i == place else n for i, n in enumerate(wanted))
    return _Turned(long.first, long.last, long.advance, flat, shape, place)


def groups(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The smallest runs of dimensions, old and new, that hold the same number of elements."""
    if 0 in old:
        yield tuple(range(len(old))), tuple(range(len(new)))
        return
    i = j = 0
    while i < len(old) or j < len(new):
        a, b = i, j
        left, right = math.prod(old[i : i + 1]), math.prod(new[j : j + 1])
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while left != right:
            if left < right:
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        yield tuple(range(a, i)), tuple(range(b, j))


def concatenated(spans: Sequence[Span | None], sizes: Sequence[int], dim: int) -> Span:
    """Of arrays put one after another; None for one that sees nothing."""
    pieces = [(span, size) for span, size in zip(spans, sizes, strict=True) if size]
    spans, sizes = [span for span, _ in pieces], [size for _, size in pieces]
    seen = [span for span in spans if span is not None]
    if seen[0].axis == dim:
        return _longest(spans, sizes, dim)
    empty = dataclasses.replace(seen[0], first=np.full_like(seen[0].first, NOTHING))
    empty = dataclasses.replace(empty, last=-empty.first)
    same = alike([empty if span is None else span for span in spans])
    shape = np.broadcast_shapes(*(np.take(span.first, [0], dim).shape for span in same))

    def joined(bounds: Sequence[np.ndarray]) -> np.ndarray:
        whole = [(*shape[:dim], size, *shape[dim + 1 :]) for size in sizes]
        return np.concatenate([np.broadcast_to(b, s) for b, s in zip(bounds, whole, strict=True)], dim)

    windowed = any(span.windowed for span in seen)
    first, last = joined([span.first for span in same]), joined([span.last for span in same])
    return thinned(dataclasses.replace(same[0], first=first, last=last, windowed=windowed))


def _longest(spans: Sequence[Span | None], sizes: Sequence[int], dim: int) -> Span:
    """Along the axis itself: the longest piece, of which the others are the borders."""
    offset, placed = 0, []
    for span, size in zip(spans, sizes, strict=True):
        if span is not None:
            shifted = span.along(dim, Taps(1, 1, ((-offset,),)), size, size, windowed=False)
            placed.append((size, shifted))
        offset += size
    most = max(sizes)
    longest = [span for size, span in placed if size == most]
    if len(longest) == 1:
        return longest[0]
    same = alike(longest)
    if all((span.first == same[0].first).all() and (span.last == same[0].last).all() for span in same):
        return same[0]
    raise Spread("unlike pieces are put side by side")
