"""The operators that are read, one table."""

from __future__ import annotations

from . import convs, elements, indexing, moves, norms, pools, reduces, resizes
from .nodes import Op

KINDS: dict[str, dict[str, Op]] = {
    "convolutions and products": convs.OPS,
    "pools": pools.OPS,
    "resizes": resizes.OPS,
    "normalisations": norms.OPS,
    "element by element": elements.OPS,
    "reductions": reduces.OPS,
    "shapes and borders": moves.OPS,
    "indices": indexing.OPS,
}
OPS: dict[str, Op] = {name: op for ops in KINDS.values() for name, op in ops.items()}
FIRST, LAST = 7, 28
"""The oldest and the newest opset that is read."""


def operators() -> str:
    """The operators that `load` reads.

    Returns:
      A table in Markdown.

    Example:
      >>> print(operators().splitlines()[3])
      | pools | AveragePool, GlobalAveragePool, GlobalLpPool, GlobalMaxPool, LpPool, MaxPool, MaxUnpool |
    """
    rows = [f"| {kind} | {', '.join(sorted(ops))} |" for kind, ops in KINDS.items()]
    rows[0:0] = ["| kind | operators |", "| --- | --- |"]
    rows.append("| made while reading | Constant |")
    return "\n".join(rows)
