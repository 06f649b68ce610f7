"""What a kernel's taps see of the input, as slices: the building blocks of the matrix-product algorithms.

Arrays here are in one of two orders, with M standing for N and the spatial axes:
rows `(G, M, C)` for a product that contracts channels, columns `(G, C, M)` for one that contracts positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..geometry import Axis, ConvSpec

# Beyond this many taps a program runs in a loop or gathers: compile time grows with every slice written out.
UNROLL = 64
# Runs of this many elements are copied about as fast as any.
LINE = 32


def padded(spec: ConvSpec, x: jax.Array) -> jax.Array:
    """(N, *s, C) with its border of zeros."""
    return jnp.pad(x, ((0, 0), *((a.lo, a.hi) for a in spec.axes), (0, 0)))


def rows(array: jax.Array, groups: int) -> jax.Array:
    """(N, *s, G C) -> (G, N, *s, C)."""
    if groups == 1:
        return array[None]
    return jnp.moveaxis(array.reshape(*array.shape[:-1], groups, -1), -2, 0)


def from_rows(array: jax.Array) -> jax.Array:
    """(G, N, *s, C) -> (N, *s, G C)."""
    groups, *_, c = array.shape
    return jnp.moveaxis(array, 0, -2).reshape(*array.shape[1:-1], groups * c)


def columns(array: jax.Array, groups: int) -> jax.Array:
    """(N, *s, G C) -> (G, C, N, *s)."""
    split = array.reshape(*array.shape[:-1], groups, -1)
    return jnp.moveaxis(split, (-2, -1), (0, 1))


def offsets(axes: Sequence[Axis]) -> list[tuple[int, ...]]:
    """Where each tap starts in the padded input, taps in row-major order."""
    return list(itertools.product(*(range(0, a.span, a.dilation) for a in axes)))


def touching(axes: Sequence[Axis]) -> Iterator[tuple[int, list[slice], list[slice]]]:
    """The taps that touch the input at all: number in row-major order, outputs and inputs along each axis."""
    for i, taps in enumerate(itertools.product(*(enumerate(a.taps()) for a in axes))):
        outputs: list[slice] = []
        inputs: list[slice] = []
        for a, (k, (start, stop)) in zip(axes, taps, strict=True):
            first = start * a.stride + k * a.dilation - a.lo
            outputs.append(slice(start, stop, 1))
            inputs.append(slice(first, first + (stop - start - 1) * a.stride + 1, a.stride))
        if all(o.start < o.stop for o in outputs):
            yield i, outputs, inputs


def cut(array: jax.Array, first: int, slices: Sequence[slice]) -> jax.Array:
    """Slices of the axes from `first` on, and the others whole."""
    every = [slice(0, n, 1) for n in array.shape]
    every[first : first + len(slices)] = slices
    return lax.slice(array, *([getattr(s, name) for s in every] for name in ("start", "stop", "step")))


def window(x: jax.Array, axes: Sequence[Axis], first: int, offset: Any) -> jax.Array:
    """The strided slice that one tap sees; the spatial axes of the padded x start at `first`.

    `offset` is a tuple of integers, or an array of them that is known only when the program runs.
    """
    sizes = [(a.out - 1) * a.stride + 1 for a in axes]
    end = x.ndim - first - len(axes)
    if isinstance(offset, tuple):
        starts = (*(0,) * first, *offset, *(0,) * end)
        limits = [*x.shape[:first], *(o + s for o, s in zip(offset, sizes, strict=True))]
    else:
        starts = (*(0,) * first, *offset, *(0,) * end)
        x = lax.dynamic_slice(x, starts, (*x.shape[:first], *sizes, *x.shape[x.ndim - end :]))
        starts, limits = (0,) * x.ndim, x.shape[: first + len(axes)]
    strides = (*(1,) * first, *(a.stride for a in axes), *(1,) * end)
    return lax.slice(x, starts, (*limits, *x.shape[x.ndim - end :]), strides)


def patches(x: jax.Array, axes: Sequence[Axis]) -> jax.Array:
    """(..., *s, C), padded -> (..., *o, *k C), row-major in (*k, C); linear in x.

    The last axis goes first: each copies longer runs than the one before, and none needs a transpose.
    """
    for i, axis in reversed(list(enumerate(axes, x.ndim - len(axes) - 1))):
        seen = _seen(x, axis, i, -2)
        x = seen.reshape(*seen.shape[:-2], -1)
    return x


def patch_columns(x: jax.Array, axes: Sequence[Axis], groups: int) -> jax.Array:
    """(N, *s, G C), padded -> (G, *k, C, N, *o)."""
    *others, last = axes
    if last.out < LINE:
        x = columns(x, groups)
        for j, axis in reversed(list(enumerate(axes))):
            x = _seen(x, axis, j - len(axes), 1)
        return x
    # One line is transposed after the other, in the cache; from there on whole lines are copied.
    x = _seen(x.swapaxes(-1, -2), last, -1, 0)
    for j, axis in reversed(list(enumerate(others))):
        x = _seen(x, axis, j - len(others) - 2, 0)
    x = x.reshape(*x.shape[:-2], groups, -1, last.out)
    return jnp.moveaxis(jnp.moveaxis(x, -2, len(axes)), -2, 0)


def slices(axis: Axis) -> int:
    """How many slices make the patches of one axis."""
    return -(-axis.kernel // _block(axis))


def _block(axis: Axis) -> int:
    """Neighbouring taps that are one slice: without dilation, as many as the stride keeps apart."""
    return axis.stride if axis.dilation == 1 and axis.kernel >= axis.stride else 1


def _seen(x: jax.Array, axis: Axis, i: int, at: int) -> jax.Array:
    """What each tap of one axis sees, stacked along a new axis `at`."""
    i %= x.ndim
    if slices(axis) > UNROLL:
        index = (np.arange(axis.kernel) * axis.dilation)[:, None] + np.arange(axis.out) * axis.stride
        return jnp.moveaxis(jnp.take(x, index, axis=i, mode="clip"), i, at)
    if (block := _block(axis)) > 1:
        blocks = axis.out - 1 + slices(axis)
        x = _resized(x, i, blocks * block)
        x = x.reshape(*x.shape[:i], blocks, block, *x.shape[i + 1 :])
        parts = [lax.slice_in_dim(x, j, j + axis.out, 1, i) for j in range(slices(axis))]
        return jnp.moveaxis(_resized(lax.concatenate(parts, i + 1), i + 1, axis.kernel), i + 1, at)
    size = (axis.out - 1) * axis.stride + 1
    starts = range(0, axis.span, axis.dilation)
    return jnp.stack([lax.slice_in_dim(x, s, s + size, axis.stride, i) for s in starts], at)


def _resized(x: jax.Array, i: int, size: int) -> jax.Array:
    """Cut, or with zeros behind."""
    end = size - x.shape[i]
    if end <= 0:
        return lax.slice_in_dim(x, 0, size, axis=i)
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, end if j == i else 0, 0) for j in range(x.ndim)])
