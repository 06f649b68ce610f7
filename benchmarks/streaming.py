"""Time streams against recomputation: `python -m benchmarks.streaming --out FILE.jsonl`.

Three networks for sound hear a chunk at a time. `stream` is one step of `jaxconv.partition.streaming`;
`stock` is what one does without: the network on the receptive field of the chunk's results, the last of which
count; `whole` is the network on one second of signal, its time divided by the number of chunks, which no
program can have that answers chunk by chunk. The lines are those of benchmarks.run. A table goes beside the
file: seconds of computing for each second of the signal.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.partition import Stream, streaming

from . import results, session
from .measure import interleave
from .session import Job, measure_missing
from .stream_nets import NETS, Net
from .tables import number, table, write_beside

CONTENDERS = ("stream", "stock", "whole")
_DTYPE = "float32"
_SAME = 1e-4  # of the largest result: two programs for the same sums


def window(fn: Callable[[jax.Array], jax.Array], x: jax.Array, stream: Stream, chunk: int) -> int:
    """Samples that the results of a chunk see, in whole periods: those where the gradient is not zero."""
    middle = x.shape[1] // 2 // stream.period * stream.period
    first = int(middle * stream.rate)
    results = slice(first, first + max(int(chunk * stream.rate), 1))
    seen = np.flatnonzero(jax.jit(jax.grad(lambda x: fn(x)[:, results].sum()))(x)[0].any(-1))
    return -(-int(seen[-1] - seen[0] + 1) // stream.period) * stream.period


def programs(
    net: Net, fn: Callable[[jax.Array], jax.Array], chunk: int
) -> tuple[dict[str, Callable[[], Any]], dict[str, dict[str, Any]], int]:
    """The contenders, facts about them, and the chunks in a second, after all have been seen to agree."""
    stream = streaming(fn, jax.ShapeDtypeStruct(net.shape, _DTYPE))
    rest = net.shape[1] // chunk * chunk
    x = jnp.asarray(np.random.default_rng(0).standard_normal(net.shape, np.float32)[:, :rest])
    seen = window(fn, x, stream, chunk)
    step, whole = jax.jit(stream.step), jax.jit(fn)
    state, outputs = stream.init(), []
    for start in range(0, rest, chunk):
        state, y, count = step(state, x[:, start : start + chunk])
        outputs.append(np.asarray(y)[:, : int(count)])
    wanted, got = np.asarray(whole(x)), np.concatenate(outputs, 1)
    error = np.abs(got - wanted[:, : got.shape[1]]).max() / np.abs(wanted).max()
    if not error <= _SAME:
        raise ValueError(f"{net.name} streamed differs by {error:.1e}")
    last = x[:, -min(seen, rest) :]
    piece, settled = x[:, -chunk:], state
    calls = {
        "stream": lambda: jax.block_until_ready(step(settled, piece)),
        "stock": lambda: jax.block_until_ready(whole(last)),
        "whole": lambda: jax.block_until_ready(whole(x)),
    }
    kept = sum(a.nbytes for a in jax.tree.leaves(settled))
    facts: dict[str, dict[str, Any]] = {
        "stream": {"error": float(error), "state_bytes": kept, "latency": str(stream.latency)},
        "stock": {"samples_seen": last.shape[1]},
        "whole": {},
    }
    return calls, facts, rest // chunk


def measure(net: Net, chunk: int, rounds: int, budget_s: float) -> dict[str, Any]:
    """One row: all timed in turns; samples are seconds of a chunk."""
    calls, facts, chunks = programs(net, net.make(), chunk)
    samples = interleave(calls, rounds, budget_s)
    samples["whole"] = [[s / chunks for s in block] for block in samples["whole"]]
    for name, blocks in samples.items():
        facts[name]["samples"] = blocks
    return results.row(
        {"name": f"{net.name}-{chunk}", "chunk": chunk, "rate": net.rate, "shape": net.shape},
        "forward",
        facts,
        dtype=_DTYPE,
        tags=[net.name],
        multiply_adds=chunk,
    )


def write_table(path: Path) -> Path:
    """The table of a results file, beside it."""
    found = results.read(path)
    cells = []
    for row in found.rows:
        workload = row.data["workload"]
        period = workload["chunk"] / workload["rate"]
        times = [(row.seconds(c) or math.nan) / period for c in CONTENDERS]
        cells.append(
            (
                row.key[0],
                f"{1e3 * period:.0f}",
                *(number(t) for t in times),
                number(row.ratio("stock", "stream")),
                str(row.facts("stock")["samples_seen"]),
                f"{row.facts('stream')['state_bytes'] / 1024:.0f}",
                row.facts("stream")["latency"],
            )
        )
    head = (
        "net-chunk", "ms of signal", "stream", "recomputed", "whole", "recomputed / stream", "samples seen",
        "state KiB", "latency",
    )  # fmt: skip
    lines = [
        f"# Streams, {found.headers[0]['processor']}, {found.headers[0]['cores']} cores",
        "",
        "Seconds of computing for each second of the signal; below 1 is faster than it is heard.",
        "",
    ]
    return write_beside(path, [*lines, *table(head, cells)])


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what is not in the file yet."""
    args = session.parser("streaming", __doc__, what="networks", rounds=3, budget_ms=200.0).parse_args(argv)
    options = args.rounds, args.budget_ms / 1e3
    chosen = [(net, chunk) for net in NETS if args.only in net.name for chunk in net.chunks]
    jobs = [
        Job((f"{net.name}-{n}", "forward", _DTYPE), n, functools.partial(measure, net, n, *options))
        for net, n in chosen
    ]
    measure_missing(args.out, _DTYPE, jobs)
    print(f"{args.out} and {write_table(args.out)}")


if __name__ == "__main__":
    main()
