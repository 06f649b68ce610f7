"""Every kind of operation that channels pass through, in functions of plain parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from jaxconv.prune import prune
from tests.test_prune import close

Params = dict[str, Any]
NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x: jax.Array, kernel: jax.Array, groups: int = 1, stride: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=NHWC, feature_group_count=groups
    )


def draw(rng: np.random.Generator, **shapes: tuple[int, ...]) -> Params:
    return {
        n: jnp.asarray(rng.normal(size=s) / np.sqrt(np.prod(s[:-1])), jnp.float32) for n, s in shapes.items()
    }


def flatten(p: Params, x: jax.Array) -> jax.Array:
    y = jaxconv.max_pool(jnp.tanh(conv(x, p["a"])), (2, 2))
    return y.reshape(len(x), -1) @ p["b"]


def shuffle_channels(p: Params, x: jax.Array) -> jax.Array:
    y = conv(x, p["a"])
    n, h, w, c = y.shape
    y = y.reshape(n, h, w, 2, c // 2).swapaxes(3, 4).reshape(n, h, w, c)
    return conv(jnp.sin(y), p["b"], groups=2)


def pixel_shuffle(p: Params, x: jax.Array) -> jax.Array:
    return conv(jnp.sin(jaxconv.pixel_shuffle(conv(x, p["a"]), 2)), p["b"])


def split(p: Params, x: jax.Array) -> jax.Array:
    a, b = jnp.split(conv(x, p["a"]), [5], axis=-1)
    gate = jax.nn.sigmoid(conv(jnp.flip(b, -1), p["c"]))
    return conv(a * gate, p["b"])


def pick(p: Params, x: jax.Array) -> jax.Array:
    y = conv(x, p["a"])
    y = jnp.concatenate([y[..., 1::2], x, y[..., :3]], -1)
    return conv(jnp.pad(y, ((0, 0), (0, 0), (0, 0), (2, 1))), p["b"])


def attention(p: Params, x: jax.Array) -> jax.Array:
    n, h, w, _ = x.shape
    x = x.reshape(n, h * w, -1)
    q, k, v = jnp.einsum("nti,ikhd->kthnd", x, p["qkv"])
    scores = jax.nn.softmax(jnp.einsum("thnd,shnd->nhts", q, k))
    y = jnp.einsum("nhts,shnd->nthd", scores, v)
    return y.reshape(n, h * w, -1) @ p["out"]


def squeeze_and_excite(p: Params, x: jax.Array) -> jax.Array:
    y = jax.nn.relu(jaxconv.conv(x, p["a"]))
    gate = jax.nn.sigmoid(jax.nn.relu(y.mean((1, 2), keepdims=True) @ p["down"]) @ p["up"])
    return jaxconv.resize(y * gate, size=(7, 9), method="cubic") @ p["b"]


def embedded(p: Params, x: jax.Array) -> jax.Array:
    tokens = jnp.array([[1, 3, 3], [0, 2, 4]])
    return (p["table"][tokens] + p["places"]) @ p["b"] + x.sum()


def looped(p: Params, x: jax.Array) -> jax.Array:
    y = conv(x, p["a"])
    y, _ = lax.scan(lambda c, _: (jnp.sin(c), None), y, length=2)
    return conv(jnp.sin(conv(y, p["b"])), p["c"])


# A function, the shapes of its parameters, and those that are left with half of all channels gone.
CASES: dict[str, tuple[Callable, dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]] = {
    "flatten": (
        flatten, {"a": (3, 2, 3, 6), "b": (4 * 3 * 6, 5)}, {"a": (3, 2, 3, 3), "b": (4 * 3 * 3, 5)}
    ),
    "shuffle": (
        shuffle_channels, {"a": (1, 1, 3, 12), "b": (3, 3, 6, 4)}, {"a": (1, 1, 3, 8), "b": (3, 3, 4, 4)}
    ),
    "pixel_shuffle": (
        pixel_shuffle, {"a": (3, 3, 3, 24), "b": (3, 3, 6, 2)}, {"a": (3, 3, 3, 12), "b": (3, 3, 3, 2)}
    ),
    "split": (
        split, {"a": (1, 1, 3, 11), "c": (1, 1, 6, 5), "b": (1, 1, 5, 2)},
        {"a": (1, 1, 3, 6), "c": (1, 1, 3, 3), "b": (1, 1, 3, 2)},
    ),
    "attention": (
        attention, {"qkv": (3, 3, 2, 4), "out": (8, 2)}, {"qkv": (3, 3, 2, 2), "out": (4, 2)}
    ),
    "excite": (
        squeeze_and_excite, {"a": (3, 2, 3, 8), "down": (8, 4), "up": (4, 8), "b": (8, 2)},
        {"a": (3, 2, 3, 4), "down": (4, 2), "up": (2, 4), "b": (4, 2)},
    ),
    "embedded": (
        embedded, {"table": (5, 6), "places": (3, 6), "b": (6, 2)},
        {"table": (5, 3), "places": (3, 3), "b": (3, 2)}
    ),
    "looped": (
        looped, {"a": (1, 1, 3, 4), "b": (1, 1, 4, 6), "c": (1, 1, 6, 2)},
        {"a": (1, 1, 3, 4), "b": (1, 1, 4, 3), "c": (1, 1, 3, 2)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_tied_goes_together(name: str, rng: np.random.Generator) -> None:
    fn, before, after = CASES[name]
    params, x = draw(rng, **before), jnp.asarray(rng.normal(size=(2, 8, 6, 3)), jnp.float32)
    small = prune(fn, params, x)
    assert {n: p.shape for n, p in small.params.items()} == after
    got, want = jax.jit(lambda p, q: (small.apply(p, x), fn(q, x)))(small.params, small.expand())
    close(got, want)
    assert float(jnp.abs(got).max()) > 1e-3


def test_slices_padding_and_data_among_channels(rng):
    """Of eight channels some are used twice; three of the next layer's are the data's, three are zeros."""
    params = draw(rng, a=(1, 1, 3, 8), b=(1, 1, 13, 2))
    x = jnp.asarray(rng.normal(size=(2, 3, 2, 3)), jnp.float32)
    small = prune(pick, params, x, ratio=0.5)
    (kept,) = [kept["3"] for name, kept in small.config["kept"].items() if name == "a"]
    used = [2 + [1, 3, 5, 7].index(i) for i in kept if i % 2] + [9 + i for i in kept if i < 3]
    zeros = {0, 1, 12}  # a kernel's rows for them are as useless as any
    assert sorted(set(small.config["kept"]["b"]["2"]) - zeros) == sorted([6, 7, 8, *used])
    close(small(x), pick(small.expand(), x))


def test_norms_over_channels_count_those_that_are_left(rng):
    """As if the network had been written with the smaller width, which zeros at the places would not give."""

    def f(p, x):
        y = x @ p["a"]
        y = (y - y.mean(-1, keepdims=True)) * lax.rsqrt(y.var(-1, keepdims=True) + 1e-3)
        n, c = y.shape
        z = y.reshape(n, 4, c // 4)
        z = (z / jnp.sqrt(jnp.mean(jnp.square(z), -1, keepdims=True) + 1e-3)).reshape(n, c)
        return (z * p["scale"]) @ p["b"]

    params = draw(rng, a=(3, 8), scale=(8,), b=(8, 2))
    x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    small = prune(f, params, x)
    p = {n: np.asarray(v, np.float64) for n, v in small.params.items()}
    y = np.asarray(x, np.float64) @ p["a"]
    assert y.shape == (5, 4)
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-3)
    z = y.reshape(5, -1, 2)  # groups are whole: they are the finer steps, or as fine
    z = (z / np.sqrt((z**2).mean(-1, keepdims=True) + 1e-3)).reshape(5, -1)
    close(small(x), jnp.asarray((z * p["scale"]) @ p["b"], jnp.float32))


def test_derivatives_are_the_functions_own(rng):
    """relu's at zero, a straight-through estimator, a reversal; second order and forward mode too."""

    @jax.custom_vjp
    def rounded(y):
        return jnp.round(4 * y) / 4

    rounded.defvjp(lambda y: (rounded(y), None), lambda _, ct: (ct,))
    turned = jax.custom_vjp(lambda y: y)
    turned.defvjp(lambda y: (y, None), lambda _, ct: (-2 * ct,))

    def f(p, x):
        y = turned(jax.nn.relu(x @ p["a"] - p["shift"]))
        return rounded(jnp.tanh(y)) @ p["b"]

    def smooth(p, x):
        return jax.nn.relu(x @ p["a"] - p["shift"]) @ p["b"]

    params = draw(rng, a=(3, 6), shift=(6,), b=(6, 2)) | {"shift": jnp.zeros(6)}
    x = (
        jnp.asarray(rng.normal(size=(4, 3)), jnp.float32).at[0].set(0)
    )  # the first is exactly at relu's corner
    small = prune(f, params, x, ratio=0.4)
    masked = small.expand()
    loss = lambda fn: lambda p: jnp.sum(jnp.sin(fn(p, x)))  # noqa: E731
    got, want = jax.grad(loss(small.apply))(small.params), jax.grad(loss(f))(masked)
    for name, kept in small.config["kept"].items():
        for d, at in kept.items():
            want[name] = jnp.take(want[name], jnp.array(at), int(d))
        close(got[name], want[name])
    other = small.like(smooth)
    tangent = jax.tree.map(jnp.ones_like, small.params)
    whole = jax.tree.map(
        lambda leaf: (leaf != 0).astype(leaf.dtype), small.expand(jax.tree.map(jnp.ones_like, small.params))
    )

    def twice(fn, p, t):
        return jax.jvp(lambda q: jax.jvp(loss(fn), (q,), (t,))[1], (p,), (t,))[1]

    close(twice(other, small.params, tangent), twice(smooth, masked, whole))


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda p, x: conv(jnp.sort(conv(x, p["a"]), -1), p["b"]), "sort in .* is not understood"),
        (lambda p, x: conv(jnp.cumsum(conv(x, p["a"]), -1), p["b"]), "cumsum in .* goes along it"),
        (lambda p, x: conv(x, p["a"]), "a: it is a dimension of the result"),
    ],
)
def test_what_cannot_be_pruned_is_said_with_the_layer(fn, why, rng):
    params = {n: {"kernel": p} for n, p in draw(rng, a=(1, 1, 3, 4), b=(1, 1, 4, 2)).items()}
    if "result" in why:
        del params["b"]
    with pytest.raises(ValueError, match=rf"nothing can be pruned\. .*{why}"):
        prune(lambda p, x: fn({n: v["kernel"] for n, v in p.items()}, x), params, jnp.ones((1, 4, 3, 3)))
