"""Tables of what `benchmarks.targets` compiled: how many programs violate what, and the worst of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Executed over necessary multiply-adds, and XLA's modelled time over stock's, that are no violation.
MOST_WORK, MOST_TIME = 1.05, 1.02
WORST = 12


def work(row: dict[str, Any]) -> float:
    """Executed over necessary multiply-adds."""
    return row.get("executed", 0) / row["necessary"]


def violations(row: dict[str, Any]) -> list[str]:
    """What is wrong with one program for a GPU."""
    if "failed" in row:
        return ["does not compile"]
    found = ["zeros multiplied"] if work(row) > MOST_WORK else []
    return found + row["findings"]


def counts(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """From violation and contender, how many programs have it."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        for name in violations(row):
            each = found.setdefault(name, {})
            each[row["contender"]] = each.get(row["contender"], 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1].get("stock", 0)))


def pairs(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Stock's and jaxconv's program of each slot."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["workload"], row["slot"]), {})[row["contender"]] = row
    return [(p["stock"], p["jaxconv"]) for p in found.values() if {"stock", "jaxconv"} <= p.keys()]


def speed(pair: tuple[dict[str, Any], dict[str, Any]], fact: str = "seconds") -> float | None:
    """Modelled time of stock over that of jaxconv; None where one is not modelled."""
    theirs, ours = (row.get(fact) for row in pair)
    return theirs / ours if theirs and ours else None


def write_tables(rows: list[dict[str, Any]], path: Path) -> Path:
    """Writes the page of one device and dtype."""
    if not rows:
        path.write_text("Nothing was compiled.\n")
        return path
    device, dtype = rows[0]["device"], rows[0]["dtype"]
    programs = {c: sum(r["contender"] == c for r in rows) for c in ("stock", "jaxconv")}
    lines = [
        f"# Compiled for {device}, {dtype}, not measured",
        "",
        f"{programs['stock']} programs of stock JAX, {programs['jaxconv']} of jaxconv: every slot of every workload.",
        "",
        "| violation | stock | jaxconv |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {n.get('stock', 0)} | {n.get('jaxconv', 0)} |" for name, n in counts(rows).items()]
    lines += ["", *(_model(rows) if device != "h100" else []), *_worst(rows, device)]
    path.write_text("\n".join(lines) + "\n")
    return path


def _model(rows: list[dict[str, Any]]) -> list[str]:
    known = [(p, s) for p in pairs(rows) if (s := speed(p))]
    slower = [p for p, s in known if s * MOST_TIME < 1]
    return [
        f"XLA's modelled time is known of {len(known)} pairs. jaxconv's is lower by more than 2 % in "
        f"{sum(s > MOST_TIME for _, s in known)}, higher by more than 2 % in {len(slower)}.",
        "",
    ]


def _worst(rows: list[dict[str, Any]], device: str) -> list[str]:
    if device == "h100":
        ranked = sorted(pairs(rows), key=lambda p: -work(p[0]))[:WORST]
        table = [
            f"| {s['workload']} {s['slot']} | {_kinds(s)} | {work(s):,.2f} | {_kinds(j)} | {work(j):,.2f} | {j['algorithm']} |"
            for s, j in ranked
        ]
        head = [
            "| program | stock runs | executed / necessary | jaxconv runs | executed / necessary | algorithm |"
        ]
        return ["## Where stock multiplies the most zeros", "", *head, "|---|---|---|---|---|---|", *table]
    ranked = sorted(((s, p) for p in pairs(rows) if (s := speed(p))), key=lambda item: item[0])
    table = [
        f"| {s['workload']} {s['slot']} | {s['seconds'] * 1e6:,.1f} | {j['seconds'] * 1e6:,.1f} | {ratio:.2f} | {j['algorithm']} |"
        for ratio, (s, j) in [*ranked[:WORST], *ranked[-WORST:]]
    ]
    head = [
        "| program | stock, modelled us | jaxconv, modelled us | ratio | algorithm |",
        "|---|---|---|---|---|",
    ]
    return ["## The worst and the best pairs", "", *head, *table]


def _kinds(row: dict[str, Any]) -> str:
    if "failed" in row:
        return "does not compile"
    kinds = sorted(set(row["products"]))
    return ", ".join(kinds[:3]) + (", ..." if len(kinds) > 3 else "")
