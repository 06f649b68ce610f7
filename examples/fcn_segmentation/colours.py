"""Colours that can be told apart without red and green, and how pixels are painted with them."""

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

from .dataset import IGNORE

# M. Okabe and K. Ito, "Color Universal Design", 2008; then those of P. Tol's "muted", 2021, that differ from
# them. Beyond ten classes no set of colours is safe: they are matplotlib's tab20.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
_MUTED = ("#332288", "#DDCC77", "#882255", "#999933", "#AA4499", "#117733")
_CLASSES = (ORANGE, GREEN, SKY, VERMILION, *_MUTED)
IGNORED = "#9a9a9a"

# A class taken for background, background taken for a class, one class taken for another; not the colours of
# the first classes.
MISSED, FALSE_ALARM, CONFUSED = BLUE, YELLOW, PURPLE
# Outlines of networks.
NETWORKS = (ORANGE, SKY, PURPLE)


def of_class(number: int) -> str:
    """The colour of a class; the background, number 0, has none."""
    if number <= len(_CLASSES):
        return _CLASSES[number - 1]
    return to_hex(colormaps["tab20"](number % 20))


def to_rgb_picture(image: np.ndarray) -> np.ndarray:
    """(height, width, 3) in [0, 1] of a grey or RGB image in [0, 1]."""
    return np.broadcast_to(np.clip(image, 0, 1), (*image.shape[:2], 3))


def paint(image: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """The image in grey, each class but the background in shades of its colour, ignored pixels flat."""
    grey = to_rgb_picture(image.mean(axis=-1, keepdims=True))
    palette = np.ones((classes, 3))
    palette[1:] = [to_rgb(of_class(number)) for number in range(1, classes)]
    tint = palette[np.where(label == IGNORE, 0, label)]
    picture = np.where((label == 0)[..., None], 0.8 * grey, tint * (0.5 + 0.5 * grey))
    picture[label == IGNORE] = to_rgb(IGNORED)
    return picture


def paint_errors(image: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image, grey and dim, with wrong pixels in the colour of their kind of error."""
    picture = 0.55 * to_rgb_picture(image.mean(axis=-1, keepdims=True))
    picture[label == IGNORE] = to_rgb(IGNORED)
    wrong = (label != predicted) & (label != IGNORE)
    for colour, where in (
        (MISSED, wrong & (predicted == 0)),
        (FALSE_ALARM, wrong & (label == 0)),
        (CONFUSED, wrong & (predicted != 0) & (label != 0)),
    ):
        picture[where] = to_rgb(colour)
    return picture


def of_names(classes: Sequence[str], present: Collection[int]) -> list[tuple[str, str]]:
    """Name and colour of the classes but the background that are present, and of what is ignored."""
    named = [(name, of_class(number)) for number, name in enumerate(classes) if number and number in present]
    return [*named, ("ignored", IGNORED)] if IGNORE in present else named


def of_errors(classes: int) -> list[tuple[str, str]]:
    """With one class beside the background none can be taken for another."""
    kinds = [("missed", MISSED), ("false alarm", FALSE_ALARM)]
    return kinds if classes == 2 else [*kinds, ("another class", CONFUSED)]
