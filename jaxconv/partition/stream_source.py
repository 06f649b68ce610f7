"""The function of a stream at any length: what it is traced with, and which lengths are of one kind."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..graph import Graph
from ..graph.trace import traced
from .stream_pattern import TooShort, Unaligned
from .stream_plan import Plan

_TRIES = 12
_ARRAYS = jax.Array | np.ndarray | jax.ShapeDtypeStruct


class Source:
    """A function and its arguments; the signal is one of them.

    Args:
      fn: the function.
      args: its positional arguments.
      kwargs: those by name.
      wrt: the position of the signal; None for the first that looks like data.
      axis: its dimension along time.

    Attributes:
      length: of the signal that was given.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wrt: int | None,
        axis: int,
    ) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        graph = traced(fn, args, kwargs, simple=True)
        signal = graph.data(wrt)
        assert signal.argument is not None
        self.wrt, ndim = signal.argument, len(signal.shape)
        if not -ndim <= axis < ndim:
            raise ValueError(f"axis={axis} is no dimension of a signal of shape {signal.shape}.")
        self.axis = axis % ndim
        self.shape, self.dtype = signal.shape, signal.dtype
        self.length = signal.shape[self.axis]
        if self.length < 1:
            raise ValueError(f"the signal of shape {signal.shape} has no samples along axis={axis}.")
        self.graph = graph
        self._found: dict[int, Graph] = {self.length: graph}
        self._tables: dict[int, np.ndarray] = {}

    def at(self, length: int) -> Graph:
        """The graph for a length."""
        if length not in self._found:
            shape = (*self.shape[: self.axis], length, *self.shape[self.axis + 1 :])
            args = list(self.args)
            args[self.wrt] = jax.ShapeDtypeStruct(shape, self.dtype)
            self._found[length] = traced(self.fn, args, self.kwargs, simple=True)
        return self._found[length]

    def between(self, length: int, more: int) -> Plan:
        """The plan that two lengths have in common."""
        graph, twin = self.at(length), self.at(length + more)
        return Plan(graph, twin, (graph.argument(self.wrt), twin.argument(self.wrt)), self.axis)

    def plan(self) -> Plan:
        """That of all lengths which are the given one and whole periods.

        Raises:
          ValueError: if there is none.
        """
        why: Exception | None = None
        for more in self._steps():
            for length in (self.length, self.length + 8 * more):
                try:
                    return self._settled(self.between(length, more).period)
                except Unaligned:
                    break
                except TooShort as short:
                    why = ValueError(
                        f"{short} can't be streamed: it does something else at every moment of a signal of "
                        f"{length} samples, or near both of its ends at once. Is it local in time, give more."
                    )
                except (ValueError, TypeError) as error:
                    if getattr(error, "sure", False):
                        raise
                    why = error  # what fn says itself, or a step that is no whole period
                    break
        raise why or ValueError(
            f"fn does not grow evenly with a signal of {self.length} samples; give one with a multiple of "
            "all strides together."
        )

    def _steps(self) -> list[int]:
        """How much longer the second length may be, until it is by whole periods."""
        advances = {w.taps.advance for node, _ in self.graph.walk() for w in node.windows if w.taps}
        common = math.lcm(*(a for a in advances if a > 0))
        return sorted({*(common * k for k in (1, 2, 3, 4, 8, 16, 32)), self.length})

    def _settled(self, period: int) -> Plan:
        length = self.length
        for _ in range(_TRIES):
            try:
                plan = self.between(length, period)
                plan.count(period)
                return plan
            except (TooShort, Unaligned):
                length += -(-length // period) * period
        raise ValueError(f"fn does something else for every length: none of up to {length} samples will do.")

    def weights(self, plan: Plan) -> list[Any]:
        """The arrays that the function has besides the signal, in the order of the plan's inputs.

        Raises:
          ValueError: if one of them has a shape only.
        """
        leaves = [v for v in jax.tree.leaves((self.fn, self.args, self.kwargs)) if isinstance(v, _ARRAYS)]
        given = [v for v in plan.graph.inputs if v.kind == "argument"]
        found = dict(zip(given, leaves, strict=True))
        arrays = [found.get(v, v.data) for v in plan.graph.inputs if v is not plan.signal.value]
        if any(isinstance(array, jax.ShapeDtypeStruct) for array in arrays):
            raise ValueError("only the signal may be a jax.ShapeDtypeStruct; the other arguments are used.")
        return arrays

    def ends(self, plan: Plan, phase: int) -> np.ndarray:
        """How many positions each line has in the end, for lengths of one phase, less its gain each period.

        Raises:
          ValueError: if these are lengths for which the function pads otherwise.
        """
        period, least = plan.samples, plan.signal.sizes[0]
        length = least + (phase - least) % period
        return self._table(plan, length)

    def check(self, plan: Plan, samples: int) -> None:
        """Raises `ValueError` for a signal that is too short to be of the same kind as long ones."""
        if samples >= min(plan.settled, plan.signal.sizes[0]):
            return
        try:
            if samples > 0 and np.array_equal(
                self._table(plan, samples), self.ends(plan, samples % plan.samples)
            ):
                return
        except (ValueError, TypeError, ArithmeticError):
            pass
        raise ValueError(
            f"the signal ended after {samples} samples, and fn treats one as short as this otherwise than a "
            "stream can; call fn itself."
        )

    def _table(self, plan: Plan, length: int) -> np.ndarray:
        if length not in self._tables:
            try:
                same = self.between(length, plan.samples)
            except (Unaligned, TooShort):
                same = None
            if same is None or same.signature() != plan.signature() or _cropped(plan, same, length):
                raise ValueError(
                    f"fn pads a signal of {length} samples otherwise than the stream has, which is for "
                    f"{plan.signal.sizes[0]} and multiples of {plan.samples} more or less. Pad the signal."
                )
            periods = length // plan.samples
            both = zip(plan.all, same.all, strict=True)
            self._tables[length] = np.array([of.sizes[0] - line.known.gain * periods for line, of in both])
        return self._tables[length]


def _cropped(plan: Plan, same: Plan, length: int) -> bool:
    """Whether the function leaves out what the stream takes for certain."""
    both = zip(plan.all, same.all, strict=True)
    return any(line.known.value(length) > max(of.sizes[0], 0) for line, of in both)
