"""Pools: windows that are reduced, and the way back."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...geometry.pool import windows
from ...ops.conv import conv
from ...ops.pool import max_pool, max_unpool
from ...ops.pool_mean import avg_pool
from .convs import geometry, wrong_auto_pad
from .nodes import Node, Op, Value, bounded, ints, root

_FIRST: Any = {"layout": "channels_first"}


def _window(node: Node, x: Value) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Any]:
    """Its size, strides, dilations and padding."""
    window = node.get("kernel_shape")
    strides, dilations, padding = geometry(node, x, len(window))
    bounded([n + (k - 1) * d for n, k, d in zip(x.shape[2:], window, dilations, strict=True)])
    return window, strides, dilations, padding


def _max_pool(node: Node, x: Value) -> Value:
    window, strides, dilations, padding = _window(node, x)
    options: Any = {
        "stride": strides,
        "padding": padding,
        "dilation": dilations,
        "ceil_mode": bool(node.get("ceil_mode", 0)),
        **_FIRST,
    }
    if len(node.outputs) < 2 or not node.outputs[1]:
        return max_pool(x, window, **options)
    y, indices = max_pool(x, window, return_indices=True, **options)
    return y, _numbered(indices, x.shape, by_column=bool(node.get("storage_order", 0)))


def _numbered(indices: Value, shape: tuple[int, ...], *, by_column: bool) -> Value:
    """Places in space as ONNX numbers them: over the whole array."""
    n, c, *space = shape
    if by_column:
        places = jnp.unravel_index(indices, space)
        indices = sum(p * math.prod(space[:i]) for i, p in enumerate(places))
    planes = np.arange(n * c, dtype=np.int32).reshape(n, c, *(1 for _ in space))
    return indices + planes * math.prod(space)


def _max_unpool(node: Node, x: Value, indices: Value, output_shape: Value = None) -> Value:
    window, strides, _, pads = _window(node, x)
    size = bounded(
        [
            (n - 1) * s - lo - hi + k
            for n, s, (lo, hi), k in zip(x.shape[2:], strides, pads, window, strict=True)
        ]
    )
    y = max_unpool(
        x, jnp.asarray(indices) % math.prod(size), window, stride=strides, output_size=size, **_FIRST
    )
    if output_shape is None:
        return y
    wanted = bounded(ints(output_shape, "output_shape"))[2:]
    if any(n < m for n, m in zip(wanted, size, strict=True)):
        raise ValueError(f"output_shape {wanted} is smaller than {tuple(size)}, which its indices are of.")
    behind = [(0, n - m) for n, m in zip(wanted, size, strict=True)]
    return jnp.pad(y, [(0, 0), (0, 0), *behind])


def _sums(node: Node, x: Value) -> tuple[Value, np.ndarray, np.ndarray]:
    """The sum of each window, and how many positions it holds with padding and without."""
    window, strides, dilations, padding = _window(node, x)
    ceil_mode = bool(node.get("ceil_mode", 0))
    axes, asked = windows(
        padding, size=x.shape[2:], window=window, stride=strides, dilation=dilations, ceil_mode=ceil_mode
    )
    if set(dilations) == {1}:
        pads = [(axis.lo, max(hi, 0)) for axis, hi in zip(axes, asked, strict=True)]
        sums = avg_pool(
            x, window, stride=strides, padding=pads, ceil_mode=ceil_mode, divisor_override=1, **_FIRST
        )
    else:
        ones = jnp.ones((*window, 1, x.shape[1]), x.dtype)
        pads = [(axis.lo, axis.hi) for axis in axes]
        sums = conv(x, ones, stride=strides, padding=pads, dilation=dilations, groups=x.shape[1], **_FIRST)
    counts = []
    for included in (True, False):
        number = np.ones((), np.int64)
        for axis, hi in zip(axes, asked, strict=True):
            least, most = (-axis.lo, axis.size + hi) if included else (0, axis.size)
            places = (
                np.arange(axis.out)[:, None] * axis.stride + np.arange(axis.kernel) * axis.dilation - axis.lo
            )
            number = number[..., None] * ((places >= least) & (places < most)).sum(1)
        counts.append(number)
    return sums, counts[0], counts[1]


def _average_pool(node: Node, x: Value) -> Value:
    sums, with_padding, without = _sums(node, x)
    counts = with_padding if node.get("count_include_pad", 0) else without
    return sums / counts[None, None].astype(sums.dtype)


def _lp_pool(node: Node, x: Value) -> Value:
    p = node.get("p", 2)
    return root(_sums(node, jnp.abs(x) ** p)[0], p)


def _space(x: Value) -> tuple[int, ...]:
    if x.ndim < 3:
        raise ValueError(f"its operand has shape {x.shape}; wanted (N, C, *spatial).")
    return tuple(range(2, x.ndim))


def _global_average(_: Node, x: Value) -> Value:
    return jnp.mean(x, _space(x), keepdims=True)


def _global_max(_: Node, x: Value) -> Value:
    return jnp.max(x, _space(x), keepdims=True)


def _global_lp(node: Node, x: Value) -> Value:
    p = node.get("p", 2)
    return root(jnp.sum(jnp.abs(x) ** p, _space(x), keepdims=True), p)


def _unwanted(node: Node) -> str | None:
    if "kernel_shape" not in node.attributes:
        return "it has no kernel_shape"
    return wrong_auto_pad(node)


_WINDOW = "auto_pad ceil_mode dilations kernel_shape pads strides"
OPS = {
    "MaxPool": Op(_max_pool, f"{_WINDOW} storage_order", refuses=_unwanted, results=2),
    "AveragePool": Op(_average_pool, f"{_WINDOW} count_include_pad", refuses=_unwanted),
    "LpPool": Op(_lp_pool, f"{_WINDOW} p", refuses=_unwanted),
    "MaxUnpool": Op(_max_unpool, "kernel_shape pads strides", static=(2,), refuses=_unwanted),
    "GlobalAveragePool": Op(_global_average),
    "GlobalMaxPool": Op(_global_max),
    "GlobalLpPool": Op(_global_lp, "p"),
}
