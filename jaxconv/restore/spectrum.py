"""The half spectrum of real arrays, as `jnp.fft.rfftn` gives it: what is where, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

Operator = Literal["laplacian", "gradient", "identity"]


def otf(psf: jax.Array, grid: Sequence[int]) -> jax.Array:
    """The optical transfer function: the half spectrum of a PSF with its centre at the origin of a grid."""
    padded = jnp.pad(psf, [(0, n - k) for n, k in zip(grid, psf.shape, strict=True)])
    return jnp.fft.rfftn(jnp.roll(padded, [-(k // 2) for k in psf.shape], range(psf.ndim)))


def frequencies(sizes: Sequence[int]) -> jax.Array:
    """In cycles per pixel, (rank, *half spectrum)."""
    axes = [jnp.fft.fftfreq(n) for n in sizes[:-1]] + [jnp.fft.rfftfreq(sizes[-1])]
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"))


def multiplicity(sizes: Sequence[int]) -> jax.Array:
    """How often a frequency of the half spectrum is in the whole one."""
    n = sizes[-1]
    k = jnp.arange(n // 2 + 1)
    return jnp.where((k == 0) | (2 * k == n), 1.0, 2.0)


def penalties(sizes: Sequence[int], operator: Operator) -> jax.Array:
    """|D|² on the half spectrum: 1, Σ 2 - 2 cos ω, or the square of that."""
    if operator == "identity":
        return jnp.ones(())
    waves = jnp.sum(2 - 2 * jnp.cos(2 * jnp.pi * frequencies(sizes)), axis=0)
    return waves if operator == "gradient" else jnp.square(waves)
