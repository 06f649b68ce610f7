"""Time every algorithm on many shapes, for the cost model: `python -m benchmarks.sweep --out FILE.jsonl`.

One line for each slot of each workload, with least seconds and compile seconds of each algorithm; a file that
is there already is continued. `benchmarks.fit` reads it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
from rich.progress import track

from jaxconv.geometry import Slot
from jaxconv.lowerings import REGISTRY, Target, core_spec, work_in_pieces
from jaxconv.planner.key import Key
from jaxconv.planner.timing import race

from .machine import describe
from .workload import SLOTS, Workload
from .workloads import WORKLOADS, random_workloads

# Longer programs compile for too long to be anybody's choice; and the most elements of workspace.
MOST_STEPS, MOST_WORKSPACE = 400, 2**28


def measure(key: Key, rounds: int) -> dict[str, tuple[float, float]]:
    """Least seconds and compile seconds of each algorithm that can compute the slot."""
    names = [name for name in REGISTRY if name == "direct" or _feasible(name, key)]
    timed = race(key, (key.dtype, key.dtype), names, jax.devices("cpu")[0], "cpu", rounds)
    return {name: (seconds, timed.compiled[name]) for name, seconds in timed.seconds.items()}


def _feasible(name: str, key: Key) -> bool:
    if REGISTRY[name].supports(key.slot, key.spec, key.dtype, None):
        return False
    work = work_in_pieces(REGISTRY[name], key.slot, key.spec, Target("cpu", key.dtype, None))
    return work.steps <= MOST_STEPS and work.workspace <= MOST_WORKSPACE


def main() -> None:
    """Measure what is not in the file yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--random", type=int, default=0, help="random workloads instead of the named ones")
    parser.add_argument("--seed", type=int, default=0, help="of the random workloads")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--quick", action="store_true", help="the workloads of a quick run only")
    args = parser.parse_args()
    workloads: tuple[Workload, ...] = random_workloads(args.random, args.seed) if args.random else WORKLOADS
    if not args.out.exists():
        args.out.write_text(json.dumps(describe(args.dtype)) + "\n")
    lines = [json.loads(line) for line in args.out.read_text().splitlines()]
    done = {(row["workload"], row["slot"]) for row in lines[1:]}
    todo: list[tuple[Workload, Slot]] = [
        (w, slot)
        for w in workloads
        for slot in SLOTS
        if args.only in w.name
        and (w.quick or not args.quick)
        and (w.name, slot) not in done
        and core_spec(w.spec)
    ]
    for w, slot in track(todo, "measuring"):
        key = Key.of(w.form(slot)[0], w.spec, args.dtype, None)
        assert key is not None
        found = measure(key, args.rounds)
        row = {"workload": w.name, "slot": slot, "key": str(key), "algorithms": found}
        with args.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        jax.clear_caches()


if __name__ == "__main__":
    main()
