"""Which positions of all arrays of a graph stay or go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ..graph import Graph, Node, Value
from ..graph.known import Known
from .labels import Ints, Labels
from .reshaped import Relation, relations, settle

Strategy = Literal["same", "groups", "regroup"]
Dims = tuple[Ints, ...]
_FORM = {"elementwise", "reshape", "transpose"}


@dataclasses.dataclass(frozen=True, eq=False)
class Regrouped:
    """A grouped convolution whose kernel is built anew.

    Attributes:
      node: the convolution.
      kernel: its kernel, a parameter.
      groups: how many it has.
      full: the channels that the kernel has all of.
      part: those of the other side; the kernel has their place in the group.
      dims: of the kernel, for `full` and `part`.
    """

    node: Node
    kernel: Value
    groups: int
    full: Ints
    part: Ints
    dims: tuple[int, int]


class Coupling:
    """The labels of each dimension of each array of a graph.

    Args:
      graph: the function.
      weights: the inputs that may be cut; other arguments are data.
      strategy: what becomes of grouped convolutions.
      open_ended: whether results may shrink.

    Attributes:
      graph: the function.
      strategy: as above.
      labels: the union-find.
      known: numbers that follow from the sizes alone.
      regrouped: by the node.
      made: the labels of channels that convolutions and matrix products make, in the graph's order.
    """

    def __init__(
        self, graph: Graph, weights: Sequence[Value], strategy: Strategy, *, open_ended: bool = False
    ):
        from .rules import RULES, shut

        self.graph = graph
        self.strategy: Strategy = strategy
        self.labels, self.known = Labels(), Known()
        self.regrouped: dict[Node, Regrouped] = {}
        self.made: list[tuple[Node, Ints]] = []
        self.relations: list[Relation] = []
        self._of: dict[Value, Dims] = {}
        self._weights = set(weights)
        for value in graph.inputs:
            free = value in self._weights or value.kind == "constant"
            self._of[value] = self.fresh(value.shape) if free else self.none(value.shape)
        for node in graph.nodes:
            RULES.get(node.name if node.op == "opaque" else node.op, shut)(self, node)
        if not open_ended:
            for value in graph.outputs:
                self.lock(self.of(value), "it is a dimension of the result")
        settle(self.relations, self.labels, {r for v in weights for d in self.of(v) for r in d.tolist()})

    def of(self, value: Value) -> Dims:
        """The labels along each dimension."""
        if value not in self._of:  # a literal
            self._of[value] = self.none(value.shape)
        return self._of[value]

    def put(self, value: Value, dims: Sequence[Ints]) -> None:
        """Sets them; one position by itself has to stay."""
        assert tuple(map(len, dims)) == value.shape
        self.lock([labels for labels in dims if len(labels) == 1], "a single one is used by itself")
        self._of[value] = tuple(dims)

    def is_weight(self, value: Value) -> bool:
        """Whether it is a parameter, apart from its form."""
        while value.node is not None and value.node.op in _FORM and len(value.node.operands) == 1:
            value = value.node.operands[0]
        return value in self._weights

    def fresh(self, shape: Sequence[int]) -> Dims:
        """Labels that nothing is known of."""
        return tuple(map(self.labels.fresh, shape))

    def none(self, shape: Sequence[int]) -> Dims:
        """Labels of what always stays."""
        return tuple(np.zeros(n, int) for n in shape)

    def unite(self, a: Sequence[Ints], b: Sequence[Ints]) -> None:
        """Of equal shapes, dimension by dimension."""
        for one, other in zip(a, b, strict=True):
            self.labels.unite(one, other)

    def lock(self, dims: Sequence[Ints], reason: str) -> None:
        """All of them stay."""
        for labels in dims:
            self.labels.lock(labels, reason)

    def reshape(self, source: Sequence[Ints], shape: Sequence[int]) -> Dims:
        """The labels of a reshaped array."""
        dims, found = relations(source, shape, self.labels)
        self.relations += found
        return dims


def place(node: Node) -> str:
    """Where a node stands, for a reader."""
    return f"{node.name} in {node.layer or node.source or 'the function'}"


Rule = Callable[[Coupling, Node], Any]
