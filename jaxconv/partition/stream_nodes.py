"""What becomes of each node of a graph: operations along time, or a choice of positions."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..geometry import SAME, Axis, Taps
from ..graph import Node, Value
from ..graph.known import Known
from .stream_lines import Line, Op, Steady, check_growing, follow
from .stream_pattern import Rows, Unaligned, Unfit, fit

_CHOOSE = ("slice", "pad", "reverse", "dynamic_slice", "gather")


class Reader:
    """What is known about the arrays of both traces.

    Args:
      lines: the arrays along time; rules add to them.
      twins: of each value, the one of the longer trace.
    """

    def __init__(self, lines: dict[Value, Line], twins: dict[Value, Value]) -> None:
        self.lines, self.twins, self.known = lines, twins, Known()

    def numbers(self, value: Value) -> tuple[np.ndarray, np.ndarray] | None:
        """A value in both traces, if shapes alone decide it."""
        both = self.known(value), self.known(self.twins[value])
        return None if both[0] is None or both[1] is None else both

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
            raise Unfit("its result has no end to grow at")
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


def read(node: Node, reader: Reader) -> list[Op]:
    """The operations of a node; none if it only chooses positions.

    Raises:
      Unfit: if it is not local in time.
    """
    lines = [v for v in node.operands if v in reader.lines]
    if node.op in _CHOOSE and (rows := _positions(node, reader)) is not None:
        return _chosen(node, reader, rows)
    if node.op == "concatenate" and (only := [v for v in node.operands if v.size]) == lines[:1]:
        reader.lines[node.results[0]] = reader.lines[only[0]]
        return []
    if node.op == "concatenate" and node.params["dimension"] == reader.lines[lines[0]].dim:
        return _joined(node, reader)
    if node.op == "reshape" and (count := _repeats(node, reader)):
        return _repeated(node, reader, count)
    if node.op == "broadcast" and not reader.lines[lines[0]].grows:
        return _spread(node, reader)
    for value in lines:
        check_growing(reader.lines[value])
    rule = _RULES.get(node.op)
    if rule is None:
        raise Unfit("it is not known to be")
    return rule(node, reader)


def _plain(node: Node, reader: Reader) -> list[Op]:
    """Each moment on its own."""
    operands = [reader.lines.get(v) or reader.steady(v) for v in node.operands]
    lines = [line for line in operands if isinstance(line, Line)]
    results = tuple(reader.computed(value, SAME, lines) for value in node.results)
    if node.op in ("elementwise", "concatenate") and len({o.dim for o in operands if o}) > 1:
        raise Unfit("everything meets everything")
    return [Op("plain", node, SAME, tuple(operands), results)]


def _reduce(node: Node, reader: Reader) -> list[Op]:
    axes = node.params.get("axes", node.params.get("dimensions"))
    if any(reader.lines[v].dim in axes for v in node.operands if v in reader.lines):
        raise Unfit("it takes in the whole signal")
    return _plain(node, reader)


def _dot(node: Node, reader: Reader) -> list[Op]:
    contracted, _ = node.params["dimension_numbers"]
    for side, value in enumerate(node.operands):
        if value in reader.lines and reader.lines[value].dim in contracted[side]:
            raise Unfit("it takes in the whole signal")
    return _plain(node, reader)


def _window(node: Node, reader: Reader) -> list[Op]:
    line, *rest = (reader.lines.get(v) for v in node.operands)
    if line is None or any(other is not None for other in rest):
        raise Unfit("its kernel depends on the signal")
    axis = axis_of(node, line.dim)
    if axis is None:
        return _plain(node, reader)
    taps = Taps.of(axis)
    if taps != Taps.of(axis_of(node, line.dim, _sizes(node, reader)) or axis):
        raise Unaligned
    result = reader.computed(node.results[0], taps, [line])
    return [Op("window", node, taps, (line, *(None for _ in rest)), (result,), fill=_neutral(node, reader))]


def _sizes(node: Node, reader: Reader) -> Any:
    """The parameters of the node in the longer trace."""
    twin = reader.twins[node.results[0]].node
    assert twin is not None
    return twin


def axis_of(node: Node, dim: int, like: Node | None = None) -> Axis | None:
    """The windows along a dimension; None if there are none.

    Raises:
      Unfit: if all positions along it meet.
    """
    at = like or node
    params, shape = at.params, at.operands[0].shape
    if node.name in ("conv_forward", "conv_input_grad"):
        if dim == 0:
            return None
        if dim > params["spec"].rank:
            raise Unfit("it takes in the whole signal as channels")
        axis = params["spec"].axes[dim - 1]
        return axis if node.name == "conv_forward" else axis.adjoint()
    if node.name == "conv_general_dilated":
        return _lax_axis(at, dim)
    if node.name == "pool_pick":
        axis = params["windows"][dim - 1] if 0 < dim < len(shape) - 1 else None
        if axis is not None and not isinstance(axis, Axis):
            raise Unfit("its windows depend on the length")
        return axis
    if node.name not in _NEUTRAL or len(node.results) != 1:
        raise Unfit("it is not known to be")
    (lo, hi), kernel = params["padding"][dim], params["window_dimensions"][dim]
    stride, dilation = params["window_strides"][dim], params["window_dilation"][dim]
    return Axis(shape[dim], kernel, stride, dilation, lo, hi, params["base_dilation"][dim])


def _lax_axis(node: Node, dim: int) -> Axis | None:
    params = node.params
    (batch, channels, *spatial), (_, _, *kernel_dims), _ = params["dimension_numbers"]
    if dim == batch and params["batch_group_count"] == 1:
        return None
    if dim in (batch, channels):
        raise Unfit("it takes in the whole signal as channels")
    i = spatial.index(dim)
    kernel = node.operands[1].shape[kernel_dims[i]]
    (lo, hi), base = params["padding"][i], params["lhs_dilation"][i]
    stride, dilation = params["window_strides"][i], params["rhs_dilation"][i]
    return Axis(node.operands[0].shape[dim], kernel, stride, dilation, int(lo), int(hi), base)


def _least(dtype: Any) -> Any:
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else np.iinfo(dtype).min


def _most(dtype: Any) -> Any:
    return np.inf if jnp.issubdtype(dtype, jnp.floating) else np.iinfo(dtype).max


_NEUTRAL: dict[str, Callable[[Any], Any]] = {
    "reduce_window_sum": lambda dtype: 0,
    "reduce_window_max": _least,
    "reduce_window_min": _most,
    "cumsum": lambda dtype: 0,
    "cumprod": lambda dtype: 1,
    "cummax": _least,
    "cummin": _most,
    "cumlogsumexp": _least,
}


def _neutral(node: Node, reader: Reader) -> Any:
    return _NEUTRAL.get(node.name, lambda dtype: 0)(node.operands[0].dtype)


def _resize(node: Node, reader: Reader) -> list[Op]:
    """A product with a matrix that the lengths decide, along time or another dimension."""
    [window] = node.windows
    line = reader.lines.get(node.operands[window.operand])
    if line is None or line.dim != window.operand_dim:
        return _plain(node, reader)
    both = [_matrix(n, n.windows[0].operand) for n in (node, _sizes(node, reader))]
    pattern = fit(*map(Rows.of_matrix, both))
    result = reader.computed(node.results[0], pattern.taps, [line])
    operands = tuple(line if i == window.operand else None for i in range(len(node.operands)))
    return [Op("rows", node, pattern.taps, operands, (result,), pattern=pattern)]


def _matrix(node: Node, side: int) -> np.ndarray:
    if node.name == "resample":
        from ..ops.resample_weights import dense

        return np.asarray(dense(node.params["by"], node.params["transposed"]), float)
    found = Known()(node.operands[1 - side])
    assert found is not None  # as graph.resizes has seen
    contracted = node.params["dimension_numbers"][0][1 - side][0]
    return np.moveaxis(np.asarray(found, float), contracted, 1)


def _fold(node: Node, reader: Reader) -> list[Op]:
    """A reshape, which may put a dimension behind that of time into it, or take one out."""
    [line] = (reader.lines[v] for v in node.operands)
    value = node.results[0]
    dim = reader.growing(value)
    if dim is None:
        raise Unfit("the dimension along time is dropped")
    before = math.prod(value.shape[:dim]), math.prod(line.value.shape[: line.dim])
    if before[0] != before[1]:
        raise Unfit("it puts rows one after another")
    inner, outer = (math.prod(v.shape[d + 1 :]) for v, d in ((line.value, line.dim), (value, dim)))
    common = math.lcm(inner, outer)
    period, advance = common // outer, common // inner
    taps = Taps(
        period,
        advance,
        tuple(tuple(range(r * outer // inner, ((r + 1) * outer - 1) // inner + 1)) for r in range(period)),
    )
    if period == advance == 1:
        return _plain(node, reader)
    return [Op("fold", node, taps, (line,), (reader.computed(value, taps, [line]),))]


def _cumulative(node: Node, reader: Reader) -> list[Op]:
    line = reader.lines[node.operands[0]]
    if node.params["axis"] != line.dim:
        return _plain(node, reader)
    if node.params["reverse"]:
        raise Unfit("it begins at the end")
    result = reader.computed(node.results[0], SAME, [line])
    result.keep, result.initial = 1, _neutral(node, reader)
    return [Op("cumulative", node, SAME, (line,), (result,), fill=result.initial)]


def _scan(node: Node, reader: Reader) -> list[Op]:
    """A recurrence over time, whose carry becomes state."""
    parts = node.parts
    assert parts is not None
    start = parts.constant + parts.carried
    lines = [reader.lines.get(v) for v in node.operands]
    if node.name != "scan" or any(lines[:start]) or any(line is not None and line.dim for line in lines):
        raise Unfit("a loop has the signal in what it carries")
    if node.params["reverse"]:
        raise Unfit("it begins at the end")
    operands = [line or reader.steady(v) for line, v in zip(lines, node.operands, strict=True)]
    if any(o is not None for o in operands[:start]) or None in operands[start:]:
        raise Unfit("a loop has the signal in what it carries")
    inner = [line for line in lines if line is not None]
    results = [None] * parts.carried
    results += [reader.computed(v, SAME, inner) for v in node.results[parts.carried :]]
    if not any(results):
        raise Unfit("it takes in the whole signal")
    return [Op("scan", node, SAME, tuple(operands), tuple(results))]


_RULES: dict[str, Callable[[Node, Reader], list[Op]]] = {
    "conv": _window,
    "window": _window,
    "dot": _dot,
    "resize": _resize,
    "elementwise": _plain,
    "reduce": _reduce,
    "cumulative": _cumulative,
    "reshape": _fold,
    "transpose": _plain,
    "broadcast": _plain,
    "concatenate": _plain,
    "split": _plain,
    "loop": _scan,
    **dict.fromkeys(_CHOOSE, _plain),
}


def _positions(node: Node, reader: Reader) -> tuple[Any, Any] | None:
    """For both traces which positions along time are taken, -1 for none; None if it is all of them."""
    line = reader.lines.get(node.operands[0])
    if line is None or any(v in reader.lines for v in node.operands[1:]):
        raise Unfit("what is taken depends on the signal")
    both = []
    for one, size in zip((node, _sizes(node, reader)), line.sizes, strict=True):
        at = _TAKEN[node.op](one, line.dim, size, reader)
        if at is None:
            return None
        both.append(at)
    if line.grows and all(
        np.array_equal(at, np.arange(size)) for at, size in zip(both, line.sizes, strict=True)
    ):
        return None
    return both[0], both[1]


def _sliced(node: Node, dim: int, size: int, reader: Reader) -> np.ndarray:
    start, stop, strides = (node.params[k] for k in ("start_indices", "limit_indices", "strides"))
    return np.arange(start[dim], stop[dim], strides[dim] if strides else 1)


def _padded(node: Node, dim: int, size: int, reader: Reader) -> np.ndarray:
    lo, hi, interior = node.params["padding_config"][dim]
    step = interior + 1
    o = np.arange(lo + hi + (size - 1) * step + 1 if size else lo + hi) - lo
    return np.where((o % step == 0) & (o >= 0) & (o // step < size), o // step, -1)


def _turned(node: Node, dim: int, size: int, reader: Reader) -> np.ndarray:
    return np.arange(size)[:: -1 if dim in node.params["dimensions"] else 1]


def _from(node: Node, dim: int, size: int, reader: Reader) -> np.ndarray:
    out = node.params["slice_sizes"][dim]
    start = Known()(node.operands[1 + dim])
    if start is None and out != size:
        raise Unfit("where it begins is not known")
    return np.arange(out) + min(max(int(start if start is not None else 0), 0), size - out)


def _taken(node: Node, dim: int, size: int, reader: Reader) -> np.ndarray | None:
    if not node.windows or node.windows[0].operand_dim != dim:
        return None
    rows = node.windows[0].rows
    assert rows is not None
    return np.array([row[0] for row in rows])


_TAKEN: dict[str, Callable[[Node, int, int, Reader], np.ndarray | None]] = {
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


def _spread(node: Node, reader: Reader) -> list[Op]:
    """A part of the signal that a reshape may repeat."""
    line = reader.lines[node.operands[0]]
    dim = node.params["broadcast_dimensions"][line.dim]
    return reader.chosen(node.results[0], dim, line.root or line, line.positions(), line.fill)


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
