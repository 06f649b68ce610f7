"""What a person sees while it works: rich bars in a terminal, a plain line now and then in a log."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Display:
    """The console of one command.

    Args:
        console: where to write; standard error if there is none.
        interval: seconds between the lines of a log.
    """

    def __init__(self, console: Console | None = None, *, interval: float = 30.0):
        self.console = console or Console(stderr=True, soft_wrap=True)
        self.interval = interval

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def track(self, what: str) -> Callable[[Iterable], Iterable]:
        """A wrapper for the iterable of a loop."""

        def wrap(items: Iterable) -> Iterator:
            items = list(items)
            with self._bar() as bar:
                task, pace = bar.add_task(what, total=len(items)), _Pace(self.interval)
                for done, item in enumerate(items, start=1):
                    yield item
                    bar.update(task, completed=done)
                    if not self.console.is_terminal and pace.is_due():
                        self.say(f"{what} {done}/{len(items)}")

        return wrap

    @contextmanager
    def status(self, what: str) -> Generator[None]:
        """For work of unknown length: a spinner in a terminal."""
        with self.console.status(what):
            yield

    @contextmanager
    def training(self, steps: int, done: int) -> Generator["TrainingBar"]:
        with self._bar(TextColumn("{task.fields[status]}")) as bar:
            yield TrainingBar(self, bar, steps, done)

    def _bar(self, *more: TextColumn) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            *more,
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )


class TrainingBar:
    """Steps done, latest loss and scores, time left; and a line for each held-out measurement."""

    def __init__(self, display: Display, bar: Progress, steps: int, done: int):
        self._display, self._bar, self._steps = display, bar, steps
        self._shown: dict[str, str] = {}
        self._task = bar.add_task("training", total=steps, completed=done, status="compiling")
        self._pace, self._first, self._start = _Pace(display.interval), done, time.monotonic()

    def advance(self, step: int) -> None:
        self._bar.update(self._task, completed=step)

    def show(self, step: int, **values: float) -> None:
        """These values, and the last ones of those that are not given."""
        self._update(step, values)
        if not self._display.console.is_terminal and self._pace.is_due():
            self._say(step)

    def measured(self, step: int, **values: float) -> None:
        self._update(step, values)
        self._say(step)

    def _update(self, step: int, values: dict[str, float]) -> None:
        self._shown.update({name.replace("_", " "): f"{value:.4g}" for name, value in values.items()})
        self._bar.update(self._task, completed=step, status=self._status())

    def _say(self, step: int) -> None:
        self._display.say(f"step {step}/{self._steps}  {self._status()}  {self._left(step)} left")

    def _status(self) -> str:
        return "  ".join(f"{name} {value}" for name, value in self._shown.items())

    def _left(self, step: int) -> timedelta:
        pace = (time.monotonic() - self._start) / max(1, step - self._first)
        return timedelta(seconds=round(pace * (self._steps - step)))


class _Pace:
    """Is due once in every interval."""

    def __init__(self, interval: float):
        self._interval, self._last = interval, time.monotonic()

    def is_due(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._interval:
            return False
        self._last = now
        return True
