"""Convolution layers for Flax NNX, and initialisers. The same layers for Linen are in `jaxconv.linen`."""

from . import init as init
from ._checks import CheckerboardWarning as CheckerboardWarning
from .nnx import CausalConv as CausalConv
from .nnx import Conv as Conv
from .nnx import DepthwiseConv as DepthwiseConv
from .nnx import SeparableConv as SeparableConv
from .nnx_pool import AvgPool as AvgPool
from .nnx_pool import MaxPool as MaxPool
from .nnx_pool import MaxUnpool as MaxUnpool
from .nnx_resize import PixelShuffle as PixelShuffle
from .nnx_resize import PixelUnshuffle as PixelUnshuffle
from .nnx_resize import Upsample as Upsample
from .nnx_upsample import CausalConvTranspose as CausalConvTranspose
from .nnx_upsample import ConvTranspose as ConvTranspose
from .nnx_upsample import ResizeConv as ResizeConv
from .nnx_upsample import SubpixelConv as SubpixelConv
