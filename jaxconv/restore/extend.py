"""Preparing a picture for methods that take it to be periodic.

A picture is not: its left and right borders differ, and dividing by a transfer function makes of that jump
ripples across the picture. So it is continued, until the end meets the beginning, and cut out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax

from ..lowerings.fft import smooth
from .spectrum import otf, penalties, power

Extension = Literal["circular", "reflect", "taper", "liu_jia"]


def check(boundary: str) -> None:
    """Raises for an unknown name."""
    if boundary not in get_args(Extension):
        raise ValueError(
            f"boundary={boundary!r} is not known here; use one of {', '.join(get_args(Extension))}."
        )


def grid(shape: Sequence[int], psf: Sequence[int], boundary: Extension) -> tuple[int, ...]:
    """The size of the continued picture: twice the PSF is added, and what makes transforms quick."""
    if boundary in ("circular", "taper"):
        return tuple(shape)
    return tuple(smooth(n + 2 * k) for n, k in zip(shape, psf, strict=True))


def extend(y: jax.Array, psf: jax.Array, boundary: Extension) -> jax.Array:
    """The picture, continued behind its end to the size of `grid`; its beginning stays where it is.

    - "circular": as it is.
    - "taper": its borders are blended with their own blur, as the PSF makes it.
    - "reflect": the reflection at the end turns gradually into the one before the beginning.
    - "liu_jia": the membrane that hangs between the end and the beginning: Laplace's equation.

    References:
      Liu, Jia: Reducing boundary artifacts in image deconvolution. ICIP 2008. doi:10.1109/ICIP.2008.4711802.
      Reeves: Fast image restoration without boundary artifacts. IEEE Trans. Image Process. 14 (2005).
      doi:10.1109/TIP.2005.854474.
    """
    check(boundary)
    if boundary == "circular":
        return y
    if boundary == "taper":
        return taper(y, psf)
    for axis, (n, size) in enumerate(zip(y.shape, grid(y.shape, psf.shape, boundary), strict=True)):
        fill = _crossfade if boundary == "reflect" else _membrane
        y = jnp.concatenate([y, fill(y, axis, size - n)], axis)
    return y


def _crossfade(y: jax.Array, axis: int, width: int) -> jax.Array:
    """What is mirrored at the end and, from behind, at the beginning, mixed by a smooth step."""
    n = y.shape[axis]
    ends = [(width, width) if a == axis else (0, 0) for a in range(y.ndim)]
    mirrored = jnp.pad(y, ends, mode="reflect" if n > 1 else "edge")
    before = lax.slice_in_dim(mirrored, 0, width, axis=axis)
    after = lax.slice_in_dim(mirrored, width + n, width + n + width, axis=axis)
    s = (jnp.arange(width, dtype=y.dtype) + 1) / (width + 1)
    s = (s * s * (3 - 2 * s)).reshape([-1 if a == axis else 1 for a in range(y.ndim)])
    return after * (1 - s) + before * s


def _membrane(y: jax.Array, axis: int, width: int) -> jax.Array:
    """Δz = 0 between the two faces, by separation: z(s) is a sinh for each frequency of the faces.

    Axes before this one are periodic already; those after it are made so by mirroring.
    """
    n = y.shape[axis]
    faces = jnp.stack([lax.index_in_dim(y, i, axis, keepdims=False) for i in (n - 1, 0)])
    sizes = faces.shape[1:]
    for b in range(axis, len(sizes)):
        faces = jnp.concatenate([faces, jnp.flip(faces, b + 1)], b + 1)
    over = range(1, faces.ndim)
    spectra = jnp.fft.rfftn(faces, axes=over) if sizes else faces
    # -Δ within the faces, for each frequency.
    laplacian = penalties(faces.shape[1:], "gradient") if sizes else jnp.zeros(())
    rate = jnp.arccosh(1 + laplacian.astype(y.dtype) / 2)
    z = _hanging(spectra[0], spectra[1], rate, width)
    z = jnp.fft.irfftn(z, faces.shape[1:], axes=over) if sizes else z
    return jnp.moveaxis(lax.slice(z, [0] * z.ndim, (width, *sizes)), 0, axis)


def _hanging(first: jax.Array, last: jax.Array, rate: jax.Array, width: int) -> jax.Array:
    """Gives first · u(n - s) + last · u(s), u(s) = sinh(rate s) / sinh(rate n), for 0 < s < n = width + 1."""
    n = width + 1
    still = rate < 1e-6  # u(s) = s / n
    rate = jnp.where(still, 1, rate)
    s = jnp.arange(1, n, dtype=rate.dtype).reshape(-1, *(1 for _ in rate.shape))
    down = jnp.exp(-rate * s)  # falls from 1; every exponential there is
    up = jnp.flip(down, 0)
    least = jnp.exp(-rate * n)
    whole = -jnp.expm1(-2 * rate * n)
    u = jnp.where(still, s / n, (up - least * down) / whole)
    return first * jnp.flip(u, 0) + last * u


def taper(y: jax.Array, psf: jax.Array) -> jax.Array:
    """Y · α + blurred(y) · (1 - α); α falls to the border as the PSF's autocorrelation says."""
    alpha = jnp.ones((), y.dtype)
    for axis, n in enumerate(y.shape):
        line = jnp.sum(psf, [a for a in range(psf.ndim) if a != axis])
        beta = jnp.fft.irfft(power(jnp.fft.rfft(line, max(n - 1, 1))), max(n - 1, 1))
        beta = jnp.concatenate([beta, beta[:1]])[:n] / jnp.maximum(beta[0], jnp.finfo(y.dtype).tiny)
        alpha = alpha * (1 - beta).reshape([-1 if a == axis else 1 for a in range(y.ndim)])
    blurred = jnp.fft.irfftn(jnp.fft.rfftn(y) * otf(psf, y.shape), y.shape)
    return jnp.clip(alpha * y + (1 - alpha) * blurred, jnp.min(y), jnp.max(y))
