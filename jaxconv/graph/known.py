"""Arrays that a function computes from its shapes alone: the indices and weights of a resize."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from .nodes import Node, Value, bind

_MOST = 2**22  # elements; larger ones are not looked at


class Known:
    """Computes such arrays when they are asked for, each once."""

    def __init__(self) -> None:
        self._found: dict[Value, np.ndarray | None] = {}

    def __call__(self, value: Value) -> np.ndarray | None:
        """The array; None if it depends on an argument or on a device array that the function closes over."""
        if value not in self._found:
            nodes: list[Node] = []
            able = value.size <= _MOST and _needs(value, nodes, set())
            self._found[value] = _computed(value, nodes) if able else None
        return self._found[value]


def _needs(value: Value, nodes: list[Node], seen: set[Value]) -> bool:
    """Collects the nodes that lead to a value, in order; whether there is nothing else that it depends on."""
    if value in seen:
        return True
    seen.add(value)
    if value.kind == "constant":
        return not isinstance(value.data, jax.Array)  # a trained array says nothing of the shapes
    if value.kind != "result" or value.node is None:
        return value.kind == "literal"
    node = value.node
    if node.bodies or node.op in ("opaque", "conv") or any(v.size > _MOST for v in node.results):
        return False
    if not all(_needs(operand, nodes, seen) for operand in node.operands):
        return False
    if node not in nodes:
        nodes.append(node)
    return True


def _computed(value: Value, nodes: list[Node]) -> np.ndarray:
    def run() -> Any:
        found: dict[Value, Any] = {}
        for node in nodes:
            operands = [found.get(v, v.data) for v in node.operands]
            found |= zip(node.results, bind(node.equation, operands), strict=True)
        return found[value] if nodes else value.data

    # Compiled by hand, it runs here and now even while another function is traced.
    return np.asarray(jax.jit(run).lower().compile()())
