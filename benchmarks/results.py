"""A results file: JSON lines, of kind "header" (one for each session) or "row" (one workload and slot)."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .machine import IDENTITY

Key = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured slot of one workload.

    Attributes:
      data: the line as it is in the file.
    """

    data: dict[str, Any]

    @property
    def key(self) -> Key:
        """Workload, slot and dtype: what names a row."""
        return self.data["workload"]["name"], self.data["slot"], self.data["dtype"]

    @property
    def label(self) -> str:
        """Workload and slot for a reader."""
        return f"{self.key[0]} {self.key[1]}"

    @property
    def tags(self) -> frozenset[str]:
        """The workload's."""
        return frozenset(self.data["tags"])

    def facts(self, contender: str) -> dict[str, Any]:
        """Everything known of a contender; empty if it was not asked for."""
        return self.data["contenders"].get(contender, {})

    def seconds(self, contender: str) -> float | None:
        """The shortest of all samples, or None if the contender was not timed."""
        samples = self.facts(contender).get("samples")
        return min(min(block) for block in samples) if samples else None

    def ratio(self, contender: str, reference: str) -> float | None:
        """Seconds of one contender over those of another."""
        ours, theirs = self.seconds(contender), self.seconds(reference)
        return ours / theirs if ours and theirs else None

    def fact_ratio(self, fact: str, contender: str, reference: str) -> float | None:
        """The same for a fact that is a positive number for both."""
        ours, theirs = self.facts(contender).get(fact), self.facts(reference).get(fact)
        return ours / theirs if ours and theirs else None

    def spread(self, contender: str, reference: str) -> float | None:
        """How uncertain the ratio is: the middle half of the rounds' ratios, relative to their median."""
        ours, theirs = (self.facts(c).get("samples") for c in (contender, reference))
        if not ours or not theirs or len(ours) < 4:
            return None
        ratios = sorted(min(a) / min(b) for a, b in zip(ours, theirs, strict=True))
        quarter = len(ratios) // 4
        return (ratios[-1 - quarter] - ratios[quarter]) / ratios[len(ratios) // 2]

    def limit(self, roofs: dict[str, float]) -> tuple[float, str]:
        """Seconds below which the roofs do not let the slot come, and the roof that binds."""
        bounds = {
            "matmul": self.data["multiply_adds"] / roofs["multiply_adds_per_s"],
            "memory": self.data["bytes"] / roofs["bytes_per_s"],
        }
        name = max(bounds, key=lambda n: bounds[n])
        return bounds[name], name


@dataclasses.dataclass(frozen=True)
class Results:
    """A file's sessions and rows."""

    headers: list[dict[str, Any]]
    rows: list[Row]

    def roofs(self, dtype: str) -> dict[str, float]:
        """The highest roofs that any session measured."""
        measured = [h["roofs"][dtype] for h in self.headers if dtype in h["roofs"]]
        return {name: max(m[name] for m in measured) for name in measured[0]}


def read(path: Path) -> Results:
    """The results in a file; a last line that was cut off while it was written is left out.

    Raises:
      ValueError: if the file does not start with a header.
    """
    lines = path.read_text().split("\n")
    entries = [json.loads(line) for line in lines[:-1] if line]
    headers = [entry for entry in entries if entry["kind"] == "header"]
    if not entries or entries[0]["kind"] != "header":
        raise ValueError(f"{path} does not start with a header; it is no file of benchmarks.run.")
    return Results(headers, [Row(entry) for entry in entries if entry["kind"] == "row"])


def resume(path: Path, header: dict[str, Any]) -> dict[Key, Row]:
    """Opens a session in a file, new or old, and returns the rows that are there.

    Raises:
      ValueError: if the file's rows were measured on another machine or with other versions.
    """
    if not path.exists() or not path.stat().st_size:
        path.parent.mkdir(parents=True, exist_ok=True)
        append(path, {"kind": "header", **header})
        return {}
    _drop_cut_line(path)
    results = read(path)
    for name in IDENTITY:
        before, now = results.headers[0].get(name), header.get(name)
        if before != now:
            raise ValueError(
                f"{path} was measured with {name}={before}, now it is {now}; name another --out."
            )
    append(path, {"kind": "header", **header})
    return {row.key: row for row in results.rows}


def measured(rows: dict[Key, Row], key: Key, multiply_adds: int) -> bool:
    """Whether a row is there already.

    Raises:
      ValueError: if it is, but was measured on arrays of another size.
    """
    if key not in rows:
        return False
    if (before := rows[key].data["multiply_adds"]) != multiply_adds:
        raise ValueError(
            f"{rows[key].label} was measured with {before:,} multiply-adds and has {multiply_adds:,} now; "
            "name another --out."
        )
    return True


def row(
    workload: dict[str, Any],
    slot: str,
    contenders: dict[str, dict[str, Any]],
    *,
    dtype: str,
    tags: Collection[str],
    multiply_adds: int,
    **more: Any,
) -> dict[str, Any]:
    """A line of kind "row": what is known of each contender in one slot of a workload, and the load now."""
    return {
        "kind": "row",
        "workload": workload,
        "tags": sorted(tags),
        "slot": slot,
        "dtype": dtype,
        "multiply_adds": multiply_adds,
        **more,
        "load": os.getloadavg()[0],
        "contenders": contenders,
    }


def append(path: Path, entry: dict[str, Any]) -> None:
    """Adds one line, which is in the file when this returns."""
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def _drop_cut_line(path: Path) -> None:
    text = path.read_text()
    if not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1])
