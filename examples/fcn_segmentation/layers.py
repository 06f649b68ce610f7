"""What the networks are made of: normalised convolutions, maxima over windows, bilinear enlargement."""

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers

from jaxconv import nn

HE = initializers.he_normal()

Norm = Literal["batch", "group", "none"]


class Fixed(nnx.Variable):
    """An array of a network that is no parameter: saved with it, never trained, averaged or decayed."""


def max_pool(x: jax.Array, window: int = 2) -> jax.Array:
    """The largest of each window, with strides of two, of (n, height, width, features).

    Windows of 2 begin at every second pixel, windows of 3 are centred there. Both cover odd sizes to the end,
    as Caffe's do ("ceil mode"), so a side of `size` becomes ⌈size / 2⌉.

    `nnx.max_pool` has the gradient select-and-scatter, which takes a CPU longer than the convolutions do.
    """
    before = (window - 1) // 2
    for axis in (1, 2):
        size = x.shape[axis]
        outputs = -(-size // 2)
        after = 2 * (outputs - 1) + window - before - size
        edges = [(before, after) if i == axis else (0, 0) for i in range(x.ndim)]
        x = jnp.pad(x, edges, constant_values=-jnp.inf)
        taps = [
            jax.lax.slice_in_dim(x, tap, tap + 2 * outputs - 1, stride=2, axis=axis) for tap in range(window)
        ]
        x = functools.reduce(jnp.maximum, taps)
    return x


def crop(x: jax.Array, size: Sequence[int], offset: int = 0) -> jax.Array:
    """`size` pixels from `offset` on, of both axes."""
    height, width = size
    return x[:, offset : offset + height, offset : offset + width]


class ConvNorm(nnx.Module):
    """Convolution that keeps the size (up to its stride), then normalisation, or a bias where there is none.

    The padding is the same on both sides, as PyTorch's and Caffe's is, so that output i is centred at input
    i · stride. `start` scales what the layer puts out at first.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: Norm,
        start: Literal[0, 1] = 1,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        reach = dilation * (kernel - 1) // 2
        self.conv = nn.Conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=stride,
            padding=reach,
            kernel_dilation=dilation,
            use_bias=norm == "none",
            kernel_init=HE if start or norm != "none" else initializers.zeros,
            dtype=dtype,
            rngs=rngs,
        )
        scale = initializers.constant(start)
        if norm == "batch":
            # Flax's momentum of 0.99 takes hundreds of steps to forget how the network began.
            self.norm = nnx.BatchNorm(outputs, momentum=0.9, scale_init=scale, dtype=dtype, rngs=rngs)
        elif norm == "group":
            groups = math.gcd(outputs, 8)
            self.norm = nnx.GroupNorm(outputs, groups, scale_init=scale, dtype=dtype, rngs=rngs)
        else:
            self.norm = nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class Score(nn.Conv):
    """One number for each class: a 1x1 convolution, zero at first as in the paper."""

    def __init__(self, features: int, classes: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        super().__init__(features, classes, (1, 1), kernel_init=initializers.zeros, dtype=dtype, rngs=rngs)


class Upsample(nn.ConvTranspose):
    """Enlarges class scores by `factor`: a transposed convolution that begins as bilinear interpolation.

    What a score stands for decides the kernel:

    - a cell of factor x factor pixels, so its centre is between two pixels: kernel 2·factor, n cells make
      n · factor pixels (k4 s2, k16 s8, k32 s16, k64 s32 of the paper);
    - a point, the pixel i · factor (`points=True`): kernel 2·factor - 1, n points make (n-1) · factor + 1
      pixels.

    Outside of the cells scores count as zero: half a cell from the border they fade. All classes do so alike,
    thus their order stays. Between points nothing fades.

    If `learned`, every class learns from every other, as in the paper's networks. Otherwise the kernel is
    `Fixed` and each class has its own, which is the same interpolation with 1/classes of the arithmetic.
    """

    def __init__(
        self,
        classes: int,
        factor: int,
        *,
        points: bool = False,
        learned: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        kernel = 2 * factor - points
        with warnings.catch_warnings():
            # The overlaps of an odd kernel are uneven, but interpolation gives them weights that sum to one.
            warnings.simplefilter("ignore", nn.CheckerboardWarning)
            super().__init__(
                classes,
                classes,
                (kernel, kernel),
                strides=factor,
                padding=(kernel - 1) // 2 if points else factor // 2,
                feature_group_count=1 if learned else classes,
                use_bias=False,
                kernel_init=nn.init.bilinear(factor),
                dtype=dtype,
                rngs=rngs,
            )
        if not learned:
            self.kernel = Fixed(self.kernel[...])
