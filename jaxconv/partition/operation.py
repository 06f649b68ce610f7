"""The operation of a node, applied again to pieces of its operands.

A window lies otherwise in a piece: `o stride + k dilation - lo = i base` is meant in whole arrays. Of results
that begin at c, made of an operand that begins at a and lacks nothing, o = c + o' and i = a + i', so

    lo' = lo + a base - c stride

and the piece is the same operation with another border. What is known of a and c differs. Tiles know both, so
a tile at an edge is a program of its own and pads there as the whole does (`local.py`). On devices and in a
stream one program runs everywhere, and only the shift a base - c stride is a constant: blocks are whole
periods away from each other. There, what lies beyond the ends is replaced by the operation's neutral number
when it runs (`shard_windows.py`, `stream_run.py`).
"""

# Parameters of equations are not typed.
# pyright: standard

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..geometry import Axis
from ..graph.nodes import Node


def apply(node: Node, operands: Sequence[Any], **params: Any) -> list[Any]:
    """The results of a node's primitive, some of its parameters replaced."""
    primitive = node.equation.primitive
    found = primitive.bind(*operands, **node.params | params)
    return list(found) if primitive.multiple_results else [found]


def axes(node: Node) -> dict[int, Axis]:
    """The windows of a convolution, pool or padding by dimension of the operand; none of other operations.

    Example:
      >>> import jax, jaxconv
      >>> x, kernel = jax.ShapeDtypeStruct((1, 9, 4), "f4"), jax.ShapeDtypeStruct((3, 2, 4), "f4")
      >>> up = jaxconv.graph.trace(lambda x, k: jaxconv.conv_transpose(x, k, stride=2), x, kernel)
      >>> axes(up.nodes[0])
      {1: Axis(size=9, kernel=3, stride=1, dilation=1, lo=2, hi=2, base=2)}
    """
    p, name = node.params, node.name
    if name == "conv_forward":
        return dict(enumerate(p["spec"].axes, 1))
    if name == "conv_input_grad":
        return {d: axis.adjoint() for d, axis in enumerate(p["spec"].axes, 1)}
    if name == "pool_pick":
        return {d: windows for d, windows in enumerate(p["windows"], 1) if isinstance(windows, Axis)}
    shape = node.operands[0].shape
    return {
        d: Axis(shape[d], kernel, stride, dilation, int(lo), int(hi), base)
        for d, kernel, stride, dilation, (lo, hi), base in _written_out(node)
    }


def _written_out(node: Node) -> Iterator[tuple[Any, ...]]:
    """Dimension, kernel, stride, dilation, borders and base, as the primitives of lax have them."""
    p = node.params
    if node.name == "conv_general_dilated":
        (_, _, *dims), (_, _, *taps), _ = p["dimension_numbers"]
        kernel = [node.operands[1].shape[d] for d in taps]
        yield from zip(
            dims, kernel, p["window_strides"], p["rhs_dilation"], p["padding"], p["lhs_dilation"], strict=True
        )
    elif node.name.startswith("reduce_window"):
        kernel, stride, dilation = p["window_dimensions"], p["window_strides"], p["window_dilation"]
        dims = range(len(kernel))
        yield from zip(dims, kernel, stride, dilation, p["padding"], p["base_dilation"], strict=True)
    elif node.name == "pad":
        for d, (lo, hi, interior) in enumerate(p["padding_config"]):
            yield d, 1, 1, 1, (lo, hi), int(interior) + 1


def on_piece(axis: Axis, size: int, out: int, shift: int) -> Axis:
    """The axis of the same windows in a piece.

    Args:
      axis: in the whole.
      size: positions of the operand in the piece.
      out: results of it.
      shift: where the piece begins, `a * base - c * stride` for an operand from a on and results from c on.

    Example:
      >>> on_piece(Axis(9, 3, stride=2, lo=1, hi=1), size=5, out=2, shift=3 - 2 * 2)
      Axis(size=5, kernel=3, stride=2, dilation=1, lo=0, hi=0, base=1)
    """
    piece = dataclasses.replace(axis, size=size, lo=axis.lo + shift)
    hi = (out - 1) * axis.stride + axis.span - piece.lo - piece.extent
    return dataclasses.replace(piece, hi=hi)


def with_axes(node: Node, found: Mapping[int, Axis], batch: int | None = None) -> dict[str, Any]:
    """The parameters that say what windows a node has, with some of its `axes` replaced, and its batch."""
    p = node.params
    if "spec" in p:
        spec, turned = p["spec"], node.name == "conv_input_grad"
        own = _with(spec.axes, {d: axis.adjoint() if turned else axis for d, axis in found.items()}, 1)
        return {"spec": dataclasses.replace(spec, batch=spec.batch if batch is None else batch, axes=own)}
    if node.name == "pool_pick":
        return {"windows": _with(p["windows"], found, 1)}
    if node.name == "pad":
        config = {d: (axis.lo, axis.hi, axis.base - 1) for d, axis in found.items()}
        return {"padding_config": _with(p["padding_config"], config)}
    padding = {d: (axis.lo, axis.hi) for d, axis in found.items()}
    if node.name == "conv_general_dilated":
        places = p["dimension_numbers"].lhs_spec[2:]
        padding = {places.index(d): ends for d, ends in padding.items()}
    return {"padding": _with(p["padding"], padding)}


def _with(values: Sequence[Any], found: Mapping[int, Any], first: int = 0) -> tuple[Any, ...]:
    return tuple(found.get(i, value) for i, value in enumerate(values, first))


def neutral(node: Node) -> Any:
    """The number that changes no sum or extremum of a node, beyond the ends of what it runs over."""
    how = _NEUTRAL.get(node.name, 0)
    return how if isinstance(how, int) else extreme(node.operands[0].dtype, how)


def extreme(dtype: Any, which: str) -> Any:
    """The "least" or the "most" that there is of a dtype."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return -np.inf if which == "least" else np.inf
    return jnp.iinfo(dtype).min if which == "least" else jnp.iinfo(dtype).max


_NEUTRAL = {
    "reduce_window_max": "least",
    "reduce_window_min": "most",
    "cumprod": 1,
    "cummax": "least",
    "cummin": "most",
    "cumlogsumexp": "least",
}
