"""What a network of ONNX is made of, and which of its numbers are known on the host."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# More elements than this in an array that a few bytes of a file ask for are refused.
MOST = 2**28

Value = Any
"""A JAX array; or a NumPy array, which is then known while tracing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One operation of a graph.

    Attributes:
      op: its operator.
      name: its own name, or that of its first result.
      inputs: names of its operands; "" is one that is left out.
      outputs: names of its results.
      attributes: Python numbers, strings and tuples of them; tensors are NumPy arrays.
      opset: the version of the operators.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.attributes.get(attribute, default)

    def __str__(self) -> str:
        """How a message calls it."""
        return f"{self.op} {self.name!r}"


@dataclasses.dataclass(frozen=True)
class Op:
    """How an operator is computed.

    Attributes:
      run: `run(node, *operands)` returns the result, or a tuple of several; operands left out are None.
      attributes: the names of those it knows, separated by spaces.
      static: positions of operands whose numbers decide shapes, so that they have to be known while tracing.
      refuses: a sentence if a node asks for something that `run` can't do.
      results: how many there can be; None for any number.
    """

    run: Callable[..., Any]
    attributes: str = ""
    static: tuple[int, ...] = ()
    refuses: Callable[[Node], str | None] | None = None
    results: int | None = 1


def on_host(*operands: Value) -> bool:
    """Whether all operands are known while tracing."""
    return all(x is None or isinstance(x, np.ndarray | np.generic) for x in operands)


def namespace(*operands: Value) -> Any:
    """NumPy for operands that are known while tracing, so that the result is, too; else `jax.numpy`."""
    return np if on_host(*operands) else jnp


def host(x: Value, what: str) -> np.ndarray:
    """An operand's numbers.

    Raises:
      ValueError: if they are not known while tracing.
    """
    if isinstance(x, Tracer):
        raise ValueError(
            f"its {what} is computed from the network's inputs or parameters, and shapes follow from it, so "
            "it has to be known while tracing: call the network without jit, or make that input a constant."
        )
    return np.asarray(x)


def ints(x: Value, what: str) -> tuple[int, ...]:
    """An operand that is a list of integers."""
    return tuple(int(n) for n in host(x, what).reshape(-1))


def aligned(*operands: Value) -> list[Value]:
    """The operands with as many dimensions each; JAX can be told to refuse any other."""
    rank = max(np.ndim(x) for x in operands)
    return [x.reshape((1,) * (rank - np.ndim(x)) + np.shape(x)) for x in operands]


def bounded(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that a node asks for.

    Raises:
      ValueError: if it is negative or absurdly large.
    """
    if min(shape, default=0) < 0 or math.prod(shape) > MOST:
        raise ValueError(f"shape {tuple(shape)} is negative somewhere or has more than {MOST} elements.")
    return tuple(shape)


def dtype_of(dtype: Any, xp: Any) -> Any:
    """A dtype as NumPy has it, or JAX, which may have no 64 bits."""
    return np.dtype(dtype) if xp is np else jax.dtypes.canonicalize_dtype(dtype)


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front.

    Raises:
      ValueError: if there is no such axis.
    """
    if not -rank <= axis < rank:
        raise ValueError(f"axis={axis} is none of an array of {rank} dimensions.")
    return axis % rank


def root(x: Value, power: float) -> Value:
    """X ** (1 / power) of numbers that are not negative, with gradient zero at zero."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.where(zero, 1, x) ** (1 / power)).astype(x.dtype)
