"""The windows of an equation: which dimension of its result moves over which of its operand, and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jax import lax

from ..geometry import SAME, Axis, ConvSpec, Slot, Taps
from ..lowerings import KINDS
from ..ops.resample_weights import taps
from ..planner import possible_readings
from .nodes import Conv, Window

_SLOTS: dict[str, Slot] = {f"conv_{slot}": slot for slot in KINDS}  # by the names of the primitives


def conv_of(equation: Any, *, kernel: bool) -> Conv | None:
    """The convolution that an equation is; None if it is none, or one of lax that is no slot of ours.

    Args:
      equation: of a jaxpr.
      kernel: whether its second operand is known to be a kernel: what covers a whole map could be a gradient.
    """
    name, params = equation.primitive.name, equation.params
    if name in _SLOTS and isinstance(params.get("spec"), ConvSpec):
        return Conv(_SLOTS[name], params["spec"], params["algorithm"], "jaxconv")
    if equation.primitive is not lax.conv_general_dilated_p:
        return None
    lhs, rhs = (operand.aval.shape for operand in equation.invars)
    found = possible_readings(lhs, rhs, params)
    found = [r for r in found if not kernel or r.slot != "weight_grad"]
    reading = min(found, key=lambda r: math.prod(a.kernel for a in r.spec.axes), default=None)
    return reading and Conv(reading.slot, reading.spec, None, "lax")


def windows_of(equation: Any) -> tuple[Window, ...]:
    """Those over the first operand; dimensions of an operand over which nothing moves have none."""
    find = _WINDOWS.get(equation.primitive.name)
    return tuple(find(equation)) if find else ()


def _forward(equation: Any) -> Iterator[Window]:
    for dim, axis in enumerate(equation.params["spec"].axes, 1):
        yield Window(dim, dim, Taps.of(axis))


def _input_grad(equation: Any) -> Iterator[Window]:
    for dim, axis in enumerate(equation.params["spec"].axes, 1):
        yield Window(dim, dim, Taps.of(axis.adjoint()))


def _lax_conv(equation: Any) -> Iterator[Window]:
    p, (lhs, rhs) = equation.params, (operand.aval.shape for operand in equation.invars)
    (_, _, *from_dims), (_, _, *kernel_dims), (_, _, *to_dims) = p["dimension_numbers"]
    geometry = zip(p["window_strides"], p["rhs_dilation"], p["padding"], p["lhs_dilation"], strict=True)
    for i, (stride, dilation, (lo, hi), base) in enumerate(geometry):
        if rhs[kernel_dims[i]]:
            axis = Axis(lhs[from_dims[i]], rhs[kernel_dims[i]], stride, dilation, lo, hi, base)
            yield Window(from_dims[i], to_dims[i], Taps.of(axis))


def _reduce_window(equation: Any) -> Iterator[Window]:
    p, shape = equation.params, equation.invars[0].aval.shape
    for dim, size in enumerate(shape):
        (lo, hi), kernel = p["padding"][dim], p["window_dimensions"][dim]
        stride, dilation = p["window_strides"][dim], p["window_dilation"][dim]
        axis = Axis(size, kernel, stride, dilation, lo, hi, p["base_dilation"][dim])
        if Taps.of(axis) != SAME:
            yield Window(dim, dim, Taps.of(axis))


def _pooled(equation: Any) -> Iterator[Window]:
    for dim, windows in enumerate(equation.params["windows"], 1):
        if isinstance(windows, Axis):
            yield Window(dim, dim, Taps.of(windows))
        else:  # parts of an axis, which need not repeat
            rows = tuple(map(tuple, map(range, windows.starts, windows.stops)))
            yield Window(dim, dim, Taps.fit(rows, windows.size), rows=rows)


def _resampled(equation: Any) -> Iterator[Window]:
    p, size = equation.params, equation.invars[0].aval.shape[equation.params["axis"]]
    index, weight = taps(p["by"], p["transposed"])
    used = np.ones(index.shape, bool) if weight is None else weight != 0
    rows = tuple(tuple(row[here].tolist()) for row, here in zip(index, used, strict=True))
    yield Window(p["axis"], p["axis"], Taps.fit(rows, size), rows=rows)


def _pad(equation: Any) -> Iterator[Window]:
    for dim, (lo, hi, interior) in enumerate(equation.params["padding_config"]):
        if (lo, hi, interior) != (0, 0, 0):
            size = equation.invars[0].aval.shape[dim]
            axis = Axis(size, 1, 1, 1, int(lo), int(hi), int(interior) + 1)
            yield Window(dim, dim, Taps.of(axis), sums=False)


def _slice(equation: Any) -> Iterator[Window]:
    p = equation.params
    strides = p["strides"] or (1,) * len(p["start_indices"])
    for dim, (start, stop, stride) in enumerate(
        zip(p["start_indices"], p["limit_indices"], strides, strict=True)
    ):
        if (start, stop, stride) != (0, equation.invars[0].aval.shape[dim], 1):
            yield Window(dim, dim, Taps(1, stride, ((start,),)), sums=False)


def _reverse(equation: Any) -> Iterator[Window]:
    for dim in equation.params["dimensions"]:
        last = equation.invars[0].aval.shape[dim] - 1
        yield Window(dim, dim, Taps(1, -1, ((last,),)), sums=False)


_WINDOWS: dict[str, Callable[[Any], Iterator[Window]]] = {
    "conv_forward": _forward,
    "conv_input_grad": _input_grad,
    "conv_general_dilated": _lax_conv,
    "pool_pick": _pooled,
    "resample": _resampled,
    "pad": _pad,
    "slice": _slice,
    "rev": _reverse,
    **{f"reduce_window{kind}": _reduce_window for kind in ("", "_sum", "_max", "_min")},
}
