"""Pooling in float64 by loops over windows and over their positions; nothing of jaxconv is imported.

Arrays are channels-last and batched. A pooling is, for each axis, a list of windows, and a window a list of
positions, which may lie outside of the input.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

Windows = Sequence[Sequence[Sequence[int]]]  # of each axis, of each output


def axis_windows(
    size: int, window: int, stride: int, dilation: int = 1, lo: int = 0, hi: int = 0, ceil_mode: bool = False
) -> list[list[int]]:
    """One more window is added until one reaches the end; in ceil mode also the one that passes it.

    A window that would begin behind the input, in what pads it, is none.
    """
    found = []
    for start in itertools.count(-lo, stride):
        positions = [start + k * dilation for k in range(window)]
        fits = positions[-1] < size + hi
        unfinished = not found or found[-1][-1] < size + hi - 1
        if not fits and not (ceil_mode and unfinished and start < size and size + lo + hi > 0):
            return found
        found.append(positions)
    raise AssertionError


def parts(size: int, out: int) -> list[list[int]]:
    return [list(range(o * size // out, -(-(o + 1) * size // out))) for o in range(out)]


def each(windows: Windows) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """Every output position with its window's positions in row-major order."""
    for o in itertools.product(*(range(len(along)) for along in windows)):
        yield o, list(itertools.product(*(along[i] for along, i in zip(windows, o, strict=True))))


def inside(position: Sequence[int], sizes: Sequence[int]) -> bool:
    return all(0 <= p < n for p, n in zip(position, sizes, strict=True))


def max_pool(x: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Maxima and their row-major numbers: a later element wins if it is larger, or no number."""
    sizes = x.shape[1:-1]
    shape = (x.shape[0], *map(len, windows), x.shape[-1])
    y, index = np.empty(shape, x.dtype), np.empty(shape, np.int64)
    for o, positions in each(windows):
        for n, c in itertools.product(range(x.shape[0]), range(x.shape[-1])):
            best = None
            for p in (p for p in positions if inside(p, sizes)):
                value = x[(n, *p, c)]
                if best is None or value > x[(n, *best, c)] or value != value:
                    best = p
            assert best is not None
            y[(n, *o, c)], index[(n, *o, c)] = x[(n, *best, c)], np.ravel_multi_index(best, sizes)
    return y, index


def max_pool_grad(g: np.ndarray, index: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Each element of g is added where its maximum was."""
    dx = np.zeros(shape)
    for n, c in itertools.product(range(shape[0]), range(shape[-1])):
        flat = np.zeros(int(np.prod(shape[1:-1])))
        np.add.at(flat, index[n, ..., c].ravel(), g[n, ..., c].ravel())
        dx[n, ..., c] = flat.reshape(shape[1:-1])
    return dx


def sum_pool(x: np.ndarray, windows: Windows) -> np.ndarray:
    y = np.zeros((x.shape[0], *map(len, windows), x.shape[-1]))
    for o, positions in each(windows):
        for p in (p for p in positions if inside(p, x.shape[1:-1])):
            y[(slice(None), *o)] += x[(slice(None), *p)]
    return y


def sum_pool_grad(g: np.ndarray, windows: Windows, shape: Sequence[int]) -> np.ndarray:
    dx = np.zeros(shape)
    for o, positions in each(windows):
        for p in (p for p in positions if inside(p, shape[1:-1])):
            dx[(slice(None), *p)] += g[(slice(None), *o)]
    return dx


def divisors(windows: Windows, ends: Sequence[tuple[int, int]]) -> np.ndarray:
    """How many positions of each window lie between the first and the last of `ends`, with a channel axis."""
    count = np.zeros((*map(len, windows), 1))
    for o, positions in each(windows):
        count[o] = sum(all(a <= q < b for q, (a, b) in zip(p, ends, strict=True)) for p in positions)
    return count
