"""Operations whose operands are indices."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .nodes import Node, Op, Value, axis_of, bounded, host, namespace, on_host


def _counted(indices: Value, size: int) -> Value:
    """Indices counted from the front."""
    if on_host(indices) and indices.size and not -size <= indices.min() <= indices.max() < size:
        raise ValueError(f"its indices reach beyond {size} positions.")
    return namespace(indices).where(indices < 0, indices + size, indices)


def _gather(node: Node, x: Value, indices: Value) -> Value:
    axis = axis_of(node.get("axis", 0), x.ndim)
    return namespace(x, indices).take(x, _counted(indices, x.shape[axis]), axis)


def _gather_elements(node: Node, x: Value, indices: Value) -> Value:
    axis = axis_of(node.get("axis", 0), x.ndim)
    at = _counted(indices, x.shape[axis])
    if len(indices.shape) == x.ndim:  # along the other axes it takes what has the index's own place
        x = x[tuple(slice(None if i == axis else n) for i, n in enumerate(indices.shape))]
    return namespace(x, indices).take_along_axis(x, at, axis)


def _gather_nd(node: Node, x: Value, indices: Value) -> Value:
    x, indices = jnp.asarray(x), jnp.asarray(indices)
    function = lambda x, indices: x[tuple(jnp.moveaxis(indices, -1, 0))]  # noqa: E731
    for _ in range(node.get("batch_dims", 0)):
        function = jax.vmap(function)
    return function(x, indices)


def _update(node: Node, x: Value, at: Any, updates: Value) -> Value:
    how = node.get("reduction", "none")
    return getattr(jnp.asarray(x).at[at], "set" if how == "none" else how)(updates)


def _scatter_elements(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    axis = axis_of(node.get("axis", 0), x.ndim)
    at = list(np.indices(indices.shape, sparse=True))
    at[axis] = _counted(indices, x.shape[axis])
    return _update(node, x, tuple(at), updates)


def _scatter_nd(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    return _update(node, x, tuple(namespace(indices).moveaxis(indices, -1, 0)), updates)


def _refuses_scatter(node: Node) -> str | None:
    how = node.get("reduction", "none")
    known = ("none", "add", "mul", "max", "min")
    return None if how in known else f"reduction={how!r} is none of {', '.join(known)}"


def _top_k(node: Node, x: Value, k: Value = None) -> Any:
    number = node.get("k") if k is None else int(host(k, "k").reshape(-1)[0])
    axis = axis_of(node.get("axis", -1), x.ndim)
    x = jnp.moveaxis(jnp.asarray(x), axis, -1)
    if not 0 <= number <= x.shape[-1]:
        raise ValueError(f"k={number} of {x.shape[-1]} positions.")
    if node.get("largest", 1):
        found, at = jax.lax.top_k(x, number)
    else:
        at = jnp.argsort(x, -1, stable=True)[..., :number]
        found = jnp.take_along_axis(x, at, -1)
    return jnp.moveaxis(found, -1, axis), jnp.moveaxis(at, -1, axis)


def _one_hot(node: Node, indices: Value, depth: Value, values: Value) -> Value:
    size = int(host(depth, "depth").reshape(-1)[0])
    axis = axis_of(node.get("axis", -1), indices.ndim + 1)
    bounded([math.prod(indices.shape), size])
    indices = jnp.asarray(indices)
    indices = jnp.where(indices < 0, indices + size, indices).astype(jnp.int32)
    here = jax.nn.one_hot(indices, size, dtype=bool, axis=axis)
    return jnp.where(here, jnp.asarray(values)[1], jnp.asarray(values)[0])


def _trilu(node: Node, x: Value, k: Value = None) -> Value:
    xp = namespace(x)
    number = 0 if k is None else int(host(k, "k").reshape(-1)[0])
    return (xp.triu if node.get("upper", 1) else xp.tril)(x, number)


def _eye_like(node: Node, x: Value) -> Value:
    rows, columns = bounded(x.shape)
    return np.eye(rows, columns, node.get("k", 0), np.dtype(node.get("dtype") or x.dtype))


OPS = {
    "Gather": Op(_gather, "axis"),
    "GatherElements": Op(_gather_elements, "axis"),
    "GatherND": Op(_gather_nd, "batch_dims"),
    "ScatterElements": Op(_scatter_elements, "axis reduction", refuses=_refuses_scatter),
    "ScatterND": Op(_scatter_nd, "reduction", refuses=_refuses_scatter),
    "TopK": Op(_top_k, "axis k largest sorted", static=(1,), results=2),
    "OneHot": Op(_one_hot, "axis", static=(1,)),
    "Trilu": Op(_trilu, "upper", static=(1,)),
    "EyeLike": Op(_eye_like, "dtype k"),
}
