"""What two traces of a function, for two lengths of the signal, say of its arrays."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..geometry import Taps
from ..graph import Node, Value
from ..graph.known import Known
from .stream_lines import Line, Op, Steady, follow
from .stream_pattern import Rows, Unfit, fit


class Reader:
    """What is known about the arrays of both traces.

    Args:
      lines: the arrays along time; rules add to them.
      twins: of each value, the one of the longer trace.
    """

    def __init__(self, lines: dict[Value, Line], twins: dict[Value, Value]) -> None:
        self.lines, self.twins, self.known = lines, twins, Known()

    def twin(self, node: Node) -> Node:
        """A node of the longer trace."""
        found = self.twins[node.results[0]].node
        assert found is not None
        return found

    def numbers(self, value: Value) -> tuple[np.ndarray, np.ndarray] | None:
        """A value in both traces, if shapes alone decide it."""
        one, other = self.known(value), self.known(self.twins[value])
        return None if one is None or other is None else (one, other)

    def growing(self, value: Value) -> int | None:
        """The dimension that is longer in the longer trace; None if there is none."""
        pairs = zip(value.shape, self.twins[value].shape, strict=True)
        dims = [d for d, (n, m) in enumerate(pairs) if n != m]
        if len(dims) > 1:
            raise Unfit("everything meets everything")
        return dims[0] if dims else None

    def computed(self, value: Value, taps: Taps, lines: Sequence[Line]) -> Line:
        """A new line that is made of others."""
        dim = self.growing(value)
        if dim is None:
            raise Unfit("its result has no end to grow at", sure=False)
        sizes = value.shape[dim], self.twins[value].shape[dim]
        period, advance = follow(taps, lines, sizes)
        self.lines[value] = Line(value, dim, sizes, period, advance)
        return self.lines[value]

    def chosen(self, value: Value, dim: int, root: Line, rows: Any, fill: Any = None) -> list[Op]:
        """A line of positions of a root."""
        sizes = len(rows[0]), len(rows[1])
        line = Line(value, dim, sizes, root=root, rows=rows, fill=fill)
        self.lines[value] = line
        if line.grows:
            taps = line.pattern.taps
            line.period, line.advance = follow(taps, [root], sizes)
        return []

    def steady(self, value: Value) -> Steady | None:
        """An operand that is no line."""
        dim = self.growing(value)
        if dim is None:
            return None
        if _same_along(value, dim):
            return Steady(value, dim, None)
        both = self.numbers(value)
        if both is None:
            raise Unfit("an array that does not depend on the signal has an entry for each moment")
        tables = [np.moveaxis(np.asarray(a), dim, 0) for a in both]
        flat = [t.reshape(len(t), -1) for t in tables]
        rows = [
            Rows(np.broadcast_to(np.arange(len(t))[:, None], t.shape), len(t), t.astype(float)) for t in flat
        ]
        return Steady(value, dim, fit(*rows))


def _same_along(value: Value, dim: int) -> bool:
    """Whether an array is the same all along a dimension, whatever is in it."""
    node = value.node
    if value.shape == () or node is None:
        return False
    if node.op == "broadcast":
        dims, [operand] = node.params["broadcast_dimensions"], node.operands
        return dim not in dims or operand.shape[dims.index(dim)] == 1 or _same_along(operand, dims.index(dim))
    if node.op != "elementwise":
        return False
    return all(v.size == 1 or v.shape[dim : dim + 1] == (1,) or _same_along(v, dim) for v in node.operands)
