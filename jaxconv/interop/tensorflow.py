"""Kernels of `tf.nn`'s convolutions, as arrays: the layouts are Keras's.

`tf.nn.convolution`, `tf.nn.conv2d_transpose`, `tf.nn.depthwise_conv2d` and `tf.nn.separable_conv2d` store
what the Keras layers store. A transposed convolution there names its `output_shape`; jaxconv takes the
spatial part of it with the same `padding`, "SAME" or "VALID".
"""

from .keras import bias as bias
from .keras import conv_kernel as conv_kernel
from .keras import conv_transpose_kernel as conv_transpose_kernel
from .keras import depthwise_kernel as depthwise_kernel
from .keras import separable_kernels as separable_kernels
from .keras import to_conv_kernel as to_conv_kernel
from .keras import to_conv_transpose_kernel as to_conv_transpose_kernel
from .keras import to_depthwise_kernel as to_depthwise_kernel
from .keras import to_separable_kernels as to_separable_kernels
