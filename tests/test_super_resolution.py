"""The super-resolution example from the network to the command line, with tiny networks on tiny pictures."""

import json
import math
import os
import re
import runpy
import shutil
import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx
from PIL import Image
from rich.console import Console

from examples.common import history, loop
from examples.common.config import TrainConfig
from examples.common.progress import Display
from examples.common.stop import Stopped
from examples.super_resolution import cli, evaluate, images, model, upscale
from examples.super_resolution.data import DataConfig
from examples.super_resolution.imresize import imresize
from examples.super_resolution.metrics import rgb2ycbcr
from examples.super_resolution.model import ModelConfig, SuperResolution, reach
from examples.super_resolution.train import Enlargement, LossConfig
from jaxconv import nn

TINY = ModelConfig(d=6, s=3, m=1, features=(5, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three colour pictures of blobs with sharp edges, drawn four times as large and reduced."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(7)
    for name, (height, width) in {"a": (40, 52), "b": (49, 37), "c": (33, 47)}.items():
        field = imresize(rng.normal(size=(-(-height // 8), -(-width // 8), 3)), 32)[: 4 * height, : 4 * width]
        images.write(
            folder / f"{name}.png", images.Picture(imresize(0.2 + 0.6 * (field > 0), Fraction(1, 4)))
        )
    return folder


def settings(folder, out):
    task = Enlargement(TINY, DataConfig(data=str(folder), patch=8, batch_size=8))
    return task, TrainConfig(
        out=out, steps=6, learning_rate=5e-3, ema=0.998, log_every=2, eval_every=3, checkpoint_every=2
    )


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A finished run of six steps."""
    task, config = settings(folder, tmp_path_factory.mktemp("run"))
    return loop.train(task, config, silent())


def silent():
    return Display(Console(quiet=True))


def random_network(config):
    """With parameters far from the small initial ones, so that the network adds something."""
    rng = np.random.default_rng(5)
    graph, state = nnx.split(nnx.eval_shape(lambda: SuperResolution(config, rngs=nnx.Rngs(0))))
    values = jax.tree.map(lambda leaf: rng.normal(scale=0.3, size=leaf.shape).astype(np.float32), state)
    return nnx.merge(graph, values)


def network(config, dtype=jnp.float32):
    return nnx.jit(lambda: SuperResolution(config, dtype=dtype, rngs=nnx.Rngs(0)))()


apply = nnx.jit(lambda model, low: model(low))


# The networks.


@pytest.mark.parametrize(("name", "scale"), [("fsrcnn", 2), ("fsrcnn", 3), ("espcn", 2), ("espcn", 4)])
def test_shapes_types_and_start(rng, name, scale):
    dtype = jnp.bfloat16 if scale == 2 else jnp.float32
    model = network(replace(TINY, model=name, scale=scale), dtype)
    low = rng.uniform(size=(2, 9, 7, 1)).astype(np.float32)
    high = apply(model, low)
    assert (high.shape, high.dtype) == ((2, 9 * scale, 7 * scale, 1), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype(jnp.float32)}
    bicubic = [imresize(picture, scale) for picture in low]
    np.testing.assert_allclose(high, bicubic, atol=0.1)  # the last layer's weights are about a thousandth
    assert not np.allclose(high, bicubic, atol=1e-7)


def test_the_networks_of_the_papers():
    fsrcnn = nnx.eval_shape(lambda: SuperResolution(ModelConfig(), rngs=nnx.Rngs(0))).network
    assert isinstance(fsrcnn, model.FSRCNN)
    assert isinstance(fsrcnn.enlarge, nn.ConvTranspose)
    kernels = [leaf.size for leaf in jax.tree.leaves(nnx.state(fsrcnn)) if leaf.ndim == 4]
    assert sum(kernels) == 12464  # Table 1 of the FSRCNN paper
    espcn = nnx.eval_shape(lambda: SuperResolution(ModelConfig(model="espcn"), rngs=nnx.Rngs(0))).network
    assert isinstance(espcn, model.ESPCN)
    assert isinstance(espcn.enlarge, nn.SubpixelConv)
    assert [layer.kernel.shape for layer in (espcn.first, espcn.second, espcn.enlarge)] == [
        (5, 5, 1, 64),
        (3, 3, 64, 32),
        (3, 3, 32, 9),
    ]


def test_without_the_skip_the_network_makes_the_picture(rng):
    low = rng.uniform(size=(1, 6, 5, 1)).astype(np.float32)
    results = [apply(random_network(replace(TINY, residual=residual)), low) for residual in (True, False)]
    np.testing.assert_allclose(results[0] - results[1], imresize(low[0], 3)[None], atol=1e-5)


def test_prelu():
    layer = model.PReLU(3)
    layer.slope[...] = jnp.array([0.5, 0.0, -1.0])
    np.testing.assert_array_equal(layer(jnp.array([[-2.0, -2, -2], [3, 3, 3]])), [[-1, 0, 2], [3, 3, 3]])


@pytest.mark.parametrize(("name", "scale"), [("fsrcnn", 2), ("fsrcnn", 3), ("fsrcnn", 4), ("espcn", 3)])
def test_reach_is_where_the_gradient_ends(name, scale):
    config = replace(TINY, model=name, scale=scale, m=2)
    size, middle = 31, 15
    graph, state = nnx.split(random_network(config))

    @jax.jit
    def sensitivity(low, at):
        """Of output number `at` of a column, to every pixel of the column."""
        return jax.grad(lambda low: nnx.merge(graph, state)(low[None, :, None, None])[0, at, 0, 0])(low)

    low = jnp.linspace(0.0, 1.0, size)
    touched = [
        np.flatnonzero(sensitivity(low, at)) - middle for at in range(middle * scale, middle * scale + scale)
    ]
    farthest = max(np.abs(places).max() for places in touched)
    assert farthest == reach(config)


@pytest.mark.parametrize("name", ["fsrcnn", "espcn"])
def test_bands_give_the_whole_picture(rng, name):
    model, low = random_network(replace(TINY, model=name, scale=2)), rng.uniform(size=(53, 11))
    whole = upscale.Enlarger(model)(low)
    bands = upscale.Enlarger(model, band_pixels=1)(low)
    assert whole.shape == (106, 22)
    np.testing.assert_allclose(bands, whole, atol=1e-4 * np.abs(whole).max())


# Training.


@pytest.mark.parametrize("loss", ["l1", "charbonnier"])
def test_the_loss_and_what_is_recorded_of_a_patch(rng, loss):
    task = Enlargement(TINY, error=LossConfig(loss))
    low, high = rng.uniform(size=(2, 8, 8, 1)), rng.uniform(size=(2, 24, 24, 1))
    batch = {"low": np.float32(low), "high": np.float32(high)}
    model = network(TINY)
    error = np.float64(apply(model, batch["low"])) - high
    mean, more = nnx.jit(lambda model, batch: task.loss(model, batch, nnx.Rngs(0)))(model, batch)
    wanted = np.abs(error) if loss == "l1" else np.sqrt(error**2 + 1e-6)
    assert float(mean) == pytest.approx(wanted.mean(), rel=1e-5)
    psnr = [10 * math.log10(1 / np.mean(patch**2)) for patch in error]
    assert float(more["psnr"]) == pytest.approx(np.mean(psnr), rel=1e-5)


def test_training_beats_bicubic_on_a_held_out_picture(folder, tmp_path):
    config = TrainConfig(
        out=tmp_path,
        steps=100,
        learning_rate=1e-2,
        warmup=10,
        clip=1.0,
        ema=0.9,
        eval_every=100,
    )
    data = DataConfig(data=str(folder), patch=10, batch_size=16)
    loop.train(Enlargement(ModelConfig(d=12, s=6, m=1), data), config, silent())
    last = history.read(tmp_path / "metrics.jsonl")[-1]
    assert last["held_out_psnr"] > last["held_out_bicubic_psnr"] + 0.25


def test_what_a_run_records(run):
    records = history.read(run / "metrics.jsonl")
    assert [record["step"] for record in records if "psnr" in record] == [2, 4, 6]
    assert [record["step"] for record in records if "held_out_psnr" in record] == [3, 6]
    about = json.loads((run / "run.json").read_text())["task"]
    assert (about["training"], about["held_out"]) == (["a.png", "b.png"], ["c.png"])
    assert yaml.safe_load((run / "config.yaml").read_text())["features"] == [5, 4]


def test_a_run_that_is_stopped_goes_on_with_the_next_patches(folder, run, tmp_path):
    """The stream is Grain's, whose threads have cut further batches when it stops."""

    class Stopping(Enlargement):
        def evaluate(self, model, track):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().evaluate(model, track)

    task, config = settings(folder, tmp_path / "run")
    with pytest.raises(Stopped):
        loop.train(Stopping(task.network, task.data), config, silent())
    loop.train(task, config, silent())
    assert (config.out / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    states = [nnx.to_pure_dict(nnx.state(upscale.load(path).model)) for path in (config.out, run)]
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"network": replace(TINY, scale=2)}, "scale was 3, is 2"),
        ({"error": LossConfig("charbonnier")}, "loss was l1, is charbonnier"),
        ({"data": DataConfig("none")}, "no folder 'none'"),
        ({"data": DataConfig(batch_size=12)}, r"batch_size=12 cannot be split over 8 device\(s\): use 16"),
        ({"data": DataConfig(patch=3)}, "patch=3 is smaller"),
    ],
    ids=str,
)
def test_unusable_settings_are_refused(run, folder, change, complaint):
    task, config = settings(folder, run)
    with pytest.raises(ValueError, match=complaint):
        loop.train(replace(task, **change), config, silent())


def test_other_photographs_are_refused(run, folder):
    """One pixel differs, of one photograph."""
    task, config = settings(folder, run)
    task.photographs.training[1].high[10, 10] += 0.25
    with pytest.raises(ValueError, match=r"holds another run .*its data were others"):
        loop.train(task, config, silent())


# Measuring and using a checkpoint.


def test_scores_are_the_metrics_of_the_two_enlargements(run, rng):
    loaded = upscale.load(run)
    high = rng.uniform(0.2, 0.8, size=(30, 36)).astype(np.float32)
    photo = evaluate.Photo("x", high, imresize(high, Fraction(1, 3)))
    enlarger = upscale.Enlarger(loaded.model)
    (score,) = evaluate.evaluate([photo], enlarger)
    pairs = [np.round(np.clip(255 * y, 0, 255))[3:-3, 3:-3] for y in (enlarger(photo.low), high)]
    mse = np.mean((pairs[0] - pairs[1]) ** 2)
    assert score.network_psnr == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-3)
    assert score.bicubic_psnr == evaluate.bicubic_psnr(photo, 3)
    mean = evaluate.Results("t", 1, [score, replace(score, network_psnr=score.network_psnr + 1)]).mean()
    assert mean.gain == pytest.approx(score.gain + 0.5)


def call(capsys, *arguments):
    """Exit code, standard output and standard error of a command."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def test_help_shows_every_option(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    words = set(out.replace(",", " ").split())
    parts = (TrainConfig, ModelConfig, DataConfig, LossConfig)
    fields = [name for part in parts for name in part.__dataclass_fields__]
    options = {"--" + name.replace("_", "-") for name in fields} | {"--pictures", "CHECKPOINT", "IN", "OUT"}
    assert options - {"--model", "--data"} <= words
    assert all(command in out for command in ("demo", "train", "evaluate", "upscale"))


@pytest.mark.parametrize(
    "arguments", [[], ["paint"], ["train", "--scale", "7"], ["train", "--stpes", "3"]], ids=str
)
def test_wrong_usage_exits_with_2(capsys, arguments):
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", "--data", "missing", "--out", "{tmp}/x"], "no folder 'missing'"),
        (["train", "--data", "{folder}", "--patch", "8", "--out", "{folder}/a.png"], "a.png"),
        (["evaluate", "{tmp}"], "no checkpoint in"),
        (["evaluate", "{run}", "--data", "{tmp}"], "no photographs in"),
        (["upscale", "{run}", "{tmp}/missing.png", "{tmp}/y.png"], "no image file at"),
        (["upscale", "{run}", "{folder}/a.png", "{tmp}/y.doc"], "name it with one of"),
        (["upscale", "{tmp}/missing", "{folder}/a.png", "{tmp}/y.png"], "no checkpoint in"),
    ],
)
def test_errors_are_one_line_and_exit_with_2(capsys, run, folder, tmp_path, arguments, complaint):
    places = {"run": run, "folder": folder, "tmp": tmp_path}
    code, _, err = call(capsys, *(argument.format(**places) for argument in arguments))
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert complaint in err


def test_a_damaged_checkpoint_is_an_error(capsys, run, folder, tmp_path):
    shutil.copytree(run / "checkpoints" / "6", tmp_path / "6")
    (tmp_path / "6" / "config" / "metadata").write_text("{")
    for arguments in (["evaluate", tmp_path], ["upscale", tmp_path, folder / "a.png", tmp_path / "a.png"]):
        code, _, error = call(capsys, *arguments)
        assert code == 2
        assert re.fullmatch(
            r"error: checkpoint of step 6 in .* is damaged .*: train again from the start\n", error
        )


def test_evaluate_leaves_results_and_a_picture(capsys, run, folder):
    code, out, _ = call(capsys, "evaluate", run)
    assert code == 0
    assert "mean" in out
    results = evaluate.Results.read(run / "results.json")
    assert results is not None
    assert [Path(score.name).stem for score in results.scores] == ["c"]
    assert json.loads((run / "results.json").read_text())["mean"]["network_psnr"] > 10
    with Image.open(run / "comparison.png") as image:
        assert min(image.size) > 500
    code, *_ = call(capsys, "evaluate", run / "checkpoints" / "4", "--data", folder, "--pictures", 1)
    assert code == 0
    results = evaluate.Results.read(run / f"evaluation_{folder.name}" / "results.json")
    assert results is not None
    assert (results.step, len(results.scores)) == (4, 3)


@pytest.mark.parametrize("kind", ["grey", "rgb", "rgba", "16 bit", "palette"])
def test_upscale_of_any_image(capsys, run, tmp_path, rng, kind):
    smooth = np.clip(imresize(rng.uniform(size=(4, 5, 4)), 4), 0, 1)
    values = (255 * smooth).astype(np.uint8)
    image = {
        "grey": lambda: Image.fromarray(values[..., 0]),
        "rgb": lambda: Image.fromarray(values[..., :3]),
        "rgba": lambda: Image.fromarray(values),
        "16 bit": lambda: Image.fromarray((65535 * smooth[..., 0]).astype(np.uint16)),
        "palette": lambda: Image.fromarray(values[..., :3]).quantize(16),
    }[kind]()
    image.save(tmp_path / "x.png")
    code, _, err = call(capsys, "upscale", run, tmp_path / "x.png", tmp_path / "y.png")
    assert (code, "60x48" in err) == (0, True)
    before, after = images.read(tmp_path / "x.png"), images.read(tmp_path / "y.png")
    assert after.pixels.shape == (48, 60, *before.pixels.shape[2:])
    assert after.peak == before.peak
    if kind == "rgba":
        np.testing.assert_allclose(after.alpha, np.clip(imresize(before.alpha, 3), 0, 1), atol=0.51 / 255)
    # Where nothing was clipped: luma is the network's, chroma is bicubic, both to the rounding of R, G and B.
    loaded = upscale.load(run)
    y = 255 * upscale.Enlarger(loaded.model)(images.luma(before.pixels) / 255)
    inside = (after.pixels > 0) & (after.pixels < 1)
    inside = inside.all(axis=-1) if inside.ndim == 3 else inside
    assert inside.mean() > 0.3
    rounding = 0.51 * 219 / after.peak
    np.testing.assert_allclose(images.luma(after.pixels)[inside], y[inside], atol=rounding)
    if after.pixels.ndim == 3:
        chroma = imresize(rgb2ycbcr(before.pixels)[..., 1:], 3)
        np.testing.assert_allclose(
            rgb2ycbcr(after.pixels)[..., 1:][inside], chroma[inside], atol=0.51 * 224 / 255
        )


@pytest.mark.slow
def test_the_demo_is_done_once(capsys, tmp_path):
    """On the real photographs with the real network, for two steps."""
    code, out, _ = call(capsys, "demo", "--out", tmp_path, "--steps", 2)
    assert (code, "astronaut" in out) == (0, True)
    names = {"comparison.png", "curve.png", "results.json", "metrics.jsonl", "checkpoints", "tensorboard"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    made = (tmp_path / "comparison.png").stat().st_mtime_ns
    code, out, err = call(capsys, "demo", "--out", tmp_path, "--steps", 2)
    assert (code, "done already" in err, "astronaut" in out) == (0, True, True)
    assert (tmp_path / "comparison.png").stat().st_mtime_ns == made


def test_python_m(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["super_resolution", "evaluate", "missing"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("examples.super_resolution", run_name="__main__")
    assert end.value.code == 2
    assert "no checkpoint in missing" in capsys.readouterr().err
