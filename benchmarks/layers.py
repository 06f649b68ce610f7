"""Time jaxconv's Flax modules against Flax's own: `python -m benchmarks.layers --out FILE.json`.

Both layers of a workload are compiled first; then their calls take turns, so that whatever else the machine
does meets both alike. All samples are kept. The number to read is a ratio of minima within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from flax import nnx
from rich.console import Console
from rich.progress import track
from rich.table import Table

import jaxconv

from .workloads import WORKLOADS, Workload

PASSES = ("forward", "gradient")


def comparable(w: Workload) -> bool:
    """Whether Flax has the layer: its transposed ones know no groups, and mean another thing by numbers."""
    return not w.transposed or (w.groups == 1 and w.padding == "SAME")


def layer(contender: str, w: Workload) -> nnx.Module:
    """The workload's layer from Flax ("flax") or from this library ("jaxconv")."""
    library: Any = nnx if contender == "flax" else jaxconv.nn
    options: dict[str, Any] = {
        "strides": w.stride,
        "kernel_dilation": w.dilation,
        "padding": w.padding,
        "rngs": nnx.Rngs(0),
    }
    if w.transposed:
        return library.ConvTranspose(w.in_features, w.out_features, w.kernel, **options)
    return library.Conv(w.in_features, w.out_features, w.kernel, feature_group_count=w.groups, **options)


def compiled(contender: str, w: Workload, which: str) -> tuple[Callable[[], Any], float]:
    """A call without arguments that runs one pass to its end, and the seconds its compilation took."""
    graph, state = nnx.split(layer(contender, w))
    x = jnp.asarray(
        np.random.default_rng(0).standard_normal((w.batch, *w.spatial, w.in_features)), jnp.float32
    )

    def forward(state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(x)  # pyright: ignore[reportCallIssue]

    def loss(state: Any, x: jax.Array) -> jax.Array:
        return jnp.square(forward(state, x)).sum()

    function = forward if which == "forward" else jax.grad(loss, (0, 1))
    start = time.perf_counter()
    program = jax.jit(function).lower(state, x).compile()
    seconds = time.perf_counter() - start
    return lambda: jax.block_until_ready(program(state, x)), seconds


def measure(w: Workload, which: str, repeats: int) -> dict[str, Any]:
    """Samples of both contenders, in seconds, taken in turns."""
    built = {contender: compiled(contender, w, which) for contender in ("flax", "jaxconv")}
    samples: dict[str, list[float]] = {contender: [] for contender in built}
    for call, _ in built.values():
        call()
    for _ in range(repeats):
        for contender, (call, _) in built.items():
            start = time.perf_counter()
            call()
            samples[contender].append(time.perf_counter() - start)
    ratio = min(samples["jaxconv"]) / min(samples["flax"])
    compile_s = {contender: seconds for contender, (_, seconds) in built.items()}
    return {"workload": w.name, "pass": which, "ratio": ratio, "samples": samples, "compile_s": compile_s}


def main() -> None:
    """Measure everything, print the table, keep the samples."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the samples")
    parser.add_argument("--repeats", type=int, default=15, help="calls of each contender (default 15)")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    args = parser.parse_args()
    todo = [(w, which) for w in WORKLOADS if args.only in w.name and comparable(w) for which in PASSES]
    rows = [measure(w, which, args.repeats) for w, which in track(todo, "measuring")]
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": {m.__name__: m.__version__ for m in (jax, jaxlib, flax, jaxconv)},
    }
    args.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    table = Table("workload", "pass", "flax ms", "jaxconv ms", "ratio", title="jaxconv against Flax, minima")
    for row in rows:
        flax_ms, ours_ms = (1e3 * min(row["samples"][c]) for c in ("flax", "jaxconv"))
        table.add_row(row["workload"], row["pass"], f"{flax_ms:.2f}", f"{ours_ms:.2f}", f"{row['ratio']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
