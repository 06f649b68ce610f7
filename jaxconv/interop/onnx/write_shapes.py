"""Primitives that move elements, and reductions, as nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ...graph import Node
from .emit import Emitter, Held, Window
from .write_elements import cast, least
from .write_windows import bordered

_END = np.iinfo(np.int64)


def _reshape(emit: Emitter, node: Node) -> None:
    value, result = node.operands[0], node.results[0]
    held = emit.of(value)
    if held.array is not None:
        array = emit.full(emit.ordered(held, range(len(value.shape))), value.shape).array
        assert array is not None
        emit.held[result] = held.again(range(len(result.shape)), array.reshape(result.shape))
        return None
    dropped = [i for i, n in enumerate(value.shape) if n == 1]
    kept = [i for i in range(len(value.shape)) if i not in dropped]
    new = [i for i, n in enumerate(result.shape) if n != 1]
    if [value.shape[i] for i in kept] == [result.shape[i] for i in new]:
        return _units(emit, node, dict(zip(kept, new, strict=True)))
    name = emit.node("Reshape", emit.plain(value), emit.ints(*result.shape))
    return emit.make(result, range(len(result.shape)), name)


def _units(emit: Emitter, node: Node, becomes: dict[int, int]) -> None:
    """Only axes of one position come and go: those that stay keep their order, new ones are behind."""
    held, result = emit.of(node.operands[0]), node.results[0]
    order = [becomes[i] for i in held.order if i in becomes]
    shape = [n for i, n in zip(held.order, held.shape, strict=True) if i in becomes]
    more = [i for i in range(len(result.shape)) if i not in order]
    name = emit.node("Reshape", emit.name(held), emit.ints(*shape, *(1 for _ in more)))
    emit.make(result, [*order, *more], name, [*shape, *(1 for _ in more)])


def _broadcast(emit: Emitter, node: Node) -> None:
    value, result = node.operands[0], node.results[0]
    held, where = emit.of(value), node.params["broadcast_dimensions"]
    rank = len(result.shape)
    if held.array is not None:
        array = emit.ordered(held, range(len(value.shape))).array
        assert array is not None
        shape = [1] * rank
        for i, j in enumerate(where):
            shape[j] = array.shape[i]
        emit.held[result] = held.again(range(rank), array.reshape(shape))
    elif len(where) == rank:  # axes are repeated, which is left to who needs it
        emit.held[result] = held
    else:
        _units(emit, node, dict(enumerate(where)))


def _transpose(emit: Emitter, node: Node) -> None:
    held, perm = emit.of(node.operands[0]), list(node.params["permutation"])
    order = tuple(perm.index(axis) for axis in held.order)
    emit.held[node.results[0]] = dataclasses.replace(
        held, order=order, make=lambda: emit.name(held), window=None, padded=None
    )


def _concatenate(emit: Emitter, node: Node) -> None:
    order = emit.of(node.operands[0]).order
    names = [emit.plain(v, order) for v in node.operands]
    axis = order.index(node.params["dimension"])
    emit.make(node.results[0], order, emit.node("Concat", *names, axis=axis))


def _stack(emit: Emitter, node: Node) -> None:
    axis = node.params["axis"]
    names = [emit.node("Unsqueeze", emit.plain(v), emit.ints(axis)) for v in node.operands]
    result = node.results[0]
    emit.make(result, range(len(result.shape)), emit.node("Concat", *names, axis=axis))


def _tile(emit: Emitter, node: Node) -> None:
    held = emit.full(emit.of(node.operands[0]), node.operands[0].shape)
    repeats = [node.params["reps"][i] for i in held.order]
    emit.make(node.results[0], held.order, emit.node("Tile", emit.name(held), emit.ints(*repeats)))


def _pad(emit: Emitter, node: Node) -> None:
    x, value = node.operands
    config = node.params["padding_config"]
    if any(inside for _, _, inside in config):
        raise ValueError("zeros between elements have no operator.")
    held = emit.full(emit.of(x), x.shape)
    pads = [(lo, hi) for lo, hi, _ in config]
    stored = [pads[i] for i in held.order]
    fill, shape = emit.of(value), tuple(node.results[0].shape[i] for i in held.order)

    def make() -> str:
        return bordered(emit, emit.name(held), held.shape, stored, emit.name(fill))

    made = Held(held.order, shape, held.dtype, make=make)
    if fill.array is not None and fill.array == least(held.dtype) and min(min(p) for p in pads) >= 0:
        made.padded = held, pads
    emit.held[node.results[0]] = made


def _slice(emit: Emitter, node: Node) -> None:
    x, p = node.operands[0], node.params
    strides = p["strides"] or (1,) * len(x.shape)
    held = emit.full(emit.of(x), x.shape)
    cut = list(zip(p["start_indices"], p["limit_indices"], strides, strict=True))
    moving = [i for i, (a, b, s) in enumerate(cut) if (a, b, s) != (0, x.shape[i], 1)]
    result = node.results[0]

    def make() -> str:
        at = [held.order.index(i) for i in moving]
        parts = zip(*(cut[i] for i in moving), strict=True)
        starts, ends, steps = (emit.ints(*part) for part in parts)
        return emit.node("Slice", emit.name(held), starts, ends, emit.ints(*at), steps)

    if not moving:
        emit.held[result] = held
        return
    shape = tuple(result.shape[i] for i in held.order)
    made = Held(held.order, shape, held.dtype, make=make)
    if len(moving) == 1:
        [axis] = moving
        made.window = Window(held, axis, (cut[axis][0],), cut[axis][2], result.shape[axis])
    emit.held[result] = made


def _split(emit: Emitter, node: Node) -> None:
    x = node.operands[0]
    held = emit.full(emit.of(x), x.shape)
    axis, sizes = held.order.index(node.params["axis"]), node.params["sizes"]
    names = emit.node("Split", emit.name(held), emit.ints(*sizes), results=len(sizes), axis=axis)
    for result, name in zip(node.results, [names] if isinstance(names, str) else names, strict=True):
        emit.make(result, held.order, name)


def _reverse(emit: Emitter, node: Node) -> None:
    x, axes = node.operands[0], node.params["dimensions"]
    held = emit.full(emit.of(x), x.shape)
    ones = [-1] * len(axes)
    at = [held.order.index(i) for i in axes]
    name = emit.node(
        "Slice",
        emit.name(held),
        emit.ints(*ones),
        emit.ints(*[_END.min] * len(axes)),
        emit.ints(*at),
        emit.ints(*ones),
    )
    emit.make(node.results[0], held.order, name)


def _gather(emit: Emitter, node: Node) -> None:
    """`jnp.take` along one axis with indices that shapes decide."""
    x, indices = node.operands
    numbers, p = emit.of(indices).array, node.params["dimension_numbers"]
    sizes, rank = node.params["slice_sizes"], len(x.shape)
    where = p.start_index_map
    if numbers is None or len(where) != 1 or p.collapsed_slice_dims != where or p.operand_batching_dims:
        raise ValueError(
            "only rows taken along one axis, by indices that are constants, have an operator here."
        )
    [axis] = where
    many = len(numbers.shape) - 1
    offsets = tuple(i for i in range(rank - 1 + many) if not axis <= i < axis + many)
    if p.offset_dims != offsets or any(s != x.shape[i] for i, s in enumerate(sizes) if i != axis):
        raise ValueError("only rows taken along one axis have an operator here.")
    rows = np.clip(numbers.reshape(numbers.shape[:-1]), 0, x.shape[axis] - 1).astype(np.int64)
    name = emit.node("Gather", emit.plain(x), emit.constant(rows, "rows"), axis=axis)
    emit.make(node.results[0], range(len(node.results[0].shape)), name)


def _reduced(order: Sequence[int], axes: Sequence[int]) -> list[int]:
    """The order of what is left."""
    left = [i for i in order if i not in axes]
    return [sorted(left).index(i) for i in left]


def _reduce(op: str) -> Callable[[Emitter, Node], None]:
    def rule(emit: Emitter, node: Node) -> None:
        x, axes = node.operands[0], node.params["axes"]
        held = emit.full(emit.of(x), x.shape)
        name, at = emit.name(held), [held.order.index(i) for i in axes]
        if x.dtype == bool:
            name = cast(emit, name, np.int32)
        name = emit.node(op, name, emit.ints(*at), keepdims=0)
        if x.dtype == bool:
            name = cast(emit, name, bool)
        emit.make(node.results[0], _reduced(held.order, axes), name)

    return rule


def _arg(op: str) -> Callable[[Emitter, Node], None]:
    def rule(emit: Emitter, node: Node) -> None:
        x, [axis] = node.operands[0], node.params["axes"]
        held = emit.full(emit.of(x), x.shape)
        name = emit.node(op, emit.name(held), axis=held.order.index(axis), keepdims=0)
        name = cast(emit, name, node.results[0].dtype)
        emit.make(node.results[0], _reduced(held.order, [axis]), name)

    return rule


def _cumsum(emit: Emitter, node: Node) -> None:
    x = node.operands[0]
    held = emit.full(emit.of(x), x.shape)
    axis = emit.constant(np.array(held.order.index(node.params["axis"]), np.int64), "axis")
    name = emit.node("CumSum", emit.name(held), axis, reverse=int(node.params["reverse"]))
    emit.make(node.results[0], held.order, name)


RULES: dict[str, Callable[[Emitter, Node], None]] = {
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "stack": _stack,
    "tile": _tile,
    "pad": _pad,
    "slice": _slice,
    "split": _split,
    "rev": _reverse,
    "gather": _gather,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_and": _reduce("ReduceMin"),
    "reduce_or": _reduce("ReduceMax"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "cumsum": _cumsum,
}
