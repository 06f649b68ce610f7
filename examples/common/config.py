"""The settings of a training run that do not depend on what is trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax.numpy as jnp

# They decide where a run computes and what of it is kept, not what it computes.
_NO_PART_OF_THE_RESULT = frozenset(
    {"out", "checkpoint_every", "keep", "keep_best", "fsdp", "profile"}
    | {"distributed", "coordinator", "processes", "process"}
)


@dataclass(frozen=True)
class TrainConfig:
    """How one run trains, measures and saves."""

    out: Path = Path("runs/run")
    """Folder of the run. If it holds an unfinished run with these settings, that run goes on."""
    steps: int = 1000
    """Optimiser steps."""
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    """adamw decays weights apart from the gradient; sgd has momentum."""
    learning_rate: float = 1e-3
    """Its peak: it rises for `warmup` steps, then follows `schedule`."""
    schedule: Literal["cosine", "constant", "poly", "steps"] = "cosine"
    """cosine falls to a hundredth, poly as (1 − share of steps done)^`power`, steps to a tenth at each of
    `milestones`."""
    warmup: int = 0
    """Steps of rising learning rate, a tenth of all steps at most."""
    power: float = 0.9
    """Of the schedule poly."""
    milestones: tuple[float, ...] = (0.6, 0.85)
    """Of the schedule steps, as shares of all steps."""
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 0.0
    """Of kernels, not of biases and scales; for adamw and sgd."""
    clip: float = 0.0
    """Largest global norm of the gradient; 0 for any."""
    ema: float = 0.0
    """Decay of the moving average of the parameters, which is what is evaluated and used; 0 for none."""
    accumulate: int = 1
    """Parts that a batch is computed in, one after another, to need less memory."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What layers compute in. Parameters, optimiser state and loss are float32 in any case."""
    seed: int = 0
    """Of the initial parameters, of the order of the data and of dropout."""
    log_every: int = 50
    """Steps between records of the training loss (their mean over these steps)."""
    eval_every: int = 200
    """Steps between measurements of held-out data."""
    checkpoint_every: int = 500
    """Steps between checkpoints; there is one at the end in any case."""
    keep: int = 3
    """Checkpoints kept, the newest ones."""
    keep_best: int = 1
    """Further checkpoints kept: those of the best held-out measurements."""
    fsdp: bool = False
    """Split parameters and optimiser state over the devices instead of repeating them on each."""
    profile: tuple[int, int] | None = None
    """Trace of these steps, first and last, for TensorBoard and Perfetto, in the run's folder."""
    distributed: bool = False
    """This is one of several processes, which find each other through SLURM, Open MPI, Kubernetes or the
    TPU's metadata, or through the next three options."""
    coordinator: str | None = None
    """Address and port of process 0, as host:1234."""
    processes: int | None = None
    """How many processes there are."""
    process: int | None = None
    """Which one this is, from 0."""

    @property
    def dtype(self) -> jnp.dtype:
        return jnp.dtype(self.precision)

    def result(self) -> dict[str, object]:
        """The settings that decide the result of a run."""
        return {name: value for name, value in vars(self).items() if name not in _NO_PART_OF_THE_RESULT}


def check(config: TrainConfig, *, batch_size: int, devices: int) -> None:
    """Refuses what cannot be trained with.

    Raises:
        ValueError: says which setting, and what would do.
    """
    for name in ("steps", "accumulate", "log_every", "eval_every", "checkpoint_every", "keep"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 1")
    for name in ("warmup", "keep_best", "clip", "weight_decay"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name}={getattr(config, name)} must be 0 or more")
    for name in ("ema", "momentum"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be from 0 to below 1")
    if not config.learning_rate > 0:
        raise ValueError(f"learning_rate={config.learning_rate} must be above 0")
    if config.weight_decay and config.optimiser == "adam":
        raise ValueError(f"weight_decay={config.weight_decay} is not for adam: use adamw or sgd")
    if not all(0 < share < 1 for share in config.milestones):
        raise ValueError(f"milestones={config.milestones} must be shares of all steps, for example 0.6 0.85")
    if config.profile and not 1 <= config.profile[0] <= config.profile[1]:
        raise ValueError(f"profile={config.profile} must be a first and a last step, for example 10 12")
    parts = devices * config.accumulate
    if batch_size < 1 or batch_size % parts:
        shares = f"{devices} device(s)" + (
            f" in {config.accumulate} parts each" if config.accumulate > 1 else ""
        )
        raise ValueError(
            f"batch_size={batch_size} cannot be split over {shares}:"
            f" use {max(1, round(batch_size / parts)) * parts}"
        )
