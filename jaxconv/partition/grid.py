"""How results are cut into tiles, where programs repeat, and how results of several scales go along.

Along each axis a value has `jump` positions of the input for each of its own. A tile whose place differs by a
multiple of `alignment` needs everything moved by whole periods, so it is the same program.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from ..geometry import SAME
from ..graph.nodes import Graph, Value
from .regions import Dims, Interval, Region, links, live

Jumps = dict[Value, tuple[Fraction | None, ...]]


def moving(graph: Graph, x: Value) -> tuple[int, ...]:
    """The dimensions of an input over which windows move."""
    found: list[int] = []
    for dim in range(len(x.shape)):
        reached: dict[Value, set[int]] = {x: {dim}}
        for node in live(graph):
            for number, result in enumerate(node.results):
                for link in links(node, number):
                    if link.operand_dim not in reached.get(node.operands[link.operand], ()):
                        continue
                    reached.setdefault(result, set()).add(link.result_dim)
                    if node.op in ("conv", "window", "resize") and link.taps != SAME and dim not in found:
                        found.append(dim)
    return tuple(found)


def jumps(graph: Graph, partitioned: Mapping[Value, Dims]) -> Jumps:
    """For each value that is partitioned, along each axis the positions of the input for each of its own."""
    found: Jumps = {v: (Fraction(1),) * len(partitioned[v]) for v in graph.inputs if v in partitioned}
    for node in live(graph):
        for number, result in enumerate(node.results):
            if result not in partitioned:
                continue
            steps: list[Fraction | None] = [None] * len(partitioned[result])
            for link in links(node, number):
                operand = node.operands[link.operand]
                for axis, dim in enumerate(partitioned.get(operand, ())):
                    before = found[operand][axis] if dim == link.operand_dim else None
                    step = _step(link.taps, operand.shape[link.operand_dim], result.shape[link.result_dim])
                    if before and step and steps[axis] is None:
                        steps[axis] = before * step
            found[result] = tuple(steps)
    return found


def _step(taps: object, size: int, out: int) -> Fraction:
    jump = getattr(taps, "jump", None)
    return Fraction(size, max(out, 1)) if jump is None else abs(jump)


def alignment(
    graph: Graph, partitioned: Mapping[Value, Dims], found: Jumps, counted: Value, most: Sequence[int]
) -> list[int]:
    """Along each axis the positions of a result after which programs repeat.

    Args:
      graph: of a function.
      partitioned: from `follow`.
      found: from `jumps`.
      counted: the result.
      most: what repeats after more positions than these counts as not repeating.
    """
    first = found[counted]
    aligned = [1] * len(most)
    for node in live(graph):
        for number, result in enumerate(node.results):
            for link in links(node, number):
                dims = partitioned.get(result, ())
                for axis, dim in enumerate(dims):
                    jump, whole = found[result][axis], first[axis]
                    if dim != link.result_dim or link.taps is None or not jump or not whole:
                        continue
                    each = whole / jump / link.taps.period
                    together = math.lcm(aligned[axis], each.denominator)
                    aligned[axis] = together if together <= most[axis] else aligned[axis]
    return aligned


@dataclasses.dataclass(frozen=True)
class Grid:
    """The tiles of a result.

    Attributes:
      sizes: of the first result along each axis.
      steps: positions of it from one tile to the next.
    """

    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    @classmethod
    def even(cls, sizes: Sequence[int], most: Sequence[int], aligned: Sequence[int]) -> Grid:
        """As few tiles as possible of at most so many positions, as equal as they can be."""
        steps = []
        for size, limit, unit in zip(sizes, most, aligned, strict=True):
            largest = max(limit // unit, 1) * unit
            count = max(-(-size // largest), 1)
            steps.append(max(-(-size // count // unit) * unit, unit))
        return cls(tuple(sizes), tuple(steps))

    @property
    def counts(self) -> tuple[int, ...]:
        """Tiles along each axis."""
        return tuple(max(-(-size // step), 1) for size, step in zip(self.sizes, self.steps, strict=True))

    def __len__(self) -> int:
        """All tiles."""
        return math.prod(self.counts)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """Their numbers along the axes."""
        return itertools.product(*map(range, self.counts))

    def wanted(
        self, number: Sequence[int], value: Value, dims: Dims, rates: Sequence[Fraction | None]
    ) -> Region:
        """The part of a result that belongs to a tile; `rates` are its positions for each of the first's."""
        region: list[Interval | None] = [None] * len(value.shape)
        for axis, dim in enumerate(dims):
            if dim is not None:
                rate, size = rates[axis] or Fraction(1), value.shape[dim]
                start, stop = (
                    math.floor(n * self.steps[axis] * rate) for n in (number[axis], number[axis] + 1)
                )
                last = number[axis] + 1 == self.counts[axis]
                region[dim] = min(start, size), size if last else min(stop, size)
        return tuple(region)
