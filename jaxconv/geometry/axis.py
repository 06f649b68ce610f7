"""One spatial axis of a convolution.

Output position `o` and kernel tap `k` touch input position

    i = o * stride + k * dilation - lo        (when 0 <= i < size)

and everything in this package follows from that one equation.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Core:
    """The part of an axis where something touches; see `Axis.core`."""

    axis: Axis
    input_start: int
    output_start: int


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """Size, kernel, stride, dilation and padding along one spatial axis.

    Args:
      size: number of input positions, zero or more.
      kernel: number of kernel taps, one or more.
      stride: input positions between neighbouring outputs.
      dilation: input positions between neighbouring taps.
      lo: zeros in front of the input; negative crops it.
      hi: zeros behind the input; negative crops it.
      base: input positions between neighbouring input elements. One for every convolution a user asks for; an
        `adjoint` axis has the stride here.

    Raises:
      ValueError: for what is no int, a negative size, or a kernel, stride, dilation or base below one.

    Example:
      >>> axis = Axis(size=7, kernel=3, stride=2, lo=1)
      >>> axis.out, axis.span
      (3, 3)
      >>> axis.taps()
      ((1, 3), (0, 3), (0, 3))
    """

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    lo: int = 0
    hi: int = 0
    base: int = 1

    def __post_init__(self) -> None:
        """Refuses what no axis can be."""
        for name in ("size", "kernel", "stride", "dilation", "lo", "hi", "base"):
            value = getattr(self, name)
            if type(value) is not int:
                raise ValueError(
                    f"{name}={value!r} of type {type(value).__name__} must be an int; geometry is "
                    "decided while tracing, so a spatial size can't be symbolic or traced."
                )
        if self.size < 0:
            raise ValueError(f"size={self.size} is negative; an axis has zero or more positions.")
        for name in ("kernel", "stride", "dilation", "base"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")

    @property
    def span(self) -> int:
        """Input positions from the first tap to the last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def extent(self) -> int:
        """Size with its base dilation: zero stays zero."""
        return 0 if self.size == 0 else (self.size - 1) * self.base + 1

    @property
    def out(self) -> int:
        """Number of output positions; zero where the kernel does not fit."""
        room = self.extent + self.lo + self.hi - self.span
        return 0 if room < 0 else room // self.stride + 1

    @property
    def tight_hi(self) -> int:
        """The smallest `hi` with the same output.

        The difference to `hi` is the remainder: positions behind the last window that no tap ever reaches. It
        is what a transposed convolution calls output padding.
        """
        return (self.out - 1) * self.stride + self.span - self.lo - self.extent

    def taps(self) -> tuple[tuple[int, int], ...]:
        """For each tap the outputs `(start, stop)` whose input position exists.

        0 <= o * stride + k * dilation - lo < size, solved for o and clipped to the outputs there are.

        Raises:
          ValueError: if `base` is not 1.
        """
        self._refuse_base()
        ranges: list[tuple[int, int]] = []
        for k in range(self.kernel):
            offset = self.lo - k * self.dilation
            start = min(max(_ceil_div(offset, self.stride), 0), self.out)
            stop = min(max(_ceil_div(offset + self.size, self.stride), start), self.out)
            ranges.append((start, stop))
        return tuple(ranges)

    def position(self, output: int, tap: int) -> int:
        """The input position that an output sees through a tap; padding is below 0 and from `extent` on."""
        return output * self.stride + tap * self.dilation - self.lo

    def triples(self) -> tuple[tuple[int, int, int], ...]:
        """All (output, tap, input) that touch, by tap and then by output.

        Raises:
          ValueError: if `base` is not 1.
        """
        ranges = enumerate(self.taps())
        return tuple((o, k, self.position(o, k)) for k, outputs in ranges for o in range(*outputs))

    def adjoint(self) -> Axis:
        """The axis of the transposed map, as a convolution with the flipped kernel over the stuffed output.

        o * stride + k * dilation - lo = i * base, read backwards with the taps counted from the other end:
        i * base + (kernel - 1 - k) * dilation - (span - 1 - lo) = o * stride. Stride and base change places,
        and so do size and out. The adjoint of the adjoint is the axis itself with `hi` tight.
        """
        lo = self.span - 1 - self.lo
        extent = 0 if self.out == 0 else (self.out - 1) * self.stride + 1
        hi = (self.size - 1) * self.base + self.span - lo - extent
        return Axis(self.out, self.kernel, self.base, self.dilation, lo, hi, base=self.stride)

    def core(self) -> Core | None:
        """Cuts away the outputs that see only padding and the inputs that negative padding crops.

        The axis that remains has `0 <= lo < span`, `0 <= hi < span`, and fewer than `stride` unreached
        positions at its end, so whoever computes with it never meets negative padding, in either direction.
        The outputs left out are zero. None where nothing touches at all.

        Raises:
          ValueError: if `base` is not 1.
        """
        self._refuse_base()
        first = max(0, _ceil_div(self.lo - self.span + 1, self.stride))
        last = min(self.out - 1, (self.size - 1 + self.lo) // self.stride)
        if self.size == 0 or last < first:
            return None
        lo = self.lo - first * self.stride
        start = max(0, -lo)
        lo += start
        reach = (last - first) * self.stride + self.span - lo
        size = self.size - start
        hi = reach - size
        if hi <= -self.stride:
            size, hi = reach, 0
        if size <= 0:
            return None
        axis = Axis(size, self.kernel, self.stride, self.dilation, lo, max(hi, 0))
        return Core(axis, start, first)

    def _refuse_base(self) -> None:
        if self.base != 1:
            raise ValueError(f"base={self.base} must be 1 here; ask the adjoint of this axis.")


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
