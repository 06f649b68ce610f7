"""The Fashion-MNIST example from the network to the command line, on scikit-learn's digits."""

import io
import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from rich.console import Console

from examples.fashion_mnist import evaluate, figure
from examples.fashion_mnist.data import Images, to_input
from examples.fashion_mnist.evaluate import Results, predict
from examples.fashion_mnist.model import ModelConfig, SmallCNN, max_pool

TINY = ModelConfig(features=(3, 5), hidden=7)


@cache
def parameters():
    model = nnx.eval_shape(lambda: SmallCNN(TINY, (9, 6), 4, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(11)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), nnx.state(model))


def tiny(**options):
    """In evaluation mode; every parameter is random, the biases too."""
    model = nnx.eval_shape(lambda: SmallCNN(TINY, (9, 6), 4, rngs=nnx.Rngs(0), **options))
    nnx.update(model, parameters())
    model.eval()
    return model


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (3, 7, 9, 2), (1, 2, 3, 1)], ids=str)
def test_max_pool_is_that_of_flax(rng, shape):
    x = jnp.asarray(rng.permutation(np.prod(shape)).reshape(shape), jnp.float32)  # no two elements are equal
    g = jnp.asarray(rng.normal(size=(shape[0], shape[1] // 2, shape[2] // 2, shape[3])), jnp.float32)

    @jax.jit
    def value_and_gradient(x, g):
        pools = max_pool, lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2))
        return [(y, vjp(g)[0]) for y, vjp in (jax.vjp(pool, x) for pool in pools)]

    (y, gradient), (expected, expected_gradient) = value_and_gradient(x, g)
    np.testing.assert_array_equal(y, expected, strict=True)
    np.testing.assert_array_equal(gradient, expected_gradient, strict=True)


def reference(model, x):
    """The network by the definition of its layers, in float64."""

    def conv(x, layer):
        kernel, bias = (np.asarray(value[...], np.float64) for value in (layer.kernel, layer.bias))
        framed = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(framed, (3, 3), axis=(1, 2))
        return np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias

    def dense(x, layer):
        return x @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)

    x, maps = x.astype(np.float64), []
    for block in (model.first, model.second):
        x = np.maximum(conv(x, block.conv), 0)
        maps.append(x)
        height, width = (side // 2 for side in x.shape[1:3])
        x = x[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2, -1).max((2, 4))
    x = np.maximum(dense(x.reshape(len(x), -1), model.hidden), 0)
    return dense(x, model.logits), maps


def test_network_is_what_its_layers_say(rng):
    model, x = tiny(), rng.random((5, 9, 6, 1), np.float32)
    logits, maps = reference(model, x)
    found = nnx.jit(lambda model, x: (model(x), *model.maps(x)))(model, x)
    for array, expected in zip(found, (logits, *maps), strict=True):
        np.testing.assert_allclose(array, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_bfloat16_computes_in_it_and_keeps_float32(rng):
    exact, model = tiny(), tiny(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {np.dtype("float32")}
    x = rng.random((5, 9, 6, 1), np.float32)
    logits, expected = nnx.jit(lambda one, two, x: (one(x), two(x)))(model, exact, x)
    assert logits.dtype == jnp.float32
    assert 1e-4 < np.abs(logits - expected).max() / np.abs(expected).max() < 0.05


def test_dropout_follows_its_key_and_only_in_training(rng):
    model, x = tiny(), rng.random((5, 9, 6, 1), np.float32)
    answer = nnx.jit(lambda model, x, key: model(x, rngs=nnx.Rngs(dropout=key)))
    evaluated = [answer(model, x, jax.random.key(seed)) for seed in (1, 2)]
    np.testing.assert_array_equal(*evaluated)
    model.train()
    first, again, other = (answer(model, x, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, evaluated[0])


def test_images_that_would_vanish_are_refused():
    with pytest.raises(ValueError, match="images of 9x3 pixels vanish"):
        SmallCNN(TINY, (9, 3), 4, rngs=nnx.Rngs(0))


def test_predict_in_parts_is_the_whole(rng, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", 4)
    model, images = tiny(), rng.integers(0, 255, (10, 9, 6), np.uint8)
    whole = nnx.jit(lambda model, x: model(x))(model, to_input(images))
    np.testing.assert_allclose(predict(model, images), whole, rtol=1e-6, atol=1e-6)


LABELS = np.array([0, 0, 0, 1, 1, 3, 3, 3])
ANSWERS = np.array([0, 0, 1, 1, 1, 0, 0, 1])


def results():
    return Results.of("a title", 12, ("a", "b", "c", "d"), LABELS, np.eye(4)[ANSWERS])


def test_results_table_and_json():
    found = results()
    output = io.StringIO()
    Console(file=output, width=120).print(found.table())
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.getvalue().splitlines()]
    assert [row for row in rows if row] == [
        ["a", "3", "66.7", "50.0", "57.1", "b (1)"],
        ["b", "2", "100.0", "50.0", "66.7", "none"],
        ["c", "0", "", "", "", "none"],
        ["d", "3", "0.0", "", "0.0", "a (2)"],
    ]
    assert "50.00 % of all are right" in output.getvalue()
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["accuracy"] == 0.5
    assert written["accuracy_of_class"] == {"a": pytest.approx(2 / 3), "b": 1, "c": None, "d": 0}
    np.testing.assert_array_equal(written["confusion"], found.metrics.matrix)
    assert (written["title"], written["step"]) == (found.title, found.step)


def test_mistakes_are_the_most_certain_first(rng):
    logits = np.zeros((6, 3))
    logits[range(6), [0, 1, 2, 1, 0, 2]] = [3, 9, 5, 7, 8, 1]
    data = Images(rng.integers(0, 255, (6, 4, 5), np.uint8), np.array([0, 2, 1, 1, 2, 0], np.uint8))
    assert figure.most_certain_mistakes(data, logits, most=3).tolist() == [1, 4, 2]
    assert figure.most_certain_mistakes(data, logits, most=9).tolist() == [1, 4, 2, 5]


def test_pictures_of_any_size_and_number_of_classes(rng, tmp_path):
    """Few mistakes, none at all, one kernel: each is a picture, of the size its content asks for."""
    data = Images(rng.integers(0, 255, (5, 6, 4), np.uint8), np.array([0, 1, 2, 1, 0], np.uint8))
    logits, names = np.eye(3)[[0, 1, 2, 1, 2]] * 4, ("a", "b", "c")
    figure.mistakes(tmp_path / "one.png", data, logits, names, columns=3)
    figure.mistakes(tmp_path / "none.png", data, np.eye(3)[data.labels], names, columns=3)
    figure.kernels(tmp_path / "kernels.png", rng.normal(size=(3, 3, 1, 1)))
    maps = [rng.random((6, 4, 3)), np.zeros((3, 2, 5))]
    figure.feature_maps(tmp_path / "maps.png", data.images[0], maps, logits[0], names, truth=0)
    inks = {
        path.name: (np.asarray(Image.open(path).convert("L")) < 200).mean() for path in tmp_path.iterdir()
    }
    assert set(inks) == {"one.png", "none.png", "kernels.png", "maps.png"}
    assert inks["one.png"] > inks["none.png"] > 0
    assert min(inks["kernels.png"], inks["maps.png"]) > 0.1
