"""Least squares with a prior that need not be smooth: the proximal gradient method, accelerated (FISTA)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..typing import Layout
from . import frames as _frames
from .arrays import check_option
from .choose import noise_level
from .iterate import Callback, Gradient, Options, Report, Restored, check_options, iterate
from .models import Boundary, Model
from .progress import shown
from .stopping import Rule, Seen
from .variation import divergence, gradient

# Of the noise's standard deviation, where no weight is given: what leaves a little of it, and the texture.
_OF_NOISE = 0.15

Denoiser = Callable[[jax.Array, jax.Array], jax.Array]


class State(NamedTuple):
    """The estimate, the one before, the momentum's t, and the dual variable of total variation."""

    x: jax.Array
    last: jax.Array
    t: jax.Array
    dual: jax.Array | None


def fista(
    y: ArrayLike,
    psf: ArrayLike | Model,
    weight: float | ArrayLike | None = None,
    *,
    denoiser: Denoiser | None = None,
    inner: int = 5,
    positive: bool = True,
    accelerate: bool = True,
    iterations: int = 100,
    start: ArrayLike | None = None,
    background: ArrayLike = 0.0,
    weights: ArrayLike | None = None,
    lipschitz: float | ArrayLike | None = None,
    stop: Rule | None = None,
    boundary: Boundary = "unknown",
    gradient: Gradient = "unrolled",
    callback: Callback | None = None,
    progress: bool = False,
    layout: Layout = "channels_last",
) -> Restored:
    """Least squares with total variation, or with any denoiser in its place.

        x = argmin ½ Σ w (y - Hx - b)² + weight Σ |∇x|,   x >= 0

    Each iteration takes a step down the data term, and denoises:

        v = z - (1/L) Hᵀ w (Hz + b - y)        x' = prox(v, weight / L)
        z' = x' + (t - 1)/t' (x' - x)          t' = (1 + √(1 + 4t²)) / 2

    The prox of total variation is found by `inner` steps on its dual, which goes on from one iteration to the
    next.

    Args:
      y: data, (*spatial), (..., *spatial, C), or with channels_first (..., *spatial).
      psf: array of as many axes as space has, or a model such as `Blur` or `Downsample`.
      weight: of the prior. More is flatter. None is 0.15 of the noise's standard deviation as `noise_level`
        estimates it, for each picture: near the best for total variation on all photographs that we tried.
      denoiser: function (v, strength) that denoises one picture, strength = weight / L; None is total
        variation. Pass the same function object each time, or it is compiled again.
      inner: dual steps for total variation in each iteration. More costs more, and is more exact.
      positive: whether x is kept from being negative.
      accelerate: whether there is momentum. With a denoiser that is no prox, there had better not be.
      iterations: how many, or how many at most if there is a rule.
      start: number, or scene; None is flat, with the data's mean.
      background: light that was not blurred, b, a number or one for each pixel.
      weights: w, for each pixel; 0 where there are no data, whatever y is there, NaN too; else 1 / variance
        up to a factor.
      lipschitz: L, at least the square of the largest singular value of √w H; None bounds it for PSFs that
        are not negative.
      stop: rule that stops before; see `RelativeChange`, `Discrepancy`, `Whiteness`.
      boundary: what is outside of the frame, as in `Blur`. "unknown" estimates what was seen of it.
      gradient: how reverse mode goes through the iterations: "unrolled" keeps them all; "checkpoint" keeps
        2 √iterations of them; "implicit" keeps none, and is right where they have converged.
      callback: called after each iteration with its number, from 0, and the estimate, for each picture.
      progress: whether to show it.
      layout: where channels are, if y has more axes than space.

    Returns:
      `Restored(x, report)`, x in the layout of y; the report has the weight, if it was chosen.

    Raises:
      ValueError: for a PSF larger than the data, one with negative values and no lipschitz, and arguments
        that do not fit.

    References:
      Beck, Teboulle: Fast gradient-based algorithms for constrained total variation image denoising and
      deblurring problems. IEEE Trans. Image Process. 18 (2009). doi:10.1109/TIP.2009.2028250.
      Venkatakrishnan, Bouman, Wohlberg: Plug-and-play priors for model based reconstruction. GlobalSIP
      (2013). doi:10.1109/GlobalSIP.2013.6737048.

    Example:
      >>> import jax.numpy as jnp
      >>> y = jnp.array([0.0, 0.25, 0.75, 1.0, 1.0])
      >>> x, report = fista(y, jnp.array([0.25, 0.5, 0.25]), 1e-3, iterations=300, boundary="reflect")
      >>> x.round(1).tolist()
      [0.0, 0.0, 1.0, 1.0, 1.0]
    """
    check_options(iterations, gradient, stop)
    if not isinstance(inner, int) or inner < 1:
        raise ValueError(f"inner={inner!r} must be a positive integer.")
    given = _frames.problem(y, psf, layout=layout, light=lipschitz is None)
    background = given.mapped(background, "background")
    given, weights = given.weighed(weights)
    model = _frames.model_of(given.psf, given.shape, boundary)
    start = given.scene(start, "start", model.domain)
    if denoiser is None:
        check_option(weight, "weight", model.domain)
    check_option(lipschitz, "lipschitz")
    strength, chosen = _strength(weight, given)
    with shown(iterations, callback, enabled=progress, traced=given.y) as callback:
        options = Options(iterations, gradient, callback)
        terms = Terms(model, lipschitz, stop)
        fixed = Fixed(denoiser, inner, positive, accelerate, given.frames)
        x, k, history = _run(terms, (given.y, background, weights, start, strength), fixed, options)
    report = Report("fista", iterations, k, history, stop, *chosen)
    return Restored(given.frames.leave(x, given.rank), report)


def _strength(weight: Any, given: _frames.Problem) -> tuple[jax.Array, tuple[Any, ...]]:
    """For each picture the weight, and what the report says of it."""
    if weight is None:
        weight = _OF_NOISE * noise_level(given.y, rank=given.rank)
        return weight, ({"weight": weight}, "the level of the noise")
    weight = jnp.asarray(weight, given.y.dtype)
    return jnp.broadcast_to(weight, (*given.y.shape[: given.y.ndim - given.rank], *weight.shape)), ()


class Terms(NamedTuple):
    """What is the same for all pictures."""

    model: Any
    lipschitz: Any
    rule: Rule | None


class Fixed(NamedTuple):
    """What is known when it is compiled."""

    denoiser: Denoiser | None
    inner: int
    positive: bool
    accelerate: bool
    frames: _frames.Frames


@functools.partial(jax.jit, static_argnums=(2, 3))
def _run(
    terms: Terms, arrays: tuple[Any, ...], fixed: Fixed, options: Options
) -> tuple[jax.Array, jax.Array, jax.Array]:
    model = terms.model

    def one(
        y: jax.Array, background: jax.Array, weights: jax.Array, x: jax.Array | None, strength: jax.Array
    ) -> Any:
        limit = bound(model, weights) if terms.lipschitz is None else terms.lipschitz

        def descend(z: jax.Array) -> tuple[jax.Array, jax.Array]:
            predicted = model(z) + background
            return z - model.adjoint(weights * (predicted - y)) / limit, predicted

        if x is None:
            x = _frames.flat(y - background, weights, model.adjoint(weights))
        dual = jnp.zeros((x.ndim, *x.shape), x.dtype) if fixed.denoiser is None else None
        prox = functools.partial(_prox, fixed, strength / limit)
        # The momentum's t grows without end: an implicit gradient is that of a step without momentum, which
        # has the same fixed point.
        accelerate = fixed.accelerate and options.gradient != "implicit"
        step = functools.partial(_step, descend, prox, accelerate, y, weights)
        state, k, history = iterate(step, State(x, x, jnp.ones((), x.dtype), dual), options, terms.rule)
        return model.crop(state.x), k, history

    return fixed.frames.each(one)(*arrays)


def bound(model: Model, weights: jax.Array) -> jax.Array:
    """|√w H|² is no more than the largest row sum of H times the largest column sum of wH (Schur)."""
    rows = model(jnp.ones(model.domain, weights.dtype))
    columns = model.adjoint(weights)
    return jnp.maximum(jnp.max(rows) * jnp.max(columns), jnp.finfo(weights.dtype).tiny)


def _step(
    descend: Any, prox: Any, accelerate: bool, y: jax.Array, weights: jax.Array, state: State
) -> tuple[State, Seen]:
    t = (1 + jnp.sqrt(1 + 4 * jnp.square(state.t))) / 2 if accelerate else state.t
    z = state.x + (state.t - 1) / t * (state.x - state.last) if accelerate else state.x
    v, predicted = descend(z)
    x, dual = prox(v, state.dual)
    # Without momentum nothing depends on the estimate before: the state's own fixed point is that of x.
    return State(x, state.x if accelerate else x, t, dual), Seen(state.x, x, y, predicted, weights)


def _prox(
    fixed: Fixed, strength: jax.Array, v: jax.Array, dual: jax.Array | None
) -> tuple[jax.Array, jax.Array | None]:
    if dual is None:
        x = fixed.denoiser(v, strength)  # pyright: ignore[reportOptionalCall]
        return (jnp.maximum(x, 0) if fixed.positive else x), None
    return denoise_tv(v, strength, dual, steps=fixed.inner, positive=fixed.positive)


def denoise_tv(
    v: jax.Array, strength: jax.Array, dual: jax.Array, *, steps: int, positive: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Gradient projection on the dual of isotropic total variation, from a dual variable that is given.

        x = argmin ½ |x - v|² + strength Σ |∇x| = P(v + strength div p)   with |p| <= 1

    Args:
      v: picture to denoise.
      strength: of the total variation.
      dual: p to start with, (rank, *spatial).
      steps: how many.
      positive: whether x is to be at least zero, which is what P then does.

    Returns:
      x and p.
    """
    # |∇|² <= 4 rank. Written for q = strength p, |q| <= strength: zero is no special case, but for the root's
    # derivative, which `least` keeps finite.
    size, least = 1 / (4 * v.ndim), jnp.finfo(v.dtype).tiny
    project = (lambda x: jnp.maximum(x, 0)) if positive else (lambda x: x)

    def once(_: int, q: jax.Array) -> jax.Array:
        q = q + size * gradient(project(v + divergence(q)))
        most = jnp.maximum(jnp.square(strength), least)
        return q * (strength / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(q), axis=0), most)))

    q = jax.lax.fori_loop(0, steps, once, dual)
    return project(v + divergence(q)), q
