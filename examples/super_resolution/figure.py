"""The two pictures a run leaves: what the network makes of held-out photographs, and how it learned."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..common.figures import busiest, save
from . import images
from .evaluate import Score
from .imresize import imresize
from .upscale import Enlarger, enlarge_picture

_BOX = "#ffd400"


def comparison(
    path: Path, photographs: Sequence[np.ndarray], scores: Sequence[Score], enlarger: Enlarger
) -> None:
    """For each photograph a row of whole pictures and a row of one zoomed region.

    Args:
        path: the PNG to write.
        photographs: grey or RGB in [0, 1], sides multiples of the scale.
        scores: of the same photographs, for the titles.
        enlarger: applies the network.
    """
    heights = [side for photo in photographs for side in (photo.shape[0] / photo.shape[1], 1.0)]
    figure = Figure(figsize=(14, 3.4 * sum(heights) + 0.5), layout="constrained", facecolor="white")
    axes = figure.subplots(2 * len(photographs), 4, squeeze=False, height_ratios=heights)
    for row, (photo, score) in enumerate(zip(photographs, scores, strict=True)):
        _draw_photograph(axes[2 * row], axes[2 * row + 1], photo, score, enlarger)
    save(figure, path)


def _draw_photograph(
    whole: np.ndarray, zoomed: np.ndarray, photo: np.ndarray, score: Score, enlarger: Enlarger
) -> None:
    scale = enlarger.config.scale
    low = imresize(photo, Fraction(1, scale))
    network = enlarge_picture(images.Picture(low), enlarger).pixels
    side = min(low.shape[:2]) // 5
    # The strongest edges in the low-resolution picture: what a network has to work with.
    rows, columns = busiest(np.hypot(*np.gradient(images.luma(low))), side, side)
    top, left, size = rows.start * scale, columns.start * scale, side * scale
    shown = [
        (low, f"low resolution, 1/{scale}"),
        (imresize(low, scale), f"bicubic  {score.bicubic_psnr:.2f} dB"),
        (network, f"{enlarger.config.model.upper()}  {score.network_psnr:.2f} dB  ({score.gain:+.2f})"),
        (photo, f"truth: {Path(score.name).stem}"),
    ]
    for upper, lower, (pixels, title) in zip(whole, zoomed, shown, strict=True):
        # Sizes are in pixels of the truth for all, so that the box is the same region everywhere.
        extent = (0, photo.shape[1], photo.shape[0], 0)
        for axis in (upper, lower):
            axis.imshow(
                np.clip(pixels, 0, 1), cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest"
            )
            axis.set(xticks=[], yticks=[])
        upper.set_title(title, fontsize=12)
        upper.add_patch(Rectangle((left, top), size, size, fill=False, color=_BOX, linewidth=1.5))
        lower.set(xlim=(left, left + size), ylim=(top + size, top))
        for spine in lower.spines.values():
            spine.set(color=_BOX, linewidth=2)


def curve(path: Path, records: Sequence[dict[str, Any]], *, title: str) -> None:
    """Training loss, and PSNR on training patches and on held-out photographs, against the step."""
    figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
    loss, quality = figure.subplots(1, 2)
    loss.plot(*_series(records, "loss"), color="tab:blue")
    loss.set(title="training loss", xlabel="step")
    quality.plot(*_series(records, "psnr"), color="tab:blue", alpha=0.4, label="training patches")
    quality.plot(*_series(records, "held_out_psnr"), "o-", color="tab:orange", label="held-out photographs")
    quality.plot(*_series(records, "held_out_bicubic_psnr"), "k--", label="the same by bicubic")
    quality.set(title="PSNR on Y, dB", xlabel="step")
    quality.legend(frameon=False)
    for axis in (loss, quality):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    save(figure, path)


def _series(records: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    pairs = [(record["step"], record[name]) for record in records if name in record]
    return [step for step, _ in pairs], [value for _, value in pairs]
