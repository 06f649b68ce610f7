"""What it would cost to stay below a limit: `python -m benchmarks.tradeoffs SWEEP.jsonl ...`.

A sweep has the seconds of every algorithm, to run and to compile. From them this prints the time that is
left, relative to `direct`'s, if only the algorithms that keep to a limit were there to choose from.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxconv.lowerings import REGISTRY, Target, core_spec, work_in_pieces
from jaxconv.planner.key import Key

from .tables import geometric_mean, number, table


class Timed(NamedTuple):
    """An algorithm in one slot, everything relative to `direct` but the workspace.

    Attributes:
      time: to run.
      compile: to compile.
      workspace: elements, relative to those of operands and result.
    """

    time: float
    compile: float
    workspace: float


LIMITS: dict[str, Callable[[Timed], bool]] = {
    "none": lambda _: True,
    "compile time at most 4 times that of direct": lambda a: a.compile <= 4,
    "compile time at most 2 times that of direct": lambda a: a.compile <= 2,
    "workspace at most operands and result": lambda a: a.workspace <= 1,
    "workspace at most half of operands and result": lambda a: a.workspace <= 0.5,
    "no workspace": lambda a: a.workspace == 0,
}


def read(line: dict[str, object]) -> list[Timed]:
    """The algorithms of one line of a sweep, `direct` first."""
    key = Key.parse(str(line["key"]))
    found, algorithms = core_spec(key.spec), line["algorithms"]
    assert found
    assert isinstance(algorithms, dict)
    spec, target = found[0], Target("cpu", key.dtype)
    data = sum(map(math.prod, (*spec.operand_shapes(key.slot), spec.result_shape(key.slot))))
    run, compiled = algorithms["direct"]
    timed = {
        name: Timed(
            seconds / run,
            compiling / compiled,
            work_in_pieces(REGISTRY[name], key.slot, spec, target).workspace / data,
        )
        for name, (seconds, compiling) in algorithms.items()
    }
    return [timed.pop("direct"), *timed.values()]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints one line for each limit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tradeoffs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sweeps", nargs="+", type=Path, help="files of benchmarks.sweep")
    args = parser.parse_args(argv)
    try:
        lines = [json.loads(line) for path in args.sweeps for line in path.read_text().splitlines()[1:]]
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    slots = [read(line) for line in lines]
    rows = []
    for name, keeps in LIMITS.items():
        best = [min((a for a in slot if a is slot[0] or keeps(a)), key=lambda a: a.time) for slot in slots]
        means = [geometric_mean(a.time for a in best), geometric_mean(a.compile for a in best)]
        above = sum(a.compile > 4 for a in best)
        rows.append((name, str(len(best)), *map(number, means), str(above)))
    head = ("limit", "slots", "best time / direct", "its compile time / direct", "of those above 4")
    print("\n".join(table(head, rows)))


if __name__ == "__main__":
    main()
