"""What every source of pictures gives: pairs of an image and its labels, in two parts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np

# The label of pixels that count neither in the loss nor in a score; it is also what a crop is padded with.
IGNORE = 255


class Pair(NamedTuple):
    """A picture and what each of its pixels shows.

    Attributes:
        name: for messages and figures.
        image: (height, width, channels), uint8 or float32 in [0, 1].
        label: (height, width) uint8, a class number or `IGNORE`.
    """

    name: str
    image: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class DataSet:
    """A data set in its two parts. A part may be read from disk as it is indexed.

    Attributes:
        name: of the source. classes: their names, by number; 0 is the background. training: what is learned
        from. held_out: what is measured. upright: whether up is a direction that means something: then
        pictures are mirrored left to right only. note: what to know about the labels and the split when a
        score is stated.
    """

    name: str
    classes: tuple[str, ...]
    training: Sequence[Pair]
    held_out: Sequence[Pair]
    upright: bool
    note: str

    @property
    def channels(self) -> int:
        return self.training[0].image.shape[2]


class Survey(NamedTuple):
    """What one pass over pairs tells.

    Attributes:
        counts: (pairs, classes) int64, pixels of each class in each picture.
        fingerprint: changes when any pixel or label does.
    """

    counts: np.ndarray
    fingerprint: str


def survey(pairs: Sequence[Pair], classes: int, *, track: Callable[[Iterable], Iterable] = iter) -> Survey:
    """Counts labels and takes the fingerprint; `track` wraps the loop in a progress display.

    Raises:
        ValueError: a label is neither a class nor `IGNORE`.
    """
    counts, digest = np.zeros((len(pairs), classes), np.int64), sha256()
    for row, pair in enumerate(track(pairs)):
        found = np.bincount(pair.label.ravel(), minlength=IGNORE + 1)
        foreign = np.flatnonzero(found[classes:IGNORE]) + classes
        if foreign.size:
            raise ValueError(
                f"{pair.name} has label {foreign[0]}, but there are {classes} classes from 0 and {IGNORE} to"
                " ignore: name more classes or mend the labels"
            )
        counts[row] = found[:classes]
        for array in (pair.image, pair.label):
            digest.update(f"{array.shape} {array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return Survey(counts, digest.hexdigest())


def white(image: np.ndarray) -> np.float32:
    """The number that stands for white."""
    return np.float32(255 if image.dtype == np.uint8 else 1)


def to_input(image: np.ndarray) -> np.ndarray:
    """What the network takes: float32 in [0, 1]."""
    return image.astype(np.float32) / white(image)
