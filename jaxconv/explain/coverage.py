"""How many taps touch each position: the checkerboard of a transposed convolution, before any weight."""

from __future__ import annotations

import itertools
import math

from .draw import CELL, MARGIN, Picture
from .layer import Layer
from .scene import HEATS, Box, Mark, Scene, Words
from .story import headline


def draw_coverage(layer: Layer) -> Picture:
    """A map of the larger side that says how many products each of its positions takes part in.

    Args:
      layer: what `explain.layer` returned, of one or two dimensions.

    Returns:
      The picture: the darker, the more.

    Raises:
      ValueError: for three dimensions and more, or a side that is empty or too large.

    Example:
      >>> from jaxconv.explain import layer
      >>> draw_coverage(layer(4, 3, stride=2, transposed=True)).scene.description
      'products for each output: 1 to 2, uneven away from the borders'
    """
    counts = layer.coverage
    cells = math.prod(map(len, counts))
    if layer.rank > 2 or not 0 < cells <= 2500:
        raise ValueError(
            f"coverage is drawn of one or two dimensions and 1 to 2500 positions, not of {cells}."
        )
    rows, columns = ((1,), *counts)[-2:]
    products = [[a * b for b in columns] for a in rows]
    flat = list(itertools.chain(*products))
    even = "uneven" if layer.checkerboard else "even"
    what = "output" if layer.transposed else "input"
    caption = f"products for each {what}: {min(flat)} to {max(flat)}, {even} away from the borders"
    lines = headline(layer).split("\n")
    width = max(len(columns) * CELL, *(7.8 * len(text) for text in (*lines, caption)))
    left, top = MARGIN + (width - len(columns) * CELL) / 2, MARGIN + 42
    marks: list[Mark] = [
        Words(MARGIN + width / 2, MARGIN + 6, lines[0], size=14, bold=True),
        Words(MARGIN + width / 2, MARGIN + 25, lines[1], "muted", 12),
    ]
    for (i, line), j in itertools.product(enumerate(products), range(len(columns))):
        marks += _cell(left + j * CELL, top + i * CELL, line[j], max(flat))
    height = top + len(rows) * CELL + 34
    marks.append(Words(MARGIN + width / 2, height - MARGIN, caption, size=13))
    return Picture(Scene(width + 2 * MARGIN, height, tuple(marks), lines[0], caption))


def _cell(x: float, y: float, count: int, most: int) -> list[Mark]:
    """A cell and its number; an untouched one is empty."""
    heat = f"heat-{-(-count * HEATS // most)}" if count else ""
    return [
        Box(x + 1, y + 1, CELL - 2, CELL - 2, heat, "line"),
        Words(x + CELL / 2, y + CELL / 2, str(count), size=12),
    ]
