"""An operation on a piece of its operand: the same windows, which see there what they see in the whole."""

from collections.abc import Callable
from typing import Any

import jax
import pytest
from jax import lax

import jaxconv
from jaxconv.geometry import Axis, Taps
from jaxconv.graph import Node, trace
from jaxconv.partition.operation import axes, on_piece, with_axes

X, K = jax.ShapeDtypeStruct((2, 11, 7, 4), "f4"), jax.ShapeDtypeStruct((3, 2, 4, 4), "f4")
NAMES = ("NHWC", "HWIO", "NHWC")
OPERATIONS: dict[str, Callable[..., Any]] = {
    "conv": lambda x, k: jaxconv.conv(x, k, stride=(2, 1), padding=[(3, 0), (-1, 2)], dilation=(1, 2)),
    "transposed": lambda x, k: jaxconv.conv_transpose(x, k, stride=(2, 3), padding=[(1, 0), (0, 1)]),
    "lax": lambda x, k: lax.conv_general_dilated(x, k, (1, 2), [(2, 0), (1, 3)], (3, 1), (1, 2), NAMES),
    "pool": lambda x, _: lax.reduce_window(
        x, -jax.numpy.inf, lax.max, (1, 3, 2, 1), (1, 2, 3, 1), [(0, 0), (1, 0), (0, 2), (0, 0)]
    ),
    "sums": lambda x, _: jaxconv.avg_pool(x, (3, 2), stride=(2, 1), padding=[(1, 0), (0, 1)]),
    "padding": lambda x, _: lax.pad(x, 0.0, [(0, 0, 0), (2, -1, 1), (0, 3, 0), (0, 0, 0)]),
}


def node(name: str) -> Node:
    found = next(n for n in trace(OPERATIONS[name], X, K).nodes if n.windows)
    assert len(found.windows) == 2
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_axes_are_the_windows_of_the_graph(name):
    """Two readings of the same parameters; a window that is replaced by itself changes nothing."""
    one = node(name)
    found = axes(one)
    assert {w.operand_dim: Taps.of(found[w.operand_dim]) for w in one.windows} == {
        w.operand_dim: w.taps for w in one.windows
    }
    assert found[1].out == one.results[0].shape[1]
    params = with_axes(one, {1: found[1]})
    assert params == {key: one.params[key] for key in params}
    moved = with_axes(one, {1: on_piece(found[1], 5, 2, shift=1)})
    assert moved != params


@pytest.mark.parametrize(
    "axis", [Axis(23, 3, 2, 3, lo=4, hi=1), Axis(23, 4, lo=-2, hi=2), Axis(23, 3, 1, 2, lo=5, hi=3, base=3)]
)
@pytest.mark.parametrize(("start", "size", "first", "out"), [(0, 9, 0, 3), (6, 11, 5, 4), (-2, 7, 1, 0)])
def test_a_piece_sees_what_the_whole_sees(axis, start, size, first, out):
    """`o stride + k dilation - lo = i base`, with o and i counted from where the piece begins."""
    piece = on_piece(axis, size, out, start * axis.base - first * axis.stride)
    assert (piece.size, piece.out) == (size, out)
    seen = [piece.position(o, k) + start * axis.base for o in range(out) for k in range(axis.kernel)]
    assert seen == [axis.position(first + o, k) for o in range(out) for k in range(axis.kernel)]
