"""What the common training loop needs to know of this example."""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ..common.config import TrainConfig
from ..common.task import Shard, Track
from . import data as images
from .data import DataConfig, DataSet
from .evaluate import accuracy
from .model import ModelConfig, SmallCNN


@dataclass(frozen=True)
class Classification:
    """Cross-entropy on the training images, accuracy on those kept for validation: a `Task`."""

    network: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)

    score = "accuracy"

    @property
    def batch_size(self) -> int:
        return self.data.batch_size

    @cached_property
    def images(self) -> DataSet:
        return images.load(self.data)

    def model(self, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> SmallCNN:
        return SmallCNN(self.network, self.images.size, len(self.images.classes), dtype=dtype, rngs=rngs)

    def loss(
        self, model: nnx.Module, batch: dict[str, jax.Array], rngs: nnx.Rngs
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits = model(batch["image"], rngs=rngs)  # pyright: ignore[reportCallIssue]
        right = jnp.argmax(logits, axis=-1) == batch["label"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return jnp.mean(loss), {"accuracy": jnp.mean(right, dtype=jnp.float32)}

    def batches(self, *, seed: int, shard: Shard) -> grain.DatasetIterator:
        return images.batches(self.images, self.data, seed=seed, shard=shard)

    def evaluate(self, model: nnx.Module, track: Track) -> dict[str, float]:
        return {"accuracy": accuracy(model, self.images.validation, track=track)}

    def describe(self) -> dict[str, Any]:
        source = None if self.data.data is None else str(self.data.data)
        return {
            "network": asdict(self.network),
            "data": {**asdict(self.data), "data": source},
            "name": self.images.name,
            "size": list(self.images.size),
            "classes": list(self.images.classes),
            "fingerprint": self.images.fingerprint,
        }


# Eleven epochs of Fashion-MNIST.
TRAINING = TrainConfig(
    out=Path("runs/fashion_mnist"),
    steps=20000,
    learning_rate=2e-3,
    warmup=100,
    clip=1.0,
    ema=0.998,
    eval_every=1000,
    checkpoint_every=2000,
)
