"""Time the operators: `python -m benchmarks.run --out FILE.jsonl`.

Every slot of every workload becomes a line of the file, with all samples of all contenders. A run that was
stopped goes on where it was; lines that are there are not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Any

from jaxconv.geometry import Slot, bytes_moved, multiply_adds

from . import results, session
from .contenders import ALGORITHMS, Contender, Refused, arrays, build, check_name, relative_error, tolerance
from .measure import interleave
from .session import Job, measure_missing
from .workloads import SLOTS, WORKLOADS, Workload, random_workloads

_ITEMSIZE = {"float32": 4, "bfloat16": 2}


def measure(
    workload: Workload, slot: Slot, contenders: Sequence[str], dtype: str, rounds: int, budget_s: float
) -> dict[str, Any]:
    """One row: builds and checks every contender, then times in turns those that compute the right thing."""
    given = arrays(workload)
    stock = build("stock", workload, slot, given, dtype)
    reference = stock.read(stock.call())
    facts: dict[str, dict[str, Any]] = {}
    ready: dict[str, Contender] = {}
    for name in contenders:
        try:
            contender = stock if name == "stock" else build(name, workload, slot, given, dtype)
            error = relative_error(contender.read(contender.call()), reference)
        except Refused as refusal:
            facts[name] = {"refused": str(refusal)}
            continue
        except Exception as failure:  # one program that does not compile must not end a long run
            facts[name] = {"failed": f"{type(failure).__name__}: {failure}"[:1000]}
            continue
        facts[name] = {**contender.facts, "error": error}
        if error <= tolerance(workload, slot, dtype):
            ready[name] = contender
        else:
            facts[name]["failed"] = f"differs from stock by {error:.2g} of the largest entry"
    samples = interleave({name: contender.call for name, contender in ready.items()}, rounds, budget_s)
    for name, blocks in samples.items():
        facts[name]["samples"] = blocks
    form_slot, _ = workload.form(slot)
    return results.row(
        dataclasses.asdict(workload),
        slot,
        facts,
        dtype=dtype,
        tags=workload.tags,
        multiply_adds=multiply_adds(workload.spec),
        form_slot=form_slot,
        bytes=bytes_moved(workload.spec, form_slot, _ITEMSIZE[dtype]),
    )


def selected(args: argparse.Namespace) -> list[Workload]:
    """The workloads that the command line names."""
    pool = random_workloads(args.random, args.seed) if args.random else WORKLOADS
    wanted = set(args.tags) | ({"quick"} if args.quick and not args.random else set())
    return [w for w in pool if args.only in w.name and wanted <= w.tags]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the command line names and is not in the file yet."""
    args = _parser().parse_args(argv)
    contenders = [
        name
        for given in args.contenders
        for name in ([f"jaxconv:{a}" for a in ALGORITHMS] if given == "jaxconv:*" else [given])
    ]
    try:
        for name in contenders:
            check_name(name)
    except ValueError as error:
        sys.exit(str(error))
    options = contenders, args.dtype, args.rounds, args.budget_ms / 1e3
    jobs = [
        Job((w.name, slot, args.dtype), multiply_adds(w.spec), functools.partial(measure, w, slot, *options))
        for w in selected(args)
        for slot in args.slots
    ]
    measure_missing(args.out, args.dtype, jobs)


def _parser() -> argparse.ArgumentParser:
    parser = session.parser("run", __doc__)
    add = parser.add_argument
    add("--tags", nargs="+", default=[], help="workloads that have all of these tags")
    add("--slots", nargs="+", choices=SLOTS, default=list(SLOTS), help="of the layer (default all)")
    add(
        "--contenders",
        nargs="+",
        default=["jaxconv", "stock", "torch"],
        help="any of jaxconv, jaxconv:ALGORITHM, jaxconv:*, stock, torch (default jaxconv stock torch)",
    )
    add("--dtype", choices=tuple(_ITEMSIZE), default="float32")
    add("--quick", action="store_true", help="a subset of a few minutes")
    add("--random", type=int, default=0, metavar="N", help="N random layers instead of the named ones")
    add("--seed", type=int, default=0, help="of the random layers")
    return parser


if __name__ == "__main__":
    main()
