"""Pictures too large to be restored at once, tile by tile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .arrays import floating


class Tile(NamedTuple):
    """Along one axis: what is read, and what of it is kept."""

    start: int
    stop: int
    keep: int
    until: int


def tiled(
    function: Callable[[jax.Array], jax.Array],
    y: ArrayLike,
    *,
    tile: int | Sequence[int],
    overlap: int | Sequence[int],
) -> jax.Array:
    """Restores tile by tile, and keeps of each what is far from its borders.

    A method whose estimate at one place depends on data no further away than the overlap gives what it gives
    for the whole, to rounding: `richardson_lucy` from a given start, without acceleration and rule, if the
    overlap is at least iterations · (PSF's size - 1). With less, what a place has from afar is what its
    tile's boundary makes up: with twice the PSF's size, 30 iterations on blocks differ by less than 1 % of
    the range (tests/test_restore_loop.py).

    Args:
      function: from one tile to its restoration, of the same shape.
      y: data, whose last axes are cut.
      tile: size of the tiles, overlaps included; one for each axis that is cut, or one for all axes.
      overlap: how far a tile reaches beyond what is kept of it, on each side.

    Returns:
      The joined result.

    Raises:
      ValueError: if the overlaps leave nothing of a tile, or function changes its shape.

    Example:
      >>> import jax.numpy as jnp
      >>> blurred = lambda y: jnp.convolve(y, jnp.array([0.25, 0.5, 0.25]), mode="same")
      >>> y = jnp.arange(10.0) ** 2
      >>> float(jnp.abs(tiled(blurred, y, tile=6, overlap=1) - blurred(y)).max())
      0.0
    """
    y = floating(y, "y")
    sizes = (tile,) * y.ndim if isinstance(tile, int) else tuple(tile)
    overlaps = (overlap,) * len(sizes) if isinstance(overlap, int) else tuple(overlap)
    if len(sizes) > y.ndim or len(overlaps) != len(sizes):
        raise ValueError(f"tile={tile} and overlap={overlap} do not fit y of shape {y.shape}.")
    axes = [_tiles(*args) for args in zip(y.shape[y.ndim - len(sizes) :], sizes, overlaps, strict=True)]
    result = jnp.zeros_like(y)
    for tiles in itertools.product(*axes):
        part = y[(..., *(slice(t.start, t.stop) for t in tiles))]
        restored = function(part)
        if restored.shape != part.shape:
            raise ValueError(
                f"function made {restored.shape} of a tile of shape {part.shape}; wanted the same."
            )
        inside = restored[(..., *(slice(t.keep - t.start, t.until - t.start) for t in tiles))]
        result = result.at[(..., *(slice(t.keep, t.until) for t in tiles))].set(inside)
    return result


def _tiles(n: int, size: int, overlap: int) -> list[Tile]:
    """All of one size, so that a jitted function is compiled once; the last one overlaps more."""
    if size >= n:
        return [Tile(0, n, 0, n)]
    inner = size - 2 * overlap
    if overlap < 0 or inner < 1:
        raise ValueError(f"overlap={overlap} on both sides leaves nothing of a tile of {size}.")
    starts = [*range(0, n - size, inner), n - size]
    ends = [start + size - overlap for start in starts[:-1]] + [n]
    return [
        Tile(start, start + size, keep, until)
        for start, keep, until in zip(starts, [0, *ends[:-1]], ends, strict=True)
    ]
