"""A random piece of a picture: scaled, cropped, mirrored, brighter or darker, the labels moved along."""

from dataclasses import dataclass

import numpy as np

from .dataset import IGNORE, Pair, white


@dataclass(frozen=True)
class AugmentConfig:
    """How training pieces are cut and varied."""

    crop: int = 128
    """Side of a piece in pixels. Past the picture its last pixels go on, and the label is to be ignored."""
    scale: float = 1.25
    """Pictures are enlarged by a random factor between its reciprocal and this; 1 leaves them as they are."""
    flip: bool = True
    """Mirror at random: left to right, and up and down where that makes an equally likely picture."""
    contrast: float = 0.1
    """Contrast is multiplied by up to exp of this or divided by it."""
    brightness: float = 0.05
    """Up to this much is added to all pixels or taken from them (white is 1)."""

    def __post_init__(self):
        if self.crop < 1 or not self.scale >= 1:
            raise ValueError(f"crop={self.crop} must be at least 1 pixel and scale={self.scale} at least 1")
        if min(self.contrast, self.brightness) < 0:
            raise ValueError(
                f"contrast={self.contrast} and brightness={self.brightness} must not be negative"
            )


def cut(
    pair: Pair, config: AugmentConfig, *, upright: bool, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """A random piece: {"image": (crop, crop, channels) float32, "label": (crop, crop) int32}.

    Pixels between pixels are interpolated linearly in the image and taken from the nearest one in the label.
    """
    factor = float(config.scale ** rng.uniform(-1, 1))
    rows, columns = (_places(side, config.crop, factor, rng) for side in pair.label.shape)
    if config.flip and rng.integers(0, 2):
        columns = columns[::-1]
    if config.flip and not upright and rng.integers(0, 2):
        rows = rows[::-1]
    image = _linear(_linear(pair.image, rows, axis=0), columns, axis=1)
    return {
        "image": _recolour(image / white(pair.image), config, rng),
        "label": _nearest(pair.label, rows, columns).astype(np.int32),
    }


def _places(side: int, crop: int, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Where along an axis of the picture the pixels of the piece lie; pixel i is at i, its edges half around.

    The piece spans crop / factor pixels. If the picture is longer the piece lies inside, otherwise around it.
    """
    room = side - crop / factor
    start = rng.uniform(min(0, room), max(0, room))
    if factor == 1:
        start = np.round(start)  # on the pixels, so that they are copied as they are
    return start + (np.arange(crop) + 0.5) / factor - 0.5


def _linear(x: np.ndarray, at: np.ndarray, *, axis: int) -> np.ndarray:
    last = x.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.floor(at).astype(int)
    share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, last), axis) * share


def _nearest(label: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    places = [np.floor(at + 0.5).astype(int) for at in (rows, columns)]
    inside = [(at >= 0) & (at < side) for at, side in zip(places, label.shape, strict=True)]
    found = label[np.ix_(*(np.clip(at, 0, side - 1) for at, side in zip(places, label.shape, strict=True)))]
    return np.where(np.logical_and.outer(*inside), found, IGNORE)


def _recolour(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    gain = np.exp(config.contrast * rng.uniform(-1, 1))
    mean = image.mean()
    return ((image - mean) * gain + mean + config.brightness * rng.uniform(-1, 1)).astype(np.float32)
