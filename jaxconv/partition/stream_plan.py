"""What of a graph has a dimension along time, and how to compute it piece by piece."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np

from ..graph import Graph, Node, Value
from . import stream_ends
from .regions import live
from .stream_lines import Line, Op, Place, Steady, check_growing, known, place, whole
from .stream_nodes import read
from .stream_pattern import Pattern, TooShort, Unfit
from .stream_reader import Reader


class Refused(ValueError):
    """A layer that is not local in time; `sure` as in `Unfit`."""

    def __init__(self, why: str, sure: bool) -> None:
        super().__init__(why)
        self.sure = sure


class Plan:
    """The operations of a function along time.

    Args:
      graph: of the function for one length.
      twin: for a longer one.
      x: the signal in both.
      axis: its dimension along time.

    Attributes:
      ops: the operations, in order.
      signal: the signal.
      out: the result.
      period: after how many samples all is at the same phase again.

    Raises:
      ValueError: if something is not local in time.
    """

    def __init__(self, graph: Graph, twin: Graph, x: tuple[Value, Value], axis: int) -> None:
        if len(graph.outputs) != 1:
            raise ValueError(
                f"fn has {len(graph.outputs)} results; wanted one array. Stream them one by one."
            )
        if [n.name for n in graph.nodes] != [n.name for n in twin.nodes]:
            raise ValueError("fn is another program for a longer signal; only the sizes may be others.")
        self.graph, self.ops = graph, list[Op]()
        self._lines: dict[Value, Line] = {}
        self.signal = Line(x[0], axis, (x[0].shape[axis], x[1].shape[axis]))
        self._lines[x[0]] = self.signal
        reader = Reader(self._lines, dict(zip(_values(graph), _values(twin), strict=True)))
        for node in live(graph, lambda node, i: node.operands[i].size > 0):
            made = any(v.size for v in node.results)
            if made and any(v in self._lines for v in node.operands):
                self._add(node, reader)
        self.out = self._result(graph.outputs[0])
        self.period = math.lcm(*(line.period for line in (*self.computed, self.out)))

    def _add(self, node: Node, reader: Reader) -> None:
        try:
            self.ops += read(node, reader)
        except Unfit as unfit:
            raise Refused(f"{place(node)} can't be streamed: {unfit}.", unfit.sure) from None
        except TooShort:
            raise TooShort(place(node)) from None

    def _result(self, value: Value) -> Line:
        line = self._lines.get(value)
        if line is None:
            raise ValueError("the result of fn does not depend on the signal.")
        try:
            check_growing(line)
        except Unfit as unfit:
            raise ValueError(f"the result of fn can't be streamed: {unfit}.") from None
        return line

    @functools.cached_property
    def computed(self) -> list[Line]:
        """The signal, and what the operations compute."""
        return [self.signal, *(line for op in self.ops for line in op.results if line is not None)]

    @functools.cached_property
    def past(self) -> list[Line]:
        """Of these, those of which something is kept."""
        return [line for line in self.computed if line.keep]

    @functools.cached_property
    def all(self) -> list[Line]:
        """Also what consists of parts of these."""
        return [*self.computed, *(v for v in self._lines.values() if v.root is not None and v.grows)]

    def signature(self) -> list[str]:
        """Equal for lengths that are streamed by the same program."""
        found = [f"{op.kind} {op.taps} {'; '.join(p.signature() for p in _patterns(op))}" for op in self.ops]
        return [*found, self.out.pattern.signature() if self.out.root else ""]

    def count(self, period: int) -> None:
        """Sets what is known and how much is kept, for so many samples a period.

        Attributes:
          samples: of a period.
          held: results that are known before they go out, at most.
          settled: samples after which the beginning is of no effect.

        Raises:
          ValueError: if what stands before the signal needs more of it than what follows.
        """
        self.samples = period
        self.signal.known = Place(period, np.arange(period))
        for op in self.ops:
            places = [self.known(o) for o in op.operands if isinstance(o, Line)]
            both = known(op.taps, Place(places[0].gain, np.min([p.at for p in places], 0)))
            for line in op.results:
                if line is not None:
                    line.known = self._certain(line, both)
        ready = self.known(self.out)
        self.held = max(0, int(ready.at[0]))
        periods = [1]
        for line, start, _ in self.views(1):
            line.keep = max(line.keep, int((line.known.at - start.at).max()))
            periods.append(start.reaches(0))
        for pattern, start in self._edges():
            periods.append(start.reaches(len(pattern.left)))
        self.settled = period * max(periods)
        stream_ends.check(self.ops, self.out, ready)

    def known(self, line: Line) -> Place:
        """How many positions are known."""
        if line.root is not None:
            line.known = self._certain(line, known(line.pattern.taps, line.root.known))
        return line.known

    def _certain(self, line: Line, place: Place) -> Place:
        """Less what is left out if the signal ends now: transposed convolutions may crop what is last."""
        return place + -max(0, place.value(self.signal.sizes[0]) - line.sizes[0])

    def views(self, capacity: int) -> Iterator[tuple[Line, Place, int]]:
        """For a block of so many samples, which pieces of what is computed are looked at."""
        for op in self.ops:
            count = op.length(more(op.result.known, capacity))
            for operand in op.operands:
                if isinstance(operand, Line):
                    yield view(operand, *view_of(op, operand, count))
        yield view(self.out, self.first, more(self.out.known, capacity) + self.held)

    @property
    def first(self) -> Place:
        """The first result of a block that may go out."""
        return self.out.known + -self.held

    def _edges(self) -> Iterator[tuple[Pattern, Place]]:
        """Patterns that are others at the beginning, and where they are looked at."""
        for op in self.ops:
            if op.pattern is not None:
                yield op.pattern, op.start
            for operand in op.operands:
                if isinstance(operand, Line):
                    pattern = None if operand.root is None else operand.pattern
                else:
                    pattern = operand.pattern if isinstance(operand, Steady) else None
                if pattern is not None:
                    yield pattern, op.begin
        if self.out.root is not None:
            yield self.out.pattern, self.first


def more(place: Place, samples: int) -> int:
    """The most positions that so many samples can bring."""
    return int((place.after(samples) - place.at).max())


def view_of(op: Op, operand: Line, count: int) -> tuple[Place, int]:
    """The piece of an operand that so many results of an operation look at."""
    before = behind = 0
    if op.pattern is not None:
        before, behind = op.pattern.beyond((op.result.sizes[1], operand.sizes[1]))
    return op.begin + -before, op.window(count) + before + behind


def view(line: Line, start: Place, length: int) -> tuple[Line, Place, int]:
    """The piece of what is computed that a piece of a line consists of."""
    if line.root is None:
        return line, start, length
    pattern = line.pattern
    before, behind = pattern.beyond((line.sizes[1], line.root.sizes[1]))
    least, most = int(pattern.index.min()), int(pattern.index.max())
    first = start.within(pattern.period, pattern.advance, least - before)
    periods = whole(length, pattern.period) // pattern.period
    return line.root, first, (periods - 1) * pattern.advance + most - least + 1 + before + behind


def _patterns(op: Op) -> list[Pattern]:
    mapped = [o.pattern for o in op.operands if isinstance(o, Line) and o.root is not None]
    steady = [o.pattern for o in op.operands if isinstance(o, Steady)]
    return [p for p in (op.pattern, *mapped, *steady) if p is not None]


def _values(graph: Graph) -> list[Value]:
    inner = [v for node in graph.nodes for v in (*node.operands, *node.results)]
    return [*graph.inputs, *inner, *graph.outputs]
