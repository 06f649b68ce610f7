"""The graph of a file as it is written: nodes, initialisers, and arrays whose axes are in any order.

A value keeps the order in which the operator that made it left its axes. A convolution leaves channels first,
whatever the layout of the function; only what needs another order gets a Transpose, so that the ones between
layers never come to be.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ...graph import Graph, Value
from .files import package


@dataclasses.dataclass(eq=False)
class Held:
    """A value of the function in the file.

    Attributes:
      order: its axis i in the file is the function's axis order[i].
      shape: in the file; an axis of size 1 may stand for one that is repeated.
      dtype: of its elements.
      array: its numbers, of a parameter or a constant.
      hint: a name for it.
      learned: whether it is a parameter, which stays one when it is moved.
      make: writes the nodes that make it and returns its name; called once, when it is needed.
      window: if it is a slice along one axis, or the maximum of several, which.
      padded: if it is a value with borders that are smaller than any element, that value and the borders.
    """

    order: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: Any
    array: np.ndarray | None = None
    hint: str = ""
    make: Callable[[], str] | None = None
    name: str = ""
    window: Window | None = None
    padded: tuple[Held, list[tuple[int, int]]] | None = None
    learned: bool = False

    def again(self, order: Sequence[int], array: np.ndarray) -> Held:
        """A parameter or constant in another form."""
        return Held(tuple(order), array.shape, self.dtype, array, self.hint, learned=self.learned)


@dataclasses.dataclass(frozen=True)
class Window:
    """Slices of one array along one of its axes; all have as many positions."""

    of: Held
    axis: int
    starts: tuple[int, ...]
    stride: int
    out: int

    def joined(self, other: Window) -> Window | None:
        """With another slice behind, if the steps between them are equal."""
        steps = {b - a for a, b in zip(self.starts, (*self.starts[1:], *other.starts), strict=False)}
        same = (self.of, self.axis, self.stride, self.out) == (other.of, other.axis, other.stride, other.out)
        if not same or len(steps) != 1 or min(steps) < 1:
            return None
        return dataclasses.replace(self, starts=(*self.starts, *other.starts))


class Emitter:
    """Collects the nodes and the initialisers of a function's file."""

    def __init__(self, graph: Graph) -> None:
        used = (v for values in (graph.outputs, *(n.operands for n in graph.nodes)) for v in values)
        self.uses: collections.Counter[Value] = collections.Counter(used)
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.held: dict[Value, Held] = {}
        self.parameters: dict[str, None] = {}
        self.layer = ""
        self._names: set[str] = set()
        self._same: dict[tuple[Any, ...], str] = {}

    def unique(self, hint: str) -> str:
        """A name that nothing else has."""
        name, number = hint, 1
        while name in self._names:
            name, number = f"{hint}_{number}", number + 1
        self._names.add(name)
        return name

    def node(self, op: str, *operands: str, results: int = 1, **attributes: Any) -> Any:
        """Writes a node; returns the name of its result, or of its several results."""
        name = self.unique(f"{self.layer}/{op}" if self.layer else op)
        names = [name] if results == 1 else [self.unique(f"{name}.{i}") for i in range(results)]
        self.nodes.append(package().helper.make_node(op, list(operands), names, name=name, **attributes))
        return name if results == 1 else names

    def constant(self, array: Any, hint: str = "constant", *, learned: bool = False) -> str:
        """Writes an initialiser, the same one for the same numbers of the same name."""
        array = np.asarray(array)
        key = (hint, array.dtype, array.shape, array.tobytes())
        if key not in self._same:
            self._same[key] = name = self.unique(hint)
            self.arrays[name] = array
            self.parameters |= {name: None} if learned else {}
        return self._same[key]

    def ints(self, *numbers: int) -> str:
        """Writes a list of integers."""
        return self.constant(np.array(numbers, np.int64), "ints")

    def number(self, value: Any, dtype: Any) -> str:
        """Writes a number."""
        return self.constant(np.asarray(value, dtype), "number")

    def of(self, value: Value) -> Held:
        """What holds a value."""
        if value not in self.held:  # a number that is written in the program, or a constant
            array = np.asarray(value.data, value.dtype)
            self.held[value] = Held(
                tuple(range(array.ndim)),
                array.shape,
                array.dtype,
                array,
                value.name,
                learned=isinstance(value.data, jax.Array) and value.kind == "constant",
            )
        return self.held[value]

    def name(self, held: Held) -> str:
        """The name of what is held, which is written if it is not yet."""
        if not held.name:
            if held.array is not None:
                held.name = self.constant(held.array, held.hint or "constant", learned=held.learned)
            else:
                assert held.make is not None
                held.name = held.make()
        return held.name

    def ordered(self, held: Held, order: Sequence[int]) -> Held:
        """The same with its axes in another order."""
        order = tuple(order)
        if held.order == order or not held.order:
            return held
        perm = [held.order.index(axis) for axis in order]
        shape = tuple(held.shape[p] for p in perm)
        if held.array is not None:
            return held.again(order, held.array.transpose(perm))
        moved = [p for p in perm if held.shape[p] != 1]
        if moved == sorted(moved):  # only axes of one position move
            name = self.node("Reshape", self.name(held), self.ints(*shape))
        else:
            name = self.node("Transpose", self.name(held), perm=perm)
        return Held(order, shape, held.dtype, name=name)

    def full(self, held: Held, shape: Sequence[int]) -> Held:
        """The same with repeated axes written out; `shape` is the function's."""
        wanted = tuple(shape[axis] for axis in held.order)
        if held.shape == wanted:
            return held
        if held.array is not None:
            return held.again(held.order, np.broadcast_to(held.array, wanted))
        name = self.node("Expand", self.name(held), self.ints(*wanted))
        return Held(held.order, wanted, held.dtype, name=name)

    def plain(self, value: Value, order: Sequence[int] | None = None) -> str:
        """The name of a value with its axes in an order, by default the function's, and written out."""
        held = self.full(self.of(value), value.shape)
        return self.name(self.ordered(held, range(len(value.shape)) if order is None else order))

    def make(self, value: Value, order: Sequence[int], name: str, shape: Sequence[int] | None = None) -> None:
        """A value is what the file calls `name`."""
        stored = tuple(value.shape[axis] for axis in order) if shape is None else tuple(shape)
        self.held[value] = Held(tuple(order), stored, value.dtype, name=name)
