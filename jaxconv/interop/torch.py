"""Kernels and biases of PyTorch's convolutions (`torch.nn.ConvNd`, `torch.nn.ConvTransposeNd`), as arrays.

PyTorch stores a convolution's weight as (out, in/groups, *window) and a transposed one's as (in, out/groups,
*window). Both become jaxconv's by the same permutation, and biases stay what they are. Strides, paddings
(integers, 'same' and 'valid'), output paddings, dilations and groups mean the same in both libraries; data is
`layout="channels_first"`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._layout import Array, convert, convert_bias


def conv_kernel(weight: Array, *, shape: Sequence[int] | None = None) -> Array:
    """A `torch.nn.ConvNd.weight` for `jaxconv.conv`: (out, in/groups, *window) -> (*window, in/groups, out).

    Args:
      weight: the weight as a NumPy or JAX array, such as `layer.weight.detach().cpu().numpy()`; groups and
        depthwise included.
      shape: the shape that the result must have, such as `layer.kernel.shape`; None, the default, accepts
        any.

    Returns:
      The kernel, an array of the same kind and type; for NumPy a view of `weight`.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> weight = np.arange(24).reshape(4, 3, 2)  # out, in, window
      >>> kernel = conv_kernel(weight)
      >>> kernel.shape, int(kernel[1, 2, 3]), int(weight[3, 2, 1])
      ((2, 3, 4), 23, 23)
    """
    return convert(weight, "conv", source="torch/onnx", shape=shape)


def to_conv_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The inverse of `conv_kernel`: (*window, in/groups, out) -> (out, in/groups, *window).

    Args:
      kernel: the kernel of a `jaxconv.conv`, a NumPy or JAX array.
      shape: the shape that the result must have, such as `tuple(layer.weight.shape)`; None accepts any.

    Returns:
      The weight, an array of the same kind and type; for NumPy a view of `kernel`.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> to_conv_kernel(np.zeros((5, 2, 3, 4))).shape
      (4, 3, 5, 2)
    """
    return convert(kernel, "conv", target="torch/onnx", shape=shape)


def conv_transpose_kernel(weight: Array, *, shape: Sequence[int] | None = None) -> Array:
    """A `torch.nn.ConvTransposeNd.weight` for `jaxconv.conv_transpose`.

    (in, out/groups, *window) -> (*window, out/groups, in); the window is not reversed.

    Args:
      weight: the weight as a NumPy or JAX array; groups included.
      shape: the shape that the result must have; None accepts any.

    Returns:
      The kernel, an array of the same kind and type; for NumPy a view of `weight`.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> weight = np.arange(24).reshape(4, 3, 2)  # in, out, window
      >>> conv_transpose_kernel(weight)[0, 1].tolist() == weight[:, 1, 0].tolist() == [2, 8, 14, 20]
      True
    """
    return convert(weight, "conv_transpose", source="torch/onnx", shape=shape)


def to_conv_transpose_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The inverse of `conv_transpose_kernel`: (*window, out/groups, in) -> (in, out/groups, *window).

    Args:
      kernel: the kernel of a `jaxconv.conv_transpose`, a NumPy or JAX array.
      shape: the shape that the result must have; None accepts any.

    Returns:
      The weight, an array of the same kind and type; for NumPy a view of `kernel`.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> to_conv_transpose_kernel(np.zeros((5, 2, 3, 4))).shape
      (4, 3, 5, 2)
    """
    return convert(kernel, "conv_transpose", target="torch/onnx", shape=shape)


def bias(array: Array, *, shape: Sequence[int] | None = None) -> Array:
    """A `bias` of any of PyTorch's convolutions for jaxconv, and back: the same numbers, checked.

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
    return convert_bias(array, source="torch/onnx", shape=shape)
