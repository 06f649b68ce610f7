"""Windows that are pooled: PyTorch's sizes, ceil mode and adaptive windows, as axes of convolutions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from .axis import Axis
from .padding import Padding, normalize

Phases = tuple[Axis, ...]
"""Windows along one axis: window i of phase r is number i · len(phases) + r. Most have one phase."""


def windows(
    padding: Padding,
    *,
    size: Sequence[int],
    window: Sequence[int],
    stride: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    """The axes along which windows are pooled.

    Args:
      padding: int, one int for each axis, one `(lo, hi)` for each axis, or a name of padding.py's table.
      size: input positions for each axis.
      window: positions of a window for each axis.
      stride: positions between windows, one for all axes or one for each.
      dilation: positions between neighbours in a window, one for all axes or one for each.
      ceil_mode: whether a last window that reaches beyond the padding counts too, if it begins before it.

    Returns:
      The axes, whose `hi` is what the last window needs, and the `hi` that was asked for.

    Raises:
      ValueError: for negative padding, and for a window that would hold nothing but padding.

    Example:
      >>> [axis], [asked] = windows(1, size=[6], window=[3], stride=[2], ceil_mode=True)
      >>> axis.out, axis.hi, asked
      (4, 2, 1)
    """
    axes = normalize(padding, size=size, kernel=window, stride=stride, dilation=dilation)
    for axis in axes:
        if min(axis.lo, axis.hi) < 0:
            raise ValueError(f"padding of {(axis.lo, axis.hi)} must not be negative; slice x instead.")
    found = tuple(_tight(axis, _count(axis, ceil_mode)) for axis in axes)
    for index, axis in enumerate(found):
        _check(axis, index)
    return found, tuple(axis.hi for axis in axes)


def _count(axis: Axis, ceil_mode: bool) -> int:
    if not ceil_mode:
        return axis.out
    room = axis.size + axis.lo + axis.hi - axis.span
    out = max(-(-room // axis.stride) + 1, 0)
    # The last window begins in the input or in the padding before it.
    return out - 1 if out and (out - 1) * axis.stride >= axis.size + axis.lo else out


def _tight(axis: Axis, out: int) -> Axis:
    if out == 0:  # a window has no room, in whatever padding
        return dataclasses.replace(axis, hi=min(axis.hi, axis.span - 1 - axis.lo - axis.size))
    return dataclasses.replace(axis, hi=(out - 1) * axis.stride + axis.span - axis.lo - axis.size)


def first_tap(axis: Axis, output: int) -> int:
    """The first position of a window that is no padding, counted from the window's first one."""
    return max(0, -(-(axis.lo - output * axis.stride) // axis.dilation))


def _check(axis: Axis, index: int) -> None:
    """Windows that meet a border have to hold something else, too."""
    front = range(min(axis.out, -(-axis.lo // axis.stride)))
    back = range(max(0, (axis.size + axis.lo - axis.span) // axis.stride), axis.out)
    for output in (*front, *back):
        tap = first_tap(axis, output)
        if tap >= axis.kernel or output * axis.stride + tap * axis.dilation - axis.lo >= axis.size:
            raise ValueError(
                f"window {output} of spatial dimension {index} (size {axis.size}, window {axis.kernel}, dilation "
                f"{axis.dilation}) holds nothing but padding; use padding below {axis.span}, or a longer input."
            )


def counts(axis: Axis, hi: int, *, padding: bool) -> tuple[int, ...]:
    """How many positions each window holds.

    Args:
      axis: the windows; dilation is 1.
      hi: the padding behind that was asked for: what a window in ceil mode reaches beyond it never counts.
      padding: whether padding counts.

    Returns:
      One number for each window.
    """
    least, most = (-axis.lo, axis.size + hi) if padding else (0, axis.size)
    starts = (o * axis.stride - axis.lo for o in range(axis.out))
    return tuple(min(start + axis.kernel, most) - max(start, least) for start in starts)


def adaptive(size: int, out: int) -> Phases:
    """Windows that divide an axis into `out` parts, which overlap where it is no multiple of them.

    Window o holds positions floor(o size / out) to ceil((o + 1) size / out), the last one excluded. With p / q
    the reduced fraction size / out, window o + q is window o moved by p: there are q phases of stride p.

    Args:
      size: positions of the axis, 1 or more.
      out: number of windows, 1 or more.

    Returns:
      The phases.

    Example:
      >>> [(-a.lo, a.kernel, a.stride, a.out) for a in adaptive(10, 4)]
      [(0, 3, 5, 2), (2, 3, 5, 2)]
    """
    common = math.gcd(size, out)
    p, q = size // common, out // common
    starts = [r * p // q for r in range(q)]
    ends = [-(-(r + 1) * p // q) for r in range(q)]
    bare = (Axis(size, end - start, p, lo=-start) for start, end in zip(starts, ends, strict=True))
    return tuple(_tight(axis, common) for axis in bare)
