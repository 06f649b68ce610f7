"""Photographs, split whole into training and held-out ones, and an endless stream of patches of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import grain
import numpy as np

from ..common.task import Shard
from . import images
from .imresize import imresize

# In every scikit-image wheel. The two motorcycles are one scene from two places: they stay on the same side.
SKIMAGE_HELD_OUT = ("astronaut.png", "coffee.png", "camera.png", "chelsea.png")
SKIMAGE_TRAINING = (
    *("brick.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
    *("motorcycle_left.png", "motorcycle_right.png", "page.png", "retina.jpg", "rocket.jpg", "text.png"),
)
# Where Debian's mate-backgrounds and lomiri-wallpapers-16.04 put theirs.
DEBIAN_FOLDERS = (Path("/usr/share/backgrounds/mate/nature"), Path("/usr/share/backgrounds"))
DEBIAN_NO_PHOTOGRAPH = "analogpattern"


@dataclass(frozen=True)
class DataConfig:
    """Where photographs come from and how they are cut."""

    data: str = "skimage"
    """Photographs: "skimage" (in the scikit-image wheel), "debian" (/usr/share/backgrounds), or a folder."""
    holdout: float = 0.2
    """Share of a folder's photographs held out of training: the last ones by name, so that a burst of shots
    stays together. The skimage set has a fixed split."""
    halve_jpeg: bool = True
    """Shrink JPEG files 2x first: it removes most of the blocks and ringing that JPEG leaves behind."""
    patch: int = 24
    """Side of a training patch in low-resolution pixels."""
    flat: float = 0.01
    """Leave out places where neighbouring pixels differ by less than this on average (white is 1)."""
    batch_size: int = 16
    """Patches per step, over all devices together."""


class Photo(NamedTuple):
    """One photograph's luma over 255, cropped to a multiple of the scale, and its bicubic reduction."""

    name: str
    high: np.ndarray
    low: np.ndarray


class Tile(NamedTuple):
    """The upper left corner of a patch, in low-resolution pixels of photograph number `photo`."""

    photo: int
    top: int
    left: int


def find(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """Paths of the training and of the held-out photographs."""
    if config.data == "skimage":
        return _skimage(SKIMAGE_TRAINING), _skimage(SKIMAGE_HELD_OUT)
    paths = _debian() if config.data == "debian" else list_folder(Path(config.data))
    if not 0 < config.holdout < 1:
        raise ValueError(f"holdout={config.holdout} must be a share between 0 and 1, for example 0.2")
    if len(paths) < 2:
        raise ValueError(
            f"{config.data} holds one photograph; at least one to train and one to hold out are needed"
        )
    held_out = min(max(1, round(len(paths) * config.holdout)), len(paths) - 1)
    return paths[:-held_out], paths[-held_out:]


def list_folder(folder: Path) -> list[Path]:
    """The image files of a folder by name.

    Raises:
        ValueError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise ValueError(
            f"no folder {str(folder)!r}; give skimage, debian or an existing folder of photographs"
        )
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in images.SUFFIXES)
    if not paths:
        raise ValueError(f"no photographs in {folder}: it needs files named {', '.join(images.SUFFIXES)}")
    return paths


def _skimage(names: Sequence[str]) -> list[Path]:
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"this scikit-image brings no {', '.join(missing)}: name a folder of photographs instead"
        )
    return [folder / name for name in names]


def _debian() -> list[Path]:
    folders = [folder for folder in DEBIAN_FOLDERS if folder.is_dir()]
    paths = [
        path
        for folder in folders
        for path in sorted(folder.glob("*.jpg"))
        if not path.name.startswith(DEBIAN_NO_PHOTOGRAPH)
    ]
    if not paths:
        raise ValueError(
            "no photographs in /usr/share/backgrounds: install Debian's mate-backgrounds or"
            " lomiri-wallpapers-16.04, or name a folder of photographs"
        )
    return paths


def read_pixels(path: Path, *, scale: int, halve_jpeg: bool) -> np.ndarray:
    """A photograph in [0, 1], cropped on the right and below to a multiple of the scale."""
    pixels = images.read(path).pixels
    if halve_jpeg and path.suffix.lower() in (".jpg", ".jpeg"):
        pixels = imresize(pixels, Fraction(1, 2))
    height, width = (side // scale * scale for side in pixels.shape[:2])
    return pixels[:height, :width]


def load_photo(path: Path, *, scale: int, minimum: int, halve_jpeg: bool) -> Photo:
    """Reads one photograph; `minimum` is the smallest low-resolution side that will do."""
    y = images.luma(read_pixels(path, scale=scale, halve_jpeg=halve_jpeg)) / 255
    if min(y.shape) < minimum * scale:
        raise ValueError(
            f"{path} is too small: {y.shape[0]}x{y.shape[1]} pixels, at scale {scale} it needs"
            f" {minimum * scale} on each side; remove it or lower the patch size"
        )
    return Photo(path.name, y.astype(np.float32), imresize(y, Fraction(1, scale)).astype(np.float32))


def load(paths: Sequence[Path], config: DataConfig, scale: int) -> list[Photo]:
    """Reads photographs from which patches can be cut."""
    if config.patch < 8:
        raise ValueError(f"patch={config.patch} is smaller than what the network looks at: use 8 or more")
    return [
        load_photo(path, scale=scale, minimum=config.patch, halve_jpeg=config.halve_jpeg) for path in paths
    ]


def fingerprint(photos: Sequence[Photo]) -> str:
    """Changes when any pixel of any photograph does."""
    digest = sha256()
    for photo in photos:
        digest.update(str(photo.high.shape).encode())
        digest.update(photo.high.tobytes())
    return digest.hexdigest()


def tiles(photos: Sequence[Photo], config: DataConfig) -> list[Tile]:
    """Half-overlapping places to cut patches from, without those that show nothing (sky teaches no edges)."""
    size, stride = config.patch, max(1, config.patch // 2)
    found = []
    for number, photo in enumerate(photos):
        for top in range(0, photo.low.shape[0] - size + 1, stride):
            for left in range(0, photo.low.shape[1] - size + 1, stride):
                patch = photo.low[top : top + size, left : left + size]
                contrast = np.abs(np.diff(patch, axis=0)).mean() + np.abs(np.diff(patch, axis=1)).mean()
                if contrast > config.flat:
                    found.append(Tile(number, top, left))
    if not found:
        raise ValueError(f"every patch of {len(photos)} photographs is flat: lower flat={config.flat}")
    return found


class Cut:
    """Cuts a pair of patches near a tile and turns it into one of its eight mirror images."""

    def __init__(self, photos: Sequence[Photo], config: DataConfig, scale: int):
        self.photos, self.size, self.scale = photos, config.patch, scale

    def __call__(self, tile: Tile, rng: np.random.Generator) -> dict[str, np.ndarray]:
        photo, size, scale = self.photos[tile.photo], self.size, self.scale
        down, right = rng.integers(0, max(1, size // 2), 2)
        top = min(tile.top + int(down), photo.low.shape[0] - size)
        left = min(tile.left + int(right), photo.low.shape[1] - size)
        low = photo.low[top : top + size, left : left + size]
        high = photo.high[top * scale : (top + size) * scale, left * scale : (left + size) * scale]
        turns, mirror = int(rng.integers(0, 4)), 1 - 2 * int(rng.integers(0, 2))
        return {
            name: np.rot90(p, turns)[:, ::mirror, None].copy() for name, p in (("low", low), ("high", high))
        }


def batches(
    photos: Sequence[Photo], config: DataConfig, *, scale: int, seed: int, shard: Shard
) -> grain.DatasetIterator:
    """An endless iterator of this shard's {"low": (batch, p, p, 1), "high": (batch, p·scale, p·scale, 1)}.

    A batch is a function of the seed and its number alone, and the iterator's state is that number
    (`get_state`, `set_state`). Two threads cut the next batches while the device computes.
    """
    stream = (
        grain.MapDataset.source(tiles(photos, config))
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(Cut(photos, config, scale))[shard.index :: shard.count]
        .batch(config.batch_size // shard.count)
    )
    return iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))
