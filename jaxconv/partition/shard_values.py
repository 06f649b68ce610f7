"""How a value lies on the devices, and how it comes to lie in another way.

For each dimension of an array: divided among devices (`Split`), whole on each of them (`None`), or the same
at each position and therefore held once (`ONCE`).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..graph.nodes import Node, Value
from .along import padded
from .halo import AxisName, Moves, Split, fetch, inside, moves, nbytes, owned


class Once(enum.Enum):
    """The same at each position."""

    ONCE = enum.auto()


ONCE = Once.ONCE
Dims = tuple[Split | Once | None, ...]
Array = jax.Array
Change = Callable[[Array], Array]
Whole = Value | jax.ShapeDtypeStruct | np.ndarray  # what has the shape and the dtype of a whole array


class Refused(Exception):
    """Why an operation can't run on pieces; the layer is added where it is known."""


class Misaligned(Exception):
    """Blocks along a mesh axis have to be a multiple of so many positions of the argument."""

    def __init__(self, axis: AxisName, multiple: int) -> None:
        super().__init__(f"blocks along {axis!r} must be multiples of {multiple}")
        self.axis, self.multiple = axis, multiple


@dataclasses.dataclass(frozen=True)
class Exchange:
    """What is sent for one operation along one dimension.

    Attributes:
      layer: of the operation, or its name where there is none.
      axis: of the mesh.
      dim: of the array.
      rows: that a device sends, of the one that sends most.
      bytes: likewise.
      scale: positions of the argument from one row to the next.
    """

    layer: str
    axis: AxisName
    dim: int
    rows: int
    bytes: int
    scale: Fraction


@dataclasses.dataclass
class Context:
    """What rules share.

    Attributes:
      steps: for each mesh axis the step of the first argument along it.
      sizes: likewise, its size.
      exchanges: that have been planned.
      node: the one that is planned.
    """

    steps: dict[AxisName, int]
    sizes: dict[AxisName, int] = dataclasses.field(default_factory=dict)
    exchanges: list[Exchange] = dataclasses.field(default_factory=list)
    node: Node | None = None

    def check(self, split: Split, factor: int) -> None:
        """Raises unless the factor divides the step of a split."""
        if split.step % factor:
            step = self.steps[split.axis]
            raise Misaligned(split.axis, (Fraction(step, split.step) * factor).numerator)

    def sends(self, dim: int, shape: Sequence[int], dtype: Any, split: Split, by: Moves) -> None:
        """Notes what is sent of blocks of this shape."""
        if by.sent:
            label = self.node.layer or self.node.name if self.node else "results"
            size = nbytes(tuple(shape), dim, by.sent, dtype)
            scale = Fraction(self.steps.get(split.axis, split.step), split.step)
            self.exchanges.append(Exchange(label, by.axis, dim, by.sent, size, scale))


def whole(value: Value) -> Dims:
    """Nothing divided."""
    return (None,) * len(value.shape)


def splits(dims: Dims) -> list[tuple[int, Split]]:
    """The divided dimensions."""
    return [(d, s) for d, s in enumerate(dims) if isinstance(s, Split)]


def full(dims: Dims) -> Dims:
    """What was held once is held at each position."""
    return tuple(None if s is ONCE else s for s in dims)


def local(shape: Sequence[int], dims: Dims) -> tuple[int, ...]:
    """The shape on a device."""
    return tuple(
        s.length if isinstance(s, Split) else 1 if s is ONCE else n for n, s in zip(shape, dims, strict=True)
    )


def relay(context: Context, of: Whole, have: Dims, want: Dims) -> Change:
    """The change from one way to lie to another.

    Args:
      context: notes what is sent.
      of: the whole array.
      have: how it lies.
      want: how it is to lie.

    Returns:
      A function of a device's block.

    Raises:
      Refused: if a divided dimension is to be whole.
    """
    changes: list[Change] = []
    here = list(have)
    for dim, (old, new) in enumerate(zip(have, want, strict=True)):
        if old != new:
            changes.append(_changed(context, of, tuple(here), dim, new))
            here[dim] = new
    return lambda x: _all(changes, x)


def _all(changes: list[Change], x: Array) -> Array:
    for change in changes:
        x = change(x)
    return x


def fetched(context: Context, of: Whole, have: Dims, dim: int, wanted: np.ndarray) -> Change:
    """Brings each device the positions that it wants along a divided dimension; see `moves`."""
    split = have[dim]
    assert isinstance(split, Split)
    by = moves(split, wanted)
    context.sends(dim, local(of.shape, have), of.dtype, split, by)
    return lambda x: fetch(x, dim, by)


def _changed(context: Context, of: Whole, have: Dims, dim: int, new: Any) -> Change:
    old, size = have[dim], of.shape[dim]
    if isinstance(old, Split):
        if isinstance(new, Split):
            return fetched(context, of, have, dim, new.table)
        if size != 1:
            raise Refused(
                f"it needs dimension {dim} whole, and that is divided along {old.axis!r}. Compute it "
                "outside, on the result, or leave the dimension whole"
            )
        return lambda x: total(jnp.where(owned(old, dim, x.ndim), x, jnp.zeros_like(x)), (dim,), (old,), True)
    if old is ONCE:
        length = new.length if isinstance(new, Split) else size
        return lambda x: jnp.broadcast_to(x, (*x.shape[:dim], length, *x.shape[dim + 1 :]))
    assert isinstance(new, Split)
    return lambda x: _block(x, dim, new)


def _block(x: Array, dim: int, split: Split) -> Array:
    """A device's part of what is whole on each."""
    before = max(-split.start, 0)
    after = max(split.held(split.devices - 1).stop - x.shape[dim], 0)
    x = padded(x, dim, before, after)
    first = split.start + before + split.step * lax.axis_index(split.axis)
    return lax.dynamic_slice_in_dim(x, first, split.length, dim)


def total(x: Array, axes: Sequence[int], over: Sequence[Split], keepdims: bool = False) -> Array:
    """The sum over dimensions and over the devices among which they are divided."""
    return lax.psum(jnp.sum(x, tuple(axes), dtype=x.dtype, keepdims=keepdims), names(over))


def names(over: Sequence[Split]) -> tuple[str, ...]:
    """Of the mesh axes, flat."""
    found: list[str] = []
    for split in over:
        found += [split.axis] if isinstance(split.axis, str) else split.axis
    return tuple(dict.fromkeys(found))


def together(dims: Sequence[Dims]) -> Dims:
    """How operands of one shape are to lie so that they can meet.

    Raises:
      Refused: if a dimension is divided in blocks of different sizes.
    """
    return tuple(_meeting(column) for column in zip(*dims, strict=True))


def _meeting(column: Sequence[Any]) -> Any:
    found = [s for s in column if isinstance(s, Split)]
    if not found:
        return ONCE if all(s is ONCE for s in column) else None
    first = found[0]
    if any((s.axis, s.step) != (first.axis, first.step) for s in found):
        blocks = " and ".join(sorted({f"{s.step} along {s.axis!r}" for s in found}))
        raise Refused(f"arrays meet whose blocks are of different sizes, {blocks}")
    start = max(s.start for s in found)
    stop = min(s.start + s.length for s in found)
    common = first.over(start, stop - start)
    return common if common.covers else min(found, key=lambda s: (abs(s.start), s.length))


def masked(x: Array, dims: Dims, fill: Any, only: Sequence[int] | None = None) -> Array:
    """With another value where what is held means nothing."""
    for dim, split in splits(dims):
        if not split.exact and (only is None or dim in only):
            x = jnp.where(inside(split, dim, x.ndim), x, jnp.asarray(fill, x.dtype))
    return x


def counted(x: Array, dims: Dims, over: Sequence[int], fill: Any) -> Array:
    """With another value where, along some dimensions, a position is not this device's own."""
    for dim, split in splits(dims):
        if dim in over and not (split.exact and split.length == split.step):
            x = jnp.where(owned(split, dim, x.ndim), x, jnp.asarray(fill, x.dtype))
    return x
