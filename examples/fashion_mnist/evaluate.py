"""What a trained network answers to images it never saw, and how often that is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.table import Table

from ..common.confusion import Metrics, by_class, count
from ..common.task import Track
from .data import Images, to_input

BATCH = 500


@nnx.jit
def _logits(model: nnx.Module, x: np.ndarray) -> jax.Array:
    return model(x)  # pyright: ignore[reportCallIssue]


def predict(model: nnx.Module, images: np.ndarray, *, track: Track = iter) -> np.ndarray:
    """Logits (n, classes) of 8-bit images (n, height, width), by a model in evaluation mode.

    A batch has one size, the last one too, so that one program is compiled.
    """
    parts = []
    for start in track(range(0, len(images), BATCH)):
        part = images[start : start + BATCH]
        filled = np.pad(part, ((0, BATCH - len(part)), (0, 0), (0, 0)))
        parts.append(np.asarray(_logits(model, to_input(filled)))[: len(part)])
    return np.concatenate(parts)


def accuracy(model: nnx.Module, data: Images, *, track: Track = iter) -> float:
    return float(np.mean(predict(model, data.images, track=track).argmax(axis=-1) == data.labels))


@dataclass(frozen=True)
class Results:
    """The answers of one checkpoint to the test images of a data set."""

    title: str
    step: int
    classes: tuple[str, ...]
    metrics: Metrics

    @classmethod
    def of(
        cls, title: str, step: int, classes: Sequence[str], labels: np.ndarray, logits: np.ndarray
    ) -> "Results":
        matrix = np.asarray(count(labels, logits.argmax(axis=-1), len(classes)))
        return cls(title, step, tuple(classes), Metrics(matrix))

    def table(self) -> Table:
        result = Table(
            "class", title=self.title, caption=f"{100 * self.metrics.accuracy:.2f} % of all are right"
        )
        for column in ("images", "right, %", "precision, %", "F1, %"):
            result.add_column(column, justify="right")
        result.add_column("most often taken for")
        metrics = self.metrics
        for number, name in enumerate(self.classes):
            shares = (metrics.recall, metrics.precision, metrics.dice)
            result.add_row(
                name,
                str(metrics.truth[number]),
                *("" if np.isnan(share[number]) else f"{100 * share[number]:.1f}" for share in shares),
                self._mistake(number),
            )
        return result

    def _mistake(self, number: int) -> str:
        others = self.metrics.matrix[number].copy()
        others[number] = 0
        return f"{self.classes[others.argmax()]} ({others.max()})" if others.any() else "none"

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "step": self.step,
            "images": int(self.metrics.truth.sum()),
            "accuracy": self.metrics.accuracy,
            "accuracy_of_class": by_class(self.metrics.recall, self.classes),
            "confusion": self.metrics.matrix.tolist(),
        }
