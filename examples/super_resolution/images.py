"""Image files of any common kind in, arrays in [0, 1] out, and back."""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from .metrics import rgb2ycbcr

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")
_WITHOUT_ALPHA = (".jpg", ".jpeg", ".bmp", ".ppm", ".pgm")


class Picture(NamedTuple):
    """Pixels as float64 in [0, 1].

    Attributes:
        pixels: (height, width) for grey, (height, width, 3) for RGB.
        alpha: (height, width) or None.
        peak: 255 or 65535, what 1.0 stands for in the file.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    peak: int = 255


def read(path: Path) -> Picture:
    """The first frame of a file Pillow can read: grey (8 or 16 bits), RGB, palette, CMYK, with alpha or not.

    Raises:
        ValueError: the file is missing, damaged, no picture, or holds numbers whose white is unknown.
    """
    if not path.is_file():
        raise ValueError(f"no image file at {path}: check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a big photograph is welcome
            with Image.open(path) as image:
                image.load()
                return _to_picture(ImageOps.exif_transpose(image))
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise ValueError(f"cannot read {path} as an image ({error}): replace or remove it") from error


def _to_picture(image: Image.Image) -> Picture:
    if image.mode.startswith("I;16"):
        return Picture(np.asarray(image).astype(np.float64) / 65535, peak=65535)
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode!r} does not say which number is white; save it with 8 or 16 bits")
    transparent = image.has_transparency_data
    grey = image.mode in ("1", "L", "LA", "La")
    values = np.asarray(
        image.convert(("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB"))
    )
    values = values / 255.0
    alpha = values[..., -1] if transparent else None
    pixels = values[..., :-1] if transparent else values
    return Picture(pixels.squeeze(-1) if grey and transparent else pixels, alpha)


def luma(pixels: np.ndarray) -> np.ndarray:
    """Y of MATLAB's rgb2ycbcr (16..235) of an RGB or grey picture in [0, 1]; grey counts as R = G = B."""
    if pixels.ndim == 2:
        return 16 + 219 * pixels
    return rgb2ycbcr(pixels)[..., 0]


def check_writable(path: Path, picture_has_alpha: bool = False) -> None:
    """Refuses a name `write` could not honour: called before the long work."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"cannot write {path.name}: name it with one of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} to write {path.name} into: create it first")
    if picture_has_alpha and suffix in _WITHOUT_ALPHA:
        raise ValueError(f"{suffix} holds no transparency and the picture has some: write a .png")


def write(path: Path, picture: Picture) -> None:
    """Clips and rounds to the picture's depth and writes it; a crash leaves the old file or the new one."""
    check_writable(path, picture.alpha is not None)
    deep = picture.peak == 65535 and path.suffix.lower() in (".png", ".tif", ".tiff", ".pgm")
    values = picture.pixels
    if picture.alpha is not None:
        values = np.dstack([values, picture.alpha])
    peak, kind = (65535, np.uint16) if deep else (255, np.uint8)
    image = Image.fromarray(np.floor(np.clip(values, 0, 1) * peak + 0.5).astype(kind))
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    image.save(part, quality=95)  # formats without loss have no such option and ignore it
    os.replace(part, path)
