"""What the common training loop needs to know of this example."""

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..common.config import TrainConfig
from ..common.task import Shard, Track
from . import data as pictures
from .data import DataConfig
from .dataset import IGNORE, DataSet, Survey, survey
from .evaluate import BAND, evaluate
from .model import FCN, ModelConfig
from .start import Start, StartConfig

TRAINING = TrainConfig(
    out=Path("runs/fcn_segmentation"),
    steps=800,
    learning_rate=2e-3,
    warmup=50,
    clip=1.0,
    ema=0.99,
    eval_every=100,
    checkpoint_every=200,
)


@dataclass(frozen=True)
class Segmentation:
    """Cross-entropy over pixels of random pieces, mean IoU on held-out pictures: a `Task`."""

    network: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    start: StartConfig = field(default_factory=StartConfig)

    score = "miou"

    @property
    def batch_size(self) -> int:
        return self.data.batch_size

    @cached_property
    def pictures(self) -> DataSet:
        return pictures.load(self.data)

    @cached_property
    def surveys(self) -> tuple[Survey, Survey]:
        """Of the training pictures and of those held out."""
        found, classes = self.pictures, len(self.pictures.classes)
        return survey(found.training, classes), survey(found.held_out, classes)

    @cached_property
    def weights(self) -> np.ndarray:
        """What a pixel of each class counts in the loss."""
        return pictures.class_weights(self.surveys[0].counts, self.data.class_weights)

    @cached_property
    def beginning(self) -> Start | None:
        """What training starts from, if not from random numbers."""
        return self.start.read(self.network, self.pictures)

    def model(self, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> FCN:
        found = self.pictures
        model = FCN(self.network, found.channels, len(found.classes), dtype=dtype, rngs=rngs)
        if self.beginning is not None:
            self.beginning.give(model)
        return model

    def loss(
        self, model: nnx.Module, batch: dict[str, jax.Array], rngs: nnx.Rngs
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        scores = cast(FCN, model)(batch["image"], rngs=rngs)
        counted = batch["label"] != IGNORE
        right = counted & (jnp.argmax(scores, axis=-1) == batch["label"])
        accuracy = jnp.sum(right, dtype=jnp.float32) / jnp.maximum(jnp.sum(counted, dtype=jnp.float32), 1)
        return cross_entropy(scores, batch["label"], self.weights), {"accuracy": accuracy}

    def batches(self, *, seed: int, shard: Shard) -> grain.DatasetIterator:
        return pictures.batches(self.pictures, self.data, seed=seed, shard=shard)

    def evaluate(self, model: nnx.Module, track: Track) -> dict[str, float]:
        found = self.pictures
        scores = evaluate(cast(FCN, model), found.held_out, len(found.classes), track=track)
        whole, boundary = scores.whole, scores.bands[BAND]
        return {
            "miou": whole.mean_iou,
            "pixel_accuracy": whole.accuracy,
            "boundary_miou": boundary.mean_iou,
        }

    def describe(self) -> dict[str, Any]:
        found = self.pictures
        return {
            **json.loads(json.dumps(asdict(self), default=str)),  # paths are strings there
            "name": found.name,
            "classes": list(found.classes),
            "channels": found.channels,
            "fingerprint": [part.fingerprint for part in self.surveys],
            "start_fingerprint": self.beginning.fingerprint if self.beginning else None,
        }


def cross_entropy(scores: jax.Array, label: jax.Array, weights: np.ndarray) -> jax.Array:
    """Mean of -log softmax(scores)[label] over the pixels whose label is not `IGNORE`.

    It is weighted, each pixel by the weight of its class. The loss of a batch without such pixels is zero.

    Args:
        scores: (n, height, width, classes).
        label: (n, height, width).
        weights: (classes,).
    """
    # A sum over classes: for a gather from a fixed table of places XLA's compiler computes the table itself,
    # pixel by pixel. The row of `IGNORE`, which is no class, is zero.
    one_hot = jax.nn.one_hot(label, scores.shape[-1], dtype=scores.dtype)
    loss = jax.nn.logsumexp(scores, axis=-1) - jnp.sum(scores * one_hot, axis=-1)
    weight = jnp.sum(one_hot * weights, axis=-1)
    total = jnp.sum(weight)
    return jnp.sum(weight * loss) / jnp.where(total > 0, total, 1)
