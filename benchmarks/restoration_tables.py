"""The tables of benchmarks.restoration, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .results import Results, Row
from .tables import geometric_mean, milliseconds, number, table

_SAME = "wiener", "unsupervised_wiener", "richardson_lucy"


def tables(results: Results) -> list[str]:
    """What a file says: means of each method, gains over scikit-image, every case, and times if there are."""
    rows = results.rows
    most = max(len(row.data["methods"]) for row in rows)
    whole = [row for row in rows if len(row.data["methods"]) == most]
    lines = [f"Means over {len(whole)} cases:", "", *_means(whole), "", "The same method:", "", *_gains(rows)]
    if timed := [row for row in rows if "samples" in _facts(row, f"skimage:{_SAME[0]}")]:
        lines += ["", "Times:", "", *_times(timed)]
    return [*lines, "", "Each case, PSNR in dB, scikit-image / jaxconv:", "", *_cases(rows)]


def _facts(row: Row, method: str) -> dict[str, Any]:
    return row.data["methods"].get(method, {})


def _seconds(row: Row, method: str) -> float | None:
    samples = _facts(row, method).get("samples")
    return min(map(min, samples)) if samples else None


def _mean(rows: Sequence[Row], method: str, fact: str) -> float | None:
    values = [facts[fact] for row in rows if (facts := _facts(row, method))]
    return sum(values) / len(values) if values else None


def _means(rows: Sequence[Row]) -> list[str]:
    methods = dict.fromkeys(name for row in rows for name in row.data["methods"])
    head = ("method", "of", "PSNR", "border", "interior", "SSIM")
    lines = []
    for method in methods:
        library, _, name = method.rpartition(":")
        figures = [number(_mean(rows, method, f)) for f in ("psnr", "border", "interior")]
        lines.append((name, library, *figures, number(_mean(rows, method, "ssim"), 3)))
    return table(head, lines)


def _gains(rows: Sequence[Row]) -> list[str]:
    head = ("method", "cases", "PSNR gain, least", "mean", "most", "losses", "border gain, least", "mean")
    lines = []
    for name in _SAME:
        gains, borders = (
            [
                _facts(row, f"jaxconv:{name}")[fact] - _facts(row, f"skimage:{name}")[fact]
                for row in rows
                if _facts(row, f"skimage:{name}")
            ]
            for fact in ("psnr", "border")
        )
        if gains:
            mean = (sum(gains) / len(gains), sum(borders) / len(borders))
            figures = (min(gains), mean[0], max(gains))
            losses = f"{sum(g < 0 for g in gains)} of {len(gains)}"
            lines.append(
                (
                    name,
                    str(len(gains)),
                    *map(number, figures),
                    losses,
                    number(min(borders)),
                    number(mean[1]),
                )
            )
    return table(head, lines)


def _times(rows: Sequence[Row]) -> list[str]:
    head = (
        "method",
        "boundaries",
        "cases",
        "scikit-image ms",
        "jaxconv ms",
        "times faster",
        "least",
        "slower in",
    )
    lines, every = [], []
    for library, boundaries in (("jaxconv", "jaxconv's"), ("alike", "scikit-image's")):
        for name in _SAME:
            pairs = [
                (theirs, ours)
                for row in rows
                if (theirs := _seconds(row, f"skimage:{name}"))
                and (ours := _seconds(row, f"{library}:{name}"))
            ]
            if not pairs:
                continue
            ratios = [theirs / ours for theirs, ours in pairs]
            every += ratios if library == "jaxconv" else []
            lines.append(_time_cells(name, boundaries, pairs, ratios))
    mean = number(geometric_mean(every))
    return [*table(head, lines), "", f"Geometric mean with jaxconv's boundaries: {mean} times faster."]


def _time_cells(
    name: str, boundaries: str, pairs: Sequence[tuple[float, float]], ratios: Sequence[float]
) -> tuple[str, ...]:
    means = [geometric_mean(pair[i] for pair in pairs) for i in (0, 1)]
    return (
        name,
        boundaries,
        str(len(pairs)),
        *map(milliseconds, means),
        number(geometric_mean(ratios)),
        number(min(ratios)),
        str(sum(r < 1 for r in ratios)),
    )


def _cases(rows: Sequence[Row]) -> list[str]:
    best: Callable[[Row], tuple[float, str]] = lambda row: max(  # noqa: E731
        (facts["psnr"], name) for name, facts in row.data["methods"].items() if not name.startswith("alike")
    )
    head = ("case", "best", "its PSNR", "observed", *_SAME)
    lines = []
    for row in rows:
        figures = []
        for name in _SAME:
            pair = [_facts(row, f"{library}:{name}").get("psnr") for library in ("skimage", "jaxconv")]
            figures.append(" / ".join(map(number, pair)) if all(pair) else "")
        value, name = best(row)
        observed = number(_facts(row, "observed")["psnr"])
        lines.append((row.data["case"], name.replace("more:", ""), number(value), observed, *figures))
    return table(head, lines)
