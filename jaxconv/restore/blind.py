"""Blind deconvolution: the PSF is estimated too, by the same likelihood."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from . import frames as _frames
from .arrays import check_size, floating
from .iterate import Callback, Gradient, Options, Report, check_options, iterate
from .models import Blur, Boundary
from .progress import shown
from .richardson_lucy import floor_of, multiplicative, richardson_lucy
from .stopping import Rule, Seen
from .whittle import fit


class BlindRestored(NamedTuple):
    """A restored picture, the PSF that was found, and the report."""

    x: jax.Array
    psf: jax.Array
    report: Report


class State(NamedTuple):
    """The scene and the PSF."""

    x: jax.Array
    psf: jax.Array


def blind(
    y: ArrayLike,
    psf: ArrayLike,
    *,
    iterations: int = 30,
    scene_steps: int = 5,
    psf_steps: int = 1,
    background: ArrayLike = 0.0,
    weights: ArrayLike | None = None,
    stop: Rule | None = None,
    boundary: Boundary = "unknown",
    gradient: Gradient = "unrolled",
    callback: Callback | None = None,
    progress: bool = False,
) -> BlindRestored:
    """Blind Richardson-Lucy: scene and PSF by turns.

    The likelihood of counts y ~ Poisson(h * x + b) is the same in x and h, so each is improved by the update
    of `richardson_lucy` with the other one in the place of the PSF; h is scaled to sum to one and stays zero
    where it was. The first guess decides what is found: begin with one that is too wide rather than too
    narrow, and peaked rather than flat. Isolated bright points are what a PSF is best seen in; for a
    photograph, the PSF of one point explains the data too, and iterations tend to it: `semi_blind` does not.

    Args:
      y: data, one picture, of as many axes as the PSF; not negative.
      psf: first guess. Its size, and where it is not zero, is where the PSF may be; a flat one says only
        that.
      iterations: how many turns, or how many at most if there is a rule.
      scene_steps: updates of the scene in each turn. More lets it explain the data before the PSF does.
      psf_steps: updates of the PSF in each turn. 0 is `richardson_lucy`; more trusts the guess less.
      background: light that was not blurred, b, a number or one for each pixel.
      weights: w in [0, 1], for each pixel; 0 where there are no data, whatever y is there, NaN too.
      stop: rule that stops before; see `RelativeChange`, `Discrepancy`, `Whiteness`.
      boundary: what is outside of the frame, as in `Blur`.
      gradient: "unrolled" or "checkpoint", as in `richardson_lucy`.
      callback: called after each turn with its number, from 0, and the scene.
      progress: whether to show it.

    Returns:
      `BlindRestored(x, psf, report)`.

    Raises:
      ValueError: for a PSF that is negative or larger than the data, and arguments that do not fit.

    References:
      Fish et al.: Blind deconvolution by means of the Richardson-Lucy algorithm. J. Opt. Soc. Am. A 12
      (1995). doi:10.1364/JOSAA.12.000058.
      Ayers, Dainty: Iterative blind deconvolution method and its applications. Opt. Lett. 13 (1988).
      doi:10.1364/OL.13.000547.

    Example:
      >>> import jax.numpy as jnp
      >>> y = jnp.zeros(15).at[6:9].set(jnp.array([1.0, 2.0, 1.0])) + 0.01
      >>> x, psf, report = blind(y, jnp.ones(5) / 5, iterations=100, boundary="circular")
      >>> psf.shape, float(psf.sum())
      ((5,), 1.0)
    """
    for name, steps, least in (("scene_steps", scene_steps, 1), ("psf_steps", psf_steps, 0)):
        if not isinstance(steps, int) or steps < least:
            raise ValueError(f"{name}={steps!r} must be an integer, at least {least}.")
    check_options(iterations, gradient, stop)
    if hasattr(psf, "adjoint") or gradient == "implicit":
        raise ValueError("blind wants psf as an array, and gradient as 'unrolled' or 'checkpoint'.")
    given = _frames.problem(y, psf, layout="channels_first", light=True)
    if given.frames.lead:
        raise ValueError(f"y of shape {given.y.shape} is several pictures; use jax.vmap for them.")
    background = given.mapped(background, "background")
    given, weights = given.weighed(weights)
    with shown(iterations, callback, enabled=progress, traced=given.y) as callback:
        fixed = (boundary, scene_steps, psf_steps, Options(iterations, gradient, callback))
        x, found, k, history = _run(given.y, given.psf, background, weights, stop, fixed)
    return BlindRestored(x, found, Report("blind", iterations, k, history, stop))


@functools.partial(jax.jit, static_argnums=5)
def _run(
    y: jax.Array,
    psf: jax.Array,
    background: jax.Array,
    weights: jax.Array,
    rule: Rule | None,
    fixed: tuple[Any, ...],
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    boundary, scene_steps, psf_steps, options = fixed
    y = jnp.maximum(y, 0)
    floor = floor_of(y)

    def turn(state: State) -> tuple[State, Seen]:
        model = Blur(state.psf, y.shape, boundary=boundary)
        update = multiplicative(model, y, background, weights, model.adjoint(weights))
        x, predicted = update(state.x)
        first = predicted
        for _ in range(scene_steps - 1):
            x, _ = update(x)
        psf = state.psf
        for _ in range(psf_steps):
            predicted, pull = jax.vjp(lambda h: Blur(h, y.shape, boundary=boundary)(x), psf)
            [ahead] = pull(weights * y / jnp.maximum(predicted + background, floor))
            [all_] = pull(weights)
            psf = psf * jnp.maximum(ahead, 0) / jnp.maximum(all_, floor)
            psf = psf / jnp.maximum(jnp.sum(psf), jnp.finfo(psf.dtype).tiny)
        return State(x, psf), Seen(state.x, x, y, first, weights)

    psf = psf / jnp.sum(psf)
    model = Blur(psf, y.shape, boundary=boundary)
    start = _frames.flat(y - background, weights, model.adjoint(weights))
    state, k, history = iterate(turn, State(start, psf), options, rule)
    return model.crop(state.x), state.psf, k, history


def semi_blind(
    y: ArrayLike,
    family: Callable[[Any], jax.Array],
    params: Any,
    *,
    fit_steps: int = 30,
    **options: Any,
) -> BlindRestored:
    """Richardson-Lucy with a PSF of a known family: its parameters are fitted to the data first.

    The fit is by the likelihood of the parameters alone, with the scene integrated out: for a scene of power
    spectrum s |f|^-a, as photographs have, and white noise of variance ν, the spectrum of y has the variance

        P(f) = |H(f; params)|² s |f|^-a + ν        minimise Σ_f log P + |Y|² / P  (Whittle)

    over params, s, a and ν. To maximise over the scene too, as `blind` does, would prefer a PSF of one point,
    which explains any data.

    Args:
      y: data, one picture; not negative.
      family: differentiable function from the parameters to a PSF, as `lambda s: psf.gaussian(s, shape=(15,
        15))`. Pass the same function object each time, or it is compiled again.
      params: first guess, an array or a pytree of arrays; not zero. Within a fifth of the truth for PSFs
        whose spectrum has zeros, as those of motion and defocus, which have many maxima of the likelihood;
        smooth ones come from further.
      fit_steps: of the scoring; 30 are more than enough, if the guess was near.
      options: of `richardson_lucy`.

    Returns:
      `BlindRestored(x, psf, report)`; the report has the parameters as `params`, and √ν as `noise`.

    Raises:
      ValueError: for a PSF larger than the data, and arguments that do not fit.

    References:
      Levin et al.: Efficient marginal likelihood optimization in blind deconvolution. CVPR 2011.
      doi:10.1109/CVPR.2011.5995308. Whittle: Estimation and information in stationary time series. Ark. Mat.
      2 (1953). doi:10.1007/BF02590998.

    Example:
      >>> import jax
      >>> from jaxconv import restore
      >>> scene = jnp.cumsum(jnp.cumsum(jax.random.normal(jax.random.key(0), (64, 64)), 0), 1)
      >>> family = lambda s: restore.psf.gaussian(s, shape=(13, 13))
      >>> y = restore.blur(scene - scene.min(), family(1.6))
      >>> y = restore.noise.gaussian(jax.random.key(1), y, sigma=0.01)
      >>> x, psf, report = restore.semi_blind(y, family, 1.0, iterations=10)
      >>> psf.shape, float(report.chosen["params"])
      ((13, 13), 1.6)
    """
    if not isinstance(fit_steps, int) or fit_steps < 1:
        raise ValueError(f"fit_steps={fit_steps!r} must be a positive integer.")
    data = floating(y, "y")
    params = jax.tree.map(lambda p: floating(p, "params").astype(data.dtype), params)
    check_size(jax.eval_shape(family, params).shape, data.shape)
    params, spectra = _fit(data, params, family, fit_steps)
    psf = family(params)
    x, report = richardson_lucy(data, psf, **options)
    chosen = {"params": params, "noise": spectra.noise}
    return BlindRestored(x, psf, dataclasses.replace(report, method="semi_blind", chosen=chosen, why=_WHY))


_fit = jax.jit(fit, static_argnums=(2, 3))
_WHY = "Whittle's likelihood"
