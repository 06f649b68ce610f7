"""PSNR and SSIM on held-out photographs, network against bicubic."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich.table import Table

from .checkpoint import write_atomically
from .data import Photo
from .imresize import imresize
from .metrics import psnr, ssim, to_8_bit
from .upscale import Enlarger, Track


@dataclass(frozen=True)
class Score:
    """Quality of one photograph's two enlargements: PSNR in dB and SSIM, on 8-bit Y, a border of `scale` left out."""

    name: str
    bicubic_psnr: float
    network_psnr: float
    bicubic_ssim: float
    network_ssim: float

    @property
    def gain(self) -> float:
        return self.network_psnr - self.bicubic_psnr


def bicubic_psnr(photo: Photo, scale: int) -> float:
    return psnr(to_8_bit(255 * imresize(photo.low, scale)), to_8_bit(255 * photo.high), border=scale)


def network_psnr(photo: Photo, enlarger: Enlarger, params: Any) -> float:
    high = enlarger(params, photo.low)
    return psnr(to_8_bit(255 * high), to_8_bit(255 * photo.high), border=enlarger.config.scale)


def evaluate(photos: Sequence[Photo], enlarger: Enlarger, params: Any, *, track: Track = iter) -> list[Score]:
    """Scores every photograph, and their mean as the last entry."""
    scores = [_score(photo, enlarger, params) for photo in track(photos)]
    fields = ("bicubic_psnr", "network_psnr", "bicubic_ssim", "network_ssim")
    return [*scores, Score("mean", *(fmean(getattr(score, field) for score in scores) for field in fields))]


def _score(photo: Photo, enlarger: Enlarger, params: Any) -> Score:
    scale = enlarger.config.scale
    truth = to_8_bit(255 * photo.high)
    bicubic = to_8_bit(255 * imresize(photo.low, scale))
    network = to_8_bit(255 * enlarger(params, photo.low))
    return Score(
        photo.name,
        psnr(bicubic, truth, border=scale),
        psnr(network, truth, border=scale),
        ssim(bicubic, truth, border=scale),
        ssim(network, truth, border=scale),
    )


def table(scores: Sequence[Score], *, title: str) -> Table:
    result = Table("photograph", title=title, title_style="bold")
    for column in ("bicubic dB", "network dB", "gain dB", "bicubic SSIM", "network SSIM"):
        result.add_column(column, justify="right")
    for score in scores:
        if score.name == "mean":
            result.add_section()
        result.add_row(
            score.name,
            f"{score.bicubic_psnr:.2f}",
            f"{score.network_psnr:.2f}",
            f"{score.gain:+.2f}",
            f"{score.bicubic_ssim:.4f}",
            f"{score.network_ssim:.4f}",
        )
    return result


def write_results(path: Path, scores: Sequence[Score], **facts: Any) -> None:
    """The scores as JSON, with what they are scores of."""
    write_atomically(
        path, json.dumps({**facts, "scores": [asdict(score) for score in scores]}, indent=1) + "\n"
    )
