"""Size arithmetic backwards: which parameters lead from one size to another."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from .axis import Axis
from .padding import normalize_transposed


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """One way from a size to another along one axis; `lo` and `hi` are padding, of a transposed one too."""

    kernel: int
    stride: int
    dilation: int
    lo: int
    hi: int
    output_padding: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """The values that a search tries.

    Args:
      kernels: numbers of taps.
      strides: strides.
      dilations: dilations.
      paddings: zeros on each side; the back may have one more than the front, as "SAME" does.
      output_paddings: what a transposed convolution adds behind.
    """

    kernels: Sequence[int] = range(1, 8)
    strides: Sequence[int] = range(1, 5)
    dilations: Sequence[int] = (1,)
    paddings: Sequence[int] = range(4)
    output_paddings: Sequence[int] = range(4)

    def windows(self) -> Iterator[tuple[int, int, int]]:
        """Every kernel, stride and dilation."""
        return itertools.product(self.kernels, self.strides, self.dilations)


def reachable(size: int, bounds: Bounds, *, transposed: bool = False) -> dict[int, list[Choice]]:
    """Every output size within the bounds, ascending, with the choices that give it.

    Args:
      size: input positions.
      bounds: what to try.
      transposed: of a transposed convolution.

    Returns:
      The choices for each size; sizes of zero are left out.

    Example:
      >>> found = reachable(7, Bounds(kernels=[3], strides=[2], paddings=[0, 1]))
      >>> list(found), found[4]
      ([3, 4], [Choice(kernel=3, stride=2, dilation=1, lo=1, hi=1, output_padding=0)])
    """
    sizes: dict[int, list[Choice]] = {}
    for kernel, stride, dilation in bounds.windows():
        for lo, more in itertools.product(bounds.paddings, (0, 1)):
            if lo + more not in bounds.paddings:
                continue
            plain = Choice(kernel, stride, dilation, lo, lo + more)
            options = _output_paddings(plain, bounds) if transposed else [plain]
            for choice in options:
                if (out := _out(size, choice, transposed)) > 0:
                    sizes.setdefault(out, []).append(choice)
    return {out: sorted(sizes[out], key=_oddity) for out in sorted(sizes)}


def missing_padding(size: int, out: int, window: tuple[int, int, int], *, transposed: bool) -> range:
    """The sums lo + hi that would lead from `size` to `out`; below zero there is too much already.

    A convolution of `size` gives `out` where the transposed one of `out` can give `size`, padding counted.

    Args:
      size: input positions.
      out: wanted output positions, at least one.
      window: kernel, stride and dilation.
      transposed: of a transposed convolution; its padding crops and its output padding may add.

    Returns:
      The sums.

    Example:
      >>> missing_padding(32, 20, (3, 2, 1), transposed=False)
      range(9, 11)
      >>> missing_padding(16, 32, (3, 2, 1), transposed=True)
      range(1, 3)
    """
    kernel, stride, dilation = window
    small, large = (size, out) if transposed else (out, size)
    [axis] = normalize_transposed(0, size=[small], kernel=[kernel], stride=stride, dilation=dilation)
    least = axis.size - large
    return range(least, least + (max(stride, dilation) if transposed else stride))


def _output_paddings(plain: Choice, bounds: Bounds) -> Iterator[Choice]:
    """With uneven padding output padding would be the same as less padding behind."""
    for extra in bounds.output_paddings:
        if extra < max(plain.stride, plain.dilation) and (extra == 0 or plain.lo == plain.hi):
            yield dataclasses.replace(plain, output_padding=extra)


def _out(size: int, c: Choice, transposed: bool) -> int:
    if not transposed:
        return Axis(size, c.kernel, c.stride, c.dilation, c.lo, c.hi).out
    [full] = normalize_transposed(0, size=[size], kernel=[c.kernel], stride=c.stride, dilation=c.dilation)
    return full.size - c.lo - c.hi + c.output_padding


def _oddity(choice: Choice) -> tuple[int, ...]:
    """What people write first comes first."""
    uneven = choice.hi - choice.lo
    return (choice.dilation, uneven, choice.output_padding, choice.kernel, choice.stride, choice.lo)
