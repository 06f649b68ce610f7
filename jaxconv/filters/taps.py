"""The taps of Gaussians and their derivatives, for widths that are known and for traced ones."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from .arguments import Number, concrete, is_traced, non_negative

# SciPy's: narrower Gaussians are taken for impulses.
IMPULSE = 1e-15


def reach(sigma: Number, truncate: float, radius: int | None) -> int:
    """Taps on each side: radius if given, else truncate standard deviations, rounded."""
    if radius is not None:
        return non_negative(radius, "radius")
    hint = "or give radius=, the taps on each side"
    sigma, truncate = concrete(sigma, "sigma", hint), concrete(truncate, "truncate", hint)
    if not 0 <= truncate < math.inf:
        raise ValueError(f"truncate={truncate} must be finite and not negative, in standard deviations.")
    return int(truncate * sigma + 0.5)


def gaussian_taps(sigma: Number, order: int, radius: int) -> Any:
    """Taps, for a correlation, of the `order`-th derivative of a Gaussian that was normalised to sum 1.

    The n-th derivative is q_n(t) exp(-t² / 2σ²) with q_0 = 1 and q_(n+1) = q_n' - q_n t / σ². Where a traced
    sigma turns out to be 0, the taps leave the image alone.
    """
    t = np.arange(-radius, radius + 1)
    if not is_traced(sigma):
        return _taps(concrete(sigma, "sigma", ""), order, t, np.exp)
    sigma = jnp.asarray(sigma, jnp.promote_types(jnp.result_type(sigma), jnp.float32))
    still = jnp.abs(sigma) <= IMPULSE
    return jnp.where(still, t == 0, _taps(jnp.where(still, 1, sigma), order, t, jnp.exp))


def _taps(sigma: Any, order: int, t: np.ndarray, exp: Any) -> Any:
    bell = exp(-0.5 / sigma**2 * t**2)
    q: list[Any] = [1.0]  # coefficients of the powers of t
    for _ in range(order):
        slope = [n * c for n, c in enumerate(q)][1:]
        shifted = [0.0, *(-c / sigma**2 for c in q)]
        q = [a + b for a, b in zip(shifted, slope + [0.0] * (len(shifted) - len(slope)), strict=True)]
    # A derivative is a convolution, so its taps are turned round for a correlation.
    return sum(c * (-t.astype(float)) ** n for n, c in enumerate(q)) * bell / bell.sum()
