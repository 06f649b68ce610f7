"""Differentiable convolutions for JAX, right in every convention and fast in every gradient."""

from .ops.conv import conv as conv
from .ops.conv import conv_input_grad as conv_input_grad
from .ops.conv import conv_transpose as conv_transpose
from .ops.conv import conv_weight_grad as conv_weight_grad
from .planner import plan as plan

__version__ = "0.1.0"
