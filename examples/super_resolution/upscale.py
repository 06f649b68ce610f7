"""A trained network applied to pictures of any size and kind."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..common.checkpoint import latest, load_model, read_config
from ..common.task import Track
from . import images
from .imresize import imresize
from .metrics import rgb2ycbcr, ycbcr2rgb
from .model import ModelConfig, SuperResolution, reach

# Low-resolution pixels computed at once: FSRCNN's widest layer then takes about 60 MB.
BAND_PIXELS = 1 << 18


@nnx.jit
def _apply(model: SuperResolution, low: np.ndarray) -> jax.Array:
    return model(jnp.asarray(low)[None, ..., None])[0, ..., 0]


class Enlarger:
    """Enlarges luma pictures of any size, a band of rows at a time, so that memory does not grow with them.

    Bands overlap by the network's reach: the result is that of the whole picture at once.
    """

    def __init__(self, model: SuperResolution, *, band_pixels: int = BAND_PIXELS):
        self.config = model.config
        self._model, self._band_pixels = model, band_pixels

    def __call__(self, low: np.ndarray, *, track: Track = iter) -> np.ndarray:
        """(height, width) to (height·scale, width·scale), luma over 255; `track` wraps the band loop."""
        scale, margin = self.config.scale, reach(self.config)
        height, width = low.shape
        rows = max(16, self._band_pixels // width)
        window = min(height, rows + 2 * margin)  # the same for every band: one compilation
        high = np.empty((height * scale, width * scale), np.float32)
        for top in track(range(0, height, rows)):
            bottom = min(top + rows, height)
            start = min(max(top - margin, 0), height - window)
            band = np.asarray(_apply(self._model, low[start : start + window].astype(np.float32)))
            high[top * scale : bottom * scale] = band[(top - start) * scale : (bottom - start) * scale]
        return high


class Network(NamedTuple):
    """What a checkpoint holds: a trained model, and how it was trained."""

    model: SuperResolution
    task: dict[str, Any]
    """What the task described."""
    folder: Path
    step: int


def load(path: Path) -> Network:
    """The network in the folder of one step, or in the newest step of a run's folder.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    folder = latest(path)
    config = read_config(folder, "network", "held_out", "error")
    values, dtype = config["task"]["network"], jnp.dtype(config["training"]["precision"])
    network = ModelConfig(**{**values, "features": tuple(values["features"])})
    untrained = nnx.eval_shape(lambda: SuperResolution(network, dtype=dtype, rngs=nnx.Rngs(0)))
    return Network(load_model(folder, untrained), config["task"], folder, int(folder.name))


def enlarge_picture(picture: images.Picture, enlarger: Enlarger, *, track: Track = iter) -> images.Picture:
    """Luma by the network; colour and transparency, where the eye is less sharp, by bicubic interpolation."""
    scale = Fraction(enlarger.config.scale)
    y = 255.0 * enlarger(images.luma(picture.pixels) / 255, track=track)
    if picture.pixels.ndim == 2:
        pixels = (y - 16) / 219
    else:
        chroma = imresize(rgb2ycbcr(picture.pixels)[..., 1:], scale)
        pixels = ycbcr2rgb(np.dstack([y, chroma]))
    alpha = None if picture.alpha is None else np.clip(imresize(picture.alpha, scale), 0, 1)
    return images.Picture(np.clip(pixels, 0, 1), alpha, picture.peak)


def upscale(checkpoint: Path, source: Path, target: Path, *, track: Track = iter) -> images.Picture:
    """Reads `source`, enlarges it with the network of `checkpoint` and writes `target`.

    Raises:
        ValueError: one of the three cannot be used.
    """
    picture = images.read(source)
    images.check_writable(target, picture.alpha is not None)
    result = enlarge_picture(picture, Enlarger(load(checkpoint).model), track=track)
    images.write(target, result)
    return result
