"""When another algorithm than `direct` is taken without a measurement: shapes for which XLA's form is bad.

A rule is a name and a function of the spec that returns the reason, or None; the first that applies decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..geometry import ConvSpec, Slot
from ..lowerings.shifted_matmul import UNROLL

Rule = tuple[str, Callable[[ConvSpec], str | None]]


def _grouped(spec: ConvSpec) -> str | None:
    # The dense gradient of a few channels costs no more than a loop over many taps.
    few = spec.depthwise and spec.groups <= 16 and _taps(spec) > UNROLL
    return "XLA expands a grouped weight gradient into a dense one" if spec.groups > 1 and not few else None


def _volume(spec: ConvSpec) -> str | None:
    return "XLA has no fast weight gradient in three dimensions" if spec.rank == 3 else None


def _pointwise(spec: ConvSpec) -> str | None:
    one = all(a.kernel == 1 for a in spec.axes)
    return "the weight gradient of a 1x1 kernel is one matrix product" if one else None


def _dilated(spec: ConvSpec) -> str | None:
    dilated = any(a.dilation > 1 for a in spec.axes)
    return "a dilated kernel's gradient is no backward-filter convolution to XLA" if dilated else None


def _more_than_three(spec: ConvSpec) -> str | None:
    return "XLA has no fast convolution of more than three spatial dimensions" if spec.rank > 3 else None


def _wide_beyond_three(spec: ConvSpec) -> str | None:
    # For fewer channels a product for each tap is too small to be worth its call.
    wide = spec.in_channels * spec.out_channels > 64 * spec.groups**2
    return _more_than_three(spec) if wide else None


def _outputs_reversed(spec: ConvSpec) -> str | None:
    # Where the taps are many, their products run in a loop too, and each is small.
    return _reversed(_outputs, _inputs)(spec) if _taps(spec) <= UNROLL else None


def _depthwise(spec: ConvSpec) -> str | None:
    # Every tap is written out; a larger kernel would compile for too long.
    few = spec.depthwise and _taps(spec) <= UNROLL
    return "XLA computes a depthwise convolution as tiny matrix products" if few else None


def _depthwise_adjoint(spec: ConvSpec) -> str | None:
    plain = spec.out_channels == spec.groups and all(a.stride == 1 for a in spec.axes)
    return _depthwise(spec) if plain else None


def _stuffed(spec: ConvSpec) -> str | None:
    strided = any(a.stride > 1 for a in spec.axes) and all(a.dilation == 1 for a in spec.axes)
    if strided and (spec.rank == 3 or spec.groups > 1):
        return "XLA convolves the zeros between inputs in three dimensions and in groups"
    return None


def _wide_volume(spec: ConvSpec) -> str | None:
    wide = spec.rank == 3 and min(spec.in_channels, spec.out_channels) >= 8
    return "Winograd needs a third of the products in three dimensions" if wide else None


def _reversed(
    window: Callable[[ConvSpec], int], over: Callable[[ConvSpec], int]
) -> Callable[[ConvSpec], str | None]:
    """XLA's CPU backend exchanges operands if the window is the larger, and then reverses it."""

    def rule(spec: ConvSpec) -> str | None:
        if spec.groups == 1 and window(spec) > over(spec):
            return "XLA runs a window with more positions than the map in reverse, as a scalar loop"
        return None

    return rule


def _taps(spec: ConvSpec) -> int:
    return math.prod(a.kernel for a in spec.axes)


def _inputs(spec: ConvSpec) -> int:
    return math.prod(a.size for a in spec.axes)


def _outputs(spec: ConvSpec) -> int:
    return math.prod(a.out for a in spec.axes)


CPU: dict[Slot, tuple[Rule, ...]] = {
    "forward": (
        ("depthwise_mac", _depthwise),
        ("im2col", _reversed(_taps, _inputs)),
        ("winograd", _wide_volume),
    ),
    "input_grad": (
        ("depthwise_mac", _depthwise_adjoint),
        ("overlap_add", _stuffed),
        ("im2col", _reversed(_taps, _outputs)),
        ("winograd", _wide_volume),
    ),
    "weight_grad": (
        ("shifted_matmul", _wide_beyond_three),
        ("shifted_matmul", _grouped),
        ("shifted_matmul", _volume),
        ("shifted_matmul", _pointwise),
        ("shifted_matmul", _outputs_reversed),
    ),
}

ACCELERATOR: dict[Slot, tuple[Rule, ...]] = {
    "forward": (),
    "input_grad": (),
    "weight_grad": (("shifted_matmul", _more_than_three), ("shifted_matmul", _dilated)),
}
