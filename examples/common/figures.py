"""Pictures that the examples share."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from .confusion import Metrics


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG; a reader finds the old picture or the new one and nothing between."""
    part = path.with_name(f".{path.name}.part")
    FigureCanvasAgg(figure).print_png(str(part))
    os.replace(part, path)


def confusion_matrix(path: Path, metrics: Metrics, names: Sequence[str], *, title: str, what: str) -> None:
    """Each class's row says what becomes of it, in percent; its number of examples is to the right.

    Args:
        path: the PNG to write.
        metrics: of the counts to show.
        names: of the classes.
        title: of the picture.
        what: is counted: "images", "pixels".
    """
    count = len(names)
    with np.errstate(invalid="ignore"):
        share = 100 * metrics.matrix / metrics.truth[:, None]
    side = 0.62 * count + 2.6
    figure = Figure(figsize=(side + 0.8, side), layout="constrained", facecolor="white")
    axis = figure.subplots()
    # A square root: mistakes of one percent are what one looks for, next to a diagonal of ninety.
    axis.imshow(np.nan_to_num(share), cmap="Blues", norm=PowerNorm(0.5, 0, 100))
    for row, column in np.ndindex(count, count):
        value = float(share[row, column])
        if metrics.matrix[row, column]:
            colour = "white" if value > 40 else "black"
            axis.text(column, row, _percent(value), ha="center", va="center", color=colour, fontsize=9)
    if max(map(len, names)) > 3:
        axis.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
    else:
        axis.set_xticks(range(count), names)
    axis.set_yticks(range(count), names)
    axis.set(xlabel="predicted, % of the row", ylabel="truth", title=title)
    axis.set_xticks(np.arange(count - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(count - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)
    for row, total in enumerate(metrics.truth):
        axis.text(count - 0.35, row, f"{total:,}", va="center", fontsize=9, color="dimgray")
    axis.text(count - 0.35, -0.75, what, va="center", fontsize=9, color="dimgray")
    save(figure, path)


def _percent(value: float) -> str:
    return "100" if value > 99.95 else "<0.1" if value < 0.1 else f"{value:.1f}"


def busiest(weight: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """The window of that size whose sum is largest."""
    total = np.pad(weight, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    below, above = total[height:], total[:-height]
    inside = below[:, width:] - above[:, width:] - below[:, :-width] + above[:, :-width]
    top, left = (int(i) for i in np.unravel_index(np.argmax(inside), inside.shape))
    return slice(top, top + height), slice(left, left + width)


def tiles(images: np.ndarray, *, columns: int, gap: int = 1) -> np.ndarray:
    """One sheet of the pictures (n, height, width), row by row; what lies between them is NaN."""
    count, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
