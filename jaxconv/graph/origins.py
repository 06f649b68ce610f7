"""Where values come from: which arguments and constants each of them depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import jax.numpy as jnp

from .known import Known
from .names import layer_of
from .nodes import Graph, Node, Value
from .resizes import find_resize
from .windows import conv_of

_ROUNDS = 8  # of a loop, until what its carry depends on is settled
# What a parameter passes on its way to the operation that it is a parameter of.
_PREPARES = {"elementwise", "reshape", "transpose", "broadcast", "slice", "dynamic_slice", "reverse"}


@dataclasses.dataclass
class Origins:
    """For each value the arguments and constants that it depends on, as bits.

    Attributes:
      leaves: the graph's inputs; bit i is leaf i.
      masks: by value.
    """

    leaves: tuple[Value, ...]
    masks: dict[Value, int]

    def of(self, values: Iterable[Value]) -> int:
        """The union over some values."""
        mask = 0
        for value in values:
            mask |= self.masks.get(value, 0)
        return mask

    def named(self, mask: int) -> list[Value]:
        """The leaves of a mask."""
        return [leaf for i, leaf in enumerate(self.leaves) if mask >> i & 1]


def origins(graph: Graph) -> Origins:
    """What every value of a graph depends on."""
    return _found(graph, lambda _: True)


def parameters(graph: Graph) -> Origins:
    """The same, not counting what comes through more than a change of form or of each element."""
    return _found(graph, lambda node: node.op in _PREPARES)


def _found(graph: Graph, passes: Callable[[Node], bool]) -> Origins:
    found = Origins(graph.inputs, {leaf: 1 << i for i, leaf in enumerate(graph.inputs)})
    _visit(graph, found, passes)
    return found


def _visit(graph: Graph, found: Origins, passes: Callable[[Node], bool]) -> None:
    for node in graph.nodes:
        mask = found.of(node.operands) if passes(node) else 0
        results = dict.fromkeys(node.results, mask)
        for body in node.bodies:
            for value in body.inputs:
                found.masks[value] = found.of([value.outer] if value.outer else [])
            for _ in range(_ROUNDS if node.op == "loop" else 1):
                _visit(body, found, passes)
                if not _carried(node, body, found):
                    break
        found.masks |= results


def _carried(node: Node, body: Graph, found: Origins) -> bool:
    """Lets a loop's carry depend on what its body makes of it; whether that changed anything."""
    if node.parts is None:
        return False
    consts, count = node.parts.constant, node.parts.carried
    changed = False
    for inner, result in zip(body.inputs[consts : consts + count], body.outputs[:count], strict=True):
        mask = found.masks.get(inner, 0) | found.of([result])
        changed |= mask != found.masks.get(inner, 0)
        found.masks[inner] = mask
    return changed


def complete(graph: Graph) -> None:
    """Adds to nodes what takes the whole graph: layers named by parameters, convolutions, resizes."""
    found, near, known = origins(graph), parameters(graph), Known()
    data = found.of(leaf for leaf in [graph.argument_like_data()] if leaf is not None)
    for node, _ in graph.walk():
        apart = [v for v in node.operands if not found.of([v]) & data]
        layers = {layer_of(leaf.name) for leaf in near.named(near.of(apart)) if _is_weight(leaf)}
        if not node.bodies and (name := _common(sorted(layers))):
            node.layer = name
        find_resize(node, known)
        if node.op == "conv":
            node.conv = conv_of(node.equation, kernel=node.operands[1] in apart)


def _is_weight(leaf: Value) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact) and bool(leaf.name)


def _common(paths: list[str]) -> str:
    """What paths have in common at their start."""
    if not paths:
        return ""
    first, last = paths[0].split("/"), paths[-1].split("/")
    same = [a for a, b in zip(first, last, strict=False) if a == b] if first[0] == last[0] else []
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(same))
    return "/".join(first[:length])
