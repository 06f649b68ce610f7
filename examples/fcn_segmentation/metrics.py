"""How well pixels are classified: all of them, and those near the boundaries, where strides show."""

from collections.abc import Iterable
from functools import partial

import jax
import numpy as np
from scipy.ndimage import distance_transform_edt

from ..common.confusion import Metrics, count
from .dataset import IGNORE

# Pictures of many sizes are counted by few compiled programs: pixels are filled up to a multiple of this.
_PIECE = 1 << 16


class Tally:
    """Counts pictures one by one, exactly: in int32 on the device, of one picture, and in int64 over all.

    A confusion matrix that was counted by a program of one's own, over a sharded batch for instance, is added
    by `add_matrix`.
    """

    def __init__(self, classes: int):
        self.matrix = np.zeros((classes, classes), np.int64)
        self._count = jax.jit(partial(count, classes=classes, ignore=IGNORE))

    def add(self, label: np.ndarray, predicted: np.ndarray) -> None:
        """Counts the pixels of a picture or a batch whose label is not `IGNORE`."""
        if label.shape != predicted.shape:
            raise ValueError(
                f"labels are {label.shape}, predictions {predicted.shape}: they must be of one shape"
            )
        fill = -label.size % _PIECE
        truth = np.pad(label.ravel().astype(np.int32), (0, fill), constant_values=IGNORE)
        self.add_matrix(self._count(truth, np.pad(predicted.ravel().astype(np.int32), (0, fill))))

    def add_matrix(self, matrix: np.ndarray | jax.Array) -> None:
        self.matrix += np.asarray(matrix)

    def metrics(self) -> Metrics:
        return Metrics(self.matrix)


def tally(
    results: Iterable[tuple[np.ndarray, np.ndarray]], classes: int, *, width: float | None = None
) -> Metrics:
    """Metrics over all (label, prediction) pairs; with `width` over their boundary bands alone."""
    total = Tally(classes)
    for label, predicted in results:
        total.add(label if width is None else only_boundary(label, width), predicted)
    return total.metrics()


def summary(metrics: Metrics) -> dict[str, float]:
    """The four numbers of the paper, by their names there, and the mean Dice.

    A class that is neither in a label nor in a prediction has no IoU and no Dice; one that is in no label has
    no accuracy. They are left out of the means. A class that is predicted but in no label has an IoU and a
    Dice of 0.
    """
    return {
        "pixel_accuracy": metrics.accuracy,
        "mean_accuracy": metrics.mean_recall,
        "miou": metrics.mean_iou,
        "fwiou": metrics.frequency_weighted_iou,
        "mean_dice": float(np.nanmean(metrics.dice)),
    }


def only_boundary(label: np.ndarray, width: float) -> np.ndarray:
    """The label with `IGNORE` everywhere but in the boundary band, the trimap of segmentation papers.

    The band holds the pixels whose centre is less than `width` pixels from that of a boundary pixel, one with
    a neighbour (above, below, left or right) of another class: with width=1 the boundary pixels of both
    sides, and about 2 · width pixels across in general. Pixels to ignore count as the class nearest to them:
    where labels are separated by a strip to ignore, as in PASCAL VOC, the boundary runs in its middle, and
    where the picture's edge is ignored there is none.

    Example:
        >>> only_boundary(np.array([[0, 0, 0, 0, 1, 1, 1, 1]]), width=2)
        array([[255, 255,   0,   0,   1,   1, 255, 255]])

    References:
        P. Kohli, L. Ladický, P. Torr, "Robust Higher Order Potentials for Enforcing Label Consistency",
        IJCV 2009, doi:10.1007/s11263-008-0202-0, section 6.2 (evaluation in a trimap)
    """
    ignored = label == IGNORE
    if ignored.all():
        return label
    boundary = boundaries(_filled(label) if ignored.any() else label)
    if not boundary.any():
        return np.full_like(label, IGNORE)
    distance = np.asarray(distance_transform_edt(~boundary))
    return np.where(distance < width, label, np.full_like(label, IGNORE))


def _filled(label: np.ndarray) -> np.ndarray:
    nearest = distance_transform_edt(label == IGNORE, return_distances=False, return_indices=True)
    return label[tuple(nearest)]  # pyright: ignore[reportArgumentType]  (its stub forgets that option)


def boundaries(label: np.ndarray) -> np.ndarray:
    """True at pixels with a neighbour above, below, left or right of another class."""
    boundary = np.zeros(label.shape, bool)
    down, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
    boundary[1:] |= down
    boundary[:-1] |= down
    boundary[:, 1:] |= right
    boundary[:, :-1] |= right
    return boundary
