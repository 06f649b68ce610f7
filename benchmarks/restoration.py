"""Compare restored pictures with scikit-image's: `python -m benchmarks.restoration --out FILE.jsonl`.

Photographs are blurred with five PSFs at two noise levels, as a camera does: light from outside of the frame
is blurred in. Each method of `restoration_methods` restores them; PSNR, SSIM and PSNR next to the border are
kept, and with `--rounds` the seconds of both libraries, in turns. `--tables` prints what a file says.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skimage.metrics import structural_similarity

from jaxconv.restore import metrics

from . import machine, results
from .measure import interleave
from .restoration_cases import BAND, NOISES, PHOTOGRAPHS, POLLEN, PSFS, Case, photograph, pollen
from .restoration_methods import METHODS, Method
from .restoration_tables import tables
from .session import progress

# What is timed, and compared; the first is the reference.
TIMED = ("skimage", "jaxconv", "alike")
BUDGET_S = 0.02


def quality(x: np.ndarray, case: Case) -> dict[str, float]:
    """Of a restored picture from 0, black, to 1, white; what is beyond cannot be shown and is clipped."""
    x, axis = np.clip(x, 0, 1), -1 if case.colour else None
    near = metrics.border_psnr(x, case.truth, width=BAND, data_range=1.0, channel_axis=axis)
    similarity: Any = structural_similarity(x, case.truth, data_range=1.0, channel_axis=axis)
    return {
        "psnr": float(metrics.psnr(x, case.truth, data_range=1.0)),
        "ssim": float(similarity),
        "border": float(near.border),
        "interior": float(near.interior),
    }


def measure(case: Case, libraries: Sequence[str], rounds: int) -> dict[str, Any]:
    """One row: every method's quality, and samples of its seconds for rounds above 0."""
    methods = {f"{lib}:{name}": m for lib in libraries for name, m in METHODS[lib](case).items()}
    facts: dict[str, dict[str, Any]] = {"observed": quality(case.y, case)}
    for name, method in methods.items():
        start = time.perf_counter()
        facts[name] = quality(method(case), case)
        facts[name]["first_s"] = time.perf_counter() - start
    if rounds:
        for kind in dict.fromkeys(name.partition(":")[2] for name in methods):
            alike = {name: m for name, m in methods.items() if name.endswith(f":{kind}")}
            samples = interleave({n: _call(m, case) for n, m in alike.items()}, rounds, BUDGET_S)
            for name, blocks in samples.items():
                facts[name]["samples"] = blocks
    return {"kind": "row", "case": case.name, "load": os.getloadavg()[0], "methods": facts}


def _call(method: Method, case: Case) -> Callable[[], np.ndarray]:
    return lambda: method(case)


def names() -> Iterator[str]:
    """Of all cases on photographs."""
    for picture in PHOTOGRAPHS:
        for blur in PSFS:
            yield from (f"{picture}-{blur}-{noise:g}" for noise in NOISES)


def build(name: str, folder: Path | None) -> Case:
    """The case of that name."""
    if name == POLLEN:
        assert folder is not None
        return pollen(folder)
    picture, blur, noise = name.split("-")
    return photograph(picture, blur, float(noise))


def main(argv: Sequence[str] | None = None) -> None:
    """Measures the cases that are not in the file yet, or writes tables of those that are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.restoration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="results file, made or continued")
    add("--only", nargs="*", default=(), help="cases whose name contains all of this, as camera 0.01")
    add("--pollen", type=Path, metavar="DIR", help="sdeconv/data of its wheel: restore that volume")
    add("--rounds", type=int, default=0, help="turns to be timed (default 0: nothing is timed)")
    add("--same", action="store_true", help="only the methods that both libraries have, which are quick")
    add("--tables", action="store_true", help="print the tables of the file and measure nothing")
    args = parser.parse_args(argv)
    if args.tables:
        try:
            print("\n".join(tables(results.read(args.out))))
        except (OSError, ValueError) as error:
            sys.exit(str(error))
        return
    todo = [POLLEN] if args.pollen else [name for name in names() if all(part in name for part in args.only)]
    if not todo:
        sys.exit(f"no case has {' and '.join(args.only)} in its name; they are {', '.join(names())}.")
    if not args.out.exists():
        args.out.parent.mkdir(parents=True, exist_ok=True)
        results.append(args.out, {"kind": "header", **machine.describe("float32")})
    done = {row.data["case"] for row in results.read(args.out).rows}
    libraries = TIMED if args.rounds or args.same else tuple(METHODS)
    with progress() as bar:
        for name in bar.track([name for name in todo if name not in done], description="restoring"):
            results.append(args.out, measure(build(name, args.pollen), libraries, args.rounds))


if __name__ == "__main__":
    main()
