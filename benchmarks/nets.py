"""Seven nets, each written once; the library that its convolutions come from is a parameter.

All other layers are Flax's in both versions, but for max-pooling. `nets_torch.py` has the same nets for
PyTorch, under the same names of classes, arguments and parameters.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import jaxconv


def margin(kernel: int, stride: int = 1, dilation: int = 1) -> int:
    """What PyTorch's users pass as `padding` so that a size becomes size / stride, or size · stride."""
    return (dilation * (kernel - 1) + 2 - stride) // 2


class Layers:
    """The convolutions of one library, with windows that are equal along all axes."""

    def __init__(self, library: Any, rngs: nnx.Rngs, rank: int):
        self.library, self.rngs, self.rank = library, rngs, rank

    def conv(
        self,
        features: int,
        out: int,
        kernel: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> Any:
        return self.library.Conv(
            features,
            out,
            (kernel,) * self.rank,
            stride,
            padding=margin(kernel, stride, dilation),
            kernel_dilation=dilation,
            feature_group_count=groups,
            use_bias=bias,
            rngs=self.rngs,
        )

    def up(self, features: int, out: int, kernel: int, stride: int) -> Any:
        """Out = in · stride; the larger part of an odd crop is in front, as PyTorch's users have it."""
        padding: Any = "SAME_LOWER"
        if self.library is nnx:  # Flax lacks that name, and means the padding of the dilated input
            lo = kernel - 1 - margin(kernel, stride)
            padding = ((lo, lo + (kernel - stride) % 2),) * self.rank
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jaxconv.nn.CheckerboardWarning)  # 3-D U-Nets do use k3 s2
            return self.library.ConvTranspose(
                features, out, (kernel,) * self.rank, stride, padding=padding, rngs=self.rngs
            )

    @property
    def max_pool(self) -> Callable[[jax.Array], jax.Array]:
        return window_max_pool if self.library is nnx else block_max_pool

    def batch_norm(self, features: int) -> nnx.BatchNorm:
        return nnx.BatchNorm(features, momentum=0.9, rngs=self.rngs)

    def layer_norm(self, features: int) -> nnx.LayerNorm:
        return nnx.LayerNorm(features, rngs=self.rngs)

    def linear(self, features: int, out: int) -> nnx.Linear:
        return nnx.Linear(features, out, rngs=self.rngs)


class PReLU(nnx.Module):
    """One slope per feature; Flax's has a single one."""

    def __init__(self, features: int):
        self.slope = nnx.Param(jnp.full(features, 0.25))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.maximum(x, 0) + self.slope[...] * jnp.minimum(x, 0)


def window_max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2 x 2, as Flax's users have it; the gradient searches each window again."""
    window = (2,) * (x.ndim - 2)
    return nnx.max_pool(x, window, window)


def block_max_pool(x: jax.Array) -> jax.Array:
    """The same over blocks; the gradient compares, and halves where two are equal."""
    n, *space, c = x.shape
    blocks = x.reshape(n, *itertools.chain(*((size // 2, 2) for size in space)), c)
    return blocks.max(range(2, blocks.ndim - 1, 2))


def space_mean(x: jax.Array) -> jax.Array:
    return x.mean(tuple(range(1, x.ndim - 1)))


class FSRCNN(nnx.Module):
    """Super-resolution, doi:10.1007/978-3-319-46475-6_25."""

    def __init__(self, layers: Layers, *, d: int, s: int, m: int, scale: int):
        sizes = [(1, d, 5), (d, s, 1), *[(s, s, 3)] * m, (s, d, 1)]
        self.convs = nnx.List([layers.conv(*size) for size in sizes])
        self.slopes = nnx.List([PReLU(out) for _, out, _ in sizes])
        self.enlarge = layers.up(d, 1, 9, scale)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, slope in zip(self.convs, self.slopes, strict=True):
            x = slope(conv(x))
        return self.enlarge(x)


class FCN8s(nnx.Module):
    """Segmentation, arXiv:1411.4038, on a narrow VGG with two convolutions a stage."""

    def __init__(self, layers: Layers, *, widths: Sequence[int], head: int, classes: int):
        pairs = list(zip((3, *widths), widths, strict=False))
        self.max_pool = layers.max_pool
        self.first = nnx.List([layers.conv(features, out, 3) for features, out in pairs])
        self.second = nnx.List([layers.conv(out, out, 3) for out in widths])
        self.head = nnx.List([layers.conv(widths[-1], head, 3), layers.conv(head, head, 1)])
        self.scores = nnx.List([layers.conv(width, classes, 1) for width in (widths[-3], widths[-2], head)])
        self.ups = nnx.List([layers.up(classes, classes, *size) for size in ((4, 2), (4, 2), (16, 8))])

    def __call__(self, x: jax.Array) -> jax.Array:
        pools = []
        for first, second in zip(self.first, self.second, strict=True):
            x = self.max_pool(nnx.relu(second(nnx.relu(first(x)))))
            pools.append(x)
        for conv in self.head:
            x = nnx.relu(conv(x))
        x = self.ups[0](self.scores[2](x)) + self.scores[1](pools[-2])
        x = self.ups[1](x) + self.scores[0](pools[-3])
        return self.ups[2](x)


class InvertedResidual(nnx.Module):
    """1x1 to wide, depthwise, 1x1 to narrow, arXiv:1801.04381."""

    def __init__(self, layers: Layers, features: int, out: int, kernel: int, stride: int, expand: int):
        wide = features * expand
        self.expand = layers.conv(features, wide, 1, bias=False)
        self.depthwise = layers.conv(wide, wide, kernel, stride, groups=wide, bias=False)
        self.project = layers.conv(wide, out, 1, bias=False)
        self.norms = nnx.List([layers.batch_norm(n) for n in (wide, wide, out)])

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu6(self.norms[0](self.expand(x)))
        y = nnx.relu6(self.norms[1](self.depthwise(y)))
        y = self.norms[2](self.project(y))
        return x + y if x.shape == y.shape else y


class InvertedResiduals(nnx.Module):
    """A stem that halves, then blocks of (out, kernel, stride), a head."""

    def __init__(
        self, layers: Layers, *, stem: int, blocks: Sequence[tuple[int, int, int]], expand: int, classes: int
    ):
        widths = (stem, *(out for out, _, _ in blocks))
        self.stem = layers.conv(3, stem, 3, 2, bias=False)
        self.norm = layers.batch_norm(stem)
        self.blocks = nnx.List(
            [InvertedResidual(layers, n, *block, expand) for n, block in zip(widths, blocks, strict=False)]
        )
        self.head = layers.linear(widths[-1], classes)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu6(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(space_mean(x))


class ConvNeXtBlock(nnx.Module):
    def __init__(self, layers: Layers, width: int):
        self.depthwise = layers.conv(width, width, 7, groups=width)
        self.norm = layers.layer_norm(width)
        self.expand = layers.conv(width, 4 * width, 1)
        self.project = layers.conv(4 * width, width, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.expand(self.norm(self.depthwise(x)))
        return x + self.project(nnx.gelu(y, approximate=False))


class ConvNeXt(nnx.Module):
    """One stage of arXiv:2201.03545 after its 4x4 stem."""

    def __init__(self, layers: Layers, *, width: int, depth: int, classes: int):
        self.stem = layers.conv(3, width, 4, 4)
        self.norm = layers.layer_norm(width)
        self.blocks = nnx.List([ConvNeXtBlock(layers, width) for _ in range(depth)])
        self.head = layers.linear(width, classes)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.norm(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(space_mean(x))


class ResBlock(nnx.Module):
    """Dilated convolutions, each with a skip."""

    def __init__(self, layers: Layers, width: int, kernel: int, dilations: Sequence[int]):
        self.dilated = nnx.List([layers.conv(width, width, kernel, dilation=n) for n in dilations])
        self.plain = nnx.List([layers.conv(width, width, kernel) for _ in dilations])

    def __call__(self, x: jax.Array) -> jax.Array:
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            x = x + plain(nnx.leaky_relu(dilated(nnx.leaky_relu(x, 0.1)), 0.1))
        return x


class Vocoder(nnx.Module):
    """HiFi-GAN's generator, arXiv:2010.05646, without the weight normalisation; ups are (kernel, stride)."""

    def __init__(
        self,
        layers: Layers,
        *,
        mels: int,
        width: int,
        ups: Sequence[tuple[int, int]],
        kernels: Sequence[int],
        dilations: Sequence[int],
    ):
        widths = [width // 2**i for i in range(len(ups) + 1)]
        self.first = layers.conv(mels, width, 7)
        self.ups = nnx.List([layers.up(2 * n, n, *size) for n, size in zip(widths[1:], ups, strict=True)])
        self.blocks = nnx.List([ResBlock(layers, n, k, dilations) for n in widths[1:] for k in kernels])
        self.last = layers.conv(widths[-1], 1, 7)

    def __call__(self, x: jax.Array) -> jax.Array:
        x, blocks = self.first(x), iter(self.blocks)
        each = len(self.blocks) // len(self.ups)
        for up in self.ups:
            x = up(nnx.leaky_relu(x, 0.1))
            branches = [next(blocks)(x) for _ in range(each)]
            x = sum(branches[1:], start=branches[0]) / each
        return jnp.tanh(self.last(nnx.leaky_relu(x, 0.01)))


class DoubleConv(nnx.Module):
    def __init__(self, layers: Layers, features: int, out: int):
        self.first = layers.conv(features, out, 3, bias=False)
        self.second = layers.conv(out, out, 3, bias=False)
        self.norms = nnx.List([layers.batch_norm(out), layers.batch_norm(out)])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norms[0](self.first(x)))
        return nnx.relu(self.norms[1](self.second(x)))


class UNet3D(nnx.Module):
    """Volumetric segmentation, arXiv:1606.06650; one up-convolution per level, from the top."""

    def __init__(self, layers: Layers, *, widths: Sequence[int], up_kernels: Sequence[int], classes: int):
        steps = list(itertools.pairwise(widths))
        self.max_pool = layers.max_pool
        self.down = nnx.List([DoubleConv(layers, n, out) for n, out in [(1, widths[0]), *steps]])
        self.ups = nnx.List([layers.up(n, out, k, 2) for (out, n), k in zip(steps, up_kernels, strict=True)])
        self.merge = nnx.List([DoubleConv(layers, 2 * out, out) for out, _ in steps])
        self.last = layers.conv(widths[0], classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        skips = [self.down[0](x)]
        for block in self.down[1:]:
            skips.append(block(self.max_pool(skips[-1])))
        x = skips.pop()
        for up, merge in zip(reversed(self.ups), reversed(self.merge), strict=True):
            x = merge(jnp.concatenate([skips.pop(), up(x)], axis=-1))
        return self.last(x)


class ResNeXtBlock(nnx.Module):
    def __init__(self, layers: Layers, width: int, inner: int, groups: int):
        self.reduce = layers.conv(width, inner, 1, bias=False)
        self.grouped = layers.conv(inner, inner, 3, groups=groups, bias=False)
        self.expand = layers.conv(inner, width, 1, bias=False)
        self.norms = nnx.List([layers.batch_norm(n) for n in (inner, inner, width)])

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.norms[0](self.reduce(x)))
        y = nnx.relu(self.norms[1](self.grouped(y)))
        return nnx.relu(x + self.norms[2](self.expand(y)))


class ResNeXt(nnx.Module):
    """One stage of arXiv:1611.05431; each block has its own number of groups."""

    def __init__(self, layers: Layers, *, width: int, inner: int, groups: Sequence[int], classes: int):
        self.stem = layers.conv(3, width, 7, 2, bias=False)
        self.norm = layers.batch_norm(width)
        self.blocks = nnx.List([ResNeXtBlock(layers, width, inner, n) for n in groups])
        self.head = layers.linear(width, classes)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(space_mean(x))
