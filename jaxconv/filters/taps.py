"""The taps of Gaussians and their derivatives, for widths that are known and for traced ones."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from .arguments import Number, concrete, is_traced, non_negative


def reach(sigma: Number, truncate: float, radius: int | None) -> int:
    """Taps on each side: radius if given, else truncate standard deviations, rounded."""
    if radius is not None:
        return non_negative(radius, "radius")
    return int(truncate * concrete(sigma, "sigma", "or give radius=, the taps on each side") + 0.5)


def gaussian_taps(sigma: Number, order: int, radius: int) -> Any:
    """Taps, for a correlation, of the `order`-th derivative of a Gaussian that was normalised to sum 1.

    The n-th derivative is q_n(t) exp(-t² / 2σ²) with q_0 = 1 and q_(n+1) = q_n' - q_n t / σ².
    """
    traced = is_traced(sigma)
    if not traced:
        sigma = concrete(sigma, "sigma", "")
    exp: Any = jnp.exp if traced else np.exp
    t = np.arange(-radius, radius + 1)
    bell = exp(-0.5 / sigma**2 * t**2)
    q: list[Any] = [1.0]  # coefficients of the powers of t
    for _ in range(order):
        slope = [n * c for n, c in enumerate(q)][1:]
        shifted = [0.0, *(-c / sigma**2 for c in q)]
        q = [a + b for a, b in zip(shifted, slope + [0.0] * (len(shifted) - len(slope)), strict=True)]
    # A derivative is a convolution, so its taps are turned round for a correlation.
    return sum(c * (-t.astype(float)) ** n for n, c in enumerate(q)) * bell / bell.sum()
