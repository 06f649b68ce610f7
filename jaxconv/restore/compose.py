"""Models made of others: fewer pixels, and a PSF that differs from place to place."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .arrays import floating
from .models import Blur, Boundary, Framed, Model, cut


@jax.tree_util.register_pytree_node_class
class Downsample:
    """A model seen by fewer pixels: of each axis every factor-th position, from the first on.

    That a pixel of a detector adds up what falls on it is part of the PSF: `psf.box` for square ones.

    Args:
      model: of the fine picture.
      factor: one for all axes, or one for each.

    Raises:
      ValueError: for factors that are not positive integers, one for each axis.

    Example:
      >>> model = Downsample(Blur(jnp.array([0.5, 0.5, 0.0]), (4,), boundary="circular"), 2)
      >>> model(jnp.array([2.0, 4.0, 8.0, 0.0])).tolist()
      [3.0, 4.0]
    """

    def __init__(self, model: Model, factor: int | Sequence[int]) -> None:
        factors = (factor,) * len(model.shape) if isinstance(factor, int) else tuple(factor)
        if len(factors) != len(model.shape) or not all(isinstance(f, int) and f > 0 for f in factors):
            raise ValueError(f"factor={factor!r} must be a positive integer, or {len(model.shape)} of them.")
        self.model, self.factor = model, factors

    def tree_flatten(self) -> tuple[Any, Any]:  # noqa: D102
        return (self.model,), self.factor

    @classmethod
    def tree_unflatten(cls, aux: Any, leaves: Any) -> Downsample:  # noqa: D102
        result = object.__new__(cls)
        [result.model], result.factor = leaves, aux
        return result

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of y."""
        return tuple(-(-n // f) for n, f in zip(self.model.shape, self.factor, strict=True))

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of x."""
        return self.model.domain

    def __call__(self, x: jax.Array) -> jax.Array:
        """What the fewer pixels see."""
        fine = self.model(x)
        return lax.slice(fine, [0] * fine.ndim, fine.shape, self.factor)

    def adjoint(self, y: jax.Array) -> jax.Array:
        """Zeros between the pixels, then the adjoint of the fine model."""
        ends = [
            (0, n - (m - 1) * f - 1, f - 1)
            for n, m, f in zip(self.model.shape, self.shape, self.factor, strict=True)
        ]
        return self.model.adjoint(lax.pad(y, jnp.zeros((), y.dtype), ends))

    def crop(self, x: jax.Array) -> jax.Array:
        """What lies in the frame of y."""
        return self.model.crop(x)


@jax.tree_util.register_pytree_node_class
class TileBlur(Framed):
    """Blur by a PSF that differs from place to place, known on a grid and interpolated between.

        y[t] = Σ_i w_i[t] (h_i * x)[t]        Σ_i w_i = 1

    w_i falls linearly from one at the centre of tile i to zero at those of its neighbours, and stays one
    outside of the outermost centres.

    Args:
      psfs: (*tiles, *psf): for each axis of space the number of tiles, then the size of the PSF.
      shape: spatial shape of y, at least the number of tiles.
      boundary: as in `Blur`.

    Raises:
      ValueError: for PSFs of an odd number of axes, or more tiles than positions.

    References:
      Nagy, O'Leary: Restoring images degraded by spatially variant blur. SIAM J. Sci. Comput. 19 (1998).
      doi:10.1137/S106482759528507X.

    Example:
      >>> psfs = jnp.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
      >>> TileBlur(psfs, (4,), boundary="circular")(jnp.array([2.0, 4.0, 8.0, 0.0])).tolist()
      [2.0, 4.5, 5.0, 1.0]
    """

    def __init__(self, psfs: Any, shape: Sequence[int], *, boundary: Boundary = "unknown") -> None:
        psfs = floating(psfs, "psfs")
        rank = len(shape)
        if psfs.ndim != 2 * rank or any(g > n for g, n in zip(psfs.shape, shape, strict=False)):
            raise ValueError(
                f"psfs has shape {psfs.shape}; wanted (*tiles, *psf), {2 * rank} axes for space of shape "
                f"{tuple(shape)}, and no more tiles than positions."
            )
        self._frame(psfs.shape[rank:], shape, boundary)
        self.tiles = psfs.shape[:rank]
        flat = psfs.reshape(-1, *self.size)
        self.blurs = jax.vmap(lambda psf: Blur(psf, self._patch, boundary="valid"))(flat)

    def tree_flatten(self) -> tuple[Any, Any]:  # noqa: D102
        return (self.blurs,), (self.tiles, self.size, self.shape, self.boundary)

    @classmethod
    def tree_unflatten(cls, aux: Any, leaves: Any) -> TileBlur:  # noqa: D102
        model = object.__new__(cls)
        [model.blurs] = leaves
        model.tiles, model.size, model.shape, model.boundary = aux
        return model

    @property
    def _axes(self) -> list[list[tuple[int, np.ndarray]]]:
        """For each axis and tile, where its patch begins, and its weights there; all are of one size."""
        return [_hats(n, g) for n, g in zip(self.shape, self.tiles, strict=True)]

    @property
    def _patch(self) -> tuple[int, ...]:
        return tuple(len(tiles[0][1]) for tiles in self._axes)

    @property
    def _starts(self) -> list[tuple[int, ...]]:
        return list(itertools.product(*([start for start, _ in tiles] for tiles in self._axes)))

    @property
    def _weights(self) -> np.ndarray:
        rank = len(self.shape)
        total = np.ones((1,) * (2 * rank))
        for axis, tiles in enumerate(self._axes):
            hats = np.stack([hat for _, hat in tiles])
            shape = [1] * (2 * rank)
            shape[axis], shape[rank + axis] = hats.shape
            total = total * hats.reshape(shape)
        return total.reshape(-1, *self._patch)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The blurred scene."""
        reach = [p + k - 1 for p, k in zip(self._patch, self.size, strict=True)]
        whole = self._extend(x)
        patches = jnp.stack([cut(whole, start, reach) for start in self._starts])
        parts = jax.vmap(lambda blur, patch: blur(patch))(self.blurs, patches)
        return self._placed(parts * self._weights.astype(x.dtype), self.shape)

    def adjoint(self, y: jax.Array) -> jax.Array:
        """Σ_t y[t] ∂(Hx)[t]/∂x."""
        parts = jnp.stack([cut(y, start, self._patch) for start in self._starts])
        parts = parts * self._weights.astype(y.dtype)
        patches = jax.vmap(lambda blur, part: blur.adjoint(part))(self.blurs, parts)
        return self._unextend(self._placed(patches, self._reach))

    def _placed(self, parts: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        total = jnp.zeros(shape, parts.dtype)
        for part, start in zip(parts, self._starts, strict=True):
            total = total.at[tuple(slice(s, s + n) for s, n in zip(start, part.shape, strict=True))].add(part)
        return total


def _hats(n: int, tiles: int) -> list[tuple[int, np.ndarray]]:
    centres = (np.arange(tiles) + 0.5) * n / tiles - 0.5
    positions = np.arange(n)
    weights = np.stack([np.interp(positions, centres, row) for row in np.eye(tiles)])
    touched = [np.flatnonzero(row) for row in weights]
    size = max(t[-1] - t[0] + 1 for t in touched)
    starts = [min(int(t[0]), n - size) for t in touched]
    return [(start, row[start : start + size]) for start, row in zip(starts, weights, strict=True)]
