"""What operations without windows do to pieces: each rule says how results lie and how to compute them."""

# Parameters of equations are not typed.
# pyright: standard

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..graph.nodes import Node, Value
from ..graph.reshaped import groups
from .along import along, padded
from .halo import Split
from .operation import apply, extreme
from .shard_values import (
    ONCE,
    Array,
    Change,
    Context,
    Dims,
    Refused,
    counted,
    fetched,
    full,
    local,
    masked,
    names,
    relay,
    splits,
    together,
    total,
    whole,
)


class Planned(NamedTuple):
    """How an operation's results lie, and how they are computed of the operands' blocks."""

    dims: list[Dims]
    run: Callable[..., Sequence[Array]]


Rule = Callable[[Context, Node, list[Dims]], Planned]

# Finite wherever their operands are. All others get a harmless number where a block holds nothing: what is
# infinite there would be no number in the gradient.
_TAME = """
    abs add add_any and ceil clamp convert_element_type copy copy_p cos cosh eq erf exp exp2 expm1 floor ge gt
    imag is_finite le logistic lt max min mul ne neg not or real reduce_precision round select_n sign sin sinh
    square stop_gradient sub tanh xor
"""
_HARMLESS = frozenset(_TAME.split())
_AS_THEY_ARE = {"sharding_constraint", "device_put", "pcast", "pvary", "name"}


def bind(node: Node, *operands: Any, **params: Any) -> Sequence[Array]:
    """The operation itself, perhaps with other parameters; operands come to vary over the same axes."""
    axes = frozenset[Any]().union(*(varying(x) for x in operands))
    return apply(node, [vary(x, axes) for x in operands], **params)


def varying(x: Any) -> frozenset[Any]:
    """The mesh axes over which an array differs between devices."""
    return jax.typeof(x).mat.varying


def vary(x: Any, axes: frozenset[Any]) -> Any:
    """Marked as one that differs; the mark's transpose is the sum over devices."""
    missing = tuple(axes - varying(x))
    return lax.pcast(x, missing, to="varying") if missing else x


def undivided(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """An operation on arrays that are whole on each device."""
    if any(splits(d) for d in dims):
        raise Refused("it is not known how to run it on a part of an array")
    laid = [relay(context, v, d, whole(v)) for v, d in zip(node.operands, dims, strict=True)]
    return Planned([whole(v) for v in node.results], lambda *xs: bind(node, *_each(laid, xs)))


def _each(changes: Sequence[Change], operands: Sequence[Array]) -> list[Array]:
    return [change(x) for change, x in zip(changes, operands, strict=True)]


def _spread(context: Context, value: Value, have: Dims, shape: Sequence[int]) -> tuple[Dims, Change]:
    """A dimension of size 1 that meets a longer one is held once."""
    if not value.shape:
        return (), lambda x: x
    lone = [n == 1 != m for n, m in zip(value.shape, shape, strict=True)]
    bare = tuple(None if one else s for one, s in zip(lone, have, strict=True))
    lay = relay(context, value, have, bare)
    return tuple(ONCE if one else s for one, s in zip(lone, bare, strict=True)), lay


def _then(first: Change, second: Change) -> Change:
    return lambda x: second(first(x))


def elementwise(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Operands come to lie alike."""
    if node.name in _AS_THEY_ARE:
        return Planned([dims[0]], lambda x: [x])
    if node.name == "optimization_barrier":
        return Planned(dims, lambda *xs: bind(node, *xs))
    shape = node.results[0].shape
    spread = [_spread(context, v, d, shape) for v, d in zip(node.operands, dims, strict=True)]
    arrays = [d for d, _ in spread if d]
    want = together(arrays) if arrays else ()
    laid = [
        lay if not d else _then(lay, relay(context, jax.ShapeDtypeStruct(shape, v.dtype), d, want))
        for v, (d, lay) in zip(node.operands, spread, strict=True)
    ]
    guarded = node.name not in _HARMLESS and any(not s.exact for _, s in splits(want))

    def run(*xs: Array) -> Sequence[Array]:
        given = _each(laid, xs)
        if guarded:
            harmless = 1.5 if node.name == "acosh" else 0.5
            given = [_guarded(x, want, harmless) for x in given]
        return bind(node, *given)

    return Planned([want] * len(node.results), run)


def _guarded(x: Any, dims: Dims, harmless: float) -> Any:
    inexact = np.ndim(x) and jnp.issubdtype(jnp.result_type(x), jnp.inexact)
    return masked(x, dims, harmless if inexact else 1) if np.ndim(x) else x


def broadcast(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """New dimensions are held once."""
    [value, *_], [have, *_] = node.operands, dims
    to, places = node.results[0].shape, node.params["broadcast_dimensions"]
    stretched = tuple(
        None if n == 1 and isinstance(s, Split) else s for n, s in zip(value.shape, have, strict=True)
    )
    settle = relay(context, value, have, stretched)
    found: list[Any] = [ONCE if n > 1 else None for n in to]
    for dim, (size, held) in enumerate(zip(value.shape, stretched, strict=True)):
        if size == to[places[dim]]:
            found[places[dim]] = held
    result = tuple(found)

    def run(x: Array, *_: Any) -> list[Array]:
        return [lax.broadcast_in_dim(settle(x), local(to, result), places)]

    return Planned([result], run)


def transpose(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Dimensions change places."""
    del context
    order = node.params["permutation"]
    return Planned([tuple(dims[0][d] for d in order)], lambda x: bind(node, x))


def reshape(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Dimensions that become one, or come from one: a divided one has to be the first of them."""
    [value, *_], [result] = node.operands, node.results
    have = list(dims[0])
    for d, n in enumerate(value.shape):
        if n == 1:
            have[d] = None
    found: list[Any] = [None] * len(result.shape)
    for before, after in _groups(value.shape, result.shape):
        major = have[before[0]] if before else None
        if any(isinstance(have[d], Split) for d in before[1:]):
            raise Refused("it merges a divided dimension into another")
        if isinstance(major, Split):
            inner = [
                math.prod(shape[d] for d in g[1:])
                for shape, g in ((value.shape, before), (result.shape, after))
            ]
            have[before[0]], found[after[0]] = _reshaped(context, major, *inner)
        elif len(before) == len(after) == 1:
            found[after[0]] = major
        else:
            for d in before:
                have[d] = None
    to = tuple(found)
    settle = relay(context, value, dims[0], tuple(have))
    return Planned([to], lambda x, *_: [lax.reshape(settle(x), local(result.shape, to))])


def _groups(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Dimensions that become each other; those of size 1 are in no group."""
    sides = [[d for d, n in enumerate(shape) if n != 1] for shape in (before, after)]
    for old, new in groups([before[d] for d in sides[0]], [after[d] for d in sides[1]]):
        yield [sides[0][i] for i in old], [sides[1][i] for i in new]


def _reshaped(context: Context, split: Split, inner: int, outer: int) -> tuple[Split, Split]:
    """Of rows of `inner` elements, rows of `outer`: blocks have to begin and end where both do."""
    factor = outer // math.gcd(inner, outer)
    context.check(split, factor)
    if split.size * inner % outer:
        raise Refused("it divides a divided dimension in parts that are not whole")
    start = split.start // factor * factor
    length = -(-(split.start + split.length - start) // factor) * factor
    old = split.over(start, length)
    scaled = (n * inner // outer for n in (split.size, start, split.step, length))
    size, first, step, count = scaled
    return old, Split(size, split.axis, split.devices, first, step, count)


def concatenate(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Arrays behind each other; along a divided dimension each device takes its part of each."""
    dim = node.params["dimension"]
    used = [i for i, v in enumerate(node.operands) if v.shape[dim]]
    values, held = [node.operands[i] for i in used], [dims[i] for i in used]
    main = max(
        (i for i, d in enumerate(held) if isinstance(d[dim], Split)),
        key=lambda i: values[i].shape[dim],
        default=None,
    )
    others = full(together([(*d[:dim], *d[dim + 1 :]) for d in held]))
    want: Any = (*others[:dim], None, *others[dim:])
    laid = [
        relay(context, v, d, (*others[:dim], d[dim] if main is not None else None, *others[dim:]))
        for v, d in zip(values, held, strict=True)
    ]
    if main is None:
        return Planned([want], lambda *xs: [lax.concatenate(_each(laid, [xs[i] for i in used]), dim)])
    offsets = np.cumsum([0, *(v.shape[dim] for v in values)])
    split = _joined(held[main][dim], int(offsets[main]), node.results[0].shape[dim])
    placed = [
        _placed(context, v, (*others[:dim], d[dim], *others[dim:]), dim, split, int(offset))
        for v, d, offset in zip(values, held, offsets, strict=False)
    ]

    def run(*xs: Array) -> list[Array]:
        y = placed[main](laid[main](xs[used[main]]), None)
        for i in range(len(used)):
            if i != main:
                y = placed[i](laid[i](xs[used[i]]), y)
        return [y]

    return Planned([(*others[:dim], split, *others[dim:])], run)


def _joined(main: Split, offset: int, size: int) -> Split:
    """Where the longest part stays as it lies, as far as nothing is left out in front of it."""
    start = min(main.start + offset, 0)
    length = max(main.step, size - start - (main.devices - 1) * main.step)
    return Split(size, main.axis, main.devices, start, main.step, length)


def _placed(
    context: Context, value: Value, have: Dims, dim: int, split: Split, offset: int
) -> Callable[[Array, Array | None], Array]:
    """Puts an array into blocks of a longer one; into a new one if there is none yet."""
    positions = split.table - offset
    there = (split.table >= 0) & (positions >= 0) & (positions < value.shape[dim])
    columns = np.flatnonzero(there.any(0))
    first, last = int(columns[0]), int(columns[-1]) + 1
    there = there[:, first:last]
    wanted = np.where(there, positions[:, first:last], -1)
    if isinstance(have[dim], Split):
        part = fetched(context, value, have, dim, wanted)
    else:
        part = _chosen(dim, split, wanted)

    def place(x: Array, y: Array | None) -> Array:
        x = part(x)
        if y is None:
            return padded(x, dim, first, split.length - last)
        if not there.all():
            here = jnp.asarray(there)[lax.axis_index(split.axis)]
            x = jnp.where(along(here, dim, x.ndim), x, lax.slice_in_dim(y, first, last, axis=dim))
        parts = [
            lax.slice_in_dim(y, 0, first, axis=dim),
            x,
            lax.slice_in_dim(y, last, split.length, axis=dim),
        ]
        return lax.concatenate(parts, dim)

    return place


def _chosen(dim: int, split: Split, wanted: np.ndarray) -> Change:
    """Each device takes the positions that it wants of what is whole."""
    table = jnp.asarray(np.maximum(wanted, 0))
    return lambda x: jnp.take(x, table[lax.axis_index(split.axis)], axis=dim, mode="clip")


def reduce(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """Sums and extrema also over devices; other reductions over what is whole."""
    [value, *_], [have, *others] = node.operands, dims
    over = tuple(node.params.get("axes", node.params.get("dimensions", ())))
    divided = [s for d, s in splits(have) if d in over]
    result = tuple(s for d, s in enumerate(have) if d not in over)
    want = tuple(None if d in over and s is ONCE else s for d, s in enumerate(have))
    settle = relay(context, value, have, want)
    if not divided:
        if others and any(splits(d) for d in others):
            raise Refused("it is not known how to run it on a part of an array")
        results = [result] * len(node.results)
        return Planned(results, lambda x, *rest: bind(node, settle(x), *rest))
    how = node.name.removeprefix("reduce_")
    if how not in ("sum", "max", "min"):
        raise Refused(f"it is a {how} over a divided dimension; sums, maxima and minima are possible")
    return Planned([result], lambda x, *_: [reduced(settle(x), want, over, how)])


def reduced(x: Array, dims: Dims, over: Sequence[int], how: str, keepdims: bool = False) -> Array:
    """A sum or an extremum over dimensions of which some are divided."""
    divided = [s for d, s in splits(dims) if d in over]
    if how == "sum":
        return total(counted(x, dims, over, 0), over, divided, keepdims)
    return _extremum(x, dims, over, how, keepdims)


def _extremum(x: Array, dims: Dims, over: Sequence[int], how: str, keepdims: bool) -> Array:
    """JAX has no derivative of pmax; of equal ones each gets its share, as it is on one device."""
    divided = [s for d, s in splits(dims) if d in over]
    fill = extreme(x.dtype, "least" if how == "max" else "most")
    fixed = lax.stop_gradient(counted(x, dims, over, fill))
    axes = tuple(over)
    local_best, across = (jnp.max, lax.pmax) if how == "max" else (jnp.min, lax.pmin)
    best = across(local_best(fixed, axes, keepdims=True), names(divided))
    squeezed = best if keepdims else lax.squeeze(best, axes)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return squeezed
    here = fixed == best
    count = total(here.astype(x.dtype), over, divided, keepdims)
    change = jnp.where(here, x - lax.stop_gradient(x), 0)
    return squeezed + total(change, over, divided, keepdims) / lax.stop_gradient(count)


def dot(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """A product; where what is summed over is divided, each device adds its part."""
    (contracted, batched) = node.params["dimension_numbers"]
    want = [list(d) for d in dims]
    for group in (contracted, batched):
        for pair in zip(*group, strict=True):
            common = together([(dims[side][d],) for side, d in enumerate(pair)])[0]
            for side, d in enumerate(pair):
                want[side][d] = None if common is ONCE else common
    laid = [relay(context, v, have, tuple(to)) for v, have, to in zip(node.operands, dims, want, strict=True)]
    summed = [s for d, s in splits(tuple(want[0])) if d in contracted[0]]
    free = [
        [s for d, s in enumerate(want[side]) if d not in (*contracted[side], *batched[side])]
        for side in (0, 1)
    ]
    result = tuple([want[0][d] for d in batched[0]] + free[0] + free[1])
    over: list[Any] = [names([s]) for s in result if isinstance(s, Split)]
    if len(set(over)) < len(over):
        raise Refused("two dimensions of its result would be divided along the same mesh axis")

    def run(x: Array, y: Array) -> list[Array]:
        x, y = _each(laid, (x, y))
        if summed:
            x, y = counted(x, tuple(want[0]), contracted[0], 0), masked(y, tuple(want[1]), 0, contracted[1])
        [z] = bind(node, x, y, **({"out_sharding": None} if "out_sharding" in node.params else {}))
        return [lax.psum(z, names(summed)) if summed else z]

    return Planned([result], run)


def whole_along(dims_of: Callable[[Node], Sequence[int]], why: str) -> Rule:
    """The rule of an operation that needs some dimensions whole and does not care about the others."""

    def rule(context: Context, node: Node, dims: list[Dims]) -> Planned:
        if any(d in dims_of(node) for d, _ in splits(dims[0])):
            raise Refused(why)
        want = full(dims[0])
        settle = relay(context, node.operands[0], dims[0], want)
        return Planned([want] * len(node.results), lambda x, *rest: bind(node, settle(x), *rest))

    return rule


cumulative = whole_along(lambda node: [node.params["axis"]], "it is a running sum along a divided dimension")


def cuts(sizes: Callable[[Node], Sequence[int]]) -> Rule:
    """The rule of a slice at places that are computed: whole along divided dimensions."""

    def rule(context: Context, node: Node, dims: list[Dims]) -> Planned:
        shape, wanted = node.operands[0].shape, sizes(node)
        if any(wanted[d] != shape[d] for d, _ in splits(dims[0])) or any(splits(d) for d in dims[1:]):
            raise Refused("it takes a part at a computed place along a divided dimension")
        want = full(dims[0])
        settle = relay(context, node.operands[0], dims[0], want)
        parts = local(wanted, want)
        return Planned([want], lambda x, *at: [lax.dynamic_slice(settle(x), at, parts)])

    return rule


RULES: dict[str, Rule] = {
    "elementwise": elementwise,
    "broadcast": broadcast,
    "transpose": transpose,
    "reshape": reshape,
    "concatenate": concatenate,
    "reduce": reduce,
    "dot": dot,
    "cumulative": cumulative,
    "dynamic_slice": cuts(lambda node: node.params["slice_sizes"]),
}
