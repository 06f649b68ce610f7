"""What `jaxconv see` looks at: the trained network with one image."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxconv.explain.see import Subject

from . import data as images
from .trained import load

_LAYERS = ("first/conv+relu", "second/conv+relu")
_DATA = 2000  # test images, among which patches are looked for


def subject(image: Path, checkpoint: Path) -> Subject:
    """An image file, white on black as those of the data set, or the number of a test image.

    Raises:
        ValueError: there is no checkpoint or no such image.
    """
    trained = load(checkpoint)
    test = trained.load_images(None).test.images
    pixels = _pixels(image, test, trained.size)
    return Subject(
        trained.model,
        jnp.asarray(images.to_input(pixels[None])),
        _LAYERS,
        classes=trained.classes,
        data=images.to_input(test[:_DATA]),
    )


def _pixels(image: Path, test: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if not image.is_file() and image.name.isdigit():
        number = int(image.name)
        if number >= len(test):
            raise ValueError(f"no test image {number}: there are {len(test)}, from 0")
        return test[number]
    try:
        with Image.open(image) as file:
            return np.asarray(file.convert("L").resize((size[1], size[0]), Image.Resampling.BOX))
    except OSError as error:
        raise ValueError(f"cannot read {image} as an image ({error}): check the path") from error
