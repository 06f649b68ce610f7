"""One block of a stream: what comes in, what is kept, what goes out."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..graph import Value
from . import stream_pieces as pieces
from .along import along
from .operation import apply
from .stream_lines import Line, Op, Place, Steady, whole
from .stream_pattern import Pattern
from .stream_plan import Plan, more, view, view_of

State = dict[str, Any]
ENDLESS = 2**30  # more positions than there are before the end is known


class Block:
    """A run of the operations over one block of at most `capacity` samples.

    Args:
      plan: the operations.
      weights: what the function has besides the signal, by value.
      state: as the block before left it.
      chunk: the samples.
      count: how many of them there are.
      ends: how many positions each line has in all.
    """

    def __init__(
        self, plan: Plan, weights: dict[Value, Any], state: State, chunk: Any, count: Any, ends: Any
    ) -> None:
        self.plan, self.state, self.ends = plan, state, ends
        self.values = dict(weights)
        self.capacity = chunk.shape[plan.signal.dim]
        self.before = state["samples"]
        self.after = self.before + count
        self.arrays: dict[Line, jax.Array] = {}
        self.kept: State = {"past": [], "carry": []}
        self.number = {line: i for i, line in enumerate(plan.all)}
        self.right = _room(plan, self.capacity)
        self._take(plan.signal, chunk)

    def run(self) -> tuple[State, jax.Array, jax.Array]:
        """The state afterwards, results, and how many of these there are."""
        for op in self.plan.ops:
            self._compute(op)
        y, count = self._out()
        return {"samples": self.after, **self.kept}, y, count

    # Places.

    def at(self, place: Place, samples: Any = None) -> jax.Array:
        """The position that a place is."""
        samples = self.before if samples is None else samples
        period = self.plan.samples
        return samples // period * place.gain + self._of_phase(place.at, samples)

    def _of_phase(self, table: np.ndarray, samples: Any = None) -> Any:
        """An entry of a table by the number of samples modulo a period; a number where all are one."""
        if (table == table[0]).all():
            return int(table[0])
        samples = self.before if samples is None else samples
        return jnp.asarray(table, jnp.int32)[samples % self.plan.samples]

    def _cut(self, x: jax.Array, start: Any, length: int, dim: int) -> jax.Array:
        if isinstance(start, int):
            return lax.slice_in_dim(x, start, start + length, axis=dim)
        return lax.dynamic_slice_in_dim(x, start, length, dim)

    def _positions(self, start: Place, length: int, line: Line) -> tuple[jax.Array, jax.Array]:
        """Those of a piece, in a shape that goes with it, and the end of the line."""
        at = jnp.asarray(self.at(start), jnp.int32) + jnp.arange(length, dtype=jnp.int32)
        return at, self.ends[self.number[line]]

    def _inside(self, start: Place, length: int, line: Line) -> jax.Array:
        at, end = self._positions(start, length, line)
        return along((at >= 0) & (at < end), line.dim, len(line.value.shape))

    # Pieces.

    def piece(self, line: Line, start: Place, length: int, fill: Any = None) -> jax.Array:
        """Positions of a line; beyond its ends stands `fill`."""
        if line.root is not None:
            x = self._mapped(line, start, length)
        else:
            x = self._cut(
                self.arrays[line],
                self._of_phase(start.at - line.known.at + line.keep),
                length,
                line.dim,
            )
        if fill is None:
            return x
        return jnp.where(self._inside(start, length, line), x, jnp.asarray(fill, x.dtype))

    def _mapped(self, line: Line, start: Place, length: int) -> jax.Array:
        """Positions of a line that consists of some of another's."""
        period = line.pattern.period
        root, first, size = view(line, start, length)
        aligned = start.aligned(period)
        x = self.piece(root, first, size)
        y = self._gathered(x, first, line.pattern, aligned, whole(length, period), line, root)
        return self._cut(y, self._of_phase(start.at - aligned.at), length, line.dim)

    def _gathered(
        self, x: jax.Array, first: Place, pattern: Pattern, start: Place, count: int, line: Line, root: Line
    ) -> jax.Array:
        """So many positions of a line, made of a piece of its root that begins at `first`."""
        k, period = np.arange(count), pattern.period
        offset = (start.within(period, pattern.advance, 0).at - first.at)[0]
        index = (k // period * pattern.advance)[:, None] + pattern.index[k % period] + offset
        weight = None if pattern.weight is None else pattern.weight[k % period]
        at, end = self._positions(start, count, line)
        begin = jnp.asarray(self.at(first), jnp.int32)
        root_end = self.ends[self.number[root]]
        if pattern.edges:
            index, weight = _with_edges(pattern, index, weight, at, end, begin, root_end)
        y = _summed(x, index, weight, root.dim, line.dim if line.root is None else root.dim)
        if line.fill is None:
            return y
        there = jnp.asarray(index, jnp.int32)[:, 0] + begin
        inside = along((there >= 0) & (there < root_end), root.dim, x.ndim)
        return jnp.where(inside, y, jnp.asarray(line.fill, y.dtype))

    # Operations.

    def _compute(self, op: Op) -> None:
        count = op.length(more(op.result.known, self.capacity))
        if op.kind == "rows":
            results = [self._rows(op, count)]
        else:
            operands = [self._operand(op, i, count) for i in range(len(op.operands))]
            results = self._results(op, operands, count)
        for result, y in zip(op.results, results, strict=True):
            if result is not None:
                offset = self._of_phase(result.known.at - op.start.at)
                self._take(result, self._cut(y, offset, more(result.known, self.capacity), result.dim))

    def _operand(self, op: Op, i: int, count: int) -> Any:
        operand, value = op.operands[i], op.node.operands[i]
        if isinstance(operand, Line):
            return self.piece(operand, op.begin, op.window(count), op.fill)
        if operand is None:
            return still(value, self.values)
        return self._steady(operand, op, op.window(count))

    def _results(self, op: Op, operands: list[Any], count: int) -> list[Any]:
        if op.kind == "window":
            return pieces.window(op, operands, count, op.window(count))
        if op.kind == "fold":
            return [pieces.fold(op, operands[0], count)]
        if op.kind == "copy":
            return [operands[0]]
        if op.kind == "cumulative":
            return [self._cumulative(op, operands[0])]
        if op.kind == "scan":
            return self._scan(op, operands, count)
        return pieces.plain(op, operands, count)

    def _cumulative(self, op: Op, x: jax.Array) -> jax.Array:
        line = op.result
        past = self.state["past"][self.plan.past.index(line)]
        last = lax.slice_in_dim(past, line.keep - 1, line.keep, axis=line.dim)
        return pieces.cumulative(op, last, x)

    def _scan(self, op: Op, operands: list[Any], count: int) -> list[Any]:
        parts = op.node.parts
        assert parts is not None
        first = parts.constant + parts.carried
        at, end = self._positions(op.start, count, op.result)
        live = (at >= 0) & (at < self.at(op.result.known, self.after)) & (at < end)
        carry = self.state["carry"][len(self.kept["carry"])]
        carry, ys = pieces.scan(op, operands[: parts.constant], carry, operands[first:], live)
        self.kept["carry"].append(carry)
        return [None] * parts.carried + ys

    def _rows(self, op: Op, count: int) -> jax.Array:
        line = next(o for o in op.operands if isinstance(o, Line))
        assert op.pattern is not None
        first, length = view_of(op, line, count)
        x = self.piece(line, first, length)
        y = self._gathered(x, first, op.pattern, op.start, count, op.result, line)
        return y.astype(op.result.value.dtype)

    def _steady(self, operand: Steady, op: Op, length: int) -> jax.Array:
        value, dim, pattern = still(operand.value, self.values), operand.dim, operand.pattern
        size = value.shape[dim]
        if pattern is None:
            shape = [length if d == dim else n for d, n in enumerate(value.shape)]
            return jnp.broadcast_to(lax.slice_in_dim(value, 0, 1, axis=dim), shape)
        at, end = self._positions(op.begin, length, op.result)
        index = jnp.where(at < len(pattern.left), jnp.maximum(at, 0), size // 2)
        index = jnp.where(at >= end - len(pattern.right), jnp.minimum(size + at - end, size - 1), index)
        return jnp.take(value, index, axis=dim, mode="clip")

    def _take(self, line: Line, new: jax.Array) -> None:
        """Puts new positions behind the past ones, and keeps the last of them."""
        dim, parts = line.dim, [new]
        if line.keep:
            parts.insert(0, self.state["past"][len(self.kept["past"])])
        room = self.right[line] - new.shape[dim]
        if room > 0:
            parts.append(jnp.zeros([room if d == dim else n for d, n in enumerate(new.shape)], new.dtype))
        whole = jnp.concatenate(parts, dim) if len(parts) > 1 else new
        self.arrays[line] = whole
        if line.keep:
            moved = self.at(line.known, self.after) - self.at(line.known)
            self.kept["past"].append(lax.dynamic_slice_in_dim(whole, moved, line.keep, dim))

    def _out(self) -> tuple[jax.Array, jax.Array]:
        line, first = self.plan.out, self.plan.first
        length = more(line.known, self.capacity) + self.plan.held
        y = self.piece(line, first, length)
        end = self.ends[self.number[line]]
        before, after = (self._sent(n, end) for n in (self.before, self.after))
        behind = jnp.zeros(y.shape, y.dtype)
        at = before - self.at(first)
        y = lax.dynamic_slice_in_dim(jnp.concatenate([y, behind], line.dim), at, length, line.dim)
        return y, jnp.maximum(after - before, 0)

    def _sent(self, samples: Any, end: Any) -> jax.Array:
        """How many results have gone out after so many samples."""
        ready = jnp.clip(self.at(self.plan.out.known, samples), 0, end)
        return jnp.where(samples > 0, ready, 0)


def still(value: Value, values: dict[Value, Any]) -> Any:
    """What does not depend on the signal; adds to what has been computed."""
    if value not in values:
        if value.node is None:
            values[value] = value.data
        else:
            operands = [still(v, values) for v in value.node.operands]
            values |= zip(value.node.results, apply(value.node, operands), strict=True)
    return values[value]


def _room(plan: Plan, capacity: int) -> dict[Line, int]:
    """How many positions each computed line has in a block, those that are looked at too early included."""
    right = {line: more(line.known, capacity) for line in plan.computed}
    for line, start, length in plan.views(capacity):
        right[line] = max(right[line], int((start.at + length - line.known.at).max()))
    return right


def _with_edges(
    pattern: Pattern, index: Any, weight: Any, at: Any, end: Any, begin: Any, root_end: Any
) -> tuple[Any, Any]:
    """Rows of a piece that may hold an end."""
    tables = [(at < len(pattern.left), at, pattern.left, pattern.left_weight, 0)]
    from_end = at - (end - len(pattern.right))
    tables.append((from_end >= 0, from_end, pattern.right, pattern.right_weight, root_end))
    weight = None if weight is None else jnp.asarray(weight)
    for there, row, table, weights, base in tables:
        if len(table) == 0:
            continue
        row = jnp.clip(row, 0, len(table) - 1)
        others = jnp.asarray(table, jnp.int32)[row] + base - begin
        index = jnp.where(there[:, None], others, jnp.asarray(index, jnp.int32))
        if weights is not None:
            weight = jnp.where(there[:, None], jnp.asarray(weights)[row], weight)
    return index, weight


def _summed(x: jax.Array, index: Any, weight: Any, dim: int, to: int) -> jax.Array:
    """Sums over rows; copies without weights.

    Near the ends rows follow from where a piece is, which `ops.resample.summed` would have to know before.
    """

    def tap(t: int) -> jax.Array:
        return _picked(x, index[:, t], dim)

    if weight is None:
        return jnp.moveaxis(tap(0), dim, to)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    weight = jnp.asarray(weight, jnp.finfo(wide).dtype)
    y = sum(tap(t).astype(wide) * along(weight[:, t], dim, x.ndim) for t in range(index.shape[1]))
    return jnp.moveaxis(jnp.asarray(y), dim, to)


def _picked(x: jax.Array, index: Any, dim: int) -> jax.Array:
    if isinstance(index, np.ndarray) and len(index):
        steps = np.diff(index)
        step = int(steps[0]) if len(steps) else 1
        if step > 0 and (steps == step).all() and index[0] >= 0:
            return lax.slice_in_dim(x, int(index[0]), int(index[-1]) + 1, step, axis=dim)
    return jnp.take(x, jnp.asarray(index), axis=dim, mode="clip")
