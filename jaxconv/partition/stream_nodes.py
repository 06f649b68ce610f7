"""What becomes of each node of a graph: operations along time, or a choice of positions."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..geometry import SAME, Axis, Taps
from ..graph import Node
from ..graph.known import Known
from .operation import axes, neutral
from .stream_choose import choose
from .stream_lines import Line, Op, check_growing
from .stream_pattern import Rows, Unaligned, Unfit, fit
from .stream_reader import Reader


def read(node: Node, reader: Reader) -> list[Op]:
    """The operations of a node; none if it only chooses positions.

    Raises:
      Unfit: if it is not local in time.
    """
    found = choose(node, reader)
    if found is not None:
        return found
    for value in node.operands:
        if value in reader.lines:
            check_growing(reader.lines[value])
    rule = _RULES.get(node.op)
    if rule is None:
        raise Unfit("it is not known to be local in time")
    return rule(node, reader)


def _plain(node: Node, reader: Reader) -> list[Op]:
    """Each moment on its own."""
    operands = [reader.lines.get(v) or reader.steady(v) for v in node.operands]
    lines = [line for line in operands if isinstance(line, Line)]
    results = tuple(reader.computed(value, SAME, lines) for value in node.results)
    if node.op in ("elementwise", "concatenate") and len({o.dim for o in operands if o}) > 1:
        raise Unfit("everything meets everything")
    return [Op("plain", node, SAME, tuple(operands), results)]


def _gather(node: Node, reader: Reader) -> list[Op]:
    """Rows of a table that the signal numbers, or elements of each moment."""
    line = reader.lines.get(node.operands[0])
    both = line is not None and node.operands[1] in reader.lines
    if both or (line is not None and node.params["slice_sizes"][line.dim] != line.sizes[0]):
        raise Unfit("what is taken when depends on numbers that are not known")
    return _plain(node, reader)


def _reduce(node: Node, reader: Reader) -> list[Op]:
    axes = node.params.get("axes", node.params.get("dimensions", ()))
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
    axis = _axis(node, line.dim)
    if axis is None:
        return _plain(node, reader)
    taps = Taps.of(axis)
    if taps != Taps.of(_axis(reader.twin(node), line.dim) or axis):
        raise Unaligned
    result = reader.computed(node.results[0], taps, [line])
    return [Op("window", node, taps, (line, *(None for _ in rest)), (result,), fill=neutral(node))]


def _axis(node: Node, dim: int) -> Axis | None:
    """The windows along a dimension; None if there are none.

    Raises:
      Unfit: if all positions along it meet.
    """
    if node.op == "conv" and node.name != "conv_weight_grad":
        numbers = node.params.get("dimension_numbers")
        batch, channels, *_ = numbers.lhs_spec if numbers else (0, len(node.operands[0].shape) - 1)
        if dim == channels or (dim == batch and node.params.get("batch_group_count", 1) > 1):
            raise Unfit("it takes in the whole signal as channels")
    elif node.name == "pool_pick":
        if 0 < dim <= len(node.params["windows"]) and not isinstance(node.params["windows"][dim - 1], Axis):
            raise Unfit("its windows depend on the length")
    elif node.name not in _SLIDING or len(node.results) != 1:
        raise Unfit("it is not known to be local in time")
    return axes(node).get(dim)


_SLIDING = frozenset({"reduce_window_sum", "reduce_window_max", "reduce_window_min"})


def _resize(node: Node, reader: Reader) -> list[Op]:
    """A product with a matrix that the lengths decide, along time or another dimension."""
    [window] = node.windows
    line = reader.lines.get(node.operands[window.operand])
    if line is None or line.dim != window.operand_dim:
        return _plain(node, reader)
    both = [_matrix(n, n.windows[0].operand) for n in (node, reader.twin(node))]
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
    result.keep, result.initial = 1, neutral(node)
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
    "gather": _gather,
    **dict.fromkeys(("slice", "pad", "reverse", "dynamic_slice"), _plain),
}
