"""A network out of a checkpoint, ready for use."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..common import checkpoint
from . import data as images
from .data import DataConfig, DataSet
from .model import ModelConfig, SmallCNN


@dataclass(frozen=True)
class Trained:
    """The averaged parameters of one step in evaluation mode, and what that step says of itself."""

    model: SmallCNN
    size: tuple[int, int]
    """Height and width of the images that it takes."""
    classes: tuple[str, ...]
    folder: Path
    """Of the step, in checkpoints/ of the run."""
    data: DataConfig

    @property
    def step(self) -> int:
        return int(self.folder.name)

    @property
    def run(self) -> Path:
        return self.folder.parent.parent

    def load_images(self, folder: Path | None) -> DataSet:
        """The data set in `folder`, or the one it was trained on.

        Raises:
            ValueError: it cannot be read, or is not of this network's size and classes.
        """
        found = images.load(replace(self.data, data=folder) if folder else self.data)
        if found.size != self.size or len(found.classes) > len(self.classes):
            raise ValueError(
                f"{found.name} has images of {found.size[0]}x{found.size[1]} in {len(found.classes)} classes,"
                f" the network is for {self.size[0]}x{self.size[1]} in {len(self.classes)}:"
                " name the folder of its data set with --data"
            )
        return found


def load(path: Path) -> Trained:
    """The network in the newest checkpoint of a run, or in the folder of one step.

    Raises:
        ValueError: there is no checkpoint, or it is damaged.
    """
    folder = checkpoint.latest(path)
    described: dict[str, Any] = checkpoint.read_config(folder, "size", "classes")["task"]
    height, width = described["size"]
    classes = tuple(described["classes"])

    def build() -> SmallCNN:
        network = ModelConfig(**{**described["network"], "features": tuple(described["network"]["features"])})
        return SmallCNN(network, (height, width), len(classes), dtype=jnp.float32, rngs=nnx.Rngs(0))

    model = cast(SmallCNN, checkpoint.load_model(folder, nnx.eval_shape(build)))
    settings = described["data"]
    source = None if settings["data"] is None else Path(settings["data"])
    return Trained(model, (height, width), classes, folder, DataConfig(**{**settings, "data": source}))


def maps(model: SmallCNN, image: np.ndarray) -> list[np.ndarray]:
    """What each layer sees in one 8-bit image (height, width): (height, width, features) of each."""
    return [
        np.asarray(layer[0])
        for layer in nnx.jit(SmallCNN.maps)(model, jnp.asarray(images.to_input(image[None])))
    ]
