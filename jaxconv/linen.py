"""Convolution layers for Flax Linen. The same layers for NNX, and the initialisers, are in `jaxconv.nn`."""

from .nn._checks import CheckerboardWarning as CheckerboardWarning
from .nn.linen import CausalConv as CausalConv
from .nn.linen import CausalConvTranspose as CausalConvTranspose
from .nn.linen import Conv as Conv
from .nn.linen import ConvTranspose as ConvTranspose
from .nn.linen import DepthwiseConv as DepthwiseConv
from .nn.linen import ResizeConv as ResizeConv
from .nn.linen import SeparableConv as SeparableConv
from .nn.linen import SubpixelConv as SubpixelConv
from .nn.linen_pool import AvgPool as AvgPool
from .nn.linen_pool import MaxPool as MaxPool
from .nn.linen_pool import MaxUnpool as MaxUnpool
from .nn.linen_resize import PixelShuffle as PixelShuffle
from .nn.linen_resize import PixelUnshuffle as PixelUnshuffle
from .nn.linen_resize import Upsample as Upsample
