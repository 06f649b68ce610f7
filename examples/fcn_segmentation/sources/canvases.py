"""Fashion-MNIST garments on a larger canvas: ten classes and the background, grey.

One to five garments, enlarged up to twice, on clouds and noise of all shades, so that brightness alone does
not tell a garment from what is behind it. A garment's pixels are those of its picture that are not black,
holes of up to a few pixels closed. Garments that lie wholly or partly below another are labelled where they
are seen.

Split as Fashion-MNIST is: training canvases show its 60,000 training images, held-out ones its 10,000 test
images.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import binary_closing, zoom

from ...fashion_mnist.data import DEBIAN, FASHION_CLASSES, read_pair
from ..dataset import DataSet, Pair
from .texture import texture

# Below this a garment's picture holds what resizing left of its border.
_BLACK = 12
_MOST_SHOWN = 5


def load(folder: Path | None, *, images: int, size: int, seed: int) -> DataSet:
    """Canvases, each a function of the seed and its number.

    Args:
        folder: of the four IDX files; Debian's place if None.
        images: how many to train on; a fifth as many are held out.
        size: side of a canvas in pixels.
        seed: of everything that is random.

    Raises:
        ValueError: a file is missing or damaged.
    """

    def part(number: int, start: str, name: str, count: int) -> list[Pair]:
        garments, labels = read_pair(folder or DEBIAN, start)
        return [
            compose(garments, labels, f"{name} {i}", size, np.random.default_rng([seed, number, i]))
            for i in range(count)
        ]

    return DataSet(
        name="canvases",
        classes=("background", *FASHION_CLASSES),
        training=part(0, "train", "training canvas", images),
        held_out=part(1, "t10k", "held-out canvas", max(1, images // 5)),
        upright=True,
        note="Fashion-MNIST garments laid on noise; held-out canvases show its test images",
    )


def compose(garments: np.ndarray, labels: np.ndarray, name: str, size: int, rng: np.random.Generator) -> Pair:
    """One to five garments on a canvas, the later ones above."""
    canvas, label = texture(size, 1, rng)[..., 0], np.zeros((size, size), np.uint8)
    for _ in range(rng.integers(1, _MOST_SHOWN + 1)):
        number = rng.integers(len(garments))
        scale = min(rng.uniform(1, 2), size / max(garments.shape[1:]))
        solid = binary_closing(np.pad(garments[number] > _BLACK, 1))[1:-1, 1:-1]
        garment, alpha = (_enlarge(layer, scale) for layer in (garments[number] / 255, solid))
        top, left = (int(rng.integers(0, size - side + 1)) for side in garment.shape)
        place = slice(top, top + garment.shape[0]), slice(left, left + garment.shape[1])
        canvas[place] = alpha * garment + (1 - alpha) * canvas[place]
        label[place][alpha >= 0.5] = labels[number] + 1
    return Pair(name, np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8)[..., None], label)


def _enlarge(layer: np.ndarray, scale: float) -> np.ndarray:
    return np.clip(np.asarray(zoom(layer.astype(np.float32), scale, order=1)), 0, 1)
