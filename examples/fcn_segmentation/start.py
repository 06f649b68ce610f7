"""Training that does not start from random numbers: from VGG's weights, or from a coarser network's run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from .dataset import DataSet
from .model import FCN, ModelConfig, start_from
from .trained import load
from .weights import load_vgg


class Start(NamedTuple):
    give: Callable[[FCN], None]
    """Copies the weights into a network, which nothing has trained yet."""
    fingerprint: str


@dataclass(frozen=True)
class StartConfig:
    """Where weights come from at the start."""

    vgg: Path | None = None
    """VGG's weights as torchvision lays them out, .safetensors or .pth; with --norm none. --width 1 is
    theirs."""
    start_from: Path | None = None
    """Run (or one step of it) of a coarser network on the same VGG and the same classes, such as fcn32s for
    fcn16s, fcn16s for fcn8s: the finer one starts with what it has learned."""

    def __post_init__(self):
        if self.vgg and self.start_from:
            raise ValueError("--vgg and --start-from exclude each other: the coarser run has its weights")

    def read(self, network: ModelConfig, pictures: DataSet) -> Start | None:
        """What there is to start from.

        Raises:
            ValueError: it cannot be read, or does not fit the network or the pictures.
        """
        if self.vgg:
            path = self.vgg
            if not path.is_file():
                raise ValueError(f"no weights at {path}: check the path")
            return Start(lambda model: load_vgg(model, path), sha256(path.read_bytes()).hexdigest())
        if self.start_from:
            coarser = load(self.start_from)
            if "dilated" in (network.model, coarser.network.model):
                raise ValueError("--start-from is for the networks on VGG, not for dilated")
            if _backbone(coarser.network) != _backbone(network):
                raise ValueError(
                    f"{self.start_from} is {coarser.network}, which {network} cannot start from:"
                    " width, depth, norm and learn_upsampling must agree"
                )
            coarser.check(pictures)
            sums = (coarser.folder / "checksums.json").read_bytes()
            return Start(lambda model: start_from(model, coarser.model), sha256(sums).hexdigest())
        return None


def _backbone(network: ModelConfig) -> ModelConfig:
    """The network without what may differ between two that start from one another."""
    return replace(network, model="fcn32s", dropout=0.0)
