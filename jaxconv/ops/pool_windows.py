"""What the windows along an axis see of an array, and the way back: linear maps without scatter.

The windows that hold a position are few, and the same for every position of one phase of the stride. So the
way back adds a few shifted arrays that have one dimension more for each axis, the phase, where JAX's
transpose of strided slices would pad every one of them to the full size.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..geometry import Axis
from ..geometry.pool import Parts

Windows = Axis | Parts

# Repetitions of a tap's computation, times its length, that cost less than to write the tap to memory.
_CHEAP = 16
# The taps of longer windows are one array: a slice for each of a thousand takes seconds to compile.
_LONG = 64


def padded(x: jax.Array, windows: Sequence[Windows], value: Any) -> jax.Array:
    """`(N, *spatial, C)` with what its windows see around it."""
    ends = [(w.lo, max(w.hi, 0)) if isinstance(w, Axis) else (0, 0) for w in windows]
    return _edges(x, dict(enumerate(ends, start=1)), value)


def seen(x: jax.Array, dim: int, windows: Windows, padding: Any) -> list[jax.Array]:
    """For each tap, what the windows along a dimension of a padded x see; `padding` if that is nothing."""
    if isinstance(windows, Parts):
        return _held(x, dim, windows, padding)
    length = max((windows.out - 1) * windows.stride + 1, 0)
    starts = (k * windows.dilation if length else 0 for k in range(windows.kernel))
    return [lax.slice_in_dim(x, start, start + length, windows.stride, dim) for start in starts]


def stacked(x: jax.Array, dim: int, windows: Windows, padding: Any) -> jax.Array | None:
    """The same as one array, with a dimension for the taps behind `dim`; None where a list is better.

    That is where windows are short, and where they overlap so much that the array would be large.
    """
    if windows.kernel <= _LONG or windows.out == 0:
        return None
    if isinstance(windows, Parts):
        where, held = (np.stack(all_taps, -1) for all_taps in zip(*_tap_by_tap(windows), strict=True))
        seen = jnp.take(x, where, axis=dim, mode="clip")
        held = np.expand_dims(held, [i for i in range(seen.ndim) if i not in (dim, dim + 1)])
        return jnp.where(held, seen, jnp.asarray(padding, x.dtype))
    if (windows.stride, windows.dilation) == (windows.kernel, 1):
        x = lax.slice_in_dim(x, 0, windows.out * windows.kernel, axis=dim)
        return x.reshape(*x.shape[:dim], windows.out, windows.kernel, *x.shape[dim + 1 :])
    if windows.kernel > 2 * windows.stride:
        return None
    first = np.arange(windows.out)[:, None] * windows.stride
    return jnp.take(x, first + np.arange(windows.kernel) * windows.dilation, axis=dim, mode="clip")


def spread(g: jax.Array, tap: jax.Array | None, dim: int, windows: Windows) -> jax.Array:
    """x[i] = Σ g[o] over all windows o along one dimension that hold position i; with `tap` as that one."""
    if isinstance(windows, Axis):
        return spread_jointly(g, tap, {dim: windows})
    if tap is None:
        return functools.reduce(lax.add, _held(g, dim, windows.exchanged, 0))
    # Every window on its own, then the sum of those that hold a position.
    taps = along(np.arange(windows.kernel), dim + 1, g.ndim + 1)
    here = jnp.expand_dims(_computed_once(tap), dim + 1) == taps.astype(np.float32)
    apart = jnp.where(here, jnp.expand_dims(g, dim + 1), jnp.zeros((), g.dtype))
    apart = apart.reshape(*g.shape[:dim], windows.out * windows.kernel, *g.shape[dim + 1 :])
    starts, position = np.array(windows.starts), np.arange(windows.size)
    return functools.reduce(
        lax.add,
        (
            _masked(apart, o * windows.kernel + position - starts[o], held, dim, 0)
            for o, held in _tap_by_tap(windows.exchanged)
        ),
    )


def spread_jointly(g: jax.Array, code: jax.Array | None, axes: Mapping[int, Axis]) -> jax.Array:
    """The same along several dimensions; `code` numbers a window's taps in row-major order."""
    x = functools.reduce(lax.add, _shifted(g, code, axes))
    for dim in axes:  # one by one, so that explicit sharding survives
        x = lax.collapse(x, dim, dim + 2)
    return lax.slice(x, [0] * x.ndim, [axes[d].size if d in axes else n for d, n in enumerate(x.shape)])


def terms_of(axes: Iterable[Axis]) -> int:
    """How many arrays `spread_jointly` adds up."""
    return math.prod(len(_taps(axis)) for axis in axes)


def along(values: Iterable[Any], dim: int, ndim: int) -> np.ndarray:
    """A vector as an array that broadcasts along one of `ndim` dimensions."""
    return np.expand_dims(np.asarray(values), [i for i in range(ndim) if i != dim])


def _computed_once(code: jax.Array) -> jax.Array:
    """The same below 2²¹, as float32: half the root of (2 k + 1)², rounded down.

    XLA computes what it takes for cheap again for each element that sees it, maxima of whole windows
    included. A root is not cheap.
    """
    k = code.astype(np.float32)
    return lax.floor(lax.sqrt(4 * k * (k + 1) + 1) / 2)


def _taps(axis: Axis) -> dict[int, np.ndarray]:
    """With k dilation - lo = a stride + r: for each a, the tap k of each r, or -1."""
    taps: dict[int, np.ndarray] = {}
    for k in range(axis.kernel):
        a, r = divmod(k * axis.dilation - axis.lo, axis.stride)
        taps.setdefault(a, np.full(axis.stride, -1))[r] = k
    return taps


def _counts(axes: Mapping[int, Axis]) -> dict[int, int]:
    return {dim: -(-axis.size // axis.stride) for dim, axis in axes.items()}


def _shifted(g: jax.Array, code: jax.Array | None, axes: Mapping[int, Axis]) -> list[jax.Array]:
    """x[q stride + r] gets g[q - a] through tap k: a term for each a, with a dimension r behind each q."""
    taps, count = {dim: _taps(axis) for dim, axis in axes.items()}, _counts(axes)
    before = {dim: max(*taps[dim], 0) for dim in axes}
    after = {dim: max(count[dim] - min(taps[dim]) - axis.out, 0) for dim, axis in axes.items()}
    ends = {dim: (before[dim], after[dim]) for dim in axes}
    g = _edges(g, ends, 0)
    if code is not None:
        code = _edges(code, ends, math.prod(axis.kernel for axis in axes.values()))
        repeated = math.prod(axis.stride for axis in axes.values())
        if repeated * sum(axis.kernel for axis in axes.values()) > _CHEAP:
            code = _computed_once(code)
    zero = jnp.zeros((), g.dtype)
    found = []
    for shifts in itertools.product(*taps.values()):
        starts = {dim: before[dim] - a for dim, a in zip(axes, shifts, strict=True)}
        wanted = _codes({dim: taps[dim][a] for dim, a in zip(axes, shifts, strict=True)}, axes, g.ndim)
        part = _cut(g, starts, count)
        if code is not None:
            part = jnp.where(_cut(code, starts, count) == wanted.astype(code.dtype), part, zero)
        elif (wanted < 0).any():
            part = jnp.where(wanted >= 0, part, zero)
        found.append(jnp.broadcast_to(part, lax.broadcast_shapes(part.shape, wanted.shape)))
    return found


def _codes(taps: Mapping[int, np.ndarray], axes: Mapping[int, Axis], ndim: int) -> np.ndarray:
    """The number of each combination of phases' taps, -1 where one has none, as `_cut` arrays broadcast."""
    code = np.zeros((), int)
    for dim, numbers in taps.items():
        none = (code < 0)[..., None] | (numbers < 0)
        code = np.where(none, -1, code[..., None] * axes[dim].kernel + numbers)
    behind = [dim + i + 1 for i, dim in enumerate(axes)]
    return np.expand_dims(code, [i for i in range(ndim + len(axes)) if i not in behind])


def _cut(array: jax.Array, starts: Mapping[int, int], count: Mapping[int, int]) -> jax.Array:
    """A part of an array, with a dimension of size 1 behind each that was cut."""
    first = [starts.get(dim, 0) for dim in range(array.ndim)]
    last = [starts[d] + count[d] if d in starts else n for d, n in enumerate(array.shape)]
    return jnp.expand_dims(lax.slice(array, first, last), [dim + i + 1 for i, dim in enumerate(starts)])


def _held(x: jax.Array, dim: int, parts: Parts, padding: Any) -> list[jax.Array]:
    """Tap by tap what the parts hold; `padding` where one holds less than others."""
    return [_masked(x, where, held, dim, padding) for where, held in _tap_by_tap(parts)]


def _tap_by_tap(parts: Parts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The positions that all windows hold there, and which windows do; the last position for the others."""
    starts, counts = np.array(parts.starts), np.array(parts.counts)
    for k in range(parts.kernel):
        yield starts + np.minimum(k, counts - 1), counts > k


def _masked(x: jax.Array, where: np.ndarray, held: np.ndarray, dim: int, padding: Any) -> jax.Array:
    x = jnp.take(x, where, axis=dim, mode="clip")
    return x if held.all() else jnp.where(along(held, dim, x.ndim), x, jnp.asarray(padding, x.dtype))


def _edges(x: jax.Array, ends: Mapping[int, tuple[int, int]], value: Any) -> jax.Array:
    if not any(map(any, ends.values())):
        return x
    config = [(*ends.get(dim, (0, 0)), 0) for dim in range(x.ndim)]
    return lax.pad(x, jnp.asarray(value, x.dtype), config)
