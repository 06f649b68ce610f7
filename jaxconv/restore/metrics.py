"""How good a restored picture is, where the truth is known.

All are differentiable, and give one number for each picture. Of an array of more axes than space and channels
have, those in front are pictures, each for itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..ops.correlate import correlate
from .arrays import floating

# What scikit-image's Gaussian is cut off at, in standard deviations.
_TRUNCATE = 3.5


class BandPSNR(NamedTuple):
    """PSNR of the pixels near to the border, and of those that are not."""

    border: jax.Array
    interior: jax.Array


def psnr(
    x: ArrayLike,
    truth: ArrayLike,
    *,
    data_range: float | ArrayLike | None = None,
    rank: int | None = None,
    channel_axis: int | None = None,
) -> jax.Array:
    """Peak signal-to-noise ratio in dB.

        10 log10(R² / mean |x - truth|²)

    Args:
      x: restored data, (*batch, *spatial), and an axis of channels somewhere.
      truth: the same without blur and noise.
      data_range: R, white minus black. None is 255 or 65535 for integers of 8 or 16 bits.
      rank: number of axes of space; None is all but the channels'.
      channel_axis: where channels are, over which the mean is taken too; None is nowhere.

    Returns:
      The PSNR; infinite for x = truth, where it has no derivative.

    Raises:
      ValueError: for shapes that differ, floating-point data without a range, and axes that are not there.

    References:
      Huynh-Thu, Ghanbari: Scope of validity of PSNR in image/video quality assessment. Electron. Lett. 44
      (2008). doi:10.1049/el:20080522.

    Example:
      >>> float(psnr([0.5, 0.6, 0.5], [0.5, 0.5, 0.5], data_range=1.0))
      24.77
    """
    peak = _range(x, truth, data_range)
    x, truth, space = _pair(x, truth, rank, channel_axis)
    return _ratio(jnp.square(peak), _mean(jnp.square(x - truth), space, channel_axis))


def isnr(
    x: ArrayLike,
    y: ArrayLike,
    truth: ArrayLike,
    *,
    rank: int | None = None,
    channel_axis: int | None = None,
) -> jax.Array:
    """Improvement of the signal-to-noise ratio in dB: by how much x is nearer to the truth than y was.

        10 log10(Σ |y - truth|² / Σ |x - truth|²)

    Args:
      x: restored data, (*batch, *spatial), and an axis of channels somewhere.
      y: the data it was restored from, of the same shape.
      truth: the same without blur and noise.
      rank: number of axes of space; None is all but the channels'.
      channel_axis: where channels are, over which the sum is taken too; None is nowhere.

    Returns:
      The improvement; negative if restoring did harm.

    Raises:
      ValueError: for shapes that differ, and axes that are not there.

    References:
      Banham, Katsaggelos: Digital image restoration. IEEE Signal Process. Mag. 14 (1997).
      doi:10.1109/79.581363.

    Example:
      >>> float(isnr([0.1, 1.0], [0.2, 1.0], [0.0, 1.0]))
      6.02
    """
    x, known, space = _pair(x, truth, rank, channel_axis)
    y, _, _ = _pair(y, truth, rank, channel_axis)
    before, after = (_mean(jnp.square(z - known), space, channel_axis) for z in (y, x))
    return _ratio(before, after)


def border_psnr(
    x: ArrayLike,
    truth: ArrayLike,
    *,
    width: int,
    data_range: float | ArrayLike | None = None,
    rank: int | None = None,
    channel_axis: int | None = None,
) -> BandPSNR:
    """PSNR near to the border, where a wrong boundary shows, and in the interior.

    Args:
      x: restored data, (*batch, *spatial), and an axis of channels somewhere.
      truth: the same without blur and noise.
      width: of the band, in pixels; half of the PSF's size is where the unknown outside is blurred in.
      data_range: white minus black. None is 255 or 65535 for integers of 8 or 16 bits.
      rank: number of axes of space; None is all but the channels'.
      channel_axis: where channels are, over which the mean is taken too; None is nowhere.

    Returns:
      `BandPSNR(border, interior)`.

    Raises:
      ValueError: as `psnr`, and for a width that leaves no border or no interior.

    Example:
      >>> near, far = border_psnr([0.4, 0.5, 0.5, 0.5, 0.6], [0.5] * 5, width=1, data_range=1.0)
      >>> float(near), float(far)
      (20.0, inf)
    """
    peak = _range(x, truth, data_range)
    x, truth, space = _pair(x, truth, rank, channel_axis)
    sizes = x.shape[x.ndim - space :]
    if not 0 < width <= (min(sizes) - 1) // 2:
        raise ValueError(
            f"width={width} must be from 1 to {(min(sizes) - 1) // 2}, to leave an interior of {sizes}."
        )
    inside = np.zeros(sizes, bool)
    inside[(slice(width, -width),) * space] = True
    squares = jnp.square(x - truth)
    bands = (
        _mean(jnp.where(band, squares, 0), space, channel_axis) * band.size / band.sum()
        for band in (~inside, inside)
    )
    return BandPSNR(*(_ratio(jnp.square(peak), mean) for mean in bands))


def ssim(
    x: ArrayLike,
    truth: ArrayLike,
    *,
    data_range: float | ArrayLike | None = None,
    win_size: int | None = None,
    gaussian_weights: bool = False,
    sigma: float = 1.5,
    use_sample_covariance: bool = True,
    rank: int | None = None,
    channel_axis: int | None = None,
) -> jax.Array:
    """Mean structural similarity, with scikit-image's options, defaults and values.

        S = (2 μ_x μ_t + C1) (2 σ_xt + C2) / ((μ_x² + μ_t² + C1) (σ_x² + σ_t² + C2))         # Eq. 13

    with C1 = (0.01 R)², C2 = (0.03 R)², and means, variances and covariance under a window, of which only the
    positions wholly inside count. Wang et al. have gaussian_weights=True, use_sample_covariance=False.

    Args:
      x: restored data, (*batch, *spatial), and an axis of channels somewhere.
      truth: the same without blur and noise.
      data_range: R, white minus black. None is 255 or 65535 for integers of 8 or 16 bits.
      win_size: side of a uniform window, odd; None is 7.
      gaussian_weights: whether the window is a Gaussian, cut off at 3.5 sigma.
      sigma: its standard deviation.
      use_sample_covariance: whether covariances are divided by one less than the pixels of the window.
      rank: number of axes of space; None is all but the channels'.
      channel_axis: where channels are, over which the mean is taken too; None is nowhere.

    Returns:
      The similarity, 1 for x = truth.

    Raises:
      ValueError: as `psnr`, and for a window that is even, larger than the picture, or given twice.

    References:
      Wang et al.: Image quality assessment: from error visibility to structural similarity. IEEE Trans. Image
      Process. 13 (2004). doi:10.1109/TIP.2003.819861.

    Example:
      >>> import jax.numpy as jnp
      >>> truth = jnp.arange(80.0).reshape(8, 10) % 7
      >>> float(ssim(truth + 1, truth, data_range=7.0))
      0.97
    """
    peak = _range(x, truth, data_range)
    x, truth, space = _pair(x, truth, rank, channel_axis)
    line = _line(win_size, sigma if gaussian_weights else None)
    sizes = x.shape[x.ndim - space :]
    if min(sizes) < len(line):
        raise ValueError(
            f"the window of {len(line)} is larger than the picture's {sizes}; take a smaller one."
        )
    count = len(line) ** space
    scale = count / (count - 1) if use_sample_covariance else 1.0
    c1, c2 = (jnp.square(share * peak) for share in (0.01, 0.03))
    mx, mt, xx, tt, xt = _window(jnp.stack([x, truth, x * x, truth * truth, x * truth]), line, space)
    vx, vt, cov = scale * (xx - mx * mx), scale * (tt - mt * mt), scale * (xt - mx * mt)
    similarity = (2 * mx * mt + c1) * (2 * cov + c2) / ((mx * mx + mt * mt + c1) * (vx + vt + c2))
    return _mean(similarity, space, channel_axis)


def _pair(x: Any, truth: Any, rank: int | None, channel_axis: int | None) -> tuple[jax.Array, jax.Array, int]:
    """Both as (*batch, channels, *spatial), or without channels, and the number of axes of space."""
    x, truth = floating(x, "x"), floating(truth, "truth")
    if x.shape != truth.shape:
        raise ValueError(f"x has shape {x.shape} and truth {truth.shape}; they must be the same.")
    others = int(channel_axis is not None)
    space = x.ndim - others if rank is None else rank
    if not 0 < space <= x.ndim - others:
        raise ValueError(
            f"x of shape {x.shape} has no {space} axes of space{' next to channels' * others}; rank={rank}."
        )
    if channel_axis is None:
        return x, truth, space
    if not -x.ndim <= channel_axis < x.ndim:
        raise ValueError(f"channel_axis={channel_axis} is no axis of x of shape {x.shape}.")
    x, truth = (jnp.moveaxis(z, channel_axis, -space - 1) for z in (x, truth))
    return x, truth, space


def _range(x: Any, truth: Any, data_range: Any) -> jax.Array:
    if data_range is not None:
        return floating(data_range, "data_range")
    dtype = jnp.result_type(truth)
    if not jnp.issubdtype(dtype, jnp.integer) or jnp.result_type(x) != dtype or dtype.itemsize > 2:
        raise ValueError(
            f"data_range is not known for x of {jnp.result_type(x)} and truth of {dtype}; pass white minus "
            "black, as data_range=1.0."
        )
    return jnp.asarray(float(jnp.iinfo(dtype).max) - float(jnp.iinfo(dtype).min))


def _mean(z: jax.Array, space: int, channel_axis: int | None) -> jax.Array:
    return jnp.mean(z, range(-space - (channel_axis is not None), 0))


def _ratio(signal: jax.Array, noise: jax.Array) -> jax.Array:
    return 10 * jnp.log10(signal / noise)


def _line(win_size: int | None, sigma: float | None) -> np.ndarray:
    """The window along one axis."""
    if sigma is None:
        size = 7 if win_size is None else win_size
        if size < 1 or size % 2 == 0:
            raise ValueError(f"win_size={size} must be odd and positive.")
        return np.full(size, 1 / size)
    if win_size is not None:
        raise ValueError(
            f"win_size={win_size} and gaussian_weights: the window follows from sigma; leave it out."
        )
    if sigma <= 0:
        raise ValueError(f"sigma={sigma} must be positive.")
    radius = int(_TRUNCATE * sigma + 0.5)
    line = np.exp(-np.square(np.arange(-radius, radius + 1)) / (2 * sigma**2))
    return line / line.sum()


def _window(z: jax.Array, line: np.ndarray, space: int) -> jax.Array:
    """Means under the window, axis by axis, where it lies inside."""
    whole = z.reshape(-1, *z.shape[z.ndim - space :])
    for axis in range(space):
        kernel = jnp.asarray(line, z.dtype).reshape([-1 if a == axis else 1 for a in range(space)])
        whole = jax.vmap(lambda picture, kernel=kernel: correlate(picture, kernel, mode="valid"))(whole)
    return whole.reshape(*z.shape[: z.ndim - space], *whole.shape[1:])
