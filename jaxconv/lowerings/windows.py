"""What a kernel's taps see of the input, as slices: the building blocks of the matrix-product algorithms.

Arrays here are in one of two orders, with M standing for N and the spatial axes:
rows `(G, M, C)` for a product that contracts channels, columns `(G, C, M)` for one that contracts positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..geometry import Axis, ConvSpec

# Beyond this many taps a program runs in a loop or gathers: compile time grows with every slice written out.
UNROLL = 64


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


def patch_columns(x: jax.Array, axes: Sequence[Axis]) -> jax.Array:
    """(G, C, N, *s), padded -> (G, *k, C, N, *o)."""
    for j, axis in reversed(list(enumerate(axes))):
        x = _seen(x, axis, j - len(axes), 1)
    return x


def _seen(x: jax.Array, axis: Axis, i: int, at: int) -> jax.Array:
    """What each tap of one axis sees, stacked along a new axis `at`."""
    starts = np.arange(axis.kernel) * axis.dilation
    if axis.kernel > UNROLL:
        index = starts[:, None] + np.arange(axis.out) * axis.stride
        i %= x.ndim
        return jnp.moveaxis(jnp.take(x, index, axis=i, mode="clip"), i, at)
    size = (axis.out - 1) * axis.stride + 1
    return jnp.stack([lax.slice_in_dim(x, s, s + size, axis.stride, i) for s in starts.tolist()], at)
