"""Convolutions, pools, resizes and products as nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...geometry import Axis
from ...geometry.resample import Resample
from ...graph import Node, Value
from ...ops.resample_weights import dense
from .emit import Emitter, Held, Window
from .write_elements import cast, elementwise, same

Pads = Sequence[tuple[int, int]]


def bordered(emit: Emitter, name: str, shape: Sequence[int], pads: Pads, value: str = "") -> str:
    """A value with borders, cropped where they are negative."""
    axes = range(len(shape))
    if any(min(pair) < 0 for pair in pads):
        starts = [max(-lo, 0) for lo, _ in pads]
        ends = [n - max(-hi, 0) for n, (_, hi) in zip(shape, pads, strict=True)]
        name = emit.node("Slice", name, emit.ints(*starts), emit.ints(*ends), emit.ints(*axes))
    if any(max(pair) > 0 for pair in pads):
        amounts = [max(p[end], 0) for end in (0, 1) for p in pads]
        name = emit.node("Pad", name, emit.ints(*amounts), *([value] if value else []))
    return name


def _listed(pads: Pads) -> list[int]:
    return [p[end] for end in (0, 1) for p in pads]


def _finished(emit: Emitter, node: Node, order: Sequence[int], name: str) -> None:
    """The result, in the dtype that was asked for."""
    result = node.results[0]
    if result.dtype != node.operands[0].dtype:
        name = cast(emit, name, result.dtype)
    emit.make(result, order, name)


def _conv(emit: Emitter, node: Node, orders: Any, axes: Sequence[Axis], groups: int) -> None:
    """`orders` are those of the input and the kernel, (out, in, *window), and of the result."""
    x, kernel = node.operands
    pads = [(a.lo, a.hi) for a in axes]
    name = emit.plain(x, orders[0])
    crops = [(min(lo, 0), min(hi, 0)) for lo, hi in pads]
    if any(min(pair) for pair in crops):
        name = bordered(emit, name, [x.shape[i] for i in orders[0]], [(0, 0), (0, 0), *crops])
    name = emit.node(
        "Conv",
        name,
        emit.plain(kernel, orders[1]),
        kernel_shape=[a.kernel for a in axes],
        strides=[a.stride for a in axes],
        dilations=[a.dilation for a in axes],
        pads=_listed([(max(lo, 0), max(hi, 0)) for lo, hi in pads]),
        group=groups,
    )
    _finished(emit, node, orders[2], name)


def _transposed(
    emit: Emitter, node: Node, orders: Any, weight: str, axes: Sequence[Axis], groups: int
) -> None:
    """`axes` are those of the convolution that is transposed: their `out` is the size of the operand here."""
    pads = [(a.lo, (a.out - 1) * a.stride + a.span - a.lo - a.size) for a in axes]
    name = emit.node(
        "ConvTranspose",
        emit.plain(node.operands[0], orders[0]),
        weight,
        kernel_shape=[a.kernel for a in axes],
        strides=[a.stride for a in axes],
        dilations=[a.dilation for a in axes],
        pads=_listed([(max(lo, 0), max(hi, 0)) for lo, hi in pads]),
        group=groups,
    )
    beyond = [(max(-lo, 0), max(-hi, 0)) for lo, hi in pads]
    name = bordered(emit, name, (), [(0, 0), (0, 0), *beyond])
    _finished(emit, node, orders[1], name)


def _first(rank: int) -> tuple[int, ...]:
    """Channels first, of an array with channels last."""
    return 0, rank + 1, *range(1, rank + 1)


def _kernel_order(rank: int) -> tuple[int, ...]:
    return rank + 1, rank, *range(rank)


def _forward(emit: Emitter, node: Node) -> None:
    spec = node.params["spec"]
    if any(a.base != 1 for a in spec.axes):
        raise ValueError("the gradient of a transposed convolution has no operator.")
    orders = (_first(spec.rank), _kernel_order(spec.rank), _first(spec.rank))
    _conv(emit, node, orders, spec.axes, spec.groups)


def _input_grad(emit: Emitter, node: Node) -> None:
    spec = node.params["spec"]
    weight = emit.plain(node.operands[1], _kernel_order(spec.rank))
    _transposed(emit, node, (_first(spec.rank),) * 2, weight, spec.axes, spec.groups)


def _general(emit: Emitter, node: Node) -> None:
    """Lax's convolution; one with a dilated input is written as the transposed one that it is."""
    p, (x, kernel) = node.params, node.operands
    lhs, rhs, out = p["dimension_numbers"]
    if p["batch_group_count"] != 1:
        raise ValueError("a convolution with groups of the batch has no operator.")
    geometry = zip(
        *(p["window_strides"], p["rhs_dilation"], p["padding"], p["lhs_dilation"]),
        lhs[2:],
        rhs[2:],
        strict=True,
    )
    axes, dilated = [], []
    for stride, dilation, (lo, hi), base, at, window in geometry:
        axes.append(Axis(x.shape[at], kernel.shape[window], stride, dilation, lo, hi))
        dilated.append(base)
    if set(dilated) == {1}:
        return _conv(emit, node, (lhs, rhs, out), axes, p["feature_group_count"])
    if p["feature_group_count"] != 1 or any(a.stride != 1 for a in axes):
        raise ValueError("a convolution with strides or groups of a dilated input has no operator.")
    adjoint = [
        Axis(node.results[0].shape[o], a.kernel, base, a.dilation, a.span - 1 - a.lo, a.span - 1 - a.hi)
        for a, base, o in zip(axes, dilated, out[2:], strict=True)
    ]
    for a, own in zip(adjoint, axes, strict=True):
        if a.out != own.size:
            raise ValueError("this convolution of a dilated input is not a transposed one.")
    weight = emit.ordered(emit.of(kernel), (rhs[1], rhs[0], *rhs[2:]))
    if weight.array is None:
        raise ValueError("the kernel of a convolution of a dilated input must be a parameter.")
    flipped = np.flip(weight.array, tuple(range(2, weight.array.ndim)))
    return _transposed(emit, node, (lhs, out), emit.name(weight.again(weight.order, flipped)), adjoint, 1)


def _sums(emit: Emitter, node: Node) -> None:
    """Sums of windows: their means, times how many positions a window has."""
    x, *taps = node.operands
    if taps:
        raise ValueError("elements taken from windows by their places have no operator.")
    windows: tuple[Any, ...] = node.params["windows"]
    if not all(isinstance(a, Axis) for a in windows):
        raise ValueError("windows of unequal sizes have no operator.")
    order = _first(len(windows))
    window = [(a.kernel, a.stride, a.dilation, (a.lo, max(a.hi, 0))) for a in windows]
    name = _pool(emit, "AveragePool", emit.plain(x, order), window)
    emit.make(node.results[0], order, _scaled(emit, name, x.dtype, [a.kernel for a in windows]))


def _scaled(emit: Emitter, name: str, dtype: Any, window: Sequence[int]) -> str:
    return emit.node("Mul", name, emit.number(math.prod(window), dtype))


def _pool(emit: Emitter, op: str, name: str, window: Sequence[tuple[int, int, int, tuple[int, int]]]) -> str:
    """Of (kernel, stride, dilation, padding) for each axis in space."""
    kernels, strides, dilations, pads = zip(*window, strict=True)
    more: dict[str, Any] = {"count_include_pad": 1} if op == "AveragePool" else {}
    if set(dilations) != {1}:
        more["dilations"] = list(dilations)
    return emit.node(op, name, kernel_shape=kernels, strides=strides, pads=_listed(pads), **more)


def _reduce_window(op: str) -> Callable[[Emitter, Node], None]:
    def rule(emit: Emitter, node: Node) -> None:
        p, x = node.params, node.operands[0]
        if any(n != 1 for n in p["base_dilation"]):
            raise ValueError("windows of a dilated input have no operator.")
        window = list(
            zip(p["window_dimensions"], p["window_strides"], p["window_dilation"], p["padding"], strict=True)
        )
        moving = [i for i, w in enumerate(window) if (w[0], w[1], tuple(w[3])) != (1, 1, (0, 0))]
        still = [i for i in range(len(window)) if i not in moving]
        if len(still) < 2:
            raise ValueError("windows over all dimensions have no operator; keep a batch and channels.")
        order = (still[0], still[-1], *sorted({*moving, *still[1:-1]}))
        name, space = emit.plain(x, order), [window[i] for i in order[2:]]
        if op == "sum":
            name = _pool(emit, "AveragePool", name, space)
            name = _scaled(emit, name, x.dtype, [w[0] for w in space])
        elif op == "max":
            name = _pool(emit, "MaxPool", name, space)
        else:
            name = emit.node("Neg", _pool(emit, "MaxPool", emit.node("Neg", name), space))
        emit.make(node.results[0], order, name)

    return rule


def _max_pool(emit: Emitter, window: Window) -> str | None:
    """The pool that the maximum of slices is, together with those and the borders that it is taken of.

    None if it is none. The order of its axes is that of the slices.
    """
    along: dict[int, tuple[int, int, int]] = {}
    held: Held = window.of
    here: Window | None = window
    while here is not None and here.axis not in along:
        first, *others = here.starts
        dilation = others[0] - first if others else 1
        span = dilation * len(others) + 1
        if first or (here.of.shape[here.of.order.index(here.axis)] - span) // here.stride + 1 != here.out:
            break
        along[here.axis] = len(here.starts), here.stride, dilation
        held = here.of
        here = held.window if not held.name else None
    rank = len(held.order)
    still = [i for i in range(rank) if i not in along]
    if not along or window.axis not in along or len(still) < 2:
        return None
    pads = [(0, 0)] * rank
    if (
        held.padded
        and not held.name
        and all(max(held.padded[1][i]) < along.get(i, (1,))[0] for i in range(rank))
    ):
        held, pads = held.padded
    order = (still[0], still[-1], *sorted({*along, *still[1:-1]}))
    space = [(*along.get(i, (1, 1, 1)), pads[i]) for i in order[2:]]
    name = _pool(emit, "MaxPool", emit.name(emit.ordered(held, order)), space)
    back = window.of.order
    return name if back == order else emit.node("Transpose", name, perm=[order.index(i) for i in back])


def _maximum(emit: Emitter, node: Node) -> None:
    """Of slices of one array: the windows of a pool, written when the last is known."""
    a, b = (emit.of(v) for v in node.operands)
    for x, zero in (node.operands, node.operands[::-1]):
        floats = jnp.issubdtype(x.dtype, jnp.floating)
        if floats and x.shape and zero.kind == "literal" and zero.data == 0:
            return elementwise(emit, node, lambda name: emit.node("Relu", name), (x,))
    windows = a.window.joined(b.window) if a.window and b.window else None
    if windows is None or len(b.window.starts if b.window else ()) != 1:
        return same(emit, node)

    def make() -> str:
        pooled = _max_pool(emit, windows)
        return pooled or emit.node("Max", *(emit.name(h) for h in (a, emit.ordered(b, a.order))))

    held = Held(a.order, a.shape, a.dtype, make=make, window=windows)
    emit.held[node.results[0]] = held
    return None


def _resample(emit: Emitter, node: Node) -> None:
    by: Resample = node.params["by"]
    x, axis = node.operands[0], node.params["axis"]
    held = emit.full(emit.of(x), x.shape)
    attributes = None if node.params["transposed"] else _resize_attributes(by)
    if attributes is None:
        order = (*(i for i in held.order if i != axis), axis)
        matrix = dense(by, node.params["transposed"]).T.astype(x.dtype)
        name = emit.node("MatMul", emit.name(emit.ordered(held, order)), emit.constant(matrix, "resize"))
        return emit.make(node.results[0], order, name)
    at = held.order.index(axis)
    step = by.spacing if by.step is None else by.step
    scales = [1.0] * len(held.order)
    scales[at] = by.out / by.size if by.align_corners else 1 / step
    fits = math.floor(np.float32(by.size) * np.float32(scales[at])) == by.out
    name = emit.name(held)
    if fits:
        name = emit.node(
            "Resize", name, "", emit.constant(np.array(scales, np.float32), "scales"), **attributes
        )
    else:
        sizes = [by.out if i == at else n for i, n in enumerate(held.shape)]
        name = emit.node("Resize", name, "", "", emit.ints(*sizes), **attributes)
    return emit.make(node.results[0], held.order, name)


def _resize_attributes(by: Resample) -> dict[str, Any] | None:
    """Of an equal Resize, or None where onnxruntime has none for any layout: a product says it all."""
    exact = by.step is None or by.align_corners or by.step == by.size / by.out
    if not exact or by.method not in ("nearest", "nearest-exact", "linear"):
        return None
    if by.method == "linear":
        if by.antialias or by.border != "replicate":
            return None
        how = "align_corners" if by.align_corners else "half_pixel"
        return {"mode": "linear", "coordinate_transformation_mode": how}
    whole = by.out % by.size == 0
    if not whole:  # between two pixels float32 decides, differently in each library
        return None
    how = "asymmetric" if by.method == "nearest" else "half_pixel"
    rounding = "floor" if by.method == "nearest" else "round_prefer_ceil"
    return {"mode": "nearest", "coordinate_transformation_mode": how, "nearest_mode": rounding}


def _dot(emit: Emitter, node: Node) -> None:
    (lc, rc), (lb, rb) = node.params["dimension_numbers"]
    a, b = node.operands
    order = range(len(node.results[0].shape))
    last = len(a.shape) - 1
    if not lb and tuple(lc) == (last,) and tuple(rc) == (0,) and len(b.shape) == 2:
        return _finished(emit, node, order, emit.node("MatMul", emit.plain(a), emit.plain(b)))
    return _finished(emit, node, order, _einsum(emit, a, b, (lc, rc), (lb, rb)))


def _einsum(emit: Emitter, a: Value, b: Value, contracted: Any, batch: Any) -> str:
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left = [next(letters) for _ in a.shape]
    right = [next(letters) for _ in b.shape]
    for i, j in (*zip(*contracted, strict=True), *zip(*batch, strict=True)):
        right[j] = left[i]
    result = [left[i] for i in batch[0]]
    result += [c for i, c in enumerate(left) if i not in (*contracted[0], *batch[0])]
    result += [c for j, c in enumerate(right) if j not in (*contracted[1], *batch[1])]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(result)}"
    return emit.node("Einsum", emit.plain(a), emit.plain(b), equation=equation)


RULES: dict[str, Callable[[Emitter, Node], None]] = {
    "conv_forward": _forward,
    "conv_input_grad": _input_grad,
    "conv_general_dilated": _general,
    "pool_pick": _sums,
    "reduce_window_sum": _reduce_window("sum"),
    "reduce_window_max": _reduce_window("max"),
    "reduce_window_min": _reduce_window("min"),
    "max": _maximum,
    "resample": _resample,
    "dot_general": _dot,
}
