"""Progress with the time that is left: a bar where rich is installed, else lines; on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator

Report = Callable[[str, int], None]
"""Called with a line and by how many steps the work has advanced."""


@contextlib.contextmanager
def reporting(total: int, enabled: bool, title: str = "measuring") -> Generator[Report, None, None]:
    """Shows the progress of a piece of work.

    Args:
      total: its number of steps.
      enabled: if not, nothing is shown.
      title: of the bar.

    Yields:
      What the work calls to report.
    """
    if not enabled:
        yield _silent
        return
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        yield _lines(total)
        return
    columns = (
        progress.TextColumn(title),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)

        def report(line: str, steps: int) -> None:
            if line:
                bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            bar.advance(task, steps)

        yield report


def _silent(line: str, steps: int) -> None:
    del line, steps


def _lines(total: int) -> Report:
    start, done = time.monotonic(), 0

    def report(line: str, steps: int) -> None:
        nonlocal done
        done += steps
        left = (time.monotonic() - start) / done * (total - done) if done else 0.0
        eta = f", {left:.0f} s left" if 0 < done < total else ""
        print(f"[{done}/{total}{eta}] {line}", file=sys.stderr, flush=True)

    return report
