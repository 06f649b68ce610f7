"""Pathologies of a compiled program: forms of a convolution that cost a multiple of its work."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from .products import Product

# A sum over the map that is the window of a forward convolution is told from a large kernel by this many
# times more positions in the window than in the result.
_MUCH = 2
# As many as multiply-accumulates pay for, and the positions of the result that each of them needs: else, and
# with a stride, they move more bytes than XLA's convolution does.
_FEW_TAPS, _PLACES = 32, 16


@dataclasses.dataclass(frozen=True)
class Finding:
    """One pathology.

    Attributes:
      kind: its name, in kebab case.
      problem: what the program does.
      remedy: what to do about it.
      where: the instruction.
    """

    kind: str
    problem: str
    remedy: str
    where: str

    def __str__(self) -> str:
        """Two sentences."""
        return f"{self.kind} in {self.where}: {self.problem} {self.remedy}"


def findings(products: list[Product], platform: str, kernel: tuple[int, ...] | None = None) -> list[Finding]:
    """What is wrong with the products of a program.

    Args:
      products: of the program.
      platform: "cuda" or "tpu".
      kernel: the taps along each axis of the largest kernel, where it is known: then any window beyond it is
        a finding. Otherwise a window is one that has far more positions than the result.

    Returns:
      The findings, in the order of the program.

    Example:
      >>> bad = Product("conv.1", "forward", "f32", (55, 55), (3, 3), (3, 3), multiply_adds=1)
      >>> [f.kind for f in findings([bad], "cuda")]
      ['oversized-window']
    """
    find = _cuda if platform == "cuda" else _tpu
    return [found for p in products if p.kind != "dot" for found in find(p, kernel)]


def _cuda(p: Product, kernel: tuple[int, ...] | None) -> Iterator[Finding]:
    if p.kind == "convolution":
        deep = len(p.window) > 3
        why = f"{len(p.window)} spatial dimensions" if deep else "a form that cuDNN has no operator for"
        yield Finding(
            "loop-emitter",
            f"A convolution of {why} runs as a plain loop, without cuDNN.",
            "Use matrix products: jaxconv's shifted_matmul or im2col.",
            p.name,
        )
    yield from _window(p, kernel)
    if p.stuffed[0] or any(n > 1 for n in p.base_dilation):
        yield Finding(
            "zero-stuffed-input",
            "The input is stuffed with zeros and convolved, as no input gradient of cuDNN's.",
            "Call jaxconv.conv_transpose or conv_input_grad, or jaxconv.install() for a library's layers.",
            p.name,
        )
    if p.stuffed[1]:
        yield Finding(
            "dilated-kernel",
            "The kernel (or the cotangent in its place) is written out with zeros between its taps.",
            "Pad alike on both sides, or use jaxconv's operators, which add any other border beforehand.",
            p.name,
        )
    half = p.dtype in ("bf16", "f16")
    odd = [c for c in p.channels if c % 8]
    if half and odd and p.groups == 1 and p.kind != "convolution":
        yield Finding(
            "odd-channels",
            f"{p.dtype} channels {p.channels[0]} -> {p.channels[1]} do not divide by 8: tensor cores idle.",
            "Pad the channels to a multiple of 8 in the layer before.",
            p.name,
        )


def _tpu(p: Product, kernel: tuple[int, ...] | None) -> Iterator[Finding]:
    del kernel  # a map as window is TPU's own form of a weight gradient
    depthwise = p.groups > 1 and p.groups in p.channels and {*p.stride, *p.base_dilation} <= {1}
    if depthwise and 1 < math.prod(p.window) <= min(_FEW_TAPS, math.prod(p.result) // _PLACES):
        yield Finding(
            "native-depthwise",
            "The arrays of a depthwise convolution are rearranged for the matrix unit, and back.",
            "Use multiply-accumulates: jaxconv's depthwise_mac.",
            p.name,
        )


def _window(p: Product, kernel: tuple[int, ...] | None) -> Iterator[Finding]:
    if p.kind == "weight gradient":
        return
    taps = math.prod(p.window)
    if kernel is None:
        # A kernel that covers a whole map is a matrix product, and no finding.
        large = taps > _MUCH * math.prod(p.result) and (math.prod(p.result) > 1 or p.padded)
    else:
        large = taps > math.prod(kernel) or max(p.window, default=1) > max(kernel)
    if large:
        yield Finding(
            "oversized-window",
            f"The window is {_by(p.window)} for a result of {_by(p.result)}: an activation, or a kernel with "
            "zeros between its taps, stands in the kernel's place.",
            "Use jaxconv's operators, whose weight gradients are cuDNN's or matrix products.",
            p.name,
        )


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
