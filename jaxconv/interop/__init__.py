"""Weights of other libraries as jaxconv's, and back; importing this imports none of them but Flax.

`torch`, `keras`, `flax`, `equinox` and `haiku` have `load`, which finds the places of a whole network's
weights in a model: see docs/porting.md. `onnx` reads and writes whole networks. Of single layers, as arrays,
every module but `equinox` and `haiku` has `conv_kernel` and `conv_transpose_kernel` (theirs -> jaxconv's),
the inverses `to_...`, and `bias`; `keras` and `tensorflow` have the depthwise and separable kernels too,
`keras` and `flax` what their paddings of a transposed convolution mean here. The table is in
docs/conventions.md.
"""

from . import equinox as equinox
from . import flax as flax
from . import haiku as haiku
from . import keras as keras
from . import onnx as onnx
from . import tensorflow as tensorflow
from . import torch as torch
