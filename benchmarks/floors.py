"""What the matrix products alone take: `python -m benchmarks.floors RESULTS.jsonl --out FLOORS.md`.

For each row that is slower than PyTorch by more than `--above`, depthwise ones apart, the products of every
algorithm that can compute it are timed on their own, on operands that lie in memory as a matmul likes them:
no patches, shifts or sums. An algorithm built of XLA's products cannot be faster than its own. So where the
least floor is near the time that was measured, XLA's matmul of this shape is the limit; where it is far
below, moving data is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
from rich.progress import track

from jaxconv.geometry import Slot
from jaxconv.lowerings import REGISTRY, Target, core_spec, work_in_pieces
from jaxconv.planner.key import Key

from .measure import interleave
from .results import Row, read
from .tables import milliseconds, number, table
from .workloads import WORKLOADS

# Elements of a batch of products; of a longer one a part is timed, and counts as often as it has to.
MOST = 2**25


def products(dot: tuple[int, int, int, int]) -> tuple[Callable[[], Any], float]:
    """Products of one shape as a program, and how many such programs an algorithm runs."""
    count, m, k, n = dot
    batch = max(1, min(count, MOST // (m * k + k * n + m * n)))
    a, b = jnp.ones((batch, m, k)), jnp.ones((batch, k, n))
    a, b = (a[0], b[0]) if batch == 1 else (a, b)  # XLA has better code for a plain product
    program = jax.jit(jnp.matmul).lower(a, b).compile()
    return lambda: jax.block_until_ready(program(a, b)), count / batch


def floors(row: Row, rounds: int) -> dict[str, float]:
    """Seconds of the products of each algorithm that computes the row's slot by products of XLA's."""
    workload = next(w for w in WORKLOADS if w.name == row.key[0])
    key = Key.of(workload.form(cast("Slot", row.key[1]))[0], workload.spec, row.key[2], None)
    found = core_spec(workload.spec)
    assert key
    assert found
    spec, target = found[0], Target("cpu", key.dtype)
    dots = {
        name: work_in_pieces(lowering, key.slot, spec, target).dots
        for name, lowering in REGISTRY.items()
        if lowering.supports(key.slot, spec, key.dtype, None) is None
    }
    programs = {str(dot): products(dot) for dot in {dot for several in dots.values() for dot in several}}
    samples = interleave({name: call for name, (call, _) in programs.items()}, rounds, budget_s=0.02)

    def seconds(dot: tuple[int, int, int, int]) -> float:
        return programs[str(dot)][1] * min(map(min, samples[str(dot)]))

    return {name: sum(map(seconds, several)) for name, several in dots.items() if several}


def main(argv: Sequence[str] | None = None) -> None:
    """Times the floors of the slow rows and writes their table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, help="a file of benchmarks.run")
    parser.add_argument("--out", type=Path, required=True, help="a Markdown file; samples go beside it")
    parser.add_argument("--above", type=float, default=1.5, help="times PyTorch's time (default 1.5)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each product (default 3)")
    args = parser.parse_args(argv)
    try:
        results = read(args.results)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    rows = [
        row
        for row in results.rows
        if (row.ratio("jaxconv", "torch") or 0) > args.above and "depthwise" not in row.tags
    ]
    if not rows:
        sys.exit(f"no row of matrix products is slower than PyTorch by a factor of more than {args.above}.")
    rows.sort(key=lambda r: -(r.ratio("jaxconv", "torch") or 0))
    measured = [(row, floors(row, args.rounds)) for row in track(rows, "timing products")]
    args.out.with_suffix(".json").write_text(
        json.dumps([{"row": row.label, "seconds": least} for row, least in measured], indent=1) + "\n"
    )
    lines = []
    for row, least in measured:
        chosen = row.facts("jaxconv")["algorithm"]
        best = min(least, key=lambda name: least[name])
        took, torch = row.seconds("jaxconv"), row.seconds("torch")
        assert took
        assert torch
        cells = (chosen, took, least.get(chosen), best, least[best], torch)
        shown = (c if isinstance(c, str) else milliseconds(c) for c in cells)
        lines.append((*row.key[:2], *shown, number(took / torch), number(least[best] / torch)))
    head = ("workload", "slot", "algorithm", "ms", "its products ms", "least products", "ms", "torch ms")
    args.out.write_text("\n".join(table((*head, "/ torch", "least / torch"), lines)) + "\n")


if __name__ == "__main__":
    main()
