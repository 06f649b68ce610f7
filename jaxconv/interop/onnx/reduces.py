"""Reductions, softmax and cumulative sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .nodes import Node, Op, Value, axis_of, dtype_of, host, ints, namespace, on_host, root


def _reduce(function: Callable[..., Value]) -> Op:
    """`function(xp, x, axes, keepdims)`; the axes are an operand in newer opsets."""

    def run(node: Node, x: Value, axes: Value = None) -> Value:
        found = node.get("axes") if axes is None else ints(axes, "axes")
        if not found:
            if node.get("noop_with_empty_axes", 0):
                return function(namespace(x), x, (), True)
            found = range(x.ndim)
        along = tuple(axis_of(a, x.ndim) for a in found)
        y = function(namespace(x), x, along, bool(node.get("keepdims", 1)))
        return np.asarray(y).astype(x.dtype) if on_host(x) else y.astype(x.dtype)

    return Op(run, "axes keepdims noop_with_empty_axes", static=(1,))


def _norm(xp: Any, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return root(jnp.asarray(xp.sum(x * x, axes, keepdims=keep)), 2)


def _extreme(name: str, of_bools: str) -> Op:
    def function(xp: Any, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
        least = -np.inf if name == "max" else np.inf
        empty = math.prod(x.shape) == 0 and jnp.issubdtype(x.dtype, jnp.floating)
        options = {"initial": least} if empty else {}
        return getattr(xp, of_bools if x.dtype == bool else name)(x, axes, keepdims=keep, **options)

    return _reduce(function)


def _summed(function: Callable[[Any, Value], Value]) -> Op:
    return _reduce(lambda xp, x, axes, keep: xp.sum(function(xp, x), axes, keepdims=keep))


def _log_sum_exp(_: Any, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return jax.nn.logsumexp(jnp.asarray(x), axes, keepdims=keep)


def _arg(largest: bool) -> Op:
    def run(node: Node, x: Value) -> Value:
        axis = axis_of(node.get("axis", 0), x.ndim)
        xp, last = namespace(x), node.get("select_last_index", 0)
        found = (xp.argmax if largest else xp.argmin)(
            xp.flip(x, axis) if last else x, axis, keepdims=bool(node.get("keepdims", 1))
        )
        found = x.shape[axis] - 1 - found if last else found
        return found.astype(dtype_of(np.int64, xp))

    return Op(run, "axis keepdims select_last_index")


def _soft(function: Callable[..., Value]) -> Op:
    """Below opset 13 all axes from `axis` on are one."""

    def run(node: Node, x: Value) -> Value:
        x = jnp.asarray(x)
        axis = axis_of(node.get("axis", -1 if node.opset >= 13 else 1), x.ndim)
        if node.opset >= 13:
            return function(x, axis=axis)
        flat = x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
        return function(flat, axis=1).reshape(x.shape)

    return Op(run, "axis")


def _hardmax(x: Value, axis: int) -> Value:
    return jax.nn.one_hot(jnp.argmax(x, axis), x.shape[axis], dtype=x.dtype, axis=axis)


def _cumulative(name: str) -> Op:
    def run(node: Node, x: Value, axis: Value) -> Value:
        xp, along = namespace(x), axis_of(int(host(axis, "axis").reshape(-1)[0]), x.ndim)
        backwards = node.get("reverse", 0)
        x = xp.flip(x, along) if backwards else x
        y = getattr(xp, name)(x, along).astype(x.dtype)
        if node.get("exclusive", 0):
            first = xp.full_like(xp.take(x, np.array([0]), along), 1 if name == "cumprod" else 0)
            rest = xp.take(y, np.arange(x.shape[along] - 1), along)
            y = xp.concatenate([first, rest], along)
        return xp.flip(y, along) if backwards else y

    return Op(run, "exclusive reverse", static=(1,))


OPS = {
    "ReduceSum": _summed(lambda _, x: x),
    "ReduceL1": _summed(lambda xp, x: xp.abs(x)),
    "ReduceSumSquare": _summed(lambda _, x: x * x),
    "ReduceL2": _reduce(_norm),
    "ReduceMean": _reduce(lambda xp, x, axes, keep: xp.mean(x, axes, keepdims=keep)),
    "ReduceProd": _reduce(lambda xp, x, axes, keep: xp.prod(x, axes, keepdims=keep)),
    "ReduceMax": _extreme("max", "any"),
    "ReduceMin": _extreme("min", "all"),
    "ReduceLogSum": _reduce(lambda xp, x, axes, keep: xp.log(xp.sum(x, axes, keepdims=keep))),
    "ReduceLogSumExp": _reduce(_log_sum_exp),
    "ArgMax": _arg(largest=True),
    "ArgMin": _arg(largest=False),
    "Softmax": _soft(jax.nn.softmax),
    "LogSoftmax": _soft(jax.nn.log_softmax),
    "Hardmax": _soft(_hardmax),
    "CumSum": _cumulative("cumsum"),
    "CumProd": _cumulative("cumprod"),
}
