"""Choosing what the user did not: the noise level, and the weight of a regularisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .arrays import floating

Choice = Literal["gcv", "discrepancy"]

# Weights that are considered, as powers of ten.
_RANGE = (-9.0, 2.0)
_COARSE, _FINE, _HALVINGS = 34, 17, 40
# The median of |N(0, 1)|.
_MEDIAN = 0.6744897501960817


def noise_level(y: ArrayLike, *, rank: int | None = None) -> jax.Array:
    """The standard deviation of white noise, from the differences that a blurred scene hardly has.

        σ = median |Δ_1 ... Δ_r y| / (0.6745 · 2^(r/2))

    Args:
      y: data; the last `rank` axes are space.
      rank: number of axes of space; None is all.

    Returns:
      The noise level, one number for each picture. Fine texture counts as noise and makes it too large.

    Raises:
      ValueError: for more axes of space than there are, or an axis of a single position.

    References:
      Donoho, Johnstone: Ideal spatial adaptation by wavelet shrinkage. Biometrika 81 (1994).
      doi:10.1093/biomet/81.3.425.

    Example:
      >>> import jax
      >>> y = 3.0 * jax.random.normal(jax.random.key(0), (100, 100))
      >>> float(noise_level(y).round(1))
      3.0
    """
    y = floating(y, "y")
    rank = y.ndim if rank is None else rank
    if not 0 < rank <= y.ndim or min(y.shape[y.ndim - rank :]) < 2:
        raise ValueError(f"y of shape {y.shape} has no differences along its last {rank} axes.")
    for axis in range(-rank, 0):
        y = jnp.diff(y, axis=axis)
    return jnp.median(jnp.abs(y), axis=tuple(range(-rank, 0))) / (_MEDIAN * 2 ** (rank / 2))


def smallest(score: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The weight with the smallest score: of a coarse grid, then of a fine one around it."""
    low, high = _RANGE
    coarse = jnp.linspace(low, high, _COARSE)
    at = coarse[jnp.argmin(lax.map(lambda e: score(10.0**e), coarse))]
    step = (high - low) / (_COARSE - 1)
    fine = at + jnp.linspace(-step, step, _FINE)
    return 10.0 ** fine[jnp.argmin(lax.map(lambda e: score(10.0**e), fine))]


def crossing(excess: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The weight at which an increasing function goes through zero, by halving the interval."""

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        above = excess(10.0**middle) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = lax.fori_loop(0, _HALVINGS, halve, (jnp.asarray(_RANGE[0]), jnp.asarray(_RANGE[1])))
    return 10.0 ** ((low + high) / 2)
