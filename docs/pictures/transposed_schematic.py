"""Draws docs/images/transposed_methods.png: `python -m docs.pictures.transposed_schematic`.

The example of docs/algorithms.md: three inputs, a kernel of three, stride 2, by the three methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

OUT = Path(__file__).parent.parent / "images" / "transposed_methods.png"

X, KERNEL, STRIDE = (1, 2, 3), (1, 10, 100), 2
SIZE = (len(X) - 1) * STRIDE + len(KERNEL)

# Okabe and Ito's colours, one for each input; every cell says its number, so that none is needed to read it.
_COLOURS = ("#0072B2", "#D55E00", "#009E73")
_GREY, _SUM = "#888888", "#333333"
_HALF = 0.36  # of a cell's width
_SIDE = 9.3  # where a panel's notes begin
_ROW = 1.6  # between rows that are joined by lines


def cell(axes: Any, x: float, y: float, value: int, colours: Sequence[str] = ()) -> None:
    """A number in a box: of one input's colour, of two where two add up, dashed where it is a zero."""
    fill = colours or ("white",)
    for i, colour in enumerate(fill):
        part = 2 * _HALF / len(fill)
        left = x - _HALF + part * i
        axes.add_patch(Rectangle((left, y - _HALF), part, 2 * _HALF, color=_pale(colour), lw=0, zorder=3))
    style = {"edgecolor": _SUM, "lw": 1.1} if colours else {"edgecolor": _GREY, "lw": 0.9, "ls": (0, (2, 2))}
    axes.add_patch(Rectangle((x - _HALF, y - _HALF), 2 * _HALF, 2 * _HALF, fill=False, zorder=4, **style))
    ink = "black" if colours else _GREY
    axes.text(x, y, str(value), ha="center", va="center", fontsize=10, color=ink, zorder=5)


def _pale(colour: str) -> tuple[float, ...]:
    """The colour as a background: opaque, so that lines pass behind."""
    return tuple(0.25 * c + 0.75 for c in to_rgb(colour))


def link(axes: Any, start: tuple[float, float], end: tuple[float, float], colour: str | None) -> None:
    """A line from the bottom of one cell to the top of another; None: what it brings is a zero."""
    style = {"color": colour, "lw": 1.6} if colour else {"color": _GREY, "lw": 0.8, "ls": (0, (2, 2))}
    axes.plot((start[0], end[0]), (start[1] - _HALF, end[1] + _HALF), zorder=1, **style)


def tap(axes: Any, start: tuple[float, float], end: tuple[float, float], value: int) -> None:
    """What the line between two cells multiplies by."""
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"}
    axes.text(x, y, f"×{value}", ha="center", va="center", fontsize=8, color=_SUM, bbox=box, zorder=2)


def origins(o: int) -> list[tuple[int, int]]:
    """The (input, tap) pairs that output `o` is the sum of."""
    pairs = [(i, o - i * STRIDE) for i in range(len(X))]
    return [(i, k) for i, k in pairs if 0 <= k < len(KERNEL)]


def outputs(axes: Any, y: float) -> None:
    """The row of results, the same in every panel."""
    for o in range(SIZE):
        pairs = origins(o)
        cell(axes, o + 1, y, sum(X[i] * KERNEL[k] for i, k in pairs), [_COLOURS[i] for i, _ in pairs])
    axes.text(_SIDE, y, "output", va="center", fontsize=9.5, color=_SUM)


def note(axes: Any, y: float, text: str) -> None:
    """What a row is, to its right."""
    axes.text(_SIDE, y, text, va="center", fontsize=9.5, color=_SUM, linespacing=1.3)


def zero_insertion(axes: Any) -> str:
    """Every output sees three cells, most of which are zeros."""
    bottom, top = 0.0, _ROW
    stuffed = {len(KERNEL) - 1 + i * STRIDE: i for i in range(len(X))}
    for position in range(SIZE + len(KERNEL) - 1):
        i = stuffed.get(position)
        cell(axes, position, top, 0 if i is None else X[i], () if i is None else (_COLOURS[i],))
    for o in range(SIZE):
        for j in range(len(KERNEL)):
            i = stuffed.get(o + j)
            link(axes, (o + j, top), (o + 1, bottom), None if i is None else _COLOURS[i])
    shown = 2  # whose window is drawn
    thick = {"fill": False, "lw": 2.2, "zorder": 6}
    axes.add_patch(Rectangle((shown - 0.46, top - 0.46), 2.92, 0.92, **thick))
    axes.add_patch(Rectangle((shown + 0.54, bottom - 0.46), 0.92, 0.92, **thick))
    for j, weight in enumerate(reversed(KERNEL)):
        axes.text(shown + j, top + 0.7, f"×{weight}", ha="center", va="center", fontsize=9)
    note(axes, top + 0.7, "flipped kernel, slides by 1")
    note(axes, top, "input, stuffed with zeros\nand with a border of zeros")
    outputs(axes, bottom)
    return "zeros between the inputs, then an ordinary convolution: 21 products, 12 of them with a zero"


def overlap_add(axes: Any) -> str:
    """Every input becomes a patch; where patches overlap they add up."""
    bottom, step = 0.0, 0.84
    rows = [bottom + 1.15 + step * (len(X) - 1 - i) for i in range(len(X))]
    for o in range(SIZE):
        first = origins(o)[0][0]
        axes.plot((o + 1, o + 1), (rows[first] - _HALF, bottom + _HALF), color=_SUM, lw=1.2, zorder=1)
    for i, (value, y) in enumerate(zip(X, rows, strict=True)):
        cell(axes, -0.3, y, value, (_COLOURS[i],))
        axes.annotate(
            "",
            (i * STRIDE + 1 - _HALF, y),
            (-0.3 + _HALF, y),
            arrowprops={"arrowstyle": "->", "color": _COLOURS[i], "lw": 1.6},
            zorder=1,
        )
        for k, weight in enumerate(KERNEL):
            cell(axes, i * STRIDE + k + 1, y, value * weight, (_COLOURS[i],))
    for o in range(SIZE):
        if len(pairs := origins(o)) > 1:
            y = (rows[pairs[0][0]] + rows[pairs[1][0]]) / 2
            box = {"boxstyle": "circle,pad=0.05", "facecolor": "white", "edgecolor": _SUM}
            axes.text(o + 1, y, "+", ha="center", va="center", fontsize=9, bbox=box, zorder=6)
    axes.text(-0.3, rows[0] + 0.62, "input", ha="center", va="center", fontsize=9, color=_SUM)
    for k, weight in enumerate(KERNEL):
        axes.text(k + 1, rows[0] + 0.62, f"×{weight}", ha="center", va="center", fontsize=9)
    note(axes, rows[0] + 0.62, "kernel")
    note(axes, rows[1], "a patch for each input:\none matrix product")
    outputs(axes, bottom)
    return "every input times the whole kernel, 2 apart; what overlaps is added up: 9 products"


def subpixel(axes: Any) -> str:
    """Even and odd outputs are two convolutions at stride 1, which are then interleaved."""
    bottom, middle, top = 0.0, _ROW, 2 * _ROW
    for phase, left in enumerate((0.0, 5.6)):
        taps = KERNEL[phase::STRIDE]
        cells = range(phase, SIZE, STRIDE)
        for m, o in enumerate(cells):
            here = (left + m, middle)
            for b, weight in enumerate(taps):
                i = m - b
                inside = 0 <= i < len(X)
                above = (left + i + (len(taps) - 1) / 2, top)
                link(axes, above, here, _COLOURS[i] if inside else None)
                tap(axes, above, here, weight)
            pairs = origins(o)
            cell(axes, *here, sum(X[i] * KERNEL[k] for i, k in pairs), [_COLOURS[i] for i, _ in pairs])
            link(axes, here, (o + 1, bottom), _SUM)
        border = len(taps) - 1
        for i in range(-border, len(X) + border):
            inside = 0 <= i < len(X)
            place = left + i + border / 2
            cell(axes, place, top, X[i] if inside else 0, (_COLOURS[i],) if inside else ())
        name = ("even outputs: taps 0 and 2", "odd outputs: tap 1")[phase]
        middle_of_phase = left + (len(cells) - 1) / 2
        axes.text(middle_of_phase, top + 0.62, name, ha="center", va="center", fontsize=9.5, color=_SUM)
    note(axes, top, "input, twice")
    note(axes, middle, "a convolution for each\nphase, at stride 1")
    note(axes, (middle + bottom) / 2, "interleave")
    outputs(axes, bottom)
    return (
        "each phase of the output by itself, then interleaved: 11 products, 2 of them with the border's zeros"
    )


def main() -> None:
    """Draws the three panels, one below the other."""
    panels = {zero_insertion: 4.05, overlap_add: 5.2, subpixel: 5.5}
    figure, all_axes = plt.subplots(
        len(panels), figsize=(8, 9.1), height_ratios=list(panels.values()), layout="constrained"
    )
    for axes, (draw, height) in zip(all_axes, panels.items(), strict=True):
        text = draw(axes)
        axes.set(xlim=(-0.9, 12.2), ylim=(-0.5, height - 0.5), aspect="equal")
        axes.axis("off")
        axes.text(
            -0.7, height - 0.55, draw.__name__, fontsize=12, weight="bold", va="top", family="monospace"
        )
        axes.text(-0.7, height - 1.02, text, fontsize=9.5, va="top")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, dpi=150)


if __name__ == "__main__":
    main()
