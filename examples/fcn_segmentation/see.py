"""What `jaxconv see` looks at: the trained network with one image."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxconv.explain.see import Subject

from .backbones import STAGES
from .dataset import to_input
from .evaluate import predict
from .segment import read, to_network
from .trained import Trained, load

_CROP, _DATA = 192, 24  # pixels and number of the pictures among which patches are looked for


def subject(image: Path, checkpoint: Path) -> Subject:
    """An image file of any size; of a TIFF of several the first. It asks about the class that most pixels
    but the background's get.

    Raises:
        ValueError: there is no checkpoint, the image cannot be read, or the network is not on VGG.
    """
    trained = load(checkpoint)
    if trained.network.model == "dilated":
        raise ValueError(f"{checkpoint} is a dilated network: the sheet is laid out for those on VGG")
    pixels = to_network(trained, read(image))
    counts = np.bincount(predict(trained.model, pixels).ravel(), minlength=len(trained.classes))
    layers = [
        f"network/backbone/stages/{i}/{count - 1}+relu"
        for i, count in enumerate(STAGES[trained.network.depth])
    ]
    return Subject(
        trained.model,
        jnp.asarray(pixels[None]),
        layers[:4],
        cam=layers[4],
        classes=trained.classes,
        target=1 + int(counts[1:].argmax()),
        data=_crops(trained),
        patches=layers[2],
    )


def _crops(trained: Trained) -> np.ndarray:
    """The middles of some pictures that it was measured on."""
    pairs = trained.load_pictures().held_out
    images = [to_input(pairs[i].image) for i in range(min(len(pairs), _DATA))]
    size = [min(_CROP, *(image.shape[d] for image in images)) for d in (0, 1)]
    corners = [[(n - side) // 2 for n, side in zip(image.shape, size, strict=False)] for image in images]
    return np.stack(
        [
            image[top : top + size[0], left : left + size[1]]
            for image, (top, left) in zip(images, corners, strict=True)
        ]
    )
