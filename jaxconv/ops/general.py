"""lax's convolution function on our operators, for those who take one as a parameter (Flax's Conv does)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..planner import normalize_precision, readings
from .primitives import bind

Call = Callable[[jax.Array, jax.Array, Any], jax.Array]


def conv_general_dilated(
    lhs: Any,
    rhs: Any,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any = None,
    rhs_dilation: Any = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` with this library's gradients.

    A convolution becomes the forward operator. One with `lhs_dilation` and stride 1 is a transposed
    convolution and becomes the input-gradient operator; with both, the weight-gradient operator. What is none
    of them (both dilations and a stride) and a named output sharding go to lax unchanged.

    Args:
      lhs: data, in the order that `dimension_numbers` says.
      rhs: kernel, in the order that `dimension_numbers` says.
      window_strides: stride for each spatial dimension.
      padding: "SAME", "SAME_LOWER", "VALID", or a pair for each spatial dimension.
      lhs_dilation: dilation of the data for each spatial dimension.
      rhs_dilation: dilation of the kernel for each spatial dimension.
      dimension_numbers: as in lax; by default "NCHW", "OIHW", "NCHW".
      feature_group_count: groups of channels.
      batch_group_count: groups of the batch.
      precision: as in lax.
      preferred_element_type: dtype to accumulate in and return.
      out_sharding: sharding of the result under explicit mesh axes.

    Returns:
      What lax returns.

    Raises:
      ValueError: what lax raises for the same arguments, and its TypeErrors.

    Example:
      >>> x, kernel = jnp.arange(4.0).reshape(1, 1, 4), jnp.ones((1, 1, 2))
      >>> conv_general_dilated(x, kernel, (1,), "VALID").ravel().tolist()
      [1.0, 3.0, 5.0]
    """
    if out_sharding is None:
        lhs, rhs = (a if isinstance(a, jax.Array) else jnp.asarray(a) for a in (lhs, rhs))
        key = _exact(
            window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count, batch_group_count
        )
        if isinstance(dimension_numbers, list):
            dimension_numbers = tuple(dimension_numbers)
        dtype = preferred_element_type and jax.dtypes.canonicalize_dtype(preferred_element_type)
        shapes = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (lhs, rhs))
        if key and (call := _translate(*shapes, key, dimension_numbers, dtype)):
            return call(lhs, rhs, normalize_precision(precision))
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        out_sharding=out_sharding,
    )


@functools.lru_cache(maxsize=4096)
def _translate(
    lhs: Any,
    rhs: Any,
    key: tuple[Any, ...],
    dimension_numbers: Any,
    dtype: Any,
) -> Call | None:
    """The operator that the arguments mean, or None if they are for lax; eager calls ask every time."""
    window_strides, padding, lhs_dilation, rhs_dilation, feature_group_count, batch_group_count = key

    def theirs(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            a,
            b,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            batch_group_count=batch_group_count,
            preferred_element_type=dtype,
        )

    wanted = jax.eval_shape(theirs, lhs, rhs)  # lax checks the arguments; nothing is computed
    rank = len(lhs.shape) - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    dilation = rhs_dilation or (1,) * rank
    if isinstance(padding, str):
        sizes, taps = ([a.shape[i] for i in spec[2:]] for a, spec in ((lhs, numbers[0]), (rhs, numbers[1])))
        spans = [d * (k - 1) + 1 for k, d in zip(taps, dilation, strict=True)]
        padding = lax.padtype_to_pads(sizes, spans, window_strides, padding)
    found = readings(
        lhs.shape,
        rhs.shape,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation or (1,) * rank,
        rhs_dilation=dilation,
        dimension_numbers=numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
    )
    if not found:
        return None
    reading = found[0]

    def call(lhs: jax.Array, rhs: jax.Array, precision: Any) -> jax.Array:
        options = {"dtype": wanted.dtype, "precision": precision, "algorithm": None, "out_sharding": None}
        return reading.result(bind(reading.slot, *reading.operands(lhs, rhs), spec=reading.spec, **options))

    return call


def _exact(*values: Any) -> tuple[Any, ...] | None:
    """The arguments with integers only, hashable; None if there are others, which lax is left to refuse."""
    try:
        return tuple(map(_integers, values))
    except TypeError:
        return None


def _integers(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(_integers, value))
    return value if value is None or isinstance(value, str) else operator.index(value)
