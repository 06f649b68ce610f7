"""The common training loop in one process: what it records, keeps and refuses, and how it goes on."""

import functools
import math
import os
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx
from jax.experimental import multihost_utils

from examples.common import checkpoint, history, stop
from examples.common.config import TrainConfig
from examples.common.loop import train
from examples.common.progress import Display

from .test_common_toy import (
    Net,
    Points,
    Struck,
    Toy,
    assert_same_bits,
    everything,
    remembered_programs,
    silent,
    steps_in,
)

TOY = Toy(Net(dropout=0.2, norm=True))
CONFIG = TrainConfig(
    steps=12, log_every=2, eval_every=3, checkpoint_every=4, keep=2, keep_best=1, learning_rate=0.02, ema=0.9
)


@pytest.fixture(scope="module", autouse=True)
def _programs(tmp_path_factory):
    with remembered_programs(tmp_path_factory.mktemp("programs")):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    return train(TOY, replace(CONFIG, out=tmp_path_factory.mktemp("loop") / "run"), silent())


def test_records(run):
    records = history.read(run / "metrics.jsonl")
    assert [record["step"] for record in records] == [2, 3, 4, 6, 6, 8, 9, 10, 12, 12]
    assert list(records[0]) == ["step", "loss", "distance", "gradient_norm", "learning_rate"]
    assert list(records[1]) == ["step", "held_out_closeness"]
    assert all(math.isfinite(value) for record in records for value in record.values())
    assert records[-2]["learning_rate"] == pytest.approx(2e-4)
    assert records[-2]["loss"] < records[0]["loss"]
    assert list((run / "tensorboard").glob("events*"))


class Graded(Toy):
    """Whose scores are known before."""

    def __init__(self, *scores):
        super().__init__()
        object.__setattr__(self, "scores", iter(scores))

    def evaluate(self, model, track):
        assert isinstance(model, nnx.Module)
        (score,) = track([next(vars(self)["scores"])])
        return {"closeness": score}


def test_only_the_loop_asks_whether_to_stop(tmp_path, monkeypatch):
    """What JAX is asked about is what it takes for the progress of this process."""
    asked = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked.append)
    train(TOY, replace(CONFIG, out=tmp_path), silent())
    assert len(steps_in(tmp_path)) > 1
    assert asked == []  # alone, the loop asks nobody


def test_the_newest_checkpoints_and_the_best_are_kept(tmp_path):
    """The score is best at step 6, and none at the end."""
    run = train(
        Graded(3.0, 5.0, 4.0, math.nan), replace(CONFIG, out=tmp_path / "run", checkpoint_every=5), silent()
    )
    assert steps_in(run) == [6, 10, 12]  # 3 and 5 were kept for a while
    assert checkpoint.best(run).name == "6"
    assert checkpoint.latest(run).name == "12"
    assert checkpoint.best(run / "checkpoints" / "10").name == "10"


def test_the_averaged_model_is_loaded(run):
    folder = checkpoint.latest(run)
    config = checkpoint.read_config(folder, "fingerprint")
    with pytest.raises(ValueError, match="is of another example, it has no channels: give the folder"):
        checkpoint.read_config(folder, "fingerprint", "channels")
    assert config["task"]["net"] == {"hidden": 16, "dropout": 0.2, "norm": True}
    assert config["training"]["learning_rate"] == 0.02
    abstract = nnx.eval_shape(lambda: TOY.model(dtype=np.float32, rngs=nnx.Rngs(0)))
    model = checkpoint.load_model(folder, abstract)
    (_, average), *_ = everything(run)
    params, stats = average["params"], average["stats"]
    x = np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32)
    y = x @ params["first"]["kernel"] + params["first"]["bias"]
    y = (y - stats["norm"]["mean"]) / np.sqrt(stats["norm"]["var"] + 1e-5)
    y = np.tanh(y * params["norm"]["scale"] + params["norm"]["bias"])
    np.testing.assert_allclose(model(x), y @ params["last"]["kernel"] + params["last"]["bias"], atol=1e-5)


def test_a_finished_run_is_left_alone(run, capsys):
    before = {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*")}
    train(TOY, replace(CONFIG, out=run), Display())
    assert "holds step 12 of 12: every step is done already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*")} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_and_the_run_goes_on_to_the_same_bits(run, tmp_path, capsys, number):
    """It comes while the batch after that of step seven is made."""
    config = replace(CONFIG, out=tmp_path / "run")
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    at_seven = functools.partial(os.kill, os.getpid(), number)
    with pytest.raises(stop.Stopped, match=r"step 8 is saved; the same command goes on from there"):
        train(Struck(TOY, {7: at_seven}), config, silent())
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert steps_in(config.out)[-1] == 8
    train(TOY, config, Display())
    assert "holds step 8 of 12: going on with the next" in capsys.readouterr().err
    assert_same_bits(config.out, run)


def test_a_batch_that_makes_no_number_is_saved(tmp_path):
    task = Toy(points=Points(poison=9))
    config = replace(CONFIG, out=tmp_path / "run")
    for _ in range(2):  # the same command meets the same batch
        with pytest.raises(ValueError, match=r"the loss became nan in step 10, .*lower learning_rate"):
            train(task, config, silent())
        assert steps_in(config.out)[-1] == 9
    saved = np.load(config.out / "bad_batch_10.npz")
    assert saved["x"].shape == (16, 6)
    assert np.isnan(saved["y"][3]).all()
    assert np.isfinite(saved["y"][4:]).all()


def test_a_gradient_that_is_no_number_is_not_saved(tmp_path):
    config = replace(CONFIG, out=tmp_path / "run", learning_rate=1e30, optimiser="sgd", checkpoint_every=1)
    with pytest.raises(ValueError, match=r"the (loss|gradient norm) became (inf|nan) in step \d"):
        train(Toy(), config, silent())
    arrays, *_ = everything(config.out, steps_in(config.out)[-1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(arrays))


def test_a_trace_of_some_steps(tmp_path):
    run = train(Toy(), replace(CONFIG, out=tmp_path / "run", profile=(3, 4)), silent())
    assert list((run / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"learning_rate": 1e-3}, "holds another run .*learning_rate was 0.02, is 0.001"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"ema": 1.0}, "ema=1.0 must be from 0 to below 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"log_every": 0}, "log_every=0 must be at least 1"),
        ({"accumulate": 3}, r"batch_size=16 cannot be split over 8 device\(s\) in 3 parts each: use 24"),
        ({"clip": -1.0}, "clip=-1.0 must be 0 or more"),
        ({"weight_decay": 0.1}, "is not for adam: use adamw or sgd"),
        ({"milestones": (60.0,)}, "must be shares of all steps"),
        ({"profile": (5, 3)}, "must be a first and a last step"),
    ],
    ids=str,
)
def test_unusable_settings_are_refused(run, change, complaint):
    with pytest.raises(ValueError, match=complaint):
        train(TOY, replace(CONFIG, out=run, **change), silent())


def test_another_task_is_refused(run):
    with pytest.raises(ValueError, match=r"holds another run \(hidden was 16, is 8\)"):
        train(replace(TOY, net=replace(TOY.net, hidden=8)), replace(CONFIG, out=run), silent())

    class OtherData(Toy):
        def describe(self):
            return {**super().describe(), "fingerprint": "0" * 64}

    with pytest.raises(ValueError, match=r"holds another run \(its data were others\)"):
        train(OtherData(TOY.net), replace(CONFIG, out=run), silent())


def test_an_unreadable_description_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is not readable"):
        train(TOY, replace(CONFIG, out=tmp_path), silent())


def test_other_places_and_numbers_of_checkpoints_are_the_same_run(run):
    before = (run / "metrics.jsonl").read_text(), steps_in(run)
    train(TOY, replace(CONFIG, out=run, keep=7, keep_best=0, fsdp=True, profile=(1, 2)), silent())
    assert ((run / "metrics.jsonl").read_text(), steps_in(run)) == before
    assert not (run / "profile").exists()
