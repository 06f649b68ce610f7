"""The convolutions that a function computes, found in its jaxpr."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core

from ..geometry import ConvSpec, Slot, multiply_adds
from ..lowerings import KINDS
from .key import Key

_SLOTS: dict[str, Slot] = {f"conv_{slot}": slot for slot in KINDS}  # by the names of the primitives


@dataclasses.dataclass(frozen=True)
class Found:
    """One slot of one convolution in a function.

    Attributes:
      key: what it is measured as.
      dtypes: of its two operands.
      count: how often the function computes it. A `while` loop counts as one round, and all branches of a
        `cond` count.
    """

    key: Key
    dtypes: tuple[Any, Any]
    count: int

    @property
    def work(self) -> int:
        """Multiply-adds of all its occurrences."""
        return self.count * multiply_adds(self.key.spec)


def collect(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Found] | None:
    """The distinct convolutions of `fn` that are the planner's to choose, those with the most work first.

    Left out are those whose algorithm is forced, that have a symbolic size, or where nothing touches.

    Args:
      fn: any function of arrays.
      args: its arguments, arrays or `jax.ShapeDtypeStruct`s.
      kwargs: its keyword arguments.

    Returns:
      The convolutions; None if `fn` has none of this library at all.
    """
    found: dict[Key, Found] = {}
    any_at_all = False
    for equation, count in _equations(jax.make_jaxpr(fn)(*args, **kwargs).jaxpr, 1):
        slot, params = _SLOTS.get(equation.primitive.name), equation.params
        if slot is None or not isinstance(params.get("spec"), ConvSpec):
            continue
        any_at_all = True
        key = Key.of(slot, params["spec"], params["dtype"], params["precision"])
        if key is None or params["algorithm"] is not None:
            continue
        dtypes = tuple(operand.aval.dtype for operand in equation.invars)
        # The key names the result's dtype only; operands of that dtype are what it usually stands for.
        before = found.get(key)
        usual = before is not None and set(before.dtypes) == {key.dtype}
        found[key] = Found(
            key,
            before.dtypes if before is not None and usual else (dtypes[0], dtypes[1]),
            count + (before.count if before is not None else 0),
        )
    return sorted(found.values(), key=lambda f: -f.work) if any_at_all else None


def _equations(jaxpr: core.Jaxpr, count: int) -> Iterator[tuple[Any, int]]:
    """All equations, those of inner jaxprs included, and how often each is evaluated."""
    for equation in jaxpr.eqns:
        yield equation, count
        rounds = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner in _jaxprs(value):
                yield from _equations(inner, count * rounds)


def _jaxprs(value: Any) -> Iterator[core.Jaxpr]:
    """The jaxprs in a parameter of an equation, which may be one, or hold several."""
    if isinstance(value, core.ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _jaxprs(item)
    elif isinstance(value, dict):
        yield from _jaxprs(list(value.values()))
