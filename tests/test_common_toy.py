"""The task that tests of the common training loop train: regression, small enough to compile in no time."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.process import BaseProcess
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from rich.console import Console

from examples.common.progress import Display
from examples.common.task import Shard

from .programs import remembered

TRUTH = np.random.default_rng(11).normal(size=(6, 3)).astype(np.float32)


@dataclass(frozen=True)
class Net:
    hidden: int = 16
    dropout: float = 0.0
    norm: bool = False


@dataclass(frozen=True)
class Points:
    batch_size: int = 16
    poison: int = -1
    """Number of a batch that holds no number."""
    pause: float = 0.0
    """Seconds that a batch takes."""
    same: bool = False
    """Whether all batches are the first one."""
    features: tuple[int, ...] = (6, 3)


class Perceptron(nnx.Module):
    def __init__(self, net: Net, inputs: int, outputs: int, *, dtype, rngs: nnx.Rngs):
        self.first = nnx.Linear(inputs, net.hidden, dtype=dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(net.hidden, momentum=0.5, dtype=dtype, rngs=rngs) if net.norm else None
        self.dropout = nnx.Dropout(net.dropout)
        self.last = nnx.Linear(net.hidden, outputs, dtype=dtype, rngs=rngs)
        self.scale = nnx.Variable(jnp.float32(1.0))  # neither parameter nor statistic

    def __call__(self, x, *, rngs=None):
        x = self.first(x)
        x = self.norm(x) if self.norm is not None else x
        return self.last(self.dropout(jnp.tanh(x), rngs=rngs)).astype(jnp.float32) * self.scale


class PointBatches:
    def __init__(self, points: Points, seed: int, shard: Shard):
        self.points, self.seed, self.shard, self.number = points, seed, shard, 0

    def __next__(self) -> dict[str, np.ndarray]:
        time.sleep(self.points.pause)
        rng = np.random.default_rng([self.seed, 0 if self.points.same else self.number])
        x = rng.normal(size=(self.points.batch_size, 6)).astype(np.float32)
        y = np.tanh(x @ TRUTH)
        if self.number == self.points.poison:
            y[3] = np.nan
        self.number += 1
        own = len(x) // self.shard.count
        part = slice(own * self.shard.index, own * (self.shard.index + 1))
        return {"x": x[part], "y": y[part]}

    def get_state(self) -> dict[str, Any]:
        return {"number": self.number}

    def set_state(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


@dataclass(frozen=True)
class Toy:
    net: Net = field(default_factory=Net)
    points: Points = field(default_factory=Points)

    score = "closeness"

    @property
    def batch_size(self) -> int:
        return self.points.batch_size

    def model(self, *, dtype, rngs):
        return Perceptron(self.net, *self.points.features, dtype=dtype, rngs=rngs)

    def loss(self, model, batch, rngs):
        error = model(batch["x"], rngs=rngs) - batch["y"]
        return jnp.mean(error**2), {"distance": jnp.mean(jnp.abs(error))}

    def batches(self, *, seed, shard):
        return PointBatches(self.points, seed, shard)

    def evaluate(self, model, track):
        x = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
        errors = [float(jnp.mean((model(x) - np.tanh(x @ TRUTH)) ** 2)) for _ in track(range(1))]
        return {"closeness": -errors[0]}

    def describe(self):
        return {**asdict(Toy(self.net, replace(self.points, pause=0.0))), "fingerprint": "0123" * 16}


class Struck(Toy):
    """Something happens while the batch of a number is made; it is the same run as `toy` otherwise."""

    def __init__(self, toy: Toy, at: dict[int, Callable[[], None]]):
        super().__init__(toy.net, toy.points)
        object.__setattr__(self, "at", at)

    def batches(self, *, seed, shard):
        return StruckBatches(self.points, seed, shard, vars(self)["at"])


class StruckBatches(PointBatches):
    def __init__(self, points: Points, seed: int, shard: Shard, at: dict[int, Callable[[], None]]):
        super().__init__(points, seed, shard)
        self.at = at

    def __next__(self) -> dict[str, np.ndarray]:
        self.at.get(self.number, lambda: None)()
        return super().__next__()


def child(devices: int, programs, function: Callable, *arguments) -> BaseProcess:
    """A started process that calls a function; it is a fork of one that has imported JAX and not used it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["examples.common.loop", "tests.test_common_toy"])
    process = context.Process(target=_in_child, args=(devices, str(programs), function, *arguments))
    process.start()
    return process


def _in_child(devices: int, programs: str, function: Callable, *arguments) -> None:
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    with remembered(programs):
        sys.exit(function(*arguments))


def silent() -> Display:
    return Display(Console(quiet=True))


def steps_in(run):
    return sorted(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())


def everything(run, step=None):
    """What a run leaves: arrays, the place in the data, and the bytes of the metrics."""
    folder = (run / "checkpoints" / str(step or steps_in(run)[-1])).absolute()
    arrays = [_restore(folder / name) for name in ("training", "average")]
    progress = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(folder / "progress")
    return arrays, progress, (run / "metrics.jsonl").read_bytes()


def _restore(folder):
    """Onto one device, from however many of however many processes."""
    checkpointer, device = ocp.StandardCheckpointer(), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    saved: Any = checkpointer.metadata(folder).item_metadata
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), saved.tree)
    return checkpointer.restore(folder, target)


def assert_same_bits(run, other):
    (arrays, progress, metrics), (wanted, *rest) = everything(run), everything(other)
    assert [progress, metrics] == rest
    assert len(jax.tree.leaves(arrays)) > 20
    jax.tree.map(np.testing.assert_array_equal, arrays, wanted)


def test_shards_make_the_global_batch():
    points = Points()
    whole = next(PointBatches(points, 5, Shard()))
    parts = [next(PointBatches(points, 5, Shard(index, 2))) for index in (0, 1)]
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])
