"""The super-resolution example from the network to the command line, with tiny networks on tiny pictures."""

import json
import math
import runpy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from rich.console import Console

from examples.super_resolution import cli, evaluate, history, images, model, train, upscale
from examples.super_resolution.data import DataConfig
from examples.super_resolution.imresize import imresize
from examples.super_resolution.metrics import rgb2ycbcr
from examples.super_resolution.model import ModelConfig, SuperResolution, reach
from examples.super_resolution.progress import Display
from examples.super_resolution.train import TrainConfig
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


@pytest.fixture
def config(folder, tmp_path):
    return TrainConfig(
        out=tmp_path / "run",
        model=TINY,
        data=DataConfig(data=str(folder), patch=8, batch_size=8),
        steps=6,
        log_every=2,
        eval_every=3,
        checkpoint_every=2,
    )


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A finished run of six steps."""
    out = tmp_path_factory.mktemp("run")
    data = DataConfig(data=str(folder), patch=8, batch_size=8)
    train.train(
        TrainConfig(out, TINY, data, steps=6, log_every=2, eval_every=3, checkpoint_every=2), silent()
    )
    return out


def silent():
    return Display(Console(quiet=True))


def random_params(config):
    """Parameters far from the small initial ones, so that the network adds something."""
    _, abstract = upscale.abstract_model(config)
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda leaf: rng.normal(scale=0.3, size=leaf.shape).astype(np.float32), abstract)


def apply(config, params, low):
    graph, _ = upscale.abstract_model(config)
    return jax.jit(lambda params, low: nnx.merge(graph, params)(low))(params, low)


# The networks.


@pytest.mark.parametrize("name", ["fsrcnn", "espcn"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shapes_types_and_start(rng, name, scale):
    config = replace(TINY, model=name, scale=scale, bf16=scale == 2)
    _, params = train.Parallel(jax.devices()[:1]).start(TrainConfig(model=config))
    low = rng.uniform(size=(2, 9, 7, 1)).astype(np.float32)
    high = apply(config, params, low)
    assert (high.shape, high.dtype) == ((2, 9 * scale, 7 * scale, 1), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
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
    with_skip, without = (replace(TINY, residual=residual) for residual in (True, False))
    params = random_params(TINY)
    results = [apply(config, params, low) for config in (with_skip, without)]
    np.testing.assert_allclose(results[0] - results[1], imresize(low[0], 3)[None], atol=1e-5)


def test_prelu():
    layer = model.PReLU(3)
    layer.slope[...] = jnp.array([0.5, 0.0, -1.0])
    np.testing.assert_array_equal(layer(jnp.array([[-2.0, -2, -2], [3, 3, 3]])), [[-1, 0, 2], [3, 3, 3]])


@pytest.mark.parametrize(("name", "scale"), [("fsrcnn", 2), ("fsrcnn", 3), ("fsrcnn", 4), ("espcn", 3)])
def test_reach_is_where_the_gradient_ends(name, scale):
    config = replace(TINY, model=name, scale=scale, m=2)
    size, middle = 31, 15
    params = random_params(config)

    @jax.jit
    def sensitivity(low, at):
        """Of output number `at` of a column, to every pixel of the column."""
        return jax.grad(lambda low: apply(config, params, low[None, :, None, None])[0, at, 0, 0])(low)

    low = jnp.linspace(0.0, 1.0, size)
    touched = [
        np.flatnonzero(sensitivity(low, at)) - middle for at in range(middle * scale, middle * scale + scale)
    ]
    farthest = max(np.abs(places).max() for places in touched)
    assert farthest == reach(config)


@pytest.mark.parametrize("name", ["fsrcnn", "espcn"])
def test_bands_give_the_whole_picture(rng, name):
    config = replace(TINY, model=name, scale=2)
    params, low = random_params(config), rng.uniform(size=(53, 11))
    whole = upscale.Enlarger(config)(params, low)
    bands = upscale.Enlarger(config, band_pixels=1)(params, low)
    assert whole.shape == (106, 22)
    np.testing.assert_allclose(bands, whole, atol=1e-4 * np.abs(whole).max())


# Training.


def test_devices_share_a_batch(config, rng):
    """Eight devices with two patches each take the step that one device takes with all sixteen."""
    config = replace(config, data=replace(config.data, batch_size=16))
    low = rng.uniform(size=(16, 8, 8, 1)).astype(np.float32)
    batch = {"low": low, "high": rng.uniform(size=(16, 24, 24, 1)).astype(np.float32)}
    assert len(jax.devices()) == 8
    results = []
    for devices in (jax.devices()[:1], jax.devices()):
        parallel = train.Parallel(devices)
        state, average = parallel.start(config)
        step = train.make_step(config, parallel)
        for _ in range(3):
            state, average = step(state, average, jax.device_put(batch, parallel.split))
        assert all(len(leaf.sharding.device_set) == len(devices) for leaf in jax.tree.leaves(state))
        results.append(jax.device_get((state.params, average, state.sums)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *results)


@pytest.mark.parametrize("loss", ["l1", "charbonnier"])
def test_a_step_is_clipped_adam_and_an_average(config, rng, loss):
    config = replace(config, loss=loss, ema=0.15)
    batch = {"low": rng.uniform(size=(8, 8, 8, 1)), "high": rng.uniform(size=(8, 24, 24, 1))}
    batch = jax.tree.map(np.float32, batch)
    parallel = train.Parallel(jax.devices()[:1])
    state, average = parallel.start(config)
    graph, _ = upscale.abstract_model(config.model)

    @jax.jit
    @jax.value_and_grad
    def objective(params):
        error = nnx.merge(graph, params)(batch["low"]) - batch["high"]
        return jnp.mean(jnp.abs(error) if loss == "l1" else jnp.sqrt(error**2 + 1e-6))

    params, tree = jax.tree.flatten(jax.tree.map(np.float64, state.params))
    wanted, first, second, total = params, [0.0] * len(params), [0.0] * len(params), 0.0
    for number in range(2):
        value, gradient = objective(jax.tree.unflatten(tree, [np.float32(p) for p in params]))
        gradient = [np.float64(g) for g in jax.tree.leaves(gradient)]
        norm = math.sqrt(sum((g**2).sum() for g in gradient))
        gradient = [g / max(norm, 1) for g in gradient]
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradient, strict=True)]
        second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, gradient, strict=True)]
        rate = 5e-5 + (5e-3 - 5e-5) * (1 + math.cos(math.pi * number / config.steps)) / 2
        grown = [1 - beta ** (number + 1) for beta in (0.9, 0.999)]
        adam = [m / grown[0] / (np.sqrt(v / grown[1]) + 1e-8) for m, v in zip(first, second, strict=True)]
        params = [p - rate * a for p, a in zip(params, adam, strict=True)]
        decay = min(0.15, (1 + number) / (10 + number))
        wanted = [decay * a + (1 - decay) * p for a, p in zip(wanted, params, strict=True)]
        total += float(value)
    step = train.make_step(config, parallel)
    for _ in range(2):
        state, average = step(state, average, batch)
    for got, expected in ((state.params, params), (average, wanted)):
        for a, b in zip(jax.tree.leaves(got), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)
    assert float(state.sums["loss"]) == pytest.approx(total, rel=1e-5)
    assert int(state.step) == 2


@pytest.mark.parametrize("bf16", [pytest.param(False, marks=pytest.mark.slow), True])
def test_training_beats_bicubic_on_a_held_out_picture(folder, tmp_path, bf16):
    config = TrainConfig(
        out=tmp_path,
        model=ModelConfig(d=12, s=6, m=1, bf16=bf16),
        data=DataConfig(data=str(folder), patch=10, batch_size=16),
        steps=100,
        learning_rate=1e-2,
        ema=0.9,
        log_every=50,
        eval_every=100,
        checkpoint_every=100,
    )
    train.train(config, silent())
    last = history.read(tmp_path / "metrics.jsonl")[-1]
    assert last["held_out_psnr"] > last["held_out_bicubic_psnr"] + 0.25


def test_what_a_run_records(run):
    records = history.read(run / "metrics.jsonl")
    losses = [record for record in records if "loss" in record]
    assert [record["step"] for record in losses] == [2, 4, 6]
    assert [record["step"] for record in records if "held_out_psnr" in record] == [3, 6]
    assert all(math.isfinite(value) for record in records for value in record.values())
    assert losses[-1]["learning_rate"] == pytest.approx(5e-5)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["2", "4", "6"]
    about = json.loads((run / "run.json").read_text())
    assert (about["training"], about["held_out"]) == (["a.png", "b.png"], ["c.png"])
    assert list((run / "tensorboard").glob("events*"))


def test_a_finished_run_is_left_alone(run, folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*")}
    data = DataConfig(data=str(folder), patch=8, batch_size=8)
    train.train(
        TrainConfig(run, TINY, data, steps=6, log_every=2, eval_every=3, checkpoint_every=2), Display()
    )
    assert "holds step 6 of 6: every step is done already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"learning_rate": 1e-3}, "learning_rate was 0.005, is 0.001"),
        ({"model": replace(TINY, scale=2)}, "scale was 3, is 2"),
        ({"data": DataConfig("none")}, "no folder 'none'"),
        ({"data": DataConfig(batch_size=12)}, r"batch_size=12 cannot be split over 8 device\(s\): use 16"),
        ({"data": DataConfig(patch=3)}, "patch=3 is smaller"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"ema": 1.0}, "ema=1.0 must be from 0 to below 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 above 0"),
        ({"log_every": 0}, "log_every=0 must be at least 1"),
    ],
    ids=str,
)
def test_unusable_settings_are_refused(run, folder, change, complaint):
    data = DataConfig(data=str(folder), patch=8, batch_size=8)
    config = TrainConfig(run, TINY, data, steps=6, log_every=2, eval_every=3)
    with pytest.raises(ValueError, match=complaint):
        train.train(replace(config, **change), silent())


def test_other_photographs_are_refused(config, folder, tmp_path):
    copies = tmp_path / "copies"
    copies.mkdir()
    for path in folder.iterdir():
        (copies / path.name).write_bytes(path.read_bytes())
    config = replace(config, steps=1, data=replace(config.data, data=str(copies)))
    train.train(config, silent())
    pixels = np.array(Image.open(copies / "b.png"))
    pixels[10, 10] ^= 64
    Image.fromarray(pixels).save(copies / "b.png")
    with pytest.raises(ValueError, match=r"holds another run .*photographs were others"):
        train.train(config, silent())


def test_an_unreadable_description_is_named(config):
    config.out.mkdir()
    (config.out / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is not readable"):
        train.train(config, silent())


def test_divergence_is_said(config):
    with pytest.raises(ValueError, match=r"the loss became .* lower learning_rate"):
        train.train(replace(config, learning_rate=1e30, steps=40), silent())


# Measuring and using a checkpoint.


def test_scores_are_the_metrics_of_the_two_enlargements(run, rng):
    network = upscale.load(run)
    high = rng.uniform(0.2, 0.8, size=(30, 36)).astype(np.float32)
    photo = evaluate.Photo("x", high, imresize(high, Fraction(1, 3)))
    enlarger = upscale.Enlarger(network.model)
    (score,) = evaluate.evaluate([photo], enlarger, network.params)
    pairs = [
        np.round(np.clip(255 * y, 0, 255))[3:-3, 3:-3] for y in (enlarger(network.params, photo.low), high)
    ]
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
    fields = [name for part in (TrainConfig, ModelConfig, DataConfig) for name in part.__dataclass_fields__]
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
    network = upscale.load(run)
    y = 255 * upscale.Enlarger(network.model)(network.params, images.luma(before.pixels) / 255)
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
