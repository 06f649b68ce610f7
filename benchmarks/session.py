"""What the commands that measure share: their options, and the loop over what a results file lacks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from . import machine, results


class Job(NamedTuple):
    """A row that a command is to measure.

    Attributes:
      key: workload, slot and dtype of the row.
      work: its multiply-adds, which are other ones where the workload has changed since.
      measure: gives the row.
    """

    key: results.Key
    work: int
    measure: Callable[[], dict[str, Any]]


def parser(
    module: str, doc: str | None, *, what: str = "workloads", rounds: int = 5, budget_ms: float = 20.0
) -> argparse.ArgumentParser:
    """The options that every such command has; `module` is its name, `doc` its head."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--out", type=Path, required=True, help="results file, made or continued")
    add("--only", default="", help=f"{what} whose name contains this")
    add("--rounds", type=int, default=rounds, help=f"turns of each program (default {rounds})")
    add(
        "--budget-ms",
        type=float,
        default=budget_ms,
        help=f"of a program in a round (default {budget_ms:g})",
    )
    return made


def progress() -> Progress:
    """A bar with what is measured now, how far it is, and how long it takes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def measure_missing(path: Path, dtype: str, jobs: Sequence[Job]) -> None:
    """Adds the rows that the file does not have yet, each as soon as it is measured.

    Raises:
      SystemExit: without any job, with a file of another machine or other sizes, or if somebody stops it.
    """
    if not jobs:
        sys.exit("nothing to measure: no workload is selected by these options.")
    try:
        done = results.resume(path, machine.describe(dtype))
        todo = [job for job in jobs if not results.measured(done, job.key, job.work)]
    except ValueError as error:
        sys.exit(str(error))
    try:
        with progress() as bar:
            task = bar.add_task("", total=len(todo))
            for job in todo:
                bar.update(task, description=" ".join(job.key[:2]))
                results.append(path, job.measure())
                bar.advance(task)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here.")
