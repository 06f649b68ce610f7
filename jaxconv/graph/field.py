"""Receptive fields of a function's results and of every value on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import jax
import numpy as np

from .known import Known
from .nodes import Graph, Value
from .reach import Lost, Reach, Seen
from .spans import NOTHING, Span
from .trace import traced


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """Along one axis of the input; `interval` is exact at every position, borders included.

    The other three hold far from the borders, where the pattern of intervals repeats, whatever the size of
    the input along the axis.

    Attributes:
      input_dim: the dimension of the input.
      output_dim: the dimension of the result along which the field moves; None if it does not.
      size: positions from the first to the last that one position of the result sees, of the one that sees
        most; None if it sees the whole axis, whatever its size.
      jump: positions of the input from one result to the next, on average: 1/2 after a transposed convolution
        of stride 2. None if fields do not repeat, and then `size` is that of this input.
      start: the largest number such that result o sees nothing before start + o * jump; equal to its first
        position wherever that is the same for all o, as it is without upsampling. None as `jump`.
      why: what makes `jump` None: the operation and its layer.
    """

    input_dim: int
    output_dim: int | None
    size: int | None
    jump: Fraction | None
    start: Fraction | None
    why: str
    _first: np.ndarray
    _last: np.ndarray

    def interval(self, o: int) -> range:
        """The positions from the first to the last that result o sees; empty if it sees none.

        Raises:
          ValueError: if there is no position o.
        """
        if not 0 <= o < max(len(self._first), 1) and self.output_dim is not None:
            raise ValueError(f"o={o} is no position of the result; it has 0 to {len(self._first) - 1}.")
        at = o if len(self._first) > 1 else 0
        return range(int(self._first[at]), int(self._last[at]) + 1) if self._first[at] < NOTHING else range(0)

    def __str__(self) -> str:
        """Size, jump and start."""
        if self.size is None:
            return f"all: {self.why}"
        return str(self.size) if self.jump is None else f"{self.size}, jump {self.jump}, start {self.start}"


@dataclasses.dataclass(frozen=True)
class ReceptiveField(Sequence[Field]):
    """A field for each spatial axis of the input, in order."""

    axes: tuple[Field, ...]

    def __len__(self) -> int:
        """The number of axes."""
        return len(self.axes)

    def __getitem__(self, index: Any) -> Any:
        """The field along one axis."""
        return self.axes[index]

    @property
    def size(self) -> tuple[int | None, ...]:
        """Of each axis."""
        return tuple(field.size for field in self.axes)

    @property
    def jump(self) -> tuple[Fraction | None, ...]:
        """Of each axis."""
        return tuple(field.jump for field in self.axes)

    @property
    def start(self) -> tuple[Fraction | None, ...]:
        """Of each axis."""
        return tuple(field.start for field in self.axes)

    def __str__(self) -> str:
        """A line for each axis."""
        return "\n".join(f"axis {field.input_dim}: {field}" for field in self.axes)


def receptive_field(fn: Callable[..., Any], *args: Any, wrt: int | None = None, **kwargs: Any) -> Any:
    """Which positions of the input each position of the result sees; from shapes alone, nothing runs.

    Exact through branches (their union), concatenations, pools, resizes, transposed, dilated and grouped
    convolutions, padding of any kind, slices, pixel shuffles and loops of known length. Seeing is what the
    program's structure says: a kernel's zeros count as any other number, those of a resize's matrix do not.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments; `jax.ShapeDtypeStruct`s will do.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.
      **kwargs: its keyword arguments.

    Returns:
      A `ReceptiveField`, a sequence of one `Field` (size, jump, start, interval) for each axis but the first
      and the last, or for those over which windows move if they are among these; for a function of several
      results the tree of them. None in place of a result that does not depend on the input.

    Raises:
      ValueError: if `fn` is not callable, or the input is not one array.

    References:
      Araujo, Norris, Sim: Computing receptive fields of convolutional neural networks. Distill, 2019,
      doi:10.23915/distill.00021.

    Example:
      >>> import jax.numpy as jnp, jaxconv
      >>> kernel = jnp.ones((3, 1, 1))
      >>> def f(x):
      ...     for stride in (1, 2, 1):
      ...         x = jaxconv.conv(x, kernel, stride=stride, padding="SAME")
      ...     return x
      >>> [field] = receptive_field(f, jax.ShapeDtypeStruct((1, 32, 1), "f4"))
      >>> print(field)
      9, jump 2, start -3
      >>> field.interval(0), field.interval(5)
      (range(0, 6), range(7, 16))
    """
    graph = traced(fn, args, kwargs, simple=True)
    fields = Fields(graph, graph.data(wrt))
    return jax.tree.unflatten(graph.tree, [fields.of(value) for value in graph.outputs])


class Fields:
    """The fields of all values of a graph.

    Args:
      graph: the graph.
      x: the one of its inputs that is looked at.
    """

    def __init__(self, graph: Graph, x: Value) -> None:
        known = Known()
        self._seen: dict[int, tuple[Seen, Seen]] = {}
        windowed: list[int] = []
        for dim, size in enumerate(x.shape):
            exact = Reach(size, known).run(graph, {x: Span.itself(x.shape, dim, far=False)})
            far = Reach(size, known, exact).run(graph, {x: Span.itself(x.shape, dim, far=True)})
            if any(isinstance(span, Span) and span.windowed for span in far.values()):
                windowed.append(dim)
            self._seen[dim] = exact, far
        self.dims: tuple[int, ...] = _spatial(windowed, len(x.shape))

    def of(self, value: Value) -> ReceptiveField | None:
        """Of one value; None if it does not depend on the input."""
        found = tuple(self._along(value, dim) for dim in self.dims)
        fields = tuple(field for field in found if field is not None)
        return ReceptiveField(fields) if fields else None

    def _along(self, value: Value, dim: int) -> Field | None:
        exact, far = (seen.get(value) for seen in self._seen[dim])
        if not isinstance(exact, Span):
            return None
        output = _moving(exact, far)
        first, last = _lines(exact, output)
        if isinstance(far, Lost) or far is None:
            widest = int((last - first + 1).max(initial=0))
            everything = far is not None and far.everything
            why = far.why if far is not None else ""
            return Field(dim, output, None if everything else widest, None, None, why, first, last)
        size, jump, start = _repeating(far)
        return Field(dim, output, size, jump, start, "", first, last)


def _spatial(windowed: list[int], ndim: int) -> tuple[int, ...]:
    """All but the first and last dimension, unless windows move over those: a pool may be made of slices."""
    middle = range(1, ndim - 1) if ndim > 2 else range(ndim)
    return tuple(middle if set(windowed) <= set(middle) else windowed)


def _moving(exact: Span, far: Any) -> int | None:
    """The dimension of the result along which its field moves."""
    if isinstance(far, Span):
        return far.axis
    return next((d for d, n in enumerate(exact.first.shape) if n > 1), None)


def _lines(exact: Span, output: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Bounds by position along that dimension, over all positions of the others."""
    others = tuple(d for d in range(exact.ndim) if d != output)
    first, last = exact.first.min(others, initial=NOTHING), exact.last.max(others, initial=-NOTHING)
    return first.reshape(-1), last.reshape(-1)


def _repeating(far: Span) -> tuple[int, Fraction, Fraction | None]:
    first, last = _lines(far, far.axis)
    jump = Fraction(far.advance, len(first))
    seen = list(_seen(first, last))
    size = max((b - a + 1 for _, a, b in seen), default=0)
    return size, jump, min((a - o * jump for o, a, _ in seen), default=None)


def _seen(first: np.ndarray, last: np.ndarray) -> Iterator[tuple[int, int, int]]:
    for o, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        if a <= b:
            yield o, a, b
