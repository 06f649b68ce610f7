"""Gabor filters: how much of each frequency and orientation an image has around each pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from ..ops.conv import conv
from ..typing import Algorithm
from . import arguments
from .arguments import Axes, Modes, Number
from .borders import extended


def gabor_kernel(
    frequency: float,
    theta: float = 0.0,
    *,
    bandwidth: float = 1.0,
    sigma_x: float | None = None,
    sigma_y: float | None = None,
    n_stds: float = 3.0,
    offset: float = 0.0,
) -> np.ndarray:
    """A plane wave under a Gaussian.

        g = exp(-u² / 2 sigma_x² - v² / 2 sigma_y² + i (2π frequency u + offset)) / (2π sigma_x sigma_y)

    with u = x cos θ + y sin θ and v = y cos θ - x sin θ, x along the columns and y along the rows.

    Args:
      frequency: of the wave, in cycles per pixel.
      theta: direction of the wave in radians; 0 is along the columns.
      bandwidth: in octaves, at half of the response's peak; it gives the default of both sigmas, (2^b + 1) /
        (2^b - 1) √(ln 2 / 2) / (π frequency). The default of 1 is about that of cells in the visual cortex.
      sigma_x: standard deviation in pixels along the wave.
      sigma_y: standard deviation in pixels across it.
      n_stds: the kernel is cut off after this many standard deviations.
      offset: phase of the wave in the centre, in radians.

    Returns:
      The complex128 kernel of odd sizes, a NumPy array.

    Raises:
      ValueError: if frequency, bandwidth or a sigma is not positive.

    References:
      Daugman: Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
      two-dimensional visual cortical filters. J. Opt. Soc. Am. A 2, 1985, doi:10.1364/JOSAA.2.001160.
      skimage.filters.gabor_kernel, whose kernel this is.

    Example:
      >>> kernel = gabor_kernel(0.25)
      >>> kernel.shape, f"{abs(kernel.sum()):.4f}"  # almost no response to what is constant
      ((15, 15), '0.0013')
    """
    hint = "give a number"
    frequency = arguments.concrete(frequency, "frequency", hint)
    theta, bandwidth = (
        arguments.concrete(theta, "theta", hint),
        arguments.concrete(bandwidth, "bandwidth", hint),
    )
    if not (frequency > 0 and bandwidth > 0):
        raise ValueError(f"frequency={frequency} and bandwidth={bandwidth} must be positive.")
    usual = math.sqrt(math.log(2) / 2) * (2**bandwidth + 1) / (2**bandwidth - 1) / (math.pi * frequency)
    sx, sy = (usual if s is None else arguments.concrete(s, "sigma", hint) for s in (sigma_x, sigma_y))
    if not (sx > 0 and sy > 0):
        raise ValueError(f"sigma_x={sx} and sigma_y={sy} must be positive.")
    cos, sin = math.cos(theta), math.sin(theta)
    columns, rows = (
        math.ceil(max(abs(n_stds * a * cos), abs(n_stds * b * sin), 1)) for a, b in ((sx, sy), (sy, sx))
    )
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    u, v = x * cos + y * sin, y * cos - x * sin
    bell = np.exp(-0.5 * ((u / sx) ** 2 + (v / sy) ** 2)) / (2 * math.pi * sx * sy)
    return bell * np.exp(1j * (2 * math.pi * frequency * u + offset))


def gabor_bank(
    x: ArrayLike,
    frequencies: Sequence[float],
    thetas: Sequence[float],
    *,
    bandwidth: float = 1.0,
    n_stds: float = 3.0,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    axes: Axes = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Convolves an image with a Gabor kernel for each pair of frequency and direction, all at once.

    The absolute value of the result is the local amplitude of a wave; its real and imaginary parts respond to
    lines and to edges.

    Args:
      x: real image, any shape; integers become floating.
      frequencies: in cycles per pixel.
      thetas: directions of the waves in radians; 0 is along the columns, the second filtered axis.
      bandwidth: in octaves, see `gabor_kernel`.
      n_stds: the kernels are cut off after this many standard deviations.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      axes: the rows' and the columns' axis; None for an x of two dimensions.
      algorithm: forces one of `jaxconv.conv`'s by name; None lets the planner choose, FFT included.

    Returns:
      The complex responses, of shape (*x.shape, frequencies, thetas).

    Raises:
      ValueError: for an empty bank, other than two axes, or a complex x.

    References:
      Jain, Farrokhnia: Unsupervised texture segmentation using Gabor filters. Pattern Recognition 24, 1991,
      doi:10.1016/0031-3203(91)90143-S.
      skimage.filters.gabor, whose results these are for one kernel.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.cos(2 * jnp.pi * 0.25 * jnp.arange(32.0)) + jnp.zeros((32, 1))  # a wave along the columns
      >>> amplitude = abs(gabor_bank(x, [0.25], [0.0, jnp.pi / 2]))[16, 16, 0]
      >>> [f"{a:.2f}" for a in amplitude]
      ['0.50', '0.00']
    """
    x = arguments.real_image(x, "gabor_bank")
    found = arguments.filtered_axes(axes, x.ndim)
    if len(found) != 2:
        raise ValueError(
            f"gabor_bank filters along two axes, not {len(found)}; name the rows' and the columns'."
        )
    modes = arguments.modes(mode, 2)
    kernels = [gabor_kernel(f, t, bandwidth=bandwidth, n_stds=n_stds) for f in frequencies for t in thetas]
    if not kernels:
        raise ValueError(f"frequencies={frequencies!r} and thetas={thetas!r} must not be empty.")
    bank = _stacked(kernels)
    shape = (*x.shape, len(frequencies), len(thetas))
    if x.size == 0:
        return jnp.zeros(shape, jnp.result_type(x.dtype, jnp.complex64))
    reach = [(n // 2, n // 2) for n in bank.shape[:2]]
    image = jnp.moveaxis(extended(x, found, reach, modes, cval), found, (-2, -1))
    images = lax.optimization_barrier(image.reshape(-1, *image.shape[-2:], 1))
    kernel = jnp.asarray(np.concatenate([np.real(bank), np.imag(bank)], -1)[:, :, None], x.dtype)
    real, imaginary = jnp.split(conv(images, kernel, algorithm=algorithm), 2, axis=-1)
    y = lax.complex(*(p.astype(jnp.promote_types(p.dtype, jnp.float32)) for p in (real, imaginary)))
    batch = [n for i, n in enumerate(x.shape) if i not in found]
    y = y.reshape(*batch, x.shape[found[0]], x.shape[found[1]], *shape[-2:])
    return jnp.moveaxis(y, (-4, -3), found)


def _stacked(kernels: Sequence[np.ndarray]) -> np.ndarray:
    """(rows, columns, bank): flipped for a correlation and filled up with zeros to one size."""
    rows, columns = (max(k.shape[i] for k in kernels) for i in (0, 1))
    bank = np.zeros((rows, columns, len(kernels)), complex)
    for i, k in enumerate(kernels):
        top, left = (rows - k.shape[0]) // 2, (columns - k.shape[1]) // 2
        bank[top : top + k.shape[0], left : left + k.shape[1], i] = k[::-1, ::-1]
    return bank
