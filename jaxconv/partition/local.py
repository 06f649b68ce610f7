"""One node on pieces of its operands.

`local(node, pieces, wanted)` computes exactly the wanted positions of a result from arrays that hold some
positions of the operands. The operation is the node's own, bound again with the padding that follows from
what the piece holds instead of its own: a piece is first cut to, or filled up to, what is `needed`. What it
lacks gets the operation's own neutral value (zero, minus infinity, what `pad` pads with), so a piece that
ends where the array does meets the border as the whole array would.

All of it is static: only shapes and relative positions decide the program. But for rows of resizes and for
what counts positions (`iota`), pieces that are moved by whole periods have the same program. Streams and
devices, where positions are known when the program runs, have evaluators of their own (see `operation.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..geometry import Axis
from ..graph.nodes import Node
from ..ops.resample import summed
from ..ops.resample_weights import taps
from . import operation
from .regions import Interval, Region, links, needed


class Piece(NamedTuple):
    """Some positions of a value.

    Attributes:
      array: of them.
      region: which ones; as long as the array along each dimension that is partitioned.
    """

    array: jax.Array
    region: Region


def local(node: Node, pieces: Sequence[Piece | None], wanted: Region, result: int = 0) -> jax.Array:
    """Some positions of one result of a node.

    Args:
      node: of a graph.
      pieces: of each operand what is needed, or more; None where nothing of it exists.
      wanted: which positions of the result; those of an axis that is whole are None.
      result: which one.

    Returns:
      The array, exactly the positions that are wanted.

    Raises:
      ValueError: if the node is not local along a dimension that is partitioned.

    Example:
      >>> import jaxconv
      >>> x, kernel = jnp.arange(9.0).reshape(1, 9, 1), jnp.ones((3, 1, 1))
      >>> node = jaxconv.graph.trace(lambda x, w: jaxconv.conv(x, w, padding=1), x, kernel).nodes[0]
      >>> piece = Piece(x[:, :4], (None, (0, 4), None))
      >>> local(node, [piece, Piece(kernel, (None,) * 3)], (None, (0, 3), None)).ravel().tolist()
      [1.0, 3.0, 6.0]
    """
    regions = needed(node, wanted, result)
    arrays = [None if r is None else _fitted(node, i, pieces, r) for i, r in enumerate(regions)]
    call = _Call(node, arrays, regions, wanted, result)
    if all(r is not None and not any(r) for r in (wanted, *regions)):
        return _bound(call)
    evaluate = _EVALUATE.get(node.name if node.op == "opaque" else node.op)
    if evaluate is None:
        where = node.layer or node.source or "the function"
        raise ValueError(f"{node.name} in {where} can't be evaluated on pieces of its operands.")
    return evaluate(call)


def neutral(node: Node, pieces: Sequence[Piece | None], operand: int = 0) -> Any:
    """What an operation sees outside of an operand: a number, or a scalar array."""
    if node.op == "pad" or (node.op == "window" and node.name == "reduce_window"):
        value = pieces[len(pieces) // 2 + operand if node.op == "window" else 1]
        assert value is not None  # a scalar is never partitioned
        return value.array
    return operation.neutral(node)


class _Call(NamedTuple):
    """A node with operands that are exactly what is needed; None for those that are not."""

    node: Node
    arrays: Sequence[Any]
    regions: Sequence[Region | None]
    wanted: Region
    result: int

    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return sizes(self.node.results[self.result].shape, self.wanted)

    def start(self, operand_dim: int) -> int:
        """The position of operand 0's first."""
        interval = (self.regions[0] or ())[operand_dim]
        return 0 if interval is None else interval[0]

    def axes(self) -> dict[int, Axis]:
        """The windows from what is needed to what is wanted, by dimension of the operand."""
        whole, found = operation.axes(self.node), dict[int, Axis]()
        for window in self.node.windows:
            dim, interval = window.operand_dim, self.wanted[window.result_dim]
            if interval is not None and dim in whole:
                size, (start, stop) = self.arrays[0].shape[dim], interval
                shift = self.start(dim) * whole[dim].base - start * whole[dim].stride
                found[dim] = operation.on_piece(whole[dim], size, stop - start, shift)
        return found


def sizes(shape: Sequence[int], region: Region) -> tuple[int, ...]:
    """The shape of a region of an array."""
    return tuple(n if i is None else i[1] - i[0] for n, i in zip(shape, region, strict=True))


def cut(piece: Piece, region: Region) -> jax.Array:
    """A region that a piece holds."""
    starts = [0 if w is None else w[0] - (h or (0, 0))[0] for h, w in zip(piece.region, region, strict=True)]
    stops = [a + n for a, n in zip(starts, sizes(piece.array.shape, region), strict=True)]
    whole = all(a == 0 for a in starts) and tuple(stops) == piece.array.shape
    return piece.array if whole else lax.slice(piece.array, starts, stops)


def _fitted(node: Node, operand: int, pieces: Sequence[Piece | None], region: Region) -> Any:
    """What is needed of an operand, filled up where the piece ends."""
    piece, value = pieces[operand], node.operands[operand]
    shape = sizes(value.shape, region)
    if all(i is None for i in region):
        assert piece is not None
        return piece.array
    held = [None] * len(shape) if piece is None else piece.region
    inside = [w and _common(w, h or (0, n)) for w, h, n in zip(region, held, value.shape, strict=True)]
    if piece is None or any(i is not None and i[1] <= i[0] for i in inside):
        return jnp.full(shape, neutral(node, pieces, operand), value.dtype)
    array = cut(piece, tuple(inside))
    ends = [(i[0] - w[0], w[1] - i[1]) if i and w else (0, 0) for i, w in zip(inside, region, strict=True)]
    if not any(map(any, ends)):
        return array
    filling = jnp.asarray(neutral(node, pieces, operand), array.dtype)
    return lax.pad(array, filling, [(lo, hi, 0) for lo, hi in ends])


def _common(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), min(a[1], b[1])


def _bound(call: _Call) -> Any:
    """The primitive as it is: its parameters say nothing of the sizes that are partitioned."""
    if call.node.name == "optimization_barrier":
        return call.arrays[call.result]
    return operation.apply(call.node, call.arrays)[call.result]


def _conv(call: _Call) -> Any:
    node, x = call.node, call.arrays[0]
    if x is None:
        return jnp.zeros(call.shape(), node.results[0].dtype)
    return operation.apply(node, call.arrays, **operation.with_axes(node, call.axes(), batch=x.shape[0]))[0]


def _window(call: _Call) -> Any:
    node, (x, *others) = call.node, call.arrays
    found = call.axes()
    if node.name == "pool_pick":
        if others:
            raise ValueError(
                f"{node.layer or node.source} picks elements by number, which pieces do not have."
            )
        x, parts = _parts(call)
        found |= parts
    return operation.apply(node, [x, *others], **operation.with_axes(node, found))[call.result]


def _parts(call: _Call) -> tuple[jax.Array, dict[int, Axis]]:
    """Parts of an axis, which need not be of equal length, are summed by their rows."""
    x, found = call.arrays[0], dict[int, Axis]()
    for d, axis in enumerate(call.node.params["windows"], 1):
        interval = call.wanted[d]
        if interval is not None and not isinstance(axis, Axis):
            starts, counts = (np.array(a)[slice(*interval)] for a in (axis.starts, axis.counts))
            steps = np.arange(max(counts))
            index = starts[:, None] - call.start(d) + np.minimum(steps, counts[:, None] - 1)
            x = summed(x, d, index, (steps < counts[:, None]).astype(float))
            found[d] = Axis(x.shape[d], 1)
    return x, found


def _resize(call: _Call) -> Any:
    node, x = call.node, call.arrays[0]
    if node.name == "dot_general":
        return _bound(call)
    axis = node.params["axis"]
    start, stop = call.wanted[axis] or (0, node.results[0].shape[axis])
    index, weight = taps(node.params["by"], node.params["transposed"])
    here = np.clip(index[start:stop] - call.start(axis), 0, x.shape[axis] - 1)
    return summed(x, axis, here, None if weight is None else weight[start:stop])


def _pad(call: _Call) -> Any:
    node, (x, filling) = call.node, call.arrays
    if x is None:
        return jnp.full(call.shape(), filling, node.results[0].dtype)
    return lax.pad(x, filling, operation.with_axes(node, call.axes())["padding_config"])


def _slice(call: _Call) -> Any:
    node, [x] = call.node, call.arrays
    p = node.params
    strides = list(p["strides"] or [1] * x.ndim)
    starts, stops = list(p["start_indices"]), list(p["limit_indices"])
    for d, interval in enumerate(call.wanted):
        if interval is not None:
            starts[d], stops[d] = 0, x.shape[d]
    return lax.slice(x, starts, stops, strides)


def _dynamic_slice(call: _Call) -> Any:
    """Dimensions of which a known part is wanted are cut already."""
    x, *starts = call.arrays
    zero = jnp.zeros((), call.node.operands[1].dtype)
    starts = [s if i is None else zero for s, i in zip(starts, call.wanted, strict=True)]
    return lax.dynamic_slice(x, starts, call.shape())


def _split(call: _Call) -> Any:
    p, [x] = call.node.params, call.arrays
    if call.wanted[p["axis"]] is not None:
        return x
    start = sum(p["sizes"][: call.result])
    return lax.slice_in_dim(x, start, start + p["sizes"][call.result], 1, p["axis"])


def _concatenate(call: _Call) -> Any:
    return lax.concatenate([a for a in call.arrays if a is not None], call.node.params["dimension"])


def _broadcast(call: _Call) -> Any:
    return lax.broadcast_in_dim(call.arrays[0], call.shape(), call.node.params["broadcast_dimensions"])


def _reshape(call: _Call) -> Any:
    """Joined dimensions may begin and end inside of one that is joined."""
    node, [x] = call.node, call.arrays
    shape, starts = list(call.shape()), [0] * len(call.wanted)
    for link in links(node):
        interval = call.wanted[link.result_dim]
        assert link.taps is not None
        if interval is not None:
            period, advance = link.taps.period, link.taps.advance
            starts[link.result_dim] = interval[0] - call.start(link.operand_dim) * period // advance
            shape[link.result_dim] = x.shape[link.operand_dim] * period // advance
    stops = [a + n for a, n in zip(starts, call.shape(), strict=True)]
    return lax.slice(x.reshape(shape), starts, stops)


def _gather(call: _Call) -> Any:
    node, x = call.node, call.arrays[0]
    [window] = node.windows
    assert window.rows is not None
    start, stop = call.wanted[window.result_dim] or (0, len(window.rows))
    index = np.array([row[0] for row in window.rows[start:stop]]) - call.start(window.operand_dim)
    taken = summed(x, window.operand_dim, index[:, None], None)
    return jnp.moveaxis(taken, window.operand_dim, window.result_dim)


def _iota(call: _Call) -> Any:
    node = call.node
    if node.name != "iota":
        raise ValueError(f"{node.name} in {node.layer or node.source} makes random numbers for whole arrays.")
    dim, dtype = node.params["dimension"], node.results[0].dtype
    start = (call.wanted[dim] or (0, 0))[0]
    return lax.broadcasted_iota(dtype, call.shape(), dim) + jnp.asarray(start, dtype)


_EVALUATE: dict[str, Callable[[_Call], Any]] = {
    "conv": _conv,
    "window": _window,
    "resize": _resize,
    "pad": _pad,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "split": _split,
    "concatenate": _concatenate,
    "broadcast": _broadcast,
    "reshape": _reshape,
    "gather": _gather,
    "constant": _iota,
    **dict.fromkeys(("elementwise", "dot", "reduce", "cumulative", "sort", "reverse", "transpose"), _bound),
}
