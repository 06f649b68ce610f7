"""Functions written as ONNX: read again they are the same, and onnxruntime agrees."""

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import onnx as package
import onnxruntime
import pytest
from flax import nnx

import jaxconv
from jaxconv.interop import onnx

X = jnp.asarray(np.random.default_rng(1).standard_normal((2, 9, 11, 3)), jnp.float32)


def ops(path: Path) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in package.load(path).graph.node)


def round_trip(fn: Callable[..., Any], path: Path, *args: Any, terms: int = 64) -> onnx.Network:
    """Writes, reads, and compares both and onnxruntime; errors are those of sums of `terms`."""
    onnx.save(fn, path, *args)
    package.checker.check_model(str(path), full_check=True)
    network = onnx.load(path)
    inputs = [np.asarray(a) for a in args if isinstance(a, jax.Array)]
    wanted = jax.tree.leaves(fn(*args))
    read = network(network.params, *inputs)
    session = onnxruntime.InferenceSession(path)
    names = [i.name for i in session.get_inputs()]
    assert names == [i.name for i in network.inputs]
    ran: Any = session.run(None, dict(zip(names, inputs, strict=True)))
    for want, again, other in zip(wanted, read if isinstance(read, tuple) else [read], ran, strict=True):
        want = np.asarray(want, float)
        tolerance = terms * float(jnp.finfo(jnp.float32).eps) * max(np.abs(want).max(), 1.0)
        for got in (np.asarray(again, float), other.astype(float)):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)
    return network


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = jaxconv.nn.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.second = jaxconv.nn.Conv(
            8, 8, (3, 5), feature_group_count=4, padding=((0, 1), (2, 1)), kernel_dilation=(2, 1), rngs=rngs
        )
        self.up = jaxconv.nn.ConvTranspose(8, 6, (4, 2), strides=2, rngs=rngs)
        self.head = nnx.Linear(6, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.first(x)))
        x = self.up(nnx.gelu(self.second(x)))
        x = jaxconv.max_pool(x, (3, 2), stride=2, padding=((1, 1), (0, 1)))
        return nnx.softmax(self.head(x.mean((1, 2))))


def test_nnx(tmp_path: Path) -> None:
    model = Net(nnx.Rngs(0))
    model.norm.mean.set_value(jnp.linspace(-1, 1, 8))
    model.norm.var.set_value(jnp.linspace(0.5, 2, 8))
    model.eval()
    network = round_trip(model, tmp_path / "m.onnx", X)
    assert set(network.params) == {
        f"{layer}/{name}"
        for layer, names in {
            "first": "kernel bias",
            "norm": "mean var scale bias",
            "second": "kernel bias",
            "up": "kernel bias",
            "head": "kernel bias",
        }.items()
        for name in names.split()
    }
    kernel = onnx.conv_kernel(network.params["second/kernel"])
    np.testing.assert_array_equal(kernel, model.second.kernel.get_value())
    found = ops(tmp_path / "m.onnx")
    # One Transpose to channels first; the means need none back. Biases are the convolutions' own.
    assert (found["Transpose"], found["Conv"], found["ConvTranspose"], found["MaxPool"]) == (1, 2, 1, 1)
    assert found["Slice"] == found["Pad"] == 0
    assert all(len(n.input) == 3 for n in package.load(tmp_path / "m.onnx").graph.node if "Conv" in n.op_type)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = linen.relu(linen.BatchNorm(use_running_average=True)(linen.Conv(6, (3, 3))(x)))
        y = linen.avg_pool(linen.max_pool(y, (2, 2), (2, 2)), (2, 2), (1, 1), "SAME")
        y = linen.swish(linen.LayerNorm()(linen.ConvTranspose(4, (3, 3), (2, 2))(y)))
        return linen.Dense(7)(y.reshape(y.shape[0], -1))


def test_linen(tmp_path: Path) -> None:
    model = Linen()
    variables = model.init(jax.random.key(0), X)
    network = round_trip(model.apply, tmp_path / "m.onnx", variables, X, terms=256)
    assert {"Conv_0/kernel", "BatchNorm_0/mean", "ConvTranspose_0/kernel", "Dense_0/bias"} <= set(
        network.params
    )
    assert ops(tmp_path / "m.onnx")["ConvTranspose"] == 1


def test_equinox(tmp_path: Path) -> None:
    keys = jax.random.split(jax.random.key(0), 2)
    layers = [
        eqx.nn.Conv2d(3, 4, 3, groups=1, padding=1, key=keys[0]),
        eqx.nn.Lambda(jax.nn.elu),
        eqx.nn.MaxPool2d(2, 2),
        eqx.nn.ConvTranspose2d(4, 2, 3, stride=2, key=keys[1]),
    ]
    network = round_trip(eqx.nn.Sequential(layers), tmp_path / "m.onnx", X[0].transpose(2, 0, 1))
    assert "layers/0/weight" in network.params


def geometry(x: jax.Array) -> list[jax.Array]:
    pool = jaxconv.avg_pool(x, (3, 2), stride=2, padding=1), jaxconv.lp_pool(x, 2)
    most = (
        jaxconv.max_pool(x, (2, 3), stride=1, dilation=(1, 2)),
        jaxconv.max_pool(x, 3, padding=1, ceil_mode=True),
    )
    return [*pool, *most, jaxconv.max_pool(x, 2, layout="channels_first"), jaxconv.adaptive_avg_pool(x, 1)]


def sizes(x: jax.Array) -> list[jax.Array]:
    return [
        jaxconv.resize(x, size=(18, 20)),
        jaxconv.resize(x, size=(18, 20), align_corners=True),
        jaxconv.resize(x, scale=2, method="nearest"),
        jaxconv.resize(x, size=(5, 6), method="nearest-exact"),
        jaxconv.resize(x, scale=2, method="cubic"),
        jaxconv.resize(x, size=(4, 5), antialias=True),
        jaxconv.pixel_unshuffle(x[:, :8, :10], 2),
        jaxconv.pixel_shuffle(jnp.tile(x, 4), 2),
    ]


def moves(x: jax.Array) -> list[jax.Array]:
    return [
        x[:, ::-1, 1::2],
        jnp.take(x, np.array([2, 0, 1]), axis=2),
        x.transpose(0, 3, 1, 2) + jnp.arange(11.0),
        jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), constant_values=2.5),
        jnp.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0)), mode="reflect"),
        jnp.stack([x, x * 2], 1).reshape(2, -1),
        jnp.split(x, 3, -1)[1],
        jnp.cumsum(x, 1),
        jnp.argmax(x, -1),
        (x > 0).any(-1),
        jnp.einsum("nhwc,nhvc->nhwv", x, x),
    ]


def elements(x: jax.Array) -> list[jax.Array]:
    power = x**3 + x**2 - 1 / (x**2 + 1) + jnp.sqrt(jnp.abs(x)) + jnp.abs(x) ** 0.7
    named = [
        jax.nn.hard_swish,
        jax.nn.selu,
        jax.nn.softplus,
        jax.nn.leaky_relu,
        jax.nn.log_softmax,
        jax.nn.gelu,
    ]
    normal = (x - x.mean((1, 2), keepdims=True)) / jnp.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    return [power, normal, jnp.clip(x, -0.5, 0.5), jnp.where(x > 0, x, 0).max(-1), *(f(x) for f in named)]


@pytest.mark.parametrize("fn", [geometry, sizes, moves, elements])
def test_functions(fn: Callable[[jax.Array], Any], tmp_path: Path) -> None:
    network = round_trip(fn, tmp_path / "m.onnx", X)
    assert not network.params
    assert [i.name for i in network.inputs] == ["x"]


def test_a_network_that_was_read_is_written(tmp_path: Path) -> None:
    first = round_trip(
        lambda x, p: jaxconv.conv(x, p["k"]), tmp_path / "a.onnx", X, {"k": jnp.ones((3, 2, 3, 4))}
    )
    onnx.save(first, tmp_path / "b.onnx", first.params, X)
    second = onnx.load(tmp_path / "b.onnx")
    np.testing.assert_array_equal(second.params["k"], first.params["k"])
    np.testing.assert_array_equal(second(second.params, X), first(first.params, X))


def test_what_has_no_operator_is_named(tmp_path: Path) -> None:
    def fn(x: jax.Array) -> jax.Array:
        return jnp.sort(x) + jax.lax.erf_inv(x)

    with pytest.raises(ValueError, match="2 operations have none in ONNX") as caught:
        onnx.save(fn, tmp_path / "m.onnx", X)
    assert "sort" in str(caught.value)
    assert "erf_inv" in str(caught.value)
    with pytest.raises(ValueError, match=r"pool_pick.*windows of unequal sizes have no operator"):
        onnx.save(lambda x: jaxconv.adaptive_avg_pool(x, 4), tmp_path / "m.onnx", X)
    with pytest.raises(ValueError, match="'k' has no numbers"):
        onnx.save(
            lambda x, p: x + p["k"], tmp_path / "m.onnx", X, {"k": jax.ShapeDtypeStruct((3,), jnp.float32)}
        )
    assert not (tmp_path / "m.onnx").exists()


def test_a_convolution_that_is_used_again_has_no_bias(tmp_path: Path) -> None:
    params = {"k": jnp.linspace(-1, 1, 18).reshape(1, 2, 3, 3), "b": jnp.arange(1.0, 4)}

    def biased(p: Any, x: jax.Array) -> Any:
        y = jaxconv.conv(x, p["k"])
        return jnp.sin(y) * (jaxconv.conv(y, p["k"]) + p["b"])[:, :, :1] + (y + p["b"])

    round_trip(biased, tmp_path / "f.onnx", params, X)
    assert [len(n.input) for n in package.load(tmp_path / "f.onnx").graph.node if n.op_type == "Conv"] == [
        2,
        3,
    ]


def test_parameters_beside_plain_numbers(tmp_path: Path) -> None:
    """A NumPy scalar is no array of the function, and shifts none of the parameters."""
    params = {"a": np.float32(3), "b": jnp.arange(3.0), "c": jnp.ones(3)}
    network = round_trip(lambda p, x: x * p["a"] * p["b"] + p["c"], tmp_path / "f.onnx", params, X)
    assert sorted(network.params) == ["b", "c"]
