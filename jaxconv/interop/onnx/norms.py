"""Normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .nodes import Node, Op, Value, aligned, axis_of, root


def _channels(v: Value, rank: int) -> Value:
    """One number for each channel, as `(1, C, 1, ...)`."""
    return v.reshape((1, -1) + (1,) * (rank - 2))


def _moments(x: Value, axes: Sequence[int]) -> tuple[Value, Value]:
    """Mean and variance in at least float32."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.mean(wide, axes, keepdims=True), jnp.var(wide, axes, keepdims=True)


def _standard(x: Value, axes: Sequence[int], epsilon: float) -> Value:
    mean, variance = _moments(x, axes)
    return ((x - mean) * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def _batch(node: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value) -> Any:
    epsilon = node.get("epsilon", 1e-5)
    if not node.get("training_mode", 0):
        factor = scale * jax.lax.rsqrt(jnp.asarray(variance) + epsilon)
        factor, shift = (_channels(v, x.ndim) for v in (factor, bias - mean * factor))
        return (x * factor + shift).astype(x.dtype)
    found = [m.reshape(-1) for m in _moments(x, (0, *range(2, x.ndim)))]
    y = _standard(x, (0, *range(2, x.ndim)), epsilon)
    y = (y * _channels(scale, x.ndim) + _channels(bias, x.ndim)).astype(x.dtype)
    keep = node.get("momentum", 0.9)
    return y, *(
        (old * keep + new * (1 - keep)).astype(old.dtype)
        for old, new in zip((mean, variance), found, strict=True)
    )


def _refuses_batch(node: Node) -> str | None:
    if node.get("spatial", 1) != 1:
        return "spatial=0, statistics for each position, is not supported"
    if node.opset < 14 and any(node.outputs[1:]):
        return "it is a training step of an opset below 14"
    return None


def _instance(node: Node, x: Value, scale: Value, bias: Value) -> Value:
    y = _standard(x, tuple(range(2, x.ndim)), node.get("epsilon", 1e-5))
    return y * _channels(scale, x.ndim) + _channels(bias, x.ndim)


def _group(node: Node, x: Value, scale: Value, bias: Value) -> Value:
    groups = node.get("num_groups")
    n, c, *space = x.shape
    if groups < 1 or c % groups:
        raise ValueError(f"num_groups={groups} does not divide {c} channels.")
    parts = x.reshape(n, groups, c // groups, *space)
    y = _standard(parts, tuple(range(2, parts.ndim)), node.get("epsilon", 1e-5))
    by_group = scale.shape[0] == groups and node.opset < 21
    y = y if by_group else y.reshape(x.shape)
    return (y * _channels(scale, y.ndim) + _channels(bias, y.ndim)).reshape(x.shape)


def _layer(node: Node, x: Value, scale: Value, bias: Value = None) -> Any:
    axes = tuple(range(axis_of(node.get("axis", -1), x.ndim), x.ndim))
    mean, variance = _moments(x, axes)
    inverse = jax.lax.rsqrt(variance + node.get("epsilon", 1e-5))
    y = ((x - mean) * inverse).astype(x.dtype)
    y = y * aligned(x, scale)[1]
    return y if bias is None else y + aligned(x, bias)[1], mean, inverse


def _rms(node: Node, x: Value, scale: Value) -> Value:
    axes = tuple(range(axis_of(node.get("axis", -1), x.ndim), x.ndim))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.mean(wide * wide, axes, keepdims=True)
    return (wide * jax.lax.rsqrt(square + node.get("epsilon", 1e-5))).astype(x.dtype) * aligned(x, scale)[1]


def _mean_variance(node: Node, x: Value) -> Value:
    axes = tuple(axis_of(a, x.ndim) for a in node.get("axes", (0, 2, 3)))
    mean, variance = _moments(x, axes)
    return ((x - mean) / (jnp.sqrt(variance) + 1e-9)).astype(x.dtype)


def _lp(node: Node, x: Value) -> Value:
    p, axis = node.get("p", 2), axis_of(node.get("axis", -1), x.ndim)
    norm = root(jnp.sum(jnp.abs(x) ** p, axis, keepdims=True), p)
    return jnp.where(norm == 0, 0, x / jnp.where(norm == 0, 1, norm)).astype(x.dtype)


def _local_response(node: Node, x: Value) -> Value:
    size, channels = node.get("size"), x.shape[1]
    before, behind = (min(n, channels) for n in ((size - 1) // 2, size // 2))  # beyond are zeros only
    squares = jnp.pad(x * x, [(0, 0), (before, behind), *((0, 0) for _ in x.shape[2:])])
    places = range(before + 1 + behind)
    total = sum(jax.lax.slice_in_dim(squares, k, k + channels, axis=1) for k in places)
    scale = node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * total
    return x * scale ** -node.get("beta", 0.75)


def _refuses_local(node: Node) -> str | None:
    size = node.get("size", 0)
    return None if 0 < size < math.inf else f"size={size!r} is no window of channels"


OPS = {
    "BatchNormalization": Op(
        _batch, "epsilon momentum spatial training_mode", refuses=_refuses_batch, results=3
    ),
    "InstanceNormalization": Op(_instance, "epsilon"),
    "GroupNormalization": Op(_group, "epsilon num_groups stash_type"),
    "LayerNormalization": Op(_layer, "axis epsilon stash_type", results=3),
    "RMSNormalization": Op(_rms, "axis epsilon stash_type"),
    "MeanVarianceNormalization": Op(_mean_variance, "axes"),
    "LpNormalization": Op(_lp, "axis p"),
    "LRN": Op(_local_response, "alpha beta bias size", refuses=_refuses_local),
}
