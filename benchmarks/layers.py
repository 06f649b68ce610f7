"""Time jaxconv's Flax modules against Flax's own: `python -m benchmarks.layers --out FILE.jsonl`.

The lines are those of benchmarks.run, with Flax's layer as `stock` and two slots: `forward`, and `gradient`
with respect to the parameters and the input. What is timed includes the bias and the loss, as in training.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import jaxconv
from jaxconv.geometry import Slot, bytes_moved, multiply_adds
from jaxconv.nn import CheckerboardWarning

from . import results, session
from .contenders import ahead_of_time, arrays
from .measure import interleave
from .session import Job, measure_missing
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
    return ahead_of_time(function, (state, x))


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
    return results.row(
        dataclasses.asdict(workload),
        which,
        {c: {**facts, "samples": samples[c]} for c, (_, facts) in built.items()},
        dtype=_DTYPE,
        tags=workload.tags,
        multiply_adds=work(workload, which),
        bytes=sum(bytes_moved(workload.spec, workload.form(slot)[0], 4) for slot in _computed(which)),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measures every layer that both libraries have and that is not in the file yet."""
    parser = session.parser("layers", __doc__)
    parser.add_argument("--quick", action="store_true", help="a subset of a few minutes")
    args = parser.parse_args(argv)
    options = args.rounds, args.budget_ms / 1e3
    chosen = [w for w in WORKLOADS if args.only in w.name and comparable(w) and (w.quick or not args.quick)]
    jobs = [
        Job((w.name, which, _DTYPE), work(w, which), functools.partial(measure, w, which, *options))
        for w in chosen
        for which in PASSES
    ]
    measure_missing(args.out, _DTYPE, jobs)


if __name__ == "__main__":
    main()
