"""One operation on a piece of its operands along time.

Where a piece is in the signal is known when the program runs, and only its size before: see `operation.py`.
"""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun

from ..graph import Node
from .operation import apply, axes, on_piece, with_axes
from .stream_lines import Line, Op


def plain(op: Op, operands: Sequence[Any], length: int) -> list[Any]:
    """Each moment on its own: the parameters that name sizes are those of a piece."""
    node = op.node
    line = next(o for o in op.operands if o is not None)
    resize = None if op.operands[0] is None and node.name == "gather" else _SIZES.get(node.name)
    return apply(node, operands, **(resize(node, line.dim, op.result.dim, length) if resize else {}))


def window(op: Op, operands: Sequence[Any], count: int, length: int) -> list[Any]:
    """So many results, whole periods, of windows that reach from one end of the piece to the other."""
    node, line = op.node, op.operands[0]
    assert isinstance(line, Line)
    whole = axes(node)[line.dim]
    axis = on_piece(whole, length, count, shift=op.reach[0] * whole.base)
    return apply(node, operands, **with_axes(node, {line.dim: axis}))


def _put(values: Sequence[Any], at: int, value: Any) -> tuple[Any, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _reshape(node: Node, _: int, to: int, n: int) -> dict[str, Any]:
    return {"new_sizes": _put(node.params["new_sizes"], to, n)}


def _broadcast(node: Node, _: int, to: int, n: int) -> dict[str, Any]:
    return {"shape": _put(node.params["shape"], to, n)}


def _slice(node: Node, dim: int, _: int, n: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "start_indices": _put(node.params["start_indices"], dim, 0),
        "limit_indices": _put(node.params["limit_indices"], dim, n),
    }
    if node.params["strides"] is not None:
        found["strides"] = _put(node.params["strides"], dim, 1)
    return found


def _pad(node: Node, dim: int, *_: int) -> dict[str, Any]:
    return {"padding_config": _put(node.params["padding_config"], dim, (0, 0, 0))}


def _rev(node: Node, dim: int, *_: int) -> dict[str, Any]:
    return {"dimensions": tuple(d for d in node.params["dimensions"] if d != dim)}


def _sizes(node: Node, dim: int, _: int, n: int) -> dict[str, Any]:
    return {"slice_sizes": _put(node.params["slice_sizes"], dim, n)}


def _batch(node: Node, dim: int, _: int, n: int) -> dict[str, Any]:
    assert dim == 0  # as axis_of has seen
    return {"spec": dataclasses.replace(node.params["spec"], batch=n)}


_SIZES: dict[str, Callable[..., dict[str, Any]]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "rev": _rev,
    "dynamic_slice": _sizes,
    "gather": _sizes,
    "conv_forward": _batch,
    "conv_input_grad": _batch,
}


def fold(op: Op, x: jax.Array, count: int) -> jax.Array:
    """A reshape of whole periods."""
    shape = _put(op.result.value.shape, op.result.dim, count)
    return x.reshape(shape)


def cumulative(op: Op, last: jax.Array, x: jax.Array) -> jax.Array:
    """The running sum that goes on from its last result."""
    dim = op.result.dim
    [y] = apply(op.node, [jnp.concatenate([last, x], dim)])
    return lax.slice_in_dim(y, last.shape[dim], None, axis=dim)


def scan(
    op: Op, consts: Sequence[Any], carry: Sequence[Any], pieces: Sequence[Any], live: jax.Array
) -> tuple[list[Any], list[Any]]:
    """The rounds of a loop for which `live` says so, and the carry after them."""
    body = jaxpr_as_fun(op.node.params["jaxpr"])

    def step(carry: Any, now: Any) -> Any:
        on, *slices = now
        after = body(*consts, *carry, *slices)
        kept = [jnp.where(on, new, old) for new, old in zip(after, carry, strict=False)]
        return kept, after[len(carry) :]

    carry, ys = lax.scan(step, list(carry), [live, *pieces])
    return carry, ys
