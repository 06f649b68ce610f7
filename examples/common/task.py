"""What an example gives to the training loop: a model, its loss, its data and its score.

A task is a frozen dataclass. Its fields, and those of the dataclasses in them, are the settings that the
command line and `config.yaml` have names for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

Track = Callable[[Iterable], Iterable]
"""Wraps the iterable of a loop in a progress display; `iter` is one that shows nothing."""


@dataclass(frozen=True)
class Shard:
    """One process's part of the data: of every global batch it makes `batch_size // count` examples."""

    index: int = 0
    count: int = 1


class Batches(Protocol):
    """An endless stream in which a batch is a function of the seed and its number alone.

    `grain.DatasetIterator` is one.
    """

    def __next__(self) -> dict[str, np.ndarray]:
        """Arrays whose leading axis counts this shard's examples."""
        ...

    def get_state(self) -> dict[str, Any]:
        """The position, as JSON."""
        ...

    def set_state(self, state: dict[str, Any]) -> None: ...


class Task(Protocol):
    """A frozen dataclass with these methods."""

    @property
    def score(self) -> str:
        """Which of `evaluate`'s values ranks checkpoints; larger is better."""
        ...

    @property
    def batch_size(self) -> int:
        """Examples per step, over all devices of all processes."""
        ...

    def model(self, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Module:
        """The untrained model: its parameters are float32, its layers compute in `dtype`.

        Dropout takes the `rngs` it is called with, and keeps no stream in the module.
        """
        ...

    def loss(
        self, model: nnx.Module, batch: dict[str, jax.Array], rngs: nnx.Rngs
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean loss of a batch in training mode, float32, and further means worth a record.

        `rngs` is a function of the seed and the step.
        """
        ...

    def batches(self, *, seed: int, shard: Shard) -> Batches: ...

    def evaluate(self, model: nnx.Module, track: Track) -> dict[str, float]:
        """Measures held-out data with the averaged parameters, in evaluation mode, on one device.

        With several processes each of them does the same.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """All settings of model and data and a fingerprint of the data, as JSON: what the run is."""
        ...
