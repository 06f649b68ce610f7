"""A picture of what restoring did: before, after, the PSF, and what is left unexplained."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

BOX = "#ffd400"


def before_and_after(
    path: Path, y: np.ndarray, x: np.ndarray, psf: np.ndarray, residual: np.ndarray, *, title: str
) -> None:
    """Writes a PNG: the picture before and after, one detail of both enlarged, the PSF, and the residual.

    Args:
      path: the file to write.
      y: before, grey or RGB in [0, 1].
      x: after.
      psf: what it was restored with.
      residual: y - Hx. Structure in it says that the PSF or the model is wrong, or that it is not yet sharp.
      title: of the whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = y.shape[:2]
    figure = Figure(figsize=(13, 13 * height / width / 2 + 4.1), layout="constrained", facecolor="white")
    axes = figure.subplots(2, 12, gridspec_kw={"height_ratios": [6 * height / width, 3.6]})
    grid = axes[0, 0].get_gridspec()
    for axis in axes.flat:
        axis.remove()
    box = detail(x)
    for i, (name, pixels) in enumerate((("before", y), ("after", x))):
        whole = figure.add_subplot(grid[0, 6 * i : 6 * i + 6])
        show(whole, pixels, name)
        frame(whole, box)
        show(figure.add_subplot(grid[1, 3 * i : 3 * i + 3]), pixels[box], f"{name}, enlarged", BOX)
    spread = figure.add_subplot(grid[1, 6:9])
    show(spread, psf / psf.max(), f"PSF, {' x '.join(map(str, psf.shape))} pixels", cmap="magma")
    _residual(figure, figure.add_subplot(grid[1, 9:12]), residual)
    figure.suptitle(textwrap.fill(title, 130), fontsize=11)
    part = path.with_name(f".{path.name}.part")
    FigureCanvasAgg(figure).print_png(str(part))
    os.replace(part, path)


def show(axis: Any, pixels: np.ndarray, title: str, edge: str | None = None, cmap: str = "gray") -> None:
    """One picture in [0, 1] without ticks, in a frame if there is an edge colour."""
    axis.imshow(np.clip(pixels, 0, 1), cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=11)
    axis.spines[:].set(color=edge or "none", linewidth=2)


def frame(axis: Any, box: tuple[slice, slice]) -> None:
    """Marks a detail."""
    from matplotlib.patches import Rectangle

    rows, columns = box
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axis.add_patch(Rectangle((columns.start, rows.start), *size, fill=False, color=BOX, linewidth=1.5))


def _residual(figure: Any, axis: Any, residual: np.ndarray) -> None:
    grey = residual if residual.ndim == 2 else residual.mean(-1)
    most = 4 * float(np.std(grey)) + 1e-9
    shown = axis.imshow(grey, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_title(f"residual y - Hx, rms {np.sqrt(np.mean(np.square(residual))):.4f}", fontsize=11)
    figure.colorbar(shown, ax=axis, shrink=0.8)


def detail(pixels: np.ndarray) -> tuple[slice, slice]:
    """The square, a fifth of the shorter side, with the strongest edges."""
    grey = pixels if pixels.ndim == 2 else pixels.mean(-1)
    size = max(min(grey.shape) // 5, 1)
    edges = np.hypot(*np.gradient(np.clip(grey, 0, 1))) if min(grey.shape) > 1 else grey
    total = np.pad(edges, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    # Not next to the border, which is no place to judge by.
    m = size // 2
    middle = inside[m:-m, m:-m] if min(inside.shape) > 2 * m > 0 else inside
    top, left = np.unravel_index(int(np.argmax(middle)), middle.shape)
    top, left = (int(start) + (m if middle is not inside else 0) for start in (top, left))
    return slice(top, top + size), slice(left, left + size)
