"""The drawing of a sheet, by matplotlib."""

# matplotlib's types are wide.
# pyright: standard

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .patches import Patch

_SIGNED, _MAPS, _BETWEEN = "RdBu_r", "magma", "0.8"
_CLIP = 99.5  # percentile at which signed colours end: a few large values would leave all others pale
_MOST_KERNELS = 64
_WIDE = 16  # inches


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What there is to draw.

    Attributes:
      image: (height, width, 1 or 3).
      answer: scores (classes,) or (height, width, classes).
      target: the class that is asked about.
      classes: names.
      values: the least and the largest value of an image.
      attributions: by method, (height, width).
      cam: the layer and (height, width).
      kernels: (height, width, in, out).
      maximised: images, one for each class.
      maps: by layer, (height, width, channels), not negative.
      patches: the layer and for each filter its patches, or None.
    """

    image: np.ndarray
    answer: np.ndarray
    target: int
    classes: Sequence[str]
    values: tuple[float, float]
    attributions: dict[str, np.ndarray]
    cam: tuple[str, np.ndarray]
    kernels: np.ndarray
    maximised: Sequence[np.ndarray]
    maps: Sequence[tuple[str, np.ndarray]]
    patches: tuple[str, list[list[Patch]]] | None


def sheet(p: Pictures, path: Path) -> None:
    """Writes a PNG; a reader finds the old picture or the new one and nothing between."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = p.image.shape[:2]
    tall = min(height / width, 1.5)
    side = min(_WIDE / len(p.maps), 5)
    heights = [_WIDE / 7 * tall + 0.6, 2.4, side * tall + 0.4]
    if p.patches:
        heights.append(_WIDE / len(p.patches[1]) + 0.5)
    figure = Figure(figsize=(_WIDE, sum(heights)), layout="constrained", facecolor="white", dpi=110)
    rows: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    _first_row(p, rows[0].subplots(1, 7))
    _second_row(p, rows[1])
    for axis, (layer, maps) in zip(np.atleast_1d(rows[2].subplots(1, len(p.maps))), p.maps, strict=True):
        most = np.maximum(maps.max((0, 1)), np.finfo(maps.dtype).tiny)
        _tiles(axis, list(np.moveaxis(maps / most, -1, 0)), cmap=_MAPS, vmin=0, vmax=1)
        size = "x".join(map(str, maps.shape[:2]))
        axis.set_title(f"{_short(layer)}: {size}, each map by its maximum", fontsize=9)
    if p.patches:
        _patches_row(p, rows[3], *p.patches)
    part = path.with_name(f".{path.name}.part")
    FigureCanvasAgg(figure).print_png(str(part))
    os.replace(part, path)


def _first_row(p: Pictures, axes: Any) -> None:
    image, answer, *signed, cam = axes
    _show(image, _visible(p.image, p.values), "image")
    _answer(p, answer)
    for axis, (name, values) in zip(signed, p.attributions.items(), strict=True):
        most = max(float(np.percentile(np.abs(values), _CLIP)), float(np.finfo(np.float32).tiny))
        _show(
            axis,
            values,
            f"{name}\nwhite 0, red +{_number(most)}, blue -{_number(most)}",
            cmap=_SIGNED,
            most=most,
        )
    layer, heat = p.cam
    _show(
        cam, _visible(p.image, p.values), f"Grad-CAM of {_short(layer)}\ndark 0, bright {_number(heat.max())}"
    )
    cam.imshow(heat, cmap=_MAPS, vmin=0, vmax=heat.max() or 1, alpha=0.7)


def _answer(p: Pictures, axis: Any) -> None:
    name = p.classes[p.target]
    if p.answer.ndim == 3:
        _show(axis, p.answer.argmax(-1) == p.target, f"where the answer is\n{name}: white")
        return
    shares = np.exp(p.answer - p.answer.max())
    shares /= shares.sum()
    order = np.argsort(-shares)[:5]
    bars = axis.barh(range(len(order)), 100 * shares[order], color="0.6")
    for bar, c in zip(bars, order, strict=True):
        bar.set_color("tab:red" if c == p.target else "0.6")
    axis.set_yticks(range(len(order)), [p.classes[c] for c in order], fontsize=9)
    axis.set(xlim=(0, 100), xticks=(0, 50, 100))
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(f"answer, %\nasked about: {name}", fontsize=9)


def _second_row(p: Pictures, figure: Any) -> None:
    kernels, *maximised = figure.subplots(
        1, 1 + len(p.maximised), width_ratios=[2.2, *[1] * len(p.maximised)]
    )
    some = p.kernels[..., :_MOST_KERNELS]
    if some.shape[2] == 3:  # of colours, whose zero is grey
        most = float(np.abs(some).max()) or 1.0
        _tiles(kernels, list(np.moveaxis(0.5 + some / (2 * most), -1, 0)))
        kernels.set_title(
            f"first kernels\ngrey 0, white +{_number(most)}, black -{_number(most)}", fontsize=9
        )
    else:
        some = some.mean(2)
        most = float(np.percentile(np.abs(some), _CLIP)) or 1.0
        _tiles(kernels, list(np.moveaxis(some, -1, 0)), cmap=_SIGNED, vmin=-most, vmax=most)
        kernels.set_title(f"first kernels\nwhite 0, red +{_number(most)}, blue -{_number(most)}", fontsize=9)
    for c, (axis, picture) in enumerate(zip(maximised, p.maximised, strict=True)):
        _show(axis, _visible(picture, p.values), f"{'maximises' if c == 0 else ''}\n{p.classes[c]}")


def _patches_row(p: Pictures, figure: Any, layer: str, patches: list[list[Patch]]) -> None:
    axes = np.atleast_1d(figure.subplots(1, len(patches)))
    size = [max(len(patch.box[d]) for row in patches for patch in row) for d in (0, 1)]
    for number, (axis, row) in enumerate(zip(axes, patches, strict=True)):
        pictures = [_visible(_framed(patch, size), p.values, nan=0.8) for patch in row]
        _tiles(axis, pictures, cmap="gray", vmin=0, vmax=1)
        first = f"{_short(layer)}: what filters answer to most" if number == 0 else ""
        axis.set_title(
            f"{first}\n{_number(row[0].value)} to {_number(row[-1].value)}", fontsize=9, loc="left"
        )


def _framed(patch: Patch, size: Sequence[int]) -> np.ndarray:
    """To one size, by what is no number on the side where the picture ends."""
    missing = [n - len(seen) for n, seen in zip(size, patch.box, strict=True)]
    border = [(n, 0) if seen.start == 0 else (0, n) for n, seen in zip(missing, patch.box, strict=True)]
    return np.pad(patch.pixels.astype(float), [*border, (0, 0)], constant_values=np.nan)


def _visible(image: np.ndarray, values: tuple[float, float], nan: float = 0.0) -> np.ndarray:
    """(height, width, 1 or 3) in [0, 1]; one channel without its axis."""
    low, high = values
    scaled = np.nan_to_num(np.clip((image - low) / (high - low), 0, 1), nan=nan)
    return scaled[..., 0] if image.shape[-1] == 1 else scaled


def _short(layer: str) -> str:
    """The last parts of a name."""
    return "/".join(layer.split("/")[-3:])


def _number(value: float) -> str:
    """Two digits, without an exponent where that is as short."""
    return f"{value:.0f}" if 10 <= abs(value) < 1e5 else f"{value:.2g}"


def _show(
    axis: Any, picture: np.ndarray, title: str, *, cmap: str = "gray", most: float | None = None
) -> None:
    low, high = (0, 1) if most is None else (-most, most)
    axis.imshow(picture, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_color(_BETWEEN)
    axis.set_title(title, fontsize=9)


def _tiles(axis: Any, pictures: list[np.ndarray], **colours: Any) -> None:
    """Side by side, in nearly as many columns as rows."""
    import matplotlib

    height, width = pictures[0].shape[:2]
    gap = max(1, height // 14)
    columns = math.ceil(len(pictures) ** 0.5)
    rows = -(-len(pictures) // columns)
    whole = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, *pictures[0].shape[2:]), np.nan
    )
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        whole[top : top + height, left : left + width] = picture
    if whole.ndim == 3:
        axis.imshow(np.nan_to_num(whole, nan=float(_BETWEEN)), interpolation="nearest")
    else:
        map_ = matplotlib.colormaps[colours.pop("cmap")].with_extremes(bad=_BETWEEN)
        axis.imshow(whole, cmap=map_, interpolation="nearest", **colours)
    axis.set_axis_off()
