"""The small CNN of the tutorials: convolve, rectify and pool, twice; then two dense layers.

On Fashion-MNIST (28x28, ten classes) with the default features:

    28x28x1 -conv 3x3-> 28x28x32 -pool-> 14x14x32 -conv 3x3-> 14x14x64 -pool-> 7x7x64 -dense-> 256 -dense-> 10
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers

from jaxconv import nn

_HE = initializers.he_normal()


@dataclass(frozen=True)
class ModelConfig:
    """How wide the network is, and what keeps it from learning its images by heart."""

    features: tuple[int, int] = (32, 64)
    """Kernels of the two convolutions."""
    hidden: int = 256
    """Units of the first dense layer."""
    dropout: float = 0.3
    """Share of the first dense layer's units that a training step leaves out; 0 for none."""


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2x2 window of (n, height, width, features), as `nnx.max_pool` with strides of two.

    That one's gradient is XLA's select-and-scatter, which takes ten times as long on a CPU as that of two
    maxima, and longer than the convolutions do.
    """
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    x = jnp.maximum(x[:, 0:height:2], x[:, 1:height:2])
    return jnp.maximum(x[:, :, 0:width:2], x[:, :, 1:width:2])


class Block(nnx.Module):
    """3x3 convolution, rectifier, maximum over windows of 2x2."""

    def __init__(self, inputs: int, outputs: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv = nn.Conv(inputs, outputs, (3, 3), kernel_init=_HE, dtype=dtype, rngs=rngs)

    def activations(self, x: jax.Array) -> jax.Array:
        """The feature maps before they are pooled, which is where they can be looked at."""
        return nnx.relu(self.conv(x))

    def __call__(self, x: jax.Array) -> jax.Array:
        return max_pool(self.activations(x))


class SmallCNN(nnx.Module):
    """Images (n, height, width, 1) in [0, 1] to logits (n, classes), both float32."""

    def __init__(
        self,
        config: ModelConfig,
        size: tuple[int, int],
        classes: int,
        *,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if min(size) < 4:
            raise ValueError(
                f"images of {size[0]}x{size[1]} pixels vanish when pooled twice; 4x4 is the least"
            )
        first, second = config.features
        self.first = Block(1, first, dtype=dtype, rngs=rngs)
        self.second = Block(first, second, dtype=dtype, rngs=rngs)
        left = (size[0] // 4) * (size[1] // 4) * second
        self.hidden = nnx.Linear(left, config.hidden, kernel_init=_HE, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout)
        self.logits = nnx.Linear(config.hidden, classes, dtype=dtype, rngs=rngs)

    def maps(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What each block sees in the images, before it is pooled."""
        return self.first.activations(x), self.second.activations(self.first(x))

    def __call__(self, x: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`rngs` says which units are left out; it is needed in training mode only."""
        x = self.second(self.first(x))
        x = nnx.relu(self.hidden(x.reshape(len(x), -1)))
        return self.logits(self.dropout(x, rngs=rngs)).astype(jnp.float32)
