"""Time whole training steps of seven nets: `python -m benchmarks.train --out FILE.jsonl`.

Each net has a version with this library's convolutions, one with Flax's, that one under `jaxconv.install()`,
and one in PyTorch if that is installed. They start at the same weights, have to agree in their first loss and
have to learn. Then they take turns; every sample becomes part of the net's line in the file. The number to
read is a ratio of minima within one line. A run that was stopped goes on where it was; nets that are there
are not measured again.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from . import machine, results
from .measure import interleave
from .net_tasks import LIBRARIES, Task, build, tasks, torch_weights
from .session import progress
from .trainers import HAS_TORCH, JaxTrainer, TorchTrainer, torch_trainer

FIRST_STEPS = 6  # before anything is timed; their losses are recorded
SLOT, DTYPE = "step", "float32"
INSTALLED = "flax installed"
# The ratios that are printed.
RATIOS = (("jaxconv", "flax"), ("jaxconv", "torch"), (INSTALLED, "jaxconv"), (INSTALLED, "torch"))


def measure(task: Task, rounds: int, budget_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """One row: compiles and checks every version of a net, then times their steps in turns."""
    load = os.getloadavg()[0]
    trainers: dict[str, JaxTrainer | TorchTrainer] = {}
    for library in LIBRARIES:
        say(f"compiling {library}")
        trainers[library] = JaxTrainer(task, library)
    say("compiling flax under install()")
    trainers[INSTALLED] = JaxTrainer(task, "flax", installed=True)
    if HAS_TORCH:
        say("choosing PyTorch's memory format")
        trainers["torch"] = torch_trainer(task, torch_weights(build(task, "jaxconv")))
    say("first steps")
    losses = {name: [trainer() for _ in range(FIRST_STEPS)] for name, trainer in trainers.items()}
    check(losses, {name: trainer.parameters for name, trainer in trainers.items()})
    say("timing")
    samples = interleave(trainers, rounds, budget_s)
    return {
        "kind": "row",
        "workload": described(task),
        "tags": ["net"],
        "slot": SLOT,
        "dtype": DTYPE,
        "parameters": trainers["flax"].parameters,
        "load": load,
        "contenders": {
            name: {**trainer.facts, "losses": losses[name], "samples": samples[name]}
            for name, trainer in trainers.items()
        },
    }


def described(task: Task) -> dict[str, Any]:
    """The task as a file has it."""
    return json.loads(json.dumps({"name": task.name, "x_shape": task.x_shape, "options": task.options}))


def missing(rows: Mapping[results.Key, results.Row], wanted: Sequence[Task]) -> list[Task]:
    """The tasks that have no row.

    Raises:
        ValueError: if one has, but of another size.
    """
    for task in wanted:
        row = rows.get((task.name, SLOT, DTYPE))
        if row and row.data["workload"] != described(task):
            raise ValueError(f"{task.name} was measured at another size; name another --out.")
    return [task for task in wanted if (task.name, SLOT, DTYPE) not in rows]


def check(losses: dict[str, list[float]], parameters: dict[str, int]) -> None:
    """Whether these are versions of one net, and train it.

    Raises:
        ValueError: if not.
    """
    if len(set(parameters.values())) != 1:
        raise ValueError(f"the versions' numbers of parameters differ: {parameters}")
    starts = {name: values[0] for name, values in losses.items()}
    if not all(math.isclose(start, starts["flax"], rel_tol=1e-3) for start in starts.values()):
        raise ValueError(f"the versions differ in their first loss: {starts}")
    for name, values in losses.items():
        if not (all(map(math.isfinite, values)) and values[-1] < values[0]):
            raise ValueError(f"{name} does not learn: its losses are {values}")


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Of those that were measured; None if none was."""
    known = [r for r in ratios if r is not None]
    return math.exp(sum(map(math.log, known)) / len(known)) if known else None


def table(rows: Sequence[results.Row]) -> Table:
    """A line for each net, and the geometric means of the ratios."""
    shown = Table(title="training steps: minima in milliseconds, ratios, and seconds to compile")
    timed = ("jaxconv", INSTALLED, "flax", "torch")
    for title in ("net", *timed, *(f"{a} / {b}" for a, b in RATIOS), "compile s", "compile / flax"):
        shown.add_column(title, justify="left" if title == "net" else "right")
    for row in rows:
        times = [row.seconds(name) for name in timed]
        shown.add_row(
            row.key[0],
            *("-" if seconds is None else f"{1e3 * seconds:.1f}" for seconds in times),
            *(_number(row.ratio(*pair)) for pair in RATIOS),
            f"{row.facts('jaxconv')['compile_s']:.1f}",
            _number(row.fact_ratio("compile_s", "jaxconv", "flax")),
        )
    means = [geometric_mean(row.ratio(*pair) for row in rows) for pair in RATIOS]
    compiling = geometric_mean(row.fact_ratio("compile_s", "jaxconv", "flax") for row in rows)
    shown.add_section()
    shown.add_row("geometric mean", *[""] * len(timed), *map(_number, means), "", _number(compiling))
    return shown


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def header() -> dict[str, Any]:
    described = machine.describe(DTYPE)
    described["versions"]["optax"] = importlib.metadata.version("optax")
    return described


def main(argv: Sequence[str] | None = None) -> None:
    """Measures the nets that the command line names and the file lacks; prints those that the file has."""
    args = _parser().parse_args(argv)
    if args.rounds < 1:
        sys.exit(f"--rounds {args.rounds}: at least 1.")
    wanted = [task for task in tasks() if args.only.lower() in task.name.lower()]
    if not wanted:
        sys.exit(f"--only {args.only}: the nets are {', '.join(task.name for task in tasks())}.")
    try:
        todo = missing(results.resume(args.out, header()), wanted)
    except ValueError as error:
        sys.exit(str(error))
    with progress() as bar:
        line = bar.add_task("", total=len(wanted), completed=len(wanted) - len(todo))
        for task in todo:

            def say(what: str, name: str = task.name) -> None:
                bar.update(line, description=f"{name}: {what}")

            results.append(args.out, measure(task, args.rounds, args.budget_ms / 1e3, say))
            bar.advance(line)
    Console().print(table([row for row in results.read(args.out).rows if row.key[1] == SLOT]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="results file, made or continued")
    add("--only", default="", help="nets whose name contains this")
    add("--rounds", type=int, default=8, help="turns of each version (default 8)")
    add(
        "--budget-ms",
        type=float,
        default=300.0,
        help="of a version in a turn, at least one step (default 300)",
    )
    return parser


if __name__ == "__main__":
    main()
