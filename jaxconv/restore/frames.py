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
from .arrays import check_size, check_values, floating, known
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
    psf: Any  # an array, or a model
    shape: tuple[int, ...]  # of space in y
    frames: Frames

    @property
    def rank(self) -> int:
        """Number of axes of space."""
        return len(self.shape)

    def mapped(self, array: Any, name: str) -> jax.Array:
        """A number, or an array for one picture or for all, as an array for each picture."""
        array = floating(array, name)
        whole = self.frames.leave(self.y, self.rank).shape
        if array.shape == self.shape:
            return jnp.broadcast_to(array.astype(self.y.dtype), self.y.shape)
        if array.ndim and array.shape != whole:
            raise ValueError(
                f"{name} has shape {array.shape}; wanted a number, {self.shape}, or y's {whole}."
            )
        return self.frames.enter(jnp.broadcast_to(array.astype(self.y.dtype), whole), self.rank)

    def weighed(self, weights: Any) -> tuple[Problem, jax.Array]:
        """With y zero where it counts for nothing, for 0 times NaN is NaN; and the weights, by default 1."""
        if weights is None:
            return self, jnp.ones_like(self.y)
        weights = self.mapped(weights, "weights")
        return self._replace(y=jnp.where(weights == 0, 0, self.y)), weights

    def scene(self, array: Any, name: str, domain: tuple[int, ...]) -> jax.Array | None:
        """A number, or a scene for one picture or for all, as a scene for each picture."""
        if array is None:
            return None
        array, lead = floating(array, name).astype(self.y.dtype), self.y.shape[: self.y.ndim - self.rank]
        if array.shape not in ((), domain):
            array = self.frames.enter(array, self.rank)
            if array.shape != (*lead, *domain):
                raise ValueError(
                    f"{name} has spatial shape {array.shape[len(lead) :]}; the scene has {domain}. A "
                    "number is possible too."
                )
        return jnp.broadcast_to(array, (*lead, *domain))


def problem(y: Any, psf: Any, *, layout: str, light: bool = False) -> Problem:
    """The data and the PSF or model, checked against each other.

    Args:
      y: data as the caller has it.
      psf: an array, or a model.
      layout: of y.
      light: whether the method takes non-negative PSFs only.
    """
    y, model = floating(y, "y"), hasattr(psf, "adjoint")
    psf = psf if model else floating(psf, "psf").astype(y.dtype)
    rank = len(psf.shape)
    if rank == 0:
        raise ValueError("psf is a number; wanted an array of as many axes as space has.")
    frames = Frames.of(y.shape, rank, layout)
    y = frames.enter(y, rank)
    shape = y.shape[y.ndim - rank :]
    if model:
        if shape != tuple(psf.shape):
            raise ValueError(f"y has spatial shape {shape}, and the model gives {psf.shape}; build it for y.")
        return Problem(y, psf, shape, frames)
    _look_at(psf, light)
    check_size(psf.shape, shape)
    return Problem(y, psf, shape, frames)


def model_of(psf: Any, shape: tuple[int, ...], boundary: Boundary) -> Model:
    """The model that was given, or the blur by the PSF."""
    return psf if hasattr(psf, "adjoint") else Blur(psf, shape, boundary=boundary)


def flat(light: jax.Array, weights: jax.Array, sensitivity: jax.Array) -> jax.Array:
    """A scene of one brightness that sends out as much light as was seen."""
    seen = jnp.maximum(jnp.sum(sensitivity), jnp.finfo(light.dtype).tiny)
    return jnp.full_like(sensitivity, jnp.sum(weights * jnp.maximum(light, 0)) / seen)


def _look_at(psf: Any, light: bool) -> None:
    if light:
        check_values(psf)
    if not known(psf) or not np.sum(values := np.asarray(psf)) > 0:
        return
    away = _psf.offset(values)
    if np.abs(away).max() > 1:
        warnings.warn(
            f"psf has its centroid {away.round(2).tolist()} pixels from its centre pixel, and the result is "
            "shifted by as much against y; restore.psf.centred moves it. To say that it is meant, pass "
            "restore.Blur(psf, shape).",
            stacklevel=4,
        )
