"""When to stop: rules that look at what an iteration saw.

A rule measures each iteration by one number, and decides by all the numbers so far. What is predicted, and
so the residual, is of the estimate before the iteration: to know it of the one after would be another blur.
Rules are pytrees: their limits may be traced.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from .spectrum import power


class Seen(NamedTuple):
    """One iteration: the estimates before and after it, the data, and Hx + background of the former."""

    before: jax.Array
    after: jax.Array
    y: jax.Array
    predicted: jax.Array
    weights: jax.Array


class Rule(Protocol):
    """What the loop asks of a rule."""

    def measure(self, seen: Seen) -> jax.Array: ...  # noqa: D102

    def done(self, history: jax.Array, k: jax.Array) -> jax.Array: ...  # noqa: D102


@functools.partial(jax.tree_util.register_dataclass, data_fields=["tolerance"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class RelativeChange:
    """Stop when an iteration changes the estimate little: |x' - x| <= tolerance |x'|.

    Says when nothing happens any more; not that the result is good. For methods that converge to something.

    Args:
      tolerance: more stops earlier.
    """

    tolerance: float | jax.Array = 1e-3

    def measure(self, seen: Seen) -> jax.Array:  # noqa: D102
        change = jnp.sum(power(seen.after - seen.before))
        size = jnp.sum(power(seen.after))
        return jnp.sqrt(change / jnp.maximum(size, jnp.finfo(size.dtype).tiny))

    def done(self, history: jax.Array, k: jax.Array) -> jax.Array:  # noqa: D102
        return history[k] <= self.tolerance


@functools.partial(jax.tree_util.register_dataclass, data_fields=["noise", "factor"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Discrepancy:
    """Stop when the data are explained to the noise: rms((y - Hx) / noise) <= factor (Morozov).

    To go on would be to explain the noise. For methods whose iterations go from smooth to noisy.

    Args:
      noise: standard deviation, one number or one for each pixel; None is Poisson's, √(Hx), of y in counts.
      factor: more stops earlier; a little above one is usual, since Hx has adapted to the noise.

    References:
      Bertero et al.: A discrepancy principle for Poisson data. Inverse Problems 26 (2010).
      doi:10.1088/0266-5611/26/10/105004.
    """

    noise: float | jax.Array | None = None
    factor: float | jax.Array = 1.0

    def measure(self, seen: Seen) -> jax.Array:  # noqa: D102
        tiny = jnp.finfo(seen.y.dtype).tiny
        variance = seen.predicted if self.noise is None else jnp.square(jnp.asarray(self.noise))
        squares = seen.weights * jnp.square(seen.y - seen.predicted) / jnp.maximum(variance, tiny)
        return jnp.sqrt(
            jnp.sum(squares) / jnp.maximum(jnp.sum(jnp.broadcast_to(seen.weights, squares.shape)), tiny)
        )

    def done(self, history: jax.Array, k: jax.Array) -> jax.Array:  # noqa: D102
        return history[k] <= self.factor


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["reach", "patience"])
@dataclasses.dataclass(frozen=True)
class Whiteness:
    """Stop when what is left of the data, y - Hx, looks most like white noise.

    The measure is the sum of the squares of the residual's autocorrelation over the neighbourhood of the
    origin, the origin left out, times the number of pixels over that of lags: 1 for white noise, more for one
    with structure. No noise level has to be known.

    Args:
      reach: largest lag along each axis.
      patience: iterations without a smaller measure after which the smallest counts as found.

    References:
      Almeida, Figueiredo: Parameter estimation for blind and non-blind deblurring using residual whiteness
      measures. IEEE Trans. Image Process. 22 (2013). doi:10.1109/TIP.2013.2257810.
    """

    reach: int = 3
    patience: int = 5

    def measure(self, seen: Seen) -> jax.Array:  # noqa: D102
        return whiteness(seen.weights * (seen.y - seen.predicted), reach=self.reach)

    def done(self, history: jax.Array, k: jax.Array) -> jax.Array:  # noqa: D102
        return jnp.argmin(history) + self.patience <= k


def whiteness(residual: jax.Array, *, reach: int = 3) -> jax.Array:
    """How far from white an array is: 1 for white noise, more with structure.

    Args:
      residual: one picture.
      reach: largest lag along each axis.

    Returns:
      n Σ_l ρ(l)² / L over the L lags up to the reach, for the circular autocorrelation ρ of n pixels.

    Raises:
      ValueError: never.

    Example:
      >>> import jax.numpy as jnp
      >>> float(whiteness(jnp.arange(64.0).reshape(8, 8) - 31.5, reach=1)) > 10
      True
    """
    residual = residual - jnp.mean(residual)
    correlation = jnp.fft.irfftn(power(jnp.fft.rfftn(residual)), residual.shape)
    for axis, n in enumerate(residual.shape):
        lags = jnp.arange(-min(reach, (n - 1) // 2), min(reach, (n - 1) // 2) + 1)
        correlation = jnp.take(correlation, lags % n, axis=axis)
    centre = jnp.sum(jnp.square(residual))
    rho = correlation / jnp.maximum(centre, jnp.finfo(centre.dtype).tiny)
    lags = max(correlation.size - 1, 1)
    return residual.size * (jnp.sum(jnp.square(rho)) - jnp.square(jnp.max(rho))) / lags
