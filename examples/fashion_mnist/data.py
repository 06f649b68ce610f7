"""Fashion-MNIST, any folder of IDX files like it, or scikit-learn's digits; an endless stream of batches."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

import grain
import numpy as np

from ..common.idx import read_idx
from ..common.task import Shard

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
HOW_TO_GET_IT = "apt install dataset-fashion-mnist (Debian, Ubuntu), or name a folder with its four IDX files"
# Fashion-MNIST is known by its 10,000 test labels, wherever it lies and however it is packed.
FASHION_TEST_LABELS = "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9"
FASHION, DIGITS = "Fashion-MNIST", "scikit-learn's digits"
FASHION_CLASSES = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and how they are varied."""

    data: Path | None = None
    """Folder of the four IDX files, in gzip or not. Without it: Debian's Fashion-MNIST if it is installed,
    else the 8x8 digits of scikit-learn."""
    validation: float = 0.05
    """Share of the training images, the last ones, that is measured during training instead of learned from.
    The test images are for `evaluate` alone."""
    shift: int = 1
    """Training images are moved by up to this many pixels in each direction, black moves in."""
    flip: Literal["auto", "always", "never"] = "auto"
    """Whether half of the training images, at random, are mirrored left to right. auto does it to those of
    Fashion-MNIST: a shirt remains a shirt, but a digit would become another sign."""
    batch_size: int = 32
    """Images per step, over all devices together."""


class Images(NamedTuple):
    """Grey images (n, height, width) of 8 bits with their labels (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def part(self, which: slice) -> "Images":
        return Images(self.images[which], self.labels[which])


@dataclass(frozen=True)
class DataSet:
    """A data set in its three parts."""

    name: str
    classes: tuple[str, ...]
    training: Images
    validation: Images
    test: Images

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.training.images.shape[1:]
        return height, width

    def __str__(self) -> str:
        height, width = self.size
        training, validation, test = (
            len(part.labels) for part in (self.training, self.validation, self.test)
        )
        counts = f"{training} images to learn from, {validation} for validation, {test} for the test"
        text = f"{self.name}: {counts}, {height}x{width} pixels, {len(self.classes)} classes"
        return f"{text}; for Fashion-MNIST: {HOW_TO_GET_IT}" if self.name == DIGITS else text

    @property
    def fingerprint(self) -> str:
        """Changes when any pixel or label does."""
        digest = sha256()
        for array in (*self.training, *self.validation, *self.test):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def load(config: DataConfig) -> DataSet:
    """Reads the data set of the configuration.

    Raises:
        ValueError: a file is missing or damaged, or images and labels do not belong together.
    """
    if not 0 < config.validation < 1:
        raise ValueError(f"validation={config.validation} must be a share between 0 and 1, for example 0.05")
    if config.shift < 0 or config.batch_size < 1:
        raise ValueError(
            f"shift={config.shift} must be at least 0, batch_size={config.batch_size} at least 1"
        )
    if config.data is None and not DEBIAN.is_dir():
        name, (training, test) = DIGITS, _digits()
    else:
        folder = DEBIAN if config.data is None else config.data
        name, (training, test) = str(folder), (read_pair(folder, part) for part in ("train", "t10k"))
    if training.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"{name}: training images are {training.images.shape[1:]}, test images {test.images.shape[1:]}"
        )
    if len(training.labels) < 2:
        raise ValueError(f"{name} has one training image: one to learn from and one to validate are needed")
    highest = int(max(training.labels.max(), test.labels.max()))
    classes = tuple(str(label) for label in range(highest + 1))
    if sha256(test.labels.tobytes()).hexdigest() == FASHION_TEST_LABELS:
        name, classes = FASHION, FASHION_CLASSES
    held_out = min(max(1, round(len(training.labels) * config.validation)), len(training.labels) - 1)
    first, last = training.part(slice(-held_out)), training.part(slice(-held_out, None))
    return DataSet(name, classes, first, last, test)


def read_pair(folder: Path, part: str) -> Images:
    """Images and labels of one part, "train" or "t10k", of a folder of IDX files.

    Raises:
        ValueError: a file is missing or damaged, or the two do not belong together.
    """
    images, labels = _find(folder, f"{part}-images", 3), _find(folder, f"{part}-labels", 1)
    pair = Images(read_idx(images), read_idx(labels))
    for array, path, rank in (pair.images, images, 3), (pair.labels, labels, 1):
        if array.ndim != rank or array.dtype != np.uint8:
            raise ValueError(f"{path} holds {array.dtype} of shape {array.shape}, not {rank} axes of uint8")
    if len(pair.images) != len(pair.labels) or not pair.images.size:
        raise ValueError(
            f"{images} holds images of shape {pair.images.shape}, {labels} {len(pair.labels)} labels"
        )
    return pair


def _find(folder: Path, start: str, rank: int) -> Path:
    """The usual names: the published ones, and those of programs that unpack them with a dot."""
    names = [f"{start}{dash}idx{rank}-ubyte{suffix}" for dash in "-." for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"no {names[0]} or {names[1]} in {folder}; {HOW_TO_GET_IT}")


def _digits() -> tuple[Images, Images]:
    """scikit-learn's 1797 images of four bits; the last 297 are for the test."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError(f"neither Fashion-MNIST nor scikit-learn is installed: {HOW_TO_GET_IT}") from error
    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    digits = Images(images, labels.astype(np.uint8))
    return digits.part(slice(1500)), digits.part(slice(1500, None))


class Stream:
    """Batch `index` of an endless stream, as a function of the seed and that number alone.

    Each epoch is a new order of all images; a batch may hold the end of one epoch and the start of the next.
    Random choices are those of the global batch: the stream is the same for every number of processes.
    """

    def __init__(self, images: Images, config: DataConfig, *, flip: bool, seed: int, shard: Shard):
        self.images, self.size = images, config.batch_size
        self.shift, self.flip, self.seed = config.shift, flip, seed
        own = config.batch_size // shard.count
        self.own = slice(shard.index * own, (shard.index + 1) * own)
        self.order = lru_cache(maxsize=2)(self._order)

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        place = index * self.size + np.arange(self.size)
        epochs, ranks = np.divmod(place, len(self.images.labels))
        chosen = np.array([self.order(int(epoch))[rank] for epoch, rank in zip(epochs, ranks, strict=True)])
        rng = np.random.default_rng([self.seed, 1, index])
        top, left = rng.integers(0, 2 * self.shift + 1, (2, self.size))
        mirror = rng.integers(0, 2, self.size) * self.flip
        own = self.own
        pixels = shifted(self.images.images[chosen[own]], top[own], left[own], self.shift)
        pixels = np.where(mirror[own, None, None] == 1, pixels[..., ::-1], pixels)
        return {"image": to_input(pixels), "label": self.images.labels[chosen[own]].astype(np.int32)}

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.images.labels))


def shifted(images: np.ndarray, top: np.ndarray, left: np.ndarray, shift: int) -> np.ndarray:
    """Each image of (n, height, width) seen through a window whose corner is `top`, `left` of the image in a
    frame of `shift` black pixels: `shift` is the image where it was."""
    framed = np.pad(images, ((0, 0), (shift, shift), (shift, shift)))
    windows = np.lib.stride_tricks.sliding_window_view(framed, images.shape[1:], axis=(1, 2))
    return windows[np.arange(len(images)), top, left]


def to_input(images: np.ndarray) -> np.ndarray:
    """What the network takes: (n, height, width, 1) in [0, 1]."""
    return images[..., None].astype(np.float32) / 255


def batches(data: DataSet, config: DataConfig, *, seed: int, shard: Shard) -> grain.DatasetIterator:
    """An endless iterator of {"image": (batch, height, width, 1), "label": (batch,)}, this shard's part.

    The iterator's state is the number of the next batch. Two threads make batches while the device computes.
    """
    flip = config.flip == "always" or (config.flip == "auto" and data.name == FASHION)
    stream = grain.MapDataset.source(Stream(data.training, config, flip=flip, seed=seed, shard=shard))
    return iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))
