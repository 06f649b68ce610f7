"""Primitives that are short for simpler ones, as those: what follows positions knows only those."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend import core


def composed(equation: Any) -> core.ClosedJaxpr | None:
    """The simpler operations that an equation is short for, at its place in the user's code; None for others.

    Example:
      >>> import jax.numpy as jnp
      >>> [stack] = jax.make_jaxpr(lambda x: jnp.stack([x, x], 1))(jnp.ones((2, 3))).eqns
      >>> [equation.primitive.name for equation in composed(stack).eqns]
      ['broadcast_in_dim', 'broadcast_in_dim', 'concatenate']
    """
    simpler = _SIMPLER.get(equation.primitive.name)
    if simpler is None:
        return None
    operands = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
    closed = jax.make_jaxpr(lambda *xs: simpler(xs, equation.params))(*operands)
    placed = [inner.replace(source_info=equation.source_info) for inner in closed.jaxpr.eqns]
    return core.ClosedJaxpr(closed.jaxpr.replace(eqns=placed), closed.consts)


def _stack(xs: Sequence[jax.Array], params: dict[str, Any]) -> jax.Array:
    axis = params["axis"]
    return lax.concatenate([lax.expand_dims(x, (axis,)) for x in xs], axis)


def _unstack(xs: Sequence[jax.Array], params: dict[str, Any]) -> list[jax.Array]:
    [x], axis = xs, params["axis"]
    return [lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])]


def _tile(xs: Sequence[jax.Array], params: dict[str, Any]) -> jax.Array:
    """Repeats are a dimension before each, which is then made one with it."""
    [x], reps = xs, params["reps"]
    apart = [n for rep, size in zip(reps, x.shape, strict=True) for n in (rep, size)]
    spread = lax.broadcast_in_dim(x, apart, range(1, 2 * x.ndim, 2))
    return lax.reshape(spread, [rep * size for rep, size in zip(reps, x.shape, strict=True)])


_SIMPLER: dict[str, Callable[..., Any]] = {"stack": _stack, "unstack": _unstack, "tile": _tile}
