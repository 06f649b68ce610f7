"""Tables of what `benchmarks.targets` compiled: how many programs violate what, and the worst of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .tables import table

Row = dict[str, Any]
Pair = tuple[Row, Row]

# Executed over necessary multiply-adds, and XLA's modelled time over stock's, that are no violation.
MOST_WORK, MOST_TIME = 1.05, 1.02
WORST = 10


def work(row: Row) -> float:
    """Executed over necessary multiply-adds."""
    return row.get("executed", 0) / row["necessary"]


def violations(row: Row) -> list[str]:
    """What is wrong with one program."""
    if "failed" in row:
        return [row["failed"] if row["failed"].startswith(("the compiler", "takes")) else "does not compile"]
    wasteful = row["device"] == "h100" and work(row) > MOST_WORK  # a TPU skips the zeros that it is told of
    return (["zeros multiplied"] if wasteful else []) + row["findings"]


def pairs(rows: Iterable[Row]) -> list[Pair]:
    """Stock's and jaxconv's program of each slot."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["workload"], row["slot"]), {})[row["contender"]] = row
    return [(p["stock"], p["jaxconv"]) for p in found.values() if {"stock", "jaxconv"} <= p.keys()]


def speed(pair: Pair, fact: str = "seconds") -> float | None:
    """Stock's modelled time, or its cycles, over those of jaxconv; None where one is not known."""
    theirs, ours = (row.get(fact) for row in pair)
    return theirs / ours if theirs and ours else None


def write_tables(rows: list[Row], path: Path) -> Path:
    """Writes the page of one device and dtype."""
    lines = ["Nothing was compiled."]
    if rows:
        device, dtype = rows[0]["device"], rows[0]["dtype"]
        lines = [
            f"# Compiled for {device}, {dtype}, not measured",
            "",
            *_counts(rows),
            "",
            *_memory(rows),
            "",
        ]
        lines += _gpu(rows) if device == "h100" else _tpu(rows)
    path.write_text("\n".join(lines) + "\n")
    return path


def _counts(rows: list[Row]) -> list[str]:
    found: dict[str, dict[str, int]] = {}
    programs: dict[str, int] = {}
    for row in rows:
        programs[row["contender"]] = programs.get(row["contender"], 0) + 1
        for name in violations(row):
            each = found.setdefault(name, {})
            each[row["contender"]] = each.get(row["contender"], 0) + 1
    names = sorted(found, key=lambda name: -found[name].get("stock", 0))
    head = ("violation", *(f"of {count} of {contender}" for contender, count in programs.items()))
    return table(head, [(name, *(found[name].get(c, 0) for c in programs)) for name in names])


def _memory(rows: list[Row]) -> list[str]:
    known = [p for p in pairs(rows) if not any("failed" in row for row in p)]
    theirs, ours = (sum(p[i]["memory"]["temporaries"] for p in known) / 2**20 for i in (0, 1))
    return [
        f"Temporary memory of {len(known)} pairs: {theirs:,.0f} MiB of stock, {ours:,.0f} MiB of jaxconv."
    ]


def _gpu(rows: list[Row]) -> list[str]:
    ranked = sorted(pairs(rows), key=lambda p: -work(p[0]))[:WORST]
    body = [
        (_label(s), _kinds(s), f"{work(s):,.2f}", _kinds(j), f"{work(j):,.2f}", j["algorithm"])
        for s, j in ranked
    ]
    head = (
        "program",
        "stock runs",
        "executed / necessary",
        "jaxconv runs",
        "executed / necessary",
        "algorithm",
    )
    return ["## Where stock multiplies the most zeros", "", *table(head, body)]


def _tpu(rows: list[Row]) -> list[str]:
    facts = {"XLA's modelled time": "seconds", "the sum of the compiler's cycles": "cycles"}
    body = []
    for name, fact in facts.items():
        found = [s for p in pairs(rows) if (s := speed(p, fact))]
        lower, higher = sum(s > MOST_TIME for s in found), sum(s * MOST_TIME < 1 for s in found)
        mean = math.exp(sum(map(math.log, found)) / len(found)) if found else math.nan
        body.append((name, len(found), lower, len(found) - lower - higher, higher, f"{mean:.2f}"))
    head = ("", "pairs", "jaxconv lower", "within 2 %", "jaxconv higher", "stock / jaxconv, geometric mean")
    ranked = sorted(((s, p) for p in pairs(rows) if (s := speed(p))), key=lambda item: item[0])
    extremes = ranked if len(ranked) <= 2 * WORST else [*ranked[:WORST], *ranked[-WORST:]]
    best = [
        (
            _label(s),
            *(f"{row['seconds'] * 1e6:,.1f}" for row in (s, j)),
            f"{ratio:.2f}",
            f"{speed((s, j), 'cycles') or math.nan:.2f}",
            j["algorithm"],
        )
        for ratio, (s, j) in extremes
    ]
    columns = (
        "program",
        "stock, modelled us",
        "jaxconv, modelled us",
        "ratio",
        "ratio of cycles",
        "algorithm",
    )
    return [*table(head, body), "", "## The lowest and the highest ratios", "", *table(columns, best)]


def _label(row: Row) -> str:
    return f"{row['workload']} {row['slot']}"


def _kinds(row: Row) -> str:
    if "failed" in row:
        return row["failed"]
    found = sorted(set(row["products"]))
    return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "") or "multiply-adds"
