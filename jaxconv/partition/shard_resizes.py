"""What resizes, rows taken by known indices and reversals do to pieces."""

# Parameters of equations are not typed.
# pyright: standard

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..graph.nodes import Node, Window
from ..ops.resample_weights import dense
from .halo import Split
from .shard_rules import Planned, Rule, bind, dot
from .shard_values import Array, Change, Context, Dims, Refused, fetched, full, masked, relay, splits


def resize(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """A product with a matrix, of which each device takes the part between its blocks."""
    [window] = node.windows
    if node.op == "resize" and node.name == "resample":
        return _resample(context, node, dims[0])
    side = window.operand
    split = dims[side][window.operand_dim]
    if not isinstance(split, Split):
        return dot(context, node, dims)
    source, target = _blocks(window, split, node.results[0].shape[window.result_dim])
    settle, want = _settled(context, node, dims[side], window.operand_dim, source, side)
    [contracted] = node.params["dimension_numbers"][0][1 - side]
    matrix = node.operands[1 - side]
    parts = (source, target) if contracted == 0 else (target, source)
    lay = relay(context, matrix, dims[1 - side], parts)

    def run(*xs: Array) -> Sequence[Array]:
        x, by = settle(xs[side]), lay(xs[1 - side])
        return bind(node, *((by, x) if side else (x, by)), out_sharding=None)

    free = [s for d, s in enumerate(want) if d != window.operand_dim]
    free.insert(window.result_dim, target)
    return Planned([tuple(free)], run)


def _resample(context: Context, node: Node, have: Dims) -> Planned:
    [window], p = node.windows, node.params
    dim, split = p["axis"], have[p["axis"]]
    if not isinstance(split, Split):
        want = full(have)
        settle = relay(context, node.operands[0], have, want)
        return Planned([want], lambda x: bind(node, settle(x)))
    source, target = _blocks(window, split, node.results[0].shape[dim])
    settle, want = _settled(context, node, have, dim, source, 0)
    matrix = dense(p["by"], p["transposed"])
    lay = relay(Context({}), matrix, (None, None), (target, source))

    def run(x: Array) -> list[Array]:
        x = settle(x)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        by = lay(jnp.asarray(matrix, jnp.finfo(wide).dtype)).astype(wide)
        y = lax.dot_general(x.astype(wide), by, (((dim,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
        return [jnp.moveaxis(y, -1, dim).astype(x.dtype)]

    return Planned([(*want[:dim], target, *want[dim + 1 :])], run)


def _settled(
    context: Context, node: Node, have: Dims, dim: int, source: Split, operand: int
) -> tuple[Change, Dims]:
    """The operand with all that its results need, and zeros beyond: no weight makes a NaN harmless."""
    want = tuple(source if d == dim else s for d, s in enumerate(full(have)))
    settle = relay(context, node.operands[operand], have, want)
    return lambda x: masked(settle(x), want, 0, [dim]), want


def _blocks(window: Window, have: Split, size: int) -> tuple[Split, Split]:
    """What each device needs, and what it makes of that."""
    if window.rows is None:
        raise Refused("its windows along a divided dimension are not known")
    step = Fraction(have.step * size, have.size)
    each = int(step) if step.denominator == 1 else -(-size // have.devices)
    start = min(have.start * size // have.size, 0)
    length = max(each, size - start - (have.devices - 1) * each)
    target = Split(size, have.axis, have.devices, start, each, length)
    firsts, lasts = list[int](), list[int]()
    seen = [(min(row), max(row) + 1) if row else None for row in window.rows]
    for device in range(have.devices):
        rows = [seen[o] for o in target.held(device) if 0 <= o < size]
        ends = [row for row in rows if row is not None]
        if ends:
            firsts.append(min(a for a, _ in ends) - device * have.step)
            lasts.append(max(b for _, b in ends) - device * have.step)
    first, last = min(firsts, default=0), max(lasts, default=1)
    return have.over(first, last - first), target


def taken(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Rows by indices that follow from shapes alone."""
    if not node.windows:
        raise Refused("it takes rows by indices that are computed")
    [window] = node.windows
    dim, at, rows = window.operand_dim, window.result_dim, window.rows
    value = node.operands[0]
    assert rows is not None
    split = dims[0][dim]
    want = full(dims[0])
    settle = relay(context, value, dims[0], want)
    index = np.array([row[0] for row in rows])
    if isinstance(split, Split):
        _, target = _blocks(window, split, len(rows))
        table = target.table
        take = fetched(context, value, want, dim, np.where(table >= 0, index[np.maximum(table, 0)], -1))
    else:
        target: Any = None
        take = lambda x: jnp.take(x, index, axis=dim, mode="clip")  # noqa: E731
    rest = [s for d, s in enumerate(want) if d != dim]
    rest.insert(at, target)
    return Planned([tuple(rest)], lambda x, *_: [jnp.moveaxis(take(settle(x)), dim, at)])


def reverse(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Mirrored: what is at the other end comes from there."""
    turned, value = node.params["dimensions"], node.operands[0]
    want = full(dims[0])
    settle = relay(context, value, dims[0], want)
    changes: dict[int, Change] = {}
    for dim, split in splits(want):
        if dim in turned:
            table = split.table
            mirrored = np.where(table >= 0, split.size - 1 - table, -1)
            changes[dim] = fetched(context, value, want, dim, mirrored)

    def run(x: Array) -> list[Array]:
        x = settle(x)
        for change in changes.values():
            x = change(x)
        rest = [d for d in turned if d not in changes]
        return [lax.rev(x, rest) if rest else x]

    return Planned([want], run)


RULES: dict[str, Rule] = {"resize": resize, "gather": taken, "reverse": reverse}
