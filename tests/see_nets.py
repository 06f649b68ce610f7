"""The oracle's network in four libraries and none, as functions of channels-last images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

import jaxconv
from jaxconv import nn
from tests.see_oracle import FIRST, SECOND, SHAPE, Weights


@dataclasses.dataclass
class Case:
    """A network: called with `fn(*args)`, the last of which is the image."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    first: str  # names of the layers
    second: str


class Nnx(nnx.Module):
    """Our layers; a rectifier as a function."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first = nn.Conv(2, 4, (3, 2), padding=FIRST, rngs=rngs)
        self.second = nn.Conv(4, 4, (3, 3), padding=SECOND, rngs=rngs)
        self.dense = nnx.Linear(4, 3, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jaxconv.max_pool(nnx.relu(self.first(x)), 2)
        for _ in range(2):
            x = nnx.relu(self.second(x))
        return self.dense(x.mean((1, 2)))


class Linen(linen.Module):
    """Flax's layers; a rectifier as jnp.maximum."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        second = linen.Conv(4, (3, 3), padding=SECOND, name="second")
        x = linen.Conv(4, (3, 2), padding=FIRST, name="first")(x)
        x = linen.max_pool(jnp.maximum(x, 0), (2, 2), (2, 2))
        for _ in range(2):
            x = jnp.maximum(second(x), 0)
        return linen.Dense(3, use_bias=False, name="dense")(x.mean((1, 2)))


class Equinox(eqx.Module):
    """Channels first; one rectifying layer for all."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    rectify: eqx.nn.Lambda
    pool: eqx.nn.MaxPool2d
    dense: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.pool(self.rectify(self.first(jnp.moveaxis(x, -1, 0))))
        for _ in range(2):
            x = self.rectify(self.second(x))
        return x.mean((1, 2)) @ self.dense


def plain(params: dict[str, Any], x: jax.Array) -> jax.Array:
    """Rectified by a product, in a loop, in jit and remat."""
    x = jaxconv.conv(x, params["first"]["kernel"], params["first"]["bias"], padding=FIRST)
    x = jaxconv.max_pool(x * (x > 0), 2)

    @jax.checkpoint
    def again(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        x = jaxconv.conv(x, params["second"]["kernel"], params["second"]["bias"], padding=SECOND)
        return jax.jit(jax.nn.relu)(x), None

    x, _ = jax.lax.scan(again, x, length=2)
    return x.mean((1, 2)) @ params["dense"]


def _nnx(w: Weights, x: np.ndarray) -> Case:
    model = Nnx()
    for layer, kernel, bias in (
        (model.first, w.first, w.first_bias),
        (model.second, w.second, w.second_bias),
    ):
        layer.kernel[...], layer.bias = jnp.asarray(kernel), nnx.Param(jnp.asarray(bias))
    model.dense.kernel[...] = jnp.asarray(w.dense)
    return Case(model, (jnp.asarray(x),), "first", "second#1")


def _params(w: Weights) -> dict[str, Any]:
    return {
        "first": {"kernel": jnp.asarray(w.first), "bias": jnp.asarray(w.first_bias)},
        "second": {"kernel": jnp.asarray(w.second), "bias": jnp.asarray(w.second_bias)},
    }


def _linen(w: Weights, x: np.ndarray) -> Case:
    params = {"params": {**_params(w), "dense": {"kernel": jnp.asarray(w.dense)}}}
    return Case(Linen().apply, (params, jnp.asarray(x)), "first", "second#1")


def _equinox(w: Weights, x: np.ndarray) -> Case:
    def layer(kernel: np.ndarray, bias: np.ndarray, padding: tuple) -> eqx.nn.Conv2d:
        taps, into, out = kernel.shape[:2], *kernel.shape[2:]
        made = eqx.nn.Conv2d(into, out, taps, padding=padding, key=jax.random.key(0))
        values = jnp.asarray(np.transpose(kernel, (3, 2, 0, 1))), jnp.asarray(bias.reshape(-1, 1, 1))
        return eqx.tree_at(lambda c: (c.weight, c.bias), made, values)

    model = Equinox(
        layer(w.first, w.first_bias, FIRST),
        layer(w.second, w.second_bias, SECOND),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.MaxPool2d(2, 2),
        jnp.asarray(w.dense),
    )
    return Case(jax.vmap(model), (jnp.asarray(x),), "first", "second#1")


def _haiku(w: Weights, x: np.ndarray) -> Case:
    def forward(x: jax.Array) -> jax.Array:
        second = hk.Conv2D(4, 3, padding=SECOND, name="second")
        x = hk.max_pool(
            jax.nn.relu(hk.Conv2D(4, (3, 2), padding=FIRST, name="first")(x)), PAIRS, PAIRS, "VALID"
        )
        for _ in range(2):
            x = jax.nn.relu(second(x))
        return hk.Linear(3, with_bias=False, name="dense")(x.mean((1, 2)))

    fn = hk.without_apply_rng(hk.transform(forward)).apply
    params = {
        "first": {"w": jnp.asarray(w.first), "b": jnp.asarray(w.first_bias)},
        "second": {"w": jnp.asarray(w.second), "b": jnp.asarray(w.second_bias)},
        "dense": {"w": jnp.asarray(w.dense)},
    }
    return Case(fn, (params, jnp.asarray(x)), "first", "second#1")


def _plain(w: Weights, x: np.ndarray) -> Case:
    return Case(plain, ({**_params(w), "dense": jnp.asarray(w.dense)}, jnp.asarray(x)), "first", "")


NETS = {"nnx": _nnx, "linen": _linen, "equinox": _equinox, "haiku": _haiku, "loops": _plain}


PAIRS = (1, 2, 2, 1)


def image(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=SHAPE).astype(np.float32)
