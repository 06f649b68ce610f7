"""Which positions of its operands a node needs for some positions of its result, and which nodes are local.

A `Region` says for each dimension of an array which positions are meant: `(start, stop)` for one that is
partitioned, None for one that is whole. Positions count from the start of the whole array; what a window
needs may lie below 0 or beyond the size, where the operation pads.

- `links(node)`: how each dimension of a result moves over a dimension of an operand, as `Taps` (and `rows`,
  where borders differ); a dimension of an operand without a link is needed whole.
- `needed(node, wanted)`: the region of each operand, None for one of which nothing is needed.
- `follow(graph, start)`: along which dimension each value is partitioned, given those of the inputs; refuses
  what is not local. `local.py` evaluates a node on pieces.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..geometry import SAME, Taps
from ..graph.nodes import Graph, Node, Value
from ..graph.reshaped import groups

Interval = tuple[int, int]
Region = tuple[Interval | None, ...]
Dims = tuple[int | None, ...]
"""For each partitioned axis the dimension of a value along which it lies, or None."""


@dataclasses.dataclass(frozen=True)
class Link:
    """How a dimension of a result moves over one of an operand.

    Attributes:
      operand: its number.
      operand_dim: dimension of the operand.
      result_dim: dimension of the result.
      taps: which positions are touched, far from the borders; None if they do not repeat.
      rows: what each position of the result touches, where taps do not say it at the borders.
    """

    operand: int
    operand_dim: int
    result_dim: int
    taps: Taps | None = SAME
    rows: tuple[tuple[int, ...], ...] | None = None

    def needed(self, wanted: Interval) -> Interval:
        """From the first to the last position of the operand that these of the result touch; may be empty."""
        start, stop = wanted
        if self.rows is not None:
            touched = [i for row in self.rows[max(start, 0) : stop] if row for i in (row[0], row[-1])]
        else:
            assert self.taps is not None  # what has none has rows
            period = self.taps.period
            ends = {*range(start, min(start + period, stop)), *range(max(start, stop - period), stop)}
            touched = [i for o in ends for i in self.taps(o)]
        return (min(touched), max(touched) + 1) if touched else (0, 0)


def links(node: Node, result: int = 0) -> tuple[Link, ...]:
    """Those of one result of a node; none for what is not known."""
    kind = node.name if node.op == "opaque" else node.op
    find = _LINKS.get(kind)
    return tuple(find(node, result)) if find else ()


def needed(node: Node, wanted: Region, result: int = 0) -> list[Region | None]:
    """Which positions of each operand one result of a node needs.

    Args:
      node: of a graph.
      wanted: the positions of that result.
      result: which one.

    Returns:
      For each operand its region, whole along dimensions without a link; None if nothing of it is needed.

    Example:
      >>> import jax, jaxconv
      >>> shapes = jax.ShapeDtypeStruct((1, 9, 4), "f4"), jax.ShapeDtypeStruct((3, 4, 2), "f4")
      >>> graph = jaxconv.graph.trace(lambda x, w: jaxconv.conv(x, w, stride=2, padding=1), *shapes)
      >>> needed(graph.nodes[0], (None, (0, 2), None))
      [(None, (-1, 4), None), (None, None, None)]
    """
    regions: list[list[Interval | None]] = [[None] * len(v.shape) for v in node.operands]
    for link in links(node, result):
        if (interval := wanted[link.result_dim]) is not None:
            regions[link.operand][link.operand_dim] = link.needed(interval)
    if node.op == "concatenate":
        dim = node.params["dimension"]
        for region, operand in zip(regions, node.operands, strict=True):
            if (interval := region[dim]) is not None:
                region[dim] = clipped(interval, operand.shape[dim])
    elif node.op == "gather" and node.windows:
        return [_unless_empty(regions[0]), None]  # which rows, their window says
    elif node.op == "resize" and node.name == "dot_general":
        [window], (contracted, _) = node.windows, node.params["dimension_numbers"]
        other = 1 - window.operand
        regions[other][contracted[other][0]] = regions[window.operand][window.operand_dim]
    return [_unless_empty(region) for region in regions]


def clipped(interval: Interval, size: int) -> Interval:
    """What of it lies in an array."""
    start, stop = min(max(interval[0], 0), size), min(max(interval[1], 0), size)
    return start, max(start, stop)


def within(region: Region, shape: Sequence[int]) -> Region | None:
    """The part of a region that lies in an array of this shape; None if that is nothing."""
    inside = [None if i is None else clipped(i, n) for i, n in zip(region, shape, strict=True)]
    return _unless_empty(inside)


def _unless_empty(region: Sequence[Interval | None]) -> Region | None:
    return None if any(i is not None and i[1] <= i[0] for i in region) else tuple(region)


def follow(graph: Graph, start: Mapping[Value, Dims]) -> dict[Value, Dims]:
    """Along which dimensions the values of a graph are partitioned.

    Args:
      graph: of a function.
      start: for the inputs that are partitioned, the dimension of each axis.

    Returns:
      The same for each value that depends on them and that a result needs. A dimension of one position that
      is dropped is no more one of an axis.

    Raises:
      ValueError: if a node is not local along an axis; it is named.
    """
    found = dict(start)
    for node in live(graph):
        parts = [found.get(operand) for operand in node.operands]
        if all(part is None for part in parts):
            continue
        for number, result in enumerate(node.results):
            found[result] = _followed(node, number, parts)
    return found


def live(graph: Graph, used: Callable[[Node, int], bool] = lambda *_: True) -> list[Node]:
    """The nodes that a result needs, in order, if of a node the operands are needed that are `used`."""
    wanted = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(result in wanted for result in node.results):
            wanted.update(v for i, v in enumerate(node.operands) if used(node, i))
            kept.append(node)
    return kept[::-1]


def _followed(node: Node, result: int, parts: Sequence[Dims | None]) -> Dims:
    dims: dict[int, int] = {}
    moves = {(link.operand, link.operand_dim): link for link in links(node, result)}
    for operand, part in enumerate(parts):
        for axis, dim in enumerate(part or ()):
            if dim is None:
                continue
            link = moves.get((operand, dim))
            if link is None and node.operands[operand].shape[dim] > 1 and node.results[result].size:
                raise ValueError(_refusal(node, axis, _WHY.get(node.op, "it is not known to be local")))
            if link is None:
                continue
            if _sees_all(node, link, result):
                raise ValueError(_refusal(node, axis, "its one window sees the whole axis"))
            if dims.setdefault(axis, link.result_dim) != link.result_dim:
                raise ValueError(_refusal(node, axis, "it joins each position with every other"))
    if len(set(dims.values())) != len(dims):
        raise ValueError(_refusal(node, 0, "it moves over two axes at once"))
    count = max(len(part) for part in parts if part is not None)
    return tuple(dims.get(axis) for axis in range(count))


def _sees_all(node: Node, link: Link, result: int) -> bool:
    size = node.operands[link.operand].shape[link.operand_dim]
    if node.op not in ("conv", "window") or size == 1 or node.results[result].shape[link.result_dim] != 1:
        return False
    return link.needed((0, 1)) == (0, size)


def _refusal(node: Node, axis: int, why: str) -> str:
    where = node.layer or node.source or "the function"
    return (
        f"{node.name} in {where} is not local along partitioned axis {axis}: {why}. A function over pieces "
        "may not mix positions that are far apart; leave that layer out, or apply it to the whole result."
    )


_WHY = {
    "reduce": "it reduces over the whole axis, as global pooling and batch or instance statistics do",
    "dot": "it sums over the whole axis",
    "cumulative": "it is a running sum along the axis",
    "reshape": "it joins the axis with one that is before it, or drops it",
    "loop": "of loops only a scan of some rounds is followed",
    "branch": "conditionals are not followed",
    "conv": "it sums over the whole axis, as a gradient of a kernel does, or mixes it",
    "dynamic_slice": "where it begins is not known before the function runs",
    "gather": "which positions it takes is not known before the function runs",
}


_FIRST = Taps(1, 0, ((0,),))  # of a dimension of one position


def _same(node: Node, result: int) -> Iterator[Link]:
    """Dimensions of one position spread."""
    shape = node.results[result].shape
    alone = result if node.name == "optimization_barrier" else None
    for i, operand in enumerate(node.operands):
        if len(operand.shape) == len(shape) and alone in (None, i):
            yield from (Link(i, d, d, _kept(n, shape[d])) for d, n in enumerate(operand.shape))


def _kept(size: int, out: int) -> Taps:
    return SAME if size == out else _FIRST


def _windowed(node: Node, result: int) -> Iterator[Link]:
    """Dimensions without a window keep their order."""
    operand = node.windows[0].operand if node.windows else 0
    windows = {w.operand_dim: w for w in node.windows}
    to = {w.result_dim for w in node.windows}
    free = [d for d in range(len(node.results[result].shape)) if d not in to]
    kept = [d for d in range(len(node.operands[operand].shape)) if d not in windows]
    yield from (Link(operand, a, b) for a, b in zip(kept, free, strict=True))
    yield from (Link(operand, w.operand_dim, w.result_dim, w.taps, w.rows) for w in node.windows)


def _conv(node: Node, result: int) -> Iterator[Link]:
    del result
    if node.name == "conv_weight_grad":
        return
    if "spec" in node.params:
        yield Link(0, 0, 0)
    elif node.params["batch_group_count"] == 1:
        numbers = node.params["dimension_numbers"]
        yield Link(0, numbers[0][0], numbers[2][0])
    yield from (Link(0, w.operand_dim, w.result_dim, w.taps) for w in node.windows)


def _resize(node: Node, result: int) -> Iterator[Link]:
    if node.name != "dot_general":
        yield from _windowed(node, result)
        return
    yield from _dot(node, result)
    yield from (Link(w.operand, w.operand_dim, w.result_dim, w.taps, w.rows) for w in node.windows)


def _dot(node: Node, result: int) -> Iterator[Link]:
    contracted, batched = node.params["dimension_numbers"]
    del result
    for side in (0, 1):
        yield from (Link(side, d, i) for i, d in enumerate(batched[side]))
    position = len(batched[0])
    for side in (0, 1):
        for d in range(len(node.operands[side].shape)):
            if d not in (*contracted[side], *batched[side]):
                yield Link(side, d, position)
                position += 1


def _reduce(node: Node, result: int) -> Iterator[Link]:
    dims = node.params["axes"] if "axes" in node.params else node.params["dimensions"]
    ndim = len(node.results[result].shape) + len(dims)
    for i, operand in enumerate(node.operands):
        if len(operand.shape) == ndim:
            kept = (d for d in range(ndim) if d not in dims)
            yield from (Link(i, d, to) for to, d in enumerate(kept))


def _but(name: str) -> Callable[[Node, int], Iterator[Link]]:
    """The same positions along all dimensions but the one that a parameter names."""

    def find(node: Node, result: int) -> Iterator[Link]:
        dim = node.params[name]
        yield from (link for link in _same(node, result) if link.result_dim != dim)

    return find


def _reshape(node: Node, result: int) -> Iterator[Link]:
    """Of dimensions that are joined or divided, the outermost that has more than one position."""
    old, new = node.operands[0].shape, node.results[result].shape
    if 0 in old:
        return
    for here, there in groups(old, new):
        dim, to = (next((d for d in g if n[d] != 1), None) for g, n in ((here, old), (there, new)))
        if dim is None or to is None:
            yield from (Link(0, a, b) for a, b in zip(here, there, strict=False))
            continue
        behind = math.prod(old[d] for d in here if d > dim)
        inner = math.prod(new[d] for d in there if d > to)
        if inner % behind == 0:
            times = inner // behind
            yield Link(0, dim, to, Taps(1, times, (tuple(range(times)),)))
        elif behind % inner == 0:
            times = behind // inner
            yield Link(0, dim, to, Taps(times, 1, ((0,),) * times))


def _transpose(node: Node, result: int) -> Iterator[Link]:
    del result
    yield from (Link(0, d, to) for to, d in enumerate(node.params["permutation"]))


def _broadcast(node: Node, result: int) -> Iterator[Link]:
    shape = node.results[result].shape
    for d, to in enumerate(node.params["broadcast_dimensions"]):
        yield Link(0, d, to, _kept(node.operands[0].shape[d], shape[to]))


def _concatenate(node: Node, result: int) -> Iterator[Link]:
    dim, offset = node.params["dimension"], 0
    for i, operand in enumerate(node.operands):
        for d in range(len(node.results[result].shape)):
            yield Link(i, d, d, Taps(1, 1, ((-offset,),)) if d == dim else SAME)
        offset += operand.shape[dim]


def _split(node: Node, result: int) -> Iterator[Link]:
    dim, start = node.params["axis"], sum(node.params["sizes"][:result])
    for d in range(len(node.results[result].shape)):
        yield Link(0, d, d, Taps(1, 1, ((start,),)) if d == dim else SAME)


def _gather(node: Node, result: int) -> Iterator[Link]:
    if node.windows:
        yield from _windowed(node, result)


def _dynamic_slice(node: Node, result: int) -> Iterator[Link]:
    operand, *starts = node.operands
    for d, (size, out) in enumerate(zip(operand.shape, node.results[result].shape, strict=True)):
        if size == out:
            yield Link(0, d, d)
        elif starts[d].kind == "literal":
            start = min(max(int(starts[d].data), 0), size - out)
            yield Link(0, d, d, Taps(1, 1, ((start,),)))


_LINKS: dict[str, Callable[[Node, int], Iterator[Link]]] = {
    "conv": _conv,
    "window": _windowed,
    "resize": _resize,
    "pad": _windowed,
    "slice": _windowed,
    "reverse": _windowed,
    "elementwise": _same,
    "dot": _dot,
    "reduce": _reduce,
    "cumulative": _but("axis"),
    "sort": _but("dimension"),
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "concatenate": _concatenate,
    "split": _split,
    "gather": _gather,
    "dynamic_slice": _dynamic_slice,
}
