"""One operation of a cut graph: the same primitive, with the sizes that are left in its parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..graph import Node, Value
from ..graph.nodes import bind
from .cut import Cut
from .grouped import cover, form

_FORMS = {"reshape", "broadcast_in_dim", "squeeze", "transpose", "convert_element_type"}


def rebind(cut: Cut, node: Node, operands: Sequence[Any]) -> Sequence[Any]:
    """Its results."""
    params = dict(node.params)
    if cut.touches(node):
        if node.op == "constant":
            whole = bind(node.equation, operands, params)
            return [cut.left(v, array) for v, array in zip(node.results, whole, strict=True)]
        if node.name == "slice":
            return [_sliced(cut, node, operands[0])]
        if node.name in ("div", "mul"):
            operands = _counted(cut, node, operands)
        params |= _PARAMS.get(node.name, _same)(cut, node)
    elif node.name in ("div", "mul"):
        operands = _counted(cut, node, operands)
    return bind(node.equation, operands, params)


def _same(_: Cut, __: Node) -> dict[str, Any]:
    return {}


def groups_left(cut: Cut, node: Node) -> int:
    """How many groups a convolution has then."""
    found = form(node)
    assert found is not None
    if node in cut.coupling.regrouped:
        r = cut.coupling.regrouped[node]
        return cover(cut.mask(r.full), cut.mask(r.part), r.groups)
    mask = cut.masks(node.results[0])[found.result[1]]
    return int(mask.reshape(found.groups, -1).any(1).sum())


def _conv(cut: Cut, node: Node) -> dict[str, Any]:
    spec = node.params["spec"]
    data, result = cut.shape(node.operands[0])[-1], cut.shape(node.results[0])[-1]
    into, out = (result, data) if node.name == "conv_input_grad" else (data, result)
    new = dataclasses.replace(spec, in_channels=into, out_channels=out, groups=groups_left(cut, node))
    return {"spec": new}


def _lax_conv(cut: Cut, node: Node) -> dict[str, Any]:
    return {"feature_group_count": groups_left(cut, node)}


def _reshape(cut: Cut, node: Node) -> dict[str, Any]:
    return {"new_sizes": cut.shape(node.results[0])}


def _broadcast(cut: Cut, node: Node) -> dict[str, Any]:
    return {"shape": cut.shape(node.results[0])}


def _pad(cut: Cut, node: Node) -> dict[str, Any]:
    config = []
    for (lo, hi, interior), mask in zip(
        node.params["padding_config"], cut.masks(node.results[0]), strict=True
    ):
        if lo >= 0 and hi >= 0 and not interior:
            lo, hi = int(mask[:lo].sum()), int(mask[len(mask) - hi :].sum())
        config.append((lo, hi, interior))
    return {"padding_config": tuple(config)}


def _split(cut: Cut, node: Node) -> dict[str, Any]:
    axis = node.params["axis"]
    return {"sizes": tuple(cut.shape(v)[axis] for v in node.results)}


def _sizes(cut: Cut, node: Node) -> dict[str, Any]:
    """Of a slice at a place that is computed: what was taken whole is taken whole."""
    whole, left = node.operands[0].shape, cut.shape(node.operands[0])
    taken = node.params["slice_sizes"]
    return {"slice_sizes": tuple(m if t == n else t for t, n, m in zip(taken, whole, left, strict=True))}


def _sliced(cut: Cut, node: Node, array: Any) -> Any:
    p = node.params
    strides = p["strides"] or (1,) * len(p["start_indices"])
    parts = map(slice, p["start_indices"], p["limit_indices"], strides)
    for d, (part, mask) in enumerate(zip(parts, cut.masks(node.operands[0]), strict=True)):
        if mask.all():
            array = lax.slice_in_dim(array, part.start, part.stop, part.step, d)
            continue
        at = (np.cumsum(mask) - 1)[part][mask[part]]  # where the positions that are left stand now
        near = len(at) and at[-1] - at[0] == len(at) - 1
        array = lax.slice_in_dim(array, at[0], at[-1] + 1, 1, d) if near else jnp.take(array, at, d)
    return array


def _counted(cut: Cut, node: Node, operands: Sequence[Any]) -> Sequence[Any]:
    """A mean over channels divides by the number of those that are left, a variance perhaps by one less."""
    operands = list(operands)
    for i, value in enumerate(node.operands):
        counts = (
            None if value.shape or (node.name == "div" and i == 0) else _summed(cut, node.operands[1 - i])
        )
        number = None if counts is None else cut.coupling.known(value)
        if counts is None or number is None or float(number) == 0:
            continue
        divisor = float(number) if node.name == "div" else 1 / float(number)
        for less in (0, 1):
            if math.isclose(divisor, counts[0] - less, rel_tol=1e-6):
                new = counts[1] - less
                operands[i] = jnp.asarray(new if node.name == "div" else 1 / new, value.dtype)
    return operands


def _summed(cut: Cut, value: Value) -> tuple[int, int] | None:
    """Of what a sum adds up, how many there were and are; None if it adds up no channels."""
    node = value.node
    while node is not None and node.name in _FORMS:
        node = node.operands[0].node
    if node is None or node.name != "reduce_sum":
        return None
    whole, left = node.operands[0].shape, cut.shape(node.operands[0])
    before, after = (math.prod(shape[d] for d in node.params["axes"]) for shape in (whole, left))
    return None if before == after else (before, after)


_PARAMS: dict[str, Callable[[Cut, Node], dict[str, Any]]] = {
    "conv_forward": _conv,
    "conv_input_grad": _conv,
    "conv_general_dilated": _lax_conv,
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "pad": _pad,
    "split": _split,
    "dynamic_slice": _sizes,
    "gather": _sizes,
}
