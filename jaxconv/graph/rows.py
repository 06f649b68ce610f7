"""The layers of a graph: which nodes are rows of a summary, and whose the parameters are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from .nodes import Graph, Node, Value
from .origins import origins, parameters

# Operations that are layers by themselves; all others are a layer only if they have parameters.
_LAYERS = ("conv", "dot", "resize", "window", "opaque")


@dataclasses.dataclass(eq=False)
class Layer:
    """One row.

    Attributes:
      name: the layer's, or where it is in the user's code.
      node: the convolution, matrix product, pool; of a layer that has none the last node with its parameters.
      count: how often it is computed.
      weights: its parameters; an array that several layers share belongs to the first.
      gradients: how many of the node's operands depend on parameters, so that training computes a gradient.
    """

    name: str
    node: Node
    count: int
    weights: list[Value] = dataclasses.field(default_factory=list)
    gradients: int = 0

    @property
    def computes(self) -> bool:
        """Whether it is more than arithmetic on each element."""
        return self.node.op in _LAYERS


def layers(graph: Graph, x: Value) -> list[Layer]:
    """Those that the input `x` passes, in order."""
    found, near = origins(graph), parameters(graph)
    seen = found.of([x])
    kernels = near.of(v for v in _factors(graph) if not found.of([v]) & seen)
    weights = _weights(graph, x, near.named(kernels))
    trained = found.of(weights)
    left = near.of(weights)
    rows: list[Layer] = []
    for node, count in graph.walk():
        if node.bodies or not node.results or not found.of(node.operands) & seen:
            continue
        met = near.of(v for v in node.operands if not found.of([v]) & seen) & left
        if node.op not in _LAYERS and not met:
            continue
        row = None if node.op in _LAYERS else _owner(rows, node)
        if row is None:
            row = Layer(node.layer or node.source, node, count)
            row.gradients = sum(bool(found.of([v]) & trained) for v in node.operands)
            rows.append(row)
        elif not row.computes:
            row.node = node
        row.weights += near.named(met)
        left &= ~met
    return rows


def _factors(graph: Graph) -> Iterator[Value]:
    """The operands of convolutions and matrix products."""
    for node, _ in graph.walk():
        if node.op in ("conv", "dot"):
            yield from node.operands


def _weights(graph: Graph, x: Value, kernels: Sequence[Value]) -> list[Value]:
    """The floating arrays of pytrees and closures, and bare arguments that are a kernel or a vector."""
    return [
        v
        for v in graph.inputs
        if v is not x
        and jnp.issubdtype(v.dtype, jnp.inexact)
        and (v.kind == "argument" or isinstance(v.data, jax.Array))
        and (not v.bare or len(v.shape) <= 1 or v in kernels)
    ]


def _owner(rows: list[Layer], node: Node) -> Layer | None:
    """The row that a bias or a scale belongs to: that of its layer, or that whose result it is applied to."""
    named = [row for row in rows if node.layer and row.name == node.layer]
    if named:
        return named[-1]
    makers = [maker for v in node.operands if (maker := _maker(v)) is not None]
    return next((row for row in rows if row.node in makers and not node.layer), None)


def _maker(value: Value) -> Node | None:
    """The node that made an array, apart from its form."""
    node = value.node
    while node is not None and node.op in ("reshape", "transpose", "broadcast"):
        node = node.operands[0].node
    return node
