"""What is known for certain: shapes for which XLA's own convolution, `direct`, is always a bad program.

A fault is a function of the spec that returns what is wrong, or None.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..geometry import ConvSpec, Slot
from ..lowerings.per_group import one_group
from ..lowerings.windows import UNROLL

Fault = Callable[[ConvSpec], str | None]


def fault(name: str, slot: Slot, spec: ConvSpec, platform: str) -> str | None:
    """What is wrong with an algorithm for a slot on a platform; None if nothing is known."""
    if name == "per_group":
        spec = one_group(spec)  # of each it takes the direct convolution
    elif name not in ("direct", "space_to_batch"):  # the second takes the direct one of the rearranged arrays
        return None
    faults = (CPU if platform == "cpu" else ACCELERATOR)[slot]
    return next((reason for find in faults if (reason := find(spec))), None)


def _more_than_three(spec: ConvSpec) -> str | None:
    return "XLA has no fast convolution of more than three spatial dimensions" if spec.rank > 3 else None


def _dilated(spec: ConvSpec) -> str | None:
    dilated = any(a.dilation > 1 for a in spec.axes)
    return "a dilated kernel's gradient is no backward-filter convolution to XLA" if dilated else None


def _expanded(spec: ConvSpec) -> str | None:
    # The dense gradient of a few channels costs no more than a loop over many taps; and in three dimensions
    # the cost model compares products of one column with it.
    few = spec.depthwise and spec.groups <= 16 and _taps(spec) > UNROLL
    thin = spec.rank == 3 and spec.out_channels == spec.groups
    if spec.groups > 1 and not few and not thin:
        return "XLA expands a grouped weight gradient into a dense one"
    return None


def _reversed(window: str, over: str) -> Fault:
    """XLA's CPU backend exchanges operands if the window is the larger, and then reverses it."""

    def find(spec: ConvSpec) -> str | None:
        positions, places = (math.prod(getattr(a, n) for a in spec.axes) for n in (window, over))
        if spec.groups == 1 and positions > places:
            return "XLA runs a window with more positions than the map in reverse, as a scalar loop"
        return None

    return find


def _taps(spec: ConvSpec) -> int:
    return math.prod(a.kernel for a in spec.axes)


CPU: dict[Slot, tuple[Fault, ...]] = {
    "forward": (_more_than_three, _reversed("kernel", "size")),
    "input_grad": (_more_than_three, _reversed("kernel", "out")),
    "weight_grad": (_more_than_three, _expanded, _reversed("out", "size")),
}

ACCELERATOR: dict[Slot, tuple[Fault, ...]] = {
    "forward": (),
    "input_grad": (),
    "weight_grad": (_more_than_three, _dilated),
}
