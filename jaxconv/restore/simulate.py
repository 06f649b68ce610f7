"""Simulated observations."""

from __future__ import annotations

import functools
from typing import Literal

import jax
from jax.typing import ArrayLike

from ..typing import Layout
from .arrays import floating
from .frames import Frames
from .models import Blur, Boundary


def blur(
    x: ArrayLike,
    psf: ArrayLike,
    *,
    boundary: Literal["circular", "zeros", "reflect", "valid"] = "valid",
    layout: Layout = "channels_last",
) -> jax.Array:
    """What an instrument with this PSF sees of a scene; see `Blur` for the boundaries.

    Args:
      x: scene, (*spatial), (..., *spatial, C), or with channels_first (..., *spatial).
      psf: as many axes as space has.
      boundary: as in `Blur`. With "valid" the picture is smaller than the scene, by psf.shape - 1.
      layout: where channels are, if x has more axes than space.

    Returns:
      The blurred scene, in floating point.

    Raises:
      ValueError: as `Blur`.

    Example:
      >>> blur([2.0, 4.0, 8.0], [0.5, 0.5]).tolist()
      [3.0, 6.0]
    """
    x = floating(x, "x")
    psf = floating(psf, "psf").astype(x.dtype)
    frames = Frames.of(x.shape, psf.ndim, layout)
    scenes = frames.enter(x, psf.ndim)
    shape = scenes.shape[scenes.ndim - psf.ndim :]
    if boundary == "valid":
        shape = tuple(n - k + 1 for n, k in zip(shape, psf.shape, strict=True))
        if min(shape) < 1:
            raise ValueError(f"psf of shape {psf.shape} does not fit into x of shape {x.shape} anywhere.")
    return frames.leave(_blur(scenes, psf, shape, boundary, frames), psf.ndim)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _blur(
    scenes: jax.Array, psf: jax.Array, shape: tuple[int, ...], boundary: Boundary, frames: Frames
) -> jax.Array:
    return frames.each(Blur(psf, shape, boundary=boundary))(scenes)
