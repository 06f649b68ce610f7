"""Windows that are pooled: PyTorch's sizes, ceil mode and adaptive windows, as axes of convolutions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .axis import Axis
from .padding import Padding, normalize


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
    """The first tap of a window that sees no padding."""
    return max(0, -(-(axis.lo - output * axis.stride) // axis.dilation))


def _check(axis: Axis, index: int) -> None:
    """Windows that meet a border have to hold something else, too."""
    front = range(min(axis.out, -(-axis.lo // axis.stride)))
    back = range(max(0, (axis.size + axis.lo - axis.span) // axis.stride), axis.out)
    for output in (*front, *back):
        tap = first_tap(axis, output)
        if tap >= axis.kernel or output * axis.stride + tap * axis.dilation - axis.lo >= axis.size:
            raise ValueError(
                f"window {output} of spatial dimension {index} (size {axis.size}, window {axis.kernel}, "
                f"dilation {axis.dilation}) holds nothing but padding; use less padding, or a longer input."
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


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """Windows that divide an axis: o holds positions floor(o size / out) to ceil((o + 1) size / out) - 1.

    Neighbours overlap by one position where the border between them is no whole number.

    Args:
      size: positions of the axis, 1 or more.
      out: number of windows, 1 or more.

    Example:
      >>> parts = Parts(10, 4)
      >>> parts.starts, parts.stops, parts.kernel
      ((0, 2, 5, 7), (3, 5, 8, 10), 3)
    """

    size: int
    out: int

    @property
    def starts(self) -> tuple[int, ...]:
        """The first position of each window."""
        return tuple(o * self.size // self.out for o in range(self.out))

    @property
    def stops(self) -> tuple[int, ...]:
        """One more than the last position of each window."""
        return tuple(-(-(o + 1) * self.size // self.out) for o in range(self.out))

    @property
    def counts(self) -> tuple[int, ...]:
        """How many positions each window holds."""
        return tuple(stop - start for start, stop in zip(self.starts, self.stops, strict=True))

    @property
    def kernel(self) -> int:
        """The most positions that a window holds."""
        return max(self.counts)

    @property
    def exchanged(self) -> Parts:
        """Windows of windows: number i holds the windows that hold position i."""
        return Parts(self.out, self.size)
