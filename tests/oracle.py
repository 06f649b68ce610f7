"""The independent oracle: one trilinear form in NumPy, from index patterns, importing nothing of jaxconv.

For one spatial axis the *index pattern* is the 0/1 array

    P[i, k, o] = 1  iff  i = o·stride + k·dilation - lo

(input position i meets output position o through tap k). The trilinear form of a convolution is then one sum
over all letters, and each operator is the einsum that leaves one array out:

    T(x, w, g) = Σ x[n, i.., γ, c] · w[k.., c, γ, o'] · Π P[i, k, o] · g[n, o.., γ, o']      (γ: the group)

A second construction pads, slices and loops over taps; tests/test_oracle.py holds the two against each other.
Arrays are channels-last, batched; kernels are (*k, in/groups, out), unflipped; every option is per axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Pads = Sequence[tuple[int, int]]
Ints = Sequence[int]

_INPUT, _TAP, _OUTPUT = "abcde", "fghij", "klmno"  # one letter each for every spatial axis, five at the most


def output_size(size: int, kernel: int, stride: int, dilation: int, lo: int, hi: int) -> int:
    """How many windows fit on one axis; none when the kernel's span is larger than the padded input."""
    room = size + lo + hi - dilation * (kernel - 1) - 1
    return room // stride + 1 if room >= 0 else 0


def transposed_size(
    size: int, kernel: int, stride: int, dilation: int, lo: int, hi: int, extra: int = 0
) -> int:
    """The output size of a transposed convolution, PyTorch's formula with `extra` = output_padding."""
    return (size - 1) * stride - lo - hi + dilation * (kernel - 1) + 1 + extra


def index_pattern(size: int, kernel: int, stride: int, dilation: int, lo: int, hi: int) -> np.ndarray:
    """P[i, k, o] = 1 iff i = o·stride + k·dilation - lo."""
    out = output_size(size, kernel, stride, dilation, lo, hi)
    i, k, o = np.ogrid[:size, :kernel, :out]
    return (i == o * stride + k * dilation - lo).astype(np.int8)


def exact(array: np.ndarray) -> np.ndarray:
    """The array in the widest type of its kind: int64, float64 or complex128."""
    array = np.asarray(array)
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _split(array: np.ndarray, groups: int) -> np.ndarray:
    """(..., groups·c) -> (..., groups, c)."""
    return array.reshape(*array.shape[:-1], groups, array.shape[-1] // groups)


def _merge(array: np.ndarray) -> np.ndarray:
    return array.reshape(*array.shape[:-2], array.shape[-2] * array.shape[-1])


def _contract(
    slot: str, arrays: dict[str, np.ndarray], sizes: Ints, kernel: Ints, options: Sequence[Ints | Pads]
) -> np.ndarray:
    """The one einsum of the file: all index patterns and two arrays, summed to the letters of `slot`."""
    rank = len(kernel)
    letters = {
        "x": f"z{_INPUT[:rank]}yu",
        "kernel": f"{_TAP[:rank]}uyv",
        "g": f"z{_OUTPUT[:rank]}yv",
    }
    dtype = np.result_type(*arrays.values())
    patterns = [
        index_pattern(size, k, s, d, lo, hi).astype(dtype)
        for size, k, s, d, (lo, hi) in zip(sizes, kernel, *options, strict=True)
    ]
    inputs = [_INPUT[a] + _TAP[a] + _OUTPUT[a] for a in range(rank)] + [letters[name] for name in arrays]
    return np.einsum(f"{','.join(inputs)}->{letters[slot]}", *patterns, *arrays.values(), optimize="greedy")


def forward(
    x: np.ndarray, kernel: np.ndarray, *, stride: Ints, padding: Pads, dilation: Ints, groups: int = 1
) -> np.ndarray:
    """The convolution: y[n, o, ·] = Σ_k x[n, o·stride + k·dilation - lo, ·] · kernel[k, ·, ·]."""
    x, kernel = exact(x), exact(kernel)
    arrays = {"x": _split(x, groups), "kernel": _split(kernel, groups)}
    return _merge(_contract("g", arrays, x.shape[1:-1], kernel.shape[:-2], (stride, dilation, padding)))


def input_grad(
    g: np.ndarray,
    kernel: np.ndarray,
    input_shape: Ints,
    *,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    groups: int = 1,
) -> np.ndarray:
    """The transposed convolution: the array X with <x, X> = <forward(x, kernel), g> for every x."""
    g, kernel = exact(g), exact(kernel)
    arrays = {"g": _split(g, groups), "kernel": _split(kernel, groups)}
    return _merge(_contract("x", arrays, input_shape[1:-1], kernel.shape[:-2], (stride, dilation, padding)))


def weight_grad(
    x: np.ndarray,
    g: np.ndarray,
    kernel_shape: Ints,
    *,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    groups: int = 1,
) -> np.ndarray:
    """The array W with <kernel, W> = <forward(x, kernel), g> for every kernel."""
    x, g = exact(x), exact(g)
    arrays = {"x": _split(x, groups), "g": _split(g, groups)}
    return _merge(_contract("kernel", arrays, x.shape[1:-1], kernel_shape[:-2], (stride, dilation, padding)))


# The second construction. A padded copy, and for each tap the strided slice of it that the tap sees.


def _room(size: int, kernel: int, stride: int, dilation: int, lo: int, hi: int) -> tuple[int, int]:
    """Length of the padded axis, and where the unpadded input starts in it (negative when it is cropped)."""
    out = output_size(size, kernel, stride, dilation, lo, hi)
    return max((out - 1) * stride + dilation * (kernel - 1) + 1, 0), lo


def _window(start: int, length: int, size: int) -> tuple[slice, slice]:
    """Where an input placed at `start` lies in a buffer of `length`: (in the buffer, in the input)."""
    first, last = max(start, 0), max(min(start + size, length), max(start, 0))
    return slice(first, last), slice(min(first - start, size), min(first - start, size) + last - first)


class Taps:
    """The operators of one convolution by an explicit loop over the kernel's taps and groups."""

    def __init__(
        self, sizes: Ints, kernel: Ints, *, stride: Ints, padding: Pads, dilation: Ints, groups: int = 1
    ) -> None:
        """Lay out the padded buffer for `sizes` and `kernel`, both spatial only."""
        axes = [(*a[:-1], *a[-1]) for a in zip(sizes, kernel, stride, dilation, padding, strict=True)]
        rooms = [_room(*axis) for axis in axes]
        windows = [_window(lo, length, size) for (length, lo), size in zip(rooms, sizes, strict=True)]
        self.length = tuple(length for length, _ in rooms)
        self.inside = (slice(None), *(window[0] for window in windows))
        self.source = (slice(None), *(window[1] for window in windows))
        self.sizes, self.kernel, self.groups = tuple(sizes), tuple(kernel), groups
        self.stride, self.dilation = stride, dilation
        self.out = tuple(output_size(*axis) for axis in axes)

    def forward(self, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """y = Σ over taps of (slice of padded x) @ kernel[tap]."""
        x, kernel = self._padded(exact(x)), exact(kernel)
        y = np.zeros((x.shape[0], *self.out, kernel.shape[-1]), np.result_type(x, kernel))
        for tap, seen in self._taps():
            for c, o, _ in self._groups(x.shape[-1], kernel.shape[-1]):
                y[..., o] += x[seen][..., c] @ kernel[tap][:, o]
        return y

    def input_grad(self, g: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """Each tap adds g @ kernel[tap].T where it looked; the padding is cut off at the end."""
        g, kernel = exact(g), exact(kernel)
        channels = kernel.shape[-2] * self.groups
        buffer = np.zeros((g.shape[0], *self.length, channels), np.result_type(g, kernel))
        for tap, seen in self._taps():
            for c, o, _ in self._groups(channels, g.shape[-1]):
                buffer[seen][..., c] += g[..., o] @ kernel[tap][:, o].T
        result = np.zeros((g.shape[0], *self.sizes, channels), buffer.dtype)
        result[self.source] = buffer[self.inside]
        return result

    def weight_grad(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Each tap's matrix is Σ over batch and output positions of x seenᵀ @ g."""
        x, g = self._padded(exact(x)), exact(g)
        shape = (*self.kernel, x.shape[-1] // self.groups, g.shape[-1])
        kernel = np.zeros(shape, np.result_type(x, g))
        for tap, seen in self._taps():
            for c, o, width in self._groups(x.shape[-1], g.shape[-1]):
                rows = x[seen][..., c].reshape(np.prod(g.shape[:-1], dtype=int), width)
                kernel[tap][:, o] = rows.T @ g[..., o].reshape(len(rows), o.stop - o.start)
        return kernel

    def _padded(self, x: np.ndarray) -> np.ndarray:
        buffer = np.zeros((x.shape[0], *self.length, x.shape[-1]), x.dtype)
        buffer[self.inside] = x[self.source]
        return buffer

    def _taps(self):
        for tap in np.ndindex(*self.kernel):
            starts = [k * d for k, d in zip(tap, self.dilation, strict=True)]
            strided = zip(starts, self.out, self.stride, strict=True)
            yield tap, (slice(None), *(slice(a, a + (n - 1) * s + 1 if n else a, s) for a, n, s in strided))

    def _groups(self, channels_in: int, channels_out: int):
        c, o = channels_in // self.groups, channels_out // self.groups
        for group in range(self.groups):
            yield slice(group * c, (group + 1) * c), slice(group * o, (group + 1) * o), c
