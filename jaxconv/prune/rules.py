"""What each kind of operation unites and locks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Node
from .coupling import Coupling, Rule, place
from .grouped import conv
from .labels import Ints


def shut(c: Coupling, node: Node) -> None:
    """What is not understood, or has a body of its own, keeps all its sizes."""
    for value in node.operands:
        c.lock(c.of(value), f"{place(node)} is not understood")
    for value in node.results:
        c.put(value, c.none(value.shape))


def _elementwise(c: Coupling, node: Node) -> None:
    if node.name == "optimization_barrier":
        for operand, result in zip(node.operands, node.results, strict=True):
            c.put(result, c.of(operand))
        return
    shape = node.results[0].shape
    dims: list[Ints | None] = [None] * len(shape)
    for value in node.operands:
        for d, labels in enumerate(c.of(value)):
            if len(labels) != shape[d]:  # one position that spreads
                continue
            if (before := dims[d]) is None:
                dims[d] = labels
            else:
                c.labels.unite(before, labels)
    for result in node.results:
        c.put(result, [np.zeros(n, int) if d is None else d for d, n in zip(dims, shape, strict=True)])


def _bitcast(c: Coupling, node: Node) -> None:
    same = node.operands[0].shape == node.results[0].shape
    (_elementwise if same else shut)(c, node)


def _unstack(c: Coupling, node: Node) -> None:
    dims, axis = list(c.of(node.operands[0])), node.params["axis"]
    c.lock([dims.pop(axis)], f"{place(node)} takes it apart")
    for result in node.results:
        c.put(result, dims)


def _dot(c: Coupling, node: Node) -> None:
    contracted, batched = node.params["dimension_numbers"]
    sides = [c.of(v) for v in node.operands]
    for pairs in (contracted, batched):
        for a, b in zip(*pairs, strict=True):
            c.labels.unite(sides[0][a], sides[1][b])
    free = [
        [own[d] for d in range(len(own)) if d not in (*contracted[side], *batched[side])]
        for side, own in enumerate(sides)
    ]
    c.put(node.results[0], [sides[0][d] for d in batched[0]] + free[0] + free[1])
    weights = [c.is_weight(v) for v in node.operands]
    makers = free if weights[0] == weights[1] else [free[weights.index(True)]]
    c.made += [(node, labels) for dims in makers for labels in dims]


def _reduce(c: Coupling, node: Node) -> None:
    axes = node.params["axes"] if "axes" in node.params else node.params["dimensions"]
    dims = c.of(node.operands[0])
    for other in node.operands[1:]:
        if other.shape == node.operands[0].shape:
            c.unite(dims, c.of(other))
    if node.name in ("argmax", "argmin"):
        c.lock([dims[d] for d in axes], f"{place(node)} numbers its positions")
    for result in node.results:
        c.put(result, [labels for d, labels in enumerate(dims) if d not in axes])


def _along(c: Coupling, node: Node) -> None:
    """A running sum, or a resize: it keeps the positions of an axis together."""
    dims = list(c.of(node.operands[0]))
    axis = node.params["axis"]
    c.lock([dims[axis]], f"{place(node)} goes along it")
    dims[axis] = np.zeros(node.results[0].shape[axis], int)
    c.put(node.results[0], dims)


def _resize(c: Coupling, node: Node) -> None:
    (_dot if node.name == "dot_general" else _along)(c, node)


def _window(c: Coupling, node: Node) -> None:
    dims = c.of(node.operands[0])
    moved = {w.operand_dim for w in node.windows}
    for other in (v for v in node.operands[1:] if len(v.shape) == len(dims)):
        for d, labels in enumerate(c.of(other)):
            if d not in moved and len(labels) == len(dims[d]):
                c.labels.unite(dims[d], labels)
    c.lock([dims[d] for d in moved], f"{place(node)} moves over it")
    for result in node.results:
        shape = result.shape
        c.put(result, [np.zeros(shape[d], int) if d in moved else own for d, own in enumerate(dims)])


def _reshape(c: Coupling, node: Node) -> None:
    c.put(node.results[0], c.reshape(c.of(node.operands[0]), node.results[0].shape))


def _transpose(c: Coupling, node: Node) -> None:
    dims = c.of(node.operands[0])
    c.put(node.results[0], [dims[d] for d in node.params["permutation"]])


def _broadcast(c: Coupling, node: Node) -> None:
    shape = node.results[0].shape
    dims = list(c.fresh(shape))
    for d, labels in zip(node.params["broadcast_dimensions"], c.of(node.operands[0]), strict=True):
        if len(labels) == shape[d]:
            dims[d] = labels
    c.put(node.results[0], dims)


def _concatenate(c: Coupling, node: Node) -> None:
    axis, parts = node.params["dimension"], [list(c.of(v)) for v in node.operands]
    joined = np.concatenate([dims[axis] for dims in parts])
    for dims in parts:
        dims[axis] = joined
        c.unite(parts[0], dims)
    c.put(node.results[0], parts[0])


def _pad(c: Coupling, node: Node) -> None:
    dims = list(c.of(node.operands[0]))
    for d, (lo, hi, interior) in enumerate(node.params["padding_config"]):
        if min(lo, hi) < 0 or interior:
            c.lock([dims[d]], f"{place(node)} spreads it")
            dims[d] = np.zeros(node.results[0].shape[d], int)
        elif lo or hi:
            dims[d] = np.concatenate([c.labels.fresh(lo), dims[d], c.labels.fresh(hi)])
    c.put(node.results[0], dims)


def _slice(c: Coupling, node: Node) -> None:
    p, dims = node.params, c.of(node.operands[0])
    strides = p["strides"] or (1,) * len(dims)
    ranges = map(slice, p["start_indices"], p["limit_indices"], strides)
    c.put(node.results[0], [labels[part] for labels, part in zip(dims, ranges, strict=True)])


def _split(c: Coupling, node: Node) -> None:
    axis, dims = node.params["axis"], list(c.of(node.operands[0]))
    parts = np.split(dims[axis], np.cumsum(node.params["sizes"])[:-1])
    for result, part in zip(node.results, parts, strict=True):
        c.put(result, [*dims[:axis], part, *dims[axis + 1 :]])


def _reverse(c: Coupling, node: Node) -> None:
    turned = node.params["dimensions"]
    c.put(node.results[0], [r[::-1] if d in turned else r for d, r in enumerate(c.of(node.operands[0]))])


def _dynamic_slice(c: Coupling, node: Node) -> None:
    _take(c, node, node.params["slice_sizes"], range(len(node.results[0].shape)))


def _gather(c: Coupling, node: Node) -> None:
    numbers = node.params["dimension_numbers"]
    gone = {*numbers.collapsed_slice_dims, *getattr(numbers, "operand_batching_dims", ())}
    kept = iter(numbers.offset_dims)
    to = [None if d in gone else next(kept) for d in range(len(node.operands[0].shape))]
    _take(c, node, node.params["slice_sizes"], to)
    c.lock(c.of(node.operands[1]), f"{place(node)} looks up positions with it")


def _take(c: Coupling, node: Node, sizes: Sequence[int], to: Sequence[int | None]) -> None:
    """Dimensions that are taken whole go on as `to` says."""
    dims = list(c.none(node.results[0].shape))
    for labels, size, d in zip(c.of(node.operands[0]), sizes, to, strict=True):
        if d is not None and size == len(labels):
            dims[d] = labels
        else:
            c.lock([labels], f"{place(node)} looks up positions in it")
    c.put(node.results[0], dims)


def _constant(c: Coupling, node: Node) -> None:
    for value in node.results:
        c.put(value, c.fresh(value.shape))


# By operation; primitives that are opaque to other analyses of the graph by their name.
RULES: dict[str, Rule] = {
    "bitcast_convert_type": _bitcast,
    "unstack": _unstack,
    "conv": conv,
    "dot": _dot,
    "window": _window,
    "resize": _resize,
    "elementwise": _elementwise,
    "reduce": _reduce,
    "cumulative": _along,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "concatenate": _concatenate,
    "pad": _pad,
    "slice": _slice,
    "split": _split,
    "reverse": _reverse,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "constant": _constant,
}
