"""The report's tables, as lines of Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .results import Results, Row

_SLOW = ("depthwise", "grouped", "transposed")
_WORST = 15
# A ratio this close to one is within what the same program measures twice.
NOISE = 0.05


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Of the ratios that there are, or None if there are none."""
    known = [math.log(r) for r in ratios if r]
    return math.exp(sum(known) / len(known)) if known else None


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, words: int = 2) -> list[str]:
    """A Markdown table; columns after the first `words` are numbers, aligned to the right."""
    rule = ["---" if i < words else "---:" for i in range(len(head))]
    return [f"| {' | '.join(map(str, cells))} |" for cells in (head, rule, *rows)]


def write_beside(path: Path, lines: Iterable[str]) -> Path:
    """Writes a page of Markdown beside a results file, under its name, and returns where."""
    page = path.with_suffix(".md")
    page.write_text("\n".join(lines) + "\n")
    return page


def number(value: float | None, digits: int = 2) -> str:
    """A number for a cell, empty where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def milliseconds(seconds: float | None) -> str:
    """Milliseconds with three significant digits."""
    if seconds is None:
        return ""
    value = 1e3 * seconds
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Named groups of rows to average over, without the empty ones."""
    slots = list(dict.fromkeys(row.key[1] for row in rows))
    tags = sorted({tag for row in rows for tag in row.tags} - {"quick", "single"})

    def gradient(row: Row) -> bool:
        return row.key[1] != "forward"

    tests: list[tuple[str, Callable[[Row], bool]]] = [("all", lambda _: True)]
    tests += [(f"all {slot}", lambda row, s=slot: row.key[1] == s) for slot in slots]
    tests += [
        (
            "gradients of depthwise, grouped and transposed",
            lambda r: gradient(r) and bool(r.tags & set(_SLOW)),
        ),
        ("gradients of the others", lambda r: gradient(r) and not r.tags & set(_SLOW)),
    ]
    tests += [(f"{tag} forward", lambda r, t=tag: not gradient(r) and t in r.tags) for tag in tags]
    tests += [(f"{tag} gradients", lambda r, t=tag: gradient(r) and t in r.tags) for tag in tags]
    found = [(name, [row for row in rows if test(row)]) for name, test in tests]
    return [(name, members) for name, members in found if members]


def summary(rows: Sequence[Row]) -> list[str]:
    """Geometric means of each group."""
    head = (
        "group",
        "rows",
        "time / stock",
        "slower than stock",
        "time / torch",
        "slower than torch",
        "compile / stock",
        "memory / stock",
    )

    def slower(ratios: list[float | None]) -> str:
        known = [r for r in ratios if r]
        return f"{sum(r > 1 + NOISE for r in known)} of {len(known)}" if known else ""

    lines = []
    for name, members in groups(rows):
        stock, torch = ([row.ratio("jaxconv", c) for row in members] for c in ("stock", "torch"))
        compiling, memory = (
            geometric_mean(row.fact_ratio(fact, "jaxconv", "stock") for row in members)
            for fact in ("compile_s", "temp_bytes")
        )
        lines.append(
            (
                name,
                str(len(members)),
                number(geometric_mean(stock)),
                slower(stock),
                number(geometric_mean(torch)),
                slower(torch),
                number(compiling),
                number(memory),
            )
        )
    return table(head, lines)


def rows_table(rows: Sequence[Row], results: Results) -> list[str]:
    """Everything measured of the planner's choice, one line for each row."""
    head = (
        "workload",
        "slot",
        "algorithm",
        "jaxconv ms",
        "stock ms",
        "torch ms",
        "/ stock",
        "±",
        "/ torch",
        "limit ms",
        "bound by",
        "limit / time",
        "compile / stock",
        "memory / stock",
        "error",
    )
    return table(head, (_cells(row, results) for row in rows))


def _cells(row: Row, results: Results) -> tuple[str, ...]:
    limit, bound = row.limit(results.roofs(row.key[2]))
    seconds, facts = row.seconds("jaxconv"), row.facts("jaxconv")
    spread, error = row.spread("jaxconv", "stock"), facts.get("error")
    return (
        *row.key[:2],
        facts.get("algorithm", ""),
        *(milliseconds(row.seconds(c)) for c in ("jaxconv", "stock", "torch")),
        number(row.ratio("jaxconv", "stock")),
        "" if spread is None else f"{100 * spread:.0f} %",
        number(row.ratio("jaxconv", "torch")),
        milliseconds(limit),
        bound,
        number(limit / seconds if seconds else None),
        number(row.fact_ratio("compile_s", "jaxconv", "stock"), 1),
        _memory(row),
        "" if error is None else f"{error:.0e}",
    )


def _memory(row: Row) -> str:
    """Temporary memory relative to stock's, or outright where stock needs none."""
    if ratio := row.fact_ratio("temp_bytes", "jaxconv", "stock"):
        return number(ratio)
    own = row.facts("jaxconv").get("temp_bytes")
    return f"{own / 1e6:.1f} MB more" if own else ""


def worst(rows: Sequence[Row], results: Results, reference: str) -> list[str]:
    """The rows that lose most against a reference."""
    slower = [row for row in rows if (row.ratio("jaxconv", reference) or 0) > 1 + NOISE]
    slower.sort(key=lambda row: -(row.ratio("jaxconv", reference) or 0))
    return rows_table(slower[:_WORST], results) if slower else ["None is slower by more than the noise."]


def better_choices(rows: Sequence[Row]) -> list[str]:
    """Where an algorithm that was forced beats the planner's choice by more than the noise."""
    found = []
    for row in rows:
        chosen = row.facts("jaxconv").get("algorithm", "")
        others = {c for c in row.data["contenders"] if c.startswith("jaxconv:")} - {f"jaxconv:{chosen}"}
        timed = {name: ratio for name in sorted(others) if (ratio := row.ratio(name, "jaxconv"))}
        if timed:
            best = min(timed, key=lambda name: timed[name])
            if timed[best] < 1 - NOISE:
                found.append((row.label, chosen, best.partition(":")[2], timed[best]))
    found.sort(key=lambda entry: entry[-1])
    return table(
        ("workload and slot", "chosen", "faster", "time / chosen's"),
        ((label, chosen, best, number(ratio)) for label, chosen, best, ratio in found),
    )


def untimed(rows: Sequence[Row]) -> list[str]:
    """What was refused or failed, each sentence once with the rows it stands for."""
    sentences: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, facts in row.data["contenders"].items():
            for kind in ("refused", "failed"):
                if kind in facts:
                    sentence = " ".join(facts[kind].split()).replace("|", "/")[:200]
                    sentences.setdefault((name, f"{kind}: {sentence}"), []).append(row.label)
    return table(
        ("contender", "why", "rows", "for example"),
        ((name, why, str(len(labels)), labels[0]) for (name, why), labels in sorted(sentences.items())),
    )
