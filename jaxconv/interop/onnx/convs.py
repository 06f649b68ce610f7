"""Convolutions and products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ...ops.conv import conv, conv_transpose
from ..torch import conv_kernel, conv_transpose_kernel
from .nodes import Node, Op, Value, aligned, bounded, namespace

Pads = list[tuple[int, int]]


def geometry(node: Node, x: Value, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], Any]:
    """Strides, dilations and padding as jaxconv spells them, for windows of `rank` spatial dimensions."""
    if x.ndim != rank + 2:
        raise ValueError(f"its operand has shape {x.shape}; wanted (N, C) and {rank} spatial dimensions.")
    ones = (1,) * rank
    strides, dilations = node.get("strides", ones), node.get("dilations", ones)
    pads = node.get("pads", (0,) * 2 * rank)
    for name, value, length in (
        ("strides", strides, rank),
        ("dilations", dilations, rank),
        ("pads", pads, 2 * rank),
    ):
        if len(value) != length:
            raise ValueError(
                f"{name}={list(value)} has {len(value)} entries; {rank} dimensions want {length}."
            )
    names = {"SAME_UPPER": "SAME", "SAME_LOWER": "SAME_LOWER", "VALID": "VALID"}
    auto = node.get("auto_pad", "NOTSET")
    explicit = list(zip(pads[:rank], pads[rank:], strict=True))
    bounded([n + lo + hi for n, (lo, hi) in zip(x.shape[2:], explicit, strict=True)])
    return strides, dilations, names.get(auto, explicit)


def wrong_auto_pad(node: Node) -> str | None:
    """Refuses a name that ONNX does not have."""
    auto = node.get("auto_pad", "NOTSET")
    known = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    return None if auto in known else f"auto_pad={auto!r} is none of {', '.join(known)}"


def _check_window(node: Node, window: Sequence[int]) -> None:
    if tuple(node.get("kernel_shape", window)) != tuple(window):
        raise ValueError(
            f"kernel_shape={list(node.get('kernel_shape'))}, and its weight's is {list(window)}."
        )


def _conv(node: Node, x: Value, weight: Value, bias: Value = None) -> Value:
    kernel = conv_kernel(jnp.asarray(weight))
    _check_window(node, kernel.shape[:-2])
    strides, dilations, padding = geometry(node, x, kernel.ndim - 2)
    return conv(
        x,
        kernel,
        bias,
        stride=strides,
        padding=padding,
        dilation=dilations,
        groups=node.get("group", 1),
        layout="channels_first",
    )


def _conv_transpose(node: Node, x: Value, weight: Value, bias: Value = None) -> Value:
    kernel = conv_transpose_kernel(jnp.asarray(weight))
    window = kernel.shape[:-2]
    _check_window(node, window)
    strides, dilations, padding = geometry(node, x, len(window))
    crops = _cropped(node, x.shape[2:], window, strides, dilations, padding)
    whole = zip(x.shape[2:], strides, window, dilations, crops, strict=True)
    bounded([n * s + k * d + max(-lo, 0) + max(-hi, 0) for n, s, k, d, (lo, hi) in whole])
    return conv_transpose(
        x,
        kernel,
        bias,
        stride=strides,
        padding=crops,
        dilation=dilations,
        groups=node.get("group", 1),
        layout="channels_first",
    )


def _cropped(
    node: Node, sizes: Sequence[int], window: Sequence[int], strides: Any, dilations: Any, padding: Any
) -> Pads:
    """What is cropped in front and behind.

    output_padding lengthens the end, so it is cropped less there; a size that is asked for, with SAME that
    is size * stride, is made by cropping both ends, the odd position in front but for SAME_UPPER.
    """
    rank = len(window)
    extra = node.get("output_padding", (0,) * rank)
    wanted = node.get("output_shape")
    if padding in ("SAME", "SAME_LOWER") and wanted is None:
        wanted = [n * s for n, s in zip(sizes, strides, strict=True)]
    if wanted is None:
        explicit: Any = [(0, 0)] * rank if padding == "VALID" else padding
        return [(lo, hi - e) for (lo, hi), e in zip(explicit, extra, strict=True)]
    crops = []
    for n, k, s, d, e, out in zip(sizes, window, strides, dilations, extra, wanted[-rank:], strict=True):
        total = (n - 1) * s + e + (k - 1) * d + 1 - out
        lo = total // 2 if padding == "SAME" else total - total // 2
        crops.append((lo, total - lo - e))
    return crops


def _gemm(node: Node, a: Value, b: Value, c: Value = None) -> Value:
    xp = namespace(a, b, c)
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    y = _times(xp.matmul(a, b), node.get("alpha", 1.0))
    if c is None:
        return y
    return y + aligned(y, _times(c, node.get("beta", 1.0)))[1]


def _times(x: Value, factor: float) -> Value:
    return x if factor == 1 else (x * factor).astype(x.dtype)


def _matmul(_: Node, a: Value, b: Value) -> Value:
    return namespace(a, b).matmul(a, b)


def _einsum(node: Node, *operands: Value) -> Value:
    return jnp.einsum(node.get("equation"), *operands)


_WINDOW = "auto_pad dilations group kernel_shape pads strides"
OPS = {
    "Conv": Op(_conv, _WINDOW, refuses=wrong_auto_pad),
    "ConvTranspose": Op(_conv_transpose, f"{_WINDOW} output_padding output_shape", refuses=wrong_auto_pad),
    "Gemm": Op(_gemm, "alpha beta transA transB"),
    "MatMul": Op(_matmul),
    "Einsum": Op(_einsum, "equation"),
}
