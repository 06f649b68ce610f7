"""What windows do to blocks: where a block of results lies, what it needs, and the same operation on that."""

# Parameters of equations are not typed.
# pyright: standard

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax import lax

from ..geometry import Axis, Taps
from ..graph.nodes import Node, Window
from .halo import Split, moves
from .operation import axes, neutral, on_piece, with_axes
from .shard_rules import Planned, Rule, bind, reduced
from .shard_values import Array, Context, Dims, Refused, full, local, masked, relay, splits


@dataclasses.dataclass(frozen=True)
class Step:
    """A window along a divided dimension.

    Attributes:
      window: it.
      source: what a block of results needs.
      target: the block of results.
      border: whether results see beyond the ends.
    """

    window: Window
    source: Split
    target: Split
    border: bool

    def axis(self, axis: Axis) -> Axis:
        """The axis of the same operation on a block."""
        shift = self.source.start * axis.base - self.target.start * axis.stride
        return on_piece(axis, self.source.length, self.target.length, shift)


def _on_blocks(node: Node, steps: Mapping[int, Step]) -> dict[int, Axis]:
    """The axes of a node on blocks, by dimension."""
    return {dim: steps[dim].axis(axis) for dim, axis in axes(node).items() if dim in steps}


def step(context: Context, window: Window, have: Split, size: int) -> Step:
    """How a window's results are divided, and what they need."""
    taps = window.taps
    if taps is None:
        raise Refused("its windows along a divided dimension do not repeat")
    context.check(have, abs(taps.advance) or 1)
    if taps.advance < 1:
        raise Refused("it goes through a divided dimension backwards")
    each = have.step // taps.advance * taps.period
    start = _start(taps, have, keep=not window.sums) * taps.period
    length = max(each, size - start - (have.devices - 1) * each)
    target = Split(size, have.axis, have.devices, start, each, length)
    touched = [i for o in target.held(0) for i in taps(o)] or [0]
    source = have.over(min(touched), max(touched) + 1 - min(touched))
    return Step(window, source, target, _sees_beyond(taps, size, have.size))


def _start(taps: Taps, have: Split, *, keep: bool) -> int:
    """In periods: as little as possible is sent, as much from one side as from the other; never above 0."""
    seen = [t for row in taps.taps for t in row] or [0]
    low, high, advance = min(seen), max(seen), taps.advance
    behind = have.start + have.length

    def missing(q: int) -> tuple[int, int]:
        """In front of the block, and behind it."""
        return (
            max(have.start - q * advance - low, 0),
            max(q * advance + have.step - advance + high + 1 - behind, 0),
        )

    middle = (have.start + behind - have.step + advance - low - high - 1) / (2 * advance)
    near = int(np.sign(middle) * np.ceil(abs(middle) - 0.5))
    if keep:  # a slice needs nothing where what it takes is
        near = min(range(min(near, 0) - 1, 1), key=lambda q: (sum(missing(q)), abs(q)))
    return 0 if not any(missing(0)) else min(near, 0)


def _sees_beyond(taps: Taps, out: int, size: int) -> bool:
    """The first period sees what comes first, the last what comes last."""
    ends = (*range(min(out, taps.period)), *range(max(out - taps.period, 0), out))
    return any(i < 0 or i >= size for o in ends for i in taps(o))


def windowed(
    context: Context, node: Node, have: Dims, fill: Any = 0
) -> tuple[Dims, dict[int, Step], Callable[..., Array]]:
    """The results' dimensions, the steps by dimension, and what brings the operand's block into form."""
    value, result = node.operands[0], node.results[0].shape
    found: dict[int, Step] = {}
    want = list(full(have))
    for window in node.windows:
        dim, split = window.operand_dim, have[window.operand_dim]
        if isinstance(split, Split):
            found[dim] = step(context, window, split, result[window.result_dim])
            want[dim] = found[dim].source
    settle = relay(context, value, have, tuple(want))
    borders = {d: s for d, s in found.items() if s.border}

    def form(x: Array, value: Any = fill) -> Array:
        x = settle(x)
        for dim, one in borders.items():
            clean = isinstance(value, int) and value == 0 and _clean(have[dim], one.source)
            if not clean:
                x = masked(x, tuple(want), value, [dim])
        return x

    return tuple(found[d].target if d in found else s for d, s in enumerate(want)), found, form


def _clean(have: Any, source: Split) -> bool:
    """Whether what is beyond the ends is zero already: nothing was received there, nothing else is held."""
    wide = source.start <= have.start and source.held(0).stop >= have.held(0).stop
    return have.exact and wide and len(moves(have, source.table).index) == 1


def conv(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Convolutions and transposed ones, jaxconv's and lax's."""
    batch, channels, to = _places(node)
    if splits(dims[1]):
        raise Refused("its kernel is divided, or it is the gradient of one")
    if isinstance(dims[0][channels], Split) or node.name == "conv_weight_grad":
        raise Refused("its channels are divided, or it is the gradient of a kernel")
    if node.params.get("batch_group_count", 1) > 1 and isinstance(dims[0][batch], Split):
        raise Refused("its groups of the batch are divided")
    found, steps, form = windowed(context, node, dims[0])
    kernel = node.operands[1]
    lay = relay(context, kernel, dims[1], (None,) * len(kernel.shape))
    result: list[Any] = [None] * len(node.results[0].shape)
    result[to[0]] = found[batch]
    for window in node.windows:
        result[window.result_dim] = found[window.operand_dim]
    size = local(node.operands[0].shape, dims[0])[batch]
    params = with_axes(node, _on_blocks(node, steps), batch=size)
    if "out_sharding" in node.params:
        params["out_sharding"] = None

    def run(x: Array, k: Array) -> Sequence[Array]:
        return bind(node, form(x), lay(k), **params)

    return Planned([tuple(result)], run)


def _places(node: Node) -> tuple[int, int, Sequence[int]]:
    """Batch and channels of the operand, and of the result."""
    if "spec" in node.params:
        last = node.params["spec"].rank + 1
        return 0, last, (0, last)
    lhs, _, out = node.params["dimension_numbers"]
    return lhs[0], lhs[1], out[:2]


def reduce_window(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Pools of lax; one that takes a whole dimension is a reduction."""
    how = node.name.removeprefix("reduce_window").strip("_")
    value, window = node.operands[0], node.params["window_dimensions"]
    pools = [d for d, s in splits(dims[0]) if _takes_all(node.params, d, value.shape[d])]
    if pools and not how:
        raise Refused("it takes in whole rows of a divided dimension")
    have = tuple(None if d in pools else s for d, s in enumerate(dims[0]))
    rest = dataclasses.replace(node, windows=tuple(w for w in node.windows if w.operand_dim not in pools))
    found, steps, form = windowed(context, rest, have, fill=neutral(node))
    params = with_axes(node, _on_blocks(node, steps))
    params["window_dimensions"] = tuple(1 if d in pools else n for d, n in enumerate(window))
    settle = relay(context, value, dims[0], full(dims[0]))

    def run(x: Array, *start: Array) -> Sequence[Array]:
        x = settle(x)
        if pools:
            x = reduced(x, dims[0], pools, how, keepdims=True)
        return bind(node, form(x) if how else form(x, start[0]), *start, **params)

    return Planned([found], run)


def _takes_all(p: dict[str, Any], dim: int, size: int) -> bool:
    return p["window_dimensions"][dim] == size > 1 and tuple(p["padding"][dim]) == (0, 0)


def pick(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Sums of windows, and one element of each."""
    windows, value = list(node.params["windows"]), node.operands[0]
    whole = [d for d, s in splits(dims[0]) if 0 < d <= len(windows) and _whole(windows[d - 1])]
    if whole and len(dims) > 1:
        raise Refused("its maxima are of a whole divided dimension")
    have = tuple(None if d in whole else s for d, s in enumerate(dims[0]))
    rest = dataclasses.replace(node, windows=tuple(w for w in node.windows if w.operand_dim not in whole))
    found, steps, form = windowed(context, rest, have)
    for d in whole:
        windows[d - 1] = Axis(1, 1)
    for d, one in steps.items():
        windows[d - 1] = one.axis(_regular(windows[d - 1]))
    laid = [
        relay(context, v, held, _tap(place, node.params["windows"], found, steps))
        for place, (v, held) in enumerate(zip(node.operands[1:], dims[1:], strict=True), 1)
    ]
    settle = relay(context, value, dims[0], full(dims[0]))

    def run(x: Array, *taps: Array) -> Sequence[Array]:
        if whole:
            x = reduced(settle(x), dims[0], whole, "sum", keepdims=True)
        return bind(
            node, form(x), *(lay(t) for lay, t in zip(laid, taps, strict=True)), windows=tuple(windows)
        )

    return Planned([found], run)


def _whole(windows: Any) -> bool:
    return windows.out == 1 and windows.kernel == windows.size > 1 and not getattr(windows, "lo", 0)


def _regular(windows: Any) -> Axis:
    """Parts of an axis that divide it evenly are windows that touch."""
    if isinstance(windows, Axis):
        return windows
    if windows.size % windows.out:
        raise Refused("its windows along a divided dimension are of different sizes")
    return Axis(windows.size, windows.size // windows.out, windows.size // windows.out)


def _tap(place: int, windows: Sequence[Any], found: Dims, steps: dict[int, Step]) -> Dims:
    """How taps lie: those of one axis have the padded size along the axes before it."""
    want = list(found)
    for d, one in steps.items():
        if d < place and isinstance(windows[d - 1], Axis):
            axis = windows[d - 1]
            size = axis.lo + axis.size + max(axis.hi, 0)
            want[d] = dataclasses.replace(one.source, size=size, start=one.source.start + axis.lo)
    return tuple(want)


def pad(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Zeros, or another value, at the ends and between elements."""
    found, steps, form = windowed(context, node, dims[0])
    params = with_axes(node, _on_blocks(node, steps))
    zero = node.operands[1].kind == "literal" and node.operands[1].data == 0

    def run(x: Array, value: Array) -> Sequence[Array]:
        return bind(node, form(x) if zero else form(x, value), value, **params)

    return Planned([found], run)


def cut(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Slices, with steps."""
    found, steps, form = windowed(context, node, dims[0])
    p = node.params
    starts, stops = list(p["start_indices"]), list(p["limit_indices"])
    strides = list(p["strides"] or (1,) * len(starts))
    for dim, split in splits(found):
        if dim in steps:
            starts[dim], stops[dim] = 0, (split.length - 1) * strides[dim] + 1
        else:
            stops[dim] = split.length
    return Planned([found], lambda x: [lax.slice(form(x), starts, stops, strides)])


def split(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Parts behind each other are slices."""
    axis, first = node.params["axis"], 0
    found: list[Planned] = []
    for result in node.results:
        n = result.shape[axis]
        shape = list(node.operands[0].shape)
        starts, shape[axis] = [first if d == axis else 0 for d in range(len(shape))], first + n
        one = dataclasses.replace(
            node,
            results=(result,),
            windows=(Window(axis, axis, Taps(1, 1, ((first,),)), sums=False),),
            equation=_Slice({"start_indices": starts, "limit_indices": shape, "strides": None}),
        )
        found.append(cut(context, one, dims))
        first += n
    return Planned([p.dims[0] for p in found], lambda x: [p.run(x)[0] for p in found])


@dataclasses.dataclass
class _Slice:
    """What a slice reads of its equation."""

    params: dict[str, Any]


def window(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Pools."""
    return (pick if node.name == "pool_pick" else reduce_window)(context, node, dims)


RULES: dict[str, Rule] = {"conv": conv, "window": window, "pad": pad, "slice": cut, "split": split}
