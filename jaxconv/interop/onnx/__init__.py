"""Networks of ONNX, read and written, and the kernels of its convolutions as arrays.

`load` makes a pure function of a file, `save` a file of a function; both need the package `onnx`
(`jaxconv[onnx]`). The kernels' layouts are PyTorch's: `W` is (M, C/group, *window) for Conv and (C, M/group,
*window) for ConvTranspose, `B` is (M,). ONNX lists pads as all beginnings, then all ends: `padding =
tuple(zip(pads[:n], pads[n:]))` for n window axes, in both operators; SAME_UPPER is "SAME", SAME_LOWER is
"SAME_LOWER".

References:
  https://onnx.ai/onnx/operators/onnx__Conv.html, https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
"""

from ..torch import bias as bias
from ..torch import conv_kernel as conv_kernel
from ..torch import conv_transpose_kernel as conv_transpose_kernel
from ..torch import to_conv_kernel as to_conv_kernel
from ..torch import to_conv_transpose_kernel as to_conv_transpose_kernel
from .network import Input as Input
from .network import Network as Network
from .read import load as load
from .table import operators as operators
from .write import save as save
