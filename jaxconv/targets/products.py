"""The convolutions and matrix products of a compiled program, and the multiply-adds that they execute."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal

from .hlo import Instruction, Program, ints

Kind = Literal["forward", "input gradient", "weight gradient", "convolution", "dot"]

# The custom calls of XLA's GPU backend.
_CUDNN: dict[str, Kind] = {
    "__cudnn$convForward": "forward",
    "__cudnn$convBiasActivationForward": "forward",
    "__cudnn$convForwardGraph": "forward",
    "__cudnn$convBackwardInput": "input gradient",
    "__cudnn$convBackwardFilter": "weight gradient",
}
_GEMM = ("__cublas$gemm", "__cublas$lt$matmul", "__triton_gemm")


@dataclasses.dataclass(frozen=True)
class Product:
    """One convolution or matrix product as the device runs it.

    Attributes:
      name: of the instruction.
      kind: cuDNN's three operators; "convolution" is XLA's own instruction, for which a GPU has a plain loop
        only and a TPU its matrix unit; "dot" is a matrix product.
      dtype: of the result.
      window: taps along each spatial axis; of a dot, none.
      result: the spatial sizes of the result.
      places: how many positions of the window there are along each axis.
      stride: of the window.
      base_dilation: positions between elements of the input; zeros are in between.
      dilation: positions between taps.
      groups: of channels.
      channels: of input and output.
      contracted: channels of one group that each tap adds up.
      multiply_adds: executed, zeros included, in all runs.
      stuffed: whether its first, and its second operand has zeros between elements.
      padded: whether the window reaches over the border of the input.
    """

    name: str
    kind: Kind
    dtype: str
    window: tuple[int, ...] = ()
    result: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    base_dilation: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    channels: tuple[int, int] = (1, 1)
    contracted: int = 1
    multiply_adds: int = 0
    stuffed: tuple[bool, bool] = (False, False)
    padded: bool = False

    def __str__(self) -> str:
        """The line of a report."""
        shape = "x".join(map(str, self.window))
        details = {
            "stride": self.stride,
            "dilation": self.dilation,
            "base dilation": self.base_dilation,
        }
        extra = [f"{k} {'x'.join(map(str, v))}" for k, v in details.items() if any(n > 1 for n in v)]
        if self.groups > 1:
            extra.append(f"{self.groups} groups")
        words = ", ".join([f"window {shape}" if shape else "", *extra]).strip(", ")
        return f"{self.kind}{f' ({words})' if words else ''}: {self.multiply_adds:,} multiply-adds"


def products(program: Program) -> list[Product]:
    """All convolutions and matrix products that run, fused ones included.

    Example:
      >>> from jaxconv.targets.hlo import parse
      >>> [p] = products(parse('''
      ... ENTRY %main (x: f32[5,4], w: f32[4,3]) -> f32[5,3] {
      ...   %x = f32[5,4]{1,0} parameter(0)
      ...   %w = f32[4,3]{1,0} parameter(1)
      ...   ROOT %y = f32[5,3]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
      ... }'''))
      >>> print(p)
      dot: 60 multiply-adds
    """
    found: list[Product] = []
    for i, times in program.instructions():
        target = i.attribute("custom_call_target").strip('"')
        if i.opcode == "dot" or target in _GEMM:
            found.append(_dot(program, i, times))
        elif i.opcode == "convolution" or target in _CUDNN:
            found.append(_convolution(program, i, times, _CUDNN.get(target, "convolution")))
    return found


def _dot(program: Program, i: Instruction, times: int) -> Product:
    left = program.shape(i.operands[0])
    contracted = ints(i.attribute("lhs_contracting_dims"))
    if not contracted:  # cuBLAS has them in its configuration
        found = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', i.attributes)
        contracted = ints(found[1]) if found else ()
    depth = math.prod(left[d] for d in contracted)
    return Product(i.name, "dot", i.dtype, contracted=depth, multiply_adds=times * i.elements * depth)


def _convolution(program: Program, i: Instruction, times: int, kind: Kind) -> Product:
    shapes = [program.shape(name) for name in i.operands[:2]]
    labels = re.split(r"_|->", i.attribute("dim_labels"))
    # cuDNN's gradients are described by the convolution that they are gradients of.
    x, kernel, y = {
        "input gradient": (i.shape, shapes[1], shapes[0]),
        "weight gradient": (shapes[0], i.shape, shapes[1]),
    }.get(kind, (shapes[0], shapes[1], i.shape))
    x, kernel, y = (
        dict(zip(label, shape, strict=False)) for label, shape in zip(labels, (x, kernel, y), strict=True)
    )
    rank = sum(label.isdigit() for label in labels[2])
    window = dict(item.split("=") for item in i.attribute("window").split() if "=" in item)
    size, ones = _axes(window.get("size", "")) or (1,) * rank, (1,) * rank
    places = tuple(y[str(d)] for d in range(rank))
    groups = int(i.attribute("feature_group_count") or 1)
    batch_groups = int(i.attribute("batch_group_count") or 1)
    spatial = x if kind == "input gradient" else kernel if kind == "weight gradient" else y
    # A kernel's inputs are a group's; in a description with batch groups they are those of all.
    executed = y["b"] * y["f"] * math.prod(places) * math.prod(size) * kernel["i"]
    return Product(
        i.name,
        kind,
        i.dtype,
        size if rank else (),
        tuple(spatial[str(d)] for d in range(rank)),
        places,
        _axes(window.get("stride", "")) or ones,
        _axes(window.get("lhs_dilate", "")) or ones,
        _axes(window.get("rhs_dilate", "")) or ones,
        max(groups, batch_groups),
        (x["f"], y["f"]),
        kernel["i"],
        times * executed,
        (program.stuffed(i.operands[0]), program.stuffed(i.operands[1])),
        any(n > 0 for n in ints(window.get("pad", "").replace("x", " ").replace("_", " "))),
    )


def _axes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x"))) if text else ()
