"""Pooling layers for Flax Linen: those of `jaxconv.nn`, where their words are explained."""

from __future__ import annotations

import dataclasses

import jax
from flax import linen as nn

from ..ops.pool import max_pool, max_unpool
from ..ops.pool_mean import avg_pool
from ._checks import Ints, Padding, check_pool
from ._common import pooled


class MaxPool(nn.Module):
    """The largest element of each window, feature by feature.

    Args:
      window: size of the window for each spatial axis; an int is one axis.
      strides: as in `jaxconv.nn.MaxPool`, and so are all others.

    Example:
      >>> import jax.numpy as jnp
      >>> MaxPool((2, 2)).apply({}, jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """

    window: Ints
    strides: Ints | None = None
    padding: Padding = dataclasses.field(default=0, kw_only=True)
    dilation: Ints = dataclasses.field(default=1, kw_only=True)
    ceil_mode: bool = dataclasses.field(default=False, kw_only=True)
    return_indices: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_pool(self)
        super().__post_init__()

    def __call__(self, inputs: jax.Array) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Pools `(*batch, *spatial, features)`, with any number of batch axes."""
        return pooled(max_pool, self, inputs, words=("dilation", "ceil_mode", "return_indices"))


class MaxUnpool(nn.Module):
    """Puts elements back where `MaxPool` found them, zeros elsewhere.

    Args:
      window: of the pooling.
      strides: as in `jaxconv.nn.MaxUnpool`, and so are all others.

    Example:
      >>> import jax.numpy as jnp
      >>> found = MaxPool(2, return_indices=True).apply({}, jnp.array([[3.0], [5.0], [4.0], [1.0]]))
      >>> MaxUnpool(2).apply({}, *found).ravel().tolist()
      [0.0, 5.0, 4.0, 0.0]
    """

    window: Ints
    strides: Ints | None = None
    padding: Padding = dataclasses.field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_pool(self, paddings=())
        super().__post_init__()

    def __call__(self, inputs: jax.Array, indices: jax.Array, output_size: Ints | None = None) -> jax.Array:
        """Unpools `(*batch, *spatial, features)` to a spatial `output_size`."""
        return pooled(max_unpool, self, inputs, indices, output_size=output_size)


class AvgPool(nn.Module):
    """The mean of each window, feature by feature.

    Args:
      window: size of the window for each spatial axis; an int is one axis.
      strides: as in `jaxconv.nn.AvgPool`, and so are all others.

    Example:
      >>> import jax.numpy as jnp
      >>> AvgPool((2, 2)).apply({}, jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
      [[2.5, 4.5], [10.5, 12.5]]
    """

    window: Ints
    strides: Ints | None = None
    padding: Padding = dataclasses.field(default=0, kw_only=True)
    ceil_mode: bool = dataclasses.field(default=False, kw_only=True)
    count_include_pad: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_pool(self)
        super().__post_init__()

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Pools `(*batch, *spatial, features)`, with any number of batch axes."""
        return pooled(avg_pool, self, inputs, words=("ceil_mode", "count_include_pad"))
