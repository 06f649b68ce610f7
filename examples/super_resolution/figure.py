"""The two pictures a run leaves: what the network makes of held-out photographs, and how it learned."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from . import images
from .evaluate import Score
from .imresize import imresize
from .upscale import Enlarger, enlarge_picture

_BOX = "#ffd400"


def comparison(
    path: Path, photographs: Sequence[np.ndarray], scores: Sequence[Score], enlarger: Enlarger, params: Any
) -> None:
    """For each photograph a row of whole pictures and a row of one zoomed region.

    Args:
        path: the PNG to write.
        photographs: grey or RGB in [0, 1], sides multiples of the scale.
        scores: of the same photographs, for the titles.
        enlarger: applies the network.
        params: its parameters.
    """
    heights = [side for photo in photographs for side in (photo.shape[0] / photo.shape[1], 1.0)]
    figure = Figure(figsize=(14, 3.4 * sum(heights) + 0.5), layout="constrained", facecolor="white")
    axes = figure.subplots(2 * len(photographs), 4, squeeze=False, height_ratios=heights)
    for row, (photo, score) in enumerate(zip(photographs, scores, strict=True)):
        _draw_photograph(axes[2 * row], axes[2 * row + 1], photo, score, enlarger, params)
    _save(figure, path)


def _draw_photograph(
    whole: np.ndarray, zoomed: np.ndarray, photo: np.ndarray, score: Score, enlarger: Enlarger, params: Any
) -> None:
    scale = enlarger.config.scale
    low = imresize(photo, Fraction(1, scale))
    network = enlarge_picture(images.Picture(low), enlarger, params).pixels
    size = min(photo.shape[:2]) // 5 // scale * scale
    top, left = _most_detailed(photo, size, scale)
    columns = [
        (low, f"low resolution, 1/{scale}"),
        (imresize(low, scale), f"bicubic  {score.bicubic_psnr:.2f} dB"),
        (network, f"{enlarger.config.model.upper()}  {score.network_psnr:.2f} dB  ({score.gain:+.2f})"),
        (photo, f"truth: {Path(score.name).stem}"),
    ]
    for upper, lower, (pixels, title) in zip(whole, zoomed, columns, strict=True):
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


def _most_detailed(photo: np.ndarray, size: int, scale: int) -> tuple[int, int]:
    """The square with the strongest edges, on the low-resolution grid: chosen by the truth, not by the network."""
    y = images.luma(photo)
    edges = np.hypot(*np.gradient(y))
    mean = uniform_filter(edges, size, origin=-(size // 2) + (size + 1) % 2, mode="constant")
    fits = mean[: y.shape[0] - size + 1 : scale, : y.shape[1] - size + 1 : scale]
    top, left = np.unravel_index(np.argmax(fits), fits.shape)
    return int(top) * scale, int(left) * scale


def curve(path: Path, records: Sequence[dict[str, Any]], *, title: str) -> None:
    """Training loss, and PSNR on training patches and on held-out photographs, against the step."""
    figure = Figure(figsize=(10, 4), layout="constrained", facecolor="white")
    losses, quality = figure.subplots(1, 2)
    training = [record for record in records if "loss" in record]
    held_out = [record for record in records if "held_out_psnr" in record]
    steps = [record["step"] for record in training]
    losses.plot(steps, [record["loss"] for record in training], color="tab:blue")
    losses.set(title="training loss", yscale="log")
    quality.plot(
        steps, [record["psnr"] for record in training], color="tab:blue", alpha=0.35, label="training patches"
    )
    at = [record["step"] for record in held_out]
    for name, label, style in (
        ("held_out_psnr", "held-out photographs", "o-"),
        ("held_out_bicubic_psnr", "bicubic on these", "k--"),
    ):
        quality.plot(
            at,
            [record[name] for record in held_out],
            style,
            label=label,
            **({"color": "tab:orange"} if style == "o-" else {}),
        )
    quality.set(title="PSNR on Y, dB")
    quality.legend(frameon=False)
    for axis in (losses, quality):
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(str(path))
