"""Random backgrounds for pictures that are made."""

import numpy as np
from PIL import Image

_CLOUDS = 9


def texture(size: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """Clouds and grain of random strength about a random grey: (size, size, channels) float32."""
    coarse = rng.uniform(0.05, 0.15) * rng.standard_normal((channels, _CLOUDS, _CLOUDS), np.float32)
    clouds = [np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse]
    grain = rng.uniform(0.02, 0.08) * rng.standard_normal((size, size, channels), np.float32)
    return np.stack(clouds, axis=-1) + grain + rng.uniform(0.2, 0.6, channels).astype(np.float32)
