"""What sees the image: VGG made convolutional, with its pooled maps, and a dilated residual network.

References:
    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    ICLR 2015, arXiv:1409.1556
    F. Yu, V. Koltun, T. Funkhouser, "Dilated Residual Networks", CVPR 2017, doi:10.1109/CVPR.2017.75
"""

import jax
import jax.numpy as jnp
from flax import nnx

from .layers import ConvNorm, Norm, max_pool

# Convolutions in each of the five stages of VGG (the paper's A, B and D).
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}


def scaled(features: int, width: float) -> int:
    return max(1, round(features * width))


class VGG(nnx.Module):
    """VGG-11, -13 or -16 with its dense layers as convolutions; fc6 is 7x7.

    Returns:
        What fc7, the fourth and the third pooling give: maps of ⌈size / 32⌉, ⌈size / 16⌉, ⌈size / 8⌉.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        depth: int,
        width: float,
        dropout: float,
        norm: Norm,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        def layer(inputs, outputs, kernel):
            return ConvNorm(inputs, outputs, kernel, norm=norm, dtype=dtype, rngs=rngs)

        stages, features = [], in_channels
        for count, base in zip(STAGES[depth], (64, 128, 256, 512, 512), strict=True):
            outputs = scaled(base, width)
            inputs = [features, *[outputs] * (count - 1)]
            stages.append(nnx.List([layer(n, outputs, 3) for n in inputs]))
            features = outputs
        self.stages = nnx.List(stages)
        dense = scaled(4096, width)
        self.fc6 = layer(features, dense, 7)
        self.fc7 = layer(dense, dense, 1)
        self.features = dense, scaled(512, width), scaled(256, width)
        self.dropout = nnx.Dropout(dropout)

    def pools(self, x: jax.Array) -> list[jax.Array]:
        """The map after each of the five poolings."""
        pools = []
        for stage in self.stages:
            for layer in stage:
                x = nnx.relu(layer(x))
            x = max_pool(x)
            pools.append(x)
        return pools

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
        _, _, pool3, pool4, x = self.pools(x)
        for layer in (self.fc6, self.fc7):
            x = self.dropout(nnx.relu(layer(x)), rngs=rngs)
        return x, pool4, pool3


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut, which at first is all there is.

    The first convolution works on the grid that comes in, the second on the one that comes out: where a
    stride has become a dilation (`grow`), the dilation doubles between the two.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: int,
        dilation: int,
        grow: bool,
        norm: Norm,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        def layer(features, kernel, **options):
            return ConvNorm(features, outputs, kernel, norm=norm, dtype=dtype, rngs=rngs, **options)

        self.first = layer(inputs, 3, stride=stride, dilation=dilation // 2 if grow else dilation)
        self.second = layer(outputs, 3, dilation=dilation, start=0)
        same = inputs == outputs and stride == 1
        self.shortcut = nnx.data(None) if same else layer(inputs, 1, stride=stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return nnx.relu(self.second(nnx.relu(self.first(x))) + shortcut)


class DilatedResNet(nnx.Module):
    """A residual network whose last two strides are dilations of 2 and 4 (the paper's DRN-A).

    Returns:
        A map of ⌈size / 8⌉; its element i is centred at the image's pixel 8·i. Every fourth element along
        each axis is one that the strided network of the same parameters gives.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        blocks: tuple[int, int, int, int],
        width: float,
        norm: Norm,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        features = scaled(64, width)
        self.stem = ConvNorm(in_channels, features, 7, stride=2, norm=norm, dtype=dtype, rngs=rngs)
        stages = []
        for i, (count, stride, dilation) in enumerate(zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)):
            outputs = scaled(64 << i, width)
            for place in range(count):
                stages.append(
                    BasicBlock(
                        features,
                        outputs,
                        stride=1 if place else stride,
                        dilation=dilation,
                        grow=dilation > 1 and place == 0,
                        norm=norm,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                features = outputs
        self.blocks = nnx.List(stages)
        self.features = features

    def __call__(self, x: jax.Array) -> jax.Array:
        x = max_pool(nnx.relu(self.stem(x)), 3)
        for block in self.blocks:
            x = block(x)
        return x
