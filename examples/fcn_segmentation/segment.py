"""A network applied to an image file of any size."""

import warnings
from pathlib import Path

import numpy as np
import tifffile
from matplotlib.colors import to_rgb
from PIL import Image, ImageOps

from . import colours
from .evaluate import predict
from .sources import nuclei
from .trained import Trained


def segment(
    trained: Trained, source: Path, target: Path, *, frame: int = 0, overlay: Path | None = None
) -> np.ndarray:
    """Writes the classes of the pixels of `source`, as PASCAL VOC has them: a palette PNG of class numbers.

    Args:
        trained: the network.
        source: the image file.
        target: the PNG of class numbers.
        frame: of a TIFF of several.
        overlay: the PNG of the image with its classes in colour, if wanted.

    Returns:
        The class numbers, (height, width).

    Raises:
        ValueError: the image cannot be read, or `target` or `overlay` is no PNG.
    """
    for path in (target, overlay):
        if path and path.suffix.lower() != ".png":
            raise ValueError(f"{path}: class numbers are written as PNG; choose a name that ends in .png")
    image = to_network(trained, read(source, frame=frame))
    predicted = predict(trained.model, image)
    picture = Image.fromarray(predicted)
    palette = [(0, 0, 0), *(to_rgb(colours.of_class(i)) for i in range(1, len(trained.classes)))]
    picture.putpalette(_to_8_bit(np.array(palette)).tobytes())
    _save(picture, target)
    if overlay:
        shown = colours.paint(image, predicted, len(trained.classes))
        _save(Image.fromarray(_to_8_bit(shown)), overlay)
    return predicted


def _to_8_bit(pixels: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def _save(picture: Image.Image, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, format="PNG")


def read(path: Path, *, frame: int = 0) -> np.ndarray:
    """The pixels of an image file: (height, width) or (height, width, 3), as they are stored.

    Raises:
        ValueError: it is missing, damaged, or has no such frame.
    """
    if not path.is_file():
        raise ValueError(f"no image file at {path}: check the path")
    try:
        pixels = _read_tiff(path, frame) if path.suffix.lower() in (".tif", ".tiff") else _read(path)
    except Exception as error:  # on damaged bytes decoders raise nearly anything
        raise ValueError(f"cannot read {path} as an image ({error}): check that it is one") from error
    return pixels


def _read_tiff(path: Path, frame: int) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        if not 0 <= frame < len(file.pages):
            raise ValueError(f"frame {frame} is not among its {len(file.pages)}, which begin at 0")
        pixels = file.pages[frame].asarray()
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        return pixels[..., :3]
    if pixels.ndim != 2:
        raise ValueError(f"a frame of shape {pixels.shape} is neither grey nor RGB")
    return pixels


def _read(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a big photograph is welcome
        with Image.open(path) as file:
            file.load()
            image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I") or image.mode == "F":
        return np.asarray(image)
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def to_network(trained: Trained, pixels: np.ndarray) -> np.ndarray:
    """What the network takes of an image: float32 (height, width, channels) in [0, 1].

    Nuclei are stretched as those of training. So are counts whose white is not known, those of other than
    8 bits.
    """
    counts = trained.source == "nuclei" or pixels.dtype != np.uint8
    if trained.channels == 1 and pixels.ndim == 3:
        pixels = pixels @ np.array([0.299, 0.587, 0.114])
    image = nuclei.stretch(pixels) if counts else (pixels / 255).astype(np.float32)
    return np.repeat(image[..., None], trained.channels, axis=-1) if image.ndim == 2 else image
