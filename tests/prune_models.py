"""Small networks for pruning, each written once and built with NNX, Linen and Equinox."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

import jaxconv

LIBRARIES = ("nnx", "linen", "equinox")


class Layer(NamedTuple):
    """Of a network's table: conv, up and dense of inputs and outputs, norm and prelu of channels."""

    kind: str
    inputs: int
    outputs: int = 0
    kernel: int = 3
    stride: int = 1
    groups: int = 1


class Tools(NamedTuple):
    """What depends on where the channels are."""

    join: Callable
    mean: Callable


def resnet(f: Callable, x: jax.Array, tools: Tools) -> jax.Array:
    x = jax.nn.relu(f("norm0", f("stem", x)))
    x = jax.nn.relu(x + f("norm2", f("conv2", jax.nn.relu(f("norm1", f("conv1", x))))))
    x = jax.nn.relu(f("down", x) + f("conv4", jax.nn.relu(f("norm3", f("conv3", x)))))
    return f("head", tools.mean(x))


def mobilenet(f: Callable, x: jax.Array, tools: Tools) -> jax.Array:
    x = jax.nn.relu6(f("norm0", f("stem", x)))
    x = jax.nn.relu6(f("norm1", f("deep1", x)))
    x = f("point1", x)
    x = f("point2", jax.nn.relu6(f("deep2", x)))
    return f("head", tools.mean(x))


def resnext(f: Callable, x: jax.Array, tools: Tools) -> jax.Array:
    x = f("stem", x)
    y = jax.nn.relu(f("norm1", f("grouped", jax.nn.relu(f("into", x)))))
    return f("head", tools.mean(jax.nn.relu(x + f("back", y))))


def unet(f: Callable, x: jax.Array, tools: Tools) -> jax.Array:
    first = jax.nn.silu(f("first", x))
    second = jax.nn.silu(f("norm", f("second", first)))
    third = jax.nn.silu(f("third", second))
    x = jax.nn.silu(f("dec1", tools.join([f("up1", third), second])))
    return f("last", tools.join([f("up2", x), first]))


def fsrcnn(f: Callable, x: jax.Array, _: Tools) -> jax.Array:
    for name in ("features", "shrink", "map", "expand"):
        x = f(f"{name}_prelu", f(name, x))
    return f("deconv", x)


def decoder(f: Callable, x: jax.Array, _: Tools) -> jax.Array:
    x = jax.nn.gelu(f("start", x))
    x = jax.nn.gelu(f("up1", x))
    x = jax.nn.gelu(f("up2", x))
    return f("last", x)


NETS: dict[str, tuple[Callable, dict[str, Layer]]] = {
    "resnet": (
        resnet,
        {
            "stem": Layer("conv", 3, 6), "norm0": Layer("norm", 6), "conv1": Layer("conv", 6, 10),
            "norm1": Layer("norm", 10), "conv2": Layer("conv", 10, 6), "norm2": Layer("norm", 6),
            "down": Layer("conv", 6, 8, 1, 2), "conv3": Layer("conv", 6, 4, 3, 2), "norm3": Layer("norm", 4),
            "conv4": Layer("conv", 4, 8), "head": Layer("dense", 8, 5),
        },
    ),
    "mobilenet": (
        mobilenet,
        {
            "stem": Layer("conv", 3, 6), "norm0": Layer("norm", 6), "deep1": Layer("conv", 6, 12, 3, 2, 6),
            "norm1": Layer("norm", 12), "point1": Layer("conv", 12, 8, 1),
            "deep2": Layer("conv", 8, 8, 3, 1, 8), "point2": Layer("conv", 8, 4, 1),
            "head": Layer("dense", 4, 5),
        },
    ),
    "resnext": (
        resnext,
        {
            "stem": Layer("conv", 3, 6), "into": Layer("conv", 6, 12, 1),
            "grouped": Layer("conv", 12, 18, 3, 1, 3), "norm1": Layer("norm", 18),
            "back": Layer("conv", 18, 6, 1), "head": Layer("dense", 6, 5),
        },
    ),
    "unet": (
        unet,
        {
            "first": Layer("conv", 3, 4), "second": Layer("conv", 4, 6, 2, 2), "norm": Layer("norm", 6),
            "third": Layer("conv", 6, 8, 2, 2), "up1": Layer("up", 8, 4, 2, 2), "dec1": Layer("conv", 10, 6),
            "up2": Layer("up", 6, 2, 2, 2), "last": Layer("conv", 6, 2, 1),
        },
    ),
    "fsrcnn": (
        fsrcnn,
        {
            "features": Layer("conv", 3, 8, 5), "shrink": Layer("conv", 8, 4, 1), "map": Layer("conv", 4, 6),
            "expand": Layer("conv", 6, 8, 1), "deconv": Layer("up", 8, 1, 5, 3),
            "features_prelu": Layer("prelu", 8), "shrink_prelu": Layer("prelu", 4),
            "map_prelu": Layer("prelu", 6), "expand_prelu": Layer("prelu", 8),
        },
    ),
    "decoder": (
        decoder,
        {
            "start": Layer("conv", 3, 12, 1), "up1": Layer("up", 12, 8, 2, 2, 2),
            "up2": Layer("up", 8, 8, 2, 2, 8), "last": Layer("conv", 8, 2),
        },
    ),
}  # fmt: skip
LAST = Tools(lambda parts: jnp.concatenate(parts, -1), lambda x: x.mean((-3, -2)))
FIRST = Tools(jnp.concatenate, lambda x: x.mean((1, 2)))


def _flax(module: Any, own: Any, layer: Layer, norm: Any, prelu: Any, **options: Any) -> Any:
    """A layer of NNX or Linen, whose constructors differ in the inputs' number."""
    kind, inputs, outputs, kernel, stride, groups = layer
    ins = (inputs,) if module is nnx else ()
    if kind == "norm":
        return norm(inputs, **options)
    if kind == "prelu":
        return prelu(inputs, **options)
    if kind == "dense":
        return (nnx.Linear if module is nnx else linen.Dense)(*ins, outputs, **options)
    window = ((kernel, kernel), (stride, stride))
    if kind == "up":
        made = own.ConvTranspose if groups > 1 else module.ConvTranspose
        extra = {"feature_group_count": groups} if groups > 1 else {}
        return made(*ins, outputs, *window, **extra, **options)
    return module.Conv(*ins, outputs, *window, feature_group_count=groups, **options)


class PReLU(nnx.Module):
    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.alpha = nnx.Param(rngs.params.uniform((channels,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.where(x > 0, x, self.alpha[...] * x)


class NNX(nnx.Module):
    def __init__(self, net: str):
        self.net, rngs = net, nnx.Rngs(0)

        def norm(channels: int, **options: Any) -> nnx.Module:
            return nnx.BatchNorm(channels, use_running_average=True, **options)

        for name, layer in NETS[net][1].items():
            setattr(self, name, _flax(nnx, jaxconv.nn, layer, norm, PReLU, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return NETS[self.net][0](lambda name, y: getattr(self, name)(y), x, LAST)


class LinenPReLU(linen.Module):
    channels: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.where(x > 0, x, self.param("alpha", jax.nn.initializers.uniform(), (self.channels,)) * x)


class Linen(linen.Module):
    net: str

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        run, layers = NETS[self.net]

        def norm(_: int, **options: Any) -> linen.Module:
            return linen.BatchNorm(use_running_average=not train, **options)

        def f(name: str, y: jax.Array) -> jax.Array:
            return _flax(linen, jaxconv.linen, layers[name], norm, LinenPReLU, name=name)(y)

        return run(f, x, LAST)


class EquinoxPReLU(eqx.Module):
    alpha: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.where(x > 0, x, self.alpha[:, None, None] * x)


def _equinox(layer: Layer, key: jax.Array) -> Any:
    kind, inputs, outputs, kernel, stride, groups = layer
    if kind == "norm":  # each channel by itself
        return eqx.nn.GroupNorm(inputs, inputs)
    if kind == "prelu":
        return EquinoxPReLU(jnp.zeros(inputs))
    if kind == "dense":
        return eqx.nn.Linear(inputs, outputs, key=key)
    options: dict[str, Any] = {"groups": groups, "key": key, "stride": stride}
    if kind == "up":
        return eqx.nn.ConvTranspose2d(inputs, outputs, kernel, **options)
    return eqx.nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 if kernel % 2 else 0, **options)


class Equinox(eqx.Module):
    """Of one example, channels first."""

    layers: dict[str, Any]
    net: str = eqx.field(static=True)

    def __init__(self, net: str):
        self.net = net
        self.layers = {n: _equinox(layer, jax.random.key(0)) for n, layer in NETS[net][1].items()}

    def __call__(self, x: jax.Array) -> jax.Array:
        return NETS[self.net][0](lambda name, y: self.layers[name](y), x, FIRST)


def randomised(tree: Any, rng: np.random.Generator) -> Any:
    """A pytree of shapes filled with numbers; those that are to be positive are."""

    def drawn(path: tuple[Any, ...], leaf: Any) -> Any:
        if not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)):
            return leaf
        if "var" in jax.tree_util.keystr(path):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        fan = max(1, leaf.size // max(leaf.shape)) if leaf.ndim > 1 else 1
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(fan), leaf.dtype)

    return jax.tree_util.tree_map_with_path(drawn, tree)


def build(library: str, net: str, rng: np.random.Generator) -> tuple[Callable, Any, jax.Array]:
    """A function of parameters and data, the parameters, and data."""
    x = jnp.asarray(rng.normal(size=(2, 12, 8, 3)), jnp.float32)
    if library == "linen":
        model = Linen(net)
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        return model.apply, randomised(variables, rng), x
    if library == "nnx":
        return (lambda m, y: m(y)), randomised(nnx.eval_shape(lambda: NNX(net)), rng), x
    model = randomised(eqx.filter_eval_shape(Equinox, net), rng)
    return (lambda m, y: jax.vmap(m)(y)), model, jnp.moveaxis(x, -1, 1)
