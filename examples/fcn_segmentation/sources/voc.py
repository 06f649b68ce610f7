"""A folder laid out as PASCAL VOC's: any data set brought into that layout can be trained on.

    JPEGImages/NAME.jpg                     the picture (.jpeg and .png will do)
    SegmentationClass/NAME.png              its labels: a palette or grey PNG whose pixels are class numbers,
                                            0 the background, 255 to ignore
    ImageSets/Segmentation/{train,val}.txt  the names to train on and to hold out, one on a line
    classes.txt                             the classes' names, background first, one on a line; without it
                                            classes are called by their number

Pictures are read as they are needed, so that a data set may be larger than memory.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from ..dataset import IGNORE, DataSet, Pair

LISTS = Path("ImageSets/Segmentation")
SUFFIXES = (".jpg", ".jpeg", ".png")


class Pairs(Sequence[Pair]):
    """The pairs of a list of names, read from disk at every index."""

    def __init__(self, folder: Path, names: Sequence[str]):
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "Pairs": ...
    def __getitem__(self, index: int | slice) -> "Pair | Pairs":
        if isinstance(index, slice):
            return Pairs(self.folder, self.names[index])
        return read(self.folder, self.names[index])


def load(folder: Path, *, track: Callable[[Iterable], Iterable] = iter) -> DataSet:
    """Reads every pair once, to leave out those that cannot be read, with one warning that names them.

    Raises:
        ValueError: there is no such folder, a list is missing, or none of its pictures can be read.
    """
    if not folder.is_dir():
        raise ValueError(
            f"no folder {str(folder)!r}; give the name of a source or an existing folder like VOC's"
        )
    names = [name for part in ("train", "val") for name in _listed(folder, part)]
    highest, faults = 0, {}
    for name in track(names):
        try:
            label = read(folder, name).label
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise on damaged bytes
            faults[name] = str(error)
        else:
            highest = max(highest, int(label[label != IGNORE].max(initial=0)))
    if faults:
        which = "; ".join(f"{name} ({reason})" for name, reason in faults.items())
        warnings.warn(f"left out {len(faults)} of {len(names)} pictures in {folder}: {which}", stacklevel=2)

    def part(name: str) -> Pairs:
        listed = _listed(folder, name)
        good = [name for name in listed if name not in faults]
        if not good:
            raise ValueError(
                f"none of the {len(listed)} pictures of {name}.txt in {folder} can be read: mend them"
            )
        return Pairs(folder, good)

    return DataSet(
        name=str(folder),
        classes=_classes(folder, highest + 1),
        training=part("train"),
        held_out=part("val"),
        upright=True,
        note="split by the folder's own lists train.txt and val.txt",
    )


def _listed(folder: Path, part: str) -> list[str]:
    path = folder / LISTS / f"{part}.txt"
    names = path.read_text().split() if path.is_file() else []
    if not names:
        raise ValueError(
            f"no pictures listed in {path}: write there the names of the pictures in JPEGImages/, one on a"
            " line, without .jpg"
        )
    return names


def _classes(folder: Path, found: int) -> tuple[str, ...]:
    path = folder / "classes.txt"
    if not path.is_file():
        return tuple(str(number) for number in range(max(2, found)))
    names = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    if len(names) < found:
        raise ValueError(f"{path} names {len(names)} classes, but labels go up to {found - 1}: name {found}")
    return names


def read(folder: Path, name: str) -> Pair:
    """One picture, RGB, with its labels.

    Raises:
        OSError, SyntaxError, ValueError: a file is missing or damaged, or the two do not belong together.
    """
    places = [folder / "JPEGImages" / f"{name}{suffix}" for suffix in SUFFIXES]
    picture = next((place for place in places if place.is_file()), None)
    if picture is None:
        raise ValueError(f"no JPEGImages/{name}.jpg")
    with Image.open(picture) as file:
        image = np.asarray(file.convert("RGB"))
    with Image.open(folder / "SegmentationClass" / f"{name}.png") as file:
        if file.mode not in ("P", "L"):
            raise ValueError(f"its labels are a PNG of mode {file.mode}, not of class numbers (P or L)")
        label = np.asarray(file)
    if image.shape[:2] != label.shape:
        raise ValueError(f"the picture is {image.shape[:2]}, its labels are {label.shape}")
    return Pair(name, image, label)
