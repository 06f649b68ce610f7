"""A training run that is killed with SIGKILL, again and again, ends exactly like one that is not.

Every process here is a real one and so is every signal. To strike at a chosen moment, a run watches what it
does to files through Python's audit events and kills itself there; others are killed from outside, at random.
"""

import contextlib
import itertools
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from examples.common import cli, history
from examples.common.config import TrainConfig
from examples.common.loop import train

from .programs import remembered
from .test_common_toy import (
    Net,
    Points,
    Struck,
    Toy,
    assert_same_bits,
    child,
    silent,
    steps_in,
)

TOY = Toy(Net(dropout=0.2))
# Checkpoints fall in the middle of a window of records and of an evaluation's, or beside them.
CONFIG = TrainConfig(steps=12, log_every=2, eval_every=4, checkpoint_every=3, keep=2, keep_best=0)
LONG = replace(CONFIG, steps=300, checkpoint_every=7, log_every=10, eval_every=1000)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module", autouse=True)
def _remembered(programs):
    with remembered(programs):
        yield


def ended(process) -> int:
    process.join(timeout=200)
    assert process.exitcode is not None
    return process.exitcode


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
    "a checkpoint has no checksums yet": lambda e, a: renames(e, a, "checksums.json"),
    "a checkpoint is complete but not renamed": lambda e, a: renames(e, a, "checkpoints/3"),
    "the metrics are being rewritten": lambda e, a: renames(e, a, "metrics.jsonl"),
    "a step is being computed": lambda e, a: e == "test.batch" and a[0] == 5,
    "a record is half written": lambda e, a: e == "test.record" and a[0] == 6,
    "a later checkpoint is half written": lambda e, a: opens(
        e, a, "9.orbax-checkpoint-tmp/commit_success.txt"
    ),
}


def run_to_the_end_of(moment, out):
    """What a process that is to be killed runs."""
    if moment in MOMENTS:
        strike = MOMENTS[moment]
        sys.addaudithook(lambda e, a: os.kill(os.getpid(), signal.SIGKILL) if strike(e, a) else None)
    write = history.History.write

    def announced_write(self, step, **values):
        self._file.write('{"step": ')  # the beginning of any record
        self._file.flush()
        sys.audit("test.record", step)
        self._file.truncate(self._file.tell() - len('{"step": '))
        write(self, step, **values)

    history.History.write = announced_write
    at = {number: lambda number=number: sys.audit("test.batch", number) for number in range(12)}
    train(Struck(TOY, at), replace(CONFIG, out=out), silent())


@pytest.fixture(scope="module")
def undisturbed(programs, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert ended(child(2, programs, run_to_the_end_of, "never", out)) == 0
    return out


def test_a_run_killed_at_every_moment_ends_like_one_that_is_not(programs, undisturbed, tmp_path):
    out = tmp_path / "run"
    for moment in MOMENTS:
        assert ended(child(2, programs, run_to_the_end_of, moment, out)) == -signal.SIGKILL, moment
    assert (out / "metrics.jsonl").read_text().count(
        '"step": 6'
    ) == 1  # torn, or beyond the checkpoint of step 6
    assert ended(child(2, programs, run_to_the_end_of, "never", out)) == 0
    assert_same_bits(out, undisturbed)
    assert steps_in(out) == steps_in(undisturbed) == [9, 12]
    assert not list(out.rglob("*tmp*")) + list(out.rglob("*.part"))
    records = history.read(out / "metrics.jsonl")
    assert [record["step"] for record in records] == [2, 4, 4, 6, 8, 8, 10, 12, 12]


def run_slowly(out, started):
    toy = Toy(TOY.net, Points(pause=0.005))
    batches = itertools.count(1)

    def announce():
        if next(batches) == 3:  # the step is compiled, and computed for the second time
            started.set()

    train(Struck(toy, dict.fromkeys(range(LONG.steps), announce)), replace(LONG, out=out), silent())


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_like_one_that_is_not(programs, tmp_path):
    moments, newest = random.Random(3), 0
    context = multiprocessing.get_context("forkserver")
    for _ in range(20):
        started = context.Event()
        process = child(2, programs, run_slowly, tmp_path / "killed", started)
        assert started.wait(timeout=200)
        process.join(moments.uniform(0, 0.5))
        process.kill()
        assert ended(process) == -signal.SIGKILL
        found = max(steps_in(tmp_path / "killed"), default=0)
        assert found >= newest
        newest = found
    assert 0 < newest < LONG.steps
    for out in (tmp_path / "killed", tmp_path / "undisturbed"):
        assert ended(child(2, programs, run_slowly, out, context.Event())) == 0
    assert_same_bits(tmp_path / "killed", tmp_path / "undisturbed")


# A full disk.


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own, of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run_into_a_full_disk(folder, errors):
    def fill():
        with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def command() -> None:
        train(Struck(TOY, {7: fill}), replace(CONFIG, out=folder / "run"), silent())

    with errors.open("w") as file, contextlib.redirect_stderr(file):
        return cli.run({"train": command}, "python -m toy", ["train"])


def test_a_full_disk_costs_nothing_but_the_checkpoint(small_disk, programs, undisturbed, tmp_path):
    """A full disk is one of a process: what it leaves open must not keep the file system busy."""
    run, errors = small_disk / "run", tmp_path / "errors"
    assert ended(child(2, programs, run_into_a_full_disk, small_disk, errors)) == 2
    # TensorBoard's thread may have its say too.
    (error,) = [line for line in errors.read_text().splitlines() if line.startswith("error: ")]
    told = re.match(r"error: cannot save a checkpoint .*: make room for it; .* from step ([36])$", error)
    assert told, error
    (small_disk / "filler").unlink()
    assert steps_in(run)[-1] == int(told[1])
    assert ended(child(2, programs, run_to_the_end_of, "never", run)) == 0
    assert_same_bits(run, undisturbed)


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


def remove_checksums(step):
    (step / "checksums.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "bytes of"),
        (flip, "has changed"),
        (remove, "is missing"),
        (remove_checksums, "checksums.json is not readable"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(copy, undisturbed, caplog, damage, words):
    """With a warning that names the step; training it again gives the same, to rounding: on other devices."""
    damage(copy / "checkpoints" / "12")
    train(TOY, replace(CONFIG, out=copy), silent())
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("examples")]
    assert "checkpoint of step 12" in warning
    assert words in warning
    assert "use an earlier step (9)" in warning
    assert steps_in(copy) == [9, 12]
    rows, expected = (history.read(run / "metrics.jsonl") for run in (copy, undisturbed))
    assert rows == [pytest.approx(row, rel=1e-4) for row in expected]


def test_damaged_checkpoints_are_an_error_where_nothing_else_is_left(copy):
    for step in ("9", "12"):
        truncate(copy / "checkpoints" / step)
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged: remove the run to start again"):
        train(TOY, replace(CONFIG, out=copy), silent())


def test_metrics_that_are_no_json_are_named(copy):
    path = copy / "metrics.jsonl"
    path.write_text("oops\n" + path.read_text())
    with pytest.raises(ValueError, match=r"line 1 of .*metrics.jsonl is not JSON: remove it"):
        train(TOY, replace(CONFIG, out=copy), silent())
