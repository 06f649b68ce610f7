"""Which nodes of a graph are rectifiers, max(x, 0), whatever they were written as."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import core

from ...graph import Call, Graph, Node, Value

_FORM = {"convert_element_type", "broadcast_in_dim", "reshape", "squeeze", "copy"}
_POSITIVE, _NEGATIVE = ("gt", "ge"), ("lt", "le")
# A function with a derivative of its own that is made of these only is an activation, as jax.nn.relu.
_CHOOSES = {"max", "min", "select_n", "clamp", "gt", "ge", "lt", "le", "mul", *_FORM}
# A maximum that only goes into one of these keeps a variance from being negative.
_ROOTS = {"sqrt", "rsqrt", "log", "pow"}


def rectifiers(graph: Graph) -> dict[Node, Value]:
    """The nodes that are max(x, 0), bodies included, each with its x; clamp(0, x, most) is one, too.

    Forms: a maximum with zero; x where x > 0 and else zero; x * (x > 0). What is left out, and keeps its own
    derivative: a maximum that only guards a root (the variance of a norm), one that is a gate (the
    relu6(x + 3) / 6 of a hard swish), and those inside functions with derivatives of their own (softplus),
    unless these are the rectifier itself or hold convolutions or matrix products.

    Raises:
      ValueError: for a leaky rectifier, whose negative side has no rule.
    """
    found: dict[Node, Value] = {}
    uses = _uses(graph)
    for i, node in enumerate(graph.nodes):
        for body in node.bodies:
            found |= rectifiers(body)
        data = _rectified(node)
        if data is None:
            if _is_leaky(node):
                raise ValueError(
                    f"{_place(node)} is a leaky rectifier; the rules are for max(x, 0), and what a negative "
                    "input should pass back is not defined. Use gradient or integrated_gradients."
                )
        elif not _is_guard(node, uses) and not _is_gate(node, uses) and _opens(graph, i):
            found[node] = data
    return found


def nonlinearities(graph: Graph) -> list[str]:
    """Names of what else bends, for a message."""
    bends = {"tanh", "logistic", "erf", "exp", "sin", "cos", "expm1", "log1p", "abs", "max", "select_n"}
    return sorted({node.name for node, _ in graph.walk() if node.name in bends})


def opened(call: Call, graph: Graph) -> bool:
    """Whether a function with a derivative of its own is taken apart where there are rectifiers in it."""
    nodes = graph.nodes[call.start : call.stop]
    return all(n.name in _CHOOSES for n in nodes) or any(n.op in ("conv", "dot", "resize") for n in nodes)


def _opens(graph: Graph, i: int) -> bool:
    around = [call for call in graph.calls if call.start <= i < call.stop]
    return all(opened(call, graph) for call in around)


def _rectified(node: Node) -> Value | None:
    operands = node.operands
    if node.name == "max":
        return next((x for x, other in (operands, operands[::-1]) if _is_zero(other)), None)
    if node.name == "clamp":
        return operands[1] if _is_zero(operands[0]) else None
    if node.name == "select_n" and len(operands) == 3:
        sign = _sign(operands[0])
        if sign is None:
            return None
        x, positive = sign
        kept, dropped = (operands[2], operands[1]) if positive else (operands[1], operands[2])
        return x if kept is x and _is_zero(dropped) else None
    if node.name == "mul":
        pairs = (operands, operands[::-1])
        return next((x for x, mask in pairs if _sign(_plain(mask)) == (x, True)), None)
    return None


def _is_leaky(node: Node) -> bool:
    """Of the form x where x > 0, else x times something; or max(x, x times a number)."""
    if node.name == "select_n" and len(node.operands) == 3 and (sign := _sign(node.operands[0])):
        x, positive = sign
        kept, other = node.operands[1 + positive], node.operands[2 - positive]
        return kept is x and _is_multiple(other, x)
    if node.name == "max":
        a, b = node.operands[:2]
        return _is_multiple(a, b) or _is_multiple(b, a)
    return False


def _is_multiple(value: Value, x: Value) -> bool:
    return value.node is not None and value.node.name == "mul" and x in value.node.operands


def _sign(value: Value) -> tuple[Value, bool] | None:
    """The x of a comparison with zero, and whether it is true for positive x."""
    node = value.node
    if node is None or node.name not in (*_POSITIVE, *_NEGATIVE):
        return None
    a, b = node.operands
    if _is_zero(b):
        return a, node.name in _POSITIVE
    return (b, node.name in _NEGATIVE) if _is_zero(a) else None


def _plain(value: Value) -> Value:
    """Before changes of form and dtype."""
    while value.node is not None and value.node.name in _FORM:
        value = value.node.operands[0]
    return value


def _is_zero(value: Value) -> bool:
    value = _plain(value)
    if value.kind == "literal":
        return not np.any(value.data)
    if value.kind != "constant" or isinstance(value.data, core.Tracer):
        return False
    # A trained array says nothing of the program, even while it is zero.
    return (math.prod(value.shape) == 1 or not isinstance(value.data, jax.Array)) and not np.any(value.data)


def _uses(graph: Graph) -> dict[Value, list[Node]]:
    uses: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in node.operands:
            uses.setdefault(value, []).append(node)
    return uses


def _is_guard(node: Node, uses: dict[Value, list[Node]]) -> bool:
    ends = list(_ends(node.results[0], uses, {*_FORM, "add"}))
    return bool(ends) and all(end.name in _ROOTS for end in ends)


def _is_gate(node: Node, uses: dict[Value, list[Node]]) -> bool:
    if node.name == "clamp":
        capped = [node]
    else:
        capped = uses.get(node.results[0], [])
        if not capped or any(n.name != "min" for n in capped):
            return False
    ends = [end for cap in capped for end in _ends(cap.results[0], uses, _FORM)]
    return bool(ends) and all(_is_scaling(end) for end in ends)


def _is_scaling(node: Node) -> bool:
    return node.name in ("div", "mul") and any(_plain(v).kind == "literal" for v in node.operands)


def _ends(value: Value, uses: dict[Value, list[Node]], through: set[str]) -> Iterator[Node]:
    for node in uses.get(value, ()):
        if node.name in through:
            yield from _ends(node.results[0], uses, through)
        else:
            yield node


def _place(node: Any) -> str:
    return " of ".join(part for part in (node.name, node.layer or node.source) if part)
