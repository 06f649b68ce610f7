"""Pictures of a layer: the two arrays as cells, and what one step reads and writes."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import Literal

from . import raster, svg
from .layer import Layer
from .scene import TINTS, Box, Line, Mark, Scene, Theme, Words
from .story import Cell, Method, Position, Side, Step, Story, sums, tell

CELL, GAP, MARGIN = 30.0, 12.0, 16.0
_HEAD = 62.0  # height of the two lines of the title and the name of the array below them
_MIDDLE = 64.0  # between the arrays, where links run


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that can be written in several forms."""

    scene: Scene

    def svg(self, theme: Theme = "auto") -> str:
        """The picture as SVG; "auto" follows the viewer's preference for light or dark."""
        return svg.svg(self.scene, theme)

    def png(self, theme: Literal["light", "dark"] = "light", *, scale: float = 2.0) -> bytes:
        """The picture as a PNG file; needs matplotlib."""
        return raster.png(self.scene, theme, scale)

    def save(self, path: str | Path, theme: Theme = "auto") -> None:
        """Writes .svg or .png; "auto" is light in a PNG."""
        path = Path(path)
        if path.suffix == ".svg":
            path.write_text(self.svg(theme), encoding="utf-8")
        elif path.suffix == ".png":
            path.write_bytes(self.png("dark" if theme == "dark" else "light"))
        else:
            raise ValueError(f"{path} must end in .svg or .png; animations can be .gif and .html.")


@dataclasses.dataclass(frozen=True)
class Board:
    """Where the cells of a side are: channels below each other, slices of three dimensions side by side."""

    side: Side
    x: float
    y: float

    @property
    def _last(self) -> tuple[range, range, range]:
        ranges = (range(1), range(1), *self.side.ranges)[-3:]
        return ranges[0], ranges[1], ranges[2]

    @property
    def width(self) -> float:
        """Of all cells."""
        depth, _, columns = self._last
        return len(depth) * (len(columns) * CELL + GAP) - GAP

    @property
    def height(self) -> float:
        """Of all cells."""
        _, rows, _ = self._last
        return len(self.side.tints) * (len(rows) * CELL + GAP) - GAP

    def place(self, cell: Cell) -> tuple[float, float]:
        """The upper left corner of a cell."""
        channel, position = cell
        depth, rows, columns = self._last
        d, r, c = (0, 0, *position)[-3:]
        x = self.x + (d - depth.start) * (len(columns) * CELL + GAP) + (c - columns.start) * CELL
        return x, self.y + channel * (len(rows) * CELL + GAP) + (r - rows.start) * CELL

    def shows(self, cell: Cell) -> bool:
        """Whether the cell is drawn at all."""
        return all(i in r for i, r in zip(cell[1], self.side.ranges, strict=True))


@dataclasses.dataclass(frozen=True)
class Stage:
    """The story laid out on paper."""

    story: Story
    source: Board
    target: Board
    width: float
    height: float

    @property
    def across(self) -> bool:
        """Whether the arrays are side by side."""
        return self.target.x > self.source.x + self.source.width


def linked(story: Story) -> bool:
    """Whether there is room for a line between each pair of cells: one row above another."""
    return len(story.source.ranges) == 1 and len(story.source.tints) == len(story.target.tints) == 1


def stage(story: Story) -> Stage:
    """Arrays of two dimensions side by side, others below each other."""
    source, target = Board(story.source, 0, 0), Board(story.target, 0, 0)
    top = MARGIN + _HEAD
    across = not linked(story) and len(story.source.ranges) < 3
    if across:
        height, width = max(source.height, target.height), source.width + _MIDDLE + target.width
        places = [(0.0, (height - source.height) / 2), (source.width + _MIDDLE, (height - target.height) / 2)]
    else:
        width, height = max(source.width, target.width), source.height + _MIDDLE + target.height
        # A position stands above the same one where both arrays count alike.
        places = [((width - source.width) / 2, 0.0), ((width - target.width) / 2, source.height + _MIDDLE)]
    texts = [*story.title.split("\n"), *(s.caption for s in story.steps)]
    total = max(width, 8.6 * len(texts[0]), *(7.6 * len(text) for text in texts))
    shift = MARGIN + (total - width) / 2
    (a, b), (c, d) = places
    boards = Board(story.source, a + shift, b + top), Board(story.target, c + shift, d + top)
    return Stage(
        story,
        *boards,
        total + 2 * MARGIN,
        height + top + MARGIN + (28 if across else 54 if not story.patches else 68),
    )


def draw(layer: Layer, *, method: Method | None = None, at: int | None = None) -> Picture:
    """A picture of a layer: both arrays, and one step of the computation.

    Args:
      layer: what `explain.layer` returned.
      method: of a transposed convolution: "overlap_add" (the default), "zero_insertion" or "subpixel".
      at: which step; by default one in the middle.

    Returns:
      The picture, with `svg`, `png` and `save`.

    Raises:
      ValueError: for a step or method that there is not, or more cells than one can look at.

    Example:
      >>> from jaxconv.explain import layer
      >>> picture = draw(layer(7, 3, stride=2, padding=1))
      >>> picture.scene.description
      'output 2 = w0·x3 + w1·x4 + w2·x5'
    """
    story = tell(layer, method)
    at = _middle(story) if at is None else at
    if not 0 <= at < len(story.steps):
        raise ValueError(f"at={at} must be a step, 0 to {len(story.steps) - 1}.")
    laid = stage(story)
    marks = [*background(laid), *foreground(laid, at, sums(story)[at], every=True)]
    return Picture(Scene(laid.width, laid.height, tuple(marks), story.title, story.steps[at].caption))


def _middle(story: Story) -> int:
    """The step in the middle of the array that it goes through, in the middle channel."""

    def distance(index: int) -> tuple[float, ...]:
        step = story.steps[index]
        side, cells = (story.source, step.reads) if story.patches else (story.target, step.writes)
        [(channel, position)] = cells
        away = (abs(2 * r.index(i) - len(r)) for i, r in zip(position, side.data, strict=True))
        return abs(2 * channel - len(side.tints)), sum(away)

    return min(range(len(story.steps)), key=distance)


def background(laid: Stage) -> list[Mark]:
    """What is the same in every step."""
    story = laid.story
    head, parameters = story.title.split("\n")
    marks: list[Mark] = [
        Words(laid.width / 2, MARGIN + 6, head, size=14, bold=True),
        Words(laid.width / 2, MARGIN + 25, parameters, "muted", 12),
    ]
    for board, below in ((laid.source, False), (laid.target, not laid.across)):
        y = (
            board.y + board.height + (30 if story.patches and linked(story) else 14)
            if below
            else board.y - 13
        )
        marks.append(Words(board.x + board.width / 2, y, board.side.name, "muted", 12))
        marks += [mark for cell in board.side.cells for mark in _cell(board, cell)]
    return marks


def foreground(laid: Stage, at: int, total: collections.Counter[Cell], *, every: bool = False) -> list[Mark]:
    """One step; with `every` the links of the others too, thin, where there is room for them."""
    step = laid.story.steps[at]
    marks: list[Mark] = []
    if linked(laid.story):
        if every:
            marks += [line for other in laid.story.steps for line in _links(laid, other, "line", 1.0)]
        marks += _links(laid, step, "orange", 2.2)
        marks += _tap_names(laid, step)
    else:
        marks += _beams(laid, step)
    for board, cells, is_source in ((laid.source, step.reads, True), (laid.target, step.writes, False)):
        for cell, tap in cells.items():
            if board.shows(cell):
                marks += _hot(laid, board, cell, tap, is_source)
    if laid.story.patches:
        marks += _counts(laid, total)
    marks.append(Words(laid.width / 2, laid.height - MARGIN - 4, step.caption, size=13))
    return marks


def _cell(board: Board, cell: Cell) -> list[Mark]:
    """A cell at rest: coloured where it holds data, dashed where it is a zero or cropped."""
    x, y = board.place(cell)
    if not board.side.holds_data(cell[1]):
        return [Box(x + 1.5, y + 1.5, CELL - 3, CELL - 3, "", "line", 1, dashed=True)]
    colour = TINTS[board.side.tint(*cell) % len(TINTS)]
    marks: list[Mark] = [Box(x + 1.5, y + 1.5, CELL - 3, CELL - 3, f"{colour}-fill", colour)]
    if len(cell[1]) == 1:
        number = board.side.data[0].index(cell[1][0])
        marks.append(Words(x + CELL / 2, y + CELL / 2, str(number), size=12))
    return marks


def _hot(laid: Stage, board: Board, cell: Cell, tap: Position, is_source: bool) -> list[Mark]:
    """A cell that the step touches: a thick frame, and its tap where several are touched."""
    x, y = board.place(cell)
    real = board.side.holds_data(cell[1])
    patch = laid.story.patches != is_source
    fill = "orange-fill" if real and patch else ""
    marks: list[Mark] = [Box(x + 1.5, y + 1.5, CELL - 3, CELL - 3, fill, "orange", 2.4, dashed=not real)]
    if len(cell[1]) == 1:
        if real:
            number = board.side.data[0].index(cell[1][0])
            marks.append(Words(x + CELL / 2, y + CELL / 2, str(number), size=12, bold=True))
    elif patch and not laid.story.patches:
        name = "".join(map(str, tap)) if real else "0"
        marks.append(
            Words(x + CELL / 2, y + CELL / 2, name, "ink" if real else "muted", 11 if len(tap) < 3 else 10)
        )
    return marks


def _counts(laid: Stage, total: collections.Counter[Cell]) -> list[Mark]:
    """How many products each output is the sum of, so far."""
    board = laid.target
    cells = ((cell, n) for cell, n in total.items() if board.shows(cell) and board.side.holds_data(cell[1]))
    marks: list[Mark] = []
    for cell, n in cells:
        x, y = board.place(cell)
        below = CELL + 9 if len(cell[1]) == 1 else CELL / 2  # a single row's cells hold their own number
        marks.append(Words(x + CELL / 2, y + below, str(n), "muted" if len(cell[1]) == 1 else "ink", 12))
    return marks


def _centre(board: Board, cell: Cell, edge: float) -> tuple[float, float]:
    x, y = board.place(cell)
    return x + CELL / 2, y + edge * CELL


def _links(laid: Stage, step: Step, colour: str, weight: float) -> list[Mark]:
    """Lines from every cell that a step reads to every cell that it writes."""
    pairs = [(r, w) for r in step.reads for w in step.writes if laid.source.shows(r) and laid.target.shows(w)]
    return [
        Line(
            _centre(laid.source, r, 0.95),
            _centre(laid.target, w, 0.05),
            colour,
            weight,
            not (laid.story.source.holds_data(r[1]) and laid.story.target.holds_data(w[1])),
        )
        for r, w in pairs
    ]


def _tap_names(laid: Stage, step: Step) -> list[Mark]:
    """Which tap each line of a step multiplies by, in the gap between the arrays."""
    many = laid.target if laid.story.patches else laid.source
    taps = step.writes if laid.story.patches else step.reads
    one = next(iter(step.reads if laid.story.patches else step.writes))
    edge = len(many.side.tints) - 1 if many is laid.source else 0
    nearest = {cell: tap for cell, tap in taps.items() if many.shows(cell)}
    rows = {cell[0] for cell in nearest}
    row = max(rows) if edge else min(rows, default=0)
    marks: list[Mark] = []
    for cell, tap in nearest.items():
        if cell[0] != row:
            continue
        a = _centre(many, cell, 0.95 if many is laid.source else 0.05)
        b = _centre(
            laid.source if laid.story.patches else laid.target, one, 0.95 if laid.story.patches else 0.05
        )
        x, y = a[0] + 0.2 * (b[0] - a[0]), a[1] + 0.2 * (b[1] - a[1])
        marks += [Box(x - 10, y - 8, 20, 16, "paper"), Words(x, y, f"w{tap[0]}", "orange", 11, bold=True)]
    return marks


def _beams(laid: Stage, step: Step) -> list[Mark]:
    """Lines between the corners of what is read and of what is written."""
    marks: list[Mark] = []
    ends = []
    for board, cells in ((laid.source, step.reads), (laid.target, step.writes)):
        places = [board.place(cell) for cell in cells if board.shows(cell)]
        if not places:
            return marks
        xs, ys = zip(*places, strict=True)
        ends.append((min(xs), min(ys), max(xs) + CELL, max(ys) + CELL))
    (x0, y0, x1, y1), (u0, v0, u1, v1) = ends
    if laid.across:
        pairs = [((x1, y0), (u0, v0)), ((x1, y1), (u0, v1))]
    else:
        pairs = [((x0, y1), (u0, v0)), ((x1, y1), (u1, v0))]
    return [Line(a, b, "orange", 1.2) for a, b in pairs]
