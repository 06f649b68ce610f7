"""Layers for Flax Linen that change the size of their input and have no parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
from flax import linen as nn

from ..geometry.resample import Scale
from ..ops.resize import check_options
from ..ops.shuffle import pixel_shuffle, pixel_unshuffle
from ..typing import Border, Method, SubpixelOrder
from ._checks import Ints, frozen
from ._common import resized


class Upsample(nn.Module, kw_only=True):
    """`jaxconv.resize` as a layer, for `(*batch, *spatial, features)`; it can shrink, too.

    Args:
      size: positions of each spatial axis of the output.
      scale: in place of `size`: outputs for each input position.
      method: as in `jaxconv.nn.Upsample`, and so are all others.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> Upsample(scale=2, method="nearest").apply({}, jnp.array([[[1.0], [2.0]]])).ravel()
      Array([1., 1., 2., 2.], dtype=float32)
    """

    size: Ints | None = None
    scale: Scale | Sequence[Scale] | None = None
    method: Method = "linear"
    align_corners: bool = False
    antialias: bool = False
    cubic_a: float | None = None
    border: Border | None = None

    def __post_init__(self) -> None:
        """Checks the fields."""
        self.size, self.scale = frozen(self.size), frozen(self.scale)
        check_options(self.size, self.scale, self.method, self.align_corners, self.antialias, self.border)
        super().__post_init__()

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Resizes `(*batch, *spatial, features)`."""
        return resized(self, inputs)


class PixelShuffle(nn.Module):
    """`jaxconv.pixel_shuffle` as a layer: blocks of features become blocks of pixels.

    Args:
      factor: upsampling factor, one for all axes between one batch axis and the features, or one for each.
      order: of the sub-pixels among the features, as in `jaxconv.pixel_shuffle`.

    Example:
      >>> import jax.numpy as jnp
      >>> PixelShuffle(2).apply({}, jnp.arange(4.0).reshape(1, 1, 1, 4))[0, ..., 0]
      Array([[0., 1.],
             [2., 3.]], dtype=float32)
    """

    factor: Ints
    order: SubpixelOrder = dataclasses.field(default="torch", kw_only=True)

    def __post_init__(self) -> None:
        """Makes the factor hashable."""
        self.factor = frozen(self.factor)
        super().__post_init__()

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Enlarges `(*batch, *spatial, features)`."""
        return pixel_shuffle(inputs, self.factor, order=self.order)


class PixelUnshuffle(nn.Module):
    """`jaxconv.pixel_unshuffle` as a layer: blocks of pixels become blocks of features.

    Args:
      factor: downsampling factor, one for all axes between one batch axis and the features, or one for each.
      order: of the sub-pixels among the features, as in `jaxconv.pixel_shuffle`.

    Example:
      >>> import jax.numpy as jnp
      >>> PixelUnshuffle(2).apply({}, jnp.arange(4.0).reshape(1, 2, 2, 1)).ravel()
      Array([0., 1., 2., 3.], dtype=float32)
    """

    factor: Ints
    order: SubpixelOrder = dataclasses.field(default="torch", kw_only=True)

    def __post_init__(self) -> None:
        """Makes the factor hashable."""
        self.factor = frozen(self.factor)
        super().__post_init__()

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Shrinks `(*batch, *spatial, features)`."""
        return pixel_unshuffle(inputs, self.factor, order=self.order)
