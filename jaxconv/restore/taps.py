"""A PSF of few values, slid over a picture: shifted pictures, which the compiler adds up in one pass.

    y[t] = Σ_j h[j] x[t + K - 1 - j]        back[s] = Σ_j h[j] y[s + j - K + 1], y zero outside

Wins for PSFs with few values that are not zero, as those of motion, and for outer products of lines, as
Gaussians and boxes, which go axis by axis. Multiply-adds: one for each tap and pixel. Error: that of a dot
product of so many terms, where a transform's is relative to the brightest pixel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Measured on CPU with 512x512: 69 taps take 1.1 ms, two real transforms 1.3 ms and what they need besides.
MOST = 96


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass: the size of its kernel, and where that is not zero."""

    size: tuple[int, ...]
    offsets: tuple[tuple[int, ...], ...]

    def convolve(self, x: jax.Array, weights: jax.Array) -> jax.Array:
        """Where the whole kernel fits."""
        return self._slide(x, weights, [k - 1 for k in self.size], -1)

    def correlate(self, x: jax.Array, weights: jax.Array) -> jax.Array:
        """As `convolve`, the kernel turned."""
        return self._slide(x, weights, [0 for _ in self.size], 1)

    def _slide(self, x: jax.Array, weights: jax.Array, origin: Sequence[int], sign: int) -> jax.Array:
        shape = [n - k + 1 for n, k in zip(x.shape, self.size, strict=True)]
        parts = []
        for offset, weight in zip(self.offsets, weights.astype(x.dtype), strict=True):
            start = [o + sign * j for o, j in zip(origin, offset, strict=True)]
            parts.append(weight * lax.slice(x, start, [s + n for s, n in zip(start, shape, strict=True)]))
        return sum(parts[1:], parts[0])


def passes(psf: np.ndarray) -> tuple[tuple[Pass, ...], tuple[jax.Array, ...]] | None:
    """The passes of a convolution by this PSF, and their weights; None where transforms are quicker."""
    kernels = _lines(psf) or [psf]
    # What is left out changes a picture by less than rounding does.
    least = np.finfo(psf.dtype).eps / psf.size
    found = [np.argwhere(np.abs(k) > least * np.abs(k).sum()) for k in kernels]
    if not 0 < sum(map(len, found)) <= MOST:
        return None
    places = [tuple(tuple(map(int, j)) for j in offsets) for offsets in found]
    weights = [jnp.asarray(k[tuple(offsets.T)]) for k, offsets in zip(kernels, found, strict=True)]
    return tuple(Pass(k.shape, at) for k, at in zip(kernels, places, strict=True)), tuple(weights)


def convolve(x: jax.Array, steps: Sequence[Pass], weights: Sequence[jax.Array]) -> jax.Array:
    """Where the whole PSF fits."""
    for step, line in zip(steps, weights, strict=True):
        x = step.convolve(x, line)
    return x


def spread(y: jax.Array, steps: Sequence[Pass], weights: Sequence[jax.Array]) -> jax.Array:
    """The adjoint of `convolve`."""
    sizes = [max(step.size[axis] for step in steps) for axis in range(y.ndim)]
    y = bordered(y, [(k - 1, k - 1) for k in sizes])
    for step, line in zip(steps, weights, strict=True):
        y = step.correlate(y, line)
    return y


def bordered(x: jax.Array, ends: Sequence[tuple[int, int]]) -> jax.Array:
    """Zeros around an array."""
    # XLA on CPU fuses `jnp.pad` with what comes before into a loop that asks of each element where it is, and
    # is not one of vectors: five times slower.
    for axis, end in enumerate(ends):
        edges = [jnp.zeros([e if a == axis else n for a, n in enumerate(x.shape)], x.dtype) for e in end]
        x = jnp.concatenate([edges[0], x, edges[1]], axis)
    return x


def _lines(psf: np.ndarray) -> list[np.ndarray] | None:
    """One kernel for each axis, of which the PSF is the outer product, if it is one."""
    total = psf.sum()
    if psf.ndim == 1 or not total > 0 or sum(psf.shape) > MOST:
        return None
    lines = [
        psf.sum(tuple(b for b in range(psf.ndim) if b != axis), keepdims=True) for axis in range(psf.ndim)
    ]
    product = math.prod(lines) / total ** (psf.ndim - 1)
    if np.abs(psf - product).sum() > 4 * np.finfo(psf.dtype).eps * total:
        return None
    return [lines[0], *(line / total for line in lines[1:])]
