"""Wiener-Hunt deconvolution that finds the strengths of noise and scene itself, by sampling them."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ..typing import Layout
from . import extend
from . import frames as _frames
from .iterate import Callback, Options, Report, Restored, check_options, iterate
from .progress import shown
from .spectrum import Operator, multiplicity, otf, penalties, power
from .stopping import RelativeChange, Rule, Seen


class Powers(NamedTuple):
    """What the sampler has to know of each frequency: |Y|², |H|², |D|², how often it is there, and |H* Y|."""

    data: jax.Array
    gain: jax.Array
    penalty: jax.Array
    often: jax.Array
    product: jax.Array


class Draws(NamedTuple):
    """For each iteration, what is random in it and depends on nothing: drawn at once, which is quicker."""

    normal: jax.Array  # (iterations, 2)
    gamma: jax.Array

    @classmethod
    def of(cls, key: jax.Array, iterations: int, n: int, dtype: Any) -> Draws:
        """For n positions: N(0, 1), and Gamma of half the degrees of freedom of both sums."""
        keys = jax.random.split(key)
        shapes = jnp.asarray([n / 2, max(n - 1, 1) / 2], dtype)
        shape = (iterations, 2)
        return cls(jax.random.normal(keys[0], shape, dtype), jax.random.gamma(keys[1], shapes, shape, dtype))


class Chain(NamedTuple):
    """State of the sampler: precisions of noise and scene, sums after the burn-in, and how many of them."""

    noise: jax.Array
    prior: jax.Array
    total: jax.Array  # of γ_n / P, which makes the mean of X of H* Y
    precisions: jax.Array  # of (noise, prior)
    k: jax.Array


def unsupervised_wiener(
    y: ArrayLike,
    psf: ArrayLike,
    *,
    key: jax.Array,
    operator: Operator = "laplacian",
    iterations: int = 200,
    burn_in: int = 15,
    stop: Rule | None = RelativeChange(1e-4),  # noqa: B008 (frozen)
    boundary: extend.Extension = "liu_jia",
    callback: Callback | None = None,
    progress: bool = False,
    layout: Layout = "channels_last",
) -> Restored:
    """Wiener-Hunt deconvolution with both hyper-parameters estimated from the data.

    For white noise of precision γ_n, a Gaussian scene of precision γ_x |D|², and Jeffreys' priors for both,
    the posterior is sampled by turns (Gibbs),

        X | γ  ~ N(γ_n H* Y / P, 1 / P)            P = γ_n |H|² + γ_x |D|²               # Eq. 27, 29, 30
        γ_n | X ~ Gamma(n / 2, 2 / |Y - H X|²)                                           # Eq. 31
        γ_x | X ~ Gamma((n - 1) / 2, 2 / |D X|²)

    and the result is the posterior mean. It is the average of the means of X given γ, where scikit-image
    takes that of the samples of X: the same limit, with fewer of them (Rao, Blackwell).

    Of X only the two sums are used, so they are drawn instead of it. Given γ, all frequencies are independent
    and the sums' means and covariance known; sums of so many terms are normal, and drawn as log-normal with
    just these moments, which is the same where there are many and keeps few from being negative.

    Args:
      y: data, (*spatial), (..., *spatial, C), or with channels_first (..., *spatial).
      psf: of as many axes as space has; values may be negative.
      key: of jax.random; the same key is the same result.
      operator: D, what should be small: "laplacian", "gradient" or "identity".
      iterations: samples at most, those of the burn-in included.
      burn_in: samples that are not averaged. More forgets the start better.
      stop: rule for the running mean; the default is reached after a few tens of samples.
      boundary: how the picture is continued: "liu_jia", "reflect", "taper", or "circular" for one that is
        periodic.
      callback: called after each iteration with its number, from 0, and the half spectrum of the running
        mean, its absolute value.
      progress: whether to show it.
      layout: where channels are, if y has more axes than space.

    Returns:
      `Restored(x, report)`; the report has the posterior means of both precisions, γ_n as `noise` and γ_x as
      `prior`, and `weight`, their ratio: that of `tikhonov`.

    Raises:
      ValueError: for a PSF larger than the data, and arguments that do not fit.

    References:
      Orieux, Giovannelli, Rodet: Bayesian estimation of regularization and point spread function parameters
      for Wiener-Hunt deconvolution. J. Opt. Soc. Am. A 27 (2010). doi:10.1364/JOSAA.27.001593.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> y = jnp.sin(jnp.arange(64) / 5) + 0.1 * jax.random.normal(jax.random.key(0), (64,))
      >>> x, report = unsupervised_wiener(y, jnp.ones(3) / 3, key=jax.random.key(1))
      >>> float(report.chosen["noise"] ** -0.5)  # the noise
      0.1
    """
    check_options(iterations, "unrolled", stop)
    extend.check(boundary)
    if operator not in get_args(Operator):
        raise ValueError(f"operator={operator!r} is not known; use one of {', '.join(get_args(Operator))}.")
    if not 0 <= burn_in < iterations:
        raise ValueError(f"burn_in={burn_in} must be at least 0 and below iterations={iterations}.")
    if hasattr(psf, "adjoint"):
        raise ValueError("psf is a model; this method divides by a spectrum and wants an array.")
    given = _frames.problem(y, psf, layout=layout)
    with shown(iterations, callback, enabled=progress, traced=given.y) as callback:
        options = Options(iterations, "unrolled", callback)
        x, k, history, chosen = _run(
            given.y, given.psf, key, stop, operator, burn_in, boundary, given.frames, options
        )
    report = Report("unsupervised_wiener", iterations, k, history, stop, chosen, "Gibbs sampling")
    return Restored(given.frames.leave(x, given.rank), report)


@functools.partial(jax.jit, static_argnums=(4, 5, 6, 7, 8))
def _run(
    y: jax.Array,
    psf: jax.Array,
    key: jax.Array,
    rule: Rule | None,
    operator: Operator,
    burn_in: int,
    boundary: extend.Extension,
    frames: _frames.Frames,
    options: Options,
) -> Any:
    shape = y.shape[y.ndim - psf.ndim :]
    sizes = extend.grid(shape, psf.shape, boundary)
    transfer, penalty, count = otf(psf, sizes), penalties(sizes, operator), multiplicity(sizes)

    def each(y: jax.Array, key: jax.Array) -> Any:
        whole = extend.extend(y, psf, boundary)
        # An orthonormal transform: |Y|² is |y|², as the sampler's formulas have it.
        spectrum = jnp.fft.rfftn(whole, norm="ortho")
        variance = jnp.var(whole)
        first = jnp.where(variance > 0, 1 / jnp.where(variance > 0, variance, 1), 1)
        product = jnp.conj(transfer) * spectrum
        # Precisions are those of a picture of variance one.
        powers = Powers(first * power(spectrum), power(transfer), penalty, count, jnp.sqrt(power(product)))
        one = jnp.ones((), y.dtype)
        draws = Draws.of(key, options.iterations, math.prod(sizes), y.dtype)
        chain = Chain(one, one, jnp.zeros_like(powers.data), jnp.zeros(2, y.dtype), jnp.asarray(0))
        step = functools.partial(_step, powers, draws, burn_in)
        chain, k, history = iterate(step, chain, options, rule)
        used = jnp.maximum(chain.k - burn_in, 1)
        x = jnp.fft.irfftn(product * (chain.total / used), sizes, norm="ortho")
        noise, prior = first * chain.precisions / used
        chosen = {"noise": noise, "prior": prior, "weight": prior / noise}
        return lax.slice(x, [0] * x.ndim, shape), k, history, chosen

    return frames.each(each)(y, jax.random.split(key, y.shape[0]) if frames.lead else key)


def _step(of: Powers, draws: Draws, burn_in: int, chain: Chain) -> tuple[Chain, Seen]:
    tiny = jnp.finfo(of.data.dtype).tiny
    variance = 1 / jnp.maximum(chain.noise * of.gain + chain.prior * of.penalty, tiny)  # Eq. 29
    sums = _sums(draws.normal[chain.k], *_moments(of, chain.noise, chain.prior, variance))
    precisions = draws.gamma[chain.k] * 2 / sums  # Eq. 31
    used = chain.k >= burn_in
    mean = chain.noise * variance  # times H* Y, Eq. 30
    total = chain.total + jnp.where(used, mean, 0)
    k = chain.k + 1
    before = chain.total / jnp.maximum(chain.k - burn_in, 1)
    after = total / jnp.maximum(k - burn_in, 1)
    # Nothing is averaged in the burn-in, which is no reason to stop.
    before, after = jnp.where(chain.k > burn_in, before, 0), jnp.where(used, after, mean)
    seen = Seen(before * of.product, after * of.product, of.data, of.data, jnp.ones(()))
    averaged = chain.precisions + jnp.where(used, precisions, 0)
    return Chain(precisions[0], precisions[1], total, averaged, k), seen


def _moments(
    of: Powers, noise: jax.Array, prior: jax.Array, variance: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Of r = |Y - H X|² and s = |D X|² for X of Eq. 27: means; variance, covariance and variance over these.

    At one frequency X = m + e with m = γ_n v H* Y, E|e|² = v = 1 / P, and so Y - H m = γ_x |D|² v Y. Of
    complex e, var |m + e|² = v² + 2 v |m|². A real one has twice that, and a pair that counts twice four
    times: 2 · count of both.
    """
    a, b = prior * of.penalty * variance, noise * of.gain * variance  # a + b = 1
    explained, rough = of.gain * variance, of.penalty * variance
    left, kept = of.data * jnp.square(a), of.data * b * noise * rough
    terms = jnp.stack(
        [
            left + explained,
            kept + rough,
            explained * (explained + 2 * left),
            rough * (explained - 2 * of.data * a * b),
            rough * (rough + 2 * kept),
        ]
    )
    r, s, *squares = jnp.sum(terms, range(1, terms.ndim - 1)) @ of.often
    means = jnp.maximum(jnp.stack([r, s]), jnp.finfo(terms.dtype).tiny)
    return means, 2 * jnp.stack(squares) / means[jnp.array([0, 0, 1])] / means[jnp.array([0, 1, 1])]


def _sums(normal: jax.Array, means: jax.Array, relative: jax.Array) -> jax.Array:
    """Two positive numbers of these moments, jointly log-normal."""
    # Moments of the logarithms; the covariance is above -1 by its meaning, but for rounding.
    first, both, second = jnp.log1p(jnp.maximum(relative, -0.5))
    deviations = jnp.sqrt(jnp.stack([first, second]))
    rho = both / jnp.maximum(deviations[0] * deviations[1], jnp.finfo(means.dtype).tiny)
    rho = jnp.clip(rho, -1, 1)
    white = jnp.stack([normal[0], rho * normal[0] + jnp.sqrt(1 - jnp.square(rho)) * normal[1]])
    return means * jnp.exp(deviations * white - jnp.square(deviations) / 2)
