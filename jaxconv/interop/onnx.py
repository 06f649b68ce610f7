"""Kernels and biases of ONNX's Conv and ConvTranspose, as arrays: the layouts are PyTorch's.

`W` is (M, C/group, *window) for Conv and (C, M/group, *window) for ConvTranspose, `B` is (M,). ONNX lists
pads as all beginnings, then all ends: `padding = tuple(zip(pads[:n], pads[n:]))` for n window axes, in both
operators; SAME_UPPER is "SAME", SAME_LOWER is "SAME_LOWER".

References:
  https://onnx.ai/onnx/operators/onnx__Conv.html, https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
"""

from .torch import bias as bias
from .torch import conv_kernel as conv_kernel
from .torch import conv_transpose_kernel as conv_transpose_kernel
from .torch import to_conv_kernel as to_conv_kernel
from .torch import to_conv_transpose_kernel as to_conv_transpose_kernel
