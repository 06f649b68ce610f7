"""What happens in a convolution, step by step: which cells are read and which written, from the geometry.

A step is one output of a convolution. Of a transposed one it depends on the method: with "zero_insertion" and
"subpixel" one output too, with "overlap_add" one input, whose patch is added to the outputs.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

from ..geometry import Axis
from .layer import Layer

Method = Literal["zero_insertion", "overlap_add", "subpixel"]
Position = tuple[int, ...]
Cell = tuple[int, Position]  # channel, position
MOST_CELLS = 4000


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two arrays as it is drawn.

    Args:
      name: what it is called.
      ranges: the positions drawn, for each axis.
      data: those of them that hold data, for each axis; the rest are zeros, or cropped.
      tints: index of the colour of each channel's cells.
      phases: how many colours the positions of each axis take turns in; ones where they do not.
    """

    name: str
    ranges: tuple[range, ...]
    data: tuple[range, ...]
    tints: tuple[int, ...]
    phases: tuple[int, ...] = ()

    def holds_data(self, position: Position) -> bool:
        """Whether there is a number and not a zero or nothing."""
        return all(i in data for i, data in zip(position, self.data, strict=True))

    def tint(self, channel: int, position: Position) -> int:
        """Index of the colour of a cell."""
        index = 0
        for i, count in zip(position, self.phases, strict=False):
            index = index * count + i % count
        return index + self.tints[channel]

    @property
    def cells(self) -> Iterator[Cell]:
        """Every cell that is drawn."""
        return itertools.product(range(len(self.tints)), itertools.product(*self.ranges))


@dataclasses.dataclass(frozen=True)
class Step:
    """The cells that one step reads and writes, each with the tap that joins it to the other side."""

    reads: dict[Cell, Position]
    writes: dict[Cell, Position]
    caption: str


@dataclasses.dataclass(frozen=True)
class Story:
    """Both arrays and all steps; with `patches` a step writes a patch, which is added to what is there."""

    title: str
    source: Side
    target: Side
    steps: tuple[Step, ...]
    patches: bool = False


def tell(layer: Layer, method: Method | None = None) -> Story:
    """The story of a layer.

    Args:
      layer: what `explain.layer` returned.
      method: of a transposed convolution; "overlap_add" by default, which shows what it is.

    Returns:
      The story; it always has a step.

    Raises:
      ValueError: for another method, more than three dimensions, or more cells than one can look at.

    Example:
      >>> from jaxconv.explain import layer
      >>> story = tell(layer(7, 3, stride=2, padding=1))
      >>> len(story.steps), story.steps[1].caption
      (4, 'output 1 = w0·x1 + w1·x2 + w2·x3')
    """
    if method is not None and (not layer.transposed or method not in get_args(Method)):
        raise ValueError(
            f"method={method!r} is not known; a transposed convolution has {', '.join(get_args(Method))}, a "
            "convolution none."
        )
    if layer.rank > 3 or not all(layer.size) or not all(layer.out):
        raise ValueError(
            f"a picture needs one to three dimensions that are not empty; got {layer.size} -> {layer.out}."
        )
    story = _METHODS[method or "overlap_add"](layer) if layer.transposed else _conv(layer)
    cells = sum(1 for side in (story.source, story.target) for _ in side.cells)
    if cells > MOST_CELLS:
        raise ValueError(f"that would be {cells} cells; choose sizes and channels with at most {MOST_CELLS}.")
    return story


def _conv(layer: Layer) -> Story:
    axes = layer.axes
    border = tuple(range(-a.lo, a.size + a.hi) for a in axes)
    source = _side("input", layer.in_channels, layer.groups, border, [range(a.size) for a in axes])
    target = _side("output", layer.out_channels, layer.groups, None, [range(a.out) for a in axes])
    steps = _gather(layer, source, lambda axis, o: [(k, axis.position(o, k)) for k in range(axis.kernel)])
    return Story(headline(layer), source, target, steps)


def _zero_insertion(layer: Layer) -> Story:
    adjoint = [a.adjoint() for a in layer.axes]
    stuffed = tuple(range(-a.lo, a.extent + a.hi) for a in adjoint)
    data = [range(0, a.extent, a.base) for a in adjoint]
    source = _side("input, zeros inserted", layer.in_channels, layer.groups, stuffed, data)
    target = _side("output", layer.out_channels, layer.groups, None, [range(a.out) for a in adjoint])

    def flipped(axis: Axis, o: int) -> list[tuple[int, int]]:
        moved = axis.adjoint()
        return [(axis.kernel - 1 - k, moved.position(o, k)) for k in range(axis.kernel)]

    return Story(headline(layer, "zero insertion"), source, target, _gather(layer, source, flipped))


def _subpixel(layer: Layer) -> Story:
    seen = [[i for p in range(a.size) for _, i in _inverse(a, p)] for a in layer.axes]
    border = tuple(range(min(s), max(s) + 1) for s in seen)
    source = _side("input", layer.in_channels, layer.groups, border, [range(a.out) for a in layer.axes])
    target = _side("output", layer.out_channels, layer.groups, None, [range(a.size) for a in layer.axes])
    if layer.groups == 1:
        phases = tuple(a.stride for a in layer.axes)
        name = "output, a colour for each phase"
        target = dataclasses.replace(target, name=name, tints=(0,) * layer.out_channels, phases=phases)
    return Story(headline(layer, "subpixel"), source, target, _gather(layer, source, _inverse, by_phase=True))


def _inverse(axis: Axis, p: int) -> list[tuple[int, int]]:
    """(tap, index) of the inputs of the adjoint that reach its output p, those outside included."""
    steps = ((k, divmod(p - axis.position(0, k), axis.stride)) for k in range(axis.kernel))
    return [(k, i) for k, (i, rest) in steps if rest == 0]


def _overlap_add(layer: Layer) -> Story:
    axes = layer.axes
    # Cropped positions are drawn too; output padding may reach beyond the last patch.
    whole = tuple(range(-a.lo, a.size + max(a.hi, 0)) for a in axes)
    source = _side("input", layer.in_channels, layer.groups, None, [range(a.out) for a in axes])
    target = _side("output", layer.out_channels, layer.groups, whole, [range(a.size) for a in axes])
    steps = []
    for c, i in itertools.product(range(layer.in_channels), itertools.product(*source.data)):
        taps = itertools.product(*(range(a.kernel) for a in axes))
        patch = {tuple(a.position(n, t) for a, n, t in zip(axes, i, k, strict=True)): k for k in taps}
        outputs = _partners(c, layer.in_channels, layer.out_channels, layer.groups)
        writes = {(o, p): k for o in outputs for p, k in patch.items()}
        caption = f"input {_name(i, c, layer.in_channels)} times the whole kernel, added to the outputs"
        steps.append(Step({(c, i): ()}, writes, caption))
    return Story(headline(layer, "overlap-add"), source, target, tuple(steps), patches=True)


_METHODS: dict[str, Callable[[Layer], Story]] = {
    "zero_insertion": _zero_insertion,
    "overlap_add": _overlap_add,
    "subpixel": _subpixel,
}


def _gather(
    layer: Layer, source: Side, reads: Callable[[Axis, int], list[tuple[int, int]]], *, by_phase: bool = False
) -> tuple[Step, ...]:
    """A step for each output, which reads the product over the axes of what `reads` says."""
    outputs = list(itertools.product(range(layer.out_channels), itertools.product(*map(range, layer.out))))
    if by_phase:
        outputs.sort(key=lambda cell: [p % a.stride for p, a in zip(cell[1], layer.axes, strict=True)])
    steps = []
    for c, o in outputs:
        each = [reads(axis, p) for axis, p in zip(layer.axes, o, strict=True)]
        window = {
            tuple(i for _, i in pairs): tuple(k for k, _ in pairs) for pairs in itertools.product(*each)
        }
        inputs = _partners(c, layer.out_channels, layer.in_channels, layer.groups)
        cells = {(i, place): tap for i in inputs for place, tap in window.items()}
        steps.append(Step(cells, {(c, o): ()}, _sum(layer, source, (c, o), cells)))
    return tuple(steps)


def _sum(layer: Layer, source: Side, output: Cell, cells: dict[Cell, Position]) -> str:
    c, o = output
    head = f"output {_name(o, c, layer.out_channels)}"
    real = {cell: tap for cell, tap in cells.items() if source.holds_data(cell[1])}
    if layer.rank == 1 and layer.in_channels == layer.groups and len(cells) <= 5:
        step = source.data[0].step
        terms = [f"w{k}·x{i // step}" if (n, (i,)) in real else "0" for (n, (i,)), (k,) in cells.items()]
        return f"{head} = {' + '.join(terms) or '0'}"
    zeros = len(cells) - len(real)
    return f"{head}: {len(real)} product{'s' * (len(real) != 1)}" + (
        f", {zeros} more with zeros" if zeros else ""
    )


def _name(position: Position, channel: int, channels: int) -> str:
    where = str(position[0]) if len(position) == 1 else str(position)
    return where + (f" of channel {channel}" if channels > 1 else "")


def _partners(channel: int, own: int, other: int, groups: int) -> range:
    """The channels on the other side that a channel's group has."""
    group = channel // (own // groups)
    return range(group * (other // groups), (group + 1) * (other // groups))


def _side(
    name: str, channels: int, groups: int, ranges: tuple[range, ...] | None, data: Sequence[range]
) -> Side:
    tints = tuple(c // (channels // groups) if groups > 1 else int(name == "output") for c in range(channels))
    return Side(name, ranges or tuple(data), tuple(data), tints)


def headline(layer: Layer, method: str = "") -> str:
    """What it is and does to the size, and below that the parameters that are not the usual ones."""
    axes = layer.axes
    kind = "transposed convolution" if layer.transposed else "convolution"
    if layer.groups > 1:
        depthwise = layer.groups == layer.in_channels
        kind = f"{'depthwise' if depthwise else 'grouped'} {kind}"
    words = {"stride": [a.stride for a in axes], "dilation": [a.dilation for a in axes]}
    parts = [f"kernel {'×'.join(str(a.kernel) for a in axes)}"]
    parts += [f"{word} {_spread(values)}" for word, values in words.items() if max(values) > 1]
    if any(map(any, layer.padding)):
        parts.append(
            f"padding {_spread([str(lo) if lo == hi else f'{lo}:{hi}' for lo, hi in layer.padding])}"
        )
    if any(layer.output_padding):
        parts.append(f"output_padding {_spread(layer.output_padding)}")
    sizes = [" × ".join(map(str, size)) for size in (layer.size, layer.out)]
    return f"{kind}{f' by {method}' if method else ''}: {' → '.join(sizes)}\n{', '.join(parts)}"


def _spread(values: Sequence[object]) -> str:
    return "×".join(map(str, values if len(set(values)) > 1 else values[:1]))


def sums(story: Story) -> list[collections.Counter[Cell]]:
    """For each step, how many products have been added to each output up to there."""
    total: collections.Counter[Cell] = collections.Counter()
    result = []
    for step in story.steps:
        total.update(step.writes.keys())
        result.append(total.copy())
    return result
