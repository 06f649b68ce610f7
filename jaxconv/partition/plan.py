"""How one tile is computed: which parts of which values, from the wanted part of the results backwards.

A value may be needed in several parts that lie far apart, as the two ends of a circular border are. Parts
that overlap are computed once, as the smallest box around them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..graph.known import Known
from ..graph.nodes import Graph, Node, Value
from ..ops.resample_weights import taps
from .local import Piece, cut, local
from .regions import Interval, Link, Region, links, live, needed, within


class Step(NamedTuple):
    """One part of one result of a node.

    Attributes:
      node: of the graph.
      result: which one.
      region: which part.
      operands: for each operand the part that has what is needed; None if nothing is.
    """

    node: Node
    result: int
    region: Region
    operands: tuple[Region | None, ...]


class Plan(NamedTuple):
    """The steps to one tile.

    Attributes:
      moving: what it starts from: parts of arrays that are others for each tile.
      fixed: likewise, whole arrays.
      steps: in order.
      wanted: the part of each result that is wanted.
      key: equal for plans that are the same program; they differ in where their leaves are taken.
    """

    moving: tuple[tuple[Value, Region], ...]
    fixed: tuple[Value, ...]
    steps: tuple[Step, ...]
    wanted: tuple[Region, ...]
    key: Any


class Planner:
    """Makes the plans of a graph.

    Args:
      graph: of a function.
      partitioned: which values depend on what is partitioned; see `follow`.
    """

    def __init__(self, graph: Graph, partitioned: Mapping[Value, Any]) -> None:
        self.graph, self.partitioned, self.known = graph, partitioned, Known()
        self._nodes = live(graph)[::-1]
        self._number = {node: i for i, node in enumerate(self._nodes)}

    def plan(self, wanted: Sequence[Region]) -> Plan:
        """For parts of the results, one of each."""
        asked: dict[Value, list[Region]] = {}
        for value, region in zip(self.graph.outputs, wanted, strict=True):
            asked.setdefault(value, []).append(region)
        parts: dict[Value, list[Region]] = {}
        found: list[tuple[Node, int, Region, list[Region | None]]] = []
        for node in self._nodes:
            for result, value in enumerate(node.results):
                parts[value] = merged(asked.pop(value, []))
                if any(map(any, parts[value])) and self._is_leaf(value):
                    asked[value] = parts[value]
                    continue
                for part in parts[value]:
                    regions = needed(node, part, result)
                    inside = [r and self._inside(v, r) for r, v in zip(regions, node.operands, strict=True)]
                    found.append((node, result, part, inside))
                    for region, operand in zip(inside, node.operands, strict=True):
                        if region is not None:
                            asked.setdefault(operand, []).append(region)
        parts |= {value: merged(regions) for value, regions in asked.items()}
        leaves = [(v, part) for v in asked if v.kind != "literal" for part in parts[v]]
        moving = tuple((v, part) for v, part in leaves if any(part))
        fixed = tuple(v for v, part in leaves if not any(part))
        steps: list[Step] = []
        for node, result, part, inside in reversed(found):
            holders = (r and _holder(parts[v], r) for r, v in zip(inside, node.operands, strict=True))
            steps.append(Step(node, result, part, tuple(holders)))
        key = (
            tuple((id(v), _extent(part)) for v, part in leaves),
            tuple(self._relative(step, parts) for step in steps),
        )
        return Plan(moving, fixed, tuple(steps), tuple(wanted), key)

    def _inside(self, value: Value, region: Region) -> Region | None:
        """What there is of a region, in numbers along dimensions that are partitioned."""
        dims = self.partitioned.get(value, ())
        whole = (
            ((0, n) if d in dims and i is None else i)
            for d, (i, n) in enumerate(zip(region, value.shape, strict=True))
        )
        return within(tuple(whole), value.shape)

    def _is_leaf(self, value: Value) -> bool:
        """What counts positions is computed outside, so that all tiles have the same program."""
        if value in self.partitioned or value.node is None:
            return False
        return value.node.name == "iota" or self.known(value) is not None

    def _relative(self, step: Step, parts: Mapping[Value, Sequence[Region]]) -> Any:
        """What a step computes, but for where in the arrays that is."""
        node = step.node
        regions = needed(node, step.region, step.result)
        held = [
            None if part is None or region is None else (parts[v].index(part), _offsets(part, region))
            for v, part, region in zip(node.operands, step.operands, regions, strict=True)
        ]
        moves = [_move(node, link, step.region, regions[link.operand]) for link in links(node, step.result)]
        return self._number[node], step.result, _extent(step.region), tuple(held), tuple(moves)


def program(plan: Plan, outputs: Sequence[Value]) -> Callable[..., list[jax.Array]]:
    """The function from what is moving and what is fixed to the wanted parts of the results."""

    def run(moving: Sequence[jax.Array], fixed: Sequence[jax.Array]) -> list[jax.Array]:
        held: dict[Value, dict[Region, jax.Array]] = {}
        for (value, region), array in zip(plan.moving, moving, strict=True):
            held.setdefault(value, {})[region] = array
        held |= {v: {(None,) * len(v.shape): array} for v, array in zip(plan.fixed, fixed, strict=True)}
        for node, result, region, operands in plan.steps:
            pieces = [
                None if part is None else Piece(_held(held, value, part), part)
                for value, part in zip(node.operands, operands, strict=True)
            ]
            held.setdefault(node.results[result], {})[region] = local(node, pieces, region, result)
        return [_taken(held[value], region) for value, region in zip(outputs, plan.wanted, strict=True)]

    return run


def _held(held: Mapping[Value, Mapping[Region, jax.Array]], value: Value, part: Region) -> jax.Array:
    return jnp.asarray(value.data, value.dtype) if value.kind == "literal" else held[value][part]


def merged(regions: Sequence[Region]) -> list[Region]:
    """The same positions in boxes that do not overlap, in order."""
    boxes = list(dict.fromkeys(regions))
    while (pair := _overlapping(boxes)) is not None:
        a, b = pair
        hull = tuple(_hull(i, j) for i, j in zip(a, b, strict=True))
        boxes = [*(box for box in boxes if box not in pair), hull]
    return sorted(boxes, key=_starts)


def _overlapping(boxes: Sequence[Region]) -> tuple[Region, Region] | None:
    for a, b in itertools.combinations(boxes, 2):
        if all(not i or not j or (i[0] < j[1] and j[0] < i[1]) for i, j in zip(a, b, strict=True)):
            return a, b
    return None


def _hull(a: Interval | None, b: Interval | None) -> Interval | None:
    return None if a is None or b is None else (min(a[0], b[0]), max(a[1], b[1]))


def _starts(region: Region) -> list[int]:
    return [i[0] if i else 0 for i in region]


def _extent(region: Region) -> tuple[int | None, ...]:
    return tuple(i and i[1] - i[0] for i in region)


def _holder(parts: Sequence[Region], region: Region) -> Region:
    """The part that holds a region."""
    return next(
        part
        for part in parts
        if all(not p or (r and p[0] <= r[0] and r[1] <= p[1]) for p, r in zip(part, region, strict=True))
    )


def _taken(held: Mapping[Region, jax.Array], region: Region) -> jax.Array:
    part = _holder(list(held), region)
    return cut(Piece(held[part], part), region)


def _offsets(part: Region, region: Region) -> tuple[Any, ...]:
    """Where what is needed begins and ends in what is held."""
    return tuple(r and p and (r[0] - p[0], r[1] - p[0]) for p, r in zip(part, region, strict=True))


def _move(node: Node, link: Link, wanted: Region, needed: Region | None) -> Any:
    """How the wanted positions lie to the needed ones: in the period, or by their rows."""
    interval = wanted[link.result_dim]
    if interval is None or needed is None:
        return None
    start, _ = needed[link.operand_dim] or (0, 0)
    if link.rows is None:
        assert link.taps is not None
        times, phase = divmod(interval[0], link.taps.period)
        return phase, start - times * link.taps.advance
    rows = tuple(tuple(i - start for i in row) for row in link.rows[slice(*interval)])
    if node.name != "resample":
        return rows
    _, weight = taps(node.params["by"], node.params["transposed"])
    # Positions are rounded, so weights of equal rows differ in their last bits.
    return rows, None if weight is None else weight[slice(*interval)].round(_DIGITS).tobytes()


_DIGITS = 9
