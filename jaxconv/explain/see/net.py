"""A traced function, computed again with rectifiers replaced, values read, or numbers added on the way."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ...graph import Call, Graph, Node, Value, trace
from ...graph.nodes import bind
from ...graph.trace import is_array
from .relu import nonlinearities, opened, rectifiers

Rectify = Callable[[jax.Array], jax.Array]


class Net:
    """A function with its arguments.

    Args:
      fn: any function of arrays, or a callable pytree.
      args: its arguments.
      kwargs: likewise.
    """

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None = None):
        self.graph = trace(fn, *args, **(kwargs or {}))
        leaves = [leaf for leaf in jax.tree.leaves((fn, tuple(args), dict(kwargs or {}))) if is_array(leaf)]
        constants = [value.data for value in self.graph.inputs[len(leaves) :]]
        self.inputs = dict(zip(self.graph.inputs, [*leaves, *constants], strict=True))

    def compute(
        self,
        wanted: Sequence[Value] | None = None,
        *,
        rectify: Rectify | None = None,
        added: Mapping[Value, jax.Array] | None = None,
    ) -> Any:
        """The result of the function, or the wanted values.

        Args:
          wanted: values of the graph, of its first level.
          rectify: computes the rectifiers.
          added: what is added to values as soon as they are there.

        Raises:
          ValueError: if rectifiers are to be computed and there are none.
        """
        found = rectifiers(self.graph) if rectify else {}
        if rectify and not found:
            bends = ", ".join(nonlinearities(self.graph)) or "none"
            raise ValueError(
                "fn has no rectifier max(x, 0), and the rule is for these; what bends in it: "
                f"{bends}. Use gradient or integrated_gradients."
            )
        run = _Run(rectify, found, dict(added or {}), frozenset([*(wanted or ()), *(added or ())]))
        ends = self.graph.outputs if wanted is None else wanted
        values = run(self.graph, self.inputs, ends)
        return jax.tree.unflatten(self.graph.tree, values) if wanted is None else values


@dataclasses.dataclass(frozen=True)
class _Run:
    rectify: Rectify | None
    rectifiers: dict[Node, Value]
    added: dict[Value, jax.Array]
    watched: frozenset[Value]

    def __call__(self, graph: Graph, inputs: Mapping[Value, Any], ends: Sequence[Value]) -> list[Any]:
        found = dict(inputs)
        whole = self._whole(graph)
        at, stop = 0, self._stop(graph, ends)
        while at < stop:
            call = whole.get(at)
            if call is not None:
                operands, results, equation = call.operands, call.results, call.equation
                at = call.stop
                values = bind(equation, [self._read(v, found) for v in operands])
            else:
                node = graph.nodes[at]
                results, at = node.results, at + 1
                values = self._node(node, [self._read(v, found) for v in node.operands], found)
            for result, value in zip(results, values, strict=True):
                found[result] = value + self.added[result] if result in self.added else value
        return [self._read(v, found) for v in ends]

    def _read(self, value: Value, found: Mapping[Value, Any]) -> Any:
        return found.get(value, value.data)

    def _stop(self, graph: Graph, ends: Sequence[Value]) -> int:
        """One after the last node that is needed."""
        last = {result: i for i, node in enumerate(graph.nodes) for result in node.results}
        return max((last[v] + 1 for v in ends if v in last), default=0)

    def _whole(self, graph: Graph) -> dict[int, Call]:
        """The calls that stay, with their own derivatives, by their first node."""
        whole: dict[int, Call] = {}
        for call in reversed(graph.calls):  # outer ones first
            if any(other.start <= call.start and call.stop <= other.stop for other in whole.values()):
                continue
            nodes = graph.nodes[call.start : call.stop]
            inside = {result for node in nodes for result in node.results} - {*call.results}
            changes = opened(call, graph) and any(self._changes(node) for node in nodes)
            if nodes and not changes and not inside & self.watched:
                whole[call.start] = call
        return whole

    def _changes(self, node: Node) -> bool:
        return node in self.rectifiers or any(self._changes(n) for b in node.bodies for n in b.nodes)

    def _node(self, node: Node, operands: list[Any], found: Mapping[Value, Any]) -> Sequence[Any]:
        if node in self.rectifiers:
            assert self.rectify is not None
            y = self.rectify(found.get(self.rectifiers[node], self.rectifiers[node].data))
            return [jnp.minimum(y, operands[2]) if node.name == "clamp" else y]
        if not self._changes(node) or node.name == "while":
            return bind(node.equation, operands)
        if node.op == "branch":
            index, rest = operands[0], operands[1:]
            return lax.switch(index, [self._body(body) for body in node.bodies], *rest)
        return self._scan(node, operands)

    def _body(self, body: Graph) -> Callable[..., list[Any]]:
        def computed(*operands: Any) -> list[Any]:
            return self(body, dict(zip(body.inputs, operands, strict=True)), body.outputs)

        return computed

    def _scan(self, node: Node, operands: list[Any]) -> Sequence[Any]:
        assert node.parts is not None
        consts, carried = node.parts.constant, node.parts.carried
        run = self._body(node.bodies[0])

        def one(carry: Sequence[Any], xs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            results = run(*operands[:consts], *carry, *xs)
            return results[:carried], results[carried:]

        options = {name: node.params[name] for name in ("length", "reverse", "unroll")}
        start, xs = operands[consts : consts + carried], operands[consts + carried :]
        carry, ys = lax.scan(one, start, xs, **options)
        return [*carry, *ys]
