"""Pooling along one axis: maxima, and the two linear maps that take from windows and put back into them.

    pick(x, tap)[o] = x[o stride + tap[o] dilation - lo]          place = its transpose

`tap` says which position of its window each result came from; without one, `pick` adds up whole windows. The
two are primitives because each has a program without scatter: the positions that windows share with an input
position are few, and the same for every position of one phase of the stride. So `place` makes one dense array
for each phase and lays them side by side, where JAX's transpose of strided slices would pad every one of them
to the full size.

Several axes are pooled one after another, the last one first: then the maximum that is taken of several equal
ones is the first in row-major order, as in PyTorch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..geometry import Axis
from ..geometry.pool import Phases, first_tap

Taps = tuple[jax.Array, ...]
"""For each phase of an axis the position in its window that each result came from."""


def maxima(x: jax.Array, dim: int, phases: Phases) -> jax.Array:
    """The largest element of each window along one dimension; NaN if there is one."""
    least = _least(x.dtype)
    return _interleave(
        [functools.reduce(lax.max, _slices(x, dim, axis, least)) for axis in phases],
        dim,
    )


def first_maxima(x: jax.Array, dim: int, phases: Phases) -> tuple[jax.Array, Taps]:
    """The same, and where in its window each of them is: the first of equal ones, the last NaN."""
    found = [_first_maxima(x, dim, axis) for axis in phases]
    return _interleave([best for best, _ in found], dim), tuple(tap for _, tap in found)


def _first_maxima(x: jax.Array, dim: int, axis: Axis) -> tuple[jax.Array, jax.Array]:
    best, *others = _slices(x, dim, axis, _least(x.dtype))
    dtype = _tap_dtype(axis)
    # Padding is never the maximum, not even of a window whose elements are as small as it.
    start = np.array([first_tap(axis, o) for o in range(axis.out)], dtype)
    tap = jnp.broadcast_to(jnp.expand_dims(start, [i for i in range(x.ndim) if i != dim]), best.shape)
    for k, value in enumerate(others, start=1):
        larger = (value > best) | (value != value)
        best, tap = jnp.where(larger, value, best), jnp.where(larger, jnp.array(k, dtype), tap)
    return best, tap


def positions(taps: Taps, dim: int, phases: Phases) -> jax.Array:
    """Where along the dimension each result came from, int32."""
    found = []
    for tap, axis in zip(taps, phases, strict=True):
        window = lax.broadcasted_iota(jnp.int32, tap.shape, dim) * axis.stride - axis.lo
        found.append(window + tap.astype(jnp.int32) * axis.dilation)
    return _interleave(found, dim)


def pick(x: jax.Array, dim: int, phases: Phases, taps: Taps | None = None) -> jax.Array:
    """What each window's tap points to; without taps the sum of each window. Linear in x."""
    chosen = [()] * len(phases) if taps is None else [(tap,) for tap in taps]
    parts = [_PICK.bind(x, *tap, dim=dim, axis=axis) for axis, tap in zip(phases, chosen, strict=True)]
    return _interleave(parts, dim)


def _least(dtype: Any) -> Any:
    """Smaller than any element."""
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def _tap_dtype(axis: Axis) -> Any:
    return np.uint8 if axis.kernel < 255 else np.int32


def _interleave(parts: Sequence[jax.Array], dim: int) -> jax.Array:
    if len(parts) == 1:
        return parts[0]
    shape = parts[0].shape
    return jnp.stack(parts, dim + 1).reshape(*shape[:dim], -1, *shape[dim + 1 :])


def _slices(x: jax.Array, dim: int, axis: Axis, padding: Any) -> list[jax.Array]:
    """For each tap, what it sees."""
    length = max((axis.out - 1) * axis.stride + 1, 0)
    x = _edges(x, dim, max(axis.lo, 0), max(axis.hi, 0), padding)
    start = max(-axis.lo, 0)
    offsets = (start + k * axis.dilation for k in range(axis.kernel))
    return [lax.slice_in_dim(x, o, o + length, axis.stride, dim) if length else _nothing(x, dim) for o in offsets]


def _nothing(x: jax.Array, dim: int) -> jax.Array:
    return lax.slice_in_dim(x, 0, 0, 1, dim)


def _edges(x: jax.Array, dim: int, lo: int, hi: int, value: Any) -> jax.Array:
    if lo == hi == 0:
        return x
    ends = [(0, 0, 0)] * x.ndim
    ends[dim] = (lo, hi, 0)
    return lax.pad(x, jnp.asarray(value, x.dtype), ends)


def _pick(x: jax.Array, *tap: jax.Array, dim: int, axis: Axis) -> jax.Array:
    seen = _slices(x, dim, axis, 0)
    if tap:
        zero = jnp.zeros((), x.dtype)
        seen = [jnp.where(tap[0] == k, value, zero) for k, value in enumerate(seen)]
    return functools.reduce(lax.add, seen)


def _place(g: jax.Array, *tap: jax.Array, dim: int, axis: Axis) -> jax.Array:
    """x[i] = sum of g[o] over all o and k with o stride + k dilation - lo = i, and tap[o] = k.

    With i + lo = q stride + r and k dilation = a stride + r (negative lo aside) it is o = q - a.
    """
    lo, start = max(axis.lo, 0), max(-axis.lo, 0)
    offsets = [start + k * axis.dilation for k in range(axis.kernel)]
    count = -(-(axis.size + lo) // axis.stride)
    before = max(offsets) // axis.stride
    after = max(count - axis.out, 0)
    g = _edges(g, dim, before, after, 0)
    tap = tuple(_edges(t, dim, before, after, axis.kernel) for t in tap)
    zero = jnp.zeros((), g.dtype)

    def seen(k: int) -> jax.Array:
        at = before - offsets[k] // axis.stride
        part = lax.slice_in_dim(g, at, at + count, 1, dim)
        return jnp.where(lax.slice_in_dim(tap[0], at, at + count, 1, dim) == k, part, zero) if tap else part

    phases = []
    for r in range(axis.stride):
        parts = [seen(k) for k, offset in enumerate(offsets) if offset % axis.stride == r]
        parts = parts or [jnp.zeros_like(lax.slice_in_dim(g, 0, count, 1, dim))]
        phases.append(functools.reduce(lax.add, parts))
    return lax.slice_in_dim(_interleave(phases, dim), lo, lo + axis.size, 1, dim)


def _primitive(name: str, compute: Callable[..., jax.Array]) -> Primitive:
    """A linear map of its first operand, which leaves dimension 0 alone."""
    primitive = Primitive(name)
    compiled = jax.jit(primitive.bind, static_argnames=("dim", "axis"))

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
        return y.reshape(size, y.shape[0] // size if size else 0, *y.shape[1:]), 0

    primitive.def_impl(impl)
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return primitive


_PICK, _PLACE = _primitive("pool_pick", _pick), _primitive("pool_place", _place)


def _transposed_by(primitive: Primitive, other: Primitive) -> None:
    def jvp(primals: Sequence[jax.Array], tangents: Sequence[Any], **params: Any) -> tuple[Any, Any]:
        y = primitive.bind(*primals, **params)
        if type(tangents[0]) is ad.Zero:
            return y, ad.Zero.from_primal_value(y)
        return y, primitive.bind(tangents[0], *primals[1:], **params)

    def transpose(ct: Any, _: Any, *tap: jax.Array, **params: Any) -> list[Any]:
        back = ct if type(ct) is ad.Zero else other.bind(ct, *tap, **params)
        return [back, *(None for _ in tap)]

    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose


_transposed_by(_PICK, _PLACE)
_transposed_by(_PLACE, _PICK)
