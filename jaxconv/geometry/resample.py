"""One axis of a resize: how many positions it gets, and where each lies on the axis it is made from.

Positions are the centres of pixels, 0 to size - 1. With `step` input positions from one output to the next,

    half-pixel:  u(o) = (o + 1/2) * step - 1/2        step = 1 / scale, or size / out
    corners:     u(o) = o * step                      step = (size - 1) / (out - 1)

"nearest" and "area" take whole pixels and need no u.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from fractions import Fraction
from typing import Literal

from .pool import Parts

Method = Literal["nearest", "nearest-exact", "linear", "cubic", "area", "lanczos3", "lanczos5"]
Border = Literal["replicate", "renormalize", "symmetric"]
Rounding = Literal["floor", "ceil"]
Scale = int | float | Fraction

# Half the length of each kernel, in pixels.
RADIUS: dict[str, int] = {"linear": 1, "cubic": 2, "lanczos3": 3, "lanczos5": 5}


@dataclasses.dataclass(frozen=True, slots=True)
class Resample:
    """One axis of a resize, with all that its weights depend on.

    Args:
      size: input positions, one or more.
      out: output positions, one or more.
      method: which pixels make an output, and how.
      step: input positions between neighbouring outputs; None is size / out.
      align_corners: whether the centres of the first and last pixels stay where they are.
      antialias: whether to stretch the kernel by `step` where that shrinks the axis.
      cubic_a: Keys's a, the slope of the cubic kernel at 1; of no meaning to the others.
      border: what a kernel sees past the ends: the last pixel, nothing, or the pixels mirrored.

    Raises:
      ValueError: for a size or an output of less than one position.

    Example:
      >>> Resample(size=4, out=2, method="linear").positions()
      (0.5, 2.5)
      >>> Resample(size=5, out=3, method="area").windows()
      ((0, 2), (1, 4), (3, 5))
    """

    size: int
    out: int
    method: Method
    step: float | None = None
    align_corners: bool = False
    antialias: bool = False
    cubic_a: float = -0.75
    border: Border = "replicate"

    def __post_init__(self) -> None:
        """Refuses an axis without positions."""
        if self.size < 1 or self.out < 1:
            raise ValueError(
                f"resizing {self.size} positions to {self.out} is impossible; an axis needs at least one "
                "position before and after."
            )

    @property
    def spacing(self) -> float:
        """Input positions between neighbouring outputs."""
        if self.align_corners:
            return (self.size - 1) / (self.out - 1) if self.out > 1 else 0.0
        return self.size / self.out if self.step is None else self.step

    @property
    def unchanged(self) -> bool:
        """Whether every output is the input of the same number.

        That is so where the size stays, whatever the step; as in PyTorch, its plain cubic kernel excepted.
        """
        exact = self.spacing == 1 or self.antialias or self.method != "cubic"
        return self.out == self.size and exact

    @property
    def stretch(self) -> float:
        """By how much the kernel is longer than its radius says."""
        return max(1.0, self.spacing) if self.antialias else 1.0

    def positions(self) -> tuple[float, ...]:
        """u(o), the centre of the kernel of each output.

        With `antialias` and `align_corners` PyTorch takes the spacing of the corners and the formula of half
        pixels, and so does this.
        """
        if self.align_corners and not self.antialias:
            return tuple(o * self.spacing for o in range(self.out))
        return tuple((o + 0.5) * self.spacing - 0.5 for o in range(self.out))

    def nearest(self) -> tuple[int, ...]:
        """The one pixel that each output copies, found in float32 as PyTorch does.

        Where an output lies between two pixels, or exactly on one, float32 decides. As in PyTorch, "nearest"
        to twice the size repeats each pixel, whatever the step.
        """
        if self.method == "nearest" and self.out == 2 * self.size:
            return tuple(o // 2 for o in range(self.out))
        step = _float32(self.spacing)
        shift = 0.5 if self.method == "nearest-exact" else 0.0
        return tuple(min(int(_float32((o + shift) * step)), self.size - 1) for o in range(self.out))

    def windows(self) -> tuple[tuple[int, int], ...]:
        """Start and end of the pixels that each output of "area" averages."""
        parts = Parts(self.size, self.out)
        return tuple(zip(parts.starts, parts.stops, strict=True))


def resized(size: int, scale: Scale, rounding: Rounding) -> int:
    """Output positions for a scale: size * scale, rounded down (PyTorch) or up (MATLAB).

    Example:
      >>> from fractions import Fraction
      >>> resized(10, Fraction(1, 3), "floor"), resized(10, Fraction(1, 3), "ceil")
      (3, 4)
    """
    return (math.floor if rounding == "floor" else math.ceil)(size * scale)


def _float32(value: float) -> float:
    """The nearest number that float32 holds; of a product of two such it is float32's own product."""
    return struct.unpack("f", struct.pack("f", value))[0]
