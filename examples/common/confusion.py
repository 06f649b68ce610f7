"""The confusion matrix of a classifier of images or of pixels, and what is read off it.

Counts are integers, so that sums over batches, devices and processes are exact in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


def count(
    truth: jax.Array | np.ndarray,
    predicted: jax.Array | np.ndarray,
    classes: int,
    *,
    ignore: int | None = None,
) -> jax.Array:
    """How often class `row` was predicted to be class `column`: (classes, classes) int32, under jit or not.

    Args:
        truth: labels of any shape. Those outside 0 to `classes` - 1 are not counted.
        predicted: of the same shape; from 0 to `classes` - 1.
        classes: number of classes.
        ignore: a label that is not counted although it is one of the classes.

    Example:
        >>> import jax.numpy as jnp
        >>> count(jnp.array([0, 1, 1, 255]), jnp.array([0, 0, 1, 1]), 2).tolist()
        [[1, 0], [1, 1]]
    """
    row, column = jnp.asarray(truth, jnp.int32), jnp.asarray(predicted, jnp.int32)
    counted = (row >= 0) & (row < classes)
    if ignore is not None:
        counted &= row != ignore
    cell = jnp.where(counted, row * classes + column, classes * classes)
    return jnp.bincount(cell.ravel(), length=classes * classes + 1)[:-1].reshape(classes, classes)


@dataclass(frozen=True)
class Metrics:
    """What a matrix of counts says; NaN where a class never occurs, and means are over the classes that do.

    With n[i, j] the counts, t[i] = Σ_j n[i, j] what is of class i and p[i] = Σ_j n[j, i] what is said to be:

        accuracy = Σ_i n[i, i] / Σ_i t[i]               of images or pixels
        recall[i] = n[i, i] / t[i]                      the class's accuracy
        precision[i] = n[i, i] / p[i]
        iou[i] = n[i, i] / (t[i] + p[i] - n[i, i])      intersection over union, Jaccard's index
        dice[i] = 2 n[i, i] / (t[i] + p[i])             F1
        frequency_weighted_iou = Σ_i t[i] iou[i] / Σ_i t[i]

    References:
        E. Shelhamer, J. Long, T. Darrell, Fully Convolutional Networks for Semantic Segmentation, TPAMI 2017,
        doi:10.1109/TPAMI.2016.2572683, section 5
    """

    matrix: np.ndarray
    """Rows are the truth, columns the prediction."""

    @property
    def _hits(self) -> np.ndarray:
        return np.diag(self.matrix)

    @property
    def truth(self) -> np.ndarray:
        return self.matrix.sum(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        return self.matrix.sum(axis=0)

    @property
    def accuracy(self) -> float:
        return float(_share(self._hits.sum(), self.matrix.sum()))

    @property
    def recall(self) -> np.ndarray:
        return _share(self._hits, self.truth)

    @property
    def precision(self) -> np.ndarray:
        return _share(self._hits, self.predicted)

    @property
    def iou(self) -> np.ndarray:
        return _share(self._hits, self.truth + self.predicted - self._hits)

    @property
    def dice(self) -> np.ndarray:
        return _share(2 * self._hits, self.truth + self.predicted)

    @property
    def mean_recall(self) -> float:
        return float(np.nanmean(self.recall))

    @property
    def mean_iou(self) -> float:
        return float(np.nanmean(self.iou))

    @property
    def frequency_weighted_iou(self) -> float:
        return float(_share(np.nansum(self.truth * self.iou), self.truth.sum()))


def by_class(values: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    """A number of each class by its name; None, as JSON has no NaN, where there is none."""
    return {
        name: None if np.isnan(value) else float(value) for name, value in zip(classes, values, strict=True)
    }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part) / np.asarray(whole)
