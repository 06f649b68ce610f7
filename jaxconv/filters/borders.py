"""What lies outside of an image, in SciPy's five modes and of any width."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from .arguments import Mode, Number


def extended(
    x: jax.Array, axes: Sequence[int], reach: Sequence[tuple[int, int]], modes: Sequence[Mode], cval: Number
) -> jax.Array:
    """The image with `(before, behind)` more positions along each of the axes."""
    for axis, (before, behind), mode in zip(axes, reach, modes, strict=True):
        if before or behind:
            x = _extended(x, axis, before, behind, mode, cval)
    return x


def _extended(x: jax.Array, axis: int, before: int, behind: int, mode: Mode, cval: Number) -> jax.Array:
    if mode == "constant":
        widths = [(before, behind, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
        return lax.pad(x, jnp.asarray(cval, x.dtype), widths)
    flipped = lax.rev(x, (axis,))
    start = lax.rev(_beyond(flipped, axis, before, mode), (axis,))
    return lax.concatenate([start, x, _beyond(x, axis, behind, mode)], axis)


def _beyond(x: jax.Array, axis: int, count: int, mode: Mode) -> jax.Array:
    """The `count` positions that follow the end of an axis; seen from there, each mode is its own mirror."""
    n = x.shape[axis]
    if mode == "nearest" or (mode == "mirror" and n == 1):
        last = lax.slice_in_dim(x, n - 1, n, axis=axis)
        return jnp.broadcast_to(last, (*x.shape[:axis], count, *x.shape[axis + 1 :]))
    skip = int(mode == "mirror")
    pieces, missing, back = [], count, mode != "wrap"
    while missing or not pieces:
        piece = lax.rev(x, (axis,)) if back else x
        pieces.append(lax.slice_in_dim(piece, skip, min(n, skip + missing), axis=axis))
        missing -= pieces[-1].shape[axis]
        back = mode != "wrap" and not back
    return lax.concatenate(pieces, axis)
