"""A scene as pixels, by matplotlib; the same marks as in SVG."""

from __future__ import annotations

import io
from typing import Any, Literal

from .scene import COLOURS, Box, Line, Scene

_DPI = 72.0  # of a scene's unit: a point


def figure(scene: Scene, theme: Literal["light", "dark"]) -> Any:
    """The scene as a matplotlib figure, its units as points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    colours = COLOURS[theme]
    fig = Figure(figsize=(scene.width / _DPI, scene.height / _DPI), facecolor=colours["paper"])
    FigureCanvasAgg(fig)
    axes = fig.add_axes((0, 0, 1, 1), xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.axis("off")
    for order, mark in enumerate(scene.marks):
        if isinstance(mark, Box):
            patch = Rectangle((mark.x, mark.y), mark.width, mark.height, lw=mark.weight, zorder=order)
            patch.set(facecolor=colours.get(mark.fill, "none"), edgecolor=colours.get(mark.stroke, "none"))
            patch.set_linestyle((0, (4, 3)) if mark.dashed else "solid")
            axes.add_patch(patch)
        elif isinstance(mark, Line):
            style = (0, (4, 3)) if mark.dashed else "solid"
            look = {"color": colours[mark.stroke], "lw": mark.weight, "linestyle": style, "zorder": order}
            axes.add_line(Line2D(*zip(mark.start, mark.end, strict=True), **look))
        else:
            place = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
            look = {"color": colours[mark.ink], "fontsize": mark.size, "zorder": order}
            weight = "bold" if mark.bold else "normal"
            axes.text(
                mark.x,
                mark.y,
                mark.text,
                ha=place,
                va="center_baseline",
                fontweight=weight,
                parse_math=False,
                **look,
            )
    return fig


def png(scene: Scene, theme: Literal["light", "dark"], scale: float = 2.0) -> bytes:
    """The scene as a PNG file of `scale` pixels to a unit."""
    buffer = io.BytesIO()
    figure(scene, theme).savefig(buffer, format="png", dpi=_DPI * scale)
    return buffer.getvalue()
