"""Differentiable convolutions for JAX, right in every convention and fast in every gradient."""

from . import interop as interop
from . import linen as linen
from . import nn as nn
from . import restore as restore
from . import testing as testing
from .dropin import accelerate as accelerate
from .dropin import install as install
from .dropin import installed as installed
from .dropin import uninstall as uninstall
from .geometry import Axis as Axis
from .geometry import ConvSpec as ConvSpec
from .ops.conv import conv as conv
from .ops.conv import conv_input_grad as conv_input_grad
from .ops.conv import conv_transpose as conv_transpose
from .ops.conv import conv_weight_grad as conv_weight_grad
from .ops.correlate import convolve as convolve
from .ops.correlate import correlate as correlate
from .ops.general import conv_general_dilated as conv_general_dilated
from .ops.matrix import conv_matrix as conv_matrix
from .ops.shuffle import pixel_shuffle as pixel_shuffle
from .ops.shuffle import pixel_unshuffle as pixel_unshuffle
from .ops.unfold import fold as fold
from .ops.unfold import unfold as unfold
from .planner import Table as Table
from .planner import plan as plan
from .planner import tune as tune

__version__ = "0.1.0"
