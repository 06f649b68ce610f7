"""From a results file, tables and plots: `python -m benchmarks.report FILE.jsonl --out FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import plots, tables
from .results import Results, Row, read


def write(results: Results, folder: Path) -> Path:
    """Writes `report.md` and its pictures into a folder, and returns the path of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Measured operators", "", *_machine(results)]
    for dtype in dict.fromkeys(row.key[2] for row in results.rows):
        rows = [row for row in results.rows if row.key[2] == dtype]
        lines += _section(results, rows, dtype, folder)
    path = folder / "report.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def _machine(results: Results) -> list[str]:
    first = results.headers[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    loads = [row.data["load"] for row in results.rows]
    revisions = dict.fromkeys(str(header["revision"]) for header in results.headers)
    return [
        f"- {first['date'][:10]}, {first['processor']}, {first['cores']} cores, platform {first['platform']}",
        f"- {versions}",
        f"- revision {', '.join(revisions)}",
        f"- {len(results.headers)} session(s), load {min(loads):.1f} to {max(loads):.1f}",
        *_warning(loads, first["cores"]),
        "",
        "Times are minima of all samples; ± is the middle half of the rounds' ratios to stock, relative to "
        "their median. A ratio below 1 is in jaxconv's favour.",
        "",
    ]


def _warning(loads: list[float], cores: int) -> list[str]:
    """Says how many rows were measured while others computed too; the programs alone load all cores."""
    busy = sum(load > cores + 1 for load in loads)
    if not busy:
        return []
    return [
        f"- **{busy} of {len(loads)} rows were measured on a busy machine.** A team of threads that waits "
        "for its slowest member, PyTorch's above all, loses whole time slices there: small operators look "
        "many times slower than they are."
    ]


def _section(results: Results, rows: list[Row], dtype: str, folder: Path) -> list[str]:
    roofs = results.roofs(dtype)
    pictures = plots.draw(results, rows, folder, dtype)
    lines = [
        f"## {dtype}",
        "",
        f"Roofs: {roofs['multiply_adds_per_s'] / 1e9:.1f} G multiply-adds/s of a matmul, "
        f"{roofs['bytes_per_s'] / 1e9:.1f} GB/s through memory, which what fits into a cache may exceed.",
        "",
        "### Geometric means",
        "",
        *tables.summary(rows),
        "",
        *(f"![{picture.stem}]({picture.name})" for picture in pictures),
        "",
    ]
    for reference in ("stock", "torch"):
        if any(row.seconds(reference) for row in rows):
            lines += [f"### Slowest against {reference}", "", *tables.worst(rows, results, reference), ""]
    if any(name.startswith("jaxconv:") for row in rows for name in row.data["contenders"]):
        lines += ["### Faster than the planner's choice", "", *tables.better_choices(rows), ""]
    lines += ["### All rows", "", *tables.rows_table(rows, results), ""]
    return [*lines, "### Not timed", "", *tables.untimed(rows), ""]


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the report and prints its means."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("file", type=Path, help="results of benchmarks.run or benchmarks.layers")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    args = parser.parse_args(argv)
    try:
        results = read(args.file)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    if not results.rows:
        sys.exit(f"{args.file} has no rows yet.")
    path = write(results, args.out)
    print("\n".join(tables.summary(results.rows)))
    print(f"\n{path}")


if __name__ == "__main__":
    main()
