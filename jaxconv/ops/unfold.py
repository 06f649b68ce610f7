"""Patches of an array, and their adjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ..geometry import Axis, normalize
from ..lowerings.windows import patches
from ..typing import Layout, Padding, PaddingMode
from . import arguments, border


def unfold(
    x: ArrayLike,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "channels_last",
) -> jax.Array:
    """The patches that a convolution multiplies with its kernel (im2col).

    `unfold(x, k) @ kernel.reshape(-1, out)` is `conv(x, kernel)`.

    Args:
      x: input, `(N, *spatial, C)`, or without N if `kernel_size` is a sequence.
      kernel_size: taps for each axis; an int stands for all axes of a batched x.
      stride: input positions between neighbouring patches.
      padding: as in `conv`.
      dilation: input positions between neighbouring taps.
      padding_mode: as in `conv`.
      layout: order of x and the result, "channels_last" or "channels_first".

    Returns:
      `(N, *out, K)` with K = prod(kernel_size) * C, in the order `(*k, C)` in both layouts.

    Raises:
      ValueError: if ranks, sizes or names do not fit.

    Example:
      >>> unfold(jnp.arange(4.0).reshape(1, 4, 1), 2)[0].tolist()
      [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    """
    x = arguments.array(x, "x")
    kernel = arguments.window(kernel_size, x.ndim - 2, "kernel_size")
    form = arguments.form(x.shape, len(kernel), layout, "x")
    size = form.enter_shape(x.shape)[1:-1]
    axes = normalize(padding, size=size, kernel=kernel, stride=stride, dilation=dilation)
    border.check_mode(padding_mode)
    return form.leave(_unfold(form.enter(x), axes, padding_mode))


def fold(
    patches: ArrayLike,
    output_size: Sequence[int],
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "channels_last",
) -> jax.Array:
    """Adds patches up where they came from (col2im): the adjoint of `unfold`.

    Args:
      patches: `(N, *out, K)` as `unfold` returns them, or without N.
      output_size: spatial size of the result.
      kernel_size: taps for each axis.
      stride: of the unfolding.
      padding: of the unfolding.
      dilation: of the unfolding.
      padding_mode: of the unfolding.
      layout: order of patches and the result, "channels_last" or "channels_first".

    Returns:
      `(N, *output_size, C)`; where patches overlap, their sum.

    Raises:
      ValueError: if the patches are not those of an array of this size.

    Example:
      >>> fold(jnp.ones((1, 3, 2)), (4,), 2)[0, :, 0].tolist()
      [1.0, 2.0, 2.0, 1.0]
    """
    patches = arguments.array(patches, "patches")
    size = arguments.shape(output_size, None, "output_size", "the spatial size of the result")
    kernel = arguments.window(kernel_size, len(size), "kernel_size")
    form = arguments.form(patches.shape, len(size), layout, "patches")
    patches = form.enter(patches)
    axes = normalize(padding, size=size, kernel=kernel, stride=stride, dilation=dilation)
    border.check_mode(padding_mode)
    taps = math.prod(kernel)
    out = tuple(a.out for a in axes)
    if patches.shape[-1] % taps or patches.shape[1:-1] != out:
        raise ValueError(
            f"patches have shape {patches.shape} as (N, *out, K); output_size {size} with kernel_size "
            f"{kernel} gives (N, {', '.join(map(str, out))}, {taps} * C)."
        )
    shape = (patches.shape[0], *size, patches.shape[-1] // taps)
    x = border.adjoint(lambda x: _unfold(x, axes, padding_mode), shape, patches)
    return form.leave(x)


def _unfold(x: jax.Array, axes: tuple[Axis, ...], padding_mode: str) -> jax.Array:
    """(N, *s, C) -> (N, *o, *k C)."""
    n, c = x.shape[0], x.shape[-1]
    shape = (n, *(a.out for a in axes), math.prod(a.kernel for a in axes) * c)
    if 0 in shape:
        return lax.full(shape, 0, x.dtype)  # padding may have cropped more than there is
    if padding_mode == "zeros":
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((a.lo, a.hi, 0) for a in axes), (0, 0, 0)])
    else:
        x = border.extend(x, axes, padding_mode)
    return patches(x, axes).reshape(shape)
