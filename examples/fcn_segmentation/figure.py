"""Pictures of segmentations: beside the truth, and networks against each other at a boundary."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ..common.figures import busiest, save
from . import colours
from .dataset import IGNORE, Pair, to_input
from .metrics import only_boundary, tally

_TRUTH = "white"
_TITLE = {"fontsize": 12}


def overlays(
    path: Path,
    pairs: Sequence[Pair],
    predictions: Sequence[np.ndarray],
    classes: Sequence[str],
    *,
    side: int = 320,
) -> None:
    """A row per picture: the image, the truth, the prediction, the errors.

    Args:
        path: the PNG to write.
        pairs: pictures with labels.
        predictions: (height, width) class numbers of the same pictures.
        classes: their names.
        side: of a larger picture, the square of this many pixels with most boundaries of the truth is shown.
    """
    shown = [_window(pair.label, side) for pair in pairs]
    heights = [(rows.stop - rows.start) / (columns.stop - columns.start) for rows, columns in shown]
    figure = _figure(14, 3.4 * sum(heights) + 0.25 * len(pairs) + 0.6)
    axes = figure.subplots(len(pairs), 4, squeeze=False, height_ratios=heights)
    present: set[int] = set()
    for row, pair, predicted, window in zip(axes, pairs, predictions, shown, strict=True):
        image, label, guess = to_input(pair.image[window]), pair.label[window], predicted[window]
        counted = label != IGNORE
        wrong = np.sum(counted & (label != guess)) / max(1, np.sum(counted))
        columns = [
            (colours.to_rgb_picture(image), pair.name),
            (colours.paint(image, label, len(classes)), "truth"),
            (colours.paint(image, guess, len(classes)), "prediction"),
            (colours.paint_errors(image, label, guess), f"errors: {100 * wrong:.1f} % of the pixels"),
        ]
        for axis, (pixels, title) in zip(row, columns, strict=True):
            _show(axis, pixels)
            axis.set_title(title, **_TITLE)
        present |= {*np.unique(label).tolist(), *np.unique(guess).tolist()}
    _legend(figure, "left", "classes", colours.of_names(classes, present), columns=6)
    _legend(figure, "right", "errors", colours.of_errors(len(classes)), columns=3)
    save(figure, path)


def at_boundary(
    path: Path,
    pair: Pair,
    predictions: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    side: int = 96,
    width: float = 3,
) -> None:
    """Outlines of two or three networks against the truth's, zoomed, and below them their errors.

    The place is that with most boundaries of the truth: it favours no network.

    Args:
        path: the PNG to write.
        pair: a picture with labels.
        predictions: (height, width) class numbers by the network's name, of at most three networks.
        classes: their names.
        side: of the zoomed square in pixels.
        width: of the boundary band in which IoUs are stated, over the whole picture.
    """
    window = _window(pair.label, side)
    image, label = to_input(pair.image), pair.label[window]
    zoomed = colours.to_rgb_picture(image[window])
    figure = _figure(4.4 * (1 + len(predictions)), 10)
    axes = figure.subplots(2, 1 + len(predictions))
    _show(axes[0, 0], colours.to_rgb_picture(image))
    axes[0, 0].set_title(pair.name, **_TITLE)
    rows, columns = window
    corner = columns.start - 0.5, rows.start - 0.5
    size = columns.stop - columns.start, rows.stop - rows.start
    for colour, line in (("black", 3.5), ("white", 1.8)):  # visible on any ground
        axes[0, 0].add_patch(Rectangle(corner, *size, fill=False, color=colour, linewidth=line))
    _show(axes[1, 0], colours.paint(image[window], label, len(classes)))
    axes[1, 0].set_title("truth in the box", **_TITLE)
    outlines = [("truth", _TRUTH), *zip(predictions, colours.NETWORKS, strict=False)]
    for (upper, lower), (name, predicted), (_, colour) in zip(
        axes[:, 1:].T, predictions.items(), outlines[1:], strict=True
    ):
        in_band = tally([(pair.label, predicted)], len(classes), width=width).mean_iou
        _show(upper, zoomed)
        _outline(upper, label, _TRUTH, 1.4)
        _outline(upper, predicted[window], colour, 2.4)
        upper.set_title(f"{name}: mIoU {in_band:.3f} in the band", **_TITLE)
        _show(lower, colours.paint_errors(image[window], label, predicted[window]))
        lower.set_title(f"{name}: errors in the box", **_TITLE)
    figure.suptitle(
        f"band: the pixels of the whole picture within {width:g} pixels of a boundary of the truth",
        fontsize=12,
    )
    present = {*np.unique(label).tolist()}
    _legend(figure, "left", "classes", colours.of_names(classes, present), columns=2)
    _legend(figure, "center", "outlines", outlines, columns=2)
    _legend(figure, "right", "errors", colours.of_errors(len(classes)), columns=2)
    save(figure, path)


def _window(label: np.ndarray, side: int) -> tuple[slice, slice]:
    """The square with most boundary pixels; along a shorter side the whole picture."""
    busy = only_boundary(label, 1) != IGNORE
    return busiest(busy, *(min(side, length) for length in label.shape))


def _show(axis: Axes, pixels: np.ndarray) -> None:
    axis.imshow(pixels, interpolation="nearest")
    axis.set(xticks=[], yticks=[])


def _outline(axis: Axes, label: np.ndarray, colour: str, width: float) -> None:
    """Lines along the sides of pixels between two classes, with a dark rim."""
    down, right = np.argwhere(label[1:] != label[:-1]), np.argwhere(label[:, 1:] != label[:, :-1])
    lying = [((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)) for y, x in down]
    standing = [((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)) for y, x in right]
    for line, shade in ((width + 1.6, "black"), (width, colour)):
        axis.add_collection(
            LineCollection([*lying, *standing], colors=shade, linewidths=line, capstyle="round")
        )


def _legend(
    figure: Figure, place: str, title: str, names: Iterable[tuple[str, str]], *, columns: int
) -> None:
    handles = [
        Patch(facecolor=colour, edgecolor="black", linewidth=0.5, label=name) for name, colour in names
    ]
    outside: Any = f"outside lower {place}"  # Matplotlib's stub names each place by itself
    figure.legend(
        handles=handles,
        loc=outside,
        ncols=min(len(handles), columns) or 1,
        frameon=False,
        fontsize=11,
        title=title,
    )


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.08)
    return figure
