"""What is asked about: one number made of a function's result, as a function of its input."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np

from .layers import activations
from .rule import Name, Rule, with_rule

Target = int | tuple[int, ...] | Callable[[jax.Array], jax.Array] | None


def split(args: Sequence[Any], wrt: int | None) -> tuple[jax.Array, int]:
    """The input, and its position among the arguments.

    Raises:
      ValueError: if there is none, or it is no floating array.
    """
    arrays = [i for i, a in enumerate(args) if hasattr(a, "shape") and hasattr(a, "dtype")]
    likely = [i for i in arrays if len(args[i].shape) >= 2]
    at = wrt if wrt is not None else likely[0] if likely else None
    if at is None or at not in arrays:
        raise ValueError(
            f"wrt={wrt} is no argument that is one array; those are {arrays or 'none'}. Name the input."
        )
    x = jnp.asarray(args[at])
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"the input has dtype {x.dtype}; a gradient needs a floating one.")
    return x, at


def score(y: Any, target: Target) -> jax.Array:
    """One number of a result.

    Raises:
      ValueError: if the target does not fit the result.
    """
    if callable(target):
        found = target(y)
        if getattr(found, "shape", None) != ():
            raise ValueError(f"target gives {found!r}; wanted is one number, as of y[..., 3].sum().")
        return found
    if not hasattr(y, "shape"):
        raise ValueError("fn has several results; make one number of them with target=lambda y: ...")
    if target is None:
        if y.size != 1:
            raise ValueError(
                f"target is missing: fn gives an array of shape {y.shape}; name one of its "
                f"{y.shape[-1]} channels, or an index."
            )
        return y.reshape(())
    channel = isinstance(target, SupportsIndex)  # as NumPy's and JAX's integers are, too
    index = (..., operator.index(target)) if channel else tuple(target)
    sizes = y.shape[-1:] if channel else y.shape
    numbers = index[1:] if channel else index
    if len(numbers) > len(sizes) or not all(
        -n <= i < n for i, n in zip(numbers, sizes, strict=False) if isinstance(i, int | np.integer)
    ):
        raise ValueError(f"target={target!r} is no position of a result of shape {y.shape}.")
    return y[index].sum()


def scored(
    fn: Callable[..., Any],
    args: Sequence[Any],
    *,
    target: Target,
    wrt: int | None,
    layer: str | None = None,
    rule: Name | Rule | None = None,
) -> tuple[Callable[[jax.Array], jax.Array], jax.Array]:
    """The score as a function of the input alone, and that input."""
    x, at = split(args, wrt)

    def ends(x: jax.Array) -> Any:
        given = (*args[:at], x, *args[at + 1 :])
        return fn(*given) if layer is None else activations(fn, *given, layer=layer, wrt=at)

    ends = with_rule(ends, rule) if rule is not None else ends
    return lambda x: score(ends(x), target), x
