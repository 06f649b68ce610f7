"""Time jaxconv's Flax modules against Flax's own: `python -m benchmarks.layers --out FILE.jsonl`.

The lines are those of benchmarks.run, with Flax's layer as `stock` and two slots: `forward`, and `gradient`
with respect to the parameters and the input. What is timed includes the bias and the loss, as in training.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import jaxconv
from jaxconv.geometry import Slot, bytes_moved, multiply_adds
from jaxconv.nn import CheckerboardWarning

from . import machine, results
from .contenders import arrays
from .measure import interleave
from .run import progress
from .workloads import SLOTS, WORKLOADS, Workload

PASSES = ("forward", "gradient")
_LIBRARIES = {"stock": nnx, "jaxconv": jaxconv.nn}
_DTYPE = "float32"


def comparable(workload: Workload) -> bool:
    """Whether Flax has the layer: its transposed ones know no groups, and mean another thing by numbers."""
    return not workload.transposed or (workload.groups == 1 and workload.padding == "SAME")


def layer(contender: str, workload: Workload) -> nnx.Module:
    """The workload's layer from Flax ("stock") or from this library ("jaxconv")."""
    library: Any = _LIBRARIES[contender]
    padding: Any = workload.padding
    if padding not in ("SAME", "VALID", "CAUSAL"):
        padding = [(a.lo, a.hi) for a in workload.spec.axes]
    options: dict[str, Any] = {
        "strides": workload.stride,
        "kernel_dilation": workload.dilation,
        "padding": padding,
        "rngs": nnx.Rngs(0),
    }
    sizes = workload.in_features, workload.out_features, workload.kernel
    if workload.transposed:
        with warnings.catch_warnings():  # networks have such kernels, whatever one may think of them
            warnings.simplefilter("ignore", CheckerboardWarning)
            return library.ConvTranspose(*sizes, **options)
    return library.Conv(*sizes, feature_group_count=workload.groups, **options)


def compiled(contender: str, workload: Workload, which: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    """A call that runs one pass to its end, and what is known of it before it is timed."""
    graph, state = nnx.split(layer(contender, workload))
    x = jnp.asarray(arrays(workload)["x"])

    def forward(state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(x)  # pyright: ignore[reportCallIssue]

    def loss(state: Any, x: jax.Array) -> jax.Array:
        return jnp.square(forward(state, x)).sum()

    function = forward if which == "forward" else jax.grad(loss, (0, 1))
    start = time.perf_counter()
    program = jax.jit(function).lower(state, x).compile()
    facts: dict[str, Any] = {"compile_s": time.perf_counter() - start}
    if memory := program.memory_analysis():
        facts["temp_bytes"] = memory.temp_size_in_bytes
    return lambda: jax.block_until_ready(program(state, x)), facts


def _computed(which: str) -> tuple[Slot, ...]:
    """The layer's slots that a pass computes: the loss has to go forward before it goes back."""
    return SLOTS if which == "gradient" else ("forward",)


def work(workload: Workload, which: str) -> int:
    """Multiply-adds of a pass."""
    return len(_computed(which)) * multiply_adds(workload.spec)


def measure(workload: Workload, which: str, rounds: int, budget_s: float) -> dict[str, Any]:
    """One row: both layers timed in turns."""
    built = {contender: compiled(contender, workload, which) for contender in _LIBRARIES}
    samples = interleave({contender: call for contender, (call, _) in built.items()}, rounds, budget_s)
    return {
        "kind": "row",
        "workload": dataclasses.asdict(workload),
        "tags": workload.tags,
        "slot": which,
        "dtype": _DTYPE,
        "multiply_adds": work(workload, which),
        "bytes": sum(bytes_moved(workload.spec, workload.form(slot)[0], 4) for slot in _computed(which)),
        "load": os.getloadavg()[0],
        "contenders": {c: {**facts, "samples": samples[c]} for c, (_, facts) in built.items()},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measures every layer that both libraries have and that is not in the file yet."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.layers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="results file, made or continued")
    add("--only", default="", help="workloads whose name contains this")
    add("--quick", action="store_true", help="a subset of a few minutes")
    add("--rounds", type=int, default=5, help="turns of each library (default 5)")
    add("--budget-ms", type=float, default=20.0, help="of a library in a round (default 20)")
    args = parser.parse_args(argv)
    chosen = [w for w in WORKLOADS if args.only in w.name and comparable(w) and (w.quick or not args.quick)]
    todo = [(w, which) for w in chosen for which in PASSES]
    if not todo:
        sys.exit("nothing to measure: no layer of both libraries has that name.")
    try:
        done = results.resume(args.out, machine.describe(_DTYPE))
        todo = [(w, p) for w, p in todo if not results.measured(done, (w.name, p, _DTYPE), work(w, p))]
    except ValueError as error:
        sys.exit(str(error))
    with progress() as bar:
        task = bar.add_task("", total=len(todo))
        for workload, which in todo:
            bar.update(task, description=f"{workload.name} {which}")
            results.append(args.out, measure(workload, which, args.rounds, args.budget_ms / 1e3))
            bar.advance(task)


if __name__ == "__main__":
    main()
