"""The three methods of transposed convolution, and XLA's own, timed in turns and drawn.

    python -m docs.pictures.transposed_times --measure      # needs about two minutes on two idle cores
    python -m docs.pictures.transposed_times --draw-only

The first writes every sample to benchmarks/results/transposed_methods.json; both draw
docs/images/transposed_times.png from that file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks import machine
from benchmarks.results import Row
from benchmarks.run import measure
from benchmarks.session import progress
from benchmarks.tables import NOISE
from benchmarks.workload import Workload

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "benchmarks" / "results" / "transposed_methods.json"
OUT = ROOT / "docs" / "images" / "transposed_times.png"

# Okabe and Ito's colours, which stay apart for every kind of colour vision; the markers tell them apart too.
METHODS = {
    "zero_insertion": ("#D55E00", "s"),
    "overlap_add": ("#0072B2", "o"),
    "subpixel": ("#009E73", "^"),
    "direct": ("#777777", "D"),
}
ROUNDS, BUDGET_S = 5, 0.01
# Under the curves a strip names the fastest; it is a place on the logarithmic axis too.
_STRIP, _STRIP_TOP, _STRIP_BOTTOM, _BESIDE = 0.64, 0.8, 0.5, 0.3
_TICKS = (_STRIP, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of panels: a stride and a map, and what is varied."""

    spatial: tuple[int, ...]
    stride: int
    kernels: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def title(self) -> str:
        """As in the picture."""
        sizes = "×".join(map(str, self.spatial))
        return f"{len(self.spatial)}-D, stride {self.stride}, input {sizes}"

    def workload(self, kernel: int, channels: int) -> Workload:
        """As many channels out as in, and an output of stride times the input's size."""
        return Workload(
            name=f"{len(self.spatial)}d-stride{self.stride}-kernel{kernel}-channels{channels}",
            source="transposed methods",
            batch=1,
            spatial=self.spatial,
            in_features=channels,
            out_features=channels,
            kernel=(kernel,) * len(self.spatial),
            stride=self.stride,
            transposed=True,
        )


CHANNELS = (8, 32, 128)
CASES = (
    Case((32, 32), 2, (2, 3, 4, 5, 6, 9), CHANNELS),
    Case((16, 16), 4, (4, 5, 6, 8, 9, 12), CHANNELS),
    Case((256,), 8, (8, 12, 16, 20, 24, 32), CHANNELS),
)


def measured(workloads: Sequence[Workload]) -> dict[str, Any]:
    """The document: what it was measured on, and a row with every sample for each workload."""
    document: dict[str, Any] = {"header": machine.describe("float32"), "rows": []}
    with progress() as bar:
        task = bar.add_task("", total=len(workloads))
        for workload in workloads:
            bar.update(task, description=workload.name)
            contenders = [f"jaxconv:{name}" for name in METHODS]
            row = measure(workload, "forward", contenders, "float32", ROUNDS, BUDGET_S)
            for facts in row["contenders"].values():
                blocks = facts.get("samples", ())
                facts["samples"] = [[float(f"{s:.4g}") for s in block] for block in blocks]
            document["rows"].append({**row, "tags": sorted(row["tags"])})
            bar.advance(task)
    return document


def relative(row: Row) -> dict[str, float]:
    """The time of each method over that of the fastest one."""
    seconds = {name: s for name in METHODS if (s := row.seconds(f"jaxconv:{name}"))}
    return {name: s / min(seconds.values()) for name, s in seconds.items()}


def draw(document: dict[str, Any]) -> None:
    """One row of panels for each case, one column for each number of channels."""
    rows = {row.key[0]: row for row in map(Row, document["rows"])}
    top = 1.4 * max(max(relative(row).values()) for row in rows.values())
    figure, grid = plt.subplots(
        len(CASES), len(CHANNELS), figsize=(8, 8), sharey=True, sharex="row", layout="constrained"
    )
    for case, line in zip(CASES, grid, strict=True):
        line[0].set_ylabel(case.title + "\ntime / time of the fastest")
        for channels, axes in zip(case.channels, line, strict=True):
            found = [(k, rows.get(case.workload(k, channels).name)) for k in case.kernels]
            _panel(axes, case.kernels, {k: relative(row) for k, row in found if row})
            axes.set_ylim(_STRIP_BOTTOM, top)
            if case is CASES[0]:
                axes.set_title(f"{channels} channels", fontsize=11)
            axes.set_xlabel("kernel")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    labels = ["direct (XLA's own)" if name == "direct" else name for name in labels]
    figure.legend(handles, labels, loc="outside upper center", ncols=len(METHODS), frameon=False)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, dpi=150)


def _panel(axes: Any, kernels: Sequence[int], times: dict[int, dict[str, float]]) -> None:
    """Relative times over kernel sizes; below them, what is the fastest or level with it."""
    places = {kernel: i for i, kernel in enumerate(kernels)}
    for name, (colour, marker) in METHODS.items():
        points = [(places[k], t[name]) for k, t in times.items() if name in t]
        x, y = zip(*points, strict=True) if points else ((), ())
        axes.plot(x, y, marker + "-", color=colour, markersize=5, lw=1.4, label=name)
    for kernel, t in times.items():
        level = [name for name, ratio in t.items() if ratio <= 1 + NOISE]
        for i, name in enumerate(level):
            colour, marker = METHODS[name]
            at = places[kernel] + _BESIDE * (i - (len(level) - 1) / 2)
            axes.plot(at, _STRIP, marker, color=colour, markersize=6)
    axes.axhspan(_STRIP_BOTTOM, _STRIP_TOP, color="#eeeeee", zorder=0)
    axes.set_yscale("log")
    axes.set_yticks(_TICKS)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: "fastest" if y == _STRIP else f"{y:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks(range(len(kernels)), map(str, kernels))
    axes.set_xlim(-0.5, len(kernels) - 0.5)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures if asked to, then draws."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.pictures.transposed_times",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--measure", action="store_true", help="time everything, then draw")
    what.add_argument("--draw-only", action="store_true", help="draw what was measured before")
    parser.add_argument(
        "--only",
        default="",
        help="with --measure, to try it: workloads whose name contains this; the file then holds no others",
    )
    args = parser.parse_args(argv)
    if args.measure:
        todo = [case.workload(k, c) for case in CASES for c in case.channels for k in case.kernels]
        document = measured([workload for workload in todo if args.only in workload.name])
        SAMPLES.parent.mkdir(parents=True, exist_ok=True)
        SAMPLES.write_text(json.dumps(document) + "\n")
    draw(json.loads(SAMPLES.read_text()))


if __name__ == "__main__":
    main()
