"""Training: compiled steps over all devices, records, checkpoints, exact continuation after any stop."""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from . import options, processes, run_folder
from .checkpoint import Checkpoints
from .config import TrainConfig, check
from .history import History, NoHistory
from .layout import Layout
from .optimiser import schedule
from .progress import Display, TrainingBar
from .state import graph_of, initial_state, put_together
from .step import make_step
from .stop import Signals, Stopped
from .task import Shard, Task
from .trace import Trace


def train(task: Task, config: TrainConfig, display: Display) -> Path:
    """Trains until `config.steps`, from where an earlier run with these settings stopped.

    Raises:
        ValueError: a setting or the data cannot be used, the folder holds another run, or the loss became
            infinite or no number.
        OSError: a file cannot be written.
        Stopped: a signal asked for it; everything is saved.
    """
    processes.join(config)
    check(config, batch_size=task.batch_size, devices=jax.device_count())
    if not processes.is_first():
        display = Display(Console(quiet=True))
    with display.status("reading the data"):
        description = run_folder.describe(task, config)
    run_folder.claim(config.out, description)
    if processes.is_first():
        options.write(config.out / "config.yaml", task, config)
        run_folder.name_subject(config.out, task)
    run = _Run(task, config, description, display)
    with run, Signals() as signals, display.training(config.steps, run.step) as bar:
        run.to_the_end(signals, bar)
    return config.out


class _Issued(NamedTuple):
    """A step that the devices may still be computing."""

    step: int
    batch: dict[str, np.ndarray]
    values: dict[str, jax.Array]


class _Run:
    """Everything a run in progress consists of."""

    def __init__(self, task: Task, config: TrainConfig, description: dict[str, Any], display: Display):
        self.task, self.config, self.description, self.display = task, config, description, display
        self.layout = Layout(jax.devices(), fsdp=config.fsdp)
        self.graph = graph_of(task, config)
        self.compiled_step = make_step(task, config, self.layout)
        self.rate = schedule(config)
        self.batches = task.batches(seed=config.seed, shard=Shard(jax.process_index(), jax.process_count()))
        self.checkpoints = Checkpoints(
            config.out / "checkpoints", keep=config.keep, keep_best=config.keep_best
        )
        self.step = 0
        self.sums: dict[str, float] = {}  # of values since the last record, and the number of these steps
        self.issued: _Issued | None = None
        self.state, self.average = initial_state(task, config, self.layout)
        self._restore()
        self.history = History(config.out, step=self.step) if processes.is_first() else NoHistory()
        self.trace = Trace(config.out, config.profile)

    def _restore(self) -> None:
        restored = self.checkpoints.restore(self.state, self.average)
        if restored is None:
            return
        self.step, self.state, self.average = restored.step, restored.training, restored.average
        self.sums = restored.progress["sums"]
        self.batches.set_state(restored.progress["data"])
        steps = self.config.steps
        done = "every step is done already" if self.step == steps else "going on with the next"
        self.display.say(f"{self.config.out} holds step {self.step} of {steps}: {done}")

    def to_the_end(self, signals: Signals, bar: TrainingBar) -> None:
        config, clock = self.config, time.perf_counter()
        while self.step < config.steps:
            self._issue_step()
            bar.advance(self.step)
            score = None
            if self._due(config.log_every):
                steps_per_second = self._record(bar) / (time.perf_counter() - clock)
                self.history.note(self.step, steps_per_second=steps_per_second)
                clock = time.perf_counter()
            if self._due(config.eval_every):
                score = self._measure(bar)
            stop = signals.stop_after(self.step)
            among_best = score is not None and self.checkpoints.is_best(score)
            if self._due(config.checkpoint_every) or among_best or stop is not None:
                self._save(score)
            if stop is not None and self.step < config.steps:
                self.checkpoints.wait()
                raise Stopped(stop, self.step)
        self.checkpoints.wait()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _issue_step(self) -> None:
        """The step before this one is looked at while this one is computed."""
        batch = next(self.batches)
        self.trace.before(self.step + 1)
        self.state, self.average, values = self.compiled_step(
            self.state, self.average, self.layout.put(batch)
        )
        self._settle()
        self.step += 1
        self.issued = _Issued(self.step, batch, values)
        self.trace.after(self.step, values)

    def _settle(self) -> None:
        """Waits for the values of the last step, which must be finite."""
        if self.issued is None:
            return
        step, batch, values = self.issued
        self.issued = None
        # Compiled programs return dictionaries in the order of their keys.
        values = dict(sorted(jax.device_get(values).items(), key=lambda item: item[0] != "loss"))
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(values[name]):
                raise self._diverged(name, float(values[name]), step, batch)
        for name, value in {"steps": 1, **values}.items():
            self.sums[name] = self.sums.get(name, 0) + float(value)

    def _diverged(self, name: str, value: float, step: int, batch: dict[str, np.ndarray]) -> ValueError:
        suffix = f"_process_{jax.process_index()}" if jax.process_count() > 1 else ""
        self.checkpoints.wait()
        path = self.config.out / f"bad_batch_{step}{suffix}.npz"
        np.savez(path, allow_pickle=False, **batch)
        return ValueError(
            f"the {name.replace('_', ' ')} became {value} in step {step}, whose batch is in {path}: if that"
            " is as it should be, lower learning_rate or set clip, and choose another --out"
        )

    def _record(self, bar: TrainingBar) -> float:
        """The means since the last record; returns of how many steps they are."""
        self._settle()
        steps = self.sums.pop("steps")
        values = {name: total / steps for name, total in self.sums.items()}
        self.sums = {}
        self.history.write(self.step, **values, learning_rate=float(np.asarray(self.rate(self.step))))
        bar.show(self.step, **values)
        return steps

    def _measure(self, bar: TrainingBar) -> float:
        self._settle()
        model = put_together(self.graph, self.layout.on_one_device(self.average))
        model.eval()
        scores = self.task.evaluate(model, self.display.track("evaluating"))
        values = {f"held_out_{name}": float(value) for name, value in scores.items()}
        self.history.write(self.step, **values)
        bar.measured(self.step, **values)
        score = float(scores[self.task.score])
        return -math.inf if math.isnan(score) else score  # no number is worse than any

    def _save(self, score: float | None) -> None:
        self._settle()  # what is not finite is not saved
        self.history.sync()
        self.checkpoints.save(
            self.step,
            training=self.state,
            average=self.average,
            progress={"data": self.batches.get_state(), "sums": self.sums},
            config=self.description,
            score=score,
        )

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.trace.close()
        self.history.close()
        if kind in (None, Stopped) or jax.process_count() == 1:
            self.checkpoints.close()  # else a process that is gone would be waited for
