"""What the nets are trained on, at full and at tiny size, and what is the same for every version of a net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxconv
from jaxconv import interop

from . import nets

LIBRARIES = {"jaxconv": jaxconv.nn, "flax": nnx}
LEARNING_RATE = 1e-3

Objective = Callable[[nnx.State, nnx.State, jax.Array, jax.Array], tuple[jax.Array, nnx.State]]


@dataclass(frozen=True)
class Task:
    """A net and the shapes of its data: random ones, that it learns by heart.

    A net with `classes` is trained by the cross-entropy of labels, another by the mean squared error.
    """

    name: str
    module: type[nnx.Module]
    options: Mapping[str, Any]
    x_shape: tuple[int, ...]  # batch, space, features
    y_shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.x_shape) - 2

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal(self.x_shape, np.float32)
        if "classes" in self.options:
            return x, rng.integers(self.options["classes"], size=self.y_shape, dtype=np.int32)
        return x, rng.uniform(-0.5, 0.5, self.y_shape).astype(np.float32)


def tasks(*, tiny: bool = False) -> tuple[Task, ...]:
    """All nets. The tiny ones have the same kinds of layers, for tests."""
    table = _TINY if tiny else _FULL
    return tuple(Task(name, getattr(nets, module), *rest) for name, (module, *rest) in table.items())


# name: class, options, shape of x, shape of y
_FULL: dict[str, Any] = {
    "FSRCNN": ("FSRCNN", {"d": 56, "s": 12, "m": 4, "scale": 3}, (16, 24, 24, 1), (16, 72, 72, 1)),
    "FCN-8s": (
        "FCN8s",
        {"widths": (32, 64, 128, 128, 128), "head": 256, "classes": 21},
        (4, 96, 96, 3),
        (4, 96, 96),
    ),
    "inverted residuals": (
        "InvertedResiduals",
        {"stem": 16, "blocks": ((24, 3, 1), (24, 5, 1), (40, 5, 2), (40, 3, 1)), "expand": 4, "classes": 10},
        (4, 112, 112, 3),
        (4,),
    ),
    "ConvNeXt": ("ConvNeXt", {"width": 96, "depth": 3, "classes": 10}, (4, 112, 112, 3), (4,)),
    "vocoder": (
        "Vocoder",
        {
            "mels": 80,
            "width": 128,
            "ups": ((16, 8), (16, 8), (4, 2)),
            "kernels": (3, 7),
            "dilations": (1, 3),
        },
        (2, 32, 80),
        (2, 4096, 1),
    ),
    "U-Net 3-D": (
        "UNet3D",
        {"widths": (32, 64, 128), "up_kernels": (3, 2), "classes": 3},
        (1, 16, 32, 32, 1),
        (1, 16, 32, 32),
    ),
    "ResNeXt": (
        "ResNeXt",
        {"width": 256, "inner": 128, "groups": (32, 8), "classes": 10},
        (4, 56, 56, 3),
        (4,),
    ),
}
_TINY: dict[str, Any] = {
    "FSRCNN": ("FSRCNN", {"d": 5, "s": 3, "m": 2, "scale": 3}, (2, 5, 6, 1), (2, 15, 18, 1)),
    "FCN-8s": (
        "FCN8s",
        {"widths": (3, 4, 5, 6, 7), "head": 8, "classes": 4},
        (2, 32, 64, 3),
        (2, 32, 64),
    ),
    "inverted residuals": (
        "InvertedResiduals",
        {"stem": 4, "blocks": ((4, 3, 1), (6, 5, 2)), "expand": 2, "classes": 3},
        (2, 16, 12, 3),
        (2,),
    ),
    "ConvNeXt": ("ConvNeXt", {"width": 6, "depth": 1, "classes": 3}, (2, 32, 28, 3), (2,)),
    "vocoder": (
        "Vocoder",
        {"mels": 5, "width": 8, "ups": ((16, 8), (4, 2)), "kernels": (3, 5), "dilations": (1, 3)},
        (2, 6, 5),
        (2, 96, 1),
    ),
    "U-Net 3-D": (
        "UNet3D",
        {"widths": (3, 4, 5), "up_kernels": (3, 2), "classes": 3},
        (2, 4, 8, 12, 1),
        (2, 4, 8, 12),
    ),
    "ResNeXt": ("ResNeXt", {"width": 10, "inner": 8, "groups": (4, 2), "classes": 3}, (2, 14, 12, 3), (2,)),
}


def build(task: Task, library: str) -> nnx.Module:
    """The net from one of LIBRARIES; its initial weights are the same from each."""
    model = _drawn(task, library)
    if library != "jaxconv":
        _copy_weights(_drawn(task, "jaxconv"), model)
    return model


def _drawn(task: Task, library: str) -> nnx.Module:
    layers = nets.Layers(LIBRARIES[library], nnx.Rngs(0), task.rank)
    module: Any = task.module
    return module(layers, **task.options)


def _copy_weights(source: nnx.Module, target: nnx.Module) -> None:
    """From jaxconv's version to Flax's, which keeps the kernels of transposed convolutions another way."""
    weights = dict(nnx.to_flat_state(nnx.state(source)))
    for path, layer in nnx.iter_modules(target):
        if isinstance(layer, nnx.ConvTranspose):
            kernel = weights[*path, "kernel"]
            kernel.set_value(interop.flax.to_conv_transpose_kernel(kernel[...], shape=layer.kernel.shape))
    nnx.update(target, nnx.from_flat_state(weights))


def torch_weights(model: nnx.Module) -> dict[str, np.ndarray]:
    """The parameters of jaxconv's version by PyTorch's names, in PyTorch's layouts."""
    weights = {}
    for path, layer in nnx.iter_modules(model):
        for name, value in vars(layer).items():
            if isinstance(value, nnx.Param):
                array, key = np.asarray(value[...]), ".".join(map(str, path))
                weights[f"{key}.{'bias' if name == 'bias' else 'weight'}"] = _torch_layout(layer, name, array)
    return weights


def _torch_layout(layer: nnx.Module, name: str, array: np.ndarray) -> np.ndarray:
    if name != "kernel":
        return array
    if isinstance(layer, nnx.Linear):
        return array.T
    if isinstance(layer, jaxconv.nn.ConvTranspose):
        return np.asarray(interop.torch.to_conv_transpose_kernel(array))
    return np.asarray(interop.torch.to_conv_kernel(array))


def count(model: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def make_objective(task: Task, graph: nnx.GraphDef) -> Objective:
    """(parameters, other state, x, y) -> (loss, new other state)."""

    def objective(
        params: nnx.State, rest: nnx.State, x: jax.Array, y: jax.Array
    ) -> tuple[jax.Array, nnx.State]:
        model: Any = nnx.merge(graph, params, rest, copy=True)
        out = model(x)
        if "classes" in task.options:
            loss = optax.softmax_cross_entropy_with_integer_labels(out, y).mean()
        else:
            loss = jnp.square(out - y).mean()
        return loss, nnx.state(model, nnx.Not(nnx.Param))

    return objective
