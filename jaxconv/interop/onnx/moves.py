"""Operations that move elements: shapes, slices, borders, and what shapes are computed with."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...ops.shuffle import pixel_shuffle, pixel_unshuffle
from .nodes import Node, Op, Value, axis_of, bounded, host, ints, namespace


def _concat(node: Node, *operands: Value) -> Value:
    axis = axis_of(node.get("axis"), operands[0].ndim)
    return namespace(*operands).concatenate(operands, axis)


def _slice(node: Node, x: Value, *given: Value) -> Value:
    """Starts, ends, axes and steps are attributes below opset 10."""
    if node.opset < 10:
        starts, ends, axes, steps = node.get("starts"), node.get("ends"), node.get("axes"), None
    else:
        names = ("starts", "ends", "axes", "steps")
        starts, ends, axes, steps = (
            None if i >= len(given) or given[i] is None else ints(given[i], name)
            for i, name in enumerate(names)
        )
    if starts is None or ends is None:
        raise ValueError("it has no starts or no ends.")
    axes = range(len(starts)) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise ValueError("a step of a slice is 0.")
        at = axis_of(axis, x.ndim)
        first, last, step = slice(start, end, step).indices(x.shape[at])
        # Backwards ONNX begins at the first position where Python begins before it.
        index[at] = slice(max(first, 0), None if last < 0 else last, step)
    return x[tuple(index)]


def _pad(node: Node, x: Value, pads: Value = None, value: Value = None, axes: Value = None) -> Value:
    if node.opset < 11:
        amounts, fill = node.get("pads"), node.get("value", 0.0)
    else:
        amounts = ints(pads, "pads")
        fill = 0 if value is None else value.reshape(())
    where = range(x.ndim) if axes is None else [axis_of(a, x.ndim) for a in ints(axes, "axes")]
    if len(amounts) != 2 * len(where):
        raise ValueError(f"pads={list(amounts)} has {len(amounts)} entries; wanted {2 * len(where)}.")
    pairs = [(0, 0)] * x.ndim
    for i, axis in enumerate(where):
        pairs[axis] = amounts[i], amounts[i + len(where)]
    crops = [slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(x.shape, pairs, strict=True)]
    x, pairs = x[tuple(crops)], [(max(lo, 0), max(hi, 0)) for lo, hi in pairs]
    bounded([n + lo + hi for n, (lo, hi) in zip(x.shape, pairs, strict=True)])
    xp, mode = namespace(x, value), node.get("mode", "constant")
    if mode == "constant":
        return xp.pad(x, pairs, constant_values=xp.asarray(fill, x.dtype))
    return xp.pad(x, pairs, mode=mode)


def _refuses_pad(node: Node) -> str | None:
    mode = node.get("mode", "constant")
    return None if mode in ("constant", "reflect", "edge", "wrap") else f"mode={mode!r} is not known"


def _reshape(node: Node, x: Value, shape: Value) -> Value:
    wanted = list(ints(shape, "shape"))
    if not node.get("allowzero", 0):
        kept = enumerate(wanted)
        wanted = [x.shape[i] if n == 0 and i < x.ndim else n for i, n in kept]
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        raise ValueError(f"shape {wanted} is not possible.")
    if -1 in wanted:
        rest = -math.prod(wanted)
        wanted[wanted.index(-1)] = math.prod(x.shape) // rest if rest else 0
    if math.prod(wanted) != math.prod(x.shape):
        raise ValueError(f"an array of shape {x.shape} can't have shape {tuple(wanted)}.")
    return x.reshape(wanted)


def _transpose(node: Node, x: Value) -> Value:
    return x.transpose(node.get("perm", tuple(range(x.ndim))[::-1]))


def _flatten(node: Node, x: Value) -> Value:
    axis = node.get("axis", 1)
    axis = axis if axis >= 0 else axis + x.ndim
    if not 0 <= axis <= x.ndim:
        raise ValueError(f"axis={node.get('axis')} is none of an array of {x.ndim} dimensions.")
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _axes(node: Node, given: Value) -> tuple[int, ...] | None:
    """An attribute below opset 13, an operand above."""
    if given is not None:
        return ints(given, "axes")
    return node.get("axes")


def _squeeze(node: Node, x: Value, axes: Value = None) -> Value:
    found = _axes(node, axes)
    if found is None:
        found = [i for i, n in enumerate(x.shape) if n == 1]
    return namespace(x).squeeze(x, tuple(axis_of(a, x.ndim) for a in found))


def _unsqueeze(node: Node, x: Value, axes: Value = None) -> Value:
    found = _axes(node, axes) or ()
    return namespace(x).expand_dims(x, tuple(axis_of(a, x.ndim + len(found)) for a in found))


def _expand(_: Node, x: Value, shape: Value) -> Value:
    wanted = bounded(np.broadcast_shapes(x.shape, bounded(ints(shape, "shape"))))
    xp = namespace(x)
    return xp.broadcast_to(x.reshape((1,) * (len(wanted) - x.ndim) + x.shape), wanted)


def _tile(_: Node, x: Value, repeats: Value) -> Value:
    counts = ints(repeats, "repeats")
    bounded([n * k for n, k in zip(x.shape, counts, strict=True)])
    return namespace(x).tile(x, counts)


def _split(node: Node, x: Value, sizes: Value = None) -> Any:
    axis = axis_of(node.get("axis", 0), x.ndim)
    size, parts = x.shape[axis], len(node.outputs)
    given = node.get("split") if sizes is None else ints(sizes, "split")
    if given is None:
        each = -(-size // parts)
        given = [max(min(each, size - i * each), 0) for i in range(parts)]
    if sum(given) != size or len(given) != parts:
        raise ValueError(f"split={list(given)} does not divide {size} positions into {parts} results.")
    ends = np.cumsum(given)[:-1]
    return tuple(namespace(x).split(x, [int(n) for n in ends], axis))


def _shape(node: Node, x: Value) -> Value:
    return np.array(np.shape(x)[node.get("start", 0) : node.get("end")], np.int64)


def _size(_: Node, x: Value) -> Value:
    return np.array(math.prod(np.shape(x)), np.int64)


def _constant_of_shape(node: Node, shape: Value) -> Value:
    value = node.get("value", np.zeros(1, np.float32))
    return np.full(bounded(ints(shape, "shape")), value.reshape(-1)[0], value.dtype)


def _range(_: Node, *limits: Value) -> Value:
    start, limit, delta = (host(n, "range").reshape(-1)[0] for n in limits)
    if delta == 0:
        raise ValueError("a delta of 0 leads nowhere.")
    bounded([max(math.ceil((limit - start) / delta), 0)])
    return np.arange(start, limit, delta).astype(limits[0].dtype)


def _depth_to_space(node: Node, x: Value) -> Value:
    order = "torch" if node.get("mode", "DCR") == "CRD" else "tensorflow"
    return pixel_shuffle(jnp.asarray(x), node.get("blocksize"), order=order, layout="channels_first")


def _space_to_depth(node: Node, x: Value) -> Value:
    order = "torch" if node.get("mode", "DCR") == "CRD" else "tensorflow"
    return pixel_unshuffle(jnp.asarray(x), node.get("blocksize"), order=order, layout="channels_first")


def _refuses_shuffle(node: Node) -> str | None:
    mode = node.get("mode", "DCR")
    return None if mode in ("DCR", "CRD") else f"mode={mode!r} is neither DCR nor CRD"


def _identity(_: Node, x: Value) -> Value:
    return x


def _dropout(_: Node, x: Value, ratio: Value = None, training: Value = None) -> Any:
    if (
        training is not None
        and host(training, "training_mode").any()
        and (ratio is None or host(ratio, "ratio") != 0)
    ):
        raise ValueError("it draws random numbers, which is not supported; export the network for inference.")
    return x, np.ones(x.shape, bool)


OPS = {
    "Concat": Op(_concat, "axis"),
    "Slice": Op(_slice, "starts ends axes", static=(1, 2, 3, 4)),
    "Pad": Op(_pad, "mode pads value", static=(1, 3), refuses=_refuses_pad),
    "Reshape": Op(_reshape, "allowzero", static=(1,)),
    "Transpose": Op(_transpose, "perm"),
    "Flatten": Op(_flatten, "axis"),
    "Squeeze": Op(_squeeze, "axes", static=(1,)),
    "Unsqueeze": Op(_unsqueeze, "axes", static=(1,)),
    "Expand": Op(_expand, static=(1,)),
    "Tile": Op(_tile, static=(1,)),
    "Split": Op(_split, "axis num_outputs split", static=(1,), results=None),
    "Shape": Op(_shape, "start end"),
    "Size": Op(_size),
    "ConstantOfShape": Op(_constant_of_shape, "value", static=(0,)),
    "Range": Op(_range, static=(0, 1, 2)),
    "DepthToSpace": Op(_depth_to_space, "blocksize mode", refuses=_refuses_shuffle),
    "SpaceToDepth": Op(_space_to_depth, "blocksize mode", refuses=_refuses_shuffle),
    "Identity": Op(_identity),
    "Dropout": Op(_dropout, "ratio seed", static=(1, 2), results=2),
}
