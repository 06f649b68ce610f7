"""Resizing one axis as a JAX primitive, whose transpose is itself with the weights transposed.

Every result is a sum over a few positions, and so is every element of the gradient: in both directions

    y[a, o, b] = sum over t of weight[o, t] * x[a, index[o, t], b]

On CPU that is what is computed, all taps in one loop: forward and gradient cost the same, where JAX would
make a scatter of the transpose of a gather. Elsewhere it is a product with the whole matrix, as in jax.image.
The error is that of a dot product of `taps` terms.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..geometry.resample import Resample
from ..lowerings import wider
from .primitives import lower_in
from .resample_weights import dense, taps


def resample(x: jax.Array, axis: int, by: Resample) -> jax.Array:
    """Resizes one axis of `x`."""
    return PRIMITIVE.bind(x, axis=axis, by=by, transposed=False)


def _abstract_eval(x: ShapedArray, *, axis: int, by: Resample, transposed: bool) -> ShapedArray:
    before, after = (by.out, by.size) if transposed else (by.size, by.out)
    if x.shape[axis] != before:
        raise ValueError(f"axis {axis} of shape {x.shape} has another size than {before}.")
    if not x.sharding.mesh.empty and x.sharding.spec[axis] is not None:
        raise ValueError(
            f"x is sharded as {x.sharding.spec}, and resize needs axis {axis} whole; reshard it, or use Auto "
            "axes."
        )
    return x.update(shape=(*x.shape[:axis], after, *x.shape[axis + 1 :]), weak_type=False)


# With few elements behind the axis, or more taps than should be compiled, and not too many positions for each
# tap, the product is faster.
_THIN, _MANY, _POSITIONS = 4, 64, 48


def _sums(x: jax.Array, *, axis: int, by: Resample, transposed: bool) -> jax.Array:
    """Taps one after the other, in one loop."""
    index, weight = taps(by, transposed)
    inner = math.prod(x.shape[axis + 1 :])
    width = index.shape[1]
    dense_enough = x.shape[axis] <= _POSITIONS * width
    if weight is None or (dense_enough and (inner <= _THIN or width > _MANY)):
        return _product(x, axis=axis, by=by, transposed=transposed)
    return summed(x, axis, index, weight)


def summed(x: jax.Array, axis: int, index: np.ndarray, weight: np.ndarray | None) -> jax.Array:
    """What `taps` says of an axis: sums over positions that all exist, or copies where there is no weight."""
    if weight is None:
        return _copies(x, axis, index[:, 0])
    shape, inner = (*x.shape[:axis], len(index), *x.shape[axis + 1 :]), math.prod(x.shape[axis + 1 :])
    # Everything behind the axis as one: the inner loop of what XLA makes of it is over that.
    x = x.reshape(*x.shape[: axis + 1], inner)

    def tap(t: int) -> jax.Array:
        return x.at[(slice(None),) * axis + (index[:, t],)].get(mode="promise_in_bounds")

    wide = wider(x.dtype, jnp.float32)
    weight = weight.astype(jnp.finfo(wide).dtype)
    weight = weight[(None,) * axis]  # of the rank of x: JAX can be told to refuse any other
    y = sum(tap(t).astype(wide) * weight[..., t, None] for t in range(index.shape[1]))
    return jnp.asarray(y).astype(x.dtype).reshape(shape)


def _product(x: jax.Array, *, axis: int, by: Resample, transposed: bool) -> jax.Array:
    """The product with the whole matrix, or copies."""
    index, weight = taps(by, transposed)
    if weight is None:
        return _copies(x, axis, index[:, 0])
    wide = wider(x.dtype, jnp.float32)
    matrix = dense(by, transposed).astype(jnp.finfo(wide).dtype)
    y = lax.dot_general(
        x.astype(wide), matrix.astype(wide), (((axis,), (1,)), ((), ())), precision=lax.Precision.HIGHEST
    )
    return jnp.moveaxis(y, -1, axis).astype(x.dtype)


def _copies(x: jax.Array, axis: int, index: np.ndarray) -> jax.Array:
    """x[index] along an axis: a strided slice or a repetition where it is one."""
    n, m = x.shape[axis], len(index)
    stride = int(index[1] - index[0]) if m > 1 else 1
    if stride and (np.diff(index) == stride).all():
        return lax.slice_in_dim(x, int(index[0]), int(index[-1]) + 1, stride, axis=axis)
    if m % n == 0 and (index == np.arange(m) // (m // n)).all():
        return jnp.repeat(x, m // n, axis=axis)
    return jnp.take(x, index, axis=axis, mode="clip")


def _lower(compute: Any, ctx: mlir.LoweringRuleContext, x: Any, **params: Any):
    return lower_in(ctx, functools.partial(compute, **params), x)


def _transpose(ct: jax.Array, x: Any, *, axis: int, by: Resample, transposed: bool) -> list[jax.Array]:
    del x
    return [PRIMITIVE.bind(ct, axis=axis, by=by, transposed=not transposed)]


def _batch(args: tuple[jax.Array], dims: tuple[int], *, axis: int, **params: Any):
    [x], [mapped] = args, dims
    return PRIMITIVE.bind(x, axis=axis + (axis >= mapped), **params), mapped


def _primitive() -> Primitive:
    primitive = Primitive("resample")
    compiled = jax.jit(primitive.bind, static_argnames=("axis", "by", "transposed"))

    def impl(x: jax.Array, **params: Any) -> jax.Array:
        with jax.disable_jit(False):
            return compiled(x, **params)

    primitive.def_impl(impl)
    primitive.def_abstract_eval(_abstract_eval)
    mlir.register_lowering(primitive, functools.partial(_lower, _product))
    mlir.register_lowering(primitive, functools.partial(_lower, _sums), platform="cpu")
    ad.deflinear2(primitive, _transpose)
    batching.primitive_batchers[primitive] = _batch
    return primitive


PRIMITIVE = _primitive()
