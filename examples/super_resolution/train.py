"""Training: a compiled step over all devices, metrics, checkpoints, exact continuation after any stop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from . import data, evaluate, run_folder
from .checkpoint import Checkpoints
from .data import DataConfig, Photo
from .history import History
from .model import ModelConfig, SuperResolution
from .progress import Display
from .upscale import Enlarger, abstract_model


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the demo's."""

    out: Path = Path("runs/super_resolution")
    """Folder of the run. If it holds an unfinished run with these settings, that run goes on."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    steps: int = 4000
    """Optimiser steps."""
    learning_rate: float = 5e-3
    """Peak of Adam's learning rate. It rises for `warmup` steps, then falls as a cosine to a hundredth."""
    warmup: int = 100
    """Steps of rising learning rate, a tenth of all steps at most."""
    loss: Literal["l1", "charbonnier"] = "l1"
    """Mean of |error|, or of sqrt(error² + 10⁻⁶), which is smooth at zero."""
    ema: float = 0.998
    """Decay of the moving average of the parameters, which is what is evaluated and used; 0 for none."""
    seed: int = 0
    """Of the initial parameters and of the order of patches."""
    log_every: int = 50
    """Steps between records of the training loss (their mean over these steps)."""
    eval_every: int = 200
    """Steps between measurements of held-out PSNR."""
    checkpoint_every: int = 500
    """Steps between checkpoints; there is one at the end in any case."""
    keep: int = 3
    """Checkpoints kept, the newest ones."""


class TrainState(NamedTuple):
    params: Any
    optimiser: optax.OptState
    step: jax.Array
    sums: dict[str, jax.Array]
    """Of loss and mean squared error since the last record: state, because a stop may fall between two."""


LOSSES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "l1": lambda error: jnp.mean(jnp.abs(error)),
    "charbonnier": lambda error: jnp.mean(jnp.sqrt(error**2 + 1e-6)),
}


def schedule(config: TrainConfig) -> optax.Schedule:
    peak, warmup = config.learning_rate, min(config.warmup, config.steps // 10)
    return optax.warmup_cosine_decay_schedule(peak / 100, peak, warmup, config.steps, peak / 100)


def make_optimiser(config: TrainConfig) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule(config)))


def initial_state(config: TrainConfig) -> tuple[TrainState, Any]:
    """The state before the first step, and the averaged parameters."""
    model = SuperResolution(config.model, rngs=nnx.Rngs(config.seed))
    params = nnx.to_pure_dict(nnx.state(model))
    return TrainState(params, make_optimiser(config).init(params), jnp.int32(0), _zero_sums()), params


def _zero_sums() -> dict[str, jax.Array]:
    return {"loss": jnp.float32(0), "mse": jnp.float32(0)}


class Parallel:
    """Data parallelism: batches are split over the devices, everything else is on each of them."""

    def __init__(self, devices: Sequence[Any]):
        mesh = Mesh(np.array(devices), ("batch",))
        self.everywhere = NamedSharding(mesh, PartitionSpec())
        self.split = NamedSharding(mesh, PartitionSpec("batch"))

    def start(self, config: TrainConfig) -> tuple["TrainState", Any]:
        """The state before the first step and the averaged parameters."""
        # It runs once: optimising it takes seconds, running it none.
        options = {"xla_backend_optimization_level": 0}
        return jax.jit(
            lambda: initial_state(config), out_shardings=self.everywhere, compiler_options=options
        )()


def make_step(config: TrainConfig, parallel: Parallel) -> Callable:
    """The compiled step (state, average, batch) -> (state, average)."""
    graph, _ = abstract_model(config.model)
    optimiser, loss_of = make_optimiser(config), LOSSES[config.loss]

    def objective(params: Any, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        error = nnx.merge(graph, params)(batch["low"]) - batch["high"]
        return loss_of(error), jnp.mean(error**2)

    def step(state: TrainState, average: Any, batch: dict[str, jax.Array]) -> tuple[TrainState, Any]:
        (loss, mse), gradient = jax.value_and_grad(objective, has_aux=True)(state.params, batch)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        # Shorter memory at first, or the average would still hold much of the random start.
        decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(params, average, 1 - decay)
        sums = {"loss": state.sums["loss"] + loss, "mse": state.sums["mse"] + mse}
        return TrainState(params, optimiser_state, state.step + 1, sums), average

    return jax.jit(step, out_shardings=parallel.everywhere)


def train(config: TrainConfig, display: Display) -> Path:
    """Trains until `config.steps`, from where an earlier run with this configuration stopped.

    Raises:
        ValueError: a setting or a photograph cannot be used, or the folder holds another run.
    """
    _check(config, len(jax.devices()))
    training, held_out = (
        data.load(paths, config.data, config.model.scale, track=display.track(f"reading {kind} photographs"))
        for paths, kind in zip(data.find(config.data), ("training", "held-out"), strict=True)
    )
    run_folder.claim(config.out, config, training, held_out)
    run = _Run(config, training, held_out, display)
    try:
        run.to_the_end()
    finally:
        run.close()
    return config.out


class _Run:
    """Everything a run in progress consists of."""

    def __init__(self, config: TrainConfig, training: list[Photo], held_out: list[Photo], display: Display):
        self.config, self.held_out, self.display = config, held_out, display
        self.parallel = Parallel(jax.devices())
        self.batches = data.batches(training, config.data, scale=config.model.scale, seed=config.seed)
        self.enlarger = Enlarger(config.model)
        self.compiled_step = make_step(config, self.parallel)
        self.checkpoints = Checkpoints(config.out / "checkpoints", keep=config.keep)
        self.state, self.average = self.parallel.start(config)
        self.step = 0
        restored = self.checkpoints.restore(self.state, self.average)
        if restored is not None:
            self.step, self.state, self.average = restored.step, restored.training, restored.average
            self.batches.set_state(restored.data)
            done = "every step is done already" if self.step == config.steps else "going on with the next"
            display.say(f"{config.out} holds step {self.step} of {config.steps}: {done}")
        self.history = History(config.out, step=self.step)

    def to_the_end(self) -> None:
        config = self.config
        if self.step == config.steps:
            return
        with self.display.training(config.steps, self.step) as bar:
            clock = time.perf_counter()
            while self.step < config.steps:
                batch = jax.device_put(next(self.batches), self.parallel.split)
                self.state, self.average = self.compiled_step(self.state, self.average, batch)
                self.step += 1
                if self._due(config.log_every):
                    values = self._record_loss()
                    now = time.perf_counter()
                    self.history.note(self.step, steps_per_second=values.pop("steps") / (now - clock))
                    clock = now
                    bar.update(self.step, **values)
                if self._due(config.eval_every):
                    bar.update(self.step, held_out=self._record_held_out())
                if self._due(config.checkpoint_every):
                    self._save()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _record_loss(self) -> dict[str, float]:
        steps = self.step % self.config.log_every or self.config.log_every
        loss, mse = (float(self.state.sums[name]) / steps for name in ("loss", "mse"))
        if not np.isfinite(loss):
            raise ValueError(f"the loss became {loss} before step {self.step}: lower learning_rate")
        values = {"loss": loss, "psnr": float(-10 * np.log10(mse))}
        self.history.write(
            self.step, **values, learning_rate=float(np.asarray(schedule(self.config)(self.step)))
        )
        self.state = self.state._replace(sums=jax.device_put(_zero_sums(), self.parallel.everywhere))
        return {**values, "steps": steps}

    def _record_held_out(self) -> float:
        network = fmean(evaluate.network_psnr(photo, self.enlarger, self.average) for photo in self.held_out)
        self.history.write(self.step, held_out_psnr=network, held_out_bicubic_psnr=self._bicubic)
        return network

    @cached_property
    def _bicubic(self) -> float:
        return fmean(evaluate.bicubic_psnr(photo, self.config.model.scale) for photo in self.held_out)

    def _save(self) -> None:
        self.history.sync()
        self.checkpoints.save(
            self.step,
            training=self.state,
            average=self.average,
            data=self.batches.get_state(),
            config=run_folder.describe(self.config),
        )

    def close(self) -> None:
        self.history.close()
        self.checkpoints.close()


def _check(config: TrainConfig, devices: int) -> None:
    for name in ("steps", "log_every", "eval_every", "checkpoint_every", "keep"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 1")
    if not 0 <= config.ema < 1 or not config.learning_rate > 0:
        raise ValueError(
            f"ema={config.ema} must be from 0 to below 1, learning_rate={config.learning_rate} above 0"
        )
    if config.data.patch < 8:
        raise ValueError(
            f"patch={config.data.patch} is smaller than what the network looks at: use 8 or more"
        )
    if config.data.batch_size < 1 or config.data.batch_size % devices:
        raise ValueError(
            f"batch_size={config.data.batch_size} cannot be split over {devices} device(s):"
            f" use {max(1, round(config.data.batch_size / devices)) * devices}"
        )
