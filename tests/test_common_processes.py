"""Two processes of two devices each, on one machine: JAX's runtime connects them as it does machines."""

import contextlib
import os
import signal
import socket
import time
from dataclasses import replace

import pytest

from examples.common import cli, history, processes
from examples.common.config import TrainConfig
from examples.common.loop import train
from examples.common.progress import Display

from .test_common_toy import Net, Struck, Toy, assert_same_bits, child, silent, steps_in

# Without batch normalisation: biases before it have gradients of rounding alone, which Adam makes large.
TOY = Toy(Net(dropout=0.2))
CONFIG = TrainConfig(steps=24, log_every=4, eval_every=6, checkpoint_every=6, ema=0.9, fsdp=True, processes=2)


def of_two(out, programs, *, strike=None):
    """The exit codes of two processes that train together, and what each said; the second one is struck."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    errors = [out.with_name(f"{out.name}_{index}.txt") for index in (0, 1)]
    started = [
        child(
            2,
            programs,
            one_of_two,
            replace(CONFIG, out=out, coordinator=coordinator, process=index),
            strike if index == 1 else None,
            errors[index],
        )
        for index in (0, 1)
    ]
    for process in started:
        process.join(timeout=300)
    return [process.exitcode for process in started], [file.read_text() for file in errors]


def one_of_two(config, strike, errors):
    # JAX's runtime looks for a signal once a second: the batches after it take longer than that.
    slow = {number: lambda: time.sleep(2) for number in range(16, CONFIG.steps)}
    toy = TOY if strike is None else Struck(TOY, {15: lambda: os.kill(os.getpid(), strike), **slow})

    def command() -> None:
        train(toy, config, Display())

    with errors.open("w", buffering=1) as file, contextlib.redirect_stderr(file):
        return cli.run({"train": command}, "python -m toy", ["train"])


@pytest.mark.slow
def test_two_processes_train_as_one_and_end_and_go_on_together(tmp_path):
    programs = tmp_path / "programs"
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    codes, (first, second) = of_two(undisturbed, programs)
    assert codes == [0, 0]
    assert "step 24/24" in first
    assert not second  # one speaks for both
    codes, (first, _) = of_two(out, programs, strike=signal.SIGKILL)
    assert codes == [1, -signal.SIGKILL]
    assert "error: another process is gone" in first
    assert "start all of them again" in first
    assert steps_in(out)[-1] in (6, 12)
    codes, said = of_two(out, programs, strike=signal.SIGINT)  # as SIGTERM, which it becomes
    assert codes == [143, 143]
    assert all("is saved; the same command goes on from there" in words for words in said)
    assert 12 < steps_in(out)[-1] < 24
    assert of_two(out, programs)[0] == [0, 0]
    assert_same_bits(out, undisturbed)

    alone = train(TOY, replace(CONFIG, out=tmp_path / "alone", processes=None), silent())
    rows, expected = (history.read(folder / "metrics.jsonl") for folder in (out, alone))
    assert rows == [pytest.approx(row, rel=1e-3) for row in expected]


def test_a_process_that_finds_no_others_is_told_how(monkeypatch):
    monkeypatch.setattr("jax.distributed.initialize", lambda *options: raise_(ValueError(f"got {options}")))
    with pytest.raises(ValueError, match=r"got \('a:1', 2, None\).*give --coordinator HOST:PORT"):
        processes.join(replace(CONFIG, coordinator="a:1"))
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "b:2")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    with pytest.raises(ValueError, match=r"got \('b:2', 4, 3\)"):
        processes.join(TrainConfig())
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS")
    processes.join(TrainConfig())  # alone


def raise_(error):
    raise error
