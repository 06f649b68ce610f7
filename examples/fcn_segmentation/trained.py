"""A network out of a checkpoint, ready for use."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from flax import nnx

from ..common import checkpoint
from . import data as pictures
from .augment import AugmentConfig
from .data import DataConfig
from .dataset import DataSet
from .model import FCN, ModelConfig


@dataclass(frozen=True)
class Trained:
    """The averaged parameters of one step in evaluation mode, and what that step says of itself."""

    model: FCN
    network: ModelConfig
    source: str
    """What the pictures of training were."""
    classes: tuple[str, ...]
    channels: int
    folder: Path
    """Of the step, in checkpoints/ of the run."""
    data: DataConfig

    @property
    def step(self) -> int:
        return int(self.folder.name)

    @property
    def run(self) -> Path:
        return self.folder.parent.parent

    def load_pictures(self, source: str | None = None) -> DataSet:
        """The data set that `source` names, or the one it was trained on.

        Raises:
            ValueError: it cannot be read, or its classes or channels are not this network's.
        """
        found = pictures.load(replace(self.data, data=source) if source else self.data)
        self.check(found)
        return found

    def check(self, found: DataSet) -> None:
        """Refuses pictures that the network cannot be measured on."""
        if (found.channels, len(found.classes)) != (self.channels, len(self.classes)):
            raise ValueError(
                f"{found.name} has {len(found.classes)} classes and pictures of {found.channels} channel(s),"
                f" the network in {self.run} is for {len(self.classes)} and {self.channels}: they must agree"
            )


def load(path: Path) -> Trained:
    """The network in the newest checkpoint of a run, or in the folder of one step.

    Raises:
        ValueError: there is no checkpoint, or it is damaged.
    """
    folder = checkpoint.latest(path)
    described: dict[str, Any] = checkpoint.read_config(folder, "channels", "classes")["task"]
    values, classes, channels = described["network"], tuple(described["classes"]), described["channels"]
    network = ModelConfig(**{**values, "blocks": tuple(values["blocks"])})
    untrained = nnx.eval_shape(lambda: FCN(network, channels, len(classes), rngs=nnx.Rngs(0)))
    model = cast(FCN, checkpoint.load_model(folder, untrained))
    data = _data(described["data"], described["name"])
    return Trained(model, network, described["name"], classes, channels, folder, data)


def _data(values: dict[str, Any], found: str) -> DataConfig:
    """The settings of the pictures, with what "auto" was at that time."""
    paths = {name: Path(values[name]) if values[name] else None for name in ("folder", "backgrounds")}
    source = found if values["data"] == "auto" else values["data"]
    augment = AugmentConfig(**values["augment"])
    return DataConfig(**{**values, **paths, "data": source, "augment": augment})
