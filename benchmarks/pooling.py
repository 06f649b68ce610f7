"""Time poolings against Flax's and PyTorch's: `python -m benchmarks.pooling --out FILE.jsonl`.

The lines are those of benchmarks.run, with Flax's function as `stock` (`lax.reduce_window`, whose gradient is a
select-and-scatter). Three slots: `forward`; `gradient`, the cotangent of x from x and that of y; and `both`,
which returns y too, as a training step needs it. PyTorch's `gradient` is its backward pass alone: it keeps the
indices of the maxima, which the others have to find. Beside the file goes a table, FILE.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

import jaxconv
from jaxconv.geometry import normalize

from . import machine, results, tables
from .contenders import Contender, Refused, relative_error
from .measure import interleave
from .run import progress

SLOTS = ("forward", "gradient", "both")
CONTENDERS = ("jaxconv", "stock", "torch")
_DTYPE = "float32"


@dataclasses.dataclass(frozen=True)
class Pooling:
    """A pooling of a real network; stride and padding are the same for every axis, padding on both sides."""

    name: str
    source: str
    kind: Literal["max", "avg"]
    batch: int
    spatial: tuple[int, ...]
    features: int
    window: int
    stride: int
    padding: int = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        rank = len(self.spatial)
        axes = normalize(
            self.padding, size=self.spatial, kernel=(self.window,) * rank, stride=self.stride, dilation=1
        )
        y = (self.batch, *(a.out for a in axes), self.features)
        return {"x": (self.batch, *self.spatial, self.features), "y": y}

    @property
    def taps(self) -> int:
        """How many elements all windows hold."""
        return math.prod(self.shapes["y"]) * self.window ** len(self.spatial)


WORKLOADS = (
    Pooling("resnet-stem", "ResNet-50, after its 7x7 convolution", "max", 4, (112, 112), 64, 3, 2, 1),
    Pooling("vgg", "VGG-16, second pooling", "max", 4, (112, 112), 128, 2, 2),
    Pooling("inception", "GoogLeNet, a module's pooling", "max", 8, (28, 28), 192, 3, 1, 1),
    Pooling("squeezenet", "SqueezeNet, first pooling", "max", 4, (111, 111), 96, 3, 2),
    Pooling("unet", "U-Net, first pooling", "max", 1, (256, 256), 64, 2, 2),
    Pooling("unet-3d", "3-D U-Net, first pooling", "max", 1, (48, 48, 48), 32, 2, 2),
    Pooling("fcn", "FCN on VGG, fourth pooling", "max", 4, (40, 52), 512, 2, 2),
    Pooling("audio", "M5 on waveforms, after its first convolution", "max", 8, (8000,), 64, 4, 4),
    Pooling("yolo-spp", "YOLOv5's SPPF", "max", 4, (20, 20), 256, 5, 1, 2),
    Pooling("densenet", "DenseNet-121, first transition", "avg", 8, (56, 56), 128, 2, 2),
    Pooling("inception-avg", "Inception-v3, a module's pooling", "avg", 8, (35, 35), 192, 3, 1, 1),
    Pooling("resnet-head", "ResNet-50, before its dense layer", "avg", 32, (7, 7), 2048, 7, 7),
)


def arrays(workload: Pooling) -> dict[str, np.ndarray]:
    """Random numbers for x and the cotangent of y."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in workload.shapes.items()}


def pooling(contender: str, workload: Pooling) -> Callable[[jax.Array], jax.Array]:
    """What this library or Flax ("stock") offers for it."""
    window, stride = ((n,) * len(workload.spatial) for n in (workload.window, workload.stride))
    if contender == "jaxconv":
        ours = jaxconv.max_pool if workload.kind == "max" else jaxconv.avg_pool
        return lambda x: ours(x, window, stride=stride, padding=workload.padding)
    theirs = linen.max_pool if workload.kind == "max" else linen.avg_pool
    pads = ((workload.padding, workload.padding),) * len(window)
    return lambda x: theirs(x, window, stride, pads)


def program(contender: str, workload: Pooling, slot: str) -> Callable[..., Any]:
    """The slot as a function of x and the cotangent of y."""
    pool = pooling(contender, workload)

    def run(x: jax.Array, g: jax.Array) -> Any:
        if slot == "forward":
            return pool(x)
        y, pull = jax.vjp(pool, x)
        return (y, pull(g)[0]) if slot == "both" else pull(g)[0]

    return run
