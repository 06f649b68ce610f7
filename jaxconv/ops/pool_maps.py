"""Maxima and where they are, axis by axis, and the two linear maps that take from windows and give back.

    pick(x, taps)[o] = what window o of x sees at its tap          place = its transpose

A tap says which element of its window a result is. Without any, `pick` adds up whole windows. Both are
primitives, because the transpose that JAX would find for either is many times slower than the other.

The last axis is pooled first: then the maximum that is taken of several equal ones is the first in row-major
order, as in PyTorch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..geometry import Axis
from ..geometry.pool import first_tap
from .pool_windows import Windows, along, padded, seen, spread, spread_jointly, stacked, terms_of

AllWindows = tuple[Windows, ...]
Taps = tuple[jax.Array, ...]
"""For each axis the tap of each result; that of the last axis has the padded size along the others."""

# More terms than this or larger windows, and the axes are gone back one by one.
_MOST_TERMS, _LARGEST = 16, 2**20


def maxima(x: jax.Array, windows: AllWindows) -> jax.Array:
    """The largest element of each window of `(N, *spatial, C)`; NaN if there is one."""
    least = _least(x.dtype)
    x = padded(x, windows, least)
    for dim, ours in _last_first(windows):
        together = stacked(x, dim, ours, least)
        if together is None:
            x = functools.reduce(lax.max, seen(x, dim, ours, least))
        else:
            x = together.max(dim + 1)
    return x


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def first_maxima(x: jax.Array, windows: AllWindows) -> tuple[jax.Array, Taps]:
    """The same, and which element of its window each of them is: the first of equal ones, the last NaN."""
    taps: list[jax.Array] = []
    x = padded(x, windows, _least(x.dtype))
    for dim, ours in _last_first(windows):
        x, tap = _first_maxima(x, dim, ours)
        taps.insert(0, tap)
    return x, tuple(taps)


def _first_maxima(x: jax.Array, dim: int, windows: Windows) -> tuple[jax.Array, jax.Array]:
    dtype, least = _dtype(windows.kernel), _least(x.dtype)
    # Padding is never the maximum, not even of a window whose elements are as small as it.
    first = [first_tap(windows, o) if isinstance(windows, Axis) else 0 for o in range(windows.out)]
    first = along(np.array(first, dtype), dim, x.ndim)
    if (together := stacked(x, dim, windows, least)) is not None:
        tap = _first_largest(together, dim + 1).astype(dtype)
        return together.max(dim + 1), jnp.maximum(tap, jnp.broadcast_to(first, tap.shape))
    best, *others = seen(x, dim, windows, least)
    tap = jnp.broadcast_to(first, best.shape)
    for k, value in enumerate(others, start=1):
        larger = (value > best) | (value != value)
        best, tap = jnp.where(larger, value, best), jnp.where(larger, jnp.array(k, dtype), tap)
    return best, tap


def _first_largest(x: jax.Array, axis: int) -> jax.Array:
    """The number of the first largest element along an axis, or of the last NaN."""
    none = x != x
    last = x.shape[axis] - 1 - jnp.argmax(jnp.flip(none, axis), axis)
    return jnp.where(none.any(axis), last, jnp.argmax(x, axis))


@first_maxima.defjvp
def _first_maxima_jvp(
    windows: AllWindows, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[tuple[jax.Array, Taps], tuple[jax.Array, Any]]:
    y, taps = first_maxima(*primals, windows)
    constant = tuple(np.zeros(tap.shape, jax.dtypes.float0) for tap in taps)
    return (y, taps), (pick(*tangents, windows, taps), constant)


def positions(taps: Taps, sizes: Sequence[int], windows: AllWindows) -> jax.Array:
    """The number of each maximum's position in row-major order, int32."""
    found = None
    for dim, ours in _last_first(windows):
        tap = taps[dim - 1].astype(jnp.int32)
        if isinstance(ours, Axis):
            starts, step = np.arange(ours.out, dtype=np.int32) * ours.stride - ours.lo, ours.dilation
        else:
            starts, step = np.array(ours.starts, np.int32), 1
        here = (tap * step + along(starts, dim, tap.ndim)) * math.prod(sizes[dim:])
        found = here if found is None else here + _picked(found, dim, ours, taps[dim - 1])
    assert found is not None  # there is one axis or more
    return found


def pick(x: jax.Array, windows: AllWindows, taps: Taps = ()) -> jax.Array:
    """What each window's tap sees; without taps the sum of each window. Linear in x."""
    return _PICK.bind(x, *taps, windows=windows)


def _last_first(windows: AllWindows) -> list[tuple[int, Windows]]:
    return list(enumerate(windows, start=1))[::-1]


def _least(dtype: Any) -> Any:
    """Smaller than any element."""
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def _dtype(taps: int) -> Any:
    """That of numbers below `taps`, with two more that stand for none."""
    return np.uint8 if taps < 255 else np.int32


def _picked(x: jax.Array, dim: int, windows: Windows, tap: jax.Array | None) -> jax.Array:
    """Along one dimension of a padded x."""
    zero = jnp.zeros((), x.dtype)
    if (together := stacked(x, dim, windows, 0)) is not None:
        if tap is not None:
            taps = along(np.arange(windows.kernel, dtype=tap.dtype), dim + 1, together.ndim)
            together = jnp.where(jnp.expand_dims(tap, dim + 1) == taps, together, zero)
        return together.sum(dim + 1, dtype=x.dtype)
    values = seen(x, dim, windows, 0)
    if tap is not None:
        values = [jnp.where(tap == k, value, zero) for k, value in enumerate(values)]
    return functools.reduce(lax.add, values)


def _pick(x: jax.Array, *taps: jax.Array, windows: AllWindows) -> jax.Array:
    x = padded(x, windows, 0)
    for dim, ours in _last_first(windows):
        x = _picked(x, dim, ours, taps[dim - 1] if taps else None)
    return x


def _place(g: jax.Array, *taps: jax.Array, windows: AllWindows) -> jax.Array:
    axes = {dim: axis for dim, axis in enumerate(windows, start=1) if isinstance(axis, Axis)}
    numbered = len(axes) == len(windows) and math.prod(w.kernel for w in windows) <= _LARGEST
    if taps and numbered and terms_of(axes.values()) <= _MOST_TERMS:
        return spread_jointly(g, _code(taps, windows), axes)
    for dim, ours in enumerate(windows, start=1):
        tap = None
        if taps:  # without the padding of the axes that are done
            tap = taps[dim - 1]
            for before, axis in axes.items():
                if before < dim:
                    tap = lax.slice_in_dim(tap, axis.lo, axis.lo + axis.size, 1, before)
        g = spread(g, tap, dim, ours)
    return g


def _code(taps: Taps, windows: AllWindows) -> jax.Array:
    """The number of each result in its window, in row-major order."""
    kernels = [w.kernel for w in windows]
    dtype = _dtype(math.prod(kernels))
    code = None
    for dim, ours in _last_first(windows):
        here = taps[dim - 1].astype(dtype) * np.array(math.prod(kernels[dim:]), dtype)
        code = here if code is None else here + _picked(code, dim, ours, taps[dim - 1])
    assert code is not None  # there is one axis or more
    return code


def _primitive(name: str, compute: Callable[..., jax.Array]) -> Primitive:
    """A linear map of its first operand, which leaves dimension 0 alone."""
    primitive = Primitive(name)
    compiled = jax.jit(primitive.bind, static_argnames="windows")

    def impl(*operands: jax.Array, **params: Any) -> jax.Array:
        with jax.disable_jit(False):
            return compiled(*operands, **params)

    def abstract(*operands: Any, **params: Any) -> Any:
        # What lax makes of shardings and of axes of shard_map holds here, too.
        return jax.make_jaxpr(functools.partial(compute, **params))(*operands).out_avals[0]

    def batch(operands: Sequence[jax.Array], dims: Sequence[Any], **params: Any) -> tuple[jax.Array, int]:
        """The mapped dimension joins dimension 0."""
        [size] = {a.shape[d] for a, d in zip(operands, dims, strict=True) if d is not None}
        moved = [batching.bdim_at_front(a, d, size) for a, d in zip(operands, dims, strict=True)]
        y = primitive.bind(*(lax.collapse(a, 0, 2) for a in moved), **params)
        return y.reshape(size, moved[0].shape[1], *y.shape[1:]), 0

    primitive.def_impl(impl)
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return primitive


_PICK, _PLACE = _primitive("pool_pick", _pick), _primitive("pool_place", _place)


def _transposed_by(primitive: Primitive, other: Primitive) -> None:
    def jvp(primals: Sequence[jax.Array], tangents: Sequence[Any], **params: Any) -> tuple[Any, Any]:
        tangent = ad.instantiate_zeros(tangents[0])
        return primitive.bind(*primals, **params), primitive.bind(tangent, *primals[1:], **params)

    def transpose(ct: Any, _: Any, *tap: jax.Array, **params: Any) -> list[Any]:
        back = ct if type(ct) is ad.Zero else other.bind(ct, *tap, **params)
        return [back, *(None for _ in tap)]

    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose


_transposed_by(_PICK, _PLACE)
_transposed_by(_PLACE, _PICK)
