"""Pooling layers for Flax NNX. They have no parameters."""

from __future__ import annotations

import jax
from flax import nnx

from ..ops.pool import max_pool, max_unpool
from ..ops.pool_mean import avg_pool
from ._checks import Ints, Padding, check_pool
from ._common import pooled


class MaxPool(nnx.Module):
    """The largest element of each window, feature by feature; see `jaxconv.max_pool`.

    Args:
      window: size of the window for each spatial axis; an int is one axis.
      strides: positions between neighbouring windows; None is the window, as in PyTorch (Flax's is 1).
      padding: an int, one int for each axis, one pair (lo, hi) for each axis, "VALID", "SAME", "SAME_LOWER".
      dilation: positions between neighbours in a window.
      ceil_mode: whether the last window may reach beyond the padding.
      return_indices: whether to return, too, where the maxima are, for `MaxUnpool`.

    Raises:
      ValueError: for arguments that fit no pooling.

    Example:
      >>> import jax.numpy as jnp
      >>> MaxPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """

    def __init__(
        self,
        window: Ints,
        strides: Ints | None = None,
        *,
        padding: Padding = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ):
        self.window = window
        self.strides = strides
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode
        self.return_indices = return_indices
        check_pool(self)

    def __call__(self, inputs: jax.Array) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Pools `(*batch, *spatial, features)`, with any number of batch axes."""
        return pooled(max_pool, self, inputs, words=("dilation", "ceil_mode", "return_indices"))


class MaxUnpool(nnx.Module):
    """Puts elements back where `MaxPool` found them, zeros elsewhere; see `jaxconv.max_unpool`.

    Args:
      window: of the pooling.
      strides: of the pooling.
      padding: of the pooling, as numbers.

    Raises:
      ValueError: for arguments that fit no pooling.

    Example:
      >>> import jax.numpy as jnp
      >>> pool, unpool = MaxPool(2, return_indices=True), MaxUnpool(2)
      >>> unpool(*pool(jnp.array([[3.0], [5.0], [4.0], [1.0]]))).ravel().tolist()
      [0.0, 5.0, 4.0, 0.0]
    """

    def __init__(self, window: Ints, strides: Ints | None = None, *, padding: Padding = 0):
        self.window = window
        self.strides = strides
        self.padding = padding
        check_pool(self, paddings=())

    def __call__(self, inputs: jax.Array, indices: jax.Array, output_size: Ints | None = None) -> jax.Array:
        """Unpools `(*batch, *spatial, features)`.

        Args:
          inputs: the elements.
          indices: where they belong, of the same shape.
          output_size: spatial size of the result; None is the smallest that the pooling made this one of.

        Returns:
          `(*batch, *output_size, features)`.

        Raises:
          ValueError: for arrays of other shapes.
        """
        return pooled(max_unpool, self, inputs, indices, output_size=output_size)


class AvgPool(nnx.Module):
    """The mean of each window, feature by feature; see `jaxconv.avg_pool`.

    Args:
      window: size of the window for each spatial axis; an int is one axis.
      strides: positions between neighbouring windows; None is the window, as in PyTorch (Flax's is 1).
      padding: as in `MaxPool`.
      ceil_mode: whether the last window may reach beyond the padding.
      count_include_pad: whether padding counts in the number that a sum is divided by.

    Raises:
      ValueError: for arguments that fit no pooling.

    Example:
      >>> import jax.numpy as jnp
      >>> AvgPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
      [[2.5, 4.5], [10.5, 12.5]]
    """

    def __init__(
        self,
        window: Ints,
        strides: Ints | None = None,
        *,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        self.window = window
        self.strides = strides
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        check_pool(self)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Pools `(*batch, *spatial, features)`, with any number of batch axes."""
        return pooled(avg_pool, self, inputs, words=("ceil_mode", "count_include_pad"))
