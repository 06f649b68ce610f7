"""Differences of neighbours, their adjoint, and what is made of them: total variation and its curvature."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def gradient(x: jax.Array) -> jax.Array:
    """Forward differences along each axis, (rank, *spatial); zero at the last position."""
    parts = []
    for axis in range(x.ndim):
        ends = [(0, int(a == axis)) for a in range(x.ndim)]
        parts.append(jnp.pad(jnp.diff(x, axis=axis), ends))
    return jnp.stack(parts)


def divergence(p: jax.Array) -> jax.Array:
    """Minus the adjoint of `gradient`: Σ p · ∇x = -Σ x div p."""
    total = jnp.zeros_like(p[0])
    for axis, part in enumerate(p):
        part = jax.lax.slice_in_dim(part, 0, part.shape[axis] - 1, axis=axis)
        before = [(int(a == axis), 0) for a in range(part.ndim)]
        after = [(0, int(a == axis)) for a in range(part.ndim)]
        total = total + jnp.pad(part, after) - jnp.pad(part, before)
    return total


def curvature(x: jax.Array) -> jax.Array:
    """div(∇x / |∇x|), with |∇x| kept from zero by a thousandth of the mean of x."""
    slopes = gradient(x)
    small = 1e-3 * jnp.mean(jnp.abs(x)) + jnp.finfo(x.dtype).tiny ** 0.5  # its square is no zero
    return divergence(slopes / jnp.sqrt(jnp.sum(jnp.square(slopes), axis=0) + jnp.square(small)))
