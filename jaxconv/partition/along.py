"""Arrays along one of their dimensions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def along(line: Any, dim: int, ndim: int) -> Any:
    """A vector as an array of `ndim` dimensions that goes with others along one of them.

    Example:
      >>> along(jnp.arange(3), 1, 4).shape
      (1, 3, 1, 1)
    """
    return line.reshape([-1 if d == dim else 1 for d in range(ndim)])


def padded(x: jax.Array, dim: int, before: int, after: int) -> jax.Array:
    """With zeros at the ends of a dimension."""
    if not before and not after:
        return x
    config = [(before, after, 0) if d == dim else (0, 0, 0) for d in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)
