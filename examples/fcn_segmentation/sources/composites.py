"""Animals, food, plants and vehicles cut out and laid over photographs: composites, with exact labels.

The cut-outs are the photo-like stamps of Debian's tuxpaint-stamps-default, a class per folder; its drawings,
in folders named cartoon, are left out. A pixel belongs to the topmost cut-out that covers at least half of
it. These are no photographs: a frog on the moon is in no camera's statistics, and a cut-out's outline may
give it away. A score tells how networks compare, not how they would do on photographs.

Split by stamp file and by photograph. Files of one subject (pig and pig_golden2, dumper and its mirror image)
count as one and stay together; of each class every fourth subject, by name, is held out, in all 63 of 236
stamps.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..dataset import DataSet, Pair
from . import photographs

CLASSES = ("animals", "food", "plants", "vehicles")
STAMPS = Path("/usr/share/tuxpaint/stamps")
HOW_TO_GET_IT = (
    "apt install tuxpaint-stamps-default, or apt download it, unpack it with dpkg-deb -x and name the folder"
    " usr/share/tuxpaint/stamps in it"
)
DRAWINGS = "cartoon"
HELD_OUT_EVERY = 4
# Longest side as it is kept in memory: enough for the largest that pictures of common sizes show.
_LARGEST = 256
_MOST_SHOWN = 4


class Stamp(NamedTuple):
    """A cut-out with alpha and its class."""

    label: int
    picture: Image.Image


def load(folder: Path | None, backgrounds: Path | None, *, images: int, size: int, seed: int) -> DataSet:
    """Composites, each a function of the seed and its number.

    Args:
        folder: holds one folder of stamps per class; Debian's place if None.
        backgrounds: a folder of photographs; those in the scikit-image wheel if None.
        images: how many to train on; a fifth as many are held out.
        size: side of the pictures in pixels.
        seed: of everything that is random.

    Raises:
        ValueError: there are too few stamps or photographs.
    """
    paths, scenes = split(folder or STAMPS), photographs.load(backgrounds)

    def part(number: int, name: str, count: int) -> list[Pair]:
        stamps = [
            [_read(path, label) for path in of_class] for label, of_class in enumerate(paths[number], 1)
        ]
        return [
            compose(stamps, scenes[number], f"{name} {i}", size, np.random.default_rng([seed, number, i]))
            for i in range(count)
        ]

    return DataSet(
        name="composites",
        classes=("background", *CLASSES),
        training=part(0, "training composite", images),
        held_out=part(1, "held-out composite", max(1, images // 5)),
        upright=True,
        note="cut-outs pasted over photographs; held-out ones show other stamps over other photographs",
    )


def split(folder: Path) -> tuple[list[list[Path]], list[list[Path]]]:
    """Paths of the stamps of each class to train on, and likewise to hold out."""
    training, held_out = [], []
    for name in CLASSES:
        subjects = defaultdict(list)
        for path in sorted((folder / name).rglob("*.png")):
            if DRAWINGS not in path.relative_to(folder).parts:
                subjects[subject(path.stem)].append(path)
        if len(subjects) < HELD_OUT_EVERY:
            raise ValueError(f"{len(subjects)} kinds of stamps in {folder / name}: {HOW_TO_GET_IT}")
        held = set(sorted(subjects)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY])
        training.append([path for kind in subjects if kind not in held for path in subjects[kind]])
        held_out.append([path for kind in subjects if kind in held for path in subjects[kind]])
    return training, held_out


def subject(stem: str) -> str:
    """What a stamp shows by its file's name, up to the first separator or number.

    >>> [subject(stem) for stem in ("pig_golden2", "gnu-baby", "flower10", "7spoke256", "747")]
    ['pig', 'gnu', 'flower', '7spoke', '747']
    """
    found = re.match(r"\d*[a-z]+|\d+", stem.lower())
    return found.group() if found else stem


def _read(path: Path, label: int) -> Stamp:
    try:
        with Image.open(path) as image:
            picture = image.convert("RGBA")
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise ValueError(f"cannot read the stamp {path} ({error}): replace or remove it") from error
    picture = picture.crop(picture.getchannel("A").getbbox())
    picture.thumbnail((_LARGEST, _LARGEST))
    return Stamp(label, picture)


def compose(
    stamps: Sequence[Sequence[Stamp]],
    scenes: Sequence[np.ndarray],
    name: str,
    size: int,
    rng: np.random.Generator,
) -> Pair:
    """One to four stamps over a piece of a photograph, all classes equally likely."""
    pixels, label = photographs.piece(scenes, size, rng), np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(1, _MOST_SHOWN + 1)):
        of_class = stamps[int(rng.integers(len(stamps)))]
        stamp = of_class[int(rng.integers(len(of_class)))]
        _lay(pixels, label, _vary(stamp.picture, size, rng), stamp.label, rng)
    return Pair(name, np.clip(np.round(pixels), 0, 255).astype(np.uint8), label)


def _vary(picture: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """RGBA, mirrored, tilted by up to 15 degrees, its longest side 0.3 to 0.75 of the picture's."""
    scale = size * rng.uniform(0.3, 0.75) / max(picture.size)
    if rng.integers(0, 2):
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
    # Pillow rotates colour and alpha apart: on "RGBa" colour weighs as much as it covers.
    tilted = picture.convert("RGBa").rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
    return np.asarray(tilted, np.float32)


def _lay(
    pixels: np.ndarray, label: np.ndarray, stamp: np.ndarray, number: int, rng: np.random.Generator
) -> None:
    """Puts a stamp (colour times alpha, alpha) where its middle is in the picture."""
    size, (height, width) = label.shape[0], stamp.shape[:2]
    top, left = (int(rng.integers(0, size)) - side // 2 for side in (height, width))
    rows = slice(max(0, top), min(size, top + height))
    columns = slice(max(0, left), min(size, left + width))
    shown = stamp[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    alpha = shown[..., 3:] / 255
    pixels[rows, columns] = shown[..., :3] + pixels[rows, columns] * (1 - alpha)
    label[rows, columns][alpha[..., 0] >= 0.5] = number
