"""Point spread functions: what one bright point of the scene becomes in the picture.

A PSF is an array of as many dimensions as space has. Its centre is the position `n // 2` of each axis, for
odd and even n, and it is convolved: light at t goes to t + j - n // 2, in the amount psf[j]. All of these are
differentiable in their real parameters, given a `shape`; without one, they choose an odd size that holds
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .arrays import check_positive, check_size, check_values, floating, known

_FIRST_ZERO = 3.8317059702  # of the Bessel function J1
_NODES = 256  # of the integral for J1, which they give to rounding up to arguments of 400 and not beyond 500
_FAR = 200  # arguments of J1 from which two terms of its expansion for large ones are right to 1e-5


def gaussian(sigma: float | ArrayLike, *, shape: Sequence[int] | None = None, rank: int = 2) -> jax.Array:
    """Gaussian blur, as of turbulence or a defocused lens far from its edge.

        psf[j] ∝ exp(-Σ_a (j_a - c_a)² / 2 sigma_a²)

    Args:
      sigma: standard deviation in pixels, one for all axes or one for each. More is blurrier.
      shape: size; None is 2 ceil(4 sigma) + 1, beyond which lies less than 1e-4 of it.
      rank: number of axes, where neither shape nor a sigma for each axis says it.

    Returns:
      The PSF; it sums to one.

    Raises:
      ValueError: for a sigma that is not positive, or a shape that does not fit it.

    Example:
      >>> gaussian(1.0, shape=(1, 5))[0].round(3).tolist()
      [0.054, 0.244, 0.403, 0.244, 0.054]
    """
    check_positive(sigma, "sigma")
    sigmas = floating(sigma, "sigma")
    if shape is not None:
        rank = len(_shape(shape))
    elif sigmas.ndim:
        rank = len(sigmas)
    sigmas = jnp.broadcast_to(sigmas, (rank,))
    if shape is None:
        shape = [2 * math.ceil(4 * s) + 1 for s in np.asarray(_known(sigmas, "sigma")).tolist()]
    squares = sum(jnp.square(d / s) for d, s in zip(_offsets(shape), sigmas, strict=True))
    return normalised(jnp.exp(-squares / 2))


def box(shape: Sequence[int]) -> jax.Array:
    """Uniform blur over a block, as of a coarse detector.

    Args:
      shape: size of the block. An even size is centred half a pixel early, at n // 2.

    Returns:
      The PSF; it sums to one.

    Raises:
      ValueError: for a shape that is not made of positive integers.

    Example:
      >>> box((1, 4)).tolist()
      [[0.25, 0.25, 0.25, 0.25]]
    """
    return normalised(jnp.ones(_shape(shape)))


def disk(radius: float | ArrayLike, *, shape: Sequence[int] | None = None, rank: int = 2) -> jax.Array:
    """Defocus of an ideal lens: a disk (a ball, for three axes) with a soft edge of one pixel.

        psf[j] ∝ clip(radius + 1/2 - |j - c|, 0, 1)

    Args:
      radius: in pixels. More is blurrier.
      shape: size; None is 2 ceil(radius) + 1.
      rank: number of axes, where no shape says it.

    Returns:
      The PSF; it sums to one.

    Raises:
      ValueError: for a radius that is not positive.

    Example:
      >>> disk(1.0).round(3).tolist()
      [[0.026, 0.15, 0.026], [0.15, 0.299, 0.15], [0.026, 0.15, 0.026]]
    """
    check_positive(radius, "radius")
    if shape is None:
        shape = (2 * math.ceil(_known(radius, "radius")) + 1,) * rank
    return normalised(jnp.clip(jnp.asarray(radius) + 0.5 - _distance(shape), 0, 1))


def motion(
    length: float | ArrayLike, angle: float | ArrayLike, *, shape: Sequence[int] | None = None
) -> jax.Array:
    """Straight uniform motion during the exposure.

    Args:
      length: of the streak, in pixels. More is blurrier.
      angle: in degrees, counter-clockwise from the direction of increasing columns as the picture is seen.
      shape: size; None is the smallest odd one that holds the streak.

    Returns:
      The PSF, of two axes; it sums to one.

    Raises:
      ValueError: for a length that is not positive.

    Example:
      >>> motion(3.0, 0.0).round(2).tolist()
      [[0.04, 0.29, 0.33, 0.29, 0.04]]
    """
    check_positive(length, "length")
    turn = jnp.deg2rad(floating(angle, "angle"))
    direction = jnp.stack([-jnp.sin(turn), jnp.cos(turn)])
    if shape is None:
        reach = _known(length, "length") / 2 * np.abs(np.asarray(_known(direction, "angle")))
        shape = [2 * math.ceil(r - 1e-4) + 1 for r in reach]
    samples = 8 * max(_shape(shape)) + 1
    along = (jnp.arange(samples) + 0.5) / samples - 0.5
    return splat(along[:, None] * direction * length, shape)


def trajectory(
    key: jax.Array, shape: Sequence[int] = (31, 31), *, samples: int = 512, inertia: float = 0.9
) -> jax.Array:
    """Random motion of a camera held by hand.

    The velocity is a random walk that forgets, v' = inertia v + noise, and its path is scaled to fill two
    thirds of the shape and centred on its centroid.

    Args:
      key: of jax.random; the same key is the same trajectory.
      shape: size of the PSF, two axes.
      samples: positions along the path, at least 2. More is smoother.
      inertia: from 0 (Brownian motion) to below 1 (straighter).

    Returns:
      The PSF; it sums to one.

    Raises:
      ValueError: for an inertia outside of [0, 1), a shape without two axes, or a single sample.

    References:
      Boracchi, Foi: Modeling the performance of image restoration from motion blur. IEEE Trans. Image
      Process. 21 (2012). doi:10.1109/TIP.2012.2192126.

    Example:
      >>> import jax
      >>> trajectory(jax.random.key(0), (9, 12)).shape
      (9, 12)
    """
    if not 0 <= inertia < 1:
        raise ValueError(f"inertia={inertia} must be at least 0 and below 1.")
    shape = _shape(shape)
    if len(shape) != 2:
        raise ValueError(f"shape={shape} must have two axes; a trajectory lies in a plane.")
    if samples < 2:
        raise ValueError(f"samples={samples} make no path; take 2 or more.")
    pushes = jax.random.normal(key, (samples, 2))
    _, velocity = jax.lax.scan(lambda v, push: (inertia * v + push, inertia * v + push), jnp.zeros(2), pushes)
    path = jnp.cumsum(velocity, axis=0)
    path = path - path.mean(0)
    room = jnp.asarray([n // 2 * 2 / 3 for n in shape])
    return splat(path * jnp.min(room / jnp.max(jnp.abs(path), axis=0)), shape)


def airy(radius: float | ArrayLike, *, shape: Sequence[int] | None = None) -> jax.Array:
    """Diffraction by a round aperture.

        psf[j] ∝ (2 J1(v) / v)²    v = 3.8317 |j - c| / radius

    Args:
      radius: of the first dark ring in pixels: 1.22 wavelength · focal ratio / pixel. More is blurrier.
      shape: size; None holds three rings.

    Returns:
      The PSF, of two axes; it sums to one.

    Raises:
      ValueError: for a radius that is not positive.

    References:
      Born, Wolf: Principles of Optics, 8.5.2. doi:10.1017/CBO9781139644181.

    Example:
      >>> psf = airy(2.0, shape=(1, 5))[0]
      >>> (psf / psf[2]).round(3).tolist()
      [0.0, 0.368, 1.0, 0.368, 0.0]
    """
    check_positive(radius, "radius")
    if shape is None:
        shape = (2 * math.ceil(3.24 * _known(radius, "radius")) + 1,) * 2
    v = _FIRST_ZERO * _distance(shape) / jnp.asarray(radius)
    # J1(v) / v = (1/π) ∫ cos(v cos t) sin(t)² dt over [0, π], by the midpoint rule, which is exact here.
    t = (jnp.arange(_NODES) + 0.5) * (jnp.pi / _NODES)
    near = jnp.mean(jnp.cos(v[..., None] * jnp.cos(t)) * jnp.square(jnp.sin(t)), axis=-1)
    large = jnp.maximum(v, _FAR)
    phase = large - 0.75 * jnp.pi
    waves = jnp.cos(phase) - 3 / (8 * large) * jnp.sin(phase)
    far = jnp.sqrt(2 / (jnp.pi * large)) * waves / large
    return normalised(jnp.square(2 * jnp.where(v < _FAR, near, far)))


def from_image(
    image: ArrayLike, *, shape: Sequence[int] | None = None, background: float | None = None
) -> jax.Array:
    """The PSF that a picture of a single point shows.

    Args:
      image: of a star, a bead or a pinhole, alone in the frame.
      shape: size of the result, cut out around the centroid; None keeps the image's.
      background: level to be subtracted; None takes the median of the image's border.

    Returns:
      The PSF: no longer negative, centred to the pixel, summing to one.

    Raises:
      ValueError: if nothing is left above the background, or values are not finite.

    Example:
      >>> import numpy as np
      >>> picture = np.full((7, 8), 100)
      >>> picture[2, 3:5] = 300, 200
      >>> from_image(picture, shape=(1, 3)).round(2).tolist()
      [[0.0, 0.67, 0.33]]
    """
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("image has values that are not finite; replace them first.")
    if background is None:
        inside = np.zeros(values.shape, bool)
        inside[tuple(slice(1, -1) for _ in values.shape)] = True
        background = float(np.median(values[~inside]))
    values = np.maximum(values - background, 0)
    if values.sum() == 0:
        raise ValueError(f"image has nothing above the background of {background:g}; give a lower one.")
    return normalised(centred(values, shape=shape))


def centred(psf: ArrayLike, *, shape: Sequence[int] | None = None) -> jax.Array:
    """Moves a PSF by whole pixels, so that its centroid is at n // 2; zeros come in.

    Args:
      psf: its values have to be known (not traced).
      shape: size of the result; None keeps that of the PSF.

    Returns:
      The moved PSF. Its sum is not changed, unless something was moved out.

    Raises:
      ValueError: if the PSF sums to nothing, or is traced.

    Example:
      >>> centred([[0.0, 0.0, 0.0, 1.0, 3.0]]).tolist()
      [[0.0, 1.0, 3.0, 0.0, 0.0]]
    """
    values = np.asarray(_known(psf, "psf"))
    sizes = values.shape if shape is None else _shape(shape)
    middle = [n // 2 + round(float(off)) for n, off in zip(values.shape, offset(values), strict=True)]
    starts = [m - n // 2 for m, n in zip(middle, sizes, strict=True)]
    padded = np.pad(
        values, [(max(0, -s), max(0, s + n - m)) for s, n, m in zip(starts, sizes, values.shape, strict=True)]
    )
    return jnp.asarray(
        padded[tuple(slice(max(0, s), max(0, s) + n) for s, n in zip(starts, sizes, strict=True))]
    )


def normalised(psf: ArrayLike) -> jax.Array:
    """Scales a PSF to sum to one, so that blurring keeps the brightness.

    Args:
      psf: any array with a sum that is not zero.

    Returns:
      The PSF divided by its sum.

    Raises:
      ValueError: for a sum of zero, or one that is not finite; that of a traced array can't be looked at.

    Example:
      >>> normalised([1.0, 3.0]).tolist()
      [0.25, 0.75]
    """
    psf = floating(psf, "psf")
    total = jnp.sum(psf)
    if known(total) and (total == 0 or not jnp.isfinite(total)):
        raise ValueError(f"psf sums to {total:g}; wanted a finite number that is not zero.")
    return psf / total


def splat(positions: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The PSF of a point that visits these positions, each for the same time.

    Args:
      positions: (samples, rank), relative to the centre pixel.
      shape: size of the PSF. What falls outside is lost.

    Returns:
      The PSF; each sample is shared linearly between its neighbouring pixels, and all sum to one.

    Raises:
      ValueError: if shape has not one entry for each column of positions, or all of them fall outside.

    Example:
      >>> import jax.numpy as jnp
      >>> splat(jnp.array([[0.0], [0.5]]), (3,)).tolist()
      [0.0, 0.75, 0.25]
    """
    shape = _shape(shape)
    if positions.ndim != 2 or positions.shape[1] != len(shape):
        raise ValueError(
            f"positions of shape {positions.shape} do not fit shape={shape}; wanted (samples, {len(shape)})."
        )
    axes = [jnp.arange(n, dtype=positions.dtype) - n // 2 for n in shape]
    hats = [jnp.maximum(0, 1 - jnp.abs(axis - positions[:, i, None])) for i, axis in enumerate(axes)]
    letters = "abcdefgh"[: len(shape)]
    return normalised(jnp.einsum(",".join(f"z{c}" for c in letters) + f"->{letters}", *hats))


def offset(psf: ArrayLike) -> np.ndarray:
    """How far the centroid is from the centre pixel n // 2.

    Args:
      psf: its values have to be known (not traced).

    Returns:
      One number of pixels for each axis.

    Raises:
      ValueError: if the PSF sums to nothing, or is traced.

    Example:
      >>> offset([[0.0, 0.0, 0.0, 1.0, 3.0]]).tolist()
      [0.0, 1.75]
    """
    values = np.asarray(_known(psf, "psf"), np.float64)
    total = values.sum()
    if not total > 0:
        raise ValueError(f"psf sums to {total:g}; wanted more than zero.")
    axes = range(values.ndim)
    lines = [values.sum(tuple(b for b in axes if b != a)) for a in axes]
    return np.array(
        [np.arange(-(len(line) // 2), len(line) - len(line) // 2) @ line / total for line in lines]
    )


def check(psf: ArrayLike, shape: Sequence[int] | None = None) -> None:
    """Raises if an array is no PSF, and says which mistake was made.

    Args:
      psf: its values have to be known (not traced).
      shape: spatial shape of the data that it is for.

    Raises:
      ValueError: if it is larger than the data, has values that are negative or not finite, does not sum to
        one, or has its centroid more than one pixel from n // 2.

    Example:
      >>> check([[0.0, 0.0, 0.0, 0.2, 0.8]])
      Traceback (most recent call last):
      ...
      ValueError: psf is off-centre: its centroid is [0.0, 1.8] pixels from the centre pixel [0, 2], and ...
    """
    values = np.asarray(_known(psf, "psf"))
    if shape is not None:
        check_size(values.shape, tuple(shape))
    check_values(values)
    total = float(values.sum())
    if abs(total - 1) > 1e-3:
        raise ValueError(f"psf sums to {total:g}, wanted 1; use restore.psf.normalised.")
    away = offset(values)
    if np.abs(away).max() > 1:
        raise ValueError(
            f"psf is off-centre: its centroid is {away.round(2).tolist()} pixels from the centre pixel "
            f"{[n // 2 for n in values.shape]}, and restored pictures would be shifted by as much; use "
            "restore.psf.centred."
        )


def _known(value: Any, name: str) -> Any:
    if not known(value):
        raise ValueError(
            f"{name} is traced, so nothing can be decided by its value; give a shape, or stay outside of jit."
        )
    return value


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    if not sizes or not all(isinstance(n, int | np.integer) and n > 0 for n in sizes):
        raise ValueError(f"shape={shape!r} must be a tuple of positive integers.")
    return tuple(int(n) for n in sizes)


def _offsets(shape: Sequence[int]) -> list[jax.Array]:
    sizes = _shape(shape)
    return [
        (jnp.arange(float(n)) - n // 2).reshape([-1 if b == a else 1 for b in range(len(sizes))])
        for a, n in enumerate(sizes)
    ]


def _distance(shape: Sequence[int]) -> jax.Array:
    """From the centre pixel; its derivative at zero is never asked for."""
    return jnp.sqrt(sum(jnp.square(d) for d in _offsets(shape)))  # pyright: ignore[reportArgumentType]
