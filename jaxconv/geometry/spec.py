"""The hashable description of one convolution that travels through the whole library."""

from __future__ import annotations

import dataclasses
from typing import Literal

from .axis import Axis

Slot = Literal["forward", "input_grad", "weight_grad"]


@dataclasses.dataclass(frozen=True, slots=True)
class ConvSpec:
    """Sizes of the three arrays of a convolution and how they touch.

    It always describes the *convolution*; a transposed convolution is the same description with the input as
    the open slot. Shapes are channels-last: input `(N, *size, in)`, kernel `(*k, in/groups, out)`, output
    `(N, *out, out_channels)`.

    Args:
      batch: N.
      in_channels: channels of the input.
      out_channels: channels of the output.
      groups: number of independent channel groups.
      axes: one `Axis` for each spatial dimension.

    Raises:
      ValueError: if `groups` does not divide both channel counts.

    Example:
      >>> spec = ConvSpec(2, 4, 6, 2, (Axis(7, 3, stride=2), Axis(5, 2, lo=1)))
      >>> spec.input_shape, spec.kernel_shape, spec.output_shape
      ((2, 7, 5, 4), (3, 2, 2, 6), (2, 3, 5, 6))
    """

    batch: int
    in_channels: int
    out_channels: int
    groups: int
    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        """Refuses groups that do not divide the channels."""
        check_groups(self.groups, in_channels=self.in_channels, out_channels=self.out_channels)

    @property
    def rank(self) -> int:
        """Number of spatial dimensions."""
        return len(self.axes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(N, *size, in)`."""
        return (self.batch, *(a.size for a in self.axes), self.in_channels)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """`(*k, in/groups, out)`."""
        return (*(a.kernel for a in self.axes), self.in_channels // self.groups, self.out_channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """`(N, *out, out)`."""
        return (self.batch, *(a.out for a in self.axes), self.out_channels)

    @property
    def symbolic_channels(self) -> bool:
        """Whether jax.export leaves a number of channels open: nothing can be compared with a symbol."""
        return not type(self.in_channels) is type(self.out_channels) is int

    @property
    def depthwise(self) -> bool:
        """Whether each input channel is a group of its own."""
        return self.groups > 1 and self.groups == self.in_channels

    def operand_shapes(self, slot: Slot) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the two given arrays, in the order in which the operator takes them."""
        return {
            "forward": (self.input_shape, self.kernel_shape),
            "input_grad": (self.output_shape, self.kernel_shape),
            "weight_grad": (self.input_shape, self.output_shape),
        }[slot]

    def result_shape(self, slot: Slot) -> tuple[int, ...]:
        """Shape of the open slot's array."""
        return {
            "forward": self.output_shape,
            "input_grad": self.input_shape,
            "weight_grad": self.kernel_shape,
        }[slot]


def check_groups(groups: int, **channels: int) -> None:
    """Raises unless `groups` divides each of the named channel counts, naming the groups that would."""
    if groups < 1:
        raise ValueError(f"groups={groups} must be at least 1.")
    for name, count in channels.items():
        if count % groups:
            possible = ", ".join(
                str(d) for d in range(1, count + 1) if all(c % d == 0 for c in channels.values())
            )
            raise ValueError(f"groups={groups} must divide {name}={count}; use one of {possible}.")
