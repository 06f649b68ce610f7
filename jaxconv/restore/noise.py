"""Noise of pictures: counting, and reading out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .arrays import check_positive, floating, known


def poisson(key: jax.Array, x: ArrayLike, *, peak: float | ArrayLike = 1.0) -> jax.Array:
    """Counts of photons, scaled back: Poisson(peak · x) / peak.

    Args:
      key: of jax.random.
      x: expected picture; what is negative counts as zero.
      peak: photons for the value one. More is less noise.

    Returns:
      The noisy picture, in floating point.

    Raises:
      ValueError: for a peak that is not positive.

    Example:
      >>> import jax
      >>> float(poisson(jax.random.key(0), jax.numpy.full(10_000, 5.0)).var().round())
      5.0
    """
    check_positive(peak, "peak")
    x = floating(x, "x")
    return jax.random.poisson(key, jnp.maximum(x, 0) * peak).astype(x.dtype) / peak


def gaussian(key: jax.Array, x: ArrayLike, *, sigma: float | ArrayLike) -> jax.Array:
    """Noise of the same strength everywhere: x + sigma · N(0, 1).

    Args:
      key: of jax.random.
      x: expected picture.
      sigma: standard deviation, in the units of x.

    Returns:
      The noisy picture, in floating point.

    Raises:
      ValueError: for a negative sigma.

    Example:
      >>> import jax
      >>> float(gaussian(jax.random.key(0), jax.numpy.zeros(10_000), sigma=2.0).std().round(1))
      2.0
    """
    if known(sigma) and not jnp.all(jnp.asarray(sigma) >= 0):
        raise ValueError(f"sigma={sigma} must not be negative.")
    x = floating(x, "x")
    return x + sigma * jax.random.normal(key, x.shape, x.dtype)
