"""What a trained network says of pictures it never saw, and how much of that is right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..common.confusion import Metrics, by_class
from ..common.task import Track
from .dataset import Pair, to_input
from .metrics import Tally, only_boundary, summary
from .model import FCN

# Widths of boundary bands in pixels; where one number is stated it is that of `BAND`.
BANDS = (1, 2, 3, 5, 10)
BAND = 3


@nnx.jit
def _best(model: FCN, x: jax.Array) -> jax.Array:
    return jnp.argmax(model(x[None])[0], axis=-1).astype(jnp.uint8)


def predict(model: FCN, image: np.ndarray) -> np.ndarray:
    """The class of each pixel, (height, width) uint8, of an image (height, width, channels) of any size.

    The image goes through the network as it is; a new size is a new compilation.
    """
    return np.asarray(_best(model, jnp.asarray(to_input(image))))


class Scores(NamedTuple):
    """Metrics over all pixels, and over those in the boundary bands of some widths."""

    whole: Metrics
    bands: dict[int, Metrics]


def evaluate(
    model: FCN,
    pairs: Iterable[Pair],
    classes: int,
    *,
    bands: Sequence[int] = (BAND,),
    track: Track = iter,
) -> Scores:
    """Scores of a network in evaluation mode."""
    whole, within = Tally(classes), {width: Tally(classes) for width in bands}
    for pair in track(pairs):
        predicted = predict(model, pair.image)
        whole.add(pair.label, predicted)
        for width, counts in within.items():
            counts.add(only_boundary(pair.label, width), predicted)
    return Scores(whole.metrics(), {width: counts.metrics() for width, counts in within.items()})


@dataclass(frozen=True)
class Results:
    """The scores of one checkpoint on a data set."""

    title: str
    step: int
    classes: tuple[str, ...]
    note: str
    scores: Scores

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "step": self.step,
            "note": self.note,
            **self._numbers(self.scores.whole),
            "boundary": {str(width): self._numbers(found) for width, found in self.scores.bands.items()},
            "confusion": self.scores.whole.matrix.tolist(),
        }

    def _numbers(self, metrics: Metrics) -> dict[str, Any]:
        return {**summary(metrics), "iou": by_class(metrics.iou, self.classes)}
