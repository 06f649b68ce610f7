"""A function for one shape of image: its tiles, their programs, and running them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import numpy as np

from ..graph.nodes import Graph, Value
from .along import along
from .grid import Grid, alignment, jumps, moving
from .host import Sink, Source, index
from .local import sizes
from .memory import compiled_bytes, estimate, largest
from .plan import Plan, Planner, program
from .regions import Region, follow


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How an image is cut; print it.

    Attributes:
      axes: dimensions of the image that are cut.
      tile: positions of the result along them that a tile has; those at the end may have fewer.
      counts: tiles along each axis.
      scale: positions of the image for each of the result.
      halo: positions of the image that a tile needs beside its own part, before it and behind it.
      alignment: positions of the result after which programs repeat; tiles are multiples of it.
    """

    axes: tuple[int, ...]
    tile: tuple[int, ...]
    counts: tuple[int, ...]
    scale: tuple[Fraction, ...]
    halo: tuple[tuple[int, int], ...]
    alignment: tuple[int, ...]

    def __str__(self) -> str:
        """Two lines."""
        scale = ", ".join(map(str, self.scale))
        return (
            f"{' x '.join(map(str, self.counts))} tiles of {self.tile} positions of the result, dimensions "
            f"{self.axes} of the image\nimage positions per result ({scale}), halo {self.halo}, programs "
            f"repeat every {self.alignment} positions"
        )


class _Batch(NamedTuple):
    """Tiles of one program."""

    plans: list[Plan]
    results: Any


class Work:
    """What a function needs for one shape.

    Args:
      graph: of the function.
      x: the image among the graph's inputs.
      axes: of it that are cut, or None.
      tile: see `tiled`.
      memory: see `tiled`.
      batch: see `tiled`.
    """

    def __init__(
        self,
        graph: Graph,
        x: Value,
        axes: Sequence[int] | None,
        tile: int | Sequence[int] | None,
        memory: int,
        batch: int,
    ) -> None:
        self.graph, self.x, self.batch = graph, x, batch
        self.axes = _axes(graph, x, axes)
        self.partitioned = follow(graph, {x: self.axes})
        self.planner = Planner(graph, self.partitioned)
        self.first = _first(graph, self.partitioned)
        self._jumps = jumps(graph, self.partitioned)
        self._programs: dict[Any, Any] = {}
        self._kinds: dict[Any, Plan] = {}
        self._tiles: dict[tuple[int, ...], Plan] = {}
        dims = self.partitioned[self.first]
        self._sizes = tuple(self.first.shape[d] for d in dims if d is not None)
        if tile is None:
            self._cut(self._fitting(memory))
        else:
            tiles = (tile,) * len(self.axes) if isinstance(tile, int) else tuple(tile)
            if len(tiles) != len(self.axes) or min(tiles) < 1:
                raise ValueError(
                    f"tile={tile} must be one number of positions, or one for each axis of {self.axes}."
                )
            self._cut(tiles)

    def _cut(self, most: Sequence[int]) -> None:
        self.alignment = alignment(self.graph, self.partitioned, self._jumps, self.first, most)
        self.grid = Grid.even(self._sizes, most, self.alignment)

    def _fitting(self, memory: int) -> tuple[int, ...]:
        """The largest tile whose plan promises to fit, then smaller ones until the compiler says it does."""
        most = self._promising(memory)
        for _ in range(_TRIES):
            plan = self._middle(most)
            used = compiled_bytes(self._program(plan, self.batch))
            if used is None or used <= memory or max(most) == 1:
                break
            self._programs.clear()
            most = self._promising(self.batch * estimate(plan) * min(0.95, memory / used))
        return most

    def _promising(self, memory: float) -> tuple[int, ...]:
        """As equal along all axes as fits; then longer along each, the last first, if that fits too.

        An axis is cut in equal parts, so a tile may be far below what fits: half an image where nearly the
        whole did. Overlaps are computed twice, and an axis that is not cut has none.
        """

        def fits(most: Sequence[int]) -> bool:
            return self.batch * estimate(self._middle(most)) <= memory

        count = len(self.axes)
        most = [largest(lambda n: fits((n,) * count), max(self._sizes))] * count
        for axis in reversed(range(count)):
            whole = [*most[:axis], self._sizes[axis], *most[axis + 1 :]]
            most = whole if most[axis] < self._sizes[axis] and fits(whole) else most
        return tuple(most)

    def _middle(self, most: Sequence[int]) -> Plan:
        """Cuts into tiles of at most this size; the plan of one in the middle."""
        self._cut(most)
        return self.plan([n // 2 for n in self.grid.counts])

    @property
    def tiling(self) -> Tiling:
        """How the image is cut."""
        scale = tuple(jump or Fraction(1) for jump in self._jumps[self.first])
        halo = tuple(self._halo(axis, scale[axis]) for axis in range(len(self.axes)))
        return Tiling(self.axes, self.grid.steps, self.grid.counts, scale, halo, tuple(self.alignment))

    def _halo(self, axis: int, scale: Fraction) -> tuple[int, int]:
        """Of the tile in the middle, whose halo no border cuts if there are enough tiles."""
        middle = tuple(n // 2 for n in self.grid.counts)
        start, step = middle[axis] * self.grid.steps[axis], self.grid.steps[axis]
        first, last = start * scale, min(start + step, self._sizes[axis]) * scale
        parts = (part[self.axes[axis]] for value, part in self.plan(middle).moving if value is self.x)
        own = [part for part in parts if part is not None and part[0] <= first < part[1]]
        return (
            (
                max(0, math.ceil(first - min(part[0] for part in own))),
                max(0, math.ceil(max(part[1] for part in own) - last)),
            )
            if own
            else (0, 0)
        )

    def plan(self, number: Sequence[int]) -> Plan:
        """Of one tile."""
        wanted = []
        for value in self.graph.outputs:
            dims = self.partitioned.get(value, ())
            rates = [
                whole / jump if jump and whole else None
                for jump, whole in zip(self._jumps.get(value, ()), self._jumps[self.first], strict=False)
            ]
            wanted.append(self.grid.wanted(number, value, dims, rates))
        return self.planner.plan(wanted)

    def _tile(self, number: tuple[int, ...]) -> Plan:
        """The plan of a tile, kept for the next image; its steps only if no other tile has them."""
        if number not in self._tiles:
            plan = self.plan(number)
            kind = self._kinds.setdefault(plan.key, plan)
            self._tiles[number] = plan if kind is plan else plan._replace(steps=(), key=kind.key)
        return self._tiles[number]

    def run(
        self, source: Source, leaves: Sequence[Any], sinks: Sequence[Sink], tell: Callable[[int], None]
    ) -> None:
        """Computes all tiles; while one batch is computed the next is read."""
        given = {v: v.data for v in self.graph.inputs if v.kind == "constant"}
        given |= zip(self.graph.inputs, leaves, strict=False)
        waiting: dict[Any, list[Plan]] = {}
        busy: _Batch | None = None
        done = 0

        def started(plans: list[Plan]) -> None:
            nonlocal busy, done
            batch = _Batch(plans, self._start(plans, source, given))
            done += self._finish(busy, sinks)
            tell(done)
            busy = batch

        for number in self.grid:
            plan = self._tile(number)
            plans = waiting.setdefault(plan.key, [])
            plans.append(plan)
            if len(plans) == self.batch:
                started(waiting.pop(plan.key))
        for plans in waiting.values():
            started(plans)
        tell(done + self._finish(busy, sinks))

    def _start(self, plans: list[Plan], source: Source, given: dict[Value, Any]) -> Any:
        moved = [[self._read(v, part, source, given) for v, part in plan.moving] for plan in plans]
        stacked = moved[0] if len(plans) == 1 else [np.stack(each) for each in zip(*moved, strict=True)]
        return self._program(plans[0], len(plans))(stacked, [given[v] for v in plans[0].fixed])

    def _finish(self, batch: _Batch | None, sinks: Sequence[Sink]) -> int:
        if batch is None:
            return 0
        for number, sink in enumerate(sinks):
            whole = np.asarray(batch.results[number])
            for i, plan in enumerate(batch.plans):
                sink[plan.wanted[number]] = whole if len(batch.plans) == 1 else whole[i]
        return len(batch.plans)

    def _read(self, value: Value, part: Region, source: Source, given: dict[Value, Any]) -> Any:
        """A part of what is not computed by tiles."""
        if value is self.x:
            return source[part]
        if value in given:
            return np.asarray(given[value][index(part)])
        known = self.planner.known(value)
        if known is not None:
            return known[index(part)]
        return _counted(value, part)

    def _program(self, plan: Plan, batch: int) -> Any:
        """Compiled once for all tiles with this key."""
        key = plan.key, batch
        if key not in self._programs:
            run = program(self._kinds.get(plan.key, plan), self.graph.outputs)
            shapes = [jax.ShapeDtypeStruct(sizes(v.shape, part), v.dtype) for v, part in plan.moving]
            fixed = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in plan.fixed]
            if batch > 1:
                run = jax.vmap(run, in_axes=(0, None))
                shapes = [jax.ShapeDtypeStruct((batch, *s.shape), s.dtype) for s in shapes]
            self._programs[key] = jax.jit(run).lower(shapes, fixed).compile()
        return self._programs[key]


_TRIES = 4


def _counted(value: Value, part: Region) -> np.ndarray:
    """A part of an `iota`."""
    assert value.node is not None
    dim = value.node.params["dimension"]
    shape = sizes(value.shape, part)
    start, _ = part[dim] or (0, 0)
    numbers = along(np.arange(start, start + shape[dim]), dim, len(shape))
    return np.broadcast_to(numbers, shape).astype(value.dtype)


def _axes(graph: Graph, x: Value, axes: Sequence[int] | None) -> tuple[int, ...]:
    ndim = len(x.shape)
    if axes is None:
        found = moving(graph, x)
        if not found:
            raise ValueError(
                f"no window moves over a dimension of the image, of shape {x.shape}; name those that are to "
                "be cut with axes=."
            )
        return found
    found = tuple(a + ndim if a < 0 else a for a in axes)
    if not found or len(set(found)) != len(found) or not all(0 <= a < ndim for a in found):
        raise ValueError(f"axes={tuple(axes)} must be different dimensions of the image, of shape {x.shape}.")
    return found


def _first(graph: Graph, partitioned: Any) -> Value:
    for value in graph.outputs:
        if value in partitioned and None not in partitioned[value]:
            return value
    raise ValueError(
        "no result of the function has a position for each tile of the image: along an axis that is cut it "
        "has one position or none. What reduces a whole image can't be computed by tiles."
    )
