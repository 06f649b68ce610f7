"""FSRCNN and ESPCN: small networks that work on the low-resolution grid and enlarge in their last layer.

FSRCNN enlarges with a 9x9 transposed convolution, ESPCN with a convolution whose channels become sub-pixels.
Both map luma in [0, 1], (batch, height, width, 1), to (batch, height·scale, width·scale, 1).

References:
    C. Dong, C. C. Loy, X. Tang, "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016,
    doi:10.1007/978-3-319-46475-6_25
    W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", CVPR 2016, doi:10.1109/CVPR.2016.207
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers

from jaxconv import nn

from .imresize import bicubic

# For the weights before a PReLU: He's variance. For the last layer: the paper's small normal, so that a new
# network answers with the bicubic picture (or with black, without the skip) and learns corrections.
_HE = initializers.he_normal()
_SMALL = initializers.normal(1e-3)


@dataclass(frozen=True)
class ModelConfig:
    """Which network."""

    model: Literal["fsrcnn", "espcn"] = "fsrcnn"
    """fsrcnn ends in a transposed convolution, espcn in a sub-pixel convolution."""
    scale: Literal[2, 3, 4] = 3
    """Enlargement of both sides."""
    d: int = 56
    """FSRCNN: features at the two ends."""
    s: int = 12
    """FSRCNN: features of the mapping layers between them."""
    m: int = 4
    """FSRCNN: number of mapping layers."""
    features: tuple[int, int] = (64, 32)
    """ESPCN: features of its two hidden layers."""
    residual: bool = True
    """Let the network add to the bicubic enlargement. The papers' networks (--no-residual) make the whole
    picture, which takes them hours to learn."""

    def __str__(self) -> str:
        return f"{self.model.upper()} x{self.scale}"


class PReLU(nnx.Module):
    """max(x, 0) + slope · min(x, 0), with one learned slope per feature."""

    def __init__(self, features: int):
        self.slope = nnx.Param(jnp.full(features, 0.25))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.maximum(x, 0) + self.slope[...].astype(x.dtype) * jnp.minimum(x, 0)


class FSRCNN(nnx.Module):
    """Extract (5x5), shrink (1x1), map (m times 3x3), expand (1x1), enlarge (9x9, transposed)."""

    def __init__(self, config: ModelConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        sizes = [(5, config.d), (1, config.s), *[(3, config.s)] * config.m, (1, config.d)]
        layers, features = [], 1
        for kernel, out in sizes:
            layers += [
                nn.Conv(features, out, (kernel, kernel), kernel_init=_HE, dtype=dtype, rngs=rngs),
                PReLU(out),
            ]
            features = out
        self.layers = nnx.List(layers)
        with warnings.catch_warnings():
            # 9x9 is the paper's size for every scale; at 2 and 4 training has to balance the overlaps.
            warnings.simplefilter("ignore", nn.CheckerboardWarning)
            self.enlarge = nn.ConvTranspose(
                config.d, 1, (9, 9), strides=config.scale, kernel_init=_SMALL, dtype=dtype, rngs=rngs
            )

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return self.enlarge(x)


class ESPCN(nnx.Module):
    """5x5, 3x3, then a 3x3 sub-pixel convolution; tanh between them."""

    def __init__(self, config: ModelConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        first, second = config.features
        self.first = nn.Conv(1, first, (5, 5), dtype=dtype, rngs=rngs)
        self.second = nn.Conv(first, second, (3, 3), dtype=dtype, rngs=rngs)
        calm = nn.init.icnr(config.scale, _SMALL)  # no checkerboard at the start
        self.enlarge = nn.SubpixelConv(
            second, 1, (3, 3), config.scale, kernel_init=calm, dtype=dtype, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.enlarge(jnp.tanh(self.second(jnp.tanh(self.first(x)))))


class SuperResolution(nnx.Module):
    """One of the networks, with or without the bicubic skip; float32 in and out."""

    def __init__(self, config: ModelConfig, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        network: Callable[..., nnx.Module] = {"fsrcnn": FSRCNN, "espcn": ESPCN}[config.model]
        self.network = network(config, dtype=dtype, rngs=rngs)
        self.config = config

    def __call__(self, low: jax.Array) -> jax.Array:
        high = self.network(low).astype(jnp.float32)
        if self.config.residual:
            high += bicubic(low, self.config.scale)
        return high


def reach(config: ModelConfig) -> int:
    """From how many low-resolution pixels away something can still change an output, at most."""
    bicubic = 2
    if config.model == "espcn":
        return max(bicubic, 2 + 1 + 1)
    return max(
        bicubic, 2 + config.m + 4 // config.scale
    )  # the nine taps are four high-resolution pixels long
