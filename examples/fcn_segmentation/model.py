"""Fully convolutional networks: FCN-32s, -16s, -8s, -8s-at-once on VGG, one on a dilated residual network.

Images (n, height, width, channels) in [0, 1], of any size, become class scores (n, height, width, classes).

The authors pad the image by 100 pixels, let fc6 see whole windows only, and cut the result out at offsets
that follow from that (5 and 9 for the skips; 19, 27, 31 for the image). Here every convolution keeps its
size, fc6 too, so each score is a cell of 32, 16 or 8 pixels counted from the image's corner: nothing has an
offset, and what sticks out behind is cropped. That saves the margins' arithmetic, which for small images is
most of it. What differs is that fc6 sees no features beyond the border, where theirs sees the features of
black margins, and that their cells begin 3 pixels off. An image whose normalised form is padded by 99
zeros, and the result cropped by as many, gets their scores.

References:
    E. Shelhamer, J. Long, T. Darrell, "Fully Convolutional Networks for Semantic Segmentation", TPAMI 2017,
    doi:10.1109/TPAMI.2016.2572683
    F. Yu, V. Koltun, T. Funkhouser, "Dilated Residual Networks", CVPR 2017, doi:10.1109/CVPR.2017.75
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from .backbones import VGG, DilatedResNet
from .layers import Norm, Score, Upsample, crop

# Of ImageNet's photographs, which torchvision's weights want subtracted and divided by.
_MEAN, _STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)

# For each network on VGG what it multiplies pool4 and pool3 by, where it has skips from them.
_SKIPS = {
    "fcn32s": (),
    "fcn16s": (1.0,),
    "fcn8s": (1.0, 1.0),
    "fcn8s-atonce": (0.01, 1e-4),
}


@dataclass(frozen=True)
class ModelConfig:
    """Which network."""

    model: Literal["fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce", "dilated"] = "fcn8s"
    """The number is the stride of the finest scores. 8s-at-once scales what its skips see (pool4 by 0.01,
    pool3 by 1e-4), as VGG without normalisation needs where all skips learn from the start. dilated is a
    residual network of stride 8 without skips."""
    width: float = 0.125
    """Features of every layer, as a share of the papers'; 1 is theirs."""
    depth: Literal[11, 13, 16] = 16
    """VGG: layers of the original network."""
    blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    """dilated: residual blocks of each stage; (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34."""
    norm: Norm = "batch"
    """Normalisation after every convolution of the backbone. none is the paper's, for training from VGG's
    weights; narrow networks do not learn without."""
    dropout: float = 0.5
    """VGG: share of fc6's and of fc7's units that a training step leaves out; 0 for none."""
    learn_upsampling: Literal["none", "intermediate", "all"] = "none"
    """Which transposed convolutions learn; the others stay bilinear. The paper lets the intermediate ones
    learn, its published networks none."""

    def __post_init__(self):
        if self.width <= 0 or not 0 <= self.dropout < 1 or min(self.blocks) < 1:
            raise ValueError(
                f"width={self.width} must be above 0, dropout={self.dropout} at least 0 and below 1, "
                f"blocks={self.blocks} at least 1 each"
            )

    def __str__(self) -> str:
        backbone = f"ResNet {self.blocks}" if self.model == "dilated" else f"VGG-{self.depth}"
        return f"{self.model} on {backbone} of width {self.width:g}"


def normalise(x: jax.Array) -> jax.Array:
    """Images in [0, 1] less ImageNet's mean, over its deviation; gray's for what does not have 3 channels."""
    if x.shape[-1] == 3:
        return (x - _MEAN) / _STD
    return (x - _MEAN.mean()) / _STD.mean()


class SkipFCN(nnx.Module):
    """FCN-32s, -16s and -8s: scores of fc7, enlarged twice by two where scores of pool4, pool3 are added."""

    def __init__(
        self, config: ModelConfig, in_channels: int, classes: int, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        self.scales = _SKIPS[config.model]
        self.backbone = VGG(
            in_channels,
            depth=config.depth,
            width=config.width,
            dropout=config.dropout,
            norm=config.norm,
            dtype=dtype,
            rngs=rngs,
        )
        dense, *pools = self.backbone.features
        self.score = Score(dense, classes, dtype=dtype, rngs=rngs)
        pools = pools[: len(self.scales)]
        self.skips = nnx.List([Score(features, classes, dtype=dtype, rngs=rngs) for features in pools])
        learned = config.learn_upsampling
        self.double = nnx.List(
            [Upsample(classes, 2, learned=learned != "none", dtype=dtype, rngs=rngs) for _ in pools]
        )
        self.enlarge = Upsample(classes, 32 >> len(pools), learned=learned == "all", dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        fc7, *pools = self.backbone(x, rngs)
        scores = self.score(fc7)
        for i, (skip, double) in enumerate(zip(self.skips, self.double, strict=True)):
            finer = skip(pools[i] * self.scales[i])
            scores = crop(double(scores), finer.shape[1:3]) + finer
        return crop(self.enlarge(scores), x.shape[1:3])


class DilatedFCN(nnx.Module):
    """Scores of the dilated network, enlarged by eight.

    A score belongs to one pixel, not to a cell. The image is padded so that the scored pixels enclose it: the
    first lies 4 pixels before it, the last at or behind its end.
    """

    def __init__(
        self, config: ModelConfig, in_channels: int, classes: int, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        self.backbone = DilatedResNet(
            in_channels, blocks=config.blocks, width=config.width, norm=config.norm, dtype=dtype, rngs=rngs
        )
        self.score = Score(self.backbone.features, classes, dtype=dtype, rngs=rngs)
        learned = config.learn_upsampling == "all"
        self.enlarge = Upsample(classes, 8, points=True, learned=learned, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        del rngs  # no dropout
        size, before = x.shape[1:3], 4
        edges = [(before, -(-(before + n - 1) // 8) * 8 + 1 - before - n) for n in size]
        x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
        return crop(self.enlarge(self.score(self.backbone(x))), size, before)


class FCN(nnx.Module):
    """One of the networks: images (n, height, width, in_channels) in [0, 1] to scores, float32 in and out.

    `rngs` of the call says which units are left out; it is needed in training mode only.
    """

    def __init__(
        self,
        config: ModelConfig,
        in_channels: int,
        classes: int,
        *,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        network = DilatedFCN if config.model == "dilated" else SkipFCN
        self.network = network(config, in_channels, classes, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        return self.network(normalise(x), rngs).astype(jnp.float32)


def start_from(finer: FCN, coarser: FCN) -> None:
    """Copies what two networks on the same VGG share: the paper trains 32s, from it 16s, and from that 8s.

    A skip that only the finer one has is zero still, so that at first it tells what the coarser one told.
    """
    ours, theirs = finer.network, coarser.network
    if not isinstance(ours, SkipFCN) or not isinstance(theirs, SkipFCN):
        raise ValueError("only the networks on VGG start from one another")
    shared = [(ours.backbone, theirs.backbone), (ours.score, theirs.score)]
    for i in range(min(len(ours.skips), len(theirs.skips))):
        shared += [(ours.skips[i], theirs.skips[i]), (ours.double[i], theirs.double[i])]
    for to, source in shared:
        nnx.update(to, nnx.state(source))
