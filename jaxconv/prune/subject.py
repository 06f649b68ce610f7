"""What is pruned: a function, where its parameters are, and its graph for any other arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..graph import Graph, Value, trace
from ..graph.trace import is_array


def is_weight(leaf: Any) -> bool:
    """A floating array."""
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A function and its parameters' form.

    Attributes:
      fn: the function; None if it is the parameters itself, as modules of NNX and Equinox are.
      position: of the parameters among its positional arguments; -1 if they are the function.
      tree: of the parameters.
      leaves: of the parameters; arrays by shape and dtype.
      names: of the leaves, their paths.
    """

    fn: Callable[..., Any] | None
    position: int
    tree: Any
    leaves: tuple[Any, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, fn: Callable[..., Any], args: Sequence[Any]) -> tuple[Subject, list[Any], tuple[Any, ...]]:
        """The subject, the parameters' leaves, and the other arguments.

        Raises:
          ValueError: if there are no parameters, or two of one name.
        """
        if not callable(fn):
            raise ValueError(
                f"fn={fn!r} of type {type(fn).__name__} must be a model, or a function and its arguments."
            )
        candidates = [(-1, fn), *enumerate(args)]
        position = next((i for i, tree in candidates if _holds_weights(tree)), None)
        if position is None:
            raise ValueError(
                "neither the function nor any of its arguments is a pytree with floating arrays in it; hand "
                "the parameters over as an argument: prune(apply, params, x), or prune(model, x) for a "
                "callable pytree."
            )
        whole = fn if position < 0 else args[position]
        pairs, tree = jax.tree_util.tree_flatten_with_path(whole)
        names = tuple(jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in pairs)
        if len({*names}) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"two parameters go by the name {twice[0]!r}; rename one of their keys.")
        leaves = [leaf for _, leaf in pairs]
        forms = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) if is_array(x) else x for x in leaves)
        rest = tuple(a for i, a in enumerate(args) if i != position)
        return cls(None if position < 0 else fn, position, tree, forms, names), leaves, rest

    @property
    def arrays(self) -> list[int]:
        """Which leaves are arrays."""
        return [i for i, leaf in enumerate(self.leaves) if is_array(leaf)]

    def call(self, leaves: Sequence[Any], rest: Sequence[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function and its arguments with these parameters."""
        params = jax.tree_util.tree_unflatten(self.tree, leaves)
        if self.fn is None:
            return params, tuple(rest)
        return self.fn, (*rest[: self.position], params, *rest[self.position :])

    def graph(self, rest: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Graph, dict[int, Value]]:
        """The whole function's graph, and the value of each parameter that is an array, by its leaf."""
        fn, args = self.call(self.leaves, rest)
        graph = trace(fn, *args, **kwargs)
        values = [v for v in graph.inputs if v.argument == self.position and v.kind == "argument"]
        return graph, dict(zip(self.arrays, values, strict=True))


def _holds_weights(tree: Any) -> bool:
    leaves = jax.tree_util.tree_leaves(tree)
    return not (len(leaves) == 1 and leaves[0] is tree) and any(map(is_weight, leaves))


def flat_arrays(tree: Any) -> list[Any]:
    """The arrays in a pytree."""
    return [leaf for leaf in jax.tree_util.tree_leaves(tree) if is_array(leaf)]
