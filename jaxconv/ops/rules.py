"""Differentiation and batching of the three primitives, one table each.

Transposes. The form is linear in each of its three arguments, so the transpose of an operator in one operand
is the operator that leaves *that* argument open, applied to the cotangent and the other operand:

    forward(x, w):     x <- input_grad(ct, w)     w <- weight_grad(x, ct)
    input_grad(g, w):  g <- forward(ct, w)        w <- weight_grad(ct, g)
    weight_grad(x, g): x <- input_grad(g, ct)     g <- forward(x, ct)

Batching. One operand mapped: the mapped axis joins the role which that operand shares with the result alone.

    x and y share N        w and y share O        x and w share I

Both mapped: it joins the groups, G.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching

from ..geometry import ConvSpec, Slot
from ..lowerings import KINDS, Kind
from ..planner import why_not
from .primitives import PRIMITIVES, SLOT_OF

Role = Literal["N", "I", "O", "G"]


def _transpose(slot: Slot, operand: int, ct: jax.Array, a: Any, b: Any, **params: Any) -> jax.Array:
    """Cotangent of operand 0 or 1."""
    kinds = KINDS[slot]
    undefined, known = (a, b) if operand == 0 else (b, a)
    arrays = {kinds[2]: ct, kinds[1 - operand]: known}
    target = SLOT_OF[kinds[operand]]
    first, second, _ = KINDS[target]
    aval = undefined.aval
    params |= {
        "dtype": aval.dtype,
        "algorithm": _kept(target, **(params | {"dtype": aval.dtype})),
        "out_sharding": None if aval.sharding.mesh.empty else aval.sharding,
    }
    return PRIMITIVES[target].bind(arrays[first], arrays[second], **params)


def _kept(
    slot: Slot, *, spec: ConvSpec, dtype: Any, precision: Any, algorithm: str | None, **_: Any
) -> str | None:
    """A forced algorithm stays in force for the derivatives and batches that it can compute."""
    return None if why_not(algorithm, slot, spec, dtype, precision) else algorithm


def _batch(slot: Slot, args: tuple[jax.Array, jax.Array], dims: tuple[Any, Any], **params: Any):
    kinds, spec = KINDS[slot], params["spec"]
    mapped = [i for i in (0, 1) if dims[i] is not None]
    role = "G" if len(mapped) == 2 else _shared(kinds[mapped[0]], kinds[2])
    size = args[mapped[0]].shape[dims[mapped[0]]]
    if size == 0:
        return jnp.zeros((0, *spec.result_shape(slot)), params["dtype"]), 0
    operands = list(args)
    for i in mapped:
        operands[i] = _merge(jnp.moveaxis(args[i], dims[i], 0), kinds[i], role, spec)
    params |= {"spec": _widen(spec, role, size)}
    # The batched result is sharded as its operands say; a sharding named for it without the axis is void.
    params |= {"algorithm": _kept(slot, **params), "out_sharding": None}
    result = PRIMITIVES[slot].bind(*operands, **params)
    return _split(result, kinds[2], role, spec, size), 0


def _shared(a: Kind, b: Kind) -> Role:
    """The role that two of the three arrays share and the third lacks."""
    roles: dict[Kind, Role] = {"kernel": "N", "input": "O", "output": "I"}
    return next(role for third, role in roles.items() if third not in (a, b))


def _widen(spec: ConvSpec, role: Role, size: int) -> ConvSpec:
    fields = {
        "N": ("batch",),
        "I": ("in_channels",),
        "O": ("out_channels",),
        "G": ("groups", "in_channels", "out_channels"),
    }
    return dataclasses.replace(spec, **{name: getattr(spec, name) * size for name in fields[role]})


def _place(kind: Kind, role: Role, spec: ConvSpec) -> tuple[int, int]:
    """The axis a role lives on, and how many groups enclose it there."""
    if role == "N":
        return 0, 1
    if role == "I" and kind == "kernel":
        return spec.rank, 1
    return spec.rank + 1, 1 if role == "G" else spec.groups


def _merge(array: jax.Array, kind: Kind, role: Role, spec: ConvSpec) -> jax.Array:
    """(b, ..., outer inner, ...) -> (..., outer b inner, ...)."""
    axis, outer = _place(kind, role, spec)
    b, *shape = array.shape
    before, size, after = shape[:axis], shape[axis], shape[axis + 1 :]
    if outer == 1:  # without an axis of size 1, explicit sharding of the mapped axis survives the reshape
        return jnp.moveaxis(array, 0, axis).reshape(*before, b * size, *after)
    split = array.reshape(b, *before, outer, size // outer, *after)
    return jnp.moveaxis(split, 0, axis + 1).reshape(*before, size * b, *after)


def _split(array: jax.Array, kind: Kind, role: Role, spec: ConvSpec, b: int) -> jax.Array:
    """(..., outer b inner, ...) -> (b, ..., outer inner, ...)."""
    axis, outer = _place(kind, role, spec)
    shape = {"input": spec.input_shape, "kernel": spec.kernel_shape, "output": spec.output_shape}[kind]
    before, size, after = shape[:axis], shape[axis], shape[axis + 1 :]
    if outer == 1:
        return jnp.moveaxis(array.reshape(*before, b, size, *after), axis, 0)
    split = array.reshape(*before, outer, b, size // outer, *after)
    return jnp.moveaxis(split, axis + 1, 0).reshape(b, *shape)


for _slot, _primitive in PRIMITIVES.items():
    ad.defbilinear(
        _primitive, functools.partial(_transpose, _slot, 0), functools.partial(_transpose, _slot, 1)
    )
    batching.primitive_batchers[_primitive] = functools.partial(_batch, _slot)
