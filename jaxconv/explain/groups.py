"""Grouped kernels: which channels each slice of the kernel joins, in both orders in which it is stored."""

from __future__ import annotations

import dataclasses

from ..geometry.spec import check_groups
from .draw import MARGIN, Picture
from .scene import TINTS, Box, Line, Mark, Scene, Words

_W, _H = 46.0, 26.0


@dataclasses.dataclass(frozen=True)
class Slice:
    """One slice of a kernel along its whole axis of channels.

    Args:
      jaxconv: how it is written in jaxconv, Flax and Keras: window first.
      torch: how it is written in PyTorch and ONNX: channels first.
      sums: input channels, in the order of the slice's entries.
      into: output channels, in that order.
    """

    jaxconv: str
    torch: str
    sums: tuple[int, ...]
    into: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Grouped:
    """A grouped kernel's channels; `groups` makes it.

    Args:
      in_channels: of the layer.
      out_channels: of the layer.
      groups: number of groups.
      transposed: of a transposed convolution.
      slices: one for each output channel, of a transposed convolution for each input channel.
    """

    in_channels: int
    out_channels: int
    groups: int
    transposed: bool
    slices: tuple[Slice, ...]

    @property
    def _shared(self) -> int:
        return (self.out_channels if self.transposed else self.in_channels) // self.groups

    def __str__(self) -> str:
        """Both shapes, and a line for each slice."""
        n, inner = len(self.slices), self._shared
        names = ("out/groups", "in") if self.transposed else ("in/groups", "out")
        lines = [
            f"{self.in_channels} -> {self.out_channels} channels in {self.groups} groups",
            f"{_homes(self)}: (*k, {names[0]}, {names[1]}) = (*k, {inner}, {n})",
            f"PyTorch, ONNX: ({names[1]}, {names[0]}, *k) = ({n}, {inner}, *k)",
        ]
        for s in self.slices:
            head = f"kernel{s.jaxconv} = weight{s.torch}"
            lines.append(f"{head}: inputs {_listed(s.sums)} -> outputs {_listed(s.into)}")
        return "\n".join(lines)

    def picture(self) -> Picture:
        """The channels and both kernels: each entry names its channel, in its group's colour."""
        return Picture(_scene(self))


def groups(in_channels: int, out_channels: int, groups: int, *, transposed: bool = False) -> Grouped:
    """Explains which channels each slice of a grouped kernel joins.

    Args:
      in_channels: of the layer's input.
      out_channels: of the layer's output.
      groups: number of groups; as many as in_channels is a depthwise convolution.
      transposed: of a transposed convolution, whose kernel is stored with the roles exchanged.

    Returns:
      The slices as data; it prints as text, `picture()` draws it.

    Raises:
      ValueError: if `groups` does not divide both.

    Example:
      >>> print(groups(4, 2, 2))
      4 -> 2 channels in 2 groups
      jaxconv, Flax, Keras: (*k, in/groups, out) = (*k, 2, 2)
      PyTorch, ONNX: (out, in/groups, *k) = (2, 2, *k)
      kernel[..., :, 0] = weight[0, :]: inputs 0, 1 -> outputs 0
      kernel[..., :, 1] = weight[1, :]: inputs 2, 3 -> outputs 1
    """
    check_groups(groups, in_channels=in_channels, out_channels=out_channels)
    own, other = (in_channels, out_channels) if transposed else (out_channels, in_channels)
    slices = []
    for c in range(own):
        group = c // (own // groups)
        shared = tuple(range(group * (other // groups), (group + 1) * (other // groups)))
        sums, into = ((c,), shared) if transposed else (shared, (c,))
        slices.append(Slice(f"[..., :, {c}]", f"[{c}, :]", sums, into))
    return Grouped(in_channels, out_channels, groups, transposed, tuple(slices))


def _homes(grouped: Grouped) -> str:
    """Who stores the window first; the layers of Flax and Keras have no transposed groups."""
    return "jaxconv" if grouped.transposed else "jaxconv, Flax, Keras"


def _listed(channels: tuple[int, ...]) -> str:
    return ", ".join(map(str, channels))


def _scene(grouped: Grouped) -> Scene:
    """Channels with lines between them on the left, the kernel in both orders on the right."""
    n, inner = len(grouped.slices), grouped._shared
    top = MARGIN + 58
    marks: list[Mark] = [
        Words(
            MARGIN,
            MARGIN + 6,
            str(grouped).split("\n")[0].replace("->", "→"),
            size=14,
            anchor="start",
            bold=True,
        )
    ]
    left, right = MARGIN, MARGIN + 150
    tall = max(grouped.in_channels, grouped.out_channels) * (_H + 4)
    steps = [tall / count for count in (grouped.in_channels, grouped.out_channels)]
    for x, step, count, name in zip(
        (left, right), steps, (grouped.in_channels, grouped.out_channels), ("in", "out"), strict=True
    ):
        marks.append(Words(x + _W / 2, top - 14, name, "muted", 12))
        for c in range(count):
            marks += _entry(x, top + (c + 0.5) * step - _H / 2, f"{name} {c}", c // (count // grouped.groups))
    for s in grouped.slices:
        for i in s.sums:
            colour = TINTS[i // (grouped.in_channels // grouped.groups) % len(TINTS)]
            marks += [
                Line(
                    (left + _W, top + (i + 0.5) * steps[0]), (right, top + (o + 0.5) * steps[1]), colour, 1.4
                )
                for o in s.into
            ]
    shared_name, own_name = ("out", "in") if grouped.transposed else ("in", "out")
    x = right + _W + 70
    marks.append(Words(x, MARGIN + 26, f"{_homes(grouped)}: (*k, {inner}, {n})", "muted", 12, "start"))
    marks += [Words(x + (c + 0.5) * _W, top - 14, f"{own_name} {c}", "muted", 11) for c in range(n)]
    y = top + inner * _H + 58
    marks.append(Words(x, y - 32, f"PyTorch, ONNX: ({n}, {inner}, *k)", "muted", 12, "start"))
    for c, s in enumerate(grouped.slices):
        group = c // (n // grouped.groups)
        marks.append(Words(x - 6, y + (c + 0.5) * _H, f"{own_name} {c}", "muted", 11, "end"))
        for r, channel in enumerate(s.into if grouped.transposed else s.sums):
            word = f"{shared_name} {channel}"
            marks += _entry(x + c * _W, top + r * _H, word, group)
            marks += _entry(x + r * _W, y + c * _H, word, group)
    width = x + max(n, inner) * _W + MARGIN
    height = max(top + tall, y + n * _H) + MARGIN
    return Scene(max(width, x + 260), height, tuple(marks), "Grouped kernel", str(grouped))


def _entry(x: float, y: float, text: str, group: int) -> list[Mark]:
    colour = TINTS[group % len(TINTS)]
    return [
        Box(x + 1.5, y + 1.5, _W - 3, _H - 3, f"{colour}-fill", colour),
        Words(x + _W / 2, y + _H / 2, text, size=11),
    ]
