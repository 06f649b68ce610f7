"""A training run that is killed with SIGKILL, again and again, ends exactly like one that is not.

Every process here is a real one and so is every signal. To strike at a chosen moment, a run watches what it
does to files through Python's audit events and kills itself there; one is killed from outside.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from examples.super_resolution import cli, history, images
from examples.super_resolution import train as training
from examples.super_resolution.data import DataConfig
from examples.super_resolution.model import ModelConfig
from examples.super_resolution.progress import Display
from examples.super_resolution.train import TrainConfig

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STEPS = 12
SLOW = "slow enough to be hit from outside"


def configuration(photographs, out):
    """Checkpoints fall in the middle of a logging window and of an evaluation's, or beside them."""
    return TrainConfig(
        out=Path(out),
        model=ModelConfig(d=6, s=3, m=1),
        data=DataConfig(data=str(photographs), patch=8, batch_size=8),
        steps=STEPS,
        log_every=2,
        eval_every=4,
        checkpoint_every=3,
        keep=2,
    )


# Each moment is a function of an event and its arguments, as an audit hook gets them: true is where it dies.


def opens(event, arguments, ending):
    return event == "open" and "w" in str(arguments[1]) and str(arguments[0]).endswith(ending)


def renames(event, arguments, ending):
    return event == "os.rename" and str(arguments[1]).endswith(ending)


MOMENTS = {
    "before the first checkpoint is begun": lambda e, a: (
        e == "os.mkdir" and str(a[0]).endswith("3.orbax-checkpoint-tmp")
    ),
    "a checkpoint is half written": lambda e, a: opens(
        e, a, "3.orbax-checkpoint-tmp/training.orbax-checkpoint-tmp/_METADATA"
    ),
    "a checkpoint is complete but not renamed": lambda e, a: renames(e, a, "checkpoints/3"),
    "a checkpoint has no checksums yet": lambda e, a: renames(e, a, "checkpoints/3/checksums.json"),
    "the metrics are being rewritten": lambda e, a: renames(e, a, "metrics.jsonl"),
    "a step is being computed": lambda e, a: e == "test.step" and a[0] == 5,
    "a record is half written": lambda e, a: e == "test.record" and a[0] == 6,
    "a later checkpoint is half written": lambda e, a: opens(
        e, a, "9.orbax-checkpoint-tmp/commit_success.txt"
    ),
}


def child(moment, photographs, out):
    """What a process that is to be killed runs."""
    if moment in MOMENTS:
        strike = MOMENTS[moment]
        sys.addaudithook(lambda e, a: os.kill(os.getpid(), signal.SIGKILL) if strike(e, a) else None)
    make_step, write = training.make_step, history.History.write

    def announced_step(*arguments):
        step = make_step(*arguments)

        def run(state, average, batch):
            result = step(state, average, batch)  # on its way, and nobody waits for it
            sys.audit("test.step", int(state.step) + 1)
            time.sleep(0.2 if moment == SLOW else 0)
            return result

        return run

    def announced_write(self, step, **values):
        self._file.write('{"step": ')  # the beginning of any record
        self._file.flush()
        sys.audit("test.record", step)
        self._file.truncate(self._file.tell() - len('{"step": '))
        write(self, step, **values)

    training.make_step, history.History.write = announced_step, announced_write
    training.train(configuration(photographs, out), Display(Console(quiet=True)))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Two devices, and compiled programs kept between the processes, to save time."""
    return {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(ROOT),
    }


def start(environment, *arguments):
    command = [sys.executable, "-m", "tests.test_super_resolution_resume", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(3)
    for name in "abc":
        images.write(folder / f"{name}.png", images.Picture(rng.uniform(size=(31, 42, 3))))
    return folder


@pytest.fixture(scope="module")
def undisturbed(environment, photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(environment, "never", photographs, out)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def everything(run):
    """The final state of a run: arrays by name, the data position, and the bytes of the metrics."""
    step = run / "checkpoints" / str(STEPS)
    arrays = {
        name: ocp.StandardCheckpointer().restore(step.absolute() / name) for name in ("training", "average")
    }
    data = json.loads((step / "data" / "metadata").read_text())
    return arrays, data, (run / "metrics.jsonl").read_bytes()


def test_a_run_killed_at_every_moment_ends_like_one_that_is_not(
    environment, photographs, undisturbed, tmp_path
):
    out = tmp_path / "run"
    for moment in MOMENTS:
        process = start(environment, moment, photographs, out)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, f"{moment}: {errors}"
    assert (out / "metrics.jsonl").read_text().count(
        '"step": 6'
    ) == 1  # torn, or beyond the checkpoint of step 6
    kill_from_outside(start(environment, SLOW, photographs, out), out / "metrics.jsonl")
    process = start(environment, "never", photographs, out)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors

    (arrays, data, metrics), (wanted, wanted_data, wanted_metrics) = everything(out), everything(undisturbed)
    assert metrics == wanted_metrics
    assert data == wanted_data
    assert len(jax.tree.leaves(arrays)) > 30
    jax.tree.map(np.testing.assert_array_equal, arrays, wanted)
    assert not list(out.rglob("*tmp*")) + list(out.rglob("*.part"))


def kill_from_outside(process, metrics):
    """Once there is a record of step 8: somewhere in the steps after it."""
    deadline = time.monotonic() + 300
    while '"step": 8' not in (metrics.read_text() if metrics.is_file() else ""):
        assert process.poll() is None, "ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_the_metrics_have_every_record_once(undisturbed):
    records = history.read(undisturbed / "metrics.jsonl")
    assert [record["step"] for record in records] == [2, 4, 4, 6, 8, 8, 10, 12, 12]


# Damage that no kill does.


@pytest.fixture
def copy(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    return tmp_path / "run"


def largest_file(step):
    return max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(step):
    path = largest_file(step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(step):
    path = largest_file(step)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def remove(step):
    largest_file(step).unlink()


@pytest.mark.parametrize(
    ("damage", "words"), [(truncate, "bytes of"), (flip, "has changed"), (remove, "is missing")]
)
def test_a_damaged_checkpoint_is_passed_over(copy, photographs, undisturbed, caplog, damage, words):
    """With a warning that names the step; training it again gives the same, to rounding: on other devices."""
    damage(copy / "checkpoints" / "12")
    training.train(configuration(photographs, copy), Display(Console(quiet=True)))
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("examples")]
    assert re.search(f"checkpoint of step 12 .* is damaged .*({words}).*use an earlier step \\(9\\)", warning)
    steps = sorted(int(path.name) for path in (copy / "checkpoints").iterdir())
    assert steps == [9, 12]
    rows, expected = (history.read(run / "metrics.jsonl")[:-2] for run in (copy, undisturbed))
    assert rows == [pytest.approx(row, rel=1e-6) for row in expected]


def test_damaged_checkpoints_are_errors_where_nothing_else_is_left(copy, photographs, capsys):
    truncate(copy / "checkpoints" / "12")
    for arguments in (["evaluate", copy], ["upscale", copy, photographs / "a.png", copy / "a.png"]):
        assert cli.main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert re.fullmatch(
            r"error: checkpoint of step 12 in .* is damaged .*: use an earlier step \(9\)\n", error
        )
    assert cli.main(["evaluate", str(copy / "checkpoints" / "9"), "--pictures", "1"]) == 0
    truncate(copy / "checkpoints" / "9")
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged: remove the run to start again"):
        training.train(configuration(photographs, copy), Display(Console(quiet=True)))


def test_metrics_that_are_no_json_are_named(copy, photographs):
    path = copy / "metrics.jsonl"
    path.write_text("oops\n" + path.read_text())
    with pytest.raises(ValueError, match=r"line 1 of .*metrics.jsonl is not JSON: remove it"):
        training.train(configuration(photographs, copy), Display(Console(quiet=True)))


if __name__ == "__main__":
    child(*sys.argv[1:])
