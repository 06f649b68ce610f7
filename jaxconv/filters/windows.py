"""What the positions of a window see of an image, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# More positions run in a loop: compile time grows with every one that is written out.
UNROLL = 64

Offset = tuple[int, ...]


def offsets(window: Sequence[int]) -> list[Offset]:
    """All positions of a window, counted from its first corner."""
    return list(itertools.product(*map(range, window)))


def seen(outer: jax.Array, axes: Sequence[int], offset: Sequence[int], shape: Sequence[int]) -> jax.Array:
    """What one position sees: the part of an extended image that starts at `offset`."""
    start = [0] * outer.ndim
    for axis, o in zip(axes, offset, strict=True):
        start[axis] = o
    return lax.slice(outer, start, [s + n for s, n in zip(start, shape, strict=True)])


def groups(positions: Sequence[Offset]) -> Iterator[Sequence[Offset]]:
    """Positions in portions that are written out together."""
    for i in range(0, len(positions), UNROLL):
        yield positions[i : i + UNROLL]


def fold(
    step: Callable[..., Any],
    total: Any,
    outers: Sequence[jax.Array],
    axes: Sequence[int],
    positions: Sequence[Offset],
    shape: Sequence[int],
    *,
    loop: bool,
) -> Any:
    """`total = step(total, offset, *seen)` over all positions.

    Written out, they are one pass over the image; but what is transposed from that adds up one image for each
    position, with its border, in the slowest way there is. A loop keeps nothing for its derivative.
    """
    if not loop and len(positions) <= UNROLL:
        for p in positions:
            total = step(total, np.array(p), *(seen(outer, axes, p, shape) for outer in outers))
        return total

    def body(total: Any, offset: jax.Array) -> tuple[Any, None]:
        start: list[Any] = [0] * len(shape)
        for i, axis in enumerate(axes):
            start[axis] = offset[i]
        return step(total, offset, *(lax.dynamic_slice(outer, start, shape) for outer in outers)), None

    return lax.scan(jax.checkpoint(body), total, jnp.asarray(np.array(positions)))[0]
