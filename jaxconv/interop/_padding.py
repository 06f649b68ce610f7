"""What the paddings of other libraries' transposed convolutions have in common.

jaxconv and PyTorch count what is cropped off the full result, (in - 1)·stride + span positions. The others
pad the stride-dilated input, and their pad is span - 1 - crop. A negative crop adds zeros: at the end it is
what PyTorch calls output padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry.axis import Axis
from ..geometry.padding import per_axis

Ints = int | Sequence[int]
Pairs = tuple[tuple[int, int], ...]


def crop(total: int, *, odd_first: bool = False) -> tuple[int, int]:
    """Splits `total` evenly, the odd position last as in TensorFlow's SAME; zeros are added at the end."""
    lo = max((total + odd_first) // 2, 0)
    return lo, total - lo


def window_axes(kernel_size: Ints, *, strides: Ints, dilation: Ints, dilation_name: str) -> tuple[Axis, ...]:
    """An axis without a size for each window axis, for its span and stride."""
    rank = len(kernel_size) if isinstance(kernel_size, Sequence | np.ndarray) and np.ndim(kernel_size) else 1
    kernel = per_axis(kernel_size, rank, "kernel_size")
    stride = per_axis(strides, len(kernel), "strides")
    dilations = per_axis(dilation, len(kernel), dilation_name)
    return tuple(Axis(0, k, s, d) for k, s, d in zip(kernel, stride, dilations, strict=True))
