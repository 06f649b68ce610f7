"""Restoration in float64 NumPy with dense matrices, from the definitions; imports nothing of jaxconv."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

# Small, asymmetric, of even and odd sizes, one for each path: taps one by one, transforms, and line by line.
SMALL = np.array([[1, 2, 0, 3], [0, 5, 1, 0], [2, 0, 4, 1]], float)
LARGE = np.random.default_rng(7).gamma(0.3, size=(11, 10))
LINE = np.array([3.0, 1.0, 0.5, 0.0])
CROSS = np.outer([1.0, 4.0, 2.0, 0.0], [3.0, 1.0, 2.0, 0.0, 1.0])
SOLID = np.random.default_rng(8).gamma(0.5, size=(3, 4, 5))
PSFS = {
    name: psf / psf.sum()
    for name, psf in dict(small=SMALL, large=LARGE, cross=CROSS, line=LINE, solid=SOLID).items()
}
SHAPES = {"small": (9, 11), "large": (13, 11), "cross": (8, 9), "line": (7,), "solid": (4, 6, 5)}


def domain(psf: Sequence[int], shape: Sequence[int], boundary: str) -> tuple[int, ...]:
    if boundary not in ("valid", "unknown"):
        return tuple(shape)
    return tuple(n + k - 1 for n, k in zip(shape, psf, strict=True))


def _source(s: int, n: int, k: int, boundary: str) -> int | None:
    """Where on its axis of n positions the scene holds position s of the frame; None is in the dark."""
    if boundary in ("valid", "unknown"):
        return s + k - 1 - k // 2
    if boundary == "circular":
        return s % n
    if 0 <= s < n:
        return s
    if boundary == "zeros":
        return None
    s = s % (2 * n - 2)
    return s if s < n else 2 * n - 2 - s


def matrix(psf: np.ndarray, shape: Sequence[int], boundary: str) -> np.ndarray:
    """H, from y[t] = Σ_j psf[j] x[t - j + k // 2]."""
    scene = domain(psf.shape, shape, boundary)
    result = np.zeros((*shape, *scene))
    for t in np.ndindex(*shape):
        for j in np.ndindex(*psf.shape):
            at = [
                _source(a - b + k // 2, n, k, boundary)
                for a, b, k, n in zip(t, j, psf.shape, shape, strict=True)
            ]
            if None not in at:
                result[(*t, *at)] += psf[j]
    return result.reshape(np.prod(shape), np.prod(scene))


def frame(x: np.ndarray, psf: Sequence[int], shape: Sequence[int], boundary: str) -> np.ndarray:
    """What of a scene lies in the frame."""
    if boundary != "unknown":
        return x
    return x[tuple(slice(k - 1 - k // 2, k - 1 - k // 2 + n) for k, n in zip(psf, shape, strict=True))]


def richardson_lucy(h: np.ndarray, y: np.ndarray, steps: int, *, b: float = 0.0, w: np.ndarray | None = None):
    """Eq. 1 from a flat start, on vectors."""
    w = np.ones_like(y) if w is None else w
    sensitivity = h.T @ w
    x = np.full(h.shape[1], (w * np.maximum(y - b, 0)).sum() / sensitivity.sum())
    seen = sensitivity > 1e-3 * sensitivity.max()
    for _ in range(steps):
        update = np.ones_like(x)
        update[seen] = (h.T @ (w * y / (h @ x + b)))[seen] / sensitivity[seen]
        x = x * update
    return x


def differences(shape: Sequence[int]) -> np.ndarray:
    """The circular Laplacian as a matrix: 2 rank in the middle, -1 at each neighbour."""
    n = int(np.prod(shape))
    index = np.arange(n).reshape(shape)
    result = 2.0 * len(shape) * np.eye(n)
    for axis, step in itertools.product(range(len(shape)), (1, -1)):
        result[np.arange(n), np.roll(index, step, axis).ravel()] -= 1
    return result
