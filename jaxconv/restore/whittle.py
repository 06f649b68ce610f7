"""Spectra of a photograph and its noise, by Whittle's likelihood: what is known of them without the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from .choose import noise_level
from .spectrum import multiplicity, otf, power, squares

# Of a and log ν: the mean of the former, and 2 / variance of both, for twice the logarithm is what is summed.
_SLOPE, _TRUST = 2.6, (8.0, 1.0)


class Spectra(NamedTuple):
    """Of scene, scale · |f|^-slope, and of noise, noise²; both as variances of a pixel."""

    scale: jax.Array
    slope: jax.Array
    noise: jax.Array


def fit(y: jax.Array, params: Any, family: Callable[..., Any], steps: int) -> tuple[Any, Spectra]:
    """Maximises the likelihood of a PSF's parameters with the scene integrated out.

    The spectrum of y, of which a window keeps the borders away, has the variance

        P(f) = |H(f; params)|² s |f|^-a + ν        minimise Σ_f log P + |Y|² / P

    over params, log s, a and log ν by Fisher scoring. Few frequencies leave a and ν open, and they are kept
    near what photographs have and what differences of pixels say, by a prior that is worth a few of them.

    Args:
      y: one picture.
      params: first guess, a pytree of arrays.
      family: from params to a PSF.
      steps: of the scoring.

    Returns:
      The parameters and the spectra.
    """
    params, unravel = ravel_pytree(params)
    params = params.astype(y.dtype)
    seen, far = _periodogram(y), squares(y.shape)
    used = multiplicity(y.shape) * (far > 9 / min(y.shape) ** 2)  # the window smears the lowest ones
    decades = jnp.log(jnp.where(used > 0, far, 1)) / 2

    def logarithm(unknowns: jax.Array) -> jax.Array:
        scale, slope, noise = unknowns[:3]
        gain = power(otf(family(unravel(unknowns[3:])).astype(y.dtype), y.shape))
        return jnp.log(gain * jnp.exp(scale - slope * decades) + jnp.exp(noise))

    def score(unknowns: jax.Array, _: None) -> tuple[jax.Array, None]:
        slopes = jax.jacfwd(logarithm)(unknowns)
        excess = used * (1 - seen / jnp.exp(logarithm(unknowns)))
        fisher = jnp.tensordot(used[..., None] * slopes, slopes, (tuple(range(y.ndim)),) * 2)
        ridge = 1e-6 * jnp.trace(fisher) * jnp.eye(len(unknowns), dtype=y.dtype)
        rise = jnp.tensordot(excess, slopes, y.ndim) + trust * (unknowns - prior)
        step = jnp.linalg.solve(fisher + ridge + jnp.diag(trust), rise)
        # Far from the optimum the model is no parabola: a step is 1 at most, a fifth of a parameter.
        most = jnp.concatenate([jnp.ones(3, y.dtype), jnp.abs(unknowns[3:]) / 5])
        return unknowns - step / jnp.maximum(1, jnp.max(jnp.abs(step) / most)), None

    tiny = jnp.finfo(y.dtype).tiny
    noise = 2 * jnp.log(jnp.maximum(noise_level(y), 1e-4 * jnp.std(y)) + tiny)
    scale = jnp.log(jnp.sum(used * seen) / jnp.sum(used * jnp.exp(-2 * decades)) + tiny)
    unknowns = jnp.concatenate([jnp.stack([scale, 2.0 * jnp.ones(()), noise]).astype(y.dtype), params])
    prior = unknowns.at[1].set(_SLOPE)
    trust = jnp.zeros_like(unknowns).at[1:3].set(jnp.asarray(_TRUST, y.dtype))
    unknowns, _ = jax.lax.scan(score, unknowns, None, length=steps)
    spectra = Spectra(jnp.exp(unknowns[0]), unknowns[1], jnp.exp(unknowns[2] / 2))
    return unravel(unknowns[3:]), spectra


def _periodogram(y: jax.Array) -> jax.Array:
    """The periodogram under Hann's window, of which white noise of variance ν has the mean ν."""
    window = jnp.ones((), y.dtype)
    for axis, n in enumerate(y.shape):
        hann = jnp.square(jnp.sin(jnp.pi * (jnp.arange(n) + 0.5) / n))
        window = window * hann.reshape([-1 if a == axis else 1 for a in range(y.ndim)])
    window = window / jnp.sqrt(jnp.mean(jnp.square(window)))
    level = jnp.sum(y * window) / jnp.sum(window)
    return power(jnp.fft.rfftn((y - level) * window, norm="ortho"))
