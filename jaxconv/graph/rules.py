"""What an operation does to spans, for each kind of operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ..geometry import Taps
from .known import Known
from .nodes import Node
from .reshaped import concatenated, reshaped
from .spans import Span, Spread, union


@dataclasses.dataclass(frozen=True)
class Context:
    """What a rule may ask for.

    Attributes:
      size: of the input's dimension.
      known: arrays that do not depend on any input.
    """

    size: int
    known: Known


Spans = Sequence[Span | None]
Rule = Callable[[Context, Node, Spans], Sequence[Span | None]]


def summed(node: Node, operand: int) -> Sequence[int]:
    """The dimensions of an operand that a node sums over."""
    if node.op == "dot":
        return node.params["dimension_numbers"][0][operand]
    if node.op == "reduce":
        return node.params["axes"] if "axes" in node.params else node.params["dimensions"]
    return ()


def opaque(context: Context, node: Node, spans: Spans) -> list[Span | None]:
    """Each result sees all that any operand sees, and a dimension along which fields repeat has no end."""
    if any(span is not None and span.axis is not None for span in spans):
        raise Spread("it is not known to be local", everything=True)
    return [Span.every(context.size, len(result.shape)) for result in node.results]


def _elementwise(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    if node.name == "optimization_barrier":
        return list(spans)
    shape = node.results[0].shape
    operands = [(span, v.shape) for span, v in zip(spans, node.operands, strict=True) if span is not None]
    seen = [
        _widened(span, own, shape) if len(own) == len(shape) else span.spread_to(len(shape), ())
        for span, own in operands
    ]
    return [union(seen)] * len(node.results)


def _widened(span: Span, shape: Sequence[int], to: Sequence[int]) -> Span:
    """After a dimension of size 1 has become a longer one, or has met it."""
    dim = span.axis
    if dim is None or shape[dim] == to[dim]:
        return span
    return span.along(dim, Taps(1, 0, ((0,),)), shape[dim], to[dim], windowed=False)


def _windowed(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    seen: list[Span] = []
    for i, span in enumerate(spans):
        if span is None:
            continue
        if span.ndim == 0:  # what a border is filled with
            seen.append(span.spread_to(len(node.results[0].shape), ()))
            continue
        for w in node.windows:
            sizes = node.operands[i].shape[w.operand_dim], node.results[0].shape[w.result_dim]
            span = span.along(w.operand_dim, w.taps, *sizes, windowed=w.sums, rows=w.rows)
            order = [d for d in range(span.ndim) if d != w.operand_dim]
            order.insert(w.result_dim, w.operand_dim)
            span = span.transposed(order)
        seen.append(span)
    return [union(seen)] * len(node.results)


def _conv(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    data, kernel = spans
    result, found = node.results[0].shape, []
    if data is not None and node.name == "conv_weight_grad":
        found.append(_all_of(data, node.operands[0].shape, len(result)))
    elif data is not None:
        order, to = _orders(node)
        batch, channels = order[:2]
        if node.params.get("batch_group_count", 1) > 1:
            data = data.over([batch], node.operands[0].shape, keep=True)
        groups = node.params["spec"].groups if "spec" in node.params else node.params["feature_group_count"]
        data = data.grouped(channels, groups, result[to[1]])
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


def _dot(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    (contracted, batched), found = node.params["dimension_numbers"], []
    ndim, batch = len(node.results[0].shape), len(batched[0])
    for side, span in enumerate(spans):
        if span is None:
            continue
        shape = node.operands[side].shape
        free = [d for d in range(len(shape)) if d not in (*contracted[side], *batched[side])]
        order = [*batched[side], *free, *contracted[side]]
        sums = range(batch + len(free), len(order))
        kept = span.transposed(order).over(sums, [shape[d] for d in order])
        start = ndim - len(free) if side else batch
        found.append(kept.spread_to(ndim, [*range(batch), *range(start, start + len(free))]))
    return [union(found)]


def _reduce(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    dims = summed(node, 0)
    shape, ndim = node.operands[0].shape, len(node.results[0].shape)
    seen = [s.over(dims, shape) if s.ndim > ndim or not dims else s.spread_to(ndim, ()) for s in spans if s]
    return [union(seen)] * len(node.results)


def _cumulative(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    dim, span = node.params["axis"], spans[0]
    assert span is not None
    if span.axis == dim:
        raise Spread("it is a running sum", everything=True)
    turn = slice(None, None, -1 if node.params["reverse"] else 1)
    at = (*(slice(None),) * dim, turn)
    first = np.minimum.accumulate(span.first[at], dim)[at]
    last = np.maximum.accumulate(span.last[at], dim)[at]
    return [dataclasses.replace(span, first=first, last=last)]


def _reshape(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    assert spans[0] is not None
    return [reshaped(spans[0], node.operands[0].shape, node.results[0].shape)]


def _transpose(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    assert spans[0] is not None
    return [spans[0].transposed(node.params["permutation"])]


def _broadcast(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    span, dims = spans[0], node.params["broadcast_dimensions"]
    assert span is not None
    shape = node.results[0].shape
    span = _widened(span, node.operands[0].shape, [shape[d] for d in dims])
    return [span.spread_to(len(shape), dims)]


def _concatenate(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    dim = node.params["dimension"]
    return [concatenated(spans, [v.shape[dim] for v in node.operands], dim)]


def _split(_: Context, node: Node, spans: Spans) -> list[Span | None]:
    dim, span, start = node.params["axis"], spans[0], 0
    assert span is not None
    parts: list[Span | None] = []
    for size in node.params["sizes"]:
        taps = Taps(1, 1, ((start,),))
        parts.append(span.along(dim, taps, node.operands[0].shape[dim], size, windowed=False))
        start += size
    return parts


def _dynamic_slice(context: Context, node: Node, spans: Spans) -> list[Span | None]:
    span, (operand, *starts) = spans[0], node.operands
    if span is None or any(s is not None for s in spans[1:]):
        return opaque(context, node, spans)
    for dim, (size, out, start) in enumerate(
        zip(operand.shape, node.params["slice_sizes"], starts, strict=True)
    ):
        known = context.known(start)
        at = range(size - out + 1) if known is None else [min(max(int(known), 0), size - out)]
        if size != out:
            span = span.along(dim, Taps(1, 1, (tuple(at),)), size, out, windowed=False)
    return [span]


def _gather(context: Context, node: Node, spans: Spans) -> list[Span | None]:
    """Rows taken by known indices; anything else is opaque."""
    return (_windowed if node.windows else opaque)(context, node, spans)


RULES: dict[str, Rule] = {
    "conv": _conv,
    "dot": _dot,
    "window": _windowed,
    "resize": _windowed,
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
