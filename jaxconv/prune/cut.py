"""A graph of which some channels are removed: what is left of each array, and the function evaluated so."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph import Graph, Node, Value, trace
from ..graph.nodes import Call, bind
from .coupling import Coupling, Strategy
from .labels import Ints

Masks = Sequence[Ints]


class Cut:
    """What is left of each array.

    Args:
      coupling: of the graph.
      removed: the roots of what goes.
    """

    def __init__(self, coupling: Coupling, removed: frozenset[int]) -> None:
        self.coupling, self.removed = coupling, removed
        self._masks: dict[Value, tuple[Ints, ...]] = {}

    @classmethod
    def of_masks(
        cls, graph: Graph, weights: Sequence[Value], masks: Sequence[Masks], strategy: Strategy
    ) -> Cut:
        """The cut that leaves of each weight what its masks say.

        Raises:
          ValueError: if the function needs something that goes.
        """
        coupling = Coupling(graph, weights, strategy, open_ended=True)
        labels, removed = coupling.labels, set[int]()
        pairs = [
            p for v, ms in zip(weights, masks, strict=True) for p in zip(coupling.of(v), ms, strict=True)
        ]
        for own, mask in pairs:
            gone = own[~mask]
            if why := labels.why(gone):
                raise ValueError(f"this function cannot do without channels that were pruned: {why}.")
            removed |= set(labels.roots(gone).tolist())
        if any(not removed.isdisjoint(labels.roots(own[mask]).tolist()) for own, mask in pairs):
            raise ValueError(
                "this function ties channels that were pruned to some that were kept; prune it by itself."
            )
        return cls(coupling, frozenset(removed))

    def masks(self, value: Value) -> tuple[Ints, ...]:
        """For each dimension which positions stay."""
        if value not in self._masks:
            self._masks[value] = tuple(map(self.mask, self.coupling.of(value)))
        return self._masks[value]

    def mask(self, labels: Ints) -> Ints:
        """Which of them stay."""
        roots = self.coupling.labels.roots(labels).tolist()
        return np.array([root not in self.removed for root in roots], bool)

    def shape(self, value: Value) -> tuple[int, ...]:
        """Of what is left."""
        return tuple(int(mask.sum()) for mask in self.masks(value))

    def touches(self, node: Node) -> bool:
        """Whether anything of its operands and results goes."""
        return any(self.shape(v) != v.shape for v in (*node.operands, *node.results))

    def left(self, value: Value, array: Any) -> Any:
        """What is left of the whole array."""
        for d, mask in enumerate(self.masks(value)):
            if not mask.all():
                array = array.take(np.flatnonzero(mask), d)
        return array


def evaluate(cut: Cut, given: Mapping[Value, Any]) -> list[Any]:
    """The results of the graph from its arguments, of which only what is left is given."""
    graph = cut.coupling.graph
    known = dict(given)
    outermost = {custom.start: custom for custom in graph.calls if custom.stop > custom.start}
    _run(cut, known, 0, len(graph.nodes), outermost)
    return [_read(cut, known, value) for value in graph.outputs]


def _read(cut: Cut, known: Mapping[Value, Any], value: Value) -> Any:
    if value in known:
        return known[value]
    if value.kind == "constant" and cut.shape(value) != value.shape:
        return cut.left(value, jnp.asarray(value.data))
    return value.data


def _run(cut: Cut, known: dict[Value, Any], start: int, stop: int, customs: Mapping[int, Call]) -> None:
    from .rebind import rebind

    nodes, i = cut.coupling.graph.nodes, start
    while i < stop:
        custom = customs.get(i)
        if custom is not None:
            operands = [_read(cut, known, v) for v in custom.operands]
            results, i = _custom(cut, custom)(*operands), custom.stop
            known |= zip(custom.results, results, strict=True)
            continue
        node = nodes[i]
        results = rebind(cut, node, [_read(cut, known, v) for v in node.operands])
        known |= zip(node.results, results, strict=True)
        i += 1


def _custom(cut: Cut, custom: Call) -> Callable[..., Any]:
    """The call with its own derivative, which is read off at the old sizes and cut like the function."""

    def primal(*operands: Any) -> list[Any]:
        known = dict(zip(custom.operands, operands, strict=True))
        _run(cut, known, custom.start, custom.stop, {})
        return [_read(cut, known, v) for v in custom.results]

    name = custom.equation.primitive.name
    if name == "custom_jvp_call":
        f = jax.custom_jvp(primal)
        f.defjvp(functools.partial(_jvp, cut, custom, f))
        return f
    g = jax.custom_vjp(primal)
    g.defvjp(lambda *operands: (primal(*operands), operands), functools.partial(_vjp, cut, custom))
    return g


def _jvp(cut: Cut, custom: Call, function: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    moving = [i for i, v in enumerate(custom.operands) if jnp.issubdtype(v.dtype, jnp.inexact)]
    smooth = [i for i, v in enumerate(custom.results) if jnp.issubdtype(v.dtype, jnp.inexact)]

    def derivative(operands: list[Any], moved: list[Any]) -> Any:
        def f(*some: Any) -> Any:
            results = bind(custom.equation, _with(operands, moving, some))
            return [results[i] for i in smooth]

        return jax.jvp(f, [operands[i] for i in moving], moved)[1]

    seen = [*custom.operands, *(custom.operands[i] for i in moving)]
    given = [*primals, *(tangents[i] for i in moving)]
    results = function(*primals)  # by itself, for derivatives of derivatives
    still = [np.zeros(jnp.shape(r), jax.dtypes.float0) for r in results]
    return results, _with(still, smooth, _like(cut, derivative, seen, len(primals), given))


def _vjp(cut: Cut, custom: Call, primals: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    moving = [i for i, v in enumerate(custom.operands) if jnp.issubdtype(v.dtype, jnp.inexact)]

    def derivative(operands: list[Any], backs: list[Any]) -> Any:
        def f(*some: Any) -> Any:
            return list(bind(custom.equation, _with(operands, moving, some)))

        return list(jax.vjp(f, *[operands[i] for i in moving])[1](backs))

    found = _like(cut, derivative, [*custom.operands, *custom.results], len(primals), [*primals, *cotangents])
    return tuple(_with([None] * len(primals), moving, found))


def _with(operands: Sequence[Any], at: Sequence[int], some: Sequence[Any]) -> list[Any]:
    found = list(operands)
    for i, value in zip(at, some, strict=True):
        found[i] = value
    return found


def _like(
    cut: Cut, fn: Callable[..., Any], like: Sequence[Value], first: int, given: Sequence[Any]
) -> list[Any]:
    """`fn` of two lists of arrays that are cut as values of the graph are; `first` are in the first list."""
    whole = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in like]
    graph = trace(fn, whole[:first], whole[first:])
    inputs = [v for v in graph.inputs if v.kind == "argument"]
    inner = Cut.of_masks(graph, inputs, [cut.masks(v) for v in like], cut.coupling.strategy)
    return evaluate(inner, dict(zip(inputs, given, strict=True)))
