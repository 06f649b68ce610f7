"""What the NNX and the Linen layers compute: everything but the place where parameters live.

Both kinds of ConvTranspose have the same attributes, named as the constructor's words, so the layer itself is
the argument where more than a few are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..geometry.padding import normalize, normalize_transposed, pairs, per_axis
from ..ops.conv import conv_transpose
from ..ops.resize import resize
from ._checks import (
    CONV_PADDINGS,
    TRANSPOSE_PADDINGS,
    Ints,
    Padding,
    check_inputs,
    padding_name,
    positive,
    window,
)

# By a whole factor these two come to the same.
_REPEATED = (jax.image.ResizeMethod.NEAREST, jax.image.ResizeMethod.AREA)

Pairs = tuple[tuple[int, int], ...]


def conv_padding(
    padding: Padding,
    kernel_size: Ints,
    strides: Ints | None,
    input_dilation: Ints | None,
    kernel_dilation: Ints | None,
) -> str | Pairs:
    """The padding as Flax's Conv takes it, checked together with the other words for the window."""
    kernel = window(kernel_size)
    positive(strides, len(kernel), "strides")
    positive(input_dilation, len(kernel), "input_dilation")
    positive(kernel_dilation, len(kernel), "kernel_dilation")
    name = padding_name(padding, CONV_PADDINGS)
    if name is None:
        return pairs(padding, len(kernel))  # pyright: ignore[reportArgumentType]
    if name == "CAUSAL" and len(kernel) > 1:
        raise ValueError(f"padding='CAUSAL' is for one axis, not for kernel_size={kernel}; use CausalConv.")
    return _unstrided([name] * len(kernel), kernel, kernel_dilation) if name == "FULL" else name


def causal_padding(kernel_size: Ints, kernel_dilation: Ints | None) -> Pairs:
    """All of the first axis's padding in front of it, the others padded as SAME does without strides."""
    return _unstrided(_causal_names(kernel_size), kernel_size, kernel_dilation)


def causal_crop(kernel_size: Ints, strides: Ints | None, kernel_dilation: Ints | None) -> Pairs:
    """Crops the first axis at its end only, the others as SAME does: each grows by its stride."""
    kernel = window(kernel_size)
    steps = positive(strides, len(kernel), "strides")
    dilation = positive(kernel_dilation, len(kernel), "kernel_dilation")
    axes = (
        normalize_transposed(name, size=[1], kernel=[k], stride=[s], dilation=[d])[0]
        for name, k, s, d in zip(_causal_names(kernel), kernel, steps, dilation, strict=True)
    )
    return tuple((axis.lo, axis.hi) for axis in axes)


def apply_transpose(
    layer: Any,
    inputs: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    output_shape: Ints | None,
    padding: Any,
) -> jax.Array:
    """The transposed convolution of `(*batch, *spatial, in_features)`; the arrays are promoted already."""
    taps = window(layer.kernel_size)
    check_inputs(inputs, taps)
    lead = inputs.ndim - len(taps) - 1
    batch, spatial = inputs.shape[:lead], inputs.shape[lead:-1]
    strides = positive(layer.strides, len(taps), "strides")
    mode = "zeros"
    wanted = layer.output_shape if output_shape is None else output_shape
    if padding_name(padding, TRANSPOSE_PADDINGS) == "CIRCULAR":
        # The padding of Flax's circular Conv, whose adjoint this is.
        padding = _unstrided(["SAME"] * len(taps), taps, layer.kernel_dilation)
        mode = "circular"
        if wanted is None:
            wanted = tuple(n * s for n, s in zip(spatial, strides, strict=True))
    y = conv_transpose(
        inputs.reshape(math.prod(batch), *inputs.shape[lead:]),
        kernel,
        bias,
        stride=strides,
        padding=padding,
        output_padding=layer.output_padding,
        output_shape=None if wanted is None else per_axis(wanted, len(taps), "output_shape"),
        dilation=positive(layer.kernel_dilation, len(taps), "kernel_dilation"),
        groups=layer.feature_group_count,
        padding_mode=mode,
        precision=layer.precision,
        preferred_element_type=layer.preferred_element_type,
    )
    return y.reshape(*batch, *y.shape[1:])


def upsample(inputs: jax.Array, factor: tuple[int, ...], method: str | jax.image.ResizeMethod) -> jax.Array:
    """Enlarges the spatial axes of `(*batch, *spatial, features)` by `factor`, as jax.image.resize does."""
    kind = jax.image.ResizeMethod.from_string(method) if isinstance(method, str) else method
    if kind in _REPEATED:
        return resize(inputs, scale=factor, method="nearest")
    if not jnp.issubdtype(inputs.dtype, jnp.inexact):
        inputs = inputs.astype(jnp.result_type(inputs.dtype, float))
    # With antialias, as by default, JAX takes one cubic kernel for both of its names.
    name: Any = kind.name.lower().partition("_")[0]
    return resize(inputs, scale=factor, method=name, antialias=True)


def resized(layer: Any, inputs: jax.Array) -> jax.Array:
    """`(*batch, *spatial, features)` in the size that the layer's words say."""
    words = ("size", "scale", "method", "align_corners", "antialias", "cubic_a", "border")
    return resize(inputs, **{word: getattr(layer, word) for word in words})


def pooled(
    function: Callable[..., Any], layer: Any, *arrays: Any, words: Sequence[str] = (), **options: Any
) -> Any:
    """A pooling of `(*batch, *spatial, features)` with the layer's window and what else its `words` say."""
    options |= {word: getattr(layer, word) for word in words}
    axes = window(layer.window, "window")
    operands = [check_inputs(array, axes, name="window") for array in arrays]
    batch = operands[0].shape[: operands[0].ndim - len(axes) - 1]
    flat = (a.reshape(math.prod(batch), *a.shape[len(batch) :]) for a in operands)
    results = function(*flat, axes, stride=layer.strides, padding=layer.padding, **options)
    return jax.tree.map(lambda y: y.reshape(*batch, *y.shape[1:]), results)


def _causal_names(kernel_size: Ints) -> list[Any]:
    return ["CAUSAL"] + ["SAME"] * (len(window(kernel_size)) - 1)


def _unstrided(names: Sequence[Any], kernel_size: Ints, kernel_dilation: Ints | None) -> Pairs:
    """The numbers that a padding has where they do not depend on the size of the input."""
    kernel = window(kernel_size)
    dilation = positive(kernel_dilation, len(kernel), "kernel_dilation")
    axes = (
        normalize(name, size=[1], kernel=[k], stride=[1], dilation=[d])[0]
        for name, k, d in zip(names, kernel, dilation, strict=True)
    )
    return tuple((axis.lo, axis.hi) for axis in axes)
