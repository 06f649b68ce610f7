"""Arrays as the restoring functions compute with them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def floating(value: Any, name: str) -> jax.Array:
    """A real array as float32, or as float64 if it is that. Integers keep their scale."""
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} has dtype {array.dtype}; wanted real numbers.")
    if array.size == 0:
        raise ValueError(f"{name} of shape {array.shape} is empty.")
    return array.astype(jnp.float64 if array.dtype == jnp.float64 else jnp.float32)


def known(value: Any) -> bool:
    """Whether the value can be looked at: not while it is traced."""
    return not isinstance(value, jax.core.Tracer)
