"""The printed calls, run in the libraries that are installed; PyTorch's are in test_explain_torch.py."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from jaxconv.explain import calls, layer
from jaxconv.explain.layer import Layer
from tests.explain_cases import arrays, draw_layer, expected

SEEDS = range(8)


def code(described: Layer, library: str) -> str:
    return next(call.code for call in calls(described) if call.library == library)


def run(text: str, fill: Callable[[list], None], **names: Any) -> np.ndarray:
    """The y of a snippet whose layers get their weights between its two lines."""
    first, last = text.split("\n")
    exec(first, names)
    fill(names["layers"] if "layers" in names else [names["layer"]])
    exec(last, names)
    return np.asarray(names["y"])


def close(got: np.ndarray, described: Layer, x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> None:
    wanted = expected(described, x, kernel) + bias
    scale = expected(described, np.abs(x), np.abs(kernel)) + np.abs(bias)
    jaxconv.testing.assert_close(got, wanted, contraction=described.parameters, scale=scale)


@pytest.mark.usefixtures("every_element")
@pytest.mark.parametrize("seed", SEEDS)
def test_jaxconv_and_flax(seed: int) -> None:
    described = draw_layer(seed)
    x, kernel, bias = arrays(described, seed)
    names: dict[str, Any] = {"jaxconv": jaxconv, "x": x, "kernel": kernel}
    exec(code(described, "jaxconv"), names)
    close(names["y"] + bias, described, x, kernel, bias)

    def fill(layers: list) -> None:
        parts = (np.split(a, len(layers), axis=-1) for a in (kernel, bias))
        for module, k, b in zip(layers, *parts, strict=True):
            assert module.kernel.shape == k.shape
            module.kernel[...], module.bias[...] = jnp.asarray(k), jnp.asarray(b)

    close(run(code(described, "Flax"), fill, nnx=nnx, jnp=jnp, x=jnp.asarray(x)), described, x, kernel, bias)


@pytest.mark.usefixtures("every_element")
@pytest.mark.parametrize("seed", SEEDS)
def test_keras(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="runs the calls of Keras")
    described = draw_layer(seed)
    x, kernel, bias = arrays(described, seed)
    if not (text := code(described, "Keras")):
        spread = [(a.stride, a.dilation) for a in described.axes]
        assert described.transposed
        assert any(s > 1 for s, _ in spread)
        assert any(d > 1 for _, d in spread)
        return

    def fill(layers: list) -> None:
        parts = (np.split(a, len(layers), axis=-1) for a in (kernel, bias))
        for module, k, b in zip(layers, *parts, strict=True):
            module.build((None, *[None] * described.rank, x.shape[-1] // len(layers)))
            module.set_weights([k, b])

    close(run(text, fill, keras=keras, x=x), described, x, kernel, bias)


@pytest.mark.parametrize("seed", range(40))
def test_tensorflow(seed: int) -> None:
    tf = pytest.importorskip("tensorflow", reason="runs the calls of TensorFlow, which no extra installs")
    described = draw_layer(seed)
    x, kernel, bias = arrays(described, seed)
    names: dict[str, Any] = {"tf": tf, "x": tf.constant(x), "kernel": tf.constant(kernel)}
    exec(code(described, "TensorFlow"), names)
    close(names["y"].numpy() + bias, described, x, kernel, bias)


def test_what_a_library_lacks_is_said() -> None:
    notes = {
        call.library: call for call in calls(layer(9, 3, stride=2, dilation=2, transposed=True, groups=2))
    }
    assert notes["Keras"].code == ""
    assert "no transposed convolution with strides and dilation" in notes["Keras"].note
    assert "no groups" in notes["Flax"].note
    with pytest.raises(ValueError, match="4 spatial dimensions"):
        calls(layer((4, 4, 4, 4), 3))
    with pytest.raises(ValueError, match="is empty"):
        calls(layer(2, 3))


def test_the_comparison_can_fail() -> None:
    described = layer(6, 3, stride=2, padding=((1, 0),), transposed=True)
    x, kernel, bias = arrays(described, 0)
    wrong = layer(6, 3, stride=2, padding=((0, 1),), transposed=True)
    with pytest.raises(AssertionError):
        close(expected(wrong, x, kernel) + bias, described, x, kernel, bias)
