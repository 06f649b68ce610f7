"""What the common training loop needs to know of this example."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import grain
import jax
import jax.numpy as jnp
from flax import nnx

from ..common.config import TrainConfig
from ..common.task import Shard, Track
from . import data as photographs
from . import evaluate
from .data import DataConfig, Photo
from .model import ModelConfig, SuperResolution
from .upscale import Enlarger

DEMO = TrainConfig(
    out=Path("runs/super_resolution"), steps=4000, learning_rate=5e-3, warmup=100, clip=1.0, ema=0.998
)

LOSSES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "l1": jnp.abs,
    "charbonnier": lambda error: jnp.sqrt(error**2 + 1e-6),
}


@dataclass(frozen=True)
class LossConfig:
    """What is made small."""

    loss: Literal["l1", "charbonnier"] = "l1"
    """Mean of |error|, or of sqrt(error² + 10⁻⁶), which is smooth at zero."""


class Photographs(NamedTuple):
    training: list[Photo]
    held_out: list[Photo]


@dataclass(frozen=True)
class Enlargement:
    """Patches of photographs from their reductions, PSNR on held-out photographs: a `Task`."""

    network: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    error: LossConfig = field(default_factory=LossConfig)

    score = "psnr"

    @property
    def batch_size(self) -> int:
        return self.data.batch_size

    @cached_property
    def photographs(self) -> Photographs:
        found = photographs.find(self.data)
        return Photographs(*(photographs.load(paths, self.data, self.network.scale) for paths in found))

    @cached_property
    def bicubic_psnr(self) -> float:
        return fmean(evaluate.bicubic_psnr(photo, self.network.scale) for photo in self.photographs.held_out)

    def model(self, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> SuperResolution:
        return SuperResolution(self.network, dtype=dtype, rngs=rngs)

    def loss(
        self, model: nnx.Module, batch: dict[str, jax.Array], rngs: nnx.Rngs
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del rngs  # nothing here is random
        error = model(batch["low"]) - batch["high"]  # pyright: ignore[reportCallIssue]
        mse = jnp.mean(error**2, axis=(1, 2, 3))
        return jnp.mean(LOSSES[self.error.loss](error)), {"psnr": jnp.mean(-10 * jnp.log10(mse + 1e-10))}

    def batches(self, *, seed: int, shard: Shard) -> grain.DatasetIterator:
        training, scale = self.photographs.training, self.network.scale
        return photographs.batches(training, self.data, scale=scale, seed=seed, shard=shard)

    def evaluate(self, model: nnx.Module, track: Track) -> dict[str, float]:
        assert isinstance(model, SuperResolution)
        enlarger = Enlarger(model)
        scores = [evaluate.network_psnr(photo, enlarger) for photo in track(self.photographs.held_out)]
        return {"psnr": fmean(scores), "bicubic_psnr": self.bicubic_psnr}

    def describe(self) -> dict[str, Any]:
        training, held_out = self.photographs
        return {
            **asdict(self),
            "training": [photo.name for photo in training],
            "held_out": [photo.name for photo in held_out],
            "fingerprint": photographs.fingerprint([*training, *held_out]),
        }
