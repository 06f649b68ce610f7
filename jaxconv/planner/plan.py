"""Choose an algorithm from shapes and the target, and explain the choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..geometry import ConvSpec, Slot, bytes_moved, multiply_adds
from ..lowerings import REGISTRY, Lowering, Target, Work, core_spec, work_in_pieces
from . import cost, rules
from .measured import measured
from .precision import only_direct
from .table import duration


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One algorithm of a plan.

    Attributes:
      name: its name.
      chosen: whether it computes the slot.
      reason: the sentence that says why or why not.
      work: what it would do; None if it can't compute the slot.
      seconds: its time, measured where a table knows it, else predicted by the cost model; or None.
    """

    name: str
    chosen: bool
    reason: str
    work: Work | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        """The reason, then the cost."""
        if self.work is None:
            return f"{'->' if self.chosen else '  '} {self.name}: {self.reason}"
        cost = f"{self.work.multiply_adds:,} multiply-adds, {self.work.workspace:,} elements of workspace"
        took = "" if self.seconds is None else f", {duration(self.seconds)}"
        return f"{'->' if self.chosen else '  '} {self.name}: {self.reason} ({cost}{took})"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What computes one slot of one convolution, and why; print it.

    Attributes:
      spec: the convolution.
      slot: the array that is computed.
      platform: of the compiled program.
      multiply_adds: products of real data, the same for every algorithm's definition of the result.
      bytes: least memory traffic.
      candidates: every registered algorithm with its verdict.
    """

    spec: ConvSpec
    slot: Slot
    platform: str
    multiply_adds: int
    bytes: int
    candidates: tuple[Candidate, ...]

    @property
    def algorithm(self) -> str | None:
        """Name of the chosen algorithm; None where nothing touches, so that the result is zeros."""
        return next((c.name for c in self.candidates if c.chosen), None)

    def __str__(self) -> str:
        """The choice, one line for each candidate."""
        left, right = self.spec.operand_shapes(self.slot)
        lines = [
            f"{self.slot} {left} x {right} -> {self.spec.result_shape(self.slot)} on {self.platform}",
            f"  {self.multiply_adds:,} multiply-adds, at least {self.bytes:,} bytes",
        ]
        lines += [f"  {c}" for c in self.candidates]
        return "\n".join(lines)


def why_not(algorithm: Any, slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    """None if `algorithm` can compute the slot (or none is forced), else why it can't.

    Raises:
      ValueError: if there is no algorithm of that name.
    """
    if algorithm is None:
        return None
    if not isinstance(algorithm, str) or algorithm not in REGISTRY:
        raise ValueError(f"algorithm={algorithm!r} is not known; use None or one of {', '.join(REGISTRY)}.")
    return REGISTRY[algorithm].supports(slot, spec, dtype, precision)


def choose(slot: Slot, spec: ConvSpec, target: Target, algorithm: str | None) -> tuple[Lowering, str]:
    """The algorithm for a slot on a target, and the reason; a forced one has been found able before.

    The order is: forced, measured (by the active tables, then by the one of this device kind), what the cost
    model predicts, without `direct` where it is known to be bad, and `direct`.
    """
    if algorithm is not None:
        return REGISTRY[algorithm], "forced"
    if only_direct(target.precision):
        return REGISTRY["direct"], f"precision {target.precision} is XLA's to give"
    if found := measured(slot, spec, target):
        return REGISTRY[found.algorithm], found.reason
    faults = {name: rules.fault(name, slot, spec, target.platform) for name in cost.CANDIDATES}
    fault, names = faults["direct"], [name for name, found in faults.items() if not found]
    if predicted := cost.cheapest(slot, spec, target, names):
        name, reason = predicted
        return REGISTRY[name], f"{reason}; {fault}" if fault else reason
    if fault and (name := rules.substitute(slot, spec, target)):
        return REGISTRY[name], fault
    return REGISTRY["direct"], "XLA's own convolution"


def plan_slot(spec: ConvSpec, slot: Slot, target: Target, algorithm: str | None = None) -> Plan:
    """The plan of one slot.

    Raises:
      ValueError: if the forced algorithm can't compute it.
    """
    if refusal := why_not(algorithm, slot, spec, target.dtype, target.precision):
        raise ValueError(f"algorithm={algorithm!r} is not possible here: {refusal}")
    moved = bytes_moved(spec, slot, target.dtype.itemsize)
    candidates = tuple(_candidates(slot, spec, target, algorithm))
    return Plan(spec, slot, target.platform, multiply_adds(spec), moved, candidates)


def _candidates(slot: Slot, spec: ConvSpec, target: Target, algorithm: str | None) -> Iterator[Candidate]:
    # As in `execute`, the choice is made for the part of the convolution where something touches.
    found = core_spec(spec)
    if found is None:
        for name, lowering in REGISTRY.items():
            refusal = lowering.supports(slot, spec, target.dtype, target.precision)
            yield Candidate(name, False, refusal or "not needed: nothing touches, the result is zeros")
        return
    inner = found[0]
    chosen, why = choose(slot, inner, target, algorithm)
    refusals = {n: a.supports(slot, inner, target.dtype, target.precision) for n, a in REGISTRY.items()}
    able = [name for name, refusal in refusals.items() if refusal is None]
    table = measured(slot, inner, target)
    seconds = cost.predict(able, slot, inner, target) | (table.seconds if table else {})
    for name, refusal in refusals.items():
        if refusal:
            yield Candidate(name, False, refusal)
            continue
        reason = why if name == chosen.name else f"applies, but {chosen.name} is preferred"
        work = work_in_pieces(REGISTRY[name], slot, cost.usual(inner), target)
        yield Candidate(name, name == chosen.name, reason, work, seconds.get(name))
