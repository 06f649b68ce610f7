"""Image files of any kind in, arrays in [0, 1] out, and back; by Pillow, deep colour in TIFF by tifffile."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")
_WITHOUT_ALPHA = (".jpg", ".jpeg", ".bmp", ".ppm", ".pgm")
_DEEP = (".png", ".tif", ".tiff", ".pgm")


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
    """The first frame of a file Pillow can read: grey, RGB (8 or 16 bits), palette, CMYK, with alpha or not.

    Raises:
      ValueError: the file is missing, damaged, no picture, or holds numbers whose white is unknown.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise ValueError(f"no image file at {path}: check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a big photograph is welcome
            with Image.open(path) as image:
                deep = ";16" in str(image.tile[0].args) and image.mode in ("RGB", "RGBA")
                if deep and image.format in ("PNG", "TIFF"):
                    return _of_values(_deep_colour(path, image), 65535)
                image.load()
                return _of_image(ImageOps.exif_transpose(image))
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise ValueError(f"cannot read {path} as an image ({error}): replace or remove it") from error


def _of_image(image: Any) -> Picture:
    if image.mode.startswith("I;16"):
        return _of_values(np.asarray(image), 65535)
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode!r} does not say which number is white; save it with 8 or 16 bits")
    grey = image.mode in ("1", "L", "LA", "La")
    mode = ("LA" if grey else "RGBA") if image.has_transparency_data else ("L" if grey else "RGB")
    return _of_values(np.asarray(image.convert(mode)), 255)


def _of_values(values: np.ndarray, peak: int) -> Picture:
    """Of (height, width), or of that with a last axis of grey and alpha, RGB, or RGB and alpha."""
    scaled = values / float(peak)
    if scaled.ndim == 2 or scaled.shape[-1] == 3:
        return Picture(scaled, None, peak)
    pixels = scaled[..., :-1]
    return Picture(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, scaled[..., -1], peak)


def _deep_colour(path: Path, image: Any) -> np.ndarray:
    """16-bit colour, of which Pillow keeps the upper byte of each value only."""
    from PIL import Image

    if image.format == "TIFF":
        import tifffile

        return tifffile.imread(path, key=0)
    # Read in the other byte order, the lower byte is what it keeps.
    with Image.open(path) as other:
        other.tile = [tile._replace(args=str(tile.args).replace("16B", "16L")) for tile in other.tile]
        upper, lower = (np.asarray(half).astype(np.uint16) for half in (image, other))
    return 256 * upper + lower


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
    """Clips and rounds to the picture's depth and writes it; a crash leaves the old file or the new one.

    Kinds of file that hold 8 bits only get those; grey with transparency gets 8 bits too.
    """
    from PIL import Image

    check_writable(path, picture.alpha is not None)
    grey_with_alpha = picture.alpha is not None and picture.pixels.ndim == 2
    deep = picture.peak == 65535 and path.suffix.lower() in _DEEP and not grey_with_alpha
    values = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    peak, kind = (65535, np.uint16) if deep else (255, np.uint8)
    values = np.floor(np.clip(values, 0, 1) * peak + 0.5).astype(kind)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    if not deep or values.ndim == 2:
        Image.fromarray(values).save(part, quality=95)  # formats without loss ignore the quality
    elif path.suffix.lower() == ".png":
        part.write_bytes(_deep_png(values))
    else:
        import tifffile

        tifffile.imwrite(part, values, photometric="rgb")
    os.replace(part, path)


def _deep_png(values: np.ndarray) -> bytes:
    """16 bits with channels, which Pillow does not write."""
    height, width, channels = values.shape  # of RGB, or of that and alpha
    rows = np.zeros((height, 1 + 2 * width * channels), np.uint8)  # before each row its filter: none
    rows[:, 1:] = np.ascontiguousarray(values, ">u2").view(np.uint8).reshape(height, -1)
    header = struct.pack(">2I5B", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")):
        data += (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )
    return data
