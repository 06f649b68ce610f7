"""What a graph is made of: values, the nodes between them, and how windows of one move over another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ..geometry import ConvSpec, Slot, Taps

Kind = Literal["argument", "constant", "literal", "result"]


@dataclasses.dataclass(eq=False)
class Value:
    """An array of the function.

    Attributes:
      shape: its shape.
      dtype: its dtype.
      kind: an "argument" of the function (or of a loop's body), a "constant" that it closes over, a number
        written in it ("literal"), or a node's "result".
      name: where an argument or a constant is found: "params/conv/kernel"; empty where unknown.
      data: of a constant or literal.
      node: that makes it.
      argument: which positional argument it is a part of; None for what the function closes over, and -1 for
        what is part of a function that is a pytree itself.
      bare: whether it is the whole of that argument.
      outer: of an argument of a loop's or conditional's body, the operand that it is at first; a loop hands
        over `outer` itself, or a slice of it along dimension 0.
    """

    shape: tuple[int, ...]
    dtype: Any
    kind: Kind
    name: str = ""
    data: Any = None
    node: Node | None = None
    argument: int | None = None
    bare: bool = False
    outer: Value | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Of memory."""
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Window:
    """How one dimension of a result moves over one of an operand.

    Attributes:
      operand_dim: of the operand.
      result_dim: of the result; the other dimensions keep their order, but for a convolution's.
      taps: which positions of the operand a position of the result touches, borders left out; None where they
        do not repeat.
      sums: whether it is a window in space, as opposed to a slice, or zeros put at the ends.
      operand: which one.
      rows: of a resize what each position touches, borders included.
    """

    operand_dim: int
    result_dim: int
    taps: Taps | None
    sums: bool = True
    operand: int = 0
    rows: tuple[tuple[int, ...], ...] | None = None


@dataclasses.dataclass(frozen=True)
class Conv:
    """What a node that is a convolution computes.

    Attributes:
      slot: the array that is computed; "input_grad" is a transposed convolution.
      spec: the convolution, channels last whatever the layout of the node's arrays.
      algorithm: the forced choice, or None.
      by: "jaxconv", or "lax" for one that is the planner's under `install` only.
    """

    slot: Slot
    spec: ConvSpec
    algorithm: str | None
    by: Literal["jaxconv", "lax"]


@dataclasses.dataclass(frozen=True)
class Parts:
    """How a loop's operands are divided, in this order; what is left is gone through, a slice a round.

    Attributes:
      condition: those that only the condition of a `while` has.
      constant: those that each round gets as they are.
      carried: those that each round hands over to the next; they are the first results.
    """

    condition: int
    constant: int
    carried: int


@dataclasses.dataclass(eq=False)
class Node:
    """One operation.

    Attributes:
      op: its kind, one of `graph.OPS`.
      equation: of the jaxpr: its `primitive` and `params`.
      operands: in the primitive's order.
      results: likewise.
      layer: the layer it belongs to; see `graph.trace`.
      source: file, line and function of the user's code.
      windows: one for each dimension over which they move; empty for what has none.
      conv: if it is a convolution that jaxconv knows.
      bodies: of a loop (one), of a conditional (each branch), or of a call that was kept as it is.
      length: how often a loop runs its body; None if that is not known.
      parts: of a loop's operands.
    """

    op: str
    equation: Any
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    layer: str = ""
    source: str = ""
    windows: tuple[Window, ...] = ()
    conv: Conv | None = None
    bodies: tuple[Graph, ...] = ()
    length: int | None = 1
    parts: Parts | None = None

    @property
    def name(self) -> str:
        """Of its primitive."""
        return self.equation.primitive.name

    @property
    def params(self) -> dict[str, Any]:
        """Of its primitive."""
        return self.equation.params

    def __str__(self) -> str:
        """One line."""
        sides = [", ".join(str(list(v.shape)) for v in values) for values in (self.operands, self.results)]
        where = f"  {self.layer or self.source}" if self.layer or self.source else ""
        return f"{self.op} {self.name} {sides[0]} -> {sides[1]}{where}"


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a function with a derivative of its own; the graph has the nodes of that function instead.

    Attributes:
      equation: of the jaxpr.
      operands: of the call.
      results: of the call.
      start: the first of its nodes.
      stop: one after the last.
    """

    equation: Any
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    start: int
    stop: int


@dataclasses.dataclass(eq=False)
class Graph:
    """A function; print it.

    Attributes:
      inputs: its arguments, flat, then the constants that it closes over.
      nodes: in an order in which each comes after what it needs.
      outputs: its results, flat.
      tree: of the outputs.
      calls: those that have derivatives of their own, inner ones first.
    """

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    tree: Any = None
    calls: tuple[Call, ...] = ()

    def walk(self, count: int = 1) -> Iterator[tuple[Node, int]]:
        """All nodes, those of bodies included, and how often each is computed.

        A `while` loop counts as one round, and all branches of a conditional count.
        """
        for node in self.nodes:
            yield node, count
            for body in node.bodies:
                yield from body.walk(count * (node.length or 1))

    def argument(self, position: int) -> Value:
        """The positional argument that is one array.

        Raises:
          ValueError: if it is none.
        """
        found = [v for v in self.inputs if v.argument == position and v.bare]
        if not found:
            bare = sorted(v.argument for v in self.inputs if v.bare and v.argument is not None)
            raise ValueError(
                f"wrt={position} is no argument that is one array; those are {bare or 'none'} of the "
                "function's positional arguments. Hand the array over by itself."
            )
        return found[0]

    def argument_like_data(self) -> Value | None:
        """The first positional argument that is one array of two or more dimensions, or None."""
        return next((v for v in self.inputs if v.bare and len(v.shape) >= 2), None)

    def data(self, wrt: int | None) -> Value:
        """The argument `wrt`, or without it the first that looks like data.

        Raises:
          ValueError: if there is none, or it is not one array.
        """
        if wrt is not None:
            return self.argument(wrt)
        found = self.argument_like_data()
        if found is None:
            raise ValueError(
                "no argument is one array of two or more dimensions; name the input with wrt=, the position "
                "of an argument that is one array."
            )
        return found

    def __str__(self) -> str:
        """A line for each node."""
        lines: list[str] = []
        for node in self.nodes:
            lines.append(str(node))
            for body in node.bodies:
                lines += [f"  {line}" for line in str(body).splitlines()]
        return "\n".join(lines)


def bind(equation: Any, operands: Sequence[Any], params: Mapping[str, Any] | None = None) -> Sequence[Any]:
    """The results of an equation's primitive, with the equation's parameters or others."""
    primitive = equation.primitive
    options = primitive.get_bind_params(dict(equation.params if params is None else params))
    results = primitive.bind(*operands, **options)
    return results if primitive.multiple_results else [results]
