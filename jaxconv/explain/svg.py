"""A scene as SVG, without any library."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from .scene import COLOURS, Box, Line, Mark, Scene, Theme, Words

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_DASH = ' stroke-dasharray="4 3"'


def svg(scene: Scene, theme: Theme = "auto") -> str:
    """The whole document; "auto" follows the viewer's preference, and is light where nobody asks."""
    title = scene.title.replace("\n", ", ")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(scene.width)} {_n(scene.height)}" '
        f'width="{_n(scene.width)}" height="{_n(scene.height)}" font-family="{FONT}" role="img" '
        f"aria-label={quoteattr(title)}>"
    )
    words = f"<title>{escape(title)}</title><desc>{escape(scene.description)}</desc>"
    style = f"<style>{dark_rules()}</style>" if theme == "auto" else ""
    paper = Box(0, 0, scene.width, scene.height, "paper")
    return "\n".join([head, words + style, *elements([paper, *scene.marks], theme), "</svg>\n"])


def dark_rules(*, query: str = "@media (prefers-color-scheme: dark)", prefix: str = "") -> str:
    """CSS that turns the light colours of marks drawn for "auto" into the dark ones."""
    rules = "".join(
        f"{prefix}.f-{name}{{fill:{value}}}{prefix}.s-{name}{{stroke:{value}}}"
        for name, value in COLOURS["dark"].items()
    )
    return f"{query}{{{rules}}}" if query else rules


def elements(marks: Iterable[Mark], theme: Theme) -> list[str]:
    """Each mark as an element."""
    return [_element(mark, theme) for mark in marks]


def _element(mark: Mark, theme: Theme) -> str:
    if isinstance(mark, Box):
        place = f'x="{_n(mark.x)}" y="{_n(mark.y)}" width="{_n(mark.width)}" height="{_n(mark.height)}"'
        return f"<rect {place}{_paint(mark.fill, mark.stroke, mark, theme)}/>"
    if isinstance(mark, Line):
        (a, b), (c, d) = mark.start, mark.end
        place = f'x1="{_n(a)}" y1="{_n(b)}" x2="{_n(c)}" y2="{_n(d)}"'
        return f"<line {place}{_paint('', mark.stroke, mark, theme)}/>"
    # A third of the size below the middle is where a baseline belongs; dominant-baseline is not understood by
    # every program.
    place = f'x="{_n(mark.x)}" y="{_n(mark.y + 0.35 * mark.size)}" font-size="{_n(mark.size)}"'
    anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
    bold = ' font-weight="600"' if mark.bold else ""
    return f"<text {place}{anchor}{bold}{_paint(mark.ink, '', mark, theme)}>{escape(mark.text)}</text>"


def _paint(fill: str, stroke: str, mark: Mark, theme: Theme) -> str:
    colours = COLOURS["light" if theme == "auto" else theme]
    text = f' fill="{colours[fill] if fill else "none"}"' if not isinstance(mark, Line) else ""
    classes = [f"f-{fill}"] * bool(fill) + [f"s-{stroke}"] * bool(stroke)
    if stroke and not isinstance(mark, Words):
        text += f' stroke="{colours[stroke]}"'
        text += f' stroke-width="{_n(mark.weight)}"' if mark.weight != 1 else ""
        text += _DASH if mark.dashed else ""
    return text + (f' class="{" ".join(classes)}"' if theme == "auto" and classes else "")


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
