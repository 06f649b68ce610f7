"""What each value of a graph sees of one dimension of one of its inputs, node by node."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..geometry import Taps
from .known import Known
from .nodes import Graph, Node, Value
from .reshaped import concatenated, reshaped
from .spans import Span, Spread, union


@dataclasses.dataclass(frozen=True)
class Lost:
    """Fields that do not repeat from here on.

    Attributes:
      why: a sentence, with the node.
      everything: whether each position sees all of the input, however large that is.
    """

    why: str
    everything: bool


State = Span | Lost | None  # None sees nothing of the input
Seen = dict[Value, State]
_ROUNDS = 512  # of a scan that are followed one by one


class Reach:
    """Propagates spans.

    Args:
      size: of the input's dimension.
      known: arrays that do not depend on any input.
      written_out: for spans that repeat, those of all positions, which say what becomes of them afterwards.
    """

    def __init__(self, size: int, known: Known, written_out: Seen | None = None) -> None:
        self.size, self.known, self.written_out = size, known, written_out or {}

    def run(self, graph: Graph, seen: Seen) -> Seen:
        """Adds what the values of a graph see, given its inputs."""
        for node in graph.nodes:
            states = [seen.get(operand) for operand in node.operands]
            if all(state is None for state in states):
                continue
            seen.update(zip(node.results, self._results(node, states, seen), strict=True))
        return seen

    def _results(self, node: Node, states: list[State], seen: Seen) -> Sequence[State]:
        if node.op == "loop":
            return self._loop(node, states, seen)
        if node.op == "branch":
            return self._branch(node, states, seen)
        lost = [(i, state) for i, state in enumerate(states) if isinstance(state, Lost)]
        for i, state in lost:
            span = self.written_out.get(node.operands[i])
            everything = isinstance(span, Span) and any(span.first.shape[d] > 1 for d in _summed(node, i))
            if everything and not state.everything:
                state = Lost(_sentence(node, "it takes in whole rows"), everything=True)
            return [state] * len(node.results)
        try:
            spans: Any = states
            return _RULES.get(node.op, _opaque)(self, node, spans)
        except Spread as spread:
            return [Lost(_sentence(node, spread.why), spread.everything)] * len(node.results)

    def _loop(self, node: Node, states: list[State], seen: Seen) -> Sequence[State]:
        """Round by round; what a round of unknown number makes of the carry is everything."""
        body, scan = node.bodies[0], node.name == "scan"
        skip = 0 if scan else node.params["cond_nconsts"]
        if not scan and any(states[:skip]):
            return self._everything(node, states)
        fixed = node.params["num_consts"] if scan else node.params["body_nconsts"]
        carries = node.params["num_carry"] if scan else len(node.results)
        consts, carry = states[skip : skip + fixed], states[skip + fixed : skip + fixed + carries]
        inputs = states[skip + fixed + carries :]
        lengths = range(node.length or 1)
        if len(lengths) > _ROUNDS:
            return self._everything(node, states)
        rounds: list[Sequence[State]] = []
        try:
            for i in reversed(lengths) if node.params.get("reverse") else lengths:
                slices = [_at(state, i) for state in inputs]
                found = self.run(body, dict(zip(body.inputs, [*consts, *carry, *slices], strict=True)))
                after = [found.get(value) for value in body.outputs]
                if node.length is None and not all(map(_same, carry, after[:carries])):
                    return self._everything(node, states)
                carry = after[:carries]
                rounds.append(after[carries:])
            seen.update((value, found[value]) for inner, _ in body.walk() for value in inner.results if value in found)
            rounds = rounds[::-1] if node.params.get("reverse") else rounds
            return [*carry, *(_stacked(list(ys)) for ys in zip(*rounds, strict=True))]
        except Spread as spread:
            return [Lost(_sentence(node, spread.why), spread.everything)] * len(node.results)

    def _branch(self, node: Node, states: list[State], seen: Seen) -> Sequence[State]:
        if states[0] is not None:
            return self._everything(node, states)
        ends: list[list[State]] = []
        for body in node.bodies:
            self.run(body, seen_in := dict(zip(body.inputs, states[1:], strict=True)))
            seen.update((v, s) for v, s in seen_in.items() if v.kind == "result")
            ends.append([seen_in.get(value) for value in body.outputs])
        return [_joined(node, list(column)) for column in zip(*ends, strict=True)]

    def _everything(self, node: Node, states: Sequence[State]) -> list[State]:
        lost = next((s for s in states if isinstance(s, Lost)), None)
        if lost is not None:
            return [lost] * len(node.results)
        try:
            return _opaque(self, node, [s if isinstance(s, Span) else None for s in states])
        except Spread as spread:
            return [Lost(_sentence(node, spread.why), everything=True)] * len(node.results)


def _sentence(node: Node, why: str) -> str:
    return f"{node.name} in {node.layer or node.source}: {why}"


def _summed(node: Node, operand: int) -> Sequence[int]:
    """The dimensions of an operand that a node sums over."""
    if node.op == "dot":
        return node.params["dimension_numbers"][0][operand]
    return node.params.get("axes", node.params.get("dimensions")) if node.op == "reduce" else ()


def _at(state: State, i: int) -> State:
    """One round's part of what a scan goes through."""
    if not isinstance(state, Span):
        return state
    if state.axis == 0:
        raise Spread("it goes along the dimension round by round")
    at = 0 if state.first.shape[0] == 1 else i
    return state.map(lambda bounds: bounds[at], None if state.axis is None else state.axis - 1)


def _stacked(states: list[State]) -> State:
    lost = next((s for s in states if isinstance(s, Lost)), None)
    spans = [s for s in states if isinstance(s, Span)]
    if lost is not None or not spans:
        return lost
    raised = [s.spread_to(s.ndim + 1, range(1, s.ndim + 1)) if isinstance(s, Span) else None for s in states]
    return concatenated(raised, [1] * len(states), 0)


def _joined(node: Node, states: list[State]) -> State:
    lost = next((s for s in states if isinstance(s, Lost)), None)
    spans = [s for s in states if isinstance(s, Span)]
    if lost is not None or not spans:
        return lost
    try:
        return union(spans)
    except Spread as spread:
        return Lost(_sentence(node, spread.why), spread.everything)


def _same(a: State, b: State) -> bool:
    if not isinstance(a, Span) or not isinstance(b, Span):
        return a is b or (isinstance(a, Lost) and isinstance(b, Lost))
    return a.axis == b.axis and np.array_equal(a.first, b.first) and np.array_equal(a.last, b.last)


Spans = Sequence[Span | None]
Rule = Callable[[Reach, Node, Spans], Sequence[Span | None]]


def _opaque(reach: Reach, node: Node, spans: Spans) -> list[Span | None]:
    """Each result sees all that any operand sees, and a dimension along which fields repeat has no end."""
    if any(span is not None and span.axis is not None for span in spans):
        raise Spread("it is not known to be local", everything=True)
    return [Span.every(reach.size, len(result.shape)) for result in node.results]


def _elementwise(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    ndim = len(node.results[0].shape)
    seen = [s.spread_to(ndim, range(s.ndim)) if s.ndim == ndim else s.spread_to(ndim, ()) for s in spans if s]
    return [union(seen)] * len(node.results)


def _windowed(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    operand, result = node.operands[0].shape, node.results[0].shape
    seen = []
    for i, span in enumerate(spans):
        if span is None:
            continue
        if i and span.ndim == 0:  # what a border is filled with
            seen.append(span.spread_to(len(result), ()))
            continue
        for w in node.windows:
            span = span.along(w.operand_dim, w.taps, operand[w.operand_dim], result[w.result_dim], windowed=w.sums)
        seen.append(span)
    return [union(seen)] * len(node.results)


def _conv(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    data, kernel = spans
    result, found = node.results[0].shape, []
    if data is not None and node.name == "conv_weight_grad":
        found.append(_all_of(data, node.operands[0].shape, len(result)))
    elif data is not None:
        (batch, channels, *_), (to_batch, to_channels, *_) = order, to = _orders(node)
        if node.params.get("batch_group_count", 1) > 1:
            data = data.over([batch], node.operands[0].shape, keep=True)
        groups = node.params["spec"].groups if "spec" in node.params else node.params["feature_group_count"]
        data = data.grouped(channels, groups, result[to_channels])
        for w in node.windows:
            size, out = node.operands[0].shape[w.operand_dim], result[w.result_dim]
            data = data.along(w.operand_dim, w.taps, size, out)
        found.append(data.transposed([order[to.index(d)] for d in range(len(result))]))
    if kernel is not None:
        found.append(_all_of(kernel, node.operands[1].shape, len(result)))
    return [union(found)]


def _orders(node: Node) -> tuple[list[int], list[int]]:
    """Batch, channels and spatial dimensions of the operand and of the result."""
    if "spec" in node.params:
        rank = node.params["spec"].rank
        order = [0, rank + 1, *range(1, rank + 1)]
        return order, order
    lhs, _, out = node.params["dimension_numbers"]
    return list(lhs), list(out)


def _all_of(span: Span, shape: Sequence[int], ndim: int) -> Span:
    """Every position of a result of `ndim` dimensions sees what any of the operand does."""
    return span.over(range(span.ndim), shape).spread_to(ndim, ())


def _dot(reach: Reach, node: Node, spans: Spans) -> list[Span | None]:
    (contracted, batched), found = node.params["dimension_numbers"], []
    ndim = len(node.results[0].shape)
    free = [len(v.shape) - len(c) - len(b) for v, c, b in zip(node.operands, contracted, batched, strict=True)]
    for side, span in enumerate(spans):
        if span is None:
            continue
        shape = node.operands[side].shape
        mine = [d for d in range(len(shape)) if d not in (*contracted[side], *batched[side])]
        start = len(batched[0]) + (free[0] if side else 0)
        rows = _rows(reach.known(node.operands[1 - side]), contracted[1 - side], batched[1 - side])
        places = [*range(len(batched[side])), *range(start, start + len(mine))]
        if rows is None:
            order = [*batched[side], *mine, *contracted[side]]
            kept = span.transposed(order).over(range(len(order) - len(contracted[side]), len(order)), [shape[d] for d in order])
        else:
            dim, far = contracted[side][0], span.axis == contracted[side][0]
            taps = Taps.fit(rows, shape[dim]) if far else Taps(len(rows), 0, rows)
            if far and taps is None and all(len(row) == shape[dim] for row in rows):
                raise Spread("it takes in whole rows", everything=True)
            kept = span.along(dim, taps, shape[dim], len(rows)).transposed([*batched[side], *mine, dim])
            places.append(len(batched[0]) + (0 if side else free[0]))
        found.append(kept.spread_to(ndim, places))
    return [union(found)]


def _rows(matrix: np.ndarray | None, contracted: Sequence[int], batched: Sequence[int]) -> tuple[tuple[int, ...], ...] | None:
    """Which positions each result of a known matrix touches; None for what is no matrix."""
    if matrix is None or matrix.ndim != 2 or len(contracted) != 1 or batched:
        return None
    turned = np.moveaxis(matrix, contracted[0], 1) != 0
    return tuple(tuple(np.flatnonzero(row).tolist()) for row in turned)


def _reduce(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    dims = _summed(node, 0)
    shape, ndim = node.operands[0].shape, len(node.results[0].shape)
    seen = [s.over(dims, shape) if s.ndim > ndim or not dims else s.spread_to(ndim, ()) for s in spans if s]
    return [union(seen)] * len(node.results)


def _cumulative(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    dim, span = node.params["axis"], spans[0]
    assert span is not None
    if span.axis == dim:
        raise Spread("it is a running sum", everything=True)
    turn = slice(None, None, -1 if node.params["reverse"] else 1)
    at = (*(slice(None),) * dim, turn)
    first = np.minimum.accumulate(span.first[at], dim)[at]
    last = np.maximum.accumulate(span.last[at], dim)[at]
    return [dataclasses.replace(span, first=first, last=last)]


def _reshape(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    assert spans[0] is not None
    return [reshaped(spans[0], node.operands[0].shape, node.results[0].shape)]


def _transpose(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    assert spans[0] is not None
    return [spans[0].transposed(node.params["permutation"])]


def _broadcast(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    span, dims = spans[0], node.params["broadcast_dimensions"]
    assert span is not None
    for dim, (size, to) in enumerate(zip(node.operands[0].shape, (node.results[0].shape[d] for d in dims), strict=True)):
        if size != to and span.axis == dim:
            span = span.along(dim, Taps(1, 0, ((0,),)), size, to, windowed=False)
    return [span.spread_to(len(node.results[0].shape), dims)]


def _concatenate(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    dim = node.params["dimension"]
    return [concatenated(spans, [v.shape[dim] for v in node.operands], dim)]


def _split(_: Reach, node: Node, spans: Spans) -> list[Span | None]:
    dim, span, start = node.params["axis"], spans[0], 0
    assert span is not None
    parts: list[Span | None] = []
    for size in node.params["sizes"]:
        taps = Taps(1, 1, ((start,),))
        parts.append(span.along(dim, taps, node.operands[0].shape[dim], size, windowed=False))
        start += size
    return parts


def _dynamic_slice(reach: Reach, node: Node, spans: Spans) -> list[Span | None]:
    span, (operand, *starts) = spans[0], node.operands
    if span is None or any(s is not None for s in spans[1:]):
        return _opaque(reach, node, spans)
    for dim, (size, out, start) in enumerate(zip(operand.shape, node.params["slice_sizes"], starts, strict=True)):
        known = reach.known(start)
        at = range(size - out + 1) if known is None else [min(max(int(known), 0), size - out)]
        if size != out:
            span = span.along(dim, Taps(1, 1, (tuple(at),)), size, out, windowed=False)
    return [span]


def _gather(reach: Reach, node: Node, spans: Spans) -> list[Span | None]:
    """Rows taken along one dimension by known indices; anything else is opaque."""
    span, numbers = spans[0], node.params["dimension_numbers"]
    indices, shape = reach.known(node.operands[1]), node.operands[0].shape
    dims, collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
    whole = all(n == (1 if d in dims else shape[d]) for d, n in enumerate(node.params["slice_sizes"]))
    if span is None or indices is None or len(dims) != 1 or dims != collapsed or indices.ndim != 2 or not whole:
        return _opaque(reach, node, spans)
    dim, size = dims[0], shape[dims[0]]
    rows = tuple((min(max(int(i), 0), size - 1),) for i in indices[:, 0])
    taps = Taps.fit(rows, size) if span.axis == dim else Taps(len(rows), 0, rows)
    taken = span.along(dim, taps, size, len(rows))
    at = next(d for d in range(len(shape)) if d not in numbers.offset_dims)
    rest = [d for d in range(len(shape)) if d != dim]
    rest.insert(at, dim)
    return [taken.transposed(rest)]


_RULES: dict[str, Rule] = {
    "conv": _conv,
    "dot": _dot,
    "window": _windowed,
    "pad": _windowed,
    "slice": _windowed,
    "reverse": _windowed,
    "elementwise": _elementwise,
    "reduce": _reduce,
    "cumulative": _cumulative,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "concatenate": _concatenate,
    "split": _split,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
}
