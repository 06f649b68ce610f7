"""Names of options as types."""

from __future__ import annotations

from typing import Literal

from .geometry.padding import Padding as Padding
from .geometry.resample import Border as Border
from .geometry.resample import Method as Method
from .geometry.resample import Rounding as Rounding
from .geometry.spec import Slot as Slot

Layout = Literal["channels_last", "channels_first"]
SubpixelOrder = Literal["torch", "tensorflow"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Algorithm = Literal[
    "direct",
    "zero_insertion",
    "overlap_add",
    "subpixel",
    "shifted_matmul",
    "im2col",
    "depthwise_mac",
    "winograd",
    "fft",
    "space_to_batch",
    "per_group",
    "merged_groups",
]
