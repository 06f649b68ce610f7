"""The nets of `nets.py` for PyTorch: the same names of classes, arguments and parameters, channels first."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .nets import margin

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MAX_POOL = {4: F.max_pool2d, 5: F.max_pool3d}


class Layers:
    """PyTorch's layers under the names of `nets.Layers`."""

    def __init__(self, rank: int):
        self.rank = rank

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
    ) -> nn.Module:
        return _CONV[self.rank](
            features,
            out,
            kernel,
            stride,
            padding=margin(kernel, stride, dilation),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def up(self, features: int, out: int, kernel: int, stride: int) -> nn.Module:
        return _CONV_TRANSPOSE[self.rank](
            features,
            out,
            kernel,
            stride,
            padding=margin(kernel, stride),
            output_padding=(kernel - stride) % 2,
        )

    def batch_norm(self, features: int) -> nn.Module:
        return _BATCH_NORM[self.rank](features)

    def layer_norm(self, features: int) -> nn.Module:
        return LayerNorm(features, eps=1e-6)

    def linear(self, features: int, out: int) -> nn.Module:
        return nn.Linear(features, out)


class LayerNorm(nn.LayerNorm):
    """Over the features of (batch, features, *space); no copy where the memory is channels-last."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def max_pool(x: torch.Tensor) -> torch.Tensor:
    return _MAX_POOL[x.ndim](x, 2)


def space_mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(tuple(range(2, x.ndim)))


class FSRCNN(nn.Module):
    def __init__(self, layers: Layers, *, d: int, s: int, m: int, scale: int):
        super().__init__()
        sizes = [(1, d, 5), (d, s, 1), *[(s, s, 3)] * m, (s, d, 1)]
        self.convs = nn.ModuleList([layers.conv(*size) for size in sizes])
        self.slopes = nn.ModuleList([nn.PReLU(out) for _, out, _ in sizes])
        self.enlarge = layers.up(d, 1, 9, scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, slope in zip(self.convs, self.slopes, strict=True):
            x = slope(conv(x))
        return self.enlarge(x)


class FCN8s(nn.Module):
    def __init__(self, layers: Layers, *, widths: Sequence[int], head: int, classes: int):
        super().__init__()
        pairs = list(zip((3, *widths), widths, strict=False))
        self.first = nn.ModuleList([layers.conv(features, out, 3) for features, out in pairs])
        self.second = nn.ModuleList([layers.conv(out, out, 3) for out in widths])
        self.head = nn.ModuleList([layers.conv(widths[-1], head, 3), layers.conv(head, head, 1)])
        self.scores = nn.ModuleList([layers.conv(n, classes, 1) for n in (widths[-3], widths[-2], head)])
        self.ups = nn.ModuleList([layers.up(classes, classes, *size) for size in ((4, 2), (4, 2), (16, 8))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pools = []
        for first, second in zip(self.first, self.second, strict=True):
            x = max_pool(F.relu(second(F.relu(first(x)))))
            pools.append(x)
        for conv in self.head:
            x = F.relu(conv(x))
        x = self.ups[0](self.scores[2](x)) + self.scores[1](pools[-2])
        x = self.ups[1](x) + self.scores[0](pools[-3])
        return self.ups[2](x)


class InvertedResidual(nn.Module):
    def __init__(self, layers: Layers, features: int, out: int, kernel: int, stride: int, expand: int):
        super().__init__()
        wide = features * expand
        self.expand = layers.conv(features, wide, 1, bias=False)
        self.depthwise = layers.conv(wide, wide, kernel, stride, groups=wide, bias=False)
        self.project = layers.conv(wide, out, 1, bias=False)
        self.norms = nn.ModuleList([layers.batch_norm(n) for n in (wide, wide, out)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self.norms[0](self.expand(x)))
        y = F.relu6(self.norms[1](self.depthwise(y)))
        y = self.norms[2](self.project(y))
        return x + y if x.shape == y.shape else y


class InvertedResiduals(nn.Module):
    def __init__(
        self, layers: Layers, *, stem: int, blocks: Sequence[tuple[int, int, int]], expand: int, classes: int
    ):
        super().__init__()
        widths = (stem, *(out for out, _, _ in blocks))
        self.stem = layers.conv(3, stem, 3, 2, bias=False)
        self.norm = layers.batch_norm(stem)
        self.blocks = nn.ModuleList(
            [InvertedResidual(layers, n, *block, expand) for n, block in zip(widths, blocks, strict=False)]
        )
        self.head = layers.linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(space_mean(x))


class ConvNeXtBlock(nn.Module):
    def __init__(self, layers: Layers, width: int):
        super().__init__()
        self.depthwise = layers.conv(width, width, 7, groups=width)
        self.norm = layers.layer_norm(width)
        self.expand = layers.conv(width, 4 * width, 1)
        self.project = layers.conv(4 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.project(F.gelu(self.expand(self.norm(self.depthwise(x)))))


class ConvNeXt(nn.Module):
    def __init__(self, layers: Layers, *, width: int, depth: int, classes: int):
        super().__init__()
        self.stem = layers.conv(3, width, 4, 4)
        self.norm = layers.layer_norm(width)
        self.blocks = nn.ModuleList([ConvNeXtBlock(layers, width) for _ in range(depth)])
        self.head = layers.linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(space_mean(x))


class ResBlock(nn.Module):
    def __init__(self, layers: Layers, width: int, kernel: int, dilations: Sequence[int]):
        super().__init__()
        self.dilated = nn.ModuleList([layers.conv(width, width, kernel, dilation=n) for n in dilations])
        self.plain = nn.ModuleList([layers.conv(width, width, kernel) for _ in dilations])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Vocoder(nn.Module):
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
        super().__init__()
        widths = [width // 2**i for i in range(len(ups) + 1)]
        self.first = layers.conv(mels, width, 7)
        self.ups = nn.ModuleList(
            [layers.up(2 * n, n, *size) for n, size in zip(widths[1:], ups, strict=True)]
        )
        self.blocks = nn.ModuleList([ResBlock(layers, n, k, dilations) for n in widths[1:] for k in kernels])
        self.last = layers.conv(widths[-1], 1, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, blocks = self.first(x), iter(self.blocks)
        each = len(self.blocks) // len(self.ups)
        for up in self.ups:
            x = up(F.leaky_relu(x, 0.1))
            branches = [next(blocks)(x) for _ in range(each)]
            x = functools.reduce(torch.add, branches) / each
        return torch.tanh(self.last(F.leaky_relu(x, 0.01)))


class DoubleConv(nn.Module):
    def __init__(self, layers: Layers, features: int, out: int):
        super().__init__()
        self.first = layers.conv(features, out, 3, bias=False)
        self.second = layers.conv(out, out, 3, bias=False)
        self.norms = nn.ModuleList([layers.batch_norm(out), layers.batch_norm(out)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(x)))


class UNet3D(nn.Module):
    def __init__(self, layers: Layers, *, widths: Sequence[int], up_kernels: Sequence[int], classes: int):
        super().__init__()
        steps = list(itertools.pairwise(widths))
        self.down = nn.ModuleList([DoubleConv(layers, n, out) for n, out in [(1, widths[0]), *steps]])
        self.ups = nn.ModuleList(
            [layers.up(n, out, k, 2) for (out, n), k in zip(steps, up_kernels, strict=True)]
        )
        self.merge = nn.ModuleList([DoubleConv(layers, 2 * out, out) for out, _ in steps])
        self.last = layers.conv(widths[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *others = self.down
        skips = [first(x)]
        for block in others:
            skips.append(block(max_pool(skips[-1])))
        x = skips.pop()
        for up, merge in zip(reversed(self.ups), reversed(self.merge), strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        return self.last(x)


class ResNeXtBlock(nn.Module):
    def __init__(self, layers: Layers, width: int, inner: int, groups: int):
        super().__init__()
        self.reduce = layers.conv(width, inner, 1, bias=False)
        self.grouped = layers.conv(inner, inner, 3, groups=groups, bias=False)
        self.expand = layers.conv(inner, width, 1, bias=False)
        self.norms = nn.ModuleList([layers.batch_norm(n) for n in (inner, inner, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norms[0](self.reduce(x)))
        y = F.relu(self.norms[1](self.grouped(y)))
        return F.relu(x + self.norms[2](self.expand(y)))


class ResNeXt(nn.Module):
    def __init__(self, layers: Layers, *, width: int, inner: int, groups: Sequence[int], classes: int):
        super().__init__()
        self.stem = layers.conv(3, width, 7, 2, bias=False)
        self.norm = layers.batch_norm(width)
        self.blocks = nn.ModuleList([ResNeXtBlock(layers, width, inner, n) for n in groups])
        self.head = layers.linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(space_mean(x))


def load(model: nn.Module, weights: Mapping[str, np.ndarray]) -> int:
    """Gives the model these parameters, all of its own and no others; returns how many numbers they are."""
    parameters = dict(model.named_parameters())
    if parameters.keys() != weights.keys():
        raise ValueError(f"parameters differ: {sorted(parameters.keys() ^ weights.keys())}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            value = torch.from_numpy(np.array(weights[name]))
            if value.shape != parameter.shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, wanted {tuple(parameter.shape)}")
            parameter.copy_(value)
    return sum(parameter.numel() for parameter in parameters.values())
