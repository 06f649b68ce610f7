"""Compile the operators for devices that are not there: `python -m benchmarks.targets --out DIR`.

Every slot of every workload is compiled for an H100 and a TPU v5e, as jaxconv's operator, as the lax
convolution of `contenders`, and (`--contender installed`) as that one under `jaxconv.install()`. Each program
becomes a line of `DIR/targets_DEVICE_DTYPE.jsonl`; a run that was stopped goes on where it was, and does not
compile a program again that another contender has to the letter. Nothing runs, so nothing here is a
measurement.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Whoever compiles for a device wants none to be started; before the first `import jax`.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from rich.console import Console

import jaxconv
from jaxconv import targets
from jaxconv.geometry import ConvSpec, Slot

from .contenders import jaxconv_program, stock_program
from .session import progress
from .target_cases import CASES
from .target_tables import write_tables
from .workloads import SLOTS, WORKLOADS, Workload

# "installed" is stock's program under `jaxconv.install()`.
CONTENDERS = ("stock", "jaxconv", "installed")
DTYPES = ("float32", "bfloat16", "float16")
# To compile one program.
MOST_SECONDS = 60


def necessary(spec: ConvSpec) -> int:
    """Multiply-adds of the form, with those over the padding, which every convolution executes."""
    outs, taps = (math.prod(getattr(a, name) for a in spec.axes) for name in ("out", "kernel"))
    return spec.batch * outs * taps * (spec.in_channels // spec.groups) * spec.out_channels


def described(workload: Workload, slot: Slot, contender: str, device: str, dtype: str) -> dict[str, Any]:
    """What is known of a program before it is compiled."""
    form_slot, _ = workload.form(slot)
    row: dict[str, Any] = {
        "kind": "row",
        "workload": workload.name,
        "slot": slot,
        "form_slot": form_slot,
        "contender": contender,
        "device": device,
        "dtype": dtype,
        "necessary": necessary(workload.spec),
    }
    if contender == "jaxconv":
        platform = targets.DEVICES[device].platform
        plan = jaxconv.plan(workload.spec, slot=form_slot, platform=platform, dtype=jnp.dtype(dtype))
        row["algorithm"] = plan.algorithm
    return row


def compile_row(workload: Workload, slot: Slot, contender: str, device: str, dtype: str) -> dict[str, Any]:
    """One line: what the compiler made of one program."""
    row = described(workload, slot, contender, device, dtype)
    start = time.perf_counter()
    try:
        report = _with_program(
            targets.compile_for, workload, slot, contender, device, dtype, kernel=workload.kernel
        )
    except Exception as failure:  # a program that does not compile must not end a long run
        # The first line says what; the others where, in whoever's folders.
        return row | {"failed": f"{type(failure).__name__}: {failure}".partition("\n")[0][:1000]}
    return row | {
        "compile_s": round(time.perf_counter() - start, 2),
        "executed": report.multiply_adds,
        "products": [f"{p.kind} {'x'.join(map(str, p.window))}".strip() for p in report.products],
        "memory": dataclasses.asdict(report.memory),
        "bytes_accessed": report.bytes_accessed,
        "seconds": report.seconds,
        "cycles": report.cycles,
        "findings": sorted({f.kind for f in report.findings}),
    }


def digest(workload: Workload, slot: Slot, contender: str, device: str, dtype: str) -> str:
    """What stands for a program's text before it is compiled."""
    lowered = _with_program(targets.lower_for, workload, slot, contender, device, dtype)
    return hashlib.sha256(lowered.as_text().encode()).hexdigest()[:16]


def _with_program(
    use: Callable[..., Any],
    workload: Workload,
    slot: Slot,
    contender: str,
    device: str,
    dtype: str,
    **options: Any,
) -> Any:
    """`use` of a contender's function and the shapes of its arguments."""
    fn = (jaxconv_program if contender == "jaxconv" else stock_program)(workload, slot)
    shapes = dict(workload.shapes)
    if contender != "jaxconv" and workload.transposed:  # Flax keeps the kernel of the stuffed convolution
        shapes["kernel"] = (*workload.kernel, workload.in_features // workload.groups, workload.out_features)
    args = [jax.ShapeDtypeStruct(shapes[name], jnp.dtype(dtype)) for name in ("x", "kernel", "g")]
    with jaxconv.installed() if contender == "installed" else contextlib.nullcontext():
        return use(fn, *args, device=device, **options)


def key(row: dict[str, Any]) -> tuple[str, ...]:
    """What names a line."""
    return tuple(row[name] for name in ("workload", "slot", "contender", "device", "dtype"))


def load(path: Path) -> list[dict[str, Any]]:
    """The lines of a file; none if there is no such file."""
    if not path.exists():
        return []
    return [row for line in path.read_text().splitlines() if (row := json.loads(line))["kind"] == "row"]


def todo(
    workloads: Sequence[Workload],
    contenders: Sequence[str],
    device: str,
    dtype: str,
    done: set[tuple[str, ...]],
) -> Iterator[tuple[Workload, Slot, str]]:
    """The programs that a file does not have yet."""
    for workload in workloads:
        for slot in SLOTS:
            for contender in contenders:
                if (workload.name, slot, contender, device, dtype) not in done:
                    yield workload, slot, contender


def run(
    path: Path, workloads: Sequence[Workload], contenders: Sequence[str], device: str, dtype: str
) -> None:
    """Compiles what is missing in a file, and adds it."""
    rows = load(path)
    missing = [*todo(workloads, contenders, device, dtype, set(map(key, rows)))]
    known = {(row["workload"], row["program"]): row for row in rows if "program" in row}
    with progress() as bar, path.open("a") as file, Compiler() as compiler:
        task = bar.add_task(f"{device} {dtype}", total=len(missing))
        if missing:
            header = {"kind": "header", "jax": jax.__version__, "device": targets.DEVICES[device].title}
            file.write(json.dumps(header) + "\n")
        for workload, slot, contender in missing:
            program = digest(workload, slot, contender, device, dtype)
            row = known.get((workload.name, program)) or compiler.row(
                workload, slot, contender, device, dtype
            )
            row = _facts(row) | described(workload, slot, contender, device, dtype) | {"program": program}
            known[workload.name, program] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            bar.advance(task)


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    """What is true of a program whoever's it is."""
    return {name: value for name, value in row.items() if name != "algorithm"}


class Compiler:
    """A process that compiles, and a new one where the compiler aborts it or takes too long."""

    def __enter__(self) -> Compiler:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that the process's end is the pipe's
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def row(self, *program: Any) -> dict[str, Any]:
        """`compile_row`; where that does not come to an end, the row says so."""
        self._pipe.send(program)
        failed = f"takes more than {MOST_SECONDS} s to compile"
        if self._pipe.poll(MOST_SECONDS):
            try:
                return self._pipe.recv()
            except EOFError:
                failed = "the compiler aborts the process"
        self.__exit__()
        self.__enter__()
        return described(*program) | {"failed": failed}


def _serve(pipe: Connection) -> None:
    while True:
        pipe.send(compile_row(*pipe.recv()))


def selected(args: argparse.Namespace, device: str) -> list[Workload]:
    """The workloads that the command line names; by default few for a TPU, whose compiler takes seconds."""
    pool = [w for w in (*WORKLOADS, *CASES) if args.only in w.name]
    if args.all or args.only:
        return pool
    differ = {"depthwise", "transposed"}
    return [w for w in pool if w.quick and (device != "v5e" or w.tags & differ)]


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument(
        "--device", choices=tuple(targets.DEVICES), action="append", help="default: every one"
    )
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="default: float32")
    parser.add_argument("--contender", choices=CONTENDERS, action="append", help="default: stock, jaxconv")
    parser.add_argument("--all", action="store_true", help="every workload, not only the quick ones")
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads with TEXT in their name")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = parsed(argv)
    console = Console(stderr=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for device in args.device or targets.DEVICES:
        if reason := targets.missing(device):
            console.print(reason, markup=False)
            return 1
    for device in args.device or targets.DEVICES:
        for dtype in args.dtype or ("float32",):
            path = args.out / f"targets_{device}_{dtype}.jsonl"
            run(path, selected(args, device), args.contender or CONTENDERS[:2], device, dtype)
            page = write_tables(load(path), path.with_suffix(".md"))
            console.print(f"{path} and {page}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
