"""The edge of the restoring functions: data of any rank and type becomes pictures of floating point."""

from __future__ import annotations

import dataclasses
import typing
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..typing import Layout
from . import psf as _psf
from .arrays import floating, known
from .models import Blur, Boundary, Model


@dataclasses.dataclass(frozen=True)
class Frames:
    """Where space is in a data array, and the way to one picture after the other and back.

    Space has as many axes as the PSF. An array of just these is one picture. In one of more axes the last is
    the channels, or, with the layout "channels_first", is not; all others are pictures, each for itself.
    """

    lead: tuple[int, ...]
    last: bool  # the layout has channels behind space

    @classmethod
    def of(cls, shape: tuple[int, ...], rank: int, layout: str) -> Frames:
        """How an array of this shape is laid out."""
        if layout not in typing.get_args(Layout):
            raise ValueError(
                f"layout={layout!r} is not known; use one of {', '.join(typing.get_args(Layout))}."
            )
        if len(shape) < rank:
            raise ValueError(f"y of shape {shape} has fewer axes than the PSF's {rank}.")
        last = layout == "channels_last" and len(shape) > rank
        lead = (*shape[: -rank - 1], shape[-1]) if last else shape[: len(shape) - rank]
        return cls(lead, last)

    def enter(self, array: jax.Array, rank: int) -> jax.Array:
        """As (pictures, *spatial), or (*spatial) where there is one only."""
        if not self.lead:
            return array
        array = jnp.moveaxis(array, -1, -rank - 1) if self.last else array
        return array.reshape(-1, *array.shape[array.ndim - rank :])

    def leave(self, array: jax.Array, rank: int) -> jax.Array:
        """The inverse of `enter`, for the same rank and any spatial shape."""
        if not self.lead:
            return array
        array = array.reshape(*self.lead, *array.shape[1:])
        return jnp.moveaxis(array, -rank - 1, -1) if self.last else array

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function of single pictures for all of them."""
        return jax.vmap(function) if self.lead else function


class Problem(typing.NamedTuple):
    """What was observed, by what."""

    y: jax.Array
    model: Model
    frames: Frames
    rank: int

    def mapped(self, array: Any, name: str) -> jax.Array:
        """An array that broadcasts against y, as y is laid out."""
        whole = self.frames.leave(self.y, self.rank).shape
        array = jnp.asarray(array, self.y.dtype)
        rank, shape = self.rank, self.model.shape
        if array.shape == shape and array.shape != whole:
            return jnp.broadcast_to(array, self.y.shape)
        try:
            array = jnp.broadcast_to(array, whole)
        except ValueError:
            raise ValueError(f"{name} has shape {array.shape}; wanted {shape}, or y's {whole}.") from None
        return self.frames.enter(array, rank)


def problem(y: Any, psf: Any, *, boundary: Boundary, layout: str, light: bool = False) -> Problem:
    """The data and the forward model, checked against each other.

    Args:
      y: data as the caller has it.
      psf: an array, or a model.
      boundary: for an array.
      layout: of y.
      light: whether the method takes non-negative PSFs only.
    """
    y = floating(y, "y")
    given = not hasattr(psf, "adjoint")
    psf = floating(psf, "psf") if given else psf
    rank = psf.ndim if given else len(psf.shape)
    if rank == 0:
        raise ValueError("psf is a number; wanted an array of as many axes as space has.")
    frames = Frames.of(y.shape, rank, layout)
    y = frames.enter(y, rank)
    shape = y.shape[y.ndim - rank :]
    if not given:
        if shape != tuple(psf.shape):
            raise ValueError(
                f"y has spatial shape {shape} and the model gives {tuple(psf.shape)}; build it for y."
            )
        return Problem(y, psf, frames, rank)
    if light:
        _psf.check_values(psf)
    _warn_off_centre(psf)
    return Problem(y, Blur(psf.astype(y.dtype), shape, boundary=boundary), frames, rank)


def _warn_off_centre(psf: jax.Array) -> None:
    if not known(psf) or not float(jnp.sum(psf)) > 0:
        return
    away = _psf.offset(psf)
    if np.abs(away).max() > 1:
        warnings.warn(
            f"psf has its centroid {away.round(2).tolist()} pixels from its centre pixel, and the result is "
            "shifted by as much against y; restore.psf.centred moves it. To say that it is meant, pass "
            "restore.Blur(psf, shape).",
            stacklevel=4,
        )
