"""A graph without loops of known length: every round of a `scan` is written out, so that windows may move."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..graph.nodes import Graph, Node, Value
from ..graph.trace import traced

_ROUNDS = 512  # of a loop; longer ones stay


def unrolled(graph: Graph) -> Graph:
    """The same function; other loops and conditionals stay as they are."""
    nodes: list[Node] = []
    outputs = _copied(graph, {}, nodes)
    return Graph(graph.inputs, tuple(nodes), tuple(outputs), graph.tree)


def _copied(graph: Graph, given: dict[Value, Value], nodes: list[Node]) -> list[Value]:
    """Adds the nodes of a graph, with other values for its inputs; returns its outputs."""
    for node in graph.nodes:
        operands = [given.get(value, value) for value in node.operands]
        if node.name == "scan" and (node.length or 0) <= _ROUNDS:
            results = _rounds(node, operands, nodes)
        else:
            results = [dataclasses.replace(value) for value in node.results]
            copy = dataclasses.replace(node, operands=tuple(operands), results=tuple(results))
            for result in results:
                result.node = copy
            nodes.append(copy)
        given |= zip(node.results, results, strict=True)
    return [given.get(value, value) for value in graph.outputs]


def _rounds(node: Node, operands: Sequence[Value], nodes: list[Node]) -> list[Value]:
    """The results of a scan: what it carries at the end, then what its rounds put out, stacked."""
    parts, [body] = node.parts, node.bodies
    assert parts is not None
    first = parts.constant + parts.carried
    consts, carry, through = operands[: parts.constant], operands[parts.constant : first], operands[first:]
    rounds = range(node.length or 0)
    found: list[list[Value]] = []
    for i in reversed(rounds) if node.params["reverse"] else rounds:
        slices = [_added(nodes, node, lambda a, i=i: lax.index_in_dim(a, i, 0, False), v) for v in through]
        given = dict(zip(body.inputs, [*consts, *carry, *slices], strict=True))
        after = _copied(body, given, nodes)
        carry = after[: parts.carried]
        found.append(after[parts.carried :])
    ordered = found[::-1] if node.params["reverse"] else found
    stacked = [_added(nodes, node, lambda *ys: jnp.stack(ys), *ys) for ys in zip(*ordered, strict=True)]
    return [*carry, *stacked]


def _added(nodes: list[Node], scan: Node, function: Any, *values: Value) -> Value:
    """Adds a function of values, in the layer of the scan that it belongs to."""
    graph = traced(function, [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in values], {}, simple=True)
    for node in graph.nodes:
        node.layer, node.source = scan.layer, scan.source
    [result] = _copied(graph, dict(zip(graph.inputs, values, strict=True)), nodes)
    return result
