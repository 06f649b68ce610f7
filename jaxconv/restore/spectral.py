"""One-step restoration: division by the transfer function, with what keeps it from dividing by nothing.

All of these take y = h * x + n on a periodic grid, where convolution is a product, Y = H X + N; the picture
is continued to be periodic first.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from ..typing import Layout
from . import choose, extend
from . import frames as _frames
from .arrays import check_option, floating
from .iterate import Report, Restored
from .spectrum import Operator, frequencies, multiplicity, otf, penalties, power, squares
from .whittle import fit

_WHY = {"gcv": "generalised cross-validation", "discrepancy": "the discrepancy principle"}
# Of the scoring that fits the spectrum of a photograph; it has converged long before.
_FIT_STEPS = 15
# Over √n, by how much a degree of freedom is dearer than in generalised cross-validation. On 12x12 pixels the
# worst error of 20 pictures falls from 2.6 to 1.4 times the least possible; on 128x128 nothing changes.
_DEAR = 3


class Periodic(NamedTuple):
    """A picture, its continuation, the half spectrum of that, and the transfer function."""

    y: jax.Array
    whole: jax.Array
    spectrum: jax.Array
    transfer: jax.Array


def inverse(
    y: ArrayLike,
    psf: ArrayLike,
    *,
    threshold: float | ArrayLike = 1e-2,
    boundary: extend.Extension = "liu_jia",
    layout: Layout = "channels_last",
) -> Restored:
    """Inverse filter: divides where that is safe, and gives up the other frequencies.

        X = Y / H where |H| > threshold · max|H|, else 0

    Args:
      y: data, (*spatial), (..., *spatial, C), or with channels_first (..., *spatial).
      psf: of as many axes as space has.
      threshold: relative to the largest |H|. More is smoother; less amplifies noise by up to 1 / threshold.
      boundary: how the picture is continued: "liu_jia", "reflect", "taper", or "circular" for one that is
        periodic.
      layout: where channels are, if y has more axes than space.

    Returns:
      `Restored(x, report)`.

    Raises:
      ValueError: for a PSF larger than the data, and arguments that do not fit.

    References:
      Gonzalez, Woods: Digital Image Processing, 5.7.

    Example:
      >>> import jax.numpy as jnp
      >>> x, report = inverse([3.0, 6.0, 5.0], [0.5, 0.5, 0.0], boundary="circular")
      >>> x.round(3).tolist()
      [2.0, 4.0, 8.0]
    """
    return _solved("inverse", _inverse, (), y, psf, threshold, boundary, layout)


def _inverse(of: Periodic, threshold: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
    size = jnp.abs(of.transfer)
    keep = size > threshold * jnp.max(size)
    return jnp.where(keep, of.spectrum / jnp.where(keep, of.transfer, 1), 0), {}


def wiener(
    y: ArrayLike,
    psf: ArrayLike,
    balance: float | ArrayLike | Callable[[jax.Array], jax.Array] | None = None,
    *,
    noise: float | ArrayLike | None = None,
    boundary: extend.Extension = "liu_jia",
    layout: Layout = "channels_last",
) -> Restored:
    """Wiener filter: the linear estimate with the least mean squared error.

        X = H* Y / (|H|² + B)        B = S_n / S_x

    for noise and scene of power spectra S_n and S_x. scikit-image's `wiener` is this with B = balance |D|², D
    the Laplacian: `tikhonov` here.

    Args:
      y: data, (*spatial), (..., *spatial, C), or with channels_first (..., *spatial).
      psf: of as many axes as space has; values may be negative.
      balance: B. More is smoother. A number; a function of the frequencies (rank, ...) in cycles per pixel;
        or, with "circular", an array of the shape of `jnp.fft.rfftn` of a picture. None takes white noise and
        a scene of spectrum S_x = s |f|^-a, as photographs have, with s and a by Whittle's likelihood.
      noise: standard deviation of the noise, for a balance of None. More is smoother. None estimates it too.
      boundary: how the picture is continued: "liu_jia", "reflect", "taper", or "circular" for one that is
        periodic.
      layout: where channels are, if y has more axes than space.

    Returns:
      `Restored(x, report)`; the report has the noise and the slope a, if they were chosen.

    Raises:
      ValueError: for a PSF larger than the data, and arguments that do not fit.

    References:
      Wiener: Extrapolation, Interpolation, and Smoothing of Stationary Time Series. MIT Press (1949).
      Field: Relations between the statistics of natural images and the response properties of cortical cells.
      J. Opt. Soc. Am. A 4 (1987). doi:10.1364/JOSAA.4.002379.

    Example:
      >>> import jax.numpy as jnp
      >>> x, report = wiener([3.0, 6.0, 5.0], [0.5, 0.5, 0.0], 0.0, boundary="circular")
      >>> x.round(3).tolist()
      [2.0, 4.0, 8.0]
    """
    check_option(noise, "noise")
    if balance is None:
        params = (floating(psf, "psf"), noise)
        x, report = _solved("wiener", _wiener_of_photographs, (), y, psf, params, boundary, layout)
        return Restored(x, dataclasses.replace(report, why="Whittle's likelihood"))
    return _solved("wiener", _wiener, (), y, psf, balance, boundary, layout)


def _wiener(of: Periodic, balance: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
    balance = jnp.asarray(balance, of.y.dtype)
    if balance.ndim and balance.shape != of.spectrum.shape:
        raise ValueError(
            f"balance has shape {balance.shape}; wanted a number, or {of.spectrum.shape} as rfftn's."
        )
    return _regularised(of, balance), {}


def _wiener_of_photographs(of: Periodic, params: Any) -> tuple[jax.Array, dict[str, Any]]:
    psf, noise = params
    _, spectra = fit(of.y, (), lambda _: psf, _FIT_STEPS)
    noise = spectra.noise if noise is None else noise
    far = squares(of.whole.shape)
    # Of a picture without a spectrum, as a constant one, the fit says nothing; its mean is kept all the same.
    rise = jnp.where(far > 0, far, 1) ** (jnp.clip(spectra.slope, 0, 8) / 2)
    balance = jnp.nan_to_num(jnp.square(noise) / spectra.scale * rise, nan=1.0)
    balance = jnp.where(far > 0, balance, 0)
    return _regularised(of, balance), {"noise": noise, "slope": spectra.slope}


def tikhonov(
    y: ArrayLike,
    psf: ArrayLike,
    weight: float | ArrayLike | None = None,
    *,
    operator: Operator | ArrayLike = "laplacian",
    rule: choose.Choice = "gcv",
    noise: float | ArrayLike | None = None,
    boundary: extend.Extension = "liu_jia",
    layout: Layout = "channels_last",
) -> Restored:
    """Tikhonov regularisation, also known as constrained least squares and as the Wiener-Hunt filter.

        x = argmin |y - h * x|² + weight |d * x|²        X = H* Y / (|H|² + weight |D|²)

    scikit-image's `wiener(y, psf, balance)` is this with weight = balance, boundary "circular", and clipping.

    Args:
      y: data, (*spatial), (..., *spatial, C), or with channels_first (..., *spatial).
      psf: of as many axes as space has; values may be negative.
      weight: more is smoother. None has it chosen by the rule.
      operator: d, what should be small: "laplacian" (curvature), "gradient" (slopes), "identity" (values), or
        an impulse response of as many axes as space has.
      rule: "gcv", generalised cross-validation, the weight that best predicts each datum from the others,
        where a degree of freedom costs 1 + 3/√n for n pixels, so that small pictures are safe too; or
        "discrepancy", the largest that leaves no more than the noise: |y - h * x|² = n noise².
      noise: standard deviation for "discrepancy". None estimates it.
      boundary: how the picture is continued: "liu_jia", "reflect", "taper", or "circular" for one that is
        periodic.
      layout: where channels are, if y has more axes than space.

    Returns:
      `Restored(x, report)`; the report has the weight, and the noise it came from.

    Raises:
      ValueError: for a PSF larger than the data, and arguments that do not fit.

    References:
      Hunt: The application of constrained least squares estimation to image restoration by digital computer.
      IEEE Trans. Comput. C-22 (1973). doi:10.1109/TC.1973.5009169.
      Golub, Heath, Wahba: Generalized cross-validation as a method for choosing a good ridge parameter.
      Technometrics 21 (1979). doi:10.1080/00401706.1979.10489751.
      Cummins, Filloon, Nychka: Confidence intervals for nonparametric curve estimates. J. Am. Stat. Assoc. 96
      (2001). doi:10.1198/016214501750332811 (dearer degrees of freedom).

    Example:
      >>> import jax.numpy as jnp
      >>> x, report = tikhonov([0.0, 1.0, 2.0, 1.0, 0.0], [0.25, 0.5, 0.25], 0.01, boundary="circular")
      >>> x.round(2).tolist()
      [-0.41, 1.19, 2.44, 1.19, -0.41]
    """
    if rule not in get_args(choose.Choice):
        raise ValueError(f"rule={rule!r} is not known; use one of {', '.join(get_args(choose.Choice))}.")
    if isinstance(operator, str) and operator not in get_args(Operator):
        raise ValueError(
            f"operator={operator!r} is not known; use one of {', '.join(get_args(Operator))}, or an array."
        )
    check_option(weight, "weight")
    check_option(noise, "noise")
    named = operator if isinstance(operator, str) else None
    given = None if named else floating(operator, "operator")
    params = (weight, given, noise)
    x, report = _solved("tikhonov", _tikhonov, (named, rule), y, psf, params, boundary, layout)
    why = "" if weight is not None else _WHY[rule]
    return Restored(x, dataclasses.replace(report, why=why))


def _tikhonov(
    of: Periodic, params: Any, operator: Operator | None, rule: str
) -> tuple[jax.Array, dict[str, Any]]:
    weight, given, noise = params
    sizes = of.whole.shape
    if operator is None and (given.ndim != len(sizes) or np.any(np.greater(given.shape, sizes))):
        raise ValueError(
            f"operator has shape {given.shape}; wanted {len(sizes)} axes, none longer than those of the "
            f"continued picture, {sizes}."
        )
    penalty = penalties(sizes, operator) if operator else power(otf(given.astype(of.y.dtype), sizes))
    if weight is not None:
        return _regularised(of, weight * penalty), {}
    count, gain = multiplicity(sizes), power(of.transfer)
    seen = count * power(of.spectrum)
    chosen: dict[str, Any] = {}

    def kept(weight: jax.Array) -> jax.Array:
        """1 - A, of the influence A = |H|² / (|H|² + weight |D|²)."""
        total = gain + weight * penalty
        return jnp.where(total > 0, weight * penalty / jnp.where(total > 0, total, 1), 0)

    if rule == "gcv":
        # By itself it follows the noise of a small picture now and then, and this keeps it from that.
        dear = 1 + _DEAR / math.sqrt(of.y.size)

        def score(weight: jax.Array) -> jax.Array:
            left = of.whole.size - dear * (of.whole.size - jnp.sum(count * kept(weight)))
            errors = jnp.sum(seen * jnp.square(kept(weight)))
            return jnp.where(left > 0, errors / jnp.square(jnp.where(left > 0, left, 1)), jnp.inf)

        weight = choose.smallest(score)
    else:
        chosen["noise"] = noise = choose.noise_level(of.y) if noise is None else noise
        # Parseval: Σ|Y|² = N Σ|y|² for N positions; the picture has y.size, and the rest is no data.
        goal = float(of.whole.size * of.y.size) * jnp.square(noise)
        weight = choose.crossing(lambda w: jnp.sum(seen * jnp.square(kept(w))) - goal)
    return _regularised(of, weight * penalty), chosen | {"weight": weight}


def _regularised(of: Periodic, balance: jax.Array) -> jax.Array:
    total = power(of.transfer) + balance
    share = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
    return jnp.conj(of.transfer) * of.spectrum * share


def _solved(
    name: str,
    solver: Callable[..., Any],
    static: tuple[Any, ...],
    y: Any,
    psf: Any,
    params: Any,
    boundary: extend.Extension,
    layout: str,
) -> Restored:
    """What the methods have in common: checks before, the report after."""
    extend.check(boundary)
    if hasattr(psf, "adjoint"):
        raise ValueError("psf is a model; this method divides by a spectrum and wants an array.")
    given = _frames.problem(y, psf, layout=layout)
    if callable(params):
        params = params(frequencies(extend.grid(given.shape, given.psf.shape, boundary)))
    x, chosen = _run(solver, static, given.y, given.psf, params, boundary, given.frames)
    return Restored(given.frames.leave(x, given.rank), Report(name, chosen=chosen))


@functools.partial(jax.jit, static_argnums=(0, 1, 5, 6))
def _run(
    solver: Callable[..., Any],
    static: tuple[Any, ...],
    y: jax.Array,
    psf: jax.Array,
    params: Any,
    boundary: extend.Extension,
    frames: _frames.Frames,
) -> Any:
    transfer = otf(psf, extend.grid(y.shape[y.ndim - psf.ndim :], psf.shape, boundary))

    def one(y: jax.Array) -> Any:
        whole = extend.extend(y, psf, boundary)
        spectrum, chosen = solver(Periodic(y, whole, jnp.fft.rfftn(whole), transfer), params, *static)
        x = jnp.fft.irfftn(spectrum, whole.shape)
        return lax.slice(x, [0] * x.ndim, y.shape), chosen

    return frames.each(one)(y)
