"""Kernels, biases and paddings of Keras's convolutions, as arrays.

Convolutions store (*window, in/groups, out) and transposed ones (*window, out, in), which is what jaxconv
stores. DepthwiseConv stores (*window, in, multiplier); jaxconv's is a convolution with groups = in, whose
output channel i·multiplier + m belongs to input channel i. SeparableConv is that followed by a 1x1
convolution.

"same" and "valid" of a convolution are jaxconv's "SAME" and "VALID" for every stride and dilation. A
transposed convolution's padding goes through `conv_transpose_padding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..geometry.axis import Axis
from ..geometry.padding import is_int, per_axis
from ._keras_files import layers_of_source
from ._layers import KERAS
from ._layout import Array, convert, convert_bias, fold
from ._load import Report, load_layers
from ._match import Rename
from ._padding import Ints, Pairs, crop, window_axes


def conv_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The kernel of a Keras ConvND for `jaxconv.conv`: (*window, in/groups, out), the same array.

    Args:
      kernel: the layer's `kernel` as a NumPy or JAX array, such as `layer.get_weights()[0]`.
      shape: the shape that the result must have, such as `other_layer.kernel.shape`; None, the default,
        accepts any.

    Returns:
      The kernel.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> conv_kernel(np.array([[[1.0, 2.0]]])).tolist()
      [[[1.0, 2.0]]]
    """
    return convert(kernel, "conv", source=KERAS, shape=shape)


def to_conv_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The inverse of `conv_kernel`; arguments and errors are the same.

    Example:
      >>> import numpy as np
      >>> to_conv_kernel(np.zeros((3, 5, 2, 4)), shape=(3, 5, 2, 4)).shape
      (3, 5, 2, 4)
    """
    return convert(kernel, "conv", target=KERAS, shape=shape)


def conv_transpose_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The kernel of a Keras ConvNDTranspose for `jaxconv.conv_transpose`: (*window, out, in), the same array.

    Arguments and errors are those of `conv_kernel`.

    Example:
      >>> import numpy as np
      >>> conv_transpose_kernel(np.zeros((3, 5, 2, 4)), shape=(3, 5, 2, 4)).shape
      (3, 5, 2, 4)
    """
    return convert(kernel, "conv_transpose", source=KERAS, shape=shape)


def to_conv_transpose_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The inverse of `conv_transpose_kernel`; arguments and errors are the same.

    Example:
      >>> import numpy as np
      >>> to_conv_transpose_kernel(np.zeros((3, 5, 2, 4))).shape
      (3, 5, 2, 4)
    """
    return convert(kernel, "conv_transpose", target=KERAS, shape=shape)


def depthwise_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The kernel of a Keras DepthwiseConvND for `jaxconv.conv` with groups = in.

    (*window, in, multiplier) -> (*window, 1, in·multiplier), input channel major.

    Args:
      kernel: the layer's `kernel` (older versions call it `depthwise_kernel`), a NumPy or JAX array.
      shape: the shape that the result must have; None accepts any.

    Returns:
      The kernel, an array of the same kind and type.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> kernel = np.array([[[1, 2], [3, 4], [5, 6]]])  # window 1, in 3, multiplier 2
      >>> depthwise_kernel(kernel).tolist()
      [[[1, 2, 3, 4, 5, 6]]]
    """
    return convert(fold(convert(kernel, "depthwise", source=KERAS)), "conv", shape=shape)


def to_depthwise_kernel(
    kernel: Array, *, depth_multiplier: int = 1, shape: Sequence[int] | None = None
) -> Array:
    """The inverse of `depthwise_kernel`: (*window, 1, in·multiplier) -> (*window, in, multiplier).

    Args:
      kernel: the kernel of a `jaxconv.conv` with as many groups as input channels.
      depth_multiplier: output channels for each input channel; 1 is Keras's default.
      shape: the shape that the result must have; None accepts any.

    Returns:
      The kernel, an array of the same kind and type.

    Raises:
      ValueError: for something that is no array, a kernel that is not depthwise, a multiplier that does not
        divide its output channels, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> to_depthwise_kernel(np.array([[[1, 2, 3, 4, 5, 6]]]), depth_multiplier=2).tolist()
      [[[1, 2], [3, 4], [5, 6]]]
    """
    kernel = convert(kernel, "conv")
    *window, channels, out = kernel.shape
    if channels != 1:
        raise ValueError(
            f"kernel of shape {kernel.shape} takes {channels} input channels per group; a depthwise one is "
            "(*window, 1, in*depth_multiplier)."
        )
    if not is_int(depth_multiplier) or depth_multiplier < 1 or out % depth_multiplier:
        raise ValueError(
            f"depth_multiplier={depth_multiplier!r} must divide the kernel's {out} output channels as an int."
        )
    kernel = kernel.reshape(*window, out // depth_multiplier, depth_multiplier)
    return convert(kernel, "depthwise", target=KERAS, shape=shape)


def separable_kernels(depthwise: Array, pointwise: Array) -> tuple[Array, Array]:
    """The two kernels of a Keras SeparableConvND, for two `jaxconv.conv` in a row.

    Stride, padding and dilation belong to the first, with groups = in; the second is a 1x1 convolution and
    takes the bias.

    Args:
      depthwise: (*window, in, multiplier), a NumPy or JAX array.
      pointwise: (*ones, in·multiplier, out), an array of the same kind.

    Returns:
      (*window, 1, in·multiplier) and (*ones, in·multiplier, out).

    Raises:
      ValueError: for something that is no array, or two kernels that do not follow each other.

    Example:
      >>> import numpy as np
      >>> first, second = separable_kernels(np.zeros((3, 5, 2, 4)), np.zeros((1, 1, 8, 7)))
      >>> first.shape, second.shape
      ((3, 5, 1, 8), (1, 1, 8, 7))
    """
    return _chained(depthwise_kernel(depthwise), conv_kernel(pointwise), depthwise.shape)


def to_separable_kernels(
    depthwise: Array, pointwise: Array, *, depth_multiplier: int = 1
) -> tuple[Array, Array]:
    """The inverse of `separable_kernels`.

    Args:
      depthwise: (*window, 1, in·depth_multiplier), a NumPy or JAX array.
      pointwise: (*ones, in·depth_multiplier, out), an array of the same kind.
      depth_multiplier: output channels of the first for each input channel; 1 is Keras's default.

    Returns:
      (*window, in, depth_multiplier) and (*ones, in·depth_multiplier, out).

    Raises:
      ValueError: as `to_depthwise_kernel`, or for two kernels that do not follow each other.

    Example:
      >>> import numpy as np
      >>> first, second = to_separable_kernels(np.zeros((3, 1, 8)), np.zeros((1, 8, 7)), depth_multiplier=4)
      >>> first.shape, second.shape
      ((3, 2, 4), (1, 8, 7))
    """
    depthwise, pointwise = _chained(convert(depthwise, "conv"), convert(pointwise, "conv"), depthwise.shape)
    return to_depthwise_kernel(depthwise, depth_multiplier=depth_multiplier), to_conv_kernel(pointwise)


def _chained(depthwise: Array, pointwise: Array, given: tuple[int, ...]) -> tuple[Array, Array]:
    wanted = (*(1,) * (depthwise.ndim - 2), depthwise.shape[-1])
    if pointwise.shape[:-1] != wanted:
        raise ValueError(
            f"pointwise kernel of shape {pointwise.shape} does not follow a depthwise one of shape {given}; "
            f"wanted ({', '.join(map(str, wanted))}, out)."
        )
    return depthwise, pointwise


def bias(array: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The `bias` of any Keras convolution for jaxconv, and back: the same numbers, checked.

    Args:
      array: one number per output channel, a NumPy or JAX array.
      shape: the shape that it must have; None accepts any length.

    Returns:
      `array` itself.

    Raises:
      ValueError: for something that is no array, a rank other than 1, or another shape.

    Example:
      >>> import numpy as np
      >>> bias(np.array([0.5, -1.5]), shape=(2,)).tolist()
      [0.5, -1.5]
    """
    return convert_bias(array, source=KERAS, shape=shape)


def conv_transpose_padding(
    padding: str,
    kernel_size: Ints,
    *,
    strides: Ints = 1,
    output_padding: Ints | None = None,
    dilation_rate: Ints = 1,
) -> Pairs:
    """The padding of a Keras ConvNDTranspose as `padding` of `jaxconv.conv_transpose`.

    jaxconv crops the full result. With span = dilation·(kernel - 1) + 1 Keras's result has these sizes, and
    "same" crops half at each end, the odd position at the end; what is negative is added there as zeros, so
    jaxconv needs no output_padding:

        "same"   in·stride                                       (in - 1)·stride + span % 2 + output_padding
        "valid"  in·stride + max(span - stride, 0)               (in - 1)·stride + span + output_padding

    Args:
      padding: "same" or "valid", in either case.
      kernel_size: the window.
      strides: of the layer.
      output_padding: None, Keras's default, gives the sizes on the left.
      dilation_rate: of the layer.

    Returns:
      One (lo, hi) for each window axis.

    Raises:
      ValueError: for another padding, or options of another length than the window.

    Example:
      >>> conv_transpose_padding("same", (3, 2, 5), strides=(2, 3, 2))
      ((0, 1), (0, -1), (1, 2))
      >>> conv_transpose_padding("valid", (3, 2), strides=(2, 3))
      ((0, 0), (0, -1))
    """
    if not isinstance(padding, str) or padding.lower() not in ("same", "valid"):
        raise ValueError(f"padding={padding!r} is not one of Keras's: use 'same' or 'valid'.")
    axes = window_axes(kernel_size, strides=strides, dilation=dilation_rate, dilation_name="dilation_rate")
    extras = (
        [None] * len(axes)
        if output_padding is None
        else per_axis(output_padding, len(axes), "output_padding")
    )
    same = padding.lower() == "same"
    return tuple(crop(_cropped(axis, same, extra)) for axis, extra in zip(axes, extras, strict=True))


def _cropped(axis: Axis, same: bool, extra: int | None) -> int:
    """How much shorter than the full result, (in - 1)·stride + span, Keras's is."""
    if extra is not None:
        return (axis.span - axis.span % 2 if same else 0) - extra
    return axis.span - axis.stride if same else min(axis.span - axis.stride, 0)


def load(
    model: Any,
    source: str | Path | Mapping[str, Any] | Any,
    *,
    rename: Rename | None = None,
    strict: bool = True,
    dtype: Any = None,
) -> Report:
    """Loads the weights of a Keras or TensorFlow network into a model with the same layers.

    Layers are matched as in `jaxconv.interop.torch.load`, and so are `rename`, `strict` and `dtype`.
    Nothing in a file is run or unpacked to the disk. A SeparableConv's two kernels are the layers
    `.../depthwise` and `.../pointwise`. A normalisation whose epsilon differs, as the defaults of Keras and
    Flax do, is told in the report.

    Args:
      model: an NNX module, which is changed in place, or the variables of a Linen one, which are not.
      source: a .keras or .h5 file (h5py is needed; of `.weights.h5`, which has no configuration, layers are
        known by shape and automatic name), a Keras model, or arrays by name, {variable.path: array}.
      rename: names of layers in the source -> names in the model, None for a layer that is not wanted.
      strict: whether every array on both sides must find its place.
      dtype: of the arrays; None keeps the source's, "model" is that of the model's own parameters.

    Returns:
      A report, which prints as a table; its `model` has the weights.

    Raises:
      ValueError: for layers that do not match, or a file that is missing, damaged, or much larger unpacked.

    Example:
      >>> import numpy as np
      >>> from flax import nnx
      >>> from jaxconv import nn
      >>> model = nnx.Sequential(nn.DepthwiseConv(3, (5, 2), use_bias=False, rngs=nnx.Rngs(0)))
      >>> print(load(model, {"depthwise_conv2d/kernel": np.zeros((5, 2, 3, 1), np.float32)}))
      source                   shape         model            shape         done
      depthwise_conv2d/kernel  (5, 2, 3, 1)  layers.0.kernel  (5, 2, 1, 3)  folded, the only one that fits
    """
    layers, ordered = layers_of_source(source)
    return load_layers(model, layers, rename=rename, strict=strict, dtype=dtype, ordered=ordered)
