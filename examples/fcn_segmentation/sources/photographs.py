"""Photographs to lay cut-outs on, split whole: from the scikit-image wheel or a folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

# Pictures of animals, food, plants and vehicles are left out: there they would be background.
TRAINING = (
    "astronaut.png",
    "brick.png",
    "coffee.png",
    "grass.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "page.png",
)
HELD_OUT = ("camera.png", "gravel.png", "ihc.png", "retina.jpg", "text.png")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def load(folder: Path | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """RGB photographs (height, width, 3) uint8 to train and to hold out: of a folder the last fifth by name.

    Raises:
        ValueError: there are fewer than two photographs.
    """
    if folder is None:
        import skimage

        wheel = Path(skimage.__file__).parent / "data"
        training, held_out = ([wheel / name for name in names] for names in (TRAINING, HELD_OUT))
        missing = [path.name for path in [*training, *held_out] if not path.is_file()]
        if missing:
            raise ValueError(
                f"this scikit-image brings no {', '.join(missing)}: name a folder of backgrounds"
            )
    else:
        paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
        if len(paths) < 2:
            raise ValueError(f"{len(paths)} photographs in {folder}: backgrounds need at least two")
        split = len(paths) - max(1, len(paths) // 5)
        training, held_out = paths[:split], paths[split:]
    return [_read(path) for path in training], [_read(path) for path in held_out]


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise ValueError(f"cannot read {path} as a photograph ({error}): replace or remove it") from error


def piece(photographs: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of a random photograph, scaled, mirrored and tinted: (size, size, 3) float32."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    side = int(rng.integers(min(size, min(photograph.shape[:2])), min(photograph.shape[:2]) + 1))
    top, left = (int(rng.integers(0, length - side + 1)) for length in photograph.shape[:2])
    square = Image.fromarray(photograph[top : top + side, left : left + side])
    pixels = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    # Grey photographs must not give the background away.
    return np.clip(pixels[:, :: 1 - 2 * int(rng.integers(0, 2))] * rng.uniform(0.6, 1.2, 3), 0, 255)
