"""The edge of the public functions: every spelling becomes the one that the operators use, or an error."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from ..geometry import ConvSpec, Slot
from ..geometry.padding import is_int
from ..geometry.padding import pairs as pairs
from ..geometry.padding import per_axis as per_axis
from ..geometry.padding import to_int as to_int
from ..geometry.spec import check_groups
from ..lowerings import wider
from ..planner import why_not
from ..typing import Layout


@dataclasses.dataclass(frozen=True)
class Form:
    """How a caller's data array is laid out; `enter` and `leave` convert to and from `(N, *spatial, C)`."""

    layout: Layout
    batched: bool

    def enter(self, array: jax.Array) -> jax.Array:
        """The caller's array as `(N, *spatial, C)`."""
        array = array if self.batched else array[None]
        return array if self.layout == "channels_last" else jnp.moveaxis(array, 1, -1)

    def leave(self, array: jax.Array) -> jax.Array:
        """`(N, *spatial, C)` as the caller's array."""
        array = array if self.layout == "channels_last" else jnp.moveaxis(array, -1, 1)
        return array if self.batched else array[0]

    def enter_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The caller's shape as that of `(N, *spatial, C)`."""
        shape = shape if self.batched else (1, *shape)
        return shape if self.layout == "channels_last" else (shape[0], *shape[2:], shape[1])


def array(value: Any, name: str, *, any_dtype: bool = False) -> jax.Array:
    """The argument as a JAX array, of a dtype that convolves or, where elements are only moved, of any."""
    try:
        result = value if isinstance(value, jax.Array) else jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of type {type(value).__name__} is not an array: {error}") from None
    if not any_dtype and (result.dtype == bool or not jnp.issubdtype(result.dtype, jnp.number)):
        raise ValueError(
            f"{name} has dtype {result.dtype}; wanted a floating, complex or integer dtype. Cast it first."
        )
    return result


def spatial_rank(kernel_shape: tuple[int, ...]) -> int:
    """The number of spatial dimensions, which the kernel decides."""
    if len(kernel_shape) < 3:
        raise ValueError(
            f"kernel has shape {tuple(kernel_shape)}; wanted (*k, in, out), one spatial dimension or more."
        )
    return len(kernel_shape) - 2


def form(shape: tuple[int, ...], rank: int, layout: str, name: str, of: str = "kernel") -> Form:
    """How an array of this shape is laid out, for a kernel (or `of`) of `rank` spatial dimensions."""
    if layout not in typing.get_args(Layout):
        raise ValueError(f"layout={layout!r} is not known; use one of {', '.join(typing.get_args(Layout))}.")
    if len(shape) not in (rank + 1, rank + 2):
        order = "(N, *spatial, C)" if layout == "channels_last" else "(N, C, *spatial)"
        raise ValueError(
            f"{name} has shape {tuple(shape)}, {len(shape)} dimensions; a {of} of {rank} spatial "
            f"dimensions wants {rank + 2}, {order}, or {rank + 1} without N."
        )
    return Form(typing.cast("Layout", layout), len(shape) == rank + 2)


def window(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """One int for each axis, from a sequence that says how many axes there are or an int for all `rank`."""
    if is_int(value) or not hasattr(value, "__len__"):
        value = (value,) * max(rank, 1)
    return per_axis(value, len(value), name)


def spatial_axes(shape: tuple[int, ...], value: Any, layout: str, name: str) -> tuple[int, int]:
    """How many spatial axes an array has, and which is the first, from an option with one entry for each.

    A single entry counts for all axes between one batch axis and the channels; with a sequence there can be
    any number of batch axes.
    """
    listed = getattr(value, "ndim", 1) and hasattr(value, "__len__")
    rank = len(value) if listed else max(len(shape) - 2, 0)
    if not rank or len(shape) < rank + 1:
        raise ValueError(
            f"{name}={value!r} does not go with x of shape {shape}; a single number needs one batch axis, "
            "spatial axes and channels, a sequence has one entry for each spatial axis."
        )
    batch = len(shape) - 1 - rank
    form(shape[batch:], rank, layout, "x")  # checks the layout
    return rank, batch if layout == "channels_last" else batch + 1


def check_channels(kernel_shape: tuple[int, ...], channels: int, groups: Any, *, transposed: bool) -> int:
    """The kernel and groups must fit the data's channels; returns groups as an int."""
    groups = to_int(groups, "groups")
    inner, outer = kernel_shape[-2:]
    check_groups(groups, in_channels=channels, **({} if transposed else {"out_channels": outer}))
    if (outer if transposed else inner * groups) == channels:
        return groups
    wanted = f"(*k, out/groups, {channels})" if transposed else f"(*k, {channels}/groups, out)"
    hint = ""
    if transposed and inner == channels:
        hint = (
            " Its last two axes look exchanged: the kernel is that of the convolution whose adjoint this is."
        )
    elif (kernel_shape[0] if transposed else kernel_shape[1] * groups) == channels:
        hint = (
            " It looks like PyTorch's layout, channels before space; jaxconv.interop.torch converts it "
            "(or jnp.moveaxis(kernel, (0, 1), (-1, -2)))."
        )
    raise ValueError(
        f"kernel of shape {tuple(kernel_shape)} with groups={groups} does not fit data of {channels} "
        f"channels; wanted {wanted}.{hint}"
    )


def shape(value: Any, length: int | None, name: str, of: str) -> tuple[int, ...]:
    """A shape argument as a tuple of integers; symbolic sizes of jax.export pass."""
    if not isinstance(value, Sequence) and not hasattr(value, "__iter__"):
        raise ValueError(f"{name}={value!r} must be a tuple of integers, {of}.")
    result: tuple[Any, ...] = tuple(n if jax.export.is_symbolic_dim(n) else to_int(n, name) for n in value)
    if length is not None and len(result) != length:
        raise ValueError(f"{name}={result} has {len(result)} entries; wanted {length}, {of}.")
    if any(n < 0 for n in result):
        raise ValueError(f"{name}={result} has a negative entry.")
    return result


def check_shape(value: jax.Array, wanted: tuple[int, ...], name: str, of: str) -> None:
    """The array must have the shape that follows from the others."""
    if value.shape != wanted:
        raise ValueError(f"{name} has shape {value.shape} as (N, *spatial, C); {of} gives {wanted}.")


def check_same_dtype(a: jax.Array, b: jax.Array, names: tuple[str, str]) -> None:
    """Operands of different dtypes are refused: which one was meant is the caller's to say."""
    if a.dtype != b.dtype:
        raise ValueError(
            f"{names[0]} has dtype {a.dtype} and {names[1]} has {b.dtype}; cast one of them "
            "(preferred_element_type sets the dtype of the result)."
        )


def result_dtype(dtype: Any, preferred: Any) -> Any:
    """The dtype of the result: the operands' own, or a wider one of choice."""
    if preferred is None:
        return dtype
    try:
        wanted = jax.dtypes.canonicalize_dtype(preferred)
    except TypeError:
        raise ValueError(f"preferred_element_type={preferred!r} is not a dtype.") from None
    if jnp.issubdtype(wanted, jnp.complexfloating) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"preferred_element_type={wanted} is complex and the operands are {dtype}; cast them first."
        )
    if wider(dtype, wanted) != wanted:
        raise ValueError(
            f"preferred_element_type={wanted} would lose what operands of {dtype} hold; use a wider dtype, "
            "or cast the result."
        )
    return wanted


def check_algorithm(algorithm: str | None, slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> None:
    """A forced algorithm must be able to compute what was asked for."""
    if refusal := why_not(algorithm, slot, spec, dtype, precision):
        raise ValueError(f"algorithm={algorithm!r} is not possible here: {refusal}")


def add_bias(y: jax.Array, bias: Any) -> jax.Array:
    """Adds one number to each output channel of `(N, *o, O)`."""
    if bias is None:
        return y
    bias = array(bias, "bias")
    if bias.shape != (y.shape[-1],):
        raise ValueError(
            f"bias has shape {bias.shape}; wanted ({y.shape[-1]},), one number for each output channel."
        )
    if wider(bias.dtype, y.dtype) != y.dtype:
        raise ValueError(f"bias has dtype {bias.dtype}, wider than the result's {y.dtype}; cast it.")
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
