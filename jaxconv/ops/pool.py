"""Maxima of windows, where they are, and the way back."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from ..geometry import Axis
from ..geometry.pool import Parts, windows
from ..typing import Layout, Padding
from . import arguments
from .pool_maps import AllWindows, first_maxima, maxima, pick, positions
from .pool_windows import Windows


@overload
def max_pool(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = ...,
    padding: Padding = ...,
    dilation: int | Sequence[int] = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
    layout: Layout = ...,
) -> jax.Array: ...
@overload
def max_pool(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = ...,
    padding: Padding = ...,
    dilation: int | Sequence[int] = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[True],
    layout: Layout = ...,
) -> tuple[jax.Array, jax.Array]: ...
def max_pool(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    layout: Layout = "channels_last",
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """The largest element of each window, channel by channel.

    Its gradient goes to one element of each window: of equal ones the first in row-major order, as in
    PyTorch; a NaN is larger than any number.

    Args:
      x: input, `(N, *spatial, C)`, or without N if `window` is a sequence; real or integer.
      window: size of a window for each axis; an int stands for all axes of a batched x.
      stride: positions between neighbouring windows; None is the window, so that they touch.
      padding: as in `conv`, not negative; padding is smaller than any element.
      dilation: positions between neighbours in a window.
      ceil_mode: whether the last window may reach beyond the padding; without it, positions that fill no
        window are left out.
      return_indices: whether to return, too, where each maximum is.
      layout: order of x and the results, "channels_last" or "channels_first".

    Returns:
      `(N, *out, C)`; with `return_indices` also an int32 array of that shape: the number of each maximum's
      position in row-major order over the spatial axes of x, as PyTorch counts.

    Raises:
      ValueError: if ranks, sizes or names do not fit, or a window holds nothing but padding.

    Example:
      >>> x = jnp.array([3.0, 5.0, 5.0, 1.0, 0.0]).reshape(1, 5, 1)
      >>> y, indices = max_pool(x, 3, stride=2, return_indices=True)
      >>> y.ravel().tolist(), indices.ravel().tolist()
      ([5.0, 5.0], [1, 2])
      >>> jax.grad(lambda x: max_pool(x, 3, stride=2).sum())(x).ravel().tolist()
      [0.0, 1.0, 1.0, 0.0, 0.0]
    """
    x, form, size, window, stride = entered(x, window, stride, layout)
    axes, _ = windows(
        padding, size=size, window=window, stride=stride, dilation=dilation, ceil_mode=ceil_mode
    )
    return _left(form, x, axes, return_indices)


@overload
def adaptive_max_pool(
    x: ArrayLike,
    output_size: int | Sequence[int | None],
    *,
    return_indices: Literal[False] = ...,
    layout: Layout = ...,
) -> jax.Array: ...
@overload
def adaptive_max_pool(
    x: ArrayLike,
    output_size: int | Sequence[int | None],
    *,
    return_indices: Literal[True],
    layout: Layout = ...,
) -> tuple[jax.Array, jax.Array]: ...
def adaptive_max_pool(
    x: ArrayLike,
    output_size: int | Sequence[int | None],
    *,
    return_indices: bool = False,
    layout: Layout = "channels_last",
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """The largest element of each of so many windows that divide the input.

    Window o of n over an axis of s positions holds positions floor(o s / n) to ceil((o + 1) s / n), the last
    one excluded: PyTorch's rule. Windows overlap where n does not divide s.

    Args:
      x: input, `(N, *spatial, C)`, or without N if `output_size` is a sequence; real or integer.
      output_size: size of the result for each axis, None for that of x; an int stands for all axes of a
        batched x.
      return_indices: as in `max_pool`.
      layout: order of x and the results, "channels_last" or "channels_first".

    Returns:
      `(N, *output_size, C)`, and with `return_indices` where the maxima are, as in `max_pool`.

    Raises:
      ValueError: if ranks, sizes or names do not fit.

    Example:
      >>> adaptive_max_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
      [2.0, 4.0]
    """
    x, form, parts = entered_adaptive(x, output_size, layout)
    return _left(form, x, parts, return_indices)


def max_unpool(
    x: ArrayLike,
    indices: ArrayLike,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
    layout: Layout = "channels_last",
) -> jax.Array:
    """Puts elements back where `max_pool` found them, and zeros everywhere else.

    It is no inverse: what was not the largest is lost. Where windows overlap, several elements may have one
    place, and one of them stays; each of them has that place's gradient, as in PyTorch.

    Args:
      x: elements, `(N, *out, C)`, or without N if `window` is a sequence.
      indices: of x's shape, as `max_pool(..., return_indices=True)` returns them. What points outside is left
        out.
      window: of the pooling.
      stride: of the pooling.
      padding: of the pooling, as numbers.
      output_size: spatial size of the result. By default the smallest that the pooling made this one of:
        (out - 1) stride - lo - hi + window.
      layout: order of x, indices and the result, "channels_last" or "channels_first".

    Returns:
      `(N, *output_size, C)`.

    Raises:
      ValueError: if shapes, ranks or names do not fit.

    Example:
      >>> x = jnp.array([3.0, 5.0, 4.0, 1.0]).reshape(1, 4, 1)
      >>> max_unpool(*max_pool(x, 2, return_indices=True), 2).ravel().tolist()
      [0.0, 5.0, 4.0, 0.0]
    """
    x, form, size, window, stride = entered(x, window, stride, layout)
    indices = arguments.array(indices, "indices")
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f"indices have dtype {indices.dtype}; wanted integers, as max_pool returns them.")
    if indices.ndim != x.ndim - (not form.batched) or form.enter_shape(indices.shape) != x.shape:
        raise ValueError(f"indices have shape {indices.shape}; wanted x's, one for each element.")
    if output_size is None:
        pads = arguments.pairs(padding, len(size))
        sides = zip(size, stride, pads, window, strict=True)
        output_size = [max((n - 1) * s - lo - hi + k, 0) for n, s, (lo, hi), k in sides]
    wanted = arguments.shape(output_size, len(size), "output_size", "one for each spatial dimension")
    return form.leave(_unpool(x, form.enter(indices), wanted))


def _left(
    form: arguments.Form, x: jax.Array, windows: AllWindows, indices: bool
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """The maxima in the caller's layout, with or without their places."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(f"x has dtype {x.dtype}; complex numbers have no order.")
    if not indices:
        return form.leave(_max(x, windows))
    y, taps = first_maxima(x, windows)
    return form.leave(y), form.leave(positions(taps, x.shape[1:-1], windows))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max(x: jax.Array, windows: AllWindows) -> jax.Array:
    return maxima(x, windows)


@_max.defjvp
def _max_jvp(
    windows: AllWindows, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    y, taps = first_maxima(*primals, windows)
    return y, pick(*tangents, windows, taps)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _unpool(x: jax.Array, indices: jax.Array, size: tuple[int, ...]) -> jax.Array:
    return _scattered(x, indices, size, add=False)


@_unpool.defjvp
def _unpool_jvp(
    size: tuple[int, ...], primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, Any]
) -> tuple[jax.Array, jax.Array]:
    (x, indices), (t, _) = primals, tangents
    return _unpool(x, indices, size), _scattered(t, indices, size, add=True)


def _scattered(x: jax.Array, indices: jax.Array, size: tuple[int, ...], *, add: bool) -> jax.Array:
    n, c = x.shape[0], x.shape[-1]
    places = math.prod(size)
    flat, where = (a.reshape(n, math.prod(x.shape[1:-1]), c) for a in (x, indices))
    where = where if where.dtype.itemsize >= 4 else where.astype(jnp.int32)  # which `places` may be beyond
    where = jnp.where(where < 0, places, where)  # NumPy's meaning of a negative index is none of ours
    at = jnp.zeros((n, places, c), x.dtype).at[
        jnp.arange(n)[:, None, None], where, jnp.arange(c)[None, None, :]
    ]
    put, sharding = at.add if add else at.set, _sharding(flat)
    return put(flat, mode="drop", out_sharding=sharding).reshape(n, *size, c)


def _sharding(flat: jax.Array) -> NamedSharding | None:
    """That of `(N, places, C)`, which a scatter can't tell under explicit mesh axes."""
    mesh, spec = (found := jax.typeof(flat).sharding).mesh, found.spec
    if AxisType.Explicit not in mesh.axis_types:
        return None
    return NamedSharding(mesh, PartitionSpec(spec[0], None, spec[2]))


def entered(
    x: ArrayLike, window: Any, stride: Any, layout: str
) -> tuple[jax.Array, arguments.Form, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The input as `(N, *spatial, C)`, its layout and spatial size, window and stride for each axis."""
    x = arguments.array(x, "x")
    window = arguments.window(window, x.ndim - 2, "window")
    form = arguments.form(x.shape, len(window), layout, "x", "window")
    stride = window if stride is None else arguments.per_axis(stride, len(window), "stride")
    for name, value in {"window": window, "stride": stride}.items():
        if min(value) < 1:
            raise ValueError(f"{name}={value} must be at least 1 everywhere.")
    x = form.enter(x)
    return x, form, x.shape[1:-1], window, stride


def entered_adaptive(
    x: ArrayLike, output_size: Any, layout: str
) -> tuple[jax.Array, arguments.Form, AllWindows]:
    """The input as `(N, *spatial, C)`, its layout, and the windows of each axis."""
    x = arguments.array(x, "x")
    listed = isinstance(output_size, Sequence | np.ndarray)
    sizes = tuple(output_size) if listed else (output_size,) * max(x.ndim - 2, 1)
    form = arguments.form(x.shape, len(sizes), layout, "x", "result")
    x = form.enter(x)
    sizes = tuple(n if out is None else out for n, out in zip(x.shape[1:-1], sizes, strict=True))
    sizes = arguments.per_axis(sizes, len(sizes), "output_size")
    if min((*sizes, *x.shape[1:-1])) < 1:
        raise ValueError(
            f"output_size={sizes} of x with spatial shape {x.shape[1:-1]}: both must be at least 1."
        )
    return x, form, tuple(map(_parts, x.shape[1:-1], sizes))


def _parts(size: int, out: int) -> Windows:
    """Parts of one size are windows that touch, which are cheaper to see."""
    return Parts(size, out) if size % out else Axis(size, size // out, size // out)
