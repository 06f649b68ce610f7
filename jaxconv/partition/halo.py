"""Exchange of what neighbours hold: a dimension over the devices of a mesh axis, and who sends what to whom.

Device i holds the positions from start + i step on, `length` of them, so blocks overlap where length > step.
What it wants is a list of positions. Whoever holds one and is nearest sends it: all devices of one distance
with one `ppermute`, and of a block only the rows that any of them needs. A halo, a shift, a border that goes
around, a mirrored edge and blocks of another size are all of that kind. A dimension after the other, the
corners come along with the second.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .along import along, padded

AxisName = str | tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Split:
    """A dimension divided among devices.

    Attributes:
      size: of the whole; what is held below 0 and from `size` on means nothing.
      axis: the name of the mesh axis, or names.
      devices: along it.
      start: the first position that device 0 holds, 0 or less.
      step: from one device to the next.
      length: how many positions each device holds, at least `step`.
    """

    size: int
    axis: AxisName
    devices: int
    start: int
    step: int
    length: int

    @classmethod
    def even(cls, size: int, axis: AxisName, devices: int, step: int | None = None) -> Split:
        """Blocks beside each other.

        Example:
          >>> Split.even(10, "rows", 4).held(3)
          range(9, 12)
        """
        step = max(-(-size // devices), 1) if step is None else step
        return cls(size, axis, devices, 0, step, step)

    def held(self, device: int) -> range:
        """The positions of a device."""
        first = self.start + device * self.step
        return range(first, first + self.length)

    @property
    def table(self) -> np.ndarray:
        """The positions of all devices, (devices, length); -1 for what means nothing."""
        found = np.add.outer(np.arange(self.devices) * self.step, np.arange(self.length)) + self.start
        return np.where((found >= 0) & (found < self.size), found, -1)

    @property
    def exact(self) -> bool:
        """Whether all that is held is part of the whole."""
        return self.start == 0 and self.held(self.devices - 1).stop <= self.size

    @property
    def covers(self) -> bool:
        """Whether each position is held by a device."""
        return self.length >= self.step and self.start <= 0 and self.held(self.devices - 1).stop >= self.size

    def over(self, start: int, length: int) -> Split:
        """Other positions of the same dimension on the same devices."""
        return dataclasses.replace(self, start=start, length=length)


@dataclasses.dataclass(frozen=True)
class Part:
    """Rows that devices of one distance send: `(sender, receiver)` pairs, none for a device's own."""

    distance: int
    rows: range
    pairs: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Moves:
    """Who sends what, and how it is put together.

    Attributes:
      parts: in the order in which they are laid one behind the other.
      index: what of that each device takes, (devices, wanted); one line if all take the same.
      axis: of the mesh.
    """

    parts: tuple[Part, ...]
    index: np.ndarray
    axis: AxisName

    @property
    def sent(self) -> int:
        """Rows that a device sends, of the one that sends most."""
        counts: dict[int, int] = {}
        for part in self.parts:
            for sender, _ in part.pairs:
                counts[sender] = counts.get(sender, 0) + len(part.rows)
        return max(counts.values(), default=0)


def moves(source: Split, wanted: np.ndarray) -> Moves:
    """The moves that bring each device what it wants.

    Args:
      source: what there is.
      wanted: positions, (devices, number); -1 where anything will do.

    Returns:
      The moves.

    Example:
      >>> blocks = Split.even(12, "rows", 3)
      >>> found = moves(blocks, blocks.over(-1, 6).table)
      >>> [(part.distance, part.rows, part.pairs) for part in found.parts]
      [(-1, range(3, 4), ((0, 1), (1, 2))), (0, range(0, 4), ()), (1, range(0, 1), ((1, 0), (2, 1)))]
      >>> found.sent
      2
    """
    distance, row = _nearest(source, wanted)
    there, parts = wanted >= 0, list[Part]()
    index = np.full(wanted.shape, -1)
    laid = 0
    for d in np.unique(distance[there]).tolist():
        mine = there & (distance == d)
        for rows in _stretches(np.unique(row[mine])):
            these = mine & (row >= rows.start) & (row < rows.stop)
            index[these] = row[these] - rows.start + laid
            receivers = np.flatnonzero(these.any(1)).tolist()
            pairs = [((i + d) % source.devices, i) for i in receivers] if d else []
            parts.append(Part(d, rows, tuple(pairs)))
            laid += len(rows)
    return Moves(tuple(parts), _uniform(index), source.axis)


def fetch(x: jax.Array, dim: int, by: Moves) -> jax.Array:
    """Carries moves out along a dimension; what anything will do for is 0 or another position's."""
    parts = [_received(x, dim, part, by.axis) for part in by.parts]
    if not parts:
        return _zeros_like(x, dim, by.index.shape[1])
    row = by.index[0]
    if len(by.index) > 1:
        table = jnp.asarray(np.maximum(by.index, 0))
        return jnp.take(_joined(parts, dim), table[lax.axis_index(by.axis)], axis=dim, mode="clip")
    if (np.diff(row) == 1).all():
        return _cut(_joined(parts, dim), dim, int(row[0]), len(row))
    return jnp.take(_joined(parts, dim), np.maximum(row, 0), axis=dim, mode="clip")


def inside(split: Split, dim: int, ndim: int) -> jax.Array:
    """Which of a device's positions are part of the whole, to be broadcast to `ndim` dimensions."""
    return _along(split, dim, ndim, lambda g: (g >= 0) & (g < split.size))


def owned(split: Split, dim: int, ndim: int) -> jax.Array:
    """The same, but each position on one device only."""
    lines = np.add.outer(np.arange(split.devices) * split.step, np.arange(split.length)) + split.start
    owner = np.clip((lines - split.start) // split.step, 0, split.devices - 1)
    ours = (owner == np.arange(split.devices)[:, None]) & (lines >= 0) & (lines < split.size)
    return along(jnp.asarray(ours)[lax.axis_index(split.axis)], dim, ndim)


def _along(split: Split, dim: int, ndim: int, test: Any) -> jax.Array:
    place = split.start + split.step * lax.axis_index(split.axis) + jnp.arange(split.length)
    return along(test(place), dim, ndim)


def _nearest(source: Split, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest device that holds each position, around the ends if that is less; its row."""
    n, here = source.devices, np.arange(source.devices)[:, None]
    last = np.clip((wanted - source.start) // source.step, 0, n - 1)
    first = np.clip(-((source.start + source.length - 1 - wanted) // source.step), 0, last)
    options = np.stack([np.clip(here, first, last), first, last])
    far = options - here
    far = np.where(2 * np.abs(far) > n, far - np.sign(far) * n, far)
    best = np.abs(far).argmin(0)[None]
    device = np.take_along_axis(options, best, 0)[0]
    return np.take_along_axis(far, best, 0)[0], wanted - source.start - device * source.step


def _stretches(rows: np.ndarray) -> list[range]:
    """Sorted rows as ranges without gaps."""
    ends = np.flatnonzero(np.diff(rows) > 1)
    firsts, lasts = [0, *(ends + 1)], [*ends, len(rows) - 1]
    return [range(int(rows[a]), int(rows[b]) + 1) for a, b in zip(firsts, lasts, strict=True)]


def _uniform(index: np.ndarray) -> np.ndarray:
    """One line, if that serves all devices: where none of them wants anything it goes on as beside it."""
    line = index.max(0)
    if not (line >= 0).any() or ((index != line) & (index >= 0)).any():
        return index if (line >= 0).any() else line[None]
    known = np.flatnonzero(line >= 0)
    straight = np.arange(len(line)) - known[0] + line[known[0]]
    return (straight if (line[known] == straight[known]).all() else line)[None]


def _received(x: jax.Array, dim: int, part: Part, axis: AxisName) -> jax.Array:
    rows = lax.slice_in_dim(x, part.rows.start, part.rows.stop, axis=dim)
    return lax.ppermute(rows, axis, part.pairs) if part.pairs else rows


def _joined(parts: list[jax.Array], dim: int) -> jax.Array:
    return parts[0] if len(parts) == 1 else lax.concatenate(parts, dim)


def _cut(x: jax.Array, dim: int, first: int, count: int) -> jax.Array:
    """`count` rows from `first` on, with zeros where there are none."""
    before, after = max(-first, 0), max(first + count - x.shape[dim], 0)
    x = lax.slice_in_dim(x, max(first, 0), min(first + count, x.shape[dim]), axis=dim)
    return padded(x, dim, before, after)


def _zeros_like(x: jax.Array, dim: int, count: int) -> jax.Array:
    shape = (*x.shape[:dim], count, *x.shape[dim + 1 :])
    return jnp.zeros(shape, x.dtype)


def nbytes(shape: tuple[int, ...], dim: int, rows: int, dtype: Any) -> int:
    """Of so many rows of a block."""
    return math.prod(n for d, n in enumerate(shape) if d != dim) * rows * np.dtype(dtype).itemsize
