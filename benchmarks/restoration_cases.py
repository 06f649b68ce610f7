"""What benchmarks.restoration restores: photographs blurred as a camera does, and a microscope's volume."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import scipy.signal
import skimage
import skimage.io

from jaxconv.restore import psf

# Grey and colour, in every scikit-image wheel.
PHOTOGRAPHS = ("camera", "coins", "astronaut", "chelsea")
PSFS = ("gaussian", "disk", "motion", "trajectory", "box")
# Standard deviations of the noise, where white is 1.
NOISES = (0.01, 0.03)
POLLEN = "pollen"
# Pixels next to the border whose PSNR is told apart.
BAND = 8


@dataclasses.dataclass(frozen=True, eq=False)  # arrays are not compared, nor hashed
class Case:
    """An observation, by what it was made, and the truth in its frame.

    Attributes:
      name: photograph, PSF and noise, "camera-disk-0.01"; or "pollen".
      y: float32, (*spatial) or (*spatial, 3).
      truth: of the same shape.
      psf: float32, of odd sizes.
      noise: standard deviation; None where the noise is that of counts.
    """

    name: str
    y: np.ndarray
    truth: np.ndarray
    psf: np.ndarray
    noise: float | None

    @property
    def colour(self) -> bool:
        """Whether y has channels."""
        return self.y.ndim > self.psf.ndim


@functools.cache
def point_spread(name: str) -> np.ndarray:
    """A PSF by name; "trajectory" is not symmetric, nor is "box", which is half a pixel off its centre."""
    made = {
        "gaussian": lambda: psf.gaussian(2.0),
        "disk": lambda: psf.disk(4.0),
        "motion": lambda: psf.motion(15.0, 30.0),
        "trajectory": lambda: psf.trajectory(jax.random.key(3), (25, 25)),
        # Of odd size, since scikit-image shifts by half a pixel, and again in each iteration, for even ones.
        "box": lambda: np.pad(psf.box((8, 6)), ((0, 1), (0, 1))),
    }
    return np.asarray(made[name](), np.float32)


def photograph(picture: str, blur: str, noise: float) -> Case:
    """A photograph of which the camera sees the middle: light from outside of the frame is blurred in."""
    path = Path(skimage.__file__).parent / "data" / f"{picture}.png"
    scene = skimage.img_as_float64(skimage.io.imread(path))
    spread = point_spread(blur)
    name = f"{picture}-{blur}-{noise:g}"
    rng = np.random.default_rng([ord(letter) for letter in name])
    planes = np.moveaxis(np.atleast_3d(scene), -1, 0)
    seen = np.stack([scipy.signal.fftconvolve(plane, spread, "valid") for plane in planes], -1)
    y = np.clip(seen + noise * rng.normal(size=seen.shape), 0, 1)
    margins = [size // 2 for size in spread.shape]
    truth = np.atleast_3d(scene)[tuple(slice(m, -m or None) for m in margins)]
    y, truth = (z.squeeze(-1) if scene.ndim == 2 else z for z in (y, truth))
    return Case(name, y.astype(np.float32), truth.astype(np.float32), spread, noise)


def pollen(folder: Path) -> Case:
    """The volume that sdeconv's authors blurred, with their PSF and their Poisson noise; white is 1.

    Args:
      folder: sdeconv/data of its wheel.
    """
    import tifffile

    names = ("pollen_poisson_noise_blurred", "pollen", "pollen_psf")
    y, truth, spread = (tifffile.imread(folder / f"{name}.tif").astype(np.float32) for name in names)
    white = truth.max()
    # All but 1e-6 of its light is within 8 pixels of its centre, n // 2.
    spread = spread[tuple(slice(n // 2 - 8, n // 2 + 9) for n in spread.shape)]
    return Case(POLLEN, np.maximum(y, 0) / white, truth / white, spread / spread.sum(), None)
