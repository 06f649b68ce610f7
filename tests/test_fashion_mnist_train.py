"""The Fashion-MNIST example trained on scikit-learn's digits: checkpoints, commands, results."""

import io
import json
import re
import runpy
import struct
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from examples.common import loop
from examples.fashion_mnist import cli, data, train
from examples.fashion_mnist.data import DataConfig
from examples.fashion_mnist.evaluate import accuracy, predict
from examples.fashion_mnist.model import ModelConfig
from examples.fashion_mnist.train import Classification
from examples.fashion_mnist.trained import load, maps

PICTURES = ("confusion.png", "mistakes.png", "kernels.png", "features_0.png")


@pytest.fixture(scope="module", autouse=True)
def digits():
    """Fashion-MNIST may be installed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "DEBIAN", Path("/not installed"))
        yield data.load(DataConfig())


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def demo(digits, tmp_path_factory):
    """The demo's folder, what it said, and what the network answered at the end of its training."""
    answers, said = [], io.StringIO()

    def watched(model, images, *, track):
        answers.append(predict(model, digits.test.images))
        return accuracy(model, images, track=track)

    out = tmp_path_factory.mktemp("run") / "demo"
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said), redirect_stdout(said):
        patch.setattr(train, "accuracy", watched)
        assert run("demo", "--steps", 60, "--out", out) == 0
    return out, said.getvalue(), answers[-1]


def test_a_loaded_checkpoint_answers_with_the_same_bits(demo, digits):
    out, _, answers = demo
    loaded, again = load(out), load(out / "checkpoints" / "60")
    found = predict(loaded.model, digits.test.images)
    np.testing.assert_array_equal(found, answers, strict=True)
    assert found.std() > 0.1
    leaves = (jax.tree.leaves(nnx.state(one.model)) for one in (loaded, again))
    for one, other in zip(*leaves, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert (loaded.step, loaded.run.resolve()) == (60, out.resolve())
    assert (loaded.size, loaded.classes, loaded.data) == ((8, 8), tuple("0123456789"), DataConfig())


def test_demo_leaves_what_it_says(demo, digits):
    out, said, _ = demo
    assert "scikit-learn's digits: 1425 images to learn from" in said
    assert "apt install dataset-fashion-mnist" in said
    named = [word.strip(",") for word in said.rpartition(" has ")[2].split()]
    assert set(PICTURES) < set(named)
    assert all((out / name).exists() for name in named)
    for name in PICTURES:
        Image.open(out / name).verify()
    results = json.loads((out / "results.json").read_text())
    answers = predict(load(out).model, digits.test.images).argmax(axis=-1)
    assert results["accuracy"] == (answers == digits.test.labels).mean()
    assert f"{100 * results['accuracy']:.2f} % of all are right" in said
    assert results["accuracy"] > 0.6  # a tenth would be chance
    for label, share in results["accuracy_of_class"].items():
        assert share == pytest.approx((answers[digits.test.labels == int(label)] == int(label)).mean())


def write_idx(folder, *, train, test):
    for part, images in (("train", train), ("t10k", test)):
        for kind, array in (("images-idx3", images.images), ("labels-idx1", images.labels)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())


def test_evaluate_on_another_folder(demo, digits, tmp_path, capsys):
    test = digits.test.part(slice(40))
    write_idx(tmp_path, train=test, test=test)
    assert run("evaluate", demo[0], "--data", tmp_path) == 0
    out = demo[0] / f"evaluation_{tmp_path.name}"
    assert {path.name for path in out.iterdir()} == {*PICTURES, "results.json"}
    results = json.loads((out / "results.json").read_text())
    assert results["images"] == 40
    assert results["accuracy"] == accuracy(load(demo[0]).model, test)
    assert str(tmp_path) in capsys.readouterr().out.replace("\n", "").replace(" ", "")


def test_images_of_another_size_are_refused(demo, digits, tmp_path):
    test = digits.test.part(slice(40))
    low = test._replace(images=np.ascontiguousarray(test.images[:, :5]))
    write_idx(tmp_path, train=low, test=low)
    with pytest.raises(
        ValueError, match=r"images of 5x8 in 10 classes, the network is for 8x8 in 10: .*--data"
    ):
        load(demo[0]).load_images(tmp_path)


def test_maps_are_what_the_layers_see(demo, digits):
    model, image = load(demo[0]).model, digits.test.images[3]
    conv = model.first.conv
    first, second = maps(model, image)
    assert (first.shape, second.shape) == ((8, 8, 32), (4, 4, 64))
    assert conv.bias is not None
    kernel, bias = (np.asarray(value[...], np.float64) for value in (conv.kernel, conv.bias))
    framed = np.pad(image / 255, 1)
    windows = np.lib.stride_tricks.sliding_window_view(framed, (3, 3))
    expected = np.maximum(np.einsum("hwij,ijo->hwo", windows, kernel[:, :, 0]) + bias, 0)
    np.testing.assert_allclose(first, expected, rtol=0, atol=1e-6 * expected.max() * 9)


def test_loss_and_accuracy_of_a_batch(digits):
    task = Classification(network=ModelConfig(features=(2, 3), hidden=4, dropout=0.0))
    model = nnx.jit(lambda: task.model(dtype=np.dtype("float32"), rngs=nnx.Rngs(3)))()
    labels = digits.test.labels[:50].astype(np.int32)
    batch = {"image": data.to_input(digits.test.images[:50]), "label": labels}
    both = nnx.jit(lambda model, batch: (task.loss(model, batch, nnx.Rngs(0)), model(batch["image"])))
    (loss, means), logits = both(model, batch)
    logits = np.asarray(logits, np.float64)
    expected = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(50), labels]
    assert float(loss) == pytest.approx(expected.mean(), rel=1e-5)
    assert float(means["accuracy"]) == pytest.approx((logits.argmax(axis=-1) == labels).mean())


def test_description_says_what_changes_the_result(digits):
    tasks = [
        Classification(),
        Classification(network=ModelConfig(hidden=24)),
        Classification(data=DataConfig(shift=2)),
    ]
    described = [task.describe() for task in tasks]
    assert len({json.dumps(description) for description in described}) == 3
    assert described[0]["fingerprint"] == digits.fingerprint


def test_train_takes_options_of_network_data_and_training(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(loop, "train", lambda task, config, _: started.append((task, config)))
    options = ["--features", 2, 3, "--dropout", 0.1, "--shift", 0, "--flip", "never", "--steps", 7]
    assert run("train", *options, "--out", tmp_path) == 0
    ((task, config),) = started
    assert task.network == ModelConfig(features=(2, 3), dropout=0.1)
    assert task.data == DataConfig(shift=0, flip="never")
    assert (config.steps, config.out, config.ema) == (7, tmp_path, train.TRAINING.ema)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("show", "RUN", 297), "there is no test image 297: they go from 0 to 296"),
        (("show", "RUN", -1), "there is no test image -1"),
        (("evaluate", "NOTHING"), "no checkpoint in"),
        (("evaluate", "RUN", "--data", "NOTHING"), "no train-images-idx3-ubyte or"),
        (("demo", "--data", "NOTHING", "--out", "NOTHING"), "no train-images-idx3-ubyte or"),
    ],
    ids=["high", "low", "no run", "no data", "no data to train"],
)
def test_mistakes_of_the_user_are_said_in_one_line(demo, tmp_path, capsys, arguments, wrong):
    places = {"RUN": demo[0], "NOTHING": tmp_path / "nothing"}
    assert run(*(places.get(argument, argument) for argument in arguments)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert wrong in line


def test_module_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fashion_mnist", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("examples.fashion_mnist", run_name="__main__")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--features", "--dropout", "--shift", "--flip", "--learning-rate", "CHECKPOINT"):
        assert option in shown


def test_the_readme_loads_a_network(demo):
    page = Path(cli.__file__).with_name("README.md").read_text()
    ((code,),) = [re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
    names = {}
    exec(code.replace("runs/fashion_mnist_demo", str(demo[0])), names)
    assert names["logits"].shape == (2, 10)
    assert set(names["names"]) < set("0123456789")
