"""The convolutions that a function computes, found in its jaxpr."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax import lax
from jax.extend import core

from ..geometry import ConvSpec, Slot, multiply_adds
from ..lowerings import KINDS, Target
from .existing import best_reading
from .key import Key
from .precision import normalize_precision

_SLOTS: dict[str, Slot] = {f"conv_{slot}": slot for slot in KINDS}  # by the names of the primitives


@dataclasses.dataclass(frozen=True)
class Found:
    """One slot of one convolution in a function.

    Attributes:
      key: what it is measured as.
      dtypes: of its two operands.
      count: how often the function computes it. A `while` loop counts as one round, and all branches of a
        `cond` count.
      algorithm: the forced choice, or None.
      by: "jaxconv", or "lax" for a convolution that is the planner's under `install`.
    """

    key: Key
    dtypes: tuple[Any, Any]
    count: int
    algorithm: str | None = None
    by: str = "jaxconv"

    @property
    def work(self) -> int:
        """Multiply-adds of all its occurrences."""
        return self.count * multiply_adds(self.key.spec)


def collect(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], platform: str
) -> list[Found] | None:
    """The distinct convolutions of `fn`, this library's and lax's, those with the most work first.

    Left out are those that have a symbolic size, where nothing touches, and those of lax that are no slot of
    ours.

    Args:
      fn: any function of arrays.
      args: its arguments, arrays or `jax.ShapeDtypeStruct`s.
      kwargs: its keyword arguments.
      platform: that it is compiled for.

    Returns:
      The convolutions; None if `fn` has none at all.
    """
    found: dict[tuple[Key, str | None, str], Found] = {}
    any_at_all = False
    for equation, count in _equations(jax.make_jaxpr(fn)(*args, **kwargs).jaxpr, 1):
        one = _found(equation, count, platform)
        any_at_all |= one is not _OTHER
        if not isinstance(one, Found):
            continue
        name = one.key, one.algorithm, one.by
        if (before := found.get(name)) is not None:
            # The key names the result's dtype only; operands of that dtype are what it usually stands for.
            usual = set(before.dtypes) == {one.key.dtype}
            dtypes = before.dtypes if usual else one.dtypes
            one = dataclasses.replace(one, dtypes=dtypes, count=count + before.count)
        found[name] = one
    return sorted(found.values(), key=lambda f: -f.work) if any_at_all else None


_OTHER = "no convolution"


def _found(equation: Any, count: int, platform: str) -> Found | str | None:
    """The convolution that an equation is; None where it is one that has no key."""
    slot, params = _SLOTS.get(equation.primitive.name), equation.params
    operands = [operand.aval for operand in equation.invars]
    dtypes = tuple(aval.dtype for aval in operands)
    if slot is not None and isinstance(params.get("spec"), ConvSpec):
        key = Key.of(slot, params["spec"], params["dtype"], params["precision"])
        return key and Found(key, dtypes, count, params["algorithm"])
    if equation.primitive is not lax.conv_general_dilated_p:
        return _OTHER
    dtype, precision = equation.outvars[0].aval.dtype, normalize_precision(params["precision"])
    lhs, rhs = operands
    best = best_reading(lhs.shape, rhs.shape, params, Target(platform, dtype, precision))
    if best is None:
        return None
    key = Key.of(best[0].slot, best[0].spec, dtype, precision)
    return key and Found(key, dtypes, count, by="lax")


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
