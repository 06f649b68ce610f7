"""Compile training steps of the examples for a TPU pod that is not there.

`python -m benchmarks.scaling --out DIR` compiles one optimiser step of FCN-8s and of FSRCNN, as
`examples.common` makes it, for the 256 chips of a v5e 16x16. `DIR/scaling_v5e.jsonl` has what the compiler
says of one chip's program, and `DIR/scaling_v5e.md` the same as a table. Nothing runs, so nothing here is a
measurement.

The time of the collectives is predicted from their bytes by the usual model of rings on a torus: an
all-gather of V bytes over both axes takes V / (2 W) and no less than a microsecond for each hop, an
all-reduce twice that. A chip's own time is the compiler's model, which gives none for large programs: then
it is the least that the multiply-adds take.

References:
  Austin et al.: How to scale your model. 2025, chapters 2 and 3 (the model, and the links' speed).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# Whoever compiles for a device wants none to be started; before the first `import jax`.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

from examples.common.config import TrainConfig
from examples.common.layout import Layout
from examples.common.state import abstract_state
from examples.common.step import make_step
from examples.common.task import Task
from examples.fcn_segmentation.dataset import DataSet, Pair
from examples.fcn_segmentation.model import ModelConfig
from examples.fcn_segmentation.train import Segmentation
from examples.super_resolution.train import Enlargement
from jaxconv import targets

from .tables import table

SIDE = 16  # chips along each axis of the torus
CHIPS = SIDE**2
# Of one axis, both directions together, in bytes per second; and of one hop, in seconds.
LINK, HOP = 9e10, 1e-6
# Multiply-adds per second of a chip, bfloat16.
PEAK = 197e12 / 2


@dataclass(frozen=True)
class Voc(Segmentation):
    """The paper's network on colour pictures of 21 classes, none of which is needed to compile."""

    @cached_property
    def pictures(self) -> DataSet:
        pair = Pair("", np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8))
        return DataSet("voc", tuple(map(str, range(21))), [pair], [], True, "")


@dataclass(frozen=True)
class Case:
    """A training step: what is trained, on how many examples per chip, and how parameters lie."""

    name: str
    task: Task
    per_chip: int
    shapes: dict[str, tuple[tuple[int, ...], str]]
    fsdp: bool


_FCN = Voc(network=ModelConfig(width=1.0, norm="none"))
_PICTURES = {"image": ((512, 512, 3), "float32"), "label": ((512, 512), "uint8")}
_PATCHES = {"low": ((24, 24, 1), "float32"), "high": ((72, 72, 1), "float32")}
CASES = (
    Case("FSRCNN x3, 24x24 patches", Enlargement(), 16, _PATCHES, fsdp=False),
    Case("FCN-8s, 512x512", _FCN, 4, _PICTURES, fsdp=False),
    Case("FCN-8s, 512x512, fully sharded", _FCN, 4, _PICTURES, fsdp=True),
)


def compiled(case: Case) -> dict[str, Any]:
    """One line: what the compiler made of one training step."""
    layout = Layout(targets.topology("v5e", CHIPS), fsdp=case.fsdp)
    config = TrainConfig(precision="bfloat16", ema=0.99, clip=1.0, fsdp=case.fsdp)
    batch = {
        name: jax.ShapeDtypeStruct((CHIPS * case.per_chip, *shape), dtype, sharding=layout.split)
        for name, (shape, dtype) in case.shapes.items()
    }
    state, average = abstract_state(case.task, config, layout)
    start = time.perf_counter()
    report = targets.compile_for(make_step(case.task, config, layout), state, average, batch, device="v5e")
    seconds = sum(exchange_seconds(c) for c in report.collectives)
    return {
        "step": case.name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.model.params)),
        "batch": CHIPS * case.per_chip,
        "compile_s": round(time.perf_counter() - start, 1),
        "memory": dataclasses.asdict(report.memory),
        "multiply_adds": report.multiply_adds,
        "seconds": report.seconds,
        "collectives": [dataclasses.asdict(c) for c in report.collectives],
        "collective_seconds": seconds,
        "gathers_no_activation": not gathered_activations(report.collectives, state.model.params),
    }


def exchange_seconds(collective: targets.Collective) -> float:
    """Predicted for one step, nothing of it hidden behind computation."""
    phases = 2 if collective.kind == "all-reduce" else 1
    hops = SIDE  # half a ring of each axis, as both directions are used
    return collective.times * phases * max(collective.bytes / (2 * LINK), hops * HOP)


def gathered_activations(collectives: Sequence[targets.Collective], params: Any) -> list[tuple[int, ...]]:
    """What is gathered and has the size of no parameter; reshaping and padding to tiles aside."""
    sizes = {leaf.size for leaf in jax.tree.leaves(params)}
    gathered = [shape for c in collectives if c.kind == "all-gather" for shape in c.shapes]
    return [shape for shape in gathered if math.prod(shape) not in sizes]


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The table of docs/scaling.md."""
    head = (
        "training step",
        "parameters",
        "global batch",
        "state per chip, MiB",
        "temporaries per chip, MiB",
        "least time of a chip, ms",
        "collectives",
        "their bytes per chip, MiB",
        "their predicted time, ms",
        "share",
    )
    return "\n".join(table(head, [_cells(row) for row in rows]))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    kinds: dict[str, int] = {}
    for found in row["collectives"]:
        kinds[found["kind"]] = kinds.get(found["kind"], 0) + found["times"]
    exchanged, busy = row["collective_seconds"], row["seconds"] or row["multiply_adds"] / PEAK
    return (
        row["step"],
        f"{row['parameters']:,}",
        f"{row['batch']:,}",
        f"{row['memory']['arguments'] / 2**20:.1f}",
        f"{row['memory']['temporaries'] / 2**20:.0f}",
        f"{1e3 * busy:.2f}",
        ", ".join(f"{n} {kind}" for kind, n in kinds.items()),
        f"{sum(c['bytes'] * c['times'] for c in row['collectives']) / 2**20:.2f}",
        f"{1e3 * exchanged:.2f}",
        f"{100 * exchanged / (exchanged + busy):.0f} %",
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    out = parser.parse_args(argv).out
    if reason := targets.missing("v5e"):
        print(reason, file=sys.stderr)
        return 1
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with (out / "scaling_v5e.jsonl").open("w", buffering=1) as file:
        for case in CASES:
            print(f"compiling {case.name}", file=sys.stderr)
            rows.append(compiled(case))
            file.write(json.dumps(rows[-1]) + "\n")
    (out / "scaling_v5e.md").write_text(page(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
