"""What is known of a program that was compiled for a device."""

from __future__ import annotations

import dataclasses

from .findings import Finding
from .hlo import Collective
from .products import Product


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device.

    Attributes:
      arguments: of the program.
      outputs: of the program.
      temporaries: alive at once.
      code: of the program itself, 0 where unknown.
    """

    arguments: int
    outputs: int
    temporaries: int
    code: int

    def __str__(self) -> str:
        """In binary units."""
        fields = dataclasses.asdict(self)
        return ", ".join(f"{name} {size(n)}" for name, n in fields.items() if n or name != "code")


@dataclasses.dataclass(frozen=True)
class Report:
    """A compiled program, not a measured one; print it.

    Attributes:
      device: the name of the device.
      platform: "cuda" or "tpu".
      memory: bytes on each device.
      bytes_accessed: traffic by XLA's count; None where it gives none.
      seconds: XLA's model of the time, no measurement; None where it gives none, or one below zero.
      cycles: the sum of the compiler's own estimates for each instruction; None where it writes none.
      multiply_adds: of all convolutions and matrix products, zeros included.
      products: those convolutions and matrix products.
      collectives: exchanges between devices.
      findings: pathologies, with remedies.
      text: the compiled program.
    """

    device: str
    platform: str
    memory: Memory
    bytes_accessed: int | None
    seconds: float | None
    cycles: int | None
    multiply_adds: int
    products: tuple[Product, ...]
    collectives: tuple[Collective, ...]
    findings: tuple[Finding, ...]
    text: str = dataclasses.field(repr=False)

    def __str__(self) -> str:
        """A page for a reader."""
        lines = [f"compiled for {self.device}, not measured", f"  memory: {self.memory}"]
        if self.bytes_accessed is not None:
            lines.append(f"  traffic: {size(self.bytes_accessed)}")
        time = "XLA models none for this device" if self.seconds is None else f"{self.seconds * 1e6:,.1f} us"
        lines.append(f"  modelled time: {time}")
        if self.cycles is not None:
            lines.append(f"  the compiler's estimates for its instructions: {self.cycles:,} cycles")
        lines.append(f"  collectives: {', '.join(self._exchanges()) or 'none'}")
        lines.append(f"  products: {len(self.products)}, {self.multiply_adds:,} multiply-adds")
        lines += [f"    {p}" for p in self.products]
        lines.append(f"  findings: {len(self.findings) or 'none'}")
        lines += [f"    {f.kind} in {f.where}\n      {f.problem}\n      {f.remedy}" for f in self.findings]
        return "\n".join(lines)

    def _exchanges(self) -> list[str]:
        """Each kind of collective: how many, and how much."""
        kinds = dict.fromkeys(c.kind for c in self.collectives)
        return [
            f"{sum(c.times for c in same)} {kind} ({size(sum(c.times * c.bytes for c in same))})"
            for kind in kinds
            if (same := [c for c in self.collectives if c.kind == kind])
        ]


def size(n: float) -> str:
    """Bytes in binary units.

    Example:
      >>> size(1536)
      '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"
