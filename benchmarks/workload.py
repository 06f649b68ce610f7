"""What a workload is: one layer, the size of what it is applied to, and the form's slots that it computes."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Literal

from jaxconv.geometry import ConvSpec, Slot, normalize, normalize_transposed
from jaxconv.geometry.padding import Padding

Array = Literal["x", "kernel", "g"]

SLOTS: tuple[Slot, ...] = ("forward", "input_grad", "weight_grad")

# A transposed layer computes the form's input from the form's output, so its forward is the form's
# input_grad, and its x and g are the form's g and x.
_FORM: dict[bool, dict[Slot, tuple[Slot, tuple[Array, Array]]]] = {
    False: {
        "forward": ("forward", ("x", "kernel")),
        "input_grad": ("input_grad", ("g", "kernel")),
        "weight_grad": ("weight_grad", ("x", "g")),
    },
    True: {
        "forward": ("input_grad", ("x", "kernel")),
        "input_grad": ("forward", ("g", "kernel")),
        "weight_grad": ("weight_grad", ("g", "x")),
    },
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """A convolution layer of a real network, in the words of `jaxconv.conv` and `jaxconv.conv_transpose`.

    Args:
      name: unique, in kebab case; every measurement names one.
      source: the network or the report it comes from, and what was shrunk.
      batch: N.
      spatial: size of the layer's own input for each axis.
      in_features: channels of the layer's own input.
      out_features: channels of the layer's own output.
      kernel: taps for each axis.
      stride: one for all axes or one for each.
      dilation: one for all axes or one for each.
      groups: number of independent channel groups.
      padding: as in `jaxconv.conv`, or for a transposed layer as in `jaxconv.conv_transpose`.
      output_padding: of a transposed layer.
      transposed: whether the layer is a transposed convolution.
      quick: whether it belongs to the subset of a quick run.
    """

    name: str
    source: str
    batch: int
    spatial: tuple[int, ...]
    in_features: int
    out_features: int
    kernel: tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    padding: Padding = "SAME"
    output_padding: int = 0
    transposed: bool = False
    quick: bool = False

    @cached_property
    def spec(self) -> ConvSpec:
        """The form; for a transposed layer, that of the convolution which it is the adjoint of."""
        geometry = {
            "size": self.spatial,
            "kernel": self.kernel,
            "stride": self.stride,
            "dilation": self.dilation,
        }
        if self.transposed:
            axes = normalize_transposed(self.padding, output_padding=self.output_padding, **geometry)
            return ConvSpec(self.batch, self.out_features, self.in_features, self.groups, axes)
        axes = normalize(self.padding, **geometry)
        return ConvSpec(self.batch, self.in_features, self.out_features, self.groups, axes)

    def form(self, slot: Slot) -> tuple[Slot, tuple[Array, Array]]:
        """The form's slot that one of the layer's slots is, and which of the layer's arrays it takes."""
        return _FORM[self.transposed][slot]

    @property
    def shapes(self) -> dict[Array, tuple[int, ...]]:
        """Shapes of the layer's input, its kernel, and the cotangent of its output."""
        x, g = self.spec.input_shape, self.spec.output_shape
        return {
            "x": g if self.transposed else x,
            "kernel": self.spec.kernel_shape,
            "g": x if self.transposed else g,
        }

    @cached_property
    def tags(self) -> frozenset[str]:
        """What the shape is an example of, to select by and to average over."""
        axes = self.spec.axes
        depthwise = self.groups > 1 and self.groups == min(self.in_features, self.out_features)
        holds = {
            "depthwise": depthwise,
            "grouped": self.groups > 1 and not depthwise,
            "transposed": self.transposed,
            "pointwise": all(k == 1 for k in self.kernel),
            "dilated": any(a.dilation > 1 for a in axes),
            "strided": any(a.stride > 1 for a in axes),
            "large-kernel": max(self.kernel) >= 7,
            "tiny-map": max(self.spatial) <= 4,
            "single": self.batch == 1,
            "quick": self.quick,
        }
        return frozenset({f"{len(self.kernel)}d"} | {tag for tag, held in holds.items() if held})
