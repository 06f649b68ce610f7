"""What a lax convolution computes: one of our slots, found from its shapes and windows alone.

    out[o] = sum over k of lhs[o * stride + k * rhs_dilation - lo] rhs[k],      lhs stuffed by lhs_dilation

is at once a forward convolution (without stuffing), the input gradient of one (without stride), and the
weight gradient of one, where the result is the kernel and rhs the other gradient's window: stride and
dilation have changed places. JAX's autodiff makes all three. Every reading gives the right numbers; what the
program means is the one whose kernel has the fewest positions, and of two with the same kernel, forward and
input gradient at stride 1, the one that puts it to fewer places.

Groups of features and groups of the batch are the same thing once the axis of groups is moved, so each
reading has them where its slot wants them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..geometry import Axis, ConvSpec, Slot
from ..lowerings.kernels import adjoint_kernel

Pair = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Reading:
    """One slot of one convolution, and how to get there.

    Attributes:
      slot: the array that is computed.
      spec: the convolution.
      operands: from lhs and rhs, the operands of the slot.
      result: from the slot's array, the result in the order that lax wants.
      exchanged: whether lhs is the other gradient and rhs the input, which XLA has a bad program for.
    """

    slot: Slot
    spec: ConvSpec
    operands: Callable[[jax.Array, jax.Array], Pair]
    result: Callable[[jax.Array], jax.Array]
    exchanged: bool = False


@dataclasses.dataclass(frozen=True)
class _Orders:
    """Where the axes go: lhs to (batch, *s, features), rhs to (*k, in, out), (batch, *o, features) to out."""

    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    out: tuple[int, ...]

    @classmethod
    def of(cls, numbers: Any) -> _Orders:
        (n, c, *s), (o, i, *k), out = numbers
        order = (out[0], *out[2:], out[1])
        return cls((n, *s, c), (*k, i, o), tuple(order.index(axis) for axis in range(len(order))))


def readings(
    lhs_shape: Sequence[int],
    rhs_shape: Sequence[int],
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    **_: Any,
) -> list[Reading]:
    """All slots that a lax convolution computes, given the parameters of its primitive.

    The first is a forward convolution or an input gradient, if it can be read as one. There are none where an
    array is empty, and where both operands are dilated and the window moves by more than one position.
    """
    orders = _Orders.of(dimension_numbers)
    n, *sizes, c = (lhs_shape[i] for i in orders.lhs)
    *taps, o = (rhs_shape[i] for i in orders.rhs if i != dimension_numbers[1][1])
    one_kind = feature_group_count == 1 or batch_group_count == 1
    if not sizes or 0 in (*lhs_shape, *rhs_shape) or not one_kind:
        return []
    windows = zip(sizes, taps, window_strides, rhs_dilation, padding, lhs_dilation, strict=True)
    axes = [Axis(s, k, stride, d, *pads, base=b) for s, k, stride, d, pads, b in windows]
    if 0 in (a.out for a in axes):
        return []
    groups, batched = max(feature_group_count, batch_group_count), batch_group_count > 1
    stuffed = any(a.base > 1 for a in axes)
    found: list[Reading] = []
    sizes_of = (n // batch_group_count, c * batch_group_count, o, groups)
    if not stuffed:
        found.append(_forward(orders, ConvSpec(*sizes_of, tuple(axes)), batched))
    if all(a.stride == 1 for a in axes):
        found.append(_input_grad(orders, _adjoint(*sizes_of, axes), batched))
    # The result is a kernel: lhs is (in, *s, batch), rhs (*o, batch, out), the result (in / g, *k, out).
    sizes_of = (c // feature_group_count, n * feature_group_count, o, groups)
    if not stuffed:
        spec = ConvSpec(*sizes_of, tuple(map(_weight_axis, axes)))
        found.append(_weight_grad(orders, spec, feature_group_count > 1))
    elif all(a.dilation == 1 for a in axes):
        # lhs is stuffed: it is the other gradient, and rhs the input.
        spec = ConvSpec(sizes_of[0], sizes_of[2], sizes_of[1], groups, tuple(map(_exchanged_axis, axes)))
        found.append(_exchanged(orders, spec, feature_group_count > 1))
    return found


def _forward(orders: _Orders, spec: ConvSpec, batched: bool) -> Reading:
    def operands(lhs: jax.Array, rhs: jax.Array) -> Pair:
        x = _permuted(lhs, orders.lhs)
        return (_batch_to_features(x, spec.groups) if batched else x), _permuted(rhs, orders.rhs)

    return Reading("forward", spec, operands, lambda y: _permuted(y, orders.out))


def _adjoint(batch: int, inputs: int, outputs: int, groups: int, axes: Sequence[Axis]) -> ConvSpec:
    return ConvSpec(batch, outputs, inputs, groups, tuple(a.adjoint() for a in axes))


def _input_grad(orders: _Orders, spec: ConvSpec, batched: bool) -> Reading:
    plain = _forward(orders, spec, batched)

    def operands(lhs: jax.Array, rhs: jax.Array) -> Pair:
        g, kernel = plain.operands(lhs, rhs)
        return g, adjoint_kernel(kernel, spec.groups)

    return Reading("input_grad", spec, operands, plain.result)


def _weight_grad(orders: _Orders, spec: ConvSpec, grouped: bool) -> Reading:
    def operands(lhs: jax.Array, rhs: jax.Array) -> Pair:
        x = jnp.swapaxes(_permuted(lhs, orders.lhs), 0, -1)
        if grouped:  # (batch of all groups, *s, in of one)
            x = _batch_to_features(x, spec.groups)
        return x, jnp.moveaxis(_permuted(rhs, orders.rhs), -2, 0)

    return Reading("weight_grad", spec, operands, lambda w: _permuted(jnp.moveaxis(w, -2, 0), orders.out))


def _exchanged(orders: _Orders, spec: ConvSpec, grouped: bool) -> Reading:
    plain = _weight_grad(orders, spec, grouped)

    def operands(lhs: jax.Array, rhs: jax.Array) -> Pair:
        g, x = plain.operands(lhs, rhs)
        return x, g

    def result(w: jax.Array) -> jax.Array:
        return plain.result(adjoint_kernel(w, spec.groups))

    return Reading("weight_grad", spec, operands, result, exchanged=True)


def _weight_axis(a: Axis) -> Axis:
    """The axis whose kernel is the result: p * stride + k * dilation - lo with both exchanged."""
    found = Axis(a.size, a.out, a.dilation, a.stride, a.lo, 0)
    return dataclasses.replace(found, hi=(a.kernel - 1) * a.dilation + found.span - a.lo - a.size)


def _exchanged_axis(a: Axis) -> Axis:
    """Where k * stride + p - lo = q * base, for the position p of rhs, taps counted from the other end."""
    lo = (a.out - 1) * a.stride - a.lo
    found = Axis(a.kernel, a.out, a.base, a.stride, lo, 0)
    return dataclasses.replace(found, hi=(a.size - 1) * a.base + found.span - lo - a.kernel)


def _permuted(array: jax.Array, order: tuple[int, ...]) -> jax.Array:
    return array if order == tuple(range(array.ndim)) else jnp.transpose(array, order)


def _batch_to_features(array: jax.Array, groups: int) -> jax.Array:
    """(G n, *s, c) -> (n, *s, G c)."""
    moved = jnp.moveaxis(array.reshape(groups, -1, *array.shape[1:]), 0, -2)
    return moved.reshape(*moved.shape[:-2], -1)
