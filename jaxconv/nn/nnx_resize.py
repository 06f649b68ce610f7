"""Layers for Flax NNX that change the size of their input and have no parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from ..geometry.resample import Scale
from ..ops.resize import check_options
from ..ops.shuffle import pixel_shuffle, pixel_unshuffle
from ..typing import Border, Method, SubpixelOrder
from ._checks import Ints, frozen
from ._common import resized


class Upsample(nnx.Module):
    """`jaxconv.resize` as a layer, for `(*batch, *spatial, features)`; it can shrink, too.

    Args:
      size: positions of each spatial axis of the output. A sequence says how many spatial axes there are; a
        single number counts for all between one batch axis and the features.
      scale: in place of `size`: outputs for each input position, one number for all axes or one for each.
      method: as in `jaxconv.resize`, and so are all others.
      align_corners: whether the first and last pixels stay where they are.
      antialias: whether to stretch the kernel when shrinking.
      cubic_a: slope of the cubic kernel at 1.
      border: what a kernel sees past the ends.

    Raises:
      ValueError: for options that do not go together.

    Example:
      >>> import jax.numpy as jnp
      >>> layer = Upsample(scale=2, method="nearest")
      >>> layer(jnp.array([[[1.0], [2.0]]])).ravel()
      Array([1., 1., 2., 2.], dtype=float32)
    """

    def __init__(
        self,
        *,
        size: Ints | None = None,
        scale: Scale | Sequence[Scale] | None = None,
        method: Method = "linear",
        align_corners: bool = False,
        antialias: bool = False,
        cubic_a: float | None = None,
        border: Border | None = None,
    ):
        check_options(size, scale, method, align_corners, antialias, border)
        self.size: Any = frozen(size)
        self.scale: Any = frozen(scale)
        self.method: Method = method
        self.align_corners = align_corners
        self.antialias = antialias
        self.cubic_a = cubic_a
        self.border: Border | None = border

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Resizes `(*batch, *spatial, features)`."""
        return resized(self, inputs)


class PixelShuffle(nnx.Module):
    """`jaxconv.pixel_shuffle` as a layer: blocks of features become blocks of pixels.

    Args:
      factor: upsampling factor, one for all axes between one batch axis and the features, or one for each.
      order: of the sub-pixels among the features, as in `jaxconv.pixel_shuffle`.

    Example:
      >>> import jax.numpy as jnp
      >>> PixelShuffle(2)(jnp.arange(4.0).reshape(1, 1, 1, 4))[0, ..., 0]
      Array([[0., 1.],
             [2., 3.]], dtype=float32)
    """

    def __init__(self, factor: Ints, *, order: SubpixelOrder = "torch"):
        self.factor: Any = frozen(factor)
        self.order: SubpixelOrder = order

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Enlarges `(*batch, *spatial, features)`."""
        return pixel_shuffle(inputs, self.factor, order=self.order)


class PixelUnshuffle(nnx.Module):
    """`jaxconv.pixel_unshuffle` as a layer: blocks of pixels become blocks of features.

    Args:
      factor: downsampling factor, one for all axes between one batch axis and the features, or one for each.
      order: of the sub-pixels among the features, as in `jaxconv.pixel_shuffle`.

    Example:
      >>> import jax.numpy as jnp
      >>> PixelUnshuffle(2)(jnp.arange(4.0).reshape(1, 2, 2, 1)).ravel()
      Array([0., 1., 2., 3.], dtype=float32)
    """

    def __init__(self, factor: Ints, *, order: SubpixelOrder = "torch"):
        self.factor: Any = frozen(factor)
        self.order: SubpixelOrder = order

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Shrinks `(*batch, *spatial, features)`."""
        return pixel_unshuffle(inputs, self.factor, order=self.order)
