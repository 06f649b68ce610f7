"""PSNR and SSIM on held-out photographs, network against bicubic."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.table import Table

from ..common.files import write_atomically
from ..common.task import Track
from .data import Photo
from .imresize import imresize
from .metrics import psnr, ssim, to_8_bit
from .upscale import Enlarger


@dataclass(frozen=True)
class Score:
    """PSNR in dB and SSIM of a photograph's two enlargements, on 8-bit Y without a border of `scale`."""

    name: str
    bicubic_psnr: float
    network_psnr: float
    bicubic_ssim: float
    network_ssim: float

    @property
    def gain(self) -> float:
        return self.network_psnr - self.bicubic_psnr


def bicubic_psnr(photo: Photo, scale: int) -> float:
    return psnr(_bicubic(photo, scale), _truth(photo), border=scale)


def network_psnr(photo: Photo, enlarger: Enlarger) -> float:
    return psnr(_network(photo, enlarger), _truth(photo), border=enlarger.config.scale)


def _truth(photo: Photo) -> np.ndarray:
    return to_8_bit(255 * photo.high)


def _bicubic(photo: Photo, scale: int) -> np.ndarray:
    return to_8_bit(255 * imresize(photo.low, scale))


def _network(photo: Photo, enlarger: Enlarger) -> np.ndarray:
    return to_8_bit(255 * enlarger(photo.low))


def evaluate(photos: Sequence[Photo], enlarger: Enlarger, *, track: Track = iter) -> list[Score]:
    """The score of every photograph, in their order."""
    return [_score(photo, enlarger) for photo in track(photos)]


def _score(photo: Photo, enlarger: Enlarger) -> Score:
    scale, truth = enlarger.config.scale, _truth(photo)
    bicubic, network = _bicubic(photo, scale), _network(photo, enlarger)
    return Score(
        photo.name,
        psnr(bicubic, truth, border=scale),
        psnr(network, truth, border=scale),
        ssim(bicubic, truth, border=scale),
        ssim(network, truth, border=scale),
    )


@dataclass(frozen=True)
class Results:
    """The scores of a checkpoint on some photographs."""

    title: str
    step: int
    scores: list[Score]

    def mean(self) -> Score:
        quality = ([getattr(score, name.name) for score in self.scores] for name in fields(Score)[1:])
        return Score("mean", *map(fmean, quality))

    def table(self) -> Table:
        result = Table("photograph", title=self.title, caption="on Y, without a border of the scale")
        for column in ("dB bicubic", "network", "gain", "SSIM bicubic", "network"):
            result.add_column(column, justify="right")
        for score in [*self.scores, self.mean()]:
            result.add_row(
                Path(score.name).stem,
                f"{score.bicubic_psnr:.2f}",
                f"{score.network_psnr:.2f}",
                f"{score.gain:+.2f}",
                f"{score.bicubic_ssim:.4f}",
                f"{score.network_ssim:.4f}",
                end_section=score is self.scores[-1],
            )
        return result

    def write(self, path: Path) -> None:
        values = {**asdict(self), "mean": asdict(self.mean())}
        write_atomically(path, json.dumps(values, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Results | None":
        """None if there is no such file."""
        if not path.is_file():
            return None
        values = json.loads(path.read_text())
        return cls(values["title"], values["step"], [Score(**score) for score in values["scores"]])
