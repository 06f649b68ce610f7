"""Pictures of what the network learned: its kernels, its feature maps, its most certain mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from scipy.special import softmax

from ..common.figures import save, tiles
from .data import Images

_GREY, _MAPS = "gray", "magma"
_SIGNED = colormaps["RdBu_r"].with_extremes(bad="0.8")  # between kernels: white is a weight of zero


def _sheet(pictures: np.ndarray, *, gap: int) -> np.ndarray:
    """Of (height, width, n): nearly as many columns as rows, so that a kernel is where its map is."""
    return tiles(np.moveaxis(pictures, -1, 0), columns=round(pictures.shape[-1] ** 0.5), gap=gap)


def kernels(path: Path, kernel: np.ndarray) -> None:
    """The first layer's kernels (height, width, 1, features): red adds, blue subtracts, one scale for all."""
    figure = Figure(figsize=(6.6, 5.9), layout="constrained", facecolor="white")
    axis = figure.subplots()
    scale = np.percentile(np.abs(kernel), 98)  # a few large weights would leave all others pale
    picture = axis.imshow(_sheet(kernel[:, :, 0], gap=1), cmap=_SIGNED, vmin=-scale, vmax=scale)
    axis.set_axis_off()
    axis.set_title(f"the {kernel.shape[-1]} kernels of the first layer")
    figure.colorbar(picture, ax=axis, shrink=0.6, label="weight", extend="both")
    save(figure, path)


def feature_maps(
    path: Path,
    image: np.ndarray,
    maps: Sequence[np.ndarray],
    logits: np.ndarray,
    classes: Sequence[str],
    *,
    truth: int,
) -> None:
    """An image, what each layer makes of it, and the answer.

    Args:
        path: the PNG to write.
        image: (height, width), 8 bits.
        maps: of each layer, (height, width, features), not negative.
        logits: (classes,).
        classes: their names.
        truth: the image's class.
    """
    names = [f"layer {number}" for number in range(1, len(maps) + 1)]
    figure = Figure(figsize=(16, 6.4), layout="constrained", facecolor="white")
    axes = figure.subplot_mosaic(
        [["image", *names], ["answer", *names]], width_ratios=[1.1, *[2.2] * len(maps)], height_ratios=[3, 2]
    )
    axes["image"].imshow(image, cmap=_GREY, vmin=0, vmax=255, interpolation="nearest")
    axes["image"].set(xticks=[], yticks=[], title=f"label: {classes[truth]}")
    _draw_answer(axes["answer"], softmax(logits), classes, truth)
    for name, values in zip(names, maps, strict=True):
        height, width, features = values.shape
        # Each map by its own maximum: what a feature is sensitive to, not how strongly.
        scaled = values / np.maximum(values.max(axis=(0, 1)), 1e-12)
        axes[name].imshow(_sheet(scaled, gap=max(1, height // 14)), cmap=_MAPS)
        axes[name].set_axis_off()
        axes[name].set_title(f"{name}: {features} maps of {height}x{width}, each scaled by its maximum")
    save(figure, path)


def _draw_answer(axis, probability: np.ndarray, classes: Sequence[str], truth: int) -> None:
    order = np.argsort(probability)[::-1][:5]
    colours = ["tab:green" if label == truth else "tab:red" for label in order]
    bars = axis.barh([classes[label] for label in order], 100 * probability[order], color=colours)
    axis.bar_label(bars, fmt="{:.1f}", padding=3)
    axis.invert_yaxis()
    axis.set(xlim=(0, 120), xticks=range(0, 101, 20), xlabel="probability, %")
    axis.spines[["top", "right"]].set_visible(False)


def most_certain_mistakes(data: Images, logits: np.ndarray, *, most: int) -> np.ndarray:
    """Numbers of the images whose answer is wrong, by falling probability of that answer."""
    wrong = np.flatnonzero(logits.argmax(axis=-1) != data.labels)
    certainty = softmax(logits[wrong], axis=-1).max(axis=-1)
    return wrong[np.argsort(-certainty, kind="stable")[:most]]


def mistakes(
    path: Path, data: Images, logits: np.ndarray, classes: Sequence[str], *, columns: int = 8, most: int = 32
) -> None:
    """The wrong answers that the network is most certain of."""
    worst = most_certain_mistakes(data, logits, most=most).tolist()
    answers = logits.argmax(axis=-1)
    rows = max(1, -(-len(worst) // columns))
    height, width = data.images.shape[1:]
    above, gap = round(0.36 * height), max(1, width // 10)  # above each image are two lines
    inches = 1.6 * columns, 1.6 * rows * (above + height + gap) / (width + gap) + 0.4
    figure = Figure(figsize=inches, layout="constrained", facecolor="white")
    axis = figure.subplots()
    axis.set_axis_off()
    if worst:
        framed = np.pad(
            data.images[worst].astype(float), ((0, 0), (above, 0), (0, 0)), constant_values=np.nan
        )
        axis.imshow(tiles(framed, columns=columns, gap=gap), cmap=_GREY, vmin=0, vmax=255)
    for place, number in enumerate(worst):
        row, column = divmod(place, columns)
        answer, label = int(answers[number]), int(data.labels[number])
        percent = 100 * softmax(logits[number])[answer]
        axis.text(
            column * (width + gap) + (width - 1) / 2,
            row * (above + height + gap) + above - 1,
            f"{classes[answer]} {percent:.0f} %\nno. {number}: {classes[label]}",
            ha="center",
            va="bottom",
            fontsize=8,
        )
    wrong = int((answers != data.labels).sum())
    figure.suptitle(
        f"the most certain of {wrong} wrong answers to {len(answers)} test images:"
        " answer and probability, number of the image and its label"
    )
    save(figure, path)
