"""Time jaxconv.filters against SciPy and scikit-image: `python -m benchmarks.filtering --out FILE.jsonl`.

Every filter runs on one image of a megapixel in single precision, all libraries in turns. Ours is compiled
with jit ahead of time and runs on all cores; theirs have one thread. Results are compared before anything is
timed.
`--table FILE.jsonl` prints the table of a file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv import filters

from . import machine
from .measure import interleave

_Filter = Callable[[Any], Any]
# What differs by more, relative to the largest value, is not the same filter.
_TOLERANCE = 1e-4


def cases(rng: np.random.Generator) -> dict[str, tuple[_Filter, dict[str, _Filter]]]:
    """By name: ours, and theirs by library."""
    import scipy.ndimage as ndi
    import skimage.filters as ski

    whole = {k: rng.normal(size=(k, k)).astype(np.float32) for k in (3, 7, 15)}
    outer = np.multiply.outer(rng.normal(size=15), rng.normal(size=15)).astype(np.float32)
    found: dict[str, tuple[_Filter, dict[str, _Filter]]] = {}
    for s in (1, 4, 16):
        found[f"gaussian, sigma {s}"] = (
            lambda x, s=s: filters.gaussian(x, s),
            {
                "scipy": lambda x, s=s: ndi.gaussian_filter(x, s),
                "skimage": lambda x, s=s: ski.gaussian(x, s, mode="reflect"),
            },
        )
    for k in (3, 9, 31, 101):
        found[f"box, {k} x {k}"] = (
            lambda x, k=k: filters.box(x, k),
            {"scipy": lambda x, k=k: ndi.uniform_filter(x, k)},
        )
    for name in ("sobel", "scharr", "prewitt"):
        found[f"{name}, size"] = (getattr(filters, name), {"skimage": getattr(ski, name)})
    found["sobel, one axis"] = (
        lambda x: filters.sobel(x, axis=0, normalize=False),
        {"scipy": lambda x: ndi.sobel(x, 0)},
    )
    found["laplace"] = (filters.laplace, {"scipy": ndi.laplace})
    found["gaussian_laplace, sigma 2"] = (
        lambda x: filters.gaussian_laplace(x, 2),
        {"scipy": lambda x: ndi.gaussian_laplace(x, 2)},
    )
    found["difference_of_gaussians, 2"] = (
        lambda x: filters.difference_of_gaussians(x, 2, mode="nearest"),
        {"skimage": lambda x: ski.difference_of_gaussians(x, 2)},
    )
    found["unsharp_mask, sigma 2"] = (
        lambda x: filters.unsharp_mask(x, 2),
        {"skimage": lambda x: ski.unsharp_mask(x, 2, preserve_range=True)},
    )
    for k in (3, 5, 9):
        found[f"median, {k} x {k}"] = (
            lambda x, k=k: filters.median(x, k),
            {"scipy": lambda x, k=k: ndi.median_filter(x, k)},
        )
    for k, kernel in whole.items():
        found[f"correlate, {k} x {k}"] = (
            lambda x, k=kernel: filters.correlate(x, k),
            {"scipy": lambda x, k=kernel: ndi.correlate(x, k)},
        )
    found["correlate, 15 x 15 separable"] = (
        lambda x: filters.correlate(x, outer),
        {"scipy": lambda x: ndi.correlate(x, outer)},
    )
    return found | slow_cases()


def slow_cases() -> dict[str, tuple[_Filter, dict[str, _Filter]]]:
    """Those whose other implementation takes a second and more."""
    import skimage.filters as ski
    from skimage.restoration import denoise_bilateral

    def gabor(x: np.ndarray) -> np.ndarray:
        thetas: tuple[Any, ...] = (0.0, 0.8, 1.6, 2.4)
        parts = [ski.gabor(x, 0.25, t) for t in thetas]
        return np.stack([real + 1j * imaginary for real, imaginary in parts], -1)[..., None, :]

    return {
        "gabor_bank, 4 x (15 x 15)": (
            lambda x: filters.gabor_bank(x, [0.25], [0.0, 0.8, 1.6, 2.4]),
            {"skimage": gabor},
        ),
        # scikit-image's spatial weights are wrong for odd windows, so they are made equal.
        "bilateral, 7 x 7": (
            lambda x: filters.bilateral(x, 1e3, 0.2, radius=3),
            {"skimage": lambda x: denoise_bilateral(x, 7, 0.2, 1e3, mode="symmetric")},
        ),
    }


def measure(
    ours: _Filter, theirs: dict[str, _Filter], x: np.ndarray, rounds: int, budget_s: float
) -> dict[str, Any]:
    """Samples in seconds by library, seconds to compile, and the largest difference."""
    on_device = jax.device_put(x)
    start = time.perf_counter()
    compiled = jax.jit(lambda x: ours(x)).lower(on_device).compile()
    seconds = time.perf_counter() - start
    y = np.asarray(compiled(on_device))
    error = 0.0
    for call in theirs.values():
        expected = call(x)
        error = max(error, float(np.max(abs(y - expected)) / np.max(abs(expected))))
    calls: dict[str, Callable[[], Any]] = {name: (lambda c=call: c(x)) for name, call in theirs.items()}
    calls["jaxconv"] = lambda: jax.block_until_ready(compiled(on_device))
    return {"compile_s": seconds, "error": error, "samples": interleave(calls, rounds, budget_s)}


def table(path: Path) -> str:
    """Median times and the ratio to the fastest of the others, one row for each filter."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [
        "| filter | jaxconv, ms | SciPy, ms | scikit-image, ms | times faster | compilation, s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if "samples" not in row:
            continue
        times = {n: 1e3 * statistics.median(chain.from_iterable(s)) for n, s in row["samples"].items()}
        best = min(t for n, t in times.items() if n != "jaxconv")
        cells = [f"{times[n]:.1f}" if n in times else "" for n in ("jaxconv", "scipy", "skimage")]
        ratio = f"{best / times['jaxconv']:.1f}"
        lines.append(f"| {row['filter']} | {' | '.join(cells)} | {ratio} | {row['compile_s']:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, help="JSON lines to append to; filters in it are not measured again"
    )
    parser.add_argument("--table", type=Path, help="print the table of this file and do nothing else")
    parser.add_argument("--only", default="", help="filters whose name has this in it")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-ms", type=float, default=20.0)
    given = parser.parse_args(arguments)
    if given.table:
        print(table(given.table))
        return 0
    if not given.out:
        parser.error("--out or --table is needed")
    known = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    rng = np.random.default_rng(0)
    x = rng.random((given.size, given.size), np.float32)
    with given.out.open("a") as file:
        if not known:
            print(
                json.dumps({"machine": machine.describe("float32"), "shape": x.shape}), file=file, flush=True
            )
        for name, (ours, theirs) in cases(rng).items():
            if given.only not in name or any(row.get("filter") == name for row in known):
                continue
            row = measure(ours, theirs, x, given.rounds, given.budget_ms / 1e3)
            if row["error"] > _TOLERANCE:
                print(f"{name}: differs by {row['error']:.1e}", file=sys.stderr)
                return 1
            print(json.dumps({"filter": name, **row}), file=file, flush=True)
            print(f"{name}: {min(map(min, row['samples']['jaxconv'])) * 1e3:.2f} ms", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
