"""The report's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from .results import Results, Row

# Okabe and Ito's colours, which stay apart for every kind of colour vision; the markers tell them apart too.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
_AGAINST = {"stock": (_BLUE, "o"), "torch": (_ORANGE, "s")}
_SLOTS = (("forward", _BLUE, "o"), ("input_grad", _ORANGE, "s"), ("weight_grad", _GREEN, "^"))
_ROW_INCHES = 0.17


def draw(results: Results, rows: Sequence[Row], folder: Path, dtype: str) -> list[Path]:
    """Writes all pictures of one dtype's rows, and returns their paths."""
    drawn = {f"ratios-{dtype}": _overview(rows)}
    for slot in dict.fromkeys(row.key[1] for row in rows):
        drawn[f"ratios-{dtype}-{slot}"] = _named([row for row in rows if row.key[1] == slot], slot)
    drawn[f"roofline-{dtype}"] = _roofline(rows, results.roofs(dtype))
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=130)
        plt.close(figure)
    return paths


def _overview(rows: Sequence[Row]) -> Any:
    """Sorted ratios of all rows, one curve for each reference."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for reference, (colour, marker) in _AGAINST.items():
        ratios = sorted(r for row in rows if (r := row.ratio("jaxconv", reference)))
        if ratios:
            share = 100 * (np.arange(len(ratios)) + 0.5) / len(ratios)
            mean = np.exp(np.mean(np.log(ratios)))
            label = f"against {reference}: geometric mean {mean:.2f}, {len(ratios)} rows"
            axes.plot(share, ratios, marker, color=colour, markersize=4, label=label)
    _ratio_axis(axes.yaxis)
    axes.axhline(1, color="black", linewidth=1)
    axes.set(xlabel="share of rows, %", ylabel="time of jaxconv / time of the other", xlim=(0, 100))
    axes.set_title("Every slot of every workload, sorted; below 1 jaxconv is faster")
    axes.legend(loc="upper left")
    return figure


def _named(rows: Sequence[Row], slot: str) -> Any:
    """Both ratios of each row of one slot, by name."""
    rows = sorted(rows, key=lambda row: row.ratio("jaxconv", "stock") or 1)
    figure, axes = plt.subplots(figsize=(8.5, 1.4 + _ROW_INCHES * len(rows)), layout="constrained")
    for reference, (colour, marker) in _AGAINST.items():
        points = [(r, i) for i, row in enumerate(rows) if (r := row.ratio("jaxconv", reference))]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, marker, color=colour, markersize=5, label=f"against {reference}")
    algorithms = [row.facts("jaxconv").get("algorithm", "") for row in rows]
    names = [f"{row.key[0]}  [{a}]" if a else row.key[0] for row, a in zip(rows, algorithms, strict=True)]
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    _ratio_axis(axes.xaxis)
    axes.axvline(1, color="black", linewidth=1)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.6)
    axes.set_xlabel("time of jaxconv / time of the other; left of 1 jaxconv is faster")
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(f"{slot}: workload [algorithm]", loc="left", pad=18)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return figure


def _ratio_axis(axis: Any) -> None:
    axis.axes.set_axisbelow(True)
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.grid(True, color="#dddddd", linewidth=0.6)


def _roofline(rows: Sequence[Row], roofs: dict[str, float]) -> Any:
    """Operations a second over operations a byte, stock joined to jaxconv by a line, under the roofs."""
    figure, axes = plt.subplots(figsize=(8.5, 5.5), layout="constrained")
    peak, stream = 2e-9 * roofs["multiply_adds_per_s"], 1e-9 * roofs["bytes_per_s"]
    timed = [row for row in rows if row.seconds("jaxconv")]
    intensity = [2 * row.data["multiply_adds"] / row.data["bytes"] for row in timed]
    rates = [2e-9 * row.data["multiply_adds"] / (row.seconds("jaxconv") or 1) for row in timed]
    ends = np.array([min(intensity, default=1) / 2, peak / stream, max(intensity, default=1) * 2])
    axes.plot(np.sort(ends), np.minimum(peak, stream * np.sort(ends)), color="black", linewidth=1.5)
    axes.annotate(
        f"matmul, {peak:.0f} GFLOP/s", (ends[-1], peak), (0, 4), ha="right", textcoords="offset points"
    )
    axes.annotate(
        f"memory, {stream:.0f} GB/s",
        (peak / stream / 2, peak / 2),
        (-8, 4),
        ha="right",
        textcoords="offset points",
    )
    for row, x, y in zip(timed, intensity, rates, strict=True):
        if stock := row.seconds("stock"):
            axes.plot(
                [x, x], [2e-9 * row.data["multiply_adds"] / stock, y], color=_GREY, linewidth=0.5, zorder=1
            )
    for slot, colour, marker in (*_SLOTS, ("gradient", _ORANGE, "s")):
        chosen = [i for i, row in enumerate(timed) if row.key[1] == slot]
        if chosen:
            x, y = [intensity[i] for i in chosen], [rates[i] for i in chosen]
            axes.plot(x, y, marker, color=colour, markersize=5, alpha=0.8, label=slot, zorder=2)
    axes.plot([], [], color=_GREY, linewidth=0.8, label="from stock to jaxconv")
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte that has to move", ylabel="GFLOP/s")
    axes.set_title("Roofline of jaxconv's operators")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure
