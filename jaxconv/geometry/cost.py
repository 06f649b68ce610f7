"""Exact work of a convolution."""

from __future__ import annotations

import math

from .spec import ConvSpec, Slot


def multiply_adds(spec: ConvSpec) -> int:
    """Products that touch real data, padding excluded.

    The convolution is one trilinear form, so the number of index triples is that of the form and the same for
    all three slots.

    Args:
      spec: the convolution.

    Returns:
      The number of multiply-add operations.

    Example:
      >>> from jaxconv.geometry import Axis
      >>> multiply_adds(ConvSpec(1, 1, 1, 1, (Axis(5, 3, lo=1, hi=1),)))
      13
    """
    positions = math.prod(sum(stop - start for start, stop in axis.taps()) for axis in spec.axes)
    return spec.batch * positions * (spec.in_channels // spec.groups) * spec.out_channels


def bytes_moved(spec: ConvSpec, slot: Slot, itemsize: int) -> int:
    """Least traffic of one slot: each operand read once, the result written once.

    Args:
      spec: the convolution.
      slot: which of the three arrays is computed.
      itemsize: bytes of one element.

    Returns:
      Bytes.

    Example:
      >>> from jaxconv.geometry import Axis
      >>> bytes_moved(ConvSpec(1, 1, 1, 1, (Axis(5, 3),)), "forward", 4)
      44
    """
    shapes = (*spec.operand_shapes(slot), spec.result_shape(slot))
    return itemsize * sum(math.prod(shape) for shape in shapes)
