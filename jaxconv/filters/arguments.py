"""The edge of the filters: images, axes, and options that may be one for all axes or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax.core import Tracer

from ..geometry.padding import is_int, to_int
from ..ops import arguments
from ..typing import Layout

Mode = Literal["reflect", "mirror", "nearest", "wrap", "constant"]
Modes = Mode | Sequence[Mode]
Axes = int | Sequence[int] | Layout | None
Number = float | jax.Array


def image(x: Any, *, selects: bool = False) -> jax.Array:
    """The image as an array; integers become floating, unless the filter only selects among them."""
    x = arguments.array(x, "x")
    if x.ndim == 0:
        raise ValueError("x is a single number; wanted an array of one dimension or more.")
    if selects or jnp.issubdtype(x.dtype, jnp.inexact):
        return x
    return x.astype(jax.dtypes.canonicalize_dtype(jnp.float64))


def real_image(x: Any, name: str, *, selects: bool = False) -> jax.Array:
    """As `image`, for filters that compare values."""
    x = image(x, selects=selects)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(f"{name} compares values, and x is {x.dtype}; filter its real and imaginary parts.")
    return x


def single(dtype: Any) -> Any:
    """The dtype, or float32 in the place of half precision."""
    return jnp.promote_types(dtype, jnp.float32)


def filtered_axes(axes: Any, ndim: int) -> tuple[int, ...]:
    """The axes that a filter runs along, as non-negative integers in the caller's order."""
    if axes is None:
        return tuple(range(ndim))
    if isinstance(axes, str):
        if axes not in get_args(Layout):
            raise ValueError(f"axes={axes!r} is not known; use {' or '.join(get_args(Layout))}, or integers.")
        if ndim < 3:
            raise ValueError(
                f"axes={axes!r} wants a batch axis, spatial axes and channels; x has {ndim} dimensions. "
                "Name its spatial axes, as axes=(0, 1), or leave axes out to filter along all."
            )
        return tuple(range(1, ndim - 1) if axes == "channels_last" else range(2, ndim))
    given = (axes,) if is_int(axes) or not hasattr(axes, "__iter__") else tuple(axes)
    found = tuple(to_int(a, "axes") for a in given)
    if not found or any(not -ndim <= a < ndim for a in found):
        raise ValueError(f"axes={axes!r} must be axes of x, from {-ndim} to {ndim - 1}, at least one.")
    found = tuple(a % ndim for a in found)
    if len(set(found)) < len(found):
        raise ValueError(f"axes={axes!r} names an axis twice.")
    return found


def each(value: Any, count: int, name: str) -> tuple[Any, ...]:
    """One value for each of `count` axes, from one for all or a sequence."""
    several = isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0
    if not several:
        return (value,) * count
    if len(value) != count:
        raise ValueError(f"{name}={value!r} has {len(value)} entries; wanted one, or {count}, one an axis.")
    return tuple(value)


def modes(mode: Any, count: int) -> tuple[Mode, ...]:
    """One boundary mode for each axis."""
    found = each(mode, count, "mode")
    for m in found:
        if m not in get_args(Mode):
            raise ValueError(f"mode={m!r} is not known; use one of {', '.join(get_args(Mode))}.")
    return found


def sizes(size: Any, count: int) -> tuple[int, ...]:
    """Window sizes, at least 1."""
    found = tuple(to_int(s, "size") for s in each(size, count, "size"))
    if min(found) < 1:
        raise ValueError(f"size={size!r} must be at least 1.")
    return found


def non_negative(value: Any, name: str) -> int:
    """A count that is known while tracing."""
    found = to_int(value, name)
    if found < 0:
        raise ValueError(f"{name}={value} must not be negative.")
    return found


def reaches(window: Sequence[int], origin: Any) -> tuple[tuple[int, int], ...]:
    """Positions that a window sees before and behind its own, along each axis; origin moves it back."""
    pairs = []
    for size, o in zip(window, each(origin, len(window), "origin"), strict=True):
        before = size // 2 + to_int(o, "origin")
        if not 0 <= before < max(size, 1):
            least, most = -(size // 2), (size - 1) // 2
            raise ValueError(
                f"origin={origin!r} leaves a window of {size}; it may be from {least} to {most} there."
            )
        pairs.append((before, size - 1 - before))
    return tuple(pairs)


def is_traced(value: Any) -> bool:
    """Whether the value is not known yet."""
    return isinstance(value, Tracer)


def concrete(value: Any, name: str, hint: str) -> float:
    """A number that is known while tracing."""
    if is_traced(value):
        raise ValueError(f"{name} is traced here, and must be known while tracing; {hint}.")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r} of type {type(value).__name__} must be a number.") from None
