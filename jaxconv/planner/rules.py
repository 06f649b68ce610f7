"""What is known of a platform without a measurement: shapes for which XLA's own form is always bad.

A rule is a name and a function of the spec that returns the reason, or None; the first that applies decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..geometry import ConvSpec, Slot

Rule = tuple[str, Callable[[ConvSpec], str | None]]


def _dilated(spec: ConvSpec) -> str | None:
    dilated = any(a.dilation > 1 for a in spec.axes)
    return "a dilated kernel's gradient is no backward-filter convolution to XLA" if dilated else None


def _more_than_three(spec: ConvSpec) -> str | None:
    return "XLA has no fast convolution of more than three spatial dimensions" if spec.rank > 3 else None


def _reversed(spec: ConvSpec) -> str | None:
    taps, inputs = (math.prod(getattr(a, n) for a in spec.axes) for n in ("kernel", "size"))
    if spec.groups == 1 and taps > inputs:
        return "XLA runs a window with more positions than the map in reverse, as a scalar loop"
    return None


CPU: dict[Slot, tuple[Rule, ...]] = {
    "forward": (("shifted_matmul", _more_than_three), ("im2col", _reversed)),
    "input_grad": (("shifted_matmul", _more_than_three), ("overlap_add", _more_than_three)),
    "weight_grad": (("shifted_matmul", _more_than_three),),
}

ACCELERATOR: dict[Slot, tuple[Rule, ...]] = {
    "forward": (),
    "input_grad": (),
    "weight_grad": (("shifted_matmul", _more_than_three), ("shifted_matmul", _dilated)),
}
