"""Time every algorithm on many shapes, for the cost model: `python -m benchmarks.sweep --out FILE.jsonl`.

One line for each slot of each workload, with least seconds and compile seconds of each algorithm; a file that
is there already is continued. `benchmarks.fit` reads it.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

from jaxconv.geometry import Slot
from jaxconv.lowerings import REGISTRY, Target, core_spec
from jaxconv.planner.key import Key

from .machine import describe
from .workload import SLOTS, Workload
from .workloads import WORKLOADS, random_workloads

# What is this many times slower than the best after its first call is not called again.
HOPELESS = 4.0
SAMPLE_SECONDS = 4e-3
# Algorithms with programs longer than this compile for too long to be anybody's choice.
MOST_STEPS = 400


def measure(key: Key, rounds: int) -> dict[str, tuple[float, float]]:
    """Least seconds and compile seconds of each algorithm that can compute the slot."""
    target = Target("cpu", key.dtype, key.precision)
    rng = np.random.default_rng(0)
    operands = [
        jnp.asarray(rng.standard_normal(shape, np.float32), key.dtype)
        for shape in key.spec.operand_shapes(key.slot)
    ]
    calls: dict[str, Any] = {}
    compiled: dict[str, float] = {}
    for name, lowering in REGISTRY.items():
        if lowering.supports(key.slot, key.spec, key.dtype, None):
            continue
        work = lowering.work(key.slot, key.spec)
        if name != "direct" and (work.steps > MOST_STEPS or work.workspace > 2**28):
            continue
        program = jax.jit(functools.partial(lowering.run, key.slot, key.spec, target)).lower(*operands)
        start = time.perf_counter()
        call = program.compile()
        compiled[name] = time.perf_counter() - start
        jax.block_until_ready(call(*operands))
        calls[name] = functools.partial(call, *operands)
    best = {name: _sample(call, 1) for name, call in calls.items()}
    racing = [name for name in calls if best[name] <= HOPELESS * min(best.values())]
    counts = {name: max(1, min(50, int(SAMPLE_SECONDS / best[name]))) for name in racing}
    for _ in range(rounds):
        for name in racing:
            best[name] = min(best[name], _sample(calls[name], counts[name]))
    return {name: (best[name], compiled[name]) for name in calls}


def _sample(call: Any, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / count


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
