"""Networks built and saved by Keras, loaded here: the same outputs."""
# pyright: reportOptionalSubscript=false, reportOptionalMemberAccess=false

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import nn
from jaxconv.interop import keras as interop
from jaxconv.testing import assert_close
from tests.test_dropin_models import import_keras
from tests.torch_cases import QUICKLY


def zeros(_key, shape, dtype=jnp.float32, **_):
    return jnp.asarray(np.zeros(shape, dtype))


KERNELS = {"kernel_init": zeros, "bias_init": zeros}


class Net(nnx.Module):
    """All kinds of layers that have weights; two convolutions of one shape, so that order matters."""

    def __init__(self, epsilon=1e-3):
        rngs = nnx.Rngs(0)
        self.a = nn.Conv(3, 4, (3, 2), rngs=rngs, **KERNELS)
        self.b = nn.Conv(4, 4, (3, 2), rngs=rngs, **KERNELS)
        self.c = nn.Conv(4, 4, (3, 2), feature_group_count=1, rngs=rngs, **KERNELS)
        self.norm = nnx.BatchNorm(4, use_running_average=True, epsilon=epsilon, rngs=rngs)
        self.apart = nn.SeparableConv(4, 5, (3, 3), channel_multiplier=2, rngs=rngs, **KERNELS)
        self.depth = nn.DepthwiseConv(5, (2, 3), rngs=rngs, **KERNELS)
        self.up = nn.ConvTranspose(5, 4, (4, 2), 2, rngs=rngs, **KERNELS)
        self.layer = nnx.LayerNorm(4, epsilon=1e-3, rngs=rngs)
        self.dense = nnx.Linear(10 * 8 * 4, 7, rngs=rngs, **KERNELS)

    def __call__(self, x):
        x = self.norm(self.c(nnx.relu(self.b(self.a(x)))))
        x = self.layer(self.up(self.depth(self.apart(x))))
        return self.dense(x.reshape(x.shape[0], -1))


@pytest.fixture(scope="module")
def keras():
    return import_keras()


@pytest.fixture(scope="module")
def network(keras):
    """The same network in Keras, nested, with its output for an input."""
    blank = {"kernel_initializer": "zeros", "padding": "same"}  # drawing is compiled for each shape
    make = keras.layers
    apart = {"depthwise_initializer": "zeros", "pointwise_initializer": "zeros"}
    inner = [
        keras.Input((5, 4, 4)),
        make.Conv2D(4, (3, 2), activation="relu", **blank),
        make.Conv2D(4, (3, 2), name="last", **blank),
        make.BatchNormalization(),
        make.SeparableConv2D(5, 3, depth_multiplier=2, padding="same", **apart),
        make.DepthwiseConv2D((2, 3), depthwise_initializer="zeros", padding="same"),
        make.Conv2DTranspose(4, (4, 2), strides=2, **blank),
    ]
    first = make.Conv2D(4, (3, 2), **blank)
    outer = [keras.Input((5, 4, 3)), first, keras.Sequential(inner), make.LayerNormalization()]
    model = keras.Sequential([*outer, make.Flatten(), make.Dense(7, kernel_initializer="zeros")])
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 0.9, weight.shape))
    x = rng.standard_normal((2, 5, 4, 3)).astype(np.float32)
    return model, x, np.asarray(jax.jit(lambda x: model(x), compiler_options=QUICKLY)(x))


def saved(model, folder, kind):
    if kind == "model":
        return model
    if kind == "arrays":
        return {weight.path: np.asarray(weight) for weight in model.weights}
    path = folder / kind
    save = model.save_weights if kind.endswith(".weights.h5") else model.save
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras's, of NumPy's copy=
        save(path)
    return path


def test_same_outputs(network, tmp_path):
    model, x, wanted = network
    interop.load(ours := Net(), saved(model, tmp_path, "net.keras"))
    y = jax.jit(lambda x: ours(x), compiler_options=QUICKLY)(x)
    assert_close(y, wanted, contraction=10 * 8 * 4, scale=np.abs(wanted) + 1)


@pytest.mark.parametrize("kind", ["net.keras", "net.h5", "net.weights.h5", "arrays"])
def test_same_arrays_from_every_source(network, tmp_path, kind):
    model = network[0]
    interop.load(wanted := Net(), model)
    source = saved(model, tmp_path, kind)
    if kind == "net.weights.h5":  # there layers are in no order, and two convolutions are in one group
        names = {"conv2d_0": "a", "sequential_0/conv2d_0": "b", "sequential_0/conv2d_1": "c"}
        report = interop.load(ours := Net(), source, rename=names)
    else:
        report = interop.load(ours := Net(), source)
    assert len(report.rows) == len(model.weights)
    assert report.problems == ()
    jax.tree.map(np.testing.assert_array_equal, nnx.state(ours), nnx.state(wanted))


def test_epsilon_that_differs_is_told(network):
    report = interop.load(Net(1e-5), network[0])
    assert len(report.problems) == 1
    assert "norm: epsilon is 1e-05, that of sequential" in report.problems[0]
    assert "0.001; results will differ" in str(report)


def test_every_array_is_where_the_documentation_says(network):
    interop.load(ours := Net(), network[0])
    arrays = {weight.path.rpartition("/")[2]: np.asarray(weight) for weight in network[0].weights}
    for i, m in np.ndindex(4, 2):
        there = arrays["depthwise_kernel"][:, :, i, m]
        np.testing.assert_array_equal(ours.apart.depthwise.kernel[:, :, 0, 2 * i + m], there)
    np.testing.assert_array_equal(ours.norm.var[...], arrays["moving_variance"])
    np.testing.assert_array_equal(ours.norm.scale[...], network[0].layers[1].layers[2].gamma)


@pytest.mark.parametrize(("options", "words"), [({"scale": False}, "scale"), ({"center": False}, "bias")])
def test_a_normalisation_without_an_array(keras, options, words, tmp_path):
    """Only the configuration says which of the numbered arrays is missing."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(**options)])
    arrays = [np.arange(3.0) + i for i in range(3)]
    model.set_weights(arrays)
    use = {f"use_{words}": False}
    ours = nnx.BatchNorm(3, use_running_average=True, epsilon=1e-3, rngs=nnx.Rngs(0), **use)
    interop.load(ours, saved(model, tmp_path, "a.keras"))
    kept = ours.bias if words == "scale" else ours.scale
    for variable, array in zip([kept, ours.mean, ours.var], arrays, strict=True):
        np.testing.assert_array_equal(variable[...], array)
    weights = saved(model, tmp_path, "a.weights.h5")
    with pytest.raises(ValueError, match=r"cannot be told apart; save the whole model as \.keras"):
        interop.load(ours, weights)


def test_what_is_no_source():
    with pytest.raises(
        ValueError, match=r"builtins\.int is no source of weights; give a \.keras or \.h5 file"
    ):
        interop.load(Net(), 3)
