"""A network that was read: a pure function of parameters and inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .nodes import Node, Value
from .table import OPS


@dataclasses.dataclass(frozen=True)
class Input:
    """An argument of a network.

    Attributes:
      name: its name in the file.
      shape: sizes; None where the file leaves one open, and None for a shape that it does not give at all.
      dtype: in the file.
      static: whether shapes follow from its numbers, so that it has to be known while tracing.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: np.dtype
    static: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network as `load` reads it: `network(network.params, x)` is a pure function.

    It can be compiled, differentiated and mapped. Numbers that follow from shapes alone are computed while
    tracing, so that reshapes and resizes by them go through `jax.jit`.

    Attributes:
      params: its arrays by name, a pytree: floating initialisers, and floating constants of two elements or
        more.
      inputs: its arguments.
      outputs: names of its results.
      statistics: names of the parameters that are means and variances of a BatchNormalization, which are
        not trained.
      nodes: its operations, in order.
      constants: its other arrays.
    """

    params: dict[str, jax.Array]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    statistics: frozenset[str]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]

    def __call__(self, params: Mapping[str, Any], *inputs: Any) -> Any:
        """The results of the inputs: one array, or a tuple of as many as `outputs`.

        Args:
          params: as `self.params`.
          *inputs: one array for each of `self.inputs`.

        Raises:
          ValueError: for parameters or inputs that are missing or of other shapes, or a node that its
            operands do not fit; the message names it.
        """
        if missing := sorted(self.params.keys() - params.keys()):
            raise ValueError(f"params lacks {', '.join(missing)}; wanted all of network.params.")
        if len(inputs) != len(self.inputs):
            names = ", ".join(i.name for i in self.inputs)
            raise ValueError(f"{len(inputs)} inputs were given; the network has {len(self.inputs)}: {names}.")
        values: dict[str, Value] = {**self.constants, **{name: params[name] for name in self.params}}
        values |= {i.name: _entered(i, x) for i, x in zip(self.inputs, inputs, strict=True)}
        for node in self.nodes:
            operands = [values[name] if name else None for name in node.inputs]
            values |= zip(node.outputs, _results(node, operands), strict=False)
        results = tuple(jnp.asarray(values[name]) for name in self.outputs)
        return results[0] if len(results) == 1 else results

    def trainable(self) -> dict[str, bool]:
        """Which parameters training moves, for `optax.masked`: all but `statistics`."""
        return {name: name not in self.statistics for name in self.params}


def _entered(wanted: Input, x: Any) -> Value:
    """An argument, checked; in NumPy if shapes follow from it."""
    keep = wanted.static and not isinstance(x, Tracer)
    x = np.asarray(x) if keep else jnp.asarray(x)
    shape = wanted.shape
    kinds = [np.dtype(d).kind if np.dtype(d).kind in "biu" else "f" for d in (x.dtype, wanted.dtype)]
    if kinds[0] != kinds[1] or (
        shape is not None
        and (len(shape) != x.ndim or any(n not in (None, m) for n, m in zip(shape, x.shape, strict=True)))
    ):
        raise ValueError(
            f"input {wanted.name!r} is {x.dtype} of shape {x.shape}; wanted {wanted.dtype} of shape {shape}."
        )
    return x


def _results(node: Node, operands: list[Value]) -> tuple[Value, ...]:
    try:
        with np.errstate(all="ignore"):
            found = OPS[node.op].run(node, *operands)
    except (ValueError, TypeError, IndexError, AttributeError, ArithmeticError) as error:
        shapes = ", ".join("none" if x is None else f"{x.dtype}{list(np.shape(x))}" for x in operands)
        raise ValueError(f"{node} of {shapes}: {error}") from error
    return found if isinstance(found, tuple) else (np.asarray(found) if np.isscalar(found) else found,)
