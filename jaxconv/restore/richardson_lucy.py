"""Richardson-Lucy: the maximum likelihood of counts, one multiplication at a time."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..typing import Layout
from . import frames as _frames
from .arrays import check_option, check_positive
from .iterate import Callback, Gradient, Options, Report, Restored, check_options, iterate
from .models import Boundary, Model
from .progress import shown
from .stopping import Rule, Seen
from .variation import curvature

# White's exponent: how abruptly the damping sets in.
_ABRUPT = 10
# Pixels of the scene of which less than this share of their light was seen keep their starting value.
_UNSEEN = 1e-3


class State(NamedTuple):
    """Of the iteration; the last three are those of the acceleration."""

    x: jax.Array
    last: jax.Array
    step: jax.Array
    alpha: jax.Array


def richardson_lucy(
    y: ArrayLike,
    psf: ArrayLike | Model,
    *,
    iterations: int = 50,
    start: ArrayLike | None = None,
    background: ArrayLike = 0.0,
    weights: ArrayLike | None = None,
    damping: float | ArrayLike | None = None,
    tv: float | ArrayLike | None = None,
    accelerate: bool = False,
    stop: Rule | None = None,
    boundary: Boundary = "unknown",
    gradient: Gradient = "unrolled",
    callback: Callback | None = None,
    progress: bool = False,
    layout: Layout = "channels_last",
) -> Restored:
    """Richardson-Lucy deconvolution: the maximum-likelihood scene for Poisson noise.

    For counts y ~ Poisson(Hx + b) with a PSF that is not negative, each iteration

        x <- x / (Hᵀw) · Hᵀ( w y / (Hx + b) )                                            # Eq. 1

    raises the likelihood, keeps x from being negative, and, where all light stays in the frame, its sum equal
    to that of y - b. Smooth structures come first and noise last: the number of iterations regularises.

    Differs from scikit-image: it starts with a flat scene of the data's mean, not of 0.5; divides by Hᵀw, so
    that borders are not dark; mirrors the PSF about its centre n // 2 for even sizes too; and does not clip.

    Args:
      y: data, (*spatial), (..., *spatial, C), or with channels_first (..., *spatial); not negative. Integers
        keep their scale.
      psf: array of as many axes as space has, or a model such as `Blur` or `Downsample`.
      iterations: how many, or how many at most if there is a rule. More are sharper and noisier.
      start: number, or scene; None is the mean of y - background.
      background: light that was not blurred, b, a number or one for each pixel. More is darker ground.
      weights: w in [0, 1], for each pixel; 0 where there are no data, as at saturated or dead pixels,
        whatever y is there, NaN too.
      damping: T of White: differences below T standard deviations of the Poisson noise are not followed.
        Positive; more is smoother in even areas. Wants y in counts.
      tv: λ of Dey, the strength of total variation, 0.002 to 0.05; more is flatter. Eq. 1 is divided by
        1 - λ div(∇x / |∇x|).
      accelerate: extrapolate along the last change (Biggs, Andrews). As many iterations do the work of
        several times their number.
      stop: rule that stops before; see `RelativeChange`, `Discrepancy`, `Whiteness`.
      boundary: what is outside of the frame, as in `Blur`. "unknown" estimates what was seen of it.
      gradient: how reverse mode goes through the iterations: "unrolled" keeps them all; "checkpoint" keeps
        2 √iterations of them; "implicit" keeps none, and is right at a fixed point only.
      callback: called after each iteration with its number, from 0, and the estimate, for each picture.
      progress: whether to show it.
      layout: where channels are, if y has more axes than space.

    Returns:
      `Restored(x, report)`, x in the layout of y.

    Raises:
      ValueError: for a PSF that is negative or larger than the data, and arguments that do not fit.

    References:
      Richardson: Bayesian-based iterative method of image restoration. J. Opt. Soc. Am. 62 (1972).
      doi:10.1364/JOSA.62.000055. Lucy: An iterative technique for the rectification of observed
      distributions. Astron. J. 79 (1974). doi:10.1086/111605.
      White: Image restoration using the damped Richardson-Lucy method. Proc. SPIE 2198 (1994).
      doi:10.1117/12.176819.
      Dey et al.: Richardson-Lucy algorithm with total variation regularization for 3D confocal microscope
      deconvolution. Microsc. Res. Tech. 69 (2006). doi:10.1002/jemt.20294.
      Biggs, Andrews: Acceleration of iterative image restoration algorithms. Appl. Opt. 36 (1997).
      doi:10.1364/AO.36.001766.
      Bertero, Boccacci: A simple method for the reduction of boundary effects in the Richardson-Lucy approach
      to image deconvolution. Astron. Astrophys. 437 (2005). doi:10.1051/0004-6361:20052717.

    Example:
      >>> import jax.numpy as jnp
      >>> psf = jnp.array([0.25, 0.5, 0.25])
      >>> x, report = richardson_lucy([0, 0, 1, 2, 1, 0, 0], psf, iterations=100, boundary="zeros")
      >>> x.round(1).tolist()
      [0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0]
      >>> print(report)
      richardson_lucy: 100 of 100 iterations: a fixed number.
    """
    check_options(iterations, gradient, stop)
    given = _frames.problem(y, psf, layout=layout, light=True)
    background = given.mapped(background, "background")
    given, weights = given.weighed(weights)
    model = _frames.model_of(given.psf, given.shape, boundary)
    start = given.scene(start, "start", model.domain)
    check_option(damping, "damping", given.shape)
    check_option(tv, "tv", model.domain)
    if damping is not None:
        check_positive(damping, "damping")
    with shown(iterations, callback, enabled=progress, traced=given.y) as callback:
        options = Options(iterations, gradient, callback)
        terms = Terms(model, damping, tv, stop)
        arrays = (given.y, background, weights, start)
        x, k, history = _run(terms, arrays, given.frames, options, accelerate)
    return Restored(
        given.frames.leave(x, given.rank), Report("richardson_lucy", iterations, k, history, stop)
    )


class Terms(NamedTuple):
    """What is the same for all pictures."""

    model: Any
    damping: Any
    tv: Any
    rule: Rule | None


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _run(
    terms: Terms,
    arrays: tuple[Any, ...],
    frames: _frames.Frames,
    options: Options,
    accelerate: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    model = terms.model

    def one(y: jax.Array, background: jax.Array, weights: jax.Array, x: jax.Array | None) -> Any:
        y = jnp.maximum(y, 0)
        sensitivity = model.adjoint(weights)  # Hᵀw
        if x is None:
            x = _frames.flat(y - background, weights, sensitivity)
        update = multiplicative(model, y, background, weights, sensitivity, terms.damping, terms.tv)
        state = State(x, x, jnp.zeros_like(x), jnp.zeros((), x.dtype))
        step = functools.partial(_step, update, y, weights, accelerate)
        state, k, history = iterate(step, state, options, terms.rule)
        return model.crop(state.x), k, history

    return frames.each(one)(*arrays)


def multiplicative(
    model: Model,
    y: jax.Array,
    background: jax.Array,
    weights: jax.Array,
    sensitivity: jax.Array,
    damping: Any = None,
    tv: Any = None,
) -> Any:
    """The function from x to the x of Eq. 1 and to Hx + b."""
    seen = sensitivity > _UNSEEN * jnp.max(sensitivity)
    scale = jnp.where(seen, 1 / jnp.where(seen, sensitivity, 1), 0)
    floor = floor_of(y)

    def update(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        predicted = model(x) + background
        safe = jnp.maximum(predicted, floor)
        ratio = y / safe if damping is None else damped(y, safe, damping)
        new = x * jnp.where(seen, jnp.maximum(model.adjoint(weights * ratio), 0) * scale, 1)
        if tv is not None:
            new = new / jnp.maximum(1 - tv * curvature(x), 0.1)
        return new, predicted

    return update


def floor_of(y: jax.Array) -> jax.Array:
    """What rounding leaves of a zero: a transform's error is relative to the brightest pixel."""
    brightest, kind = jnp.max(y), jnp.finfo(y.dtype)
    return jnp.maximum(kind.eps * jnp.where(brightest > 0, brightest, 1), kind.tiny)


def damped(y: jax.Array, predicted: jax.Array, damping: Any) -> jax.Array:
    """White's ratio: 1 where the prediction is within the noise, y / predicted far from it."""
    logarithm = jnp.log(predicted) - jnp.log(jnp.where(y > 0, y, 1))
    u = -2 / jnp.square(damping) * (y * logarithm - predicted + y)
    u = jnp.clip(u, 0, 1)
    return 1 + u ** (_ABRUPT - 1) * (_ABRUPT - (_ABRUPT - 1) * u) * (y - predicted) / predicted


def _step(
    update: Any, y: jax.Array, weights: jax.Array, accelerate: bool, state: State
) -> tuple[State, Seen]:
    if not accelerate:
        x, predicted = update(state.x)
        return state._replace(x=x), Seen(state.x, x, y, predicted, weights)
    from_ = jnp.maximum(state.x + state.alpha * (state.x - state.last), 0)
    x, predicted = update(from_)
    step = x - from_
    along, before = jnp.sum(step * state.step), jnp.sum(jnp.square(state.step))
    alpha = jnp.clip(jnp.where(before > 0, along / jnp.where(before > 0, before, 1), 0), 0, 1)
    return State(x, state.x, step, alpha), Seen(state.x, x, y, predicted, weights)
