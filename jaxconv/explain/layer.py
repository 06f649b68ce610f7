"""One convolution as people ask for it, and every number about it, from the geometry."""

from __future__ import annotations

import collections
import dataclasses
import fractions
import math
from collections.abc import Sequence

from ..geometry import Axis, ConvSpec, Taps, multiply_adds, normalize, normalize_transposed
from ..geometry.padding import is_int, name_of, pairs, per_axis
from ..geometry.spec import check_groups
from ..typing import Padding

Ints = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution or transposed convolution of one example; `layer` makes one from any spelling.

    Args:
      axes: of the convolution; a transposed one is its adjoint, so there `axis.size` is the output's size.
      padding: (lo, hi) for each axis, as the layer's own argument; crops the output of a transposed one.
      output_padding: for each axis; zeros unless transposed.
      in_channels: of the layer's input.
      out_channels: of the layer's output.
      groups: channel groups that do not see each other.
      transposed: whether it is the adjoint.
    """

    axes: tuple[Axis, ...]
    padding: tuple[tuple[int, int], ...]
    output_padding: tuple[int, ...]
    in_channels: int
    out_channels: int
    groups: int
    transposed: bool

    @property
    def rank(self) -> int:
        """Number of spatial dimensions."""
        return len(self.axes)

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size of the layer's input."""
        return tuple(a.out if self.transposed else a.size for a in self.axes)

    @property
    def out(self) -> tuple[int, ...]:
        """Spatial size of the layer's output."""
        return tuple(a.size if self.transposed else a.out for a in self.axes)

    @property
    def spec(self) -> ConvSpec:
        """The convolution, of one example."""
        channels = (self.in_channels, self.out_channels)
        inner, outer = reversed(channels) if self.transposed else channels
        return ConvSpec(1, inner, outer, self.groups, self.axes)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """`(*k, in/groups, out)`; of a transposed one `(*k, out/groups, in)`."""
        return self.spec.kernel_shape

    @property
    def parameters(self) -> int:
        """Elements of the kernel; a bias would add one for each output channel."""
        return math.prod(self.kernel_shape)

    @property
    def multiply_adds(self) -> int:
        """Products that touch data, for one example."""
        return multiply_adds(self.spec)

    @property
    def field(self) -> tuple[int, ...]:
        """Input positions from the first that one output can see to the last, for each axis."""
        return tuple(taps.size for taps in self._taps)

    @property
    def jump(self) -> tuple[fractions.Fraction, ...]:
        """Input positions between neighbouring outputs, for each axis; below one where outputs are finer."""
        return tuple(taps.jump for taps in self._taps)

    @property
    def _taps(self) -> list[Taps]:
        return [Taps.of(a.adjoint() if self.transposed else a) for a in self.axes]

    @property
    def coverage(self) -> tuple[tuple[int, ...], ...]:
        """For each axis and each position of the larger side, how many taps touch it.

        The larger side is the input of a convolution (how often a gradient arrives there) and the output of a
        transposed one (how many products are added up there). In more dimensions the counts multiply.
        """
        counts = [collections.Counter(i for _, _, i in a.triples()) for a in self.axes]
        return tuple(tuple(c[i] for i in range(a.size)) for a, c in zip(self.axes, counts, strict=True))

    @property
    def checkerboard(self) -> bool:
        """Whether coverage is uneven away from the borders: some positions have more taps than others."""
        return any(len(set(phase_counts(a))) > 1 for a in self.axes)


def layer(
    size: Ints,
    kernel: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    in_channels: int | None = None,
    out_channels: int | None = None,
    transposed: bool = False,
    output_padding: Ints = 0,
    output_shape: Ints | None = None,
) -> Layer:
    """Describes a convolution, for `shape`, `draw`, `calls` and the rest of this module.

    Args:
      size: spatial size of the input; an int is one dimension.
      kernel: taps, one for all axes or one for each.
      stride: as in `conv`.
      padding: as in `conv` and `conv_transpose`, but not negative.
      dilation: as in `conv`.
      groups: as in `conv`.
      in_channels: of the input; by default one for each group.
      out_channels: of the output; by default one for each group.
      transposed: a transposed convolution.
      output_padding: as in `conv_transpose`.
      output_shape: as in `conv_transpose`; padding or output_padding follow from it.

    Returns:
      The description, with sizes, cost, field of view and coverage as properties.

    Raises:
      ValueError: for arguments that fit no convolution, negative padding, or output padding of a convolution
        that is not transposed.

    Example:
      >>> a = layer((32, 32), 3, stride=2, padding=1, in_channels=3, out_channels=8)
      >>> a.out, a.field, a.parameters, a.multiply_adds
      ((16, 16), (3, 3), 216, 53016)
    """
    sizes = (size,) if is_int(size) else tuple(size)  # pyright: ignore
    sizes = per_axis(sizes, len(sizes), "size")
    taps = per_axis(kernel, len(sizes), "kernel")
    channels = [groups if c is None else c for c in (in_channels, out_channels)]
    check_groups(groups, in_channels=channels[0], out_channels=channels[1])
    extra = per_axis(output_padding, len(sizes), "output_padding")
    window = {"size": sizes, "kernel": taps, "stride": stride, "dilation": dilation}
    if transposed:
        axes = normalize_transposed(padding, **window, output_padding=extra, output_shape=output_shape)
        given = [None] * len(axes) if name_of(padding) else pairs(padding, len(axes))
        # A negative end crops nothing and adds zeros: output padding under another name.
        ends = [
            max(axis.hi + e if g is None else g[1], 0) for axis, e, g in zip(axes, extra, given, strict=True)
        ]
        pads = tuple((axis.lo, hi) for axis, hi in zip(axes, ends, strict=True))
        extra = tuple(hi - axis.hi for axis, hi in zip(axes, ends, strict=True))
    else:
        if any(extra) or output_shape is not None:
            raise ValueError(
                "output_padding and output_shape belong to a transposed convolution; set transposed."
            )
        axes = normalize(padding, **window)
        pads = tuple((axis.lo, axis.hi) for axis in axes)
    _check(axes, pads, extra)
    return Layer(axes, pads, extra, channels[0], channels[1], groups, transposed)


def phase_counts(axis: Axis) -> tuple[int, ...]:
    """Taps that touch each of `stride` neighbouring input positions away from the borders.

    Example:
      >>> phase_counts(Axis(9, kernel=3, stride=2)), phase_counts(Axis(9, kernel=4, stride=2))
      ((2, 1), (2, 2))
    """
    counts = collections.Counter(axis.position(0, k) % axis.stride for k in range(axis.kernel))
    return tuple(counts[p] for p in range(axis.stride))


def _check(axes: tuple[Axis, ...], pads: Sequence[tuple[int, int]], extra: Sequence[int]) -> None:
    for axis, pad, more in zip(axes, pads, extra, strict=True):
        if min(pad) < 0 or more >= max(axis.stride, axis.dilation):
            raise ValueError(
                f"padding {(pad[0], pad[1] - more)} crops a convolution's input or stretches a "
                f"transposed one's output; it is explained without: crop or pad x or y by itself."
            )
