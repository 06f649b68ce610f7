"""Weights in torchvision's layout: what the loaded network computes, against NumPy in float64."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.flax import save_file as save_jax
from safetensors.numpy import save_file

from examples.fcn_segmentation.model import FCN, ModelConfig
from examples.fcn_segmentation.weights import load_vgg, read, shapes
from tests.torch_cases import QUICKLY

# Where torchvision's `features` of VGG-16 has its convolutions; a pooling follows each row.
ROWS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def blank(model="fcn32s", **options) -> Any:
    """A network of zeros: nothing in it has to be drawn, for a file replaces it."""
    config = ModelConfig(model=model, **{"width": 1 / 16, "norm": "none", **options})
    network = nnx.eval_shape(lambda: FCN(config, 3, 2, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(network)
    model = nnx.merge(graph, jax.tree.map(lambda a: jnp.asarray(np.zeros(a.shape, a.dtype)), state))
    model.eval()
    return model


@pytest.fixture
def arrays(rng):
    """VGG-16 with a sixteenth of the features, and its last layer for a thousand classes."""
    table = {}
    inputs = 3
    for row, outputs in zip(ROWS, (4, 8, 16, 32, 32), strict=True):
        for place in row:
            table[f"features.{place}"] = (outputs, inputs, 3, 3)
            inputs = outputs
    table |= {"classifier.0": (256, 32 * 7 * 7), "classifier.3": (256, 256), "classifier.6": (1000, 256)}
    drawn = {}
    for name, shape in table.items():
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        drawn[f"{name}.weight"] = (rng.normal(size=shape) * deviation).astype(np.float32)
        drawn[f"{name}.bias"] = (rng.normal(size=shape[:1]) / 10).astype(np.float32)
    return drawn


def original(arrays, x):
    """torchvision's VGG-16 up to its last rectifier: the maps after five poolings, and two dense layers."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    x = x.astype(np.float64)  # (channels, height, width)
    for row in ROWS:
        for place in row:
            weight, padded = arrays[f"features.{place}.weight"], np.pad(x, ((0, 0), (1, 1), (1, 1)))
            taps = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
            x = np.einsum("oikl,iyxkl->oyx", weight, taps, optimize=True)
            x = np.maximum(x + arrays[f"features.{place}.bias"][:, None, None], 0)
        channels, height, width = x.shape
        x = x.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    dense = x.ravel()  # channel, row, column
    for name in ("classifier.0", "classifier.3"):
        dense = np.maximum(arrays[f"{name}.weight"] @ dense + arrays[f"{name}.bias"], 0)
    return x, dense


def save(arrays, path):
    if path.suffix == ".safetensors":
        save_file(arrays, path)
    else:
        torch = pytest.importorskip("torch")
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    return path


def values(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


@pytest.mark.usefixtures("every_element")
def test_loaded_vgg_computes_what_the_original_does(rng, arrays, tmp_path):
    model = blank()
    load_vgg(model, save(arrays, tmp_path / "vgg16.safetensors"))
    x = rng.normal(size=(3, 224, 224)).astype(np.float32)
    features, dense = original(arrays, x)

    def run(vgg, x):
        return vgg.pools(x)[-1], vgg(x)[0]

    pool5, fc7 = jax.jit(run, compiler_options=QUICKLY)(model.network.backbone, x.transpose(1, 2, 0)[None])
    np.testing.assert_allclose(pool5[0].transpose(2, 0, 1), features, rtol=0, atol=2e-5 * features.max())
    # A 224x224 image is pooled to 7x7: the window at the middle is all of it, as the dense layer sees it.
    assert fc7.shape == (1, 7, 7, 256)
    np.testing.assert_allclose(fc7[0, 3, 3], dense, rtol=0, atol=2e-5 * dense.max())
    assert (dense > 0).sum() > 50


@pytest.mark.slow  # with the others that import PyTorch
def test_a_state_dict_loads_as_safetensors_does(arrays, tmp_path):
    models = blank(), blank()
    for model, name in zip(models, ("vgg16.pth", "vgg16.safetensors"), strict=True):
        load_vgg(model, save(arrays, tmp_path / name))
    for ours, theirs in zip(*map(values, models), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any(map(np.any, values(models[0])))


def test_half_precision_becomes_single(arrays, tmp_path):
    half = {name: jnp.asarray(array, jnp.bfloat16) for name, array in arrays.items()}
    save_jax(half, tmp_path / "vgg16.safetensors")
    model = blank()
    load_vgg(model, tmp_path / "vgg16.safetensors")
    bias = model.network.backbone.fc7.conv.bias[...]
    assert bias.dtype == jnp.float32
    np.testing.assert_array_equal(bias, np.asarray(half["classifier.3.bias"], np.float32))


def test_scores_are_left_alone(arrays, tmp_path):
    model = blank("fcn8s")
    heads = model.network.score, *model.network.skips
    for head in heads:
        head.bias[...] = jnp.arange(2.0)
    load_vgg(model, save(arrays, tmp_path / "vgg16.safetensors"))
    assert all(head.bias[...].tolist() == [0, 1] and not head.kernel[...].any() for head in heads)


def test_the_full_network_wants_torchvisions_shapes():
    config = ModelConfig(model="fcn32s", width=1, norm="none")
    wanted = shapes(nnx.eval_shape(lambda: FCN(config, 3, 2, rngs=nnx.Rngs(0))).network.backbone)
    assert wanted["features.0.weight"] == (64, 3, 3, 3)
    assert wanted["features.28.weight"] == (512, 512, 3, 3)
    assert wanted["classifier.0.weight"] == (4096, 25088)
    assert wanted["classifier.3.weight"] == (4096, 4096)
    assert wanted["classifier.3.bias"] == (4096,)
    convolutions = [place for row in ROWS for place in row]
    assert [name for name in wanted if name.endswith("weight")] == [
        *(f"features.{place}.weight" for place in convolutions),
        "classifier.0.weight",
        "classifier.3.weight",
    ]


def test_errors_list_everything_that_is_wrong(arrays, tmp_path):
    model = blank()
    del arrays["features.5.bias"], arrays["classifier.3.weight"]
    arrays["features.1.weight"] = arrays["fc.bias"] = np.zeros(3, np.float32)
    arrays["features.0.weight"] = np.zeros((4, 1, 3, 3), np.float32)
    with pytest.raises(ValueError, match="does not hold") as caught:
        load_vgg(model, save(arrays, tmp_path / "vgg16.safetensors"))
    told = str(caught.value)
    assert "missing: features.5.bias, classifier.3.weight" in told
    assert "unknown: fc.bias, features.1.weight" in told
    assert "of another shape: features.0.weight (4, 1, 3, 3) for (4, 3, 3, 3)" in told
    assert not any(map(np.any, values(model)))


@pytest.mark.parametrize(
    ("options", "word"), [({"norm": "batch"}, 'norm="none"'), ({"model": "dilated"}, "fcn8s")], ids=str
)
def test_networks_that_these_weights_do_not_fit_say_so(options, word, tmp_path):
    with pytest.raises(ValueError, match=word):
        load_vgg(blank(**options), tmp_path / "any.safetensors")


@pytest.mark.parametrize("name", ["a.safetensors", pytest.param("a.pth", marks=pytest.mark.slow)])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 this is no archive"], ids=str)
def test_damaged_files_are_named(tmp_path, name, content):
    if name.endswith("pth"):
        pytest.importorskip("torch")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.*damaged"):
        read(path)


def test_a_cut_file_is_damaged(arrays, tmp_path):
    path = save(arrays, tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="damaged"):
        read(path)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(ValueError, match="no weights at"):
        read(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="safetensors"):
        read(tmp_path / "a.npz")


def test_a_state_dict_without_torch_asks_for_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pt").touch()
    with pytest.raises(ValueError, match="safetensors"):
        read(tmp_path / "a.pt")


@pytest.mark.slow
def test_a_state_dict_that_would_run_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch")

    class Run:
        def __reduce__(self):
            return print, ("this must not be printed",)

    torch.save({"features.0.weight": Run()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="damaged"):
        read(tmp_path / "a.pt")
