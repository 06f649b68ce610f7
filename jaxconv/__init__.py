"""Differentiable convolutions for JAX, right in every convention and fast in every gradient."""

from . import explain as explain
from . import filters as filters
from . import graph as graph
from . import interop as interop
from . import linen as linen
from . import nn as nn
from . import partition as partition
from . import prune as prune
from . import restore as restore
from . import testing as testing
from .dropin import accelerate as accelerate
from .dropin import install as install
from .dropin import installed as installed
from .dropin import uninstall as uninstall
from .geometry import Axis as Axis
from .geometry import ConvSpec as ConvSpec
from .graph import effective_receptive_field as effective_receptive_field
from .graph import receptive_field as receptive_field
from .graph import summary as summary
from .ops.conv import conv as conv
from .ops.conv import conv_input_grad as conv_input_grad
from .ops.conv import conv_transpose as conv_transpose
from .ops.conv import conv_weight_grad as conv_weight_grad
from .ops.correlate import convolve as convolve
from .ops.correlate import correlate as correlate
from .ops.general import conv_general_dilated as conv_general_dilated
from .ops.matrix import conv_matrix as conv_matrix
from .ops.pool import adaptive_max_pool as adaptive_max_pool
from .ops.pool import max_pool as max_pool
from .ops.pool import max_unpool as max_unpool
from .ops.pool_mean import adaptive_avg_pool as adaptive_avg_pool
from .ops.pool_mean import avg_pool as avg_pool
from .ops.pool_mean import lp_pool as lp_pool
from .ops.resize import resize as resize
from .ops.shuffle import pixel_shuffle as pixel_shuffle
from .ops.shuffle import pixel_unshuffle as pixel_unshuffle
from .ops.subpixel import from_subpixel as from_subpixel
from .ops.subpixel import to_subpixel as to_subpixel
from .ops.unfold import fold as fold
from .ops.unfold import unfold as unfold
from .planner import Table as Table
from .planner import plan as plan
from .planner import tune as tune

__version__ = "0.1.0"
