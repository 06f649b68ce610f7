"""What a picture consists of, before it is SVG or pixels: boxes, lines and words in named colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

Theme = Literal["light", "dark", "auto"]

# Okabe and Ito's colours, which stay apart for every kind of colour vision. A colour NAME has a pale partner
# NAME-fill for areas that carry words.
_LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c2128",
    "muted": "#59626d",
    "line": "#aab2bc",
    "blue": "#0072b2",
    "orange": "#c45500",
    "green": "#007a59",
    "purple": "#a8558a",
    "brown": "#8a6d00",
    "sky": "#2b83ba",
}
_DARK = {
    "paper": "#14181e",
    "ink": "#eef1f5",
    "muted": "#a9b3bf",
    "line": "#56606c",
    "blue": "#5cb3ee",
    "orange": "#ff9d45",
    "green": "#3fd0a2",
    "purple": "#e39ac8",
    "brown": "#e3c34a",
    "sky": "#9fd2f5",
}
TINTS = ("blue", "green", "purple", "brown", "sky", "orange")  # of groups and phases, in this order
HEATS = 4  # "heat-1" to "heat-4", from little to much


def mixed(colour: str, paper: str, part: float) -> str:
    """`part` of a colour on paper."""
    channels = (int(c[i : i + 2], 16) for i in (1, 3, 5) for c in (colour, paper))
    pairs = zip(*[iter(channels)] * 2, strict=True)
    return "#" + "".join(f"{round(part * a + (1 - part) * b):02x}" for a, b in pairs)


def _with_fills(colours: Mapping[str, str], part: float) -> dict[str, str]:
    fills = {f"{name}-fill": mixed(colours[name], colours["paper"], part) for name in TINTS}
    heats = {f"heat-{i}": mixed(colours["blue"], colours["paper"], 0.12 * i) for i in range(1, HEATS + 1)}
    return {**colours, **fills, **heats}


COLOURS: Mapping[str, Mapping[str, str]] = {
    "light": _with_fills(_LIGHT, 0.2),
    "dark": _with_fills(_DARK, 0.3),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; fill and stroke are names of colours, "" for none."""

    x: float
    y: float
    width: float
    height: float
    fill: str = ""
    stroke: str = ""
    weight: float = 1.0
    dashed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A straight line."""

    start: tuple[float, float]
    end: tuple[float, float]
    stroke: str
    weight: float = 1.0
    dashed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """Words centred vertically at y; `anchor` says which part of them is at x."""

    x: float
    y: float
    text: str
    ink: str = "ink"
    size: float = 13.0
    anchor: Literal["start", "middle", "end"] = "middle"
    bold: bool = False


Mark = Box | Line | Words


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """A picture: marks in the order in which they are painted, and what it shows in words."""

    width: float
    height: float
    marks: tuple[Mark, ...]
    title: str
    description: str


def beside(scenes: list[Scene], title: str, *, gap: float = 36.0) -> Scene:
    """Pictures side by side, as one."""
    marks: list[Mark] = []
    x = 0.0
    for scene in scenes:
        marks += [moved(mark, x, 0) for mark in scene.marks]
        x += scene.width + gap
    height = max(s.height for s in scenes)
    return Scene(x - gap, height, tuple(marks), title, " ".join(s.description for s in scenes))


def moved(mark: Mark, dx: float, dy: float) -> Mark:
    """A mark somewhere else."""
    if isinstance(mark, Line):
        (a, b), (c, d) = mark.start, mark.end
        return dataclasses.replace(mark, start=(a + dx, b + dy), end=(c + dx, d + dy))
    return dataclasses.replace(mark, x=mark.x + dx, y=mark.y + dy)
