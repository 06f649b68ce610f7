"""The median of a window: by minima and maxima of shifted images, or by bisection of its bits.

Up to `_NETWORK` positions, forgetful selection: of any n/2 + 2 values neither the smallest nor the largest is
the median of all n, so both are dropped and the next value takes their place; about 3/8 n² minima and maxima.
Above that the result is found bit by bit, from the highest: how many values of the window lie below a
candidate says whether the bit is set; n comparisons a bit, and no memory but the result's.

References:
  Devillard: Fast median search: an ANSI C implementation. 1998.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from . import arguments
from .arguments import Axes, Modes, Number
from .borders import extended
from .windows import Offset, fold, groups, offsets, seen

# On a CPU the network of 7 x 7 is faster than the bisection, that of 9 x 9 no longer.
_NETWORK = 49


def median(
    x: ArrayLike,
    size: int | Sequence[int] = 3,
    *,
    footprint: Any = None,
    mode: Modes = "reflect",
    cval: Number = 0.0,
    origin: int | Sequence[int] = 0,
    axes: Axes = None,
) -> jax.Array:
    """Replaces each position by the median of a window, which takes away specks and leaves edges.

    Of an even number n of values it is the larger of the middle two, sorted[n // 2], as in SciPy; of a window
    with a NaN it is not defined, as there. The
    gradient goes to the position that the value came from, in equal parts where several have the same value.

    Args:
      x: real image, any shape; integers keep their dtype.
      size: of the window, one for all axes or one for each.
      footprint: boolean array, one dimension for each filtered axis, true where the window counts; it takes
        the place of size.
      mode: what lies outside: "reflect", "mirror", "nearest", "wrap" or "constant".
      cval: the value outside for "constant".
      origin: moves the window towards smaller indices, one for all axes or one for each; 0 centres it, an
        even one half a position in front of its middle.
      axes: axes to filter along, None for all; see `jaxconv.filters`.

    Returns:
      The filtered image, of the shape and dtype of x.

    Raises:
      ValueError: for a complex x, an empty footprint, or an impossible option.

    References:
      Tukey: Exploratory data analysis. 1977, chapter 7.
      scipy.ndimage.median_filter, whose results these are.

    Example:
      >>> import jax.numpy as jnp
      >>> median(jnp.array([2.0, 80.0, 6.0, 3.0, 4.0])).tolist()
      [2.0, 6.0, 6.0, 4.0, 4.0]
    """
    x = arguments.real_image(x, "median", selects=True)
    found = arguments.filtered_axes(axes, x.ndim)
    if footprint is None:
        window = arguments.sizes(size, len(found))
        positions = offsets(window)
    else:
        window, positions = _positions(footprint, len(found))
    reach, modes = arguments.reaches(window, origin), arguments.modes(mode, len(found))
    if x.size == 0:
        return x
    return _median(extended(x, found, reach, modes, cval), found, tuple(positions), x.shape)


def _positions(footprint: Any, rank: int) -> tuple[tuple[int, ...], list[Offset]]:
    """The window around a footprint, and which of its positions count."""
    mask = np.asarray(footprint, bool)
    if mask.ndim != rank or not mask.any():
        raise ValueError(
            f"footprint of shape {mask.shape} with {mask.sum()} true entries; wanted {rank} dimensions, one "
            "for each filtered axis, and an entry that is true."
        )
    return mask.shape, [tuple(map(int, at)) for at in np.argwhere(mask)]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _median(
    outer: jax.Array, axes: tuple[int, ...], positions: tuple[Offset, ...], shape: tuple[int, ...]
) -> jax.Array:
    """Of the extended image; `shape` is the result's."""
    outer = lax.optimization_barrier(outer)
    if len(positions) <= _NETWORK:
        return _forgetful([seen(outer, axes, p, shape) for p in positions])
    return _bisected(outer, axes, positions, shape)


@_median.defjvp
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _median_jvp(axes, positions, shape, primals, tangents):
    (outer,), (rate,) = primals, tangents
    y = _median(outer, axes, positions, shape)

    def add(total: tuple[jax.Array, jax.Array], _: Any, value: jax.Array, change: jax.Array):
        same = value == y
        return total[0] + jnp.where(same, change, 0), total[1] + same

    # In half precision, 256 and one more are 256.
    zero = jnp.zeros(y.shape, arguments.single(y.dtype))
    change, count = fold(add, (zero, zero), (outer, rate), axes, positions, shape, loop=True)
    return y, (change / count).astype(y.dtype)


def _forgetful(values: list[jax.Array]) -> jax.Array:
    """The value in the middle, elementwise; of an even number the larger of the two."""
    if len(values) % 2 == 0:
        values = [*values, jnp.full_like(values[0], _largest(values[0].dtype))]
    kept = len(values) // 2 + 2
    work, waiting = values[:kept], values[kept:]
    while len(work) > 1:
        work = [*_without_extremes(work), *waiting[:1]]
        waiting = waiting[1:]
    return work[0]


def _without_extremes(values: list[jax.Array]) -> list[jax.Array]:
    """All values, in some order, but the smallest and the largest."""
    low = [jnp.minimum(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
    high = [jnp.maximum(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
    if len(values) % 2:  # the last one has no partner, and may be either
        low = _without_first(jnp.minimum, jnp.maximum, [*low, values[-1]])
        return _without_first(jnp.maximum, jnp.minimum, high + low)
    return [*_without_first(jnp.minimum, jnp.maximum, low), *_without_first(jnp.maximum, jnp.minimum, high)]


def _without_first(first: Any, other: Any, values: list[jax.Array]) -> list[jax.Array]:
    """All values but the first of an order; `first` and `other` are the two results of a pair."""
    best, left = values[0], []
    for value in values[1:]:
        left.append(other(best, value))
        best = first(best, value)
    return left


def _largest(dtype: Any) -> Any:
    return jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).max


def _bisected(
    outer: jax.Array, axes: tuple[int, ...], positions: tuple[Offset, ...], shape: tuple[int, ...]
) -> jax.Array:
    keys, bits = _keys(outer), 8 * outer.dtype.itemsize
    keys = lax.optimization_barrier(keys)
    rank, one = len(positions) // 2, keys.dtype.type(1)

    def set_bit(i: jax.Array, found: jax.Array) -> jax.Array:
        candidate = found | lax.shift_left(one, (bits - 1 - i).astype(keys.dtype))
        below = jnp.zeros(shape, jnp.int32)
        for group in groups(positions):
            below += sum((seen(keys, axes, p, shape) < candidate).astype(jnp.int32) for p in group)
            below = lax.optimization_barrier(below)
        return jnp.where(below <= rank, candidate, found)

    found = lax.fori_loop(0, bits, set_bit, jnp.zeros(shape, keys.dtype))
    return _values(found, outer.dtype)


def _keys(values: jax.Array) -> jax.Array:
    """Unsigned integers in the order of the values: all bits of a negative float are turned round."""
    unsigned = jnp.dtype(f"uint{8 * values.dtype.itemsize}")
    if jnp.issubdtype(values.dtype, jnp.unsignedinteger):
        return values
    bits = lax.bitcast_convert_type(values, unsigned)
    sign = unsigned.type(1 << (8 * unsigned.itemsize - 1))
    if jnp.issubdtype(values.dtype, jnp.signedinteger):
        return bits ^ sign
    return jnp.where(bits & sign, ~bits, bits | sign)


def _values(keys: jax.Array, dtype: Any) -> jax.Array:
    """The inverse of `_keys`."""
    if jnp.issubdtype(dtype, jnp.unsignedinteger):
        return keys
    sign = keys.dtype.type(1 << (8 * keys.dtype.itemsize - 1))
    if jnp.issubdtype(dtype, jnp.signedinteger):
        return lax.bitcast_convert_type(keys ^ sign, dtype)
    return lax.bitcast_convert_type(jnp.where(keys & sign, keys ^ sign, ~keys), dtype)
