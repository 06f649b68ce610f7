"""Time jaxconv.filters against SciPy and scikit-image: `python -m benchmarks.filtering --out FILE.jsonl`.

Every filter runs on one image of a megapixel in single precision, all libraries in turns. Ours is compiled
with jit ahead of time and runs on all cores; theirs have one thread. Results are compared before anything is
timed. `--table` prints the table of the file.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv import filters

from . import machine, session
from .contenders import ahead_of_time
from .measure import interleave
from .results import append
from .tables import table

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
    call, facts = ahead_of_time(lambda x: ours(x), [jax.device_put(x)])
    y = np.asarray(call())
    error = 0.0
    for other in theirs.values():
        expected = other(x)
        error = max(error, float(np.max(abs(y - expected)) / np.max(abs(expected))))
    calls: dict[str, Callable[[], Any]] = {name: (lambda c=other: c(x)) for name, other in theirs.items()}
    calls["jaxconv"] = call
    return {
        "compile_s": facts["compile_s"],
        "error": error,
        "samples": interleave(calls, rounds, budget_s),
    }


def lines(path: Path) -> list[dict[str, Any]]:
    """Those of a file, which is one measured filter each but for the first, the machine."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def times_table(measured: Sequence[dict[str, Any]]) -> list[str]:
    """Median times and the ratio to the fastest of the others, one row for each filter."""
    rows = []
    for line in measured:
        times = {n: 1e3 * statistics.median(chain.from_iterable(s)) for n, s in line["samples"].items()}
        best = min(t for n, t in times.items() if n != "jaxconv")
        cells = [f"{times[n]:.1f}" if n in times else "" for n in ("jaxconv", "scipy", "skimage")]
        rows.append((line["filter"], *cells, f"{best / times['jaxconv']:.1f}", f"{line['compile_s']:.1f}"))
    head = ("filter", "jaxconv, ms", "SciPy, ms", "scikit-image, ms", "times faster", "compilation, s")
    return table(head, rows, words=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures the filters that are not in the file yet, or prints the table of those that are."""
    parser = session.parser("filtering", __doc__, what="filters")
    parser.add_argument(
        "--table", action="store_true", help="print the table of the file and measure nothing"
    )
    parser.add_argument("--size", type=int, default=1024, help="of the image's sides (default 1024)")
    args = parser.parse_args(argv)
    known = lines(args.out)
    if args.table and not known:
        sys.exit(f"{args.out} is not there, or empty.")
    if args.table:
        print("\n".join(times_table(known[1:])))
        return
    rng = np.random.default_rng(0)
    x = rng.random((args.size, args.size), np.float32)
    if not known:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        append(args.out, {"machine": machine.describe("float32"), "shape": x.shape})
    done = {line["filter"] for line in known[1:]}
    for name, (ours, theirs) in cases(rng).items():
        if args.only not in name or name in done:
            continue
        row = measure(ours, theirs, x, args.rounds, args.budget_ms / 1e3)
        if row["error"] > _TOLERANCE:
            sys.exit(f"{name}: differs by {row['error']:.1e}")
        append(args.out, {"filter": name, **row})
        print(f"{name}: {min(map(min, row['samples']['jaxconv'])) * 1e3:.2f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
