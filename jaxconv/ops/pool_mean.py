"""Means and norms of windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..geometry.pool import Parts, counts, windows
from ..lowerings import wider
from ..typing import Layout, Padding
from . import arguments
from .pool import entered, entered_adaptive
from .pool_maps import AllWindows, pick


def avg_pool(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    layout: Layout = "channels_last",
) -> jax.Array:
    """The mean of each window, channel by channel.

    Args:
      x: input, `(N, *spatial, C)`, or without N if `window` is a sequence; floating or complex.
      window: size of a window for each axis; an int stands for all axes of a batched x.
      stride: positions between neighbouring windows; None is the window, so that they touch.
      padding: as in `conv`, not negative; padding is zero.
      ceil_mode: whether the last window may reach beyond the padding. What it reaches there never counts.
      count_include_pad: whether padding counts in the number that a sum is divided by. True, as in PyTorch
        and Flax; TensorFlow's and Keras's "SAME" is False.
      divisor_override: divides every sum by this instead.
      layout: order of x and the result, "channels_last" or "channels_first".

    Returns:
      `(N, *out, C)`.

    Raises:
      ValueError: if ranks, sizes or names do not fit, or a window holds nothing but padding.

    Example:
      >>> x = jnp.array([1.0, 2.0, 6.0]).reshape(1, 3, 1)
      >>> avg_pool(x, 2, padding=1).ravel().tolist()
      [0.5, 4.0]
      >>> avg_pool(x, 2, padding=1, count_include_pad=False).ravel().tolist()
      [1.0, 4.0]
    """
    x, form, size, window, stride = entered(x, window, stride, layout)
    _check_dtype(x)
    axes, asked = windows(padding, size=size, window=window, stride=stride, ceil_mode=ceil_mode)
    sums = _sums(x, axes)
    if divisor_override is not None:
        divisor = arguments.to_int(divisor_override, "divisor_override")
        if divisor == 0:
            raise ValueError("divisor_override=0 would divide by zero; give another number, or None.")
        return form.leave((sums / divisor).astype(x.dtype))
    held = [counts(axis, hi, padding=count_include_pad) for axis, hi in zip(axes, asked, strict=True)]
    return form.leave(_over(sums, held).astype(x.dtype))


def adaptive_avg_pool(
    x: ArrayLike, output_size: int | Sequence[int | None], *, layout: Layout = "channels_last"
) -> jax.Array:
    """The mean of each of so many windows that divide the input: those of `adaptive_max_pool`.

    Args:
      x: input, `(N, *spatial, C)`, or without N if `output_size` is a sequence; floating or complex.
      output_size: size of the result for each axis, None for that of x; an int stands for all axes of a
        batched x. 1 is the mean of everything.
      layout: order of x and the result, "channels_last" or "channels_first".

    Returns:
      `(N, *output_size, C)`.

    Raises:
      ValueError: if ranks, sizes or names do not fit.

    Example:
      >>> adaptive_avg_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
      [1.0, 3.0]
    """
    x, form, parts = entered_adaptive(x, output_size, layout)
    _check_dtype(x)
    held = [p.counts if isinstance(p, Parts) else counts(p, 0, padding=False) for p in parts]
    return form.leave(_over(_sums(x, parts), held).astype(x.dtype))


def lp_pool(
    x: ArrayLike,
    window: int | Sequence[int],
    *,
    norm_type: float = 2.0,
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
    layout: Layout = "channels_last",
) -> jax.Array:
    """The power mean without its division: (Σ xᵖ)^(1/p) of each window, channel by channel.

    p = 1 is the sum, p = ∞ would be the maximum. As in PyTorch, xᵖ is that of x and not of |x|, so that odd
    and broken p are for positive x, and a window that ceil mode lets reach beyond the end is scaled up to a
    whole one. Where the sum is zero the gradient is zero, too; PyTorch's is no number.

    Args:
      x: input, `(N, *spatial, C)`, or without N if `window` is a sequence; floating.
      window: size of a window for each axis; an int stands for all axes of a batched x.
      norm_type: p, above 0.
      stride: positions between neighbouring windows; None is the window.
      ceil_mode: as in `avg_pool`.
      layout: order of x and the result, "channels_last" or "channels_first".

    Returns:
      `(N, *out, C)`.

    Raises:
      ValueError: if ranks, sizes or names do not fit, or p is not above 0.

    Example:
      >>> lp_pool(jnp.array([3.0, 4.0, 0.0, 2.0]).reshape(1, 4, 1), 2).ravel().tolist()
      [5.0, 2.0]
    """
    if not isinstance(norm_type, int | float) or not 0 < norm_type < math.inf:
        raise ValueError(
            f"norm_type={norm_type!r} must be a number above 0; max_pool is the limit of large ones."
        )
    x, form, size, window, stride = entered(x, window, stride, layout)
    _check_dtype(x)
    axes, _ = windows(0, size=size, window=window, stride=stride, ceil_mode=ceil_mode)
    power = int(norm_type) if norm_type == int(norm_type) else norm_type
    sums = _sums(_wide(x) ** power, axes)
    held = [counts(axis, 0, padding=True) for axis in axes]
    whole = _over(sums, held) * math.prod(window)
    # The root of zero has no derivative, so it is not asked for one.
    roots = jnp.where(whole == 0, 0, jnp.where(whole == 0, 1, whole) ** (1 / power)) if power != 1 else whole
    return form.leave(roots.astype(x.dtype))


def _check_dtype(x: jax.Array) -> None:
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise ValueError(f"x has dtype {x.dtype}; a mean of integers is none, so cast it first.")


def _sums(x: jax.Array, windows: AllWindows) -> jax.Array:
    """Of each window, in at least float32."""
    return pick(_wide(x), windows)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(wider(x.dtype, jnp.float32))


def _over(sums: jax.Array, held: Sequence[Sequence[int]]) -> jax.Array:
    """Divided by how many positions each window holds, the product of those along each axis."""
    number = np.ones((), np.int64)
    for along in held:
        number = number[..., None] * np.asarray(along)
    if number.size and (number == number.flat[0]).all():
        return sums / int(number.flat[0])
    return sums / number[None, ..., None].astype(sums.real.dtype)
