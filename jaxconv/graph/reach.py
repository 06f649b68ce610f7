"""What each value of a graph sees of one dimension of one of its inputs, node by node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .known import Known
from .nodes import Graph, Node, Parts, Value
from .reshaped import concatenated
from .rules import RULES, Context, opaque, summed
from .spans import WHOLE, Span, Spread, union


@dataclasses.dataclass(frozen=True)
class Lost:
    """Fields that do not repeat from here on.

    Attributes:
      why: a sentence, with the node.
      everything: whether each position sees all of the input, however large that is.
    """

    why: str
    everything: bool


State = Span | Lost | None  # None sees nothing of the input
Seen = dict[Value, State]
_ROUNDS = 512  # of a scan that are followed one by one


class Reach:
    """Propagates spans.

    Args:
      size: of the input's dimension.
      known: arrays that do not depend on any input.
      written_out: for spans that repeat, those of all positions, which say what becomes of them afterwards.
    """

    def __init__(self, size: int, known: Known, written_out: Seen | None = None) -> None:
        self.context: Context = Context(size, known)
        self.written_out: Seen = written_out or {}

    def run(self, graph: Graph, seen: Seen) -> Seen:
        """Adds what the values of a graph see, given its inputs."""
        for node in graph.nodes:
            states = [seen.get(operand) for operand in node.operands]
            if all(state is None for state in states):
                continue
            results = zip(node.results, self._results(node, states, seen), strict=True)
            seen.update((value, state if value.size else None) for value, state in results)
        return seen

    def _results(self, node: Node, states: list[State], seen: Seen) -> Sequence[State]:
        if node.op == "loop":
            return self._loop(node, states, seen)
        if node.op == "branch":
            return self._branch(node, states, seen)
        if node.op == "concatenate":
            states = _without_borders(node, states)
        if (lost := _worst(self._after(node, i, state) for i, state in enumerate(states))) is not None:
            return [lost] * len(node.results)
        try:
            spans: Any = states
            return RULES.get(node.op, opaque)(self.context, node, spans)
        except Spread as spread:
            return [Lost(_sentence(node, spread.why), spread.everything)] * len(node.results)

    def _after(self, node: Node, operand: int, state: State) -> State:
        """What does not repeat, and is then summed along where it moves, sees everything."""
        if not isinstance(state, Lost) or state.everything:
            return state
        span = self.written_out.get(node.operands[operand])
        if isinstance(span, Span) and any(span.first.shape[d] > 1 for d in summed(node, operand)):
            return Lost(_sentence(node, WHOLE), everything=True)
        return state

    def _loop(self, node: Node, states: list[State], seen: Seen) -> Sequence[State]:
        """Round by round; what a round of unknown number makes of the carry is everything."""
        body, parts = node.bodies[0], node.parts
        assert parts is not None
        if node.name == "while" and _decides(node, states, parts):
            return self._everything(node, states)
        start, carries = parts.condition + parts.constant, parts.carried
        consts, carry = states[parts.condition : start], states[start : start + carries]
        inputs = states[start + carries :]
        lengths = range(node.length or 1)
        if len(lengths) > _ROUNDS:
            return self._everything(node, states)
        rounds: list[Sequence[State]] = []
        found: Seen = {}
        try:
            for i in reversed(lengths) if node.params.get("reverse") else lengths:
                slices = [_at(state, i) for state in inputs]
                found = self.run(body, dict(zip(body.inputs, [*consts, *carry, *slices], strict=True)))
                after = [found.get(value) for value in body.outputs]
                if node.length is None and not all(map(_same, carry, after[:carries])):
                    return self._everything(node, states)
                carry = after[:carries]
                rounds.append(after[carries:])
            seen.update(
                (value, found[value]) for inner, _ in body.walk() for value in inner.results if value in found
            )
            rounds = rounds[::-1] if node.params.get("reverse") else rounds
            return [*carry, *(_stacked(list(ys)) for ys in zip(*rounds, strict=True))]
        except Spread as spread:
            return [Lost(_sentence(node, spread.why), spread.everything)] * len(node.results)

    def _branch(self, node: Node, states: list[State], seen: Seen) -> Sequence[State]:
        if states[0] is not None:
            return self._everything(node, states)
        ends: list[list[State]] = []
        for body in node.bodies:
            self.run(body, seen_in := dict(zip(body.inputs, states[1:], strict=True)))
            seen.update((v, s) for v, s in seen_in.items() if v.kind == "result")
            ends.append([seen_in.get(value) for value in body.outputs])
        return [_joined(node, list(column)) for column in zip(*ends, strict=True)]

    def _everything(self, node: Node, states: Sequence[State]) -> list[State]:
        if (lost := _worst(states)) is not None:
            return [lost] * len(node.results)
        try:
            return [*opaque(self.context, node, [s if isinstance(s, Span) else None for s in states])]
        except Spread as spread:
            return [Lost(_sentence(node, spread.why), everything=True)] * len(node.results)


def _decides(node: Node, states: list[State], parts: Parts) -> bool:
    """Whether the number of rounds of a `while` depends on the input."""
    cond = node.params["cond_jaxpr"].jaxpr
    used = {id(v) for equation in cond.eqns for v in equation.invars} | {id(v) for v in cond.outvars}
    carry = states[parts.condition + parts.constant :]
    given = zip(cond.invars, [*states[: parts.condition], *carry], strict=True)
    return any(state is not None and id(v) in used for v, state in given)


def _without_borders(node: Node, states: list[State]) -> list[State]:
    """Along the axis the longest piece says what repeats; the others may be anything local."""
    dim = node.params["dimension"]
    _, longest = max(
        zip([v.shape[dim] for v in node.operands], states, strict=True), key=lambda pair: pair[0]
    )
    if not isinstance(longest, Span) or longest.axis != dim:
        return states
    return [None if isinstance(s, Lost) and not s.everything else s for s in states]


def _sentence(node: Node, why: str) -> str:
    return f"{node.name} in {node.layer or node.source or 'the function'}: {why}"


def _worst(states: Iterable[State]) -> Lost | None:
    """What is lost through several: everything, if that is lost through any."""
    return max((s for s in states if isinstance(s, Lost)), key=lambda s: s.everything, default=None)


def _at(state: State, i: int) -> State:
    """One round's part of what a scan goes through."""
    if not isinstance(state, Span):
        return state
    if state.axis == 0:
        raise Spread("it goes along the dimension round by round")
    at = 0 if state.first.shape[0] == 1 else i
    return state.map(lambda bounds: bounds[at], None if state.axis is None else state.axis - 1)


def _stacked(states: list[State]) -> State:
    lost = _worst(states)
    spans = [s for s in states if isinstance(s, Span)]
    if lost is not None or not spans:
        return lost
    raised = [s.spread_to(s.ndim + 1, range(1, s.ndim + 1)) if isinstance(s, Span) else None for s in states]
    return concatenated(raised, [1] * len(states), 0)


def _joined(node: Node, states: list[State]) -> State:
    lost = _worst(states)
    spans = [s for s in states if isinstance(s, Span)]
    if lost is not None or not spans:
        return lost
    try:
        return union(spans)
    except Spread as spread:
        return Lost(_sentence(node, spread.why), spread.everything)


def _same(a: State, b: State) -> bool:
    if not isinstance(a, Span) or not isinstance(b, Span):
        return a is b or (isinstance(a, Lost) and isinstance(b, Lost))
    return a.axis == b.axis and np.array_equal(a.first, b.first) and np.array_equal(a.last, b.last)
