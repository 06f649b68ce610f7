"""The weights of a resized axis: for each output the pixels it is made of, or the other way round."""

from __future__ import annotations

import functools

import numpy as np

from ..geometry.resample import RADIUS, Resample


@functools.lru_cache(maxsize=256)
def taps(axis: Resample, transposed: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """What each result is summed from: positions and weights, both (results, taps).

    The results are the outputs or, transposed, the inputs; the positions are on the other side and do not
    decrease. Unused taps have weight 0. No weights are given where every result is a copy of one position.
    """
    row, column, weight = _entries(axis)
    rows, columns = axis.out, axis.size
    if transposed:
        order = np.lexsort((row, column))
        row, column, weight = column[order], row[order], weight[order]
        rows, columns = columns, rows
    count = np.bincount(row, minlength=rows)
    start = np.cumsum(count) - count
    width = max(int(count.max()), 1)
    index = np.zeros((rows, width), np.int32)
    value = np.zeros((rows, width))
    slot = np.arange(len(row)) - start[row]
    index[row, slot], value[row, slot] = column, weight
    # Where there are fewer taps, the last one is repeated with weight 0: what it reads is at hand.
    last = np.minimum(start + np.maximum(count, 1) - 1, len(column) - 1)
    index = np.where(np.arange(width) < count[:, None], index, column[last][:, None])
    index.flags.writeable = value.flags.writeable = False
    return index, None if width == 1 and bool((value == 1).all()) else value


def dense(axis: Resample, transposed: bool) -> np.ndarray:
    """The same as a matrix (results, positions)."""
    row, column, weight = _entries(axis)
    matrix = np.zeros((axis.out, axis.size))
    matrix[row, column] = weight
    return matrix.T if transposed else matrix


def _entries(axis: Resample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output, input and weight of every pair that touches, by output and then by input."""
    if axis.method in ("nearest", "nearest-exact"):
        return np.arange(axis.out), np.array(axis.nearest()), np.ones(axis.out)
    if axis.method == "area":
        start, end = np.array(axis.windows()).T
        index = start[:, None] + np.arange((end - start).max())
        weight = np.where(index < end[:, None], 1.0 / (end - start)[:, None], 0.0)
    else:
        index, weight = _kernel(axis)
    row = np.broadcast_to(np.arange(axis.out)[:, None], index.shape)[weight != 0]
    key, inverse = np.unique(row * axis.size + index[weight != 0], return_inverse=True)
    return key // axis.size, key % axis.size, np.bincount(inverse, weight[weight != 0])


def _kernel(axis: Resample) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and weights (outputs, taps) of a kernel centred on u(o), each row of weights summing to 1."""
    centre = np.array(axis.positions())[:, None]
    reach = RADIUS[axis.method] * axis.stretch
    index = np.floor(centre - reach).astype(int) + np.arange(int(np.ceil(2 * reach)) + 2)
    weight = _value(axis, np.abs(centre - index) / axis.stretch)
    # u(o) is rounded, and what should lie on the kernel's zero would become a tap of its own.
    weight[np.abs(weight) < axis.size * np.finfo(float).eps] = 0
    if axis.border == "renormalize":
        weight[(index < 0) | (index >= axis.size)] = 0
    elif axis.border == "symmetric":
        mirrored = index % (2 * axis.size)
        index = np.minimum(mirrored, 2 * axis.size - 1 - mirrored)
    return np.clip(index, 0, axis.size - 1), weight / weight.sum(axis=1, keepdims=True)


def _value(axis: Resample, t: np.ndarray) -> np.ndarray:
    """The kernel at a distance of t pixels.

    References:
      Keys, Cubic convolution interpolation for digital image processing, 1981,
      doi:10.1109/TASSP.1981.1163711.
    """
    radius = RADIUS[axis.method]
    if axis.method == "linear":
        return np.maximum(1 - t, 0)
    if axis.method == "cubic":
        a = axis.cubic_a
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = (((t - 5) * t + 8) * t - 4) * a
        return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
    return np.where(t < radius, np.sinc(t) * np.sinc(t / radius), 0.0)
