"""Convolution, transposed convolution, and the two gradients as functions of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.typing import ArrayLike

from ..geometry import Axis, ConvSpec, Slot, normalize, normalize_transposed
from ..planner import normalize_precision
from ..typing import Algorithm, Layout, Padding, PaddingMode
from . import arguments, border
from .primitives import bind


def conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "channels_last",
    algorithm: Algorithm | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Convolution (cross-correlation: the kernel is not flipped), in any number of spatial dimensions.

        y[n, o, c] = bias[c] + sum over k, i of x[n, o * stride + k * dilation - lo, i] * kernel[k, i, c]

    Args:
      x: input, `(N, *spatial, in)`, or `(*spatial, in)` without a batch.
      kernel: `(*k, in/groups, out)`; its rank decides the number of spatial dimensions.
      bias: `(out,)`, added to each output channel.
      stride: input positions between neighbouring outputs, one for all or one for each axis.
      padding: border around the input: an int, one int for each axis, one `(lo, hi)` for each axis (negative
        crops), or "VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL".
      dilation: input positions between neighbouring taps, one for all or one for each axis.
      groups: the channels are cut into this many groups that do not see each other.
      padding_mode: what the border holds: "zeros", "reflect", "replicate" or "circular".
      layout: order of x and y, "channels_last" or "channels_first"; kernels have one order always.
      algorithm: force one by name; None lets the planner choose for each slot and platform.
      precision: as in lax: None, "default", "high", "highest", or a pair.
      preferred_element_type: dtype to accumulate in and return; by default that of the operands. Gradients
        keep the dtype of the operand they belong to.

    Returns:
      `(N, *out, out_channels)` in the layout of x, with out = (size + lo + hi - span) // stride + 1 and
      span = dilation * (k - 1) + 1; of size zero where the kernel does not fit.

    Raises:
      ValueError: if shapes, groups, dtypes or names do not fit; the message says what would.

    References:
      Dumoulin, Visin: A guide to convolution arithmetic for deep learning. arXiv:1603.07285.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.arange(5.0).reshape(1, 5, 1)
      >>> kernel = jnp.array([1.0, 0.0, -1.0]).reshape(3, 1, 1)
      >>> conv(x, kernel, padding="SAME")[0, :, 0].tolist()
      [-1.0, -2.0, -2.0, -2.0, 3.0]
    """
    x, kernel = arguments.array(x, "x"), arguments.array(kernel, "kernel")
    arguments.check_same_dtype(x, kernel, ("x", "kernel"))
    form = arguments.form(x.shape, arguments.spatial_rank(kernel.shape), layout, "x")
    x = form.enter(x)
    border.check_mode(padding_mode)
    spec = _conv_spec(x.shape, kernel.shape, stride, padding, dilation, groups)
    x, spec = border.absorb(x, spec, padding_mode)
    dtype = arguments.result_dtype(x.dtype, preferred_element_type)
    y = _bind("forward", spec, x, kernel, algorithm, precision, dtype)
    return form.leave(arguments.add_bias(y, bias))


def conv_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    output_padding: int | Sequence[int] = 0,
    output_shape: int | Sequence[int] | None = None,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "channels_last",
    algorithm: Algorithm | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Transposed convolution: the adjoint of the convolution with the same kernel and geometry.

        y[n, i * stride + k * dilation - lo, c] += x[n, i, o] * kernel[k, c, o]

    Args:
      x: input, `(N, *spatial, in)`, or `(*spatial, in)` without a batch.
      kernel: `(*k, out/groups, in)`, the kernel of the convolution that this is the adjoint of.
      bias: `(out,)`, added to each output channel.
      stride: output positions between neighbouring inputs, one for all or one for each axis.
      padding: padding of the convolution that is transposed, so it crops the output; or "SAME" (out = in *
        stride), "SAME_LOWER", "VALID", "FULL", "CAUSAL" (out = in * stride, and output t sees inputs up to t
        / stride).
      output_padding: positions added behind the output, below max(stride, dilation); they tell apart the
        sizes that a strided convolution maps to the same one.
      output_shape: spatial size of the output; padding or output_padding follow from it.
      dilation: output positions between neighbouring taps, one for all or one for each axis.
      groups: the channels are cut into this many groups that do not see each other.
      padding_mode: "zeros", or "circular": what would be cropped is added on the other side.
      layout: order of x and y, "channels_last" or "channels_first"; kernels have one order always.
      algorithm: force one by name; None lets the planner choose for each slot and platform.
      precision: as in lax: None, "default", "high", "highest", or a pair.
      preferred_element_type: dtype to accumulate in and return; by default that of the operands.

    Returns:
      `(N, *out, out_channels)` in the layout of x, with
      out = (in - 1) * stride - lo - hi + dilation * (k - 1) + 1 + output_padding; with "VALID" at least
      in * stride, as in TensorFlow.

    Raises:
      ValueError: if shapes, groups, dtypes or names do not fit, or `output_shape` is not possible; the
        message lists the sizes that are.

    References:
      Dumoulin, Visin: A guide to convolution arithmetic for deep learning. arXiv:1603.07285.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
      >>> kernel = jnp.array([1.0, 1.0, 0.5]).reshape(3, 1, 1)
      >>> conv_transpose(x, kernel, stride=2)[0, :, 0].tolist()
      [1.0, 1.0, 2.5, 2.0, 4.0, 3.0, 1.5]
    """
    x, kernel = arguments.array(x, "x"), arguments.array(kernel, "kernel")
    arguments.check_same_dtype(x, kernel, ("x", "kernel"))
    rank = arguments.spatial_rank(kernel.shape)
    form = arguments.form(x.shape, rank, layout, "x")
    x = form.enter(x)
    border.check_mode(padding_mode, ("zeros", "circular"))
    groups = arguments.check_channels(kernel.shape, x.shape[-1], groups, transposed=True)
    axes = normalize_transposed(
        padding,
        size=x.shape[1:-1],
        kernel=kernel.shape[:-2],
        stride=stride,
        dilation=dilation,
        output_padding=output_padding,
        output_shape=output_shape,
    )
    spec = ConvSpec(x.shape[0], kernel.shape[-2] * groups, x.shape[-1], groups, axes)
    dtype = arguments.result_dtype(x.dtype, preferred_element_type)
    y = _input_grad(spec, x, kernel, padding_mode, algorithm, precision, dtype)
    return form.leave(arguments.add_bias(y, bias))


def conv_input_grad(
    g: ArrayLike,
    kernel: ArrayLike,
    input_shape: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "channels_last",
    algorithm: Algorithm | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Gradient of `conv` with respect to its input.

    Args:
      g: cotangent of the convolution's output, `(N, *out, out_channels)`, or without N.
      kernel: the convolution's kernel, `(*k, in/groups, out)`.
      input_shape: shape of the convolution's input, in the layout of g.
      stride: of the convolution.
      padding: of the convolution.
      dilation: of the convolution.
      groups: of the convolution.
      padding_mode: of the convolution.
      layout: order of g and the result, "channels_last" or "channels_first".
      algorithm: force one by name; None lets the planner choose.
      precision: as in lax.
      preferred_element_type: dtype to accumulate in and return.

    Returns:
      An array of shape `input_shape`.

    Raises:
      ValueError: if g is not what a convolution of `input_shape` with this kernel returns.

    Example:
      >>> import jax.numpy as jnp
      >>> g = jnp.ones((1, 3, 1))
      >>> conv_input_grad(g, jnp.array([1.0, 2.0]).reshape(2, 1, 1), (1, 4, 1))[0, :, 0].tolist()
      [1.0, 3.0, 3.0, 2.0]
    """
    g, kernel = arguments.array(g, "g"), arguments.array(kernel, "kernel")
    arguments.check_same_dtype(g, kernel, ("g", "kernel"))
    form = arguments.form(g.shape, arguments.spatial_rank(kernel.shape), layout, "g")
    input_shape = arguments.shape(input_shape, g.ndim, "input_shape", "the full shape of the input")
    border.check_mode(padding_mode)
    spec = _conv_spec(form.enter_shape(input_shape), kernel.shape, stride, padding, dilation, groups)
    g = form.enter(g)
    arguments.check_shape(g, spec.output_shape, "g", f"a convolution of input_shape {input_shape}")
    dtype = arguments.result_dtype(g.dtype, preferred_element_type)
    return form.leave(_input_grad(spec, g, kernel, padding_mode, algorithm, precision, dtype))


def conv_weight_grad(
    x: ArrayLike,
    g: ArrayLike,
    kernel_shape: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "channels_last",
    algorithm: Algorithm | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Gradient of `conv` with respect to its kernel.

    Args:
      x: the convolution's input, `(N, *spatial, in)`, or without N.
      g: cotangent of the convolution's output, `(N, *out, out_channels)`, or without N.
      kernel_shape: `(*k, in/groups, out)`.
      stride: of the convolution.
      padding: of the convolution.
      dilation: of the convolution.
      groups: of the convolution.
      padding_mode: of the convolution.
      layout: order of x and g, "channels_last" or "channels_first".
      algorithm: force one by name; None lets the planner choose.
      precision: as in lax.
      preferred_element_type: dtype to accumulate in and return.

    Returns:
      An array of shape `kernel_shape`.

    Raises:
      ValueError: if g is not what a convolution of x with a kernel of this shape returns.

    Example:
      >>> import jax.numpy as jnp
      >>> x, g = jnp.arange(4.0).reshape(1, 4, 1), jnp.ones((1, 3, 1))
      >>> conv_weight_grad(x, g, (2, 1, 1)).ravel().tolist()
      [3.0, 6.0]
    """
    x, g = arguments.array(x, "x"), arguments.array(g, "g")
    arguments.check_same_dtype(x, g, ("x", "g"))
    kernel_shape = arguments.shape(kernel_shape, None, "kernel_shape", "(*k, in/groups, out)")
    form = arguments.form(x.shape, arguments.spatial_rank(kernel_shape), layout, "x")
    x = form.enter(x)
    border.check_mode(padding_mode)
    spec = _conv_spec(x.shape, kernel_shape, stride, padding, dilation, groups)
    if g.ndim != spec.rank + 1 + form.batched:
        with_n = "with" if form.batched else "without"
        raise ValueError(f"g has shape {g.shape}; x is {with_n} N, so g must be {with_n} N too.")
    g = form.enter(g)
    arguments.check_shape(g, spec.output_shape, "g", f"a convolution with kernel_shape {kernel_shape}")
    x, spec = border.absorb(x, spec, padding_mode)
    dtype = arguments.result_dtype(x.dtype, preferred_element_type)
    return _bind("weight_grad", spec, x, g, algorithm, precision, dtype)


def _conv_spec(
    input_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> ConvSpec:
    groups = arguments.check_channels(kernel_shape, input_shape[-1], groups, transposed=False)
    axes = normalize(
        padding,
        size=input_shape[1:-1],
        kernel=kernel_shape[:-2],
        stride=stride,
        dilation=dilation,
    )
    return ConvSpec(input_shape[0], input_shape[-1], kernel_shape[-1], groups, axes)


def _bind(
    slot: Slot, spec: ConvSpec, a: jax.Array, b: jax.Array, algorithm: str | None, precision: Any, dtype: Any
) -> jax.Array:
    precision = normalize_precision(precision)
    arguments.check_algorithm(algorithm, slot, spec, dtype, precision)
    return bind(
        slot, a, b, spec=spec, dtype=dtype, precision=precision, algorithm=algorithm, out_sharding=None
    )


def _input_grad(
    spec: ConvSpec,
    g: jax.Array,
    kernel: jax.Array,
    padding_mode: str,
    algorithm: str | None,
    precision: Any,
    dtype: Any,
) -> jax.Array:
    if padding_mode == "zeros":
        return _bind("input_grad", spec, g, kernel, algorithm, precision, dtype)
    # A tight axis may end before its input does; a border that nothing reaches adds nothing.
    axes = tuple(dataclasses.replace(a, hi=max(a.hi, 0)) for a in spec.axes)
    wide = dataclasses.replace(
        spec, axes=tuple(_same_out(e, a.out) for e, a in zip(border.extended(axes), spec.axes, strict=True))
    )
    return border.unextend(
        _bind("input_grad", wide, g, kernel, algorithm, precision, dtype), axes, padding_mode
    )


def _same_out(axis: Axis, out: int) -> Axis:
    """The axis with its end cropped so that it has `out` outputs."""
    return dataclasses.replace(axis, hi=min(0, (out - 1) * axis.stride + axis.span - axis.size))
