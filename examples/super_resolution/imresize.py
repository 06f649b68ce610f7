"""MATLAB's `imresize(x, scale, "bicubic")`, with which super-resolution papers make low-resolution pictures.

Three things set it apart from other bicubic resizers, and together they are worth decibels: Keys's kernel has
a = -1/2; when shrinking it is stretched by 1/scale, so that it also removes what the small grid cannot show;
and beyond its border the picture is mirrored (`d c b a | a b c d | d c b a`).
"""

from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import TypeVar

import jax
import numpy as np

Pixels = TypeVar("Pixels", np.ndarray, jax.Array)


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys's cubic convolution kernel with a = -1/2 (1981, doi:10.1109/TASSP.1981.1163711)."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


@lru_cache(maxsize=64)
def taps(size: int, scale: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Which input pixels make an output pixel, and with what weights: two arrays (output size, taps)."""
    stretch = max(1.0, float(1 / scale))
    out = ceil(size * scale)
    # Pixel centres are half-integers in both grids: (o + 1/2) / scale = u + 1/2.
    centre = (np.arange(out) + 0.5) / float(scale) - 0.5
    first = np.floor(centre - 2 * stretch).astype(int)
    index = first[:, None] + np.arange(ceil(4 * stretch) + 2)
    weight = _cubic((centre[:, None] - index) / stretch)
    weight /= weight.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])[index % (2 * size)]
    used = np.any(weight != 0, axis=0)
    return mirrored[:, used], weight[:, used]


def resize_axis(x: Pixels, scale: Fraction, axis: int) -> Pixels:
    """`x` (NumPy or JAX) resized along one axis, in the precision of `x`."""
    index, weight = taps(x.shape[axis], scale)
    column = [1] * x.ndim
    column[axis] = -1
    weight = weight.astype(x.dtype)
    y = x.take(index[:, 0], axis=axis) * weight[:, 0].reshape(column)
    for t in range(1, index.shape[1]):
        y = y + x.take(index[:, t], axis=axis) * weight[:, t].reshape(column)
    return y


def imresize(x: Pixels, scale: int | Fraction) -> Pixels:
    """A picture (height, width, ...) resized by a rational factor; values are neither rounded nor clipped.

    Args:
        x: array of floats; float64 reproduces MATLAB to rounding.
        scale: above 1 to enlarge. An exact number (3, `Fraction(1, 3)`), because the size of the result is
            `ceil(size * scale)` and 1/3 is no float.

    Example:
        Half the size of a unit step; the overshoot is 3/256:

        >>> step = np.repeat([0.0, 1.0], 8)[None].repeat(2, axis=0)
        >>> print(imresize(step, Fraction(1, 2))[0].round(4))
        [ 0.      0.     -0.0117  0.0664  0.9336  1.0117  1.      1.    ]
    """
    scale = Fraction(scale)
    return resize_axis(resize_axis(x, scale, 0), scale, 1)
