"""Padding modes other than zeros: the border becomes part of the array, and the convolution pads no more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import Axis, ConvSpec
from ..typing import PaddingMode

# What each mode is to `jnp.pad`.
MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def check_mode(padding_mode: str, possible: tuple[str, ...] = get_args(PaddingMode)) -> None:
    """Raises for an unknown mode, or one that the operator does not have."""
    if padding_mode not in possible:
        raise ValueError(
            f"padding_mode={padding_mode!r} is not possible here; use one of {', '.join(possible)}."
        )


def check_possible(axis: Axis, padding_mode: str) -> None:
    """Raises if a border of this width can't be continued from the axis."""
    if axis.lo < 0 or axis.hi < 0:
        raise ValueError(
            f"padding_mode={padding_mode!r} got padding {(axis.lo, axis.hi)}; only zeros can be negative. "
            "Slice the input instead."
        )
    least = 2 if padding_mode == "reflect" else 1
    if axis.lo + axis.hi > 0 and axis.size < least:
        raise ValueError(
            f"padding_mode={padding_mode!r} needs at least {least} positions to continue from, and a spatial "
            f"dimension has {axis.size}. Use padding_mode='zeros'."
        )


def extend(x: jax.Array, axes: tuple[Axis, ...], padding_mode: str) -> jax.Array:
    """`(N, *s, C)` with its border written out."""
    for axis in axes:
        check_possible(axis, padding_mode)
    return jnp.pad(x, [(0, 0), *((a.lo, a.hi) for a in axes), (0, 0)], mode=MODES[padding_mode])


def extended(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The axes over the array that `extend` returns."""
    return tuple(dataclasses.replace(a, size=a.lo + a.size + a.hi, lo=0, hi=0) for a in axes)


def absorb(x: jax.Array, spec: ConvSpec, padding_mode: str) -> tuple[jax.Array, ConvSpec]:
    """The input with its border written out, and the convolution over it; zeros stay the convolution's."""
    if padding_mode == "zeros":
        return x, spec
    return extend(x, spec.axes, padding_mode), dataclasses.replace(spec, axes=extended(spec.axes))


def unextend(x: jax.Array, axes: tuple[Axis, ...], padding_mode: str) -> jax.Array:
    """The adjoint of `extend`: what lies on the border is added to where it was copied from."""
    shape = (x.shape[0], *(a.size for a in axes), x.shape[-1])
    return adjoint(lambda inner: extend(inner, axes, padding_mode), shape, x)


def adjoint(linear: Callable[[jax.Array], jax.Array], shape: tuple[int, ...], g: jax.Array) -> jax.Array:
    """Applies the transpose of a linear function of an array of this shape.

    That array is taken to be sharded as g is and, inside shard_map, to vary as g does; a bare shape would say
    neither.
    """

    def resized(array: jax.Array) -> jax.Array:
        ends = [(0, n - m, 0) for n, m in zip(shape, array.shape, strict=True)]
        return lax.pad(array, jnp.zeros((), array.dtype), ends)

    if 0 in g.shape:
        return resized(g)  # all zeros; linear_transpose would lose an integer dtype
    [result] = jax.linear_transpose(linear, jax.eval_shape(resized, g))(g)
    return result
