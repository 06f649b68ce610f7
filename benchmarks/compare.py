"""What changed between two results files: `python -m benchmarks.compare OLD.jsonl NEW.jsonl`.

A row's time is taken relative to stock's in the same file, so that the machine's mood cancels: 0.5 says that
the row takes half of what it took.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .results import Results, Row, read
from .tables import geometric_mean, number, table

CHANGED = 0.10


def compare(old: Results, new: Results, contender: str, reference: str) -> list[str]:
    """Lines that say what became faster and slower, of the rows that both files have."""
    before = {row.key: row for row in old.rows}
    pairs = [(before[row.key], row) for row in new.rows if row.key in before]
    ratios: list[tuple[float, Row, Row]] = []
    resized = []
    for was, now in pairs:
        first, second = was.ratio(contender, reference), now.ratio(contender, reference)
        if was.data["multiply_adds"] != now.data["multiply_adds"]:
            resized.append(now.label)
        elif first and second:
            ratios.append((second / first, was, now))
    if not ratios:
        return ["No row was timed in both files."]
    changed = [entry for entry in ratios if not 1 / (1 + CHANGED) <= entry[0] <= 1 + CHANGED]
    changed.sort(key=lambda entry: entry[0])
    lines = [
        f"{len(ratios)} rows, geometric mean of the change {number(geometric_mean(r for r, *_ in ratios))}; "
        f"{sum(r < 1 for r, *_ in changed)} faster and {sum(r > 1 for r, *_ in changed)} slower by more than "
        f"{CHANGED:.0%}.",
        "",
    ]
    if resized:
        lines += [f"Left out, of another size now: {', '.join(resized)}.", ""]
    head = (
        "workload and slot",
        "algorithm",
        "change",
        f"old / {reference}",
        f"new / {reference}",
        "± old",
        "± new",
    )
    return lines + table(head, (_cells(ratio, was, now, contender, reference) for ratio, was, now in changed))


def _cells(ratio: float, was: Row, now: Row, contender: str, reference: str) -> tuple[str, ...]:
    names = dict.fromkeys(str(row.facts(contender).get("algorithm", "")) for row in (was, now))
    spreads = [row.spread(contender, reference) for row in (was, now)]
    return (
        now.label,
        " -> ".join(names),
        number(ratio),
        number(was.ratio(contender, reference)),
        number(now.ratio(contender, reference)),
        *("" if spread is None else f"{100 * spread:.0f} %" for spread in spreads),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--contender", default="jaxconv", help="whose times (default jaxconv)")
    parser.add_argument("--reference", default="stock", help="what they are relative to (default stock)")
    args = parser.parse_args(argv)
    try:
        old, new = read(args.old), read(args.new)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print("\n".join(compare(old, new, args.contender, args.reference)))


if __name__ == "__main__":
    main()
