"""Nodes that only choose positions along time: slices, borders, repetitions.

What they make is not computed but looked up: which positions of which array it consists of.
"""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..geometry import SAME
from ..graph import Node, Value
from ..graph.known import Known
from .stream_lines import Line, Op, check_growing
from .stream_pattern import Unfit
from .stream_reader import Reader


def choose(node: Node, reader: Reader) -> list[Op] | None:
    """What a node chooses, and the operations before that; None for a node that computes.

    Raises:
      Unfit: if what it chooses depends on the length.
    """
    lines = [v for v in node.operands if v in reader.lines]
    line = reader.lines[lines[0]]
    if node.op in _TAKEN and lines[0] is node.operands[0] and (rows := _positions(node, reader)) is not None:
        return _chosen(node, reader, rows)
    if node.op == "concatenate" and [v for v in node.operands if v.size] == lines[:1]:
        reader.lines[node.results[0]] = line
        return []
    if node.op == "concatenate" and node.params["dimension"] == line.dim:
        return _joined(node, reader)
    if node.op == "reshape" and (count := _repeats(node, reader)):
        return _repeated(node, reader, count)
    if node.op == "broadcast" and not line.grows:
        dim = node.params["broadcast_dimensions"][line.dim]  # a reshape may repeat it
        return reader.chosen(node.results[0], dim, line.root or line, line.positions(), line.fill)
    return None


def _positions(node: Node, reader: Reader) -> tuple[Any, Any] | None:
    """For both traces which positions along time are taken, -1 for none; None if it is all of them."""
    line = reader.lines[node.operands[0]]
    if any(v in reader.lines for v in node.operands[1:]):
        raise Unfit("what is taken depends on the signal")
    both = []
    for one, size in zip((node, reader.twin(node)), line.sizes, strict=True):
        at = _TAKEN[node.op](one, line.dim, size)
        if at is None:
            return None
        both.append(at)
    if line.grows and all(
        np.array_equal(at, np.arange(size)) for at, size in zip(both, line.sizes, strict=True)
    ):
        return None
    return both[0], both[1]


def _sliced(node: Node, dim: int, _: int) -> np.ndarray:
    start, stop, strides = (node.params[k] for k in ("start_indices", "limit_indices", "strides"))
    return np.arange(start[dim], stop[dim], strides[dim] if strides else 1)


def _padded(node: Node, dim: int, size: int) -> np.ndarray:
    lo, hi, interior = node.params["padding_config"][dim]
    step = interior + 1
    o = np.arange(lo + hi + (size - 1) * step + 1 if size else lo + hi) - lo
    return np.where((o % step == 0) & (o >= 0) & (o // step < size), o // step, -1)


def _turned(node: Node, dim: int, size: int) -> np.ndarray:
    return np.arange(size)[:: -1 if dim in node.params["dimensions"] else 1]


def _from(node: Node, dim: int, size: int) -> np.ndarray:
    out = node.params["slice_sizes"][dim]
    start = Known()(node.operands[1 + dim])
    if start is None and out != size:
        raise Unfit("where it begins is not known")
    return np.arange(out) + min(max(int(start if start is not None else 0), 0), size - out)


def _taken(node: Node, dim: int, _: int) -> np.ndarray | None:
    if not node.windows or node.windows[0].operand_dim != dim:
        return None
    rows = node.windows[0].rows
    assert rows is not None
    return np.array([row[0] for row in rows])


_TAKEN: dict[str, Callable[[Node, int, int], np.ndarray | None]] = {
    "slice": _sliced,
    "pad": _padded,
    "reverse": _turned,
    "dynamic_slice": _from,
    "gather": _taken,
}


def _chosen(node: Node, reader: Reader, rows: tuple[Any, Any]) -> list[Op]:
    line, value, ops = reader.lines[node.operands[0]], node.results[0], []
    fill = None
    if node.op == "pad" and any((index < 0).any() for index in rows):
        fill = _number(node.operands[1], reader)
    dim = node.windows[0].result_dim if node.op == "gather" else line.dim
    if dim != line.dim or not _only(node, dim):
        check_growing(line)  # the other dimensions first, at every moment
        part = Line(value, dim, line.sizes, line.period, line.advance)
        ops.append(Op("plain", node, SAME, (line, *(None for _ in node.operands[1:])), (part,)))
        line = part
    root = line.root or line
    if line.fill is not None and fill is not None and line.fill != fill:
        root = Line(line.value, line.dim, line.sizes, line.period, line.advance)
        ops.append(Op("copy", node, SAME, (line,), (root,)))
        line = root
    return ops + reader.chosen(value, dim, root, _composed(line, rows), line.fill if fill is None else fill)


def _only(node: Node, dim: int) -> bool:
    """Whether all other dimensions stay as they are."""
    shapes = zip(node.operands[0].shape, node.results[0].shape, strict=True)
    if any(n != m for d, (n, m) in enumerate(shapes) if d != dim):
        return False
    if node.op == "reverse":
        return set(node.params["dimensions"]) <= {dim}
    return node.op != "pad" or all(
        tuple(config) == (0, 0, 0) for d, config in enumerate(node.params["padding_config"]) if d != dim
    )


def _composed(line: Line, rows: Sequence[np.ndarray]) -> tuple[Any, Any]:
    both = [np.where(at < 0, -1, inner[at]) for at, inner in zip(rows, line.positions(), strict=True)]
    return both[0], both[1]


def _number(value: Value, reader: Reader) -> Any:
    """The one number that an array consists of."""
    both = reader.numbers(value)
    if both is None or len({float(n) for a in both for n in np.unique(a)}) != 1:
        raise Unfit("what is put before or behind the signal is not one number")
    return np.asarray(both[0]).ravel()[0].item()


def _joined(node: Node, reader: Reader) -> list[Op]:
    """The signal with something put before or behind it: parts of itself, or a number."""
    values = [v for v in node.operands if v.size]
    lines = [reader.lines.get(v) for v in values]
    roots = {line.root or line for line in lines if line is not None}
    if len(roots) != 1:
        raise Unfit("unlike signals are put one after another")
    [root] = roots
    fills = {line.fill for line in lines if line is not None and line.fill is not None}
    both: list[list[np.ndarray]] = [[], []]
    for value, line in zip(values, lines, strict=True):
        if line is None:
            fills.add(_number(value, reader))
            sizes = (v.shape[root.dim] for v in (value, reader.twins[value]))
            parts = [np.full(n, -1) for n in sizes]
        else:
            parts = list(line.positions())
        for rows, part in zip(both, parts, strict=True):
            rows.append(part)
    if len(fills) > 1:
        raise Unfit("several numbers are put before and behind the signal")
    rows = np.concatenate(both[0]), np.concatenate(both[1])
    return reader.chosen(node.results[0], root.dim, root, rows, next(iter(fills), None))


def _repeats(node: Node, reader: Reader) -> int | None:
    """How often a reshape after a broadcast repeats each moment; None if it does not."""
    spread = node.operands[0].node
    if spread is None or spread.op != "broadcast" or spread.operands[0] not in reader.lines:
        return None
    line, dims = reader.lines[spread.operands[0]], spread.params["broadcast_dimensions"]
    shape, to = node.results[0].shape, [*spread.results[0].shape]
    at = dims[line.dim]
    if at + 1 in dims or at + 1 >= len(to) or len(to) != len(shape) + 1:
        return None
    to[at : at + 2] = [to[at] * to[at + 1]]
    same = to == list(shape) and [n for n in line.value.shape] == [spread.results[0].shape[d] for d in dims]
    return spread.results[0].shape[at + 1] if same else None


def _repeated(node: Node, reader: Reader, count: int) -> list[Op]:
    spread = node.operands[0].node
    assert spread is not None
    line = reader.lines[spread.operands[0]]
    rows = [np.repeat(index, count) for index in line.positions()]
    return reader.chosen(node.results[0], line.dim, line.root or line, (rows[0], rows[1]), line.fill)
