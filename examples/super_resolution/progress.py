"""What a person sees while it works: rich bars in a terminal, plain lines in a log."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

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
    """The console of one command."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def track(self, what: str) -> Callable[[Iterable], Iterable]:
        """A wrapper for the iterable of a loop."""

        def wrap(items: Iterable) -> Iterable:
            items = list(items)
            with self._bar() as bar:
                yield from bar.track(items, description=what)

        return wrap

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
    """Steps done, latest loss and PSNRs, time left; and a line for each held-out measurement."""

    def __init__(self, display: Display, bar: Progress, steps: int, done: int):
        self._display, self._bar, self._steps = display, bar, steps
        self._shown: dict[str, str] = {}
        self._task = bar.add_task("training", total=steps, completed=done, status="compiling")

    def update(self, step: int, **values: float) -> None:
        """Shows those of `loss`, `psnr` and `held_out` that are given, and the last values of the others."""
        formats = {"loss": "loss {:.4f}", "psnr": "PSNR {:.2f} dB", "held_out": "held out {:.2f} dB"}
        self._shown.update({name: formats[name].format(value) for name, value in values.items()})
        status = "  ".join(self._shown.values())
        self._bar.update(self._task, completed=step, status=status)
        if "held_out" in values:
            self._display.say(f"step {step}/{self._steps}  {status}")
