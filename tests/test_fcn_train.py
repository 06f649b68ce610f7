"""The segmentation example trained for a few steps on generated shapes: its loss, commands and results."""

import io
import json
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
from flax import nnx
from PIL import Image
from sklearn.metrics import confusion_matrix

from examples.common import loop
from examples.fcn_segmentation import cli, compare, figure, layers, model, segment, train
from examples.fcn_segmentation import evaluate as evaluation
from examples.fcn_segmentation.augment import AugmentConfig
from examples.fcn_segmentation.backbones import DilatedResNet
from examples.fcn_segmentation.data import DataConfig
from examples.fcn_segmentation.dataset import IGNORE
from examples.fcn_segmentation.layers import Score
from examples.fcn_segmentation.metrics import only_boundary
from examples.fcn_segmentation.model import FCN, ModelConfig
from examples.fcn_segmentation.sources import nuclei
from examples.fcn_segmentation.start import StartConfig
from examples.fcn_segmentation.train import Segmentation, cross_entropy
from examples.fcn_segmentation.trained import load
from tests.test_fcn_model import draw

SMALL = {"model": "dilated", "width": 1 / 32, "blocks": (1, 1, 1, 1), "norm": "none"}
DATA = DataConfig(data="generated", images=10, size=32, augment=AugmentConfig(crop=24))


def fixed(_, shape, dtype):
    """Numbers that a program has in it, where code that draws takes longer to compile than all else."""
    values = np.random.default_rng(shape).normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return jnp.asarray(values, dtype)


class Shallow(DilatedResNet):
    """Without its dilated half, which takes as long to compile as all the rest."""

    def __init__(self, *inputs, **options):
        super().__init__(*inputs, **options)
        self.blocks = nnx.List(list(self.blocks)[:2])
        self.features = self.blocks[-1].second.conv.out_features


class Awake(Score):
    """Not zero at first: after a few steps the answers are then more than one class."""

    def __init__(self, features, classes, *, dtype, rngs):
        super().__init__(features, classes, dtype=dtype, rngs=rngs)
        self.kernel[...] = fixed(None, self.kernel.shape, jnp.float32)


@pytest.fixture(scope="module", autouse=True)
def small_programs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "DilatedResNet", Shallow)
        patch.setattr(model, "Score", Awake)
        patch.setattr(layers, "HE", fixed)
        yield


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a run of four steps, and what the commands said."""
    out, said = tmp_path_factory.mktemp("run") / "small", io.StringIO()
    options = ["--model", "dilated", "--width", 1 / 32, "--blocks", 1, 1, 1, 1, "--norm", "none"]
    options += [
        "--data",
        "generated",
        "--images",
        10,
        "--size",
        32,
        "--crop",
        24,
        "--steps",
        4,
        "--log-every",
        2,
        "--ema",
        0,
    ]
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said), redirect_stdout(said):
        one = jax.local_devices()[:1]  # a program for all of them takes twice as long to compile
        patch.setattr(jax, "devices", lambda *_: one)
        assert run("train", *options, "--eval-every", 2, "--class-weights", "balanced", "--out", out) == 0
        assert run("evaluate", out) == 0
    return out, said.getvalue()


def test_training_leaves_records_and_a_network(small):
    out, said = small
    assert "generated: 10 pictures to learn from, 2 held out, 4 classes" in said
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    assert losses[0] != losses[1]
    assert np.isfinite(losses).all()
    scores = [record for record in records if "held_out_miou" in record]
    assert [record["step"] for record in scores] == [2, 4]
    assert all(0 < record["held_out_boundary_miou"] < 1 for record in scores)
    trained = load(out)
    assert (trained.network, trained.step, trained.channels) == (ModelConfig(**SMALL), 4, 3)
    assert trained.data == replace(DATA, class_weights="balanced")
    assert trained.load_pictures().classes == trained.classes


def test_results_are_scikit_learns_of_the_networks_answers(small):
    out, said = small
    trained, results = load(out), json.loads((out / "results.json").read_text())
    held_out = trained.load_pictures().held_out
    predicted = [evaluation.predict(trained.model, pair.image) for pair in held_out]
    labels = [pair.label for pair in held_out]
    assert len(np.unique(predicted)) > 1

    def iou(labels):
        label, guess = (np.concatenate([x.ravel() for x in xs]) for xs in (labels, predicted))
        seen = label != IGNORE
        matrix = confusion_matrix(label[seen], guess[seen], labels=range(4))
        hits = matrix.diagonal()
        with np.errstate(invalid="ignore"):
            return matrix, hits / (matrix.sum(0) + matrix.sum(1) - hits)

    matrix, expected = iou(labels)
    assert results["confusion"] == matrix.tolist()
    assert results["miou"] == pytest.approx(np.nanmean(expected))
    assert set(results["boundary"]) == {"1", "2", "3", "5", "10"}
    _, in_band = iou([only_boundary(label, 3) for label in labels])
    assert results["boundary"]["3"]["miou"] == pytest.approx(np.nanmean(in_band))
    assert f"{100 * np.nanmean(expected):.1f}" in said
    for name in ("overlays.png", "confusion.png"):
        Image.open(out / name).verify()


@pytest.mark.parametrize("size", [(37, 21), (8, 50)], ids=str)
def test_segment_writes_class_numbers_for_any_size(small, tmp_path, rng, size, capsys):
    source, target, overlay = (tmp_path / name for name in ("in.png", "new/out.png", "overlay.png"))
    pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(source)
    assert run("segment", small[0], source, target, "--overlay", overlay) == 0
    with Image.open(target) as written:
        assert written.mode == "P"
        written.load()
    np.testing.assert_array_equal(written, evaluation.predict(load(small[0]).model, pixels))
    assert np.asarray(Image.open(overlay)).shape == (*size, 3)
    assert f"{size[1]}x{size[0]}, " in capsys.readouterr().err


def test_images_become_what_the_network_takes(small, tmp_path, rng):
    trained = load(small[0])
    film = rng.integers(0, 5000, (3, 9, 7)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "film.tif", film, photometric="minisblack")
    frame = segment.read(tmp_path / "film.tif", frame=2)
    np.testing.assert_array_equal(frame, film[2])
    stretched = segment.to_network(trained, frame)
    assert stretched.shape == (9, 7, 3)
    np.testing.assert_array_equal(stretched[..., 1], nuclei.stretch(film[2]))
    grey = rng.integers(0, 256, (9, 7)).astype(np.uint8)
    np.testing.assert_allclose(segment.to_network(trained, grey)[..., 2], grey / 255, atol=1e-6)
    of_nuclei = replace(trained, channels=1, source="nuclei")
    np.testing.assert_array_equal(segment.to_network(of_nuclei, grey)[..., 0], nuclei.stretch(grey))
    colour = np.stack([grey, grey, grey], axis=-1)
    one = segment.to_network(replace(trained, channels=1), colour)
    np.testing.assert_allclose(one[..., 0], grey / 255, atol=1e-6)


def test_loss_is_the_weighted_mean_over_counted_pixels(rng):
    scores = rng.normal(size=(2, 5, 7, 3))
    label = rng.integers(0, 3, (2, 5, 7))
    label[:, 1:3, 2:] = IGNORE
    weights = np.array([0.5, 2.0, 3.5], np.float32)
    probability = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    terms = [
        (weights[c], -np.log(p[c]))
        for p, c in zip(probability.reshape(-1, 3), label.ravel(), strict=True)
        if c < 3
    ]
    expected = sum(w * loss for w, loss in terms) / sum(w for w, _ in terms)
    graded = jax.jit(jax.value_and_grad(cross_entropy))
    loss, gradient = graded(jnp.asarray(scores, jnp.float32), jnp.asarray(label), weights)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert not gradient[label == IGNORE].any()
    assert (gradient[label != IGNORE] != 0).all()
    loss, gradient = graded(jnp.asarray(scores, jnp.float32), jnp.full_like(label, IGNORE), weights)
    assert float(loss) == 0
    assert not gradient.any()


def test_the_compiled_loss_gathers_nothing():
    scores, label = (
        jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32),
        jax.ShapeDtypeStruct((2, 8, 8), jnp.int32),
    )
    text = jax.jit(jax.grad(cross_entropy)).lower(scores, label, jnp.ones(3)).as_text()
    assert "gather" not in text
    assert "scatter" not in text


def coarse(**options):
    return ModelConfig(model="fcn32s", width=1 / 64, depth=11, **options)


def test_a_finer_network_starts_with_what_a_coarser_run_learned(small, tmp_path, monkeypatch):
    """The run is a stand-in: an untrained network whose scores are no longer zero."""
    trained = load(small[0])
    monkeypatch.setattr(layers, "HE", draw)
    learned = FCN(coarse(), 3, 4, rngs=nnx.Rngs(1))
    learned.network.score.kernel[...] += 0.5  # pyright: ignore
    monkeypatch.setattr("examples.fcn_segmentation.start.load", lambda _: stand_in)
    stand_in = replace(trained, network=coarse(), model=learned)
    task = Segmentation(replace(coarse(), model="fcn16s"), DATA, StartConfig(start_from=tmp_path))
    assert task.describe()["start_fingerprint"]
    finer = task.model(dtype=jnp.float32, rngs=nnx.Rngs(2))
    ours, theirs = (dict(nnx.to_flat_state(nnx.state(one, nnx.Param))) for one in (finer, learned))
    assert len(theirs) > 20
    for path, param in theirs.items():
        np.testing.assert_array_equal(ours[path][...], param[...])
    for network in (replace(coarse(), norm="none"), replace(coarse(), width=1 / 32)):
        with pytest.raises(ValueError, match="cannot start from: width, depth, norm"):
            Segmentation(network, DATA, StartConfig(start_from=tmp_path)).describe()
    with pytest.raises(ValueError, match="not for dilated"):
        Segmentation(ModelConfig(**SMALL), DATA, StartConfig(start_from=tmp_path)).describe()


def test_two_starts_or_none_at_a_path_are_refused(tmp_path):
    with pytest.raises(ValueError, match="exclude each other"):
        StartConfig(vgg=tmp_path, start_from=tmp_path)
    with pytest.raises(ValueError, match="no weights at"):
        Segmentation(coarse(norm="none"), DATA, StartConfig(vgg=tmp_path / "none.pth")).describe()


def test_compare_states_both_networks_at_boundaries(small, tmp_path, capsys, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figure, "at_boundary", lambda path, *given, **_: drawn.update({path: given}))
    first = small[0] / "checkpoints" / "2"
    assert run("compare", first, small[0] / "checkpoints" / "4", "--out", tmp_path, "--picture", 1) == 0
    results = json.loads((tmp_path / "compare.json").read_text())
    names = list(results)
    assert names == ["step 2", "step 4"]
    assert results[names[0]] != results[names[1]]
    whole = json.loads((small[0] / "results.json").read_text())
    assert results[names[1]]["all"]["miou"] == whole["miou"]
    assert results[names[1]]["boundary"]["3"]["iou"] == whole["boundary"]["3"]["iou"]
    assert f"{whole['miou']:.4f}" in capsys.readouterr().out
    ((pair, predictions, classes),) = drawn.values()
    assert list(drawn) == [tmp_path / "boundary.png"]
    assert (pair.name, list(predictions)) == ("held-out picture 1", names)
    np.testing.assert_array_equal(predictions[names[1]], evaluation.predict(load(small[0]).model, pair.image))
    assert len(classes) == 4


def test_networks_are_named_by_what_tells_them_apart(small):
    trained = load(small[0])
    finer = replace(trained, network=ModelConfig(model="fcn8s"))
    assert compare.names(finer, trained) == ("fcn8s", "dilated")
    elsewhere = replace(trained, folder=trained.run.parent / "other" / "checkpoints" / "4")
    assert compare.names(trained, elsewhere) == ("small", "other")


def test_demo_takes_nuclei_where_there_are_some(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(cli, "_train", lambda task, config: started.append((task, config)))
    monkeypatch.setattr(cli, "evaluate", lambda out: started.append(out))
    assert run("demo", "--steps", 7, "--out", tmp_path) == 0
    (task, config), evaluated = started
    assert (task.data.data, config.steps, config.out, evaluated) == ("auto", 7, tmp_path, tmp_path)


def test_train_takes_options_of_network_data_start_and_training(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(loop, "train", lambda task, config, _: started.append((task, config)))
    options = ["--model", "fcn16s", "--crop", 40, "--no-flip", "--vgg", "a.pth", "--data", "generated"]
    assert run("train", *options, "--images", 2, "--steps", 7, "--out", tmp_path) == 0
    ((task, config),) = started
    assert task.network == ModelConfig(model="fcn16s")
    assert task.data == DataConfig(data="generated", images=2, augment=AugmentConfig(crop=40, flip=False))
    assert str(task.start.vgg) == "a.pth"
    assert (config.steps, config.out, config.ema) == (7, tmp_path, train.TRAINING.ema)


def test_description_says_what_changes_the_result():
    tasks = [
        Segmentation(ModelConfig(**SMALL), DATA),
        Segmentation(ModelConfig(**SMALL), replace(DATA, made_from=1)),
        Segmentation(ModelConfig(), DATA),
    ]
    described = [task.describe() for task in tasks]
    assert len({json.dumps(description) for description in described}) == 3
    assert described[0]["fingerprint"] != described[1]["fingerprint"]
    assert described[0]["fingerprint"] == described[2]["fingerprint"]


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("evaluate", "NOTHING"), "no checkpoint in"),
        (("evaluate", "RUN", "--data", "NOTHING"), "is neither a folder nor one of"),
        (("segment", "RUN", "NOTHING", "out.png"), "no image file at"),
        (("segment", "RUN", "TEXT", "OUT"), "cannot read"),
        (("segment", "RUN", "TEXT", "out.jpg"), "ends in .png"),
        (("compare", "RUN", "RUN"), "name two runs, or two steps"),
        (("compare", "RUN", "RUN", "--picture", 2), "no held-out picture 2: they go from 0 to 1"),
    ],
    ids=["no run", "no data", "no image", "text", "no PNG", "one network", "no picture"],
)
def test_mistakes_of_the_user_are_said_in_one_line(small, tmp_path, capsys, arguments, wrong):
    text = tmp_path / "text.png"
    text.write_text("this is no picture")
    places = {"RUN": small[0], "NOTHING": tmp_path / "nothing", "TEXT": text, "OUT": tmp_path / "out.png"}
    assert run(*(places.get(argument, argument) for argument in arguments)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert wrong in line


def test_other_classes_are_refused(small):
    trained = replace(load(small[0]), classes=("background", "nucleus"))
    with pytest.raises(ValueError, match=r"generated has 4 classes .* is for 2 and 3: they must agree"):
        trained.load_pictures()


def test_module_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fcn_segmentation", "segment", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("examples.fcn_segmentation", run_name="__main__")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for option in ("CHECKPOINT", "IN", "OUT", "--overlay", "--frame"):
        assert option in shown
