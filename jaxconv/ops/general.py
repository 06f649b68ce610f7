"""lax's convolution function on our operators, for those who take one as a parameter (Flax's Conv does)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import Axis, ConvSpec
from ..lowerings.kernels import adjoint_kernel
from .arguments import check_precision
from .primitives import bind


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
    convolution and becomes the input-gradient operator. Everything else (both at once, batch groups, a named
    output sharding) goes to lax unchanged.

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
    options = {
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count,
        "batch_group_count": batch_group_count,
        "precision": precision,
        "preferred_element_type": preferred_element_type,
        "out_sharding": out_sharding,
    }
    # lax checks the arguments and says what the result is; nothing is computed.
    wanted = jax.eval_shape(
        lambda a, b: lax.conv_general_dilated(a, b, window_strides, padding, **options), lhs, rhs
    )
    rank = len(wanted.shape) - 2
    base = tuple(lhs_dilation or (1,) * rank)
    transposed = any(b > 1 for b in base)
    axes_mixed = transposed and any(s > 1 for s in window_strides)
    if rank == 0 or axes_mixed or batch_group_count > 1 or out_sharding is not None or 0 in wanted.shape:
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)

    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
    lhs_spec, rhs_spec, out_spec = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    x = jnp.transpose(lhs, (lhs_spec[0], *lhs_spec[2:], lhs_spec[1]))
    kernel = jnp.transpose(rhs, (*rhs_spec[2:], rhs_spec[1], rhs_spec[0]))
    dilation = tuple(rhs_dilation or (1,) * rank)
    sizes, taps = x.shape[1:-1], kernel.shape[:-2]
    if isinstance(padding, str):
        spans = [d * (k - 1) + 1 for k, d in zip(taps, dilation, strict=True)]
        padding = lax.padtype_to_pads(sizes, spans, window_strides, padding)
    axes = tuple(
        Axis(n, k, s, d, *pads, base=b)
        for n, k, s, d, pads, b in zip(sizes, taps, window_strides, dilation, padding, base, strict=True)
    )
    params = {
        "dtype": wanted.dtype,
        "precision": check_precision(precision),
        "algorithm": None,
        "out_sharding": None,
    }
    groups = feature_group_count
    if transposed:
        adjoint = tuple(a.adjoint() for a in axes)
        spec = ConvSpec(x.shape[0], kernel.shape[-1], x.shape[-1], groups, adjoint)
        y = bind("input_grad", x, adjoint_kernel(kernel, groups), spec=spec, **params)
    else:
        spec = ConvSpec(x.shape[0], x.shape[-1], kernel.shape[-1], groups, axes)
        y = bind("forward", x, kernel, spec=spec, **params)
    order = (out_spec[0], *out_spec[2:], out_spec[1])
    return jnp.transpose(y, [order.index(i) for i in range(rank + 2)])
