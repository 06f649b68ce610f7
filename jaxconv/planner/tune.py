"""Measure which algorithm is the fastest for each convolution of a function."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxlib import version

from ..lowerings import REGISTRY
from .collect import Found, collect
from .device import default_device, platform_of
from .key import Key
from .precision import only_direct
from .progress import reporting
from .table import Table, duration, ranking
from .timing import alone, race

# What is not even tried, as neither a compilation nor the system's shortage of memory can be interrupted:
# programs of more operations, and of more bytes of workspace.
MOST_STEPS, MOST_WORKSPACE = 2000, 4 * 2**30


def tune(
    fn: Callable[..., Any],
    *args: Any,
    repeats: int = 10,
    path: str | os.PathLike[str] | None = None,
    progress: bool = True,
    algorithms: Sequence[str] | None = None,
    max_seconds: float | None = None,
    **kwargs: Any,
) -> Table:
    """Measures all algorithms for all convolutions of a function on JAX's default device.

    The function is traced, not run. To tune training, hand over what is trained with: a whole training step,
    or `jax.grad(loss)`; the function alone has the forward convolutions only. Convolutions inside of `jit`,
    `scan`, `while_loop`, `cond`, `checkpoint`, `shard_map` and custom derivatives are found; inside
    `shard_map` they have the shapes of one shard.

    Each convolution is measured by itself on random data, the algorithms in turns, those with the most work
    first; those of lax as they would be computed under `jaxconv.install`. An algorithm that is more than
    three times slower than the best after the first round is not repeated; its one time is kept. A
    convolution with a forced `algorithm`, a `lax.DotAlgorithm` for its precision, a symbolic size, or nothing
    to compute is left out, and so is an algorithm whose program would be very long or would need more than
    4 GiB of workspace.

    Args:
      fn: a function of arrays and pytrees of arrays.
      *args: its arguments; `jax.ShapeDtypeStruct`s will do. Bind what is no array with `functools.partial`.
      repeats: rounds of measurements; the least time counts.
      path: a file for the table, which is saved after every convolution. What a file that is there already
        contains is not measured again, so that an interrupted run goes on where it was.
      progress: whether to show progress on stderr.
      algorithms: the names to measure, beside "direct", which always is; None measures all.
      max_seconds: no further convolution is begun after this time.
      **kwargs: its keyword arguments, arrays too.

    Returns:
      The table of all that was measured, and of what was in the file; use it by `with table:`.

    Raises:
      ValueError: if `fn` has no convolution, an algorithm is not known, `repeats` is below 1,
        or the file is no table, or one of another kind of device or version of jaxlib.
      RuntimeError: if an algorithm's result is not that of `direct`, which would be a bug.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jaxconv
      >>> def loss(kernel, x):
      ...     return jnp.sum(jaxconv.conv(x, kernel) ** 2)
      >>> kernel, x = jnp.ones((3, 2, 4)), jax.ShapeDtypeStruct((1, 8, 2), jnp.float32)
      >>> table = jaxconv.tune(jax.grad(loss), kernel, x, repeats=1, progress=False)
      >>> print(table)
      2 convolutions measured on cpu (cpu), jaxlib ...
        forward n1 g1 c2>4 8k3s1d1p0,0 float32 default: ...
        weight_grad n1 g1 c2>4 8k3s1d1p0,0 float32 default: ...
      >>> with table:
      ...     g = jax.grad(loss)(kernel, jnp.ones((1, 8, 2)))
    """
    names = _known(algorithms)
    if repeats < 1:
        raise ValueError(f"repeats={repeats} must be at least 1.")
    device = default_device()
    platform = platform_of(device)

    def measured(seconds: dict[str, dict[str, float]]) -> Table:
        return Table(platform, device.device_kind, version.__version__, seconds)

    table = measured({})
    if path is not None and Path(path).exists():
        table = table.merge(Table.load(path))
    found = collect(fn, args, kwargs, platform)
    if found is None:
        raise ValueError(
            f"{getattr(fn, '__name__', fn)} computes no convolution; hand over a function that does."
        )
    found = [f for f in found if f.algorithm is None and not only_direct(f.key.precision)]
    jobs = [(f, missing) for f in found if (missing := _missing(f.key, names, table))]
    start = time.monotonic()
    with reporting(len(jobs), progress) as report:
        for f, missing in jobs:
            if max_seconds is not None and time.monotonic() - start >= max_seconds:
                report(f"max_seconds={max_seconds} are over; the convolutions that are left are not tuned", 0)
                break
            with alone(device):
                timed = race(f.key, f.dtypes, missing, device, platform, repeats)
            table = table.merge(measured({str(f.key): timed.seconds}))
            if path is not None:
                table.save(path)
            report("; ".join([f"{f.key}: {ranking(timed.seconds)}", *timed.remarks]), 1)
        report(_summary(found, table), 0)
    return table


def _known(algorithms: Sequence[str] | None) -> list[str]:
    """The names to measure, `direct` first."""
    if isinstance(algorithms, str):
        raise ValueError(f"algorithms={algorithms!r} is a name; wanted a sequence of names.")
    for name in algorithms or ():
        if name not in REGISTRY:
            raise ValueError(f"algorithms has {name!r}, which is not known; use {', '.join(REGISTRY)}.")
    wanted = REGISTRY if algorithms is None else algorithms
    return ["direct", *(name for name in REGISTRY if name in wanted and name != "direct")]


def _missing(key: Key, names: list[str], table: Table) -> list[str]:
    """The algorithms to measure for a convolution: `direct` again if any other has not been."""
    known = table.seconds.get(str(key), {})
    able = [name for name in names if _feasible(name, key)]
    missing = [name for name in able if name not in known]
    return missing and ["direct", *(name for name in missing if name != "direct")]


def _feasible(name: str, key: Key) -> bool:
    """Whether an algorithm can compute it, in a program that can be compiled and run; `direct` always can."""
    lowering = REGISTRY[name]
    if lowering.supports(key.slot, key.spec, key.dtype, key.precision) is not None:
        return False
    work = lowering.work(key.slot, key.spec)
    small = work.steps <= MOST_STEPS and work.workspace * key.dtype.itemsize <= MOST_WORKSPACE
    return small or name == "direct"


def _summary(found: list[Found], table: Table) -> str:
    """What the choice is worth over all occurrences, by itself: fusions around it are not measured."""
    times = [(f.count, known) for f in found if (known := table.seconds.get(str(f.key)))]
    direct = sum(count * known.get("direct", 0.0) for count, known in times)
    best = sum(count * min(known.values()) for count, known in times)
    return f"{len(times)} convolutions in all: direct {duration(direct)}, the fastest {duration(best)}"
