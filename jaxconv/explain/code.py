"""Pieces of code that several libraries' calls are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from ..geometry import normalize
from .layer import Layer


@dataclasses.dataclass(frozen=True)
class Call:
    """The code of one library, "" where it has none, and a remark, "" where there is nothing to remark."""

    library: str
    code: str
    note: str = ""


def for_each_group(layer: Layer, make: str, split: str, concatenate: str, crop: str) -> str:
    """One layer for each group, where the library has no groups."""
    parts = f"zip(layers, {split}(x, {layer.groups}, axis=-1))"
    return (
        f"layers = [{make} for _ in range({layer.groups})]\n"
        f"y = {concatenate}([layer(part) for layer, part in {parts}], axis=-1){crop}"
    )


def padded_input(layer: Layer, pad: str, pair: str) -> tuple[str, str]:
    """The x of a convolution that pads by name only, and that name."""
    if not any(map(any, layer.padding)):
        return "x", "valid"
    sizes = own_arguments(layer)
    if stride_or_steps(layer, "")[2]:
        sizes["stride"] = [1] * layer.rank
    if tuple((a.lo, a.hi) for a in normalize("SAME", **sizes)) == layer.padding:
        return "x", "same"
    pads = ", ".join(pair.format(lo, hi) for lo, hi in layer.padding)
    if "keras" in pad:
        pads = pads if layer.rank == 1 else f"({pads})"
    return pad.format(pads), "valid"


def stride_or_steps(layer: Layer, library: str) -> tuple[str, str, str]:
    """The strides, a remark and what follows the call: who strides and dilates must stride by slicing."""
    strides = [a.stride for a in layer.axes]
    if max(strides) == 1 or max(a.dilation for a in layer.axes) == 1:
        return as_list(strides), "", ""
    steps = ", ".join([":", *(f"::{s}" for s in strides)])
    note = f"{library} has no strides together with dilation; every stride-th output is taken instead."
    return as_list([1] * layer.rank), note, f"[{steps}]"


def cut_out(layer: Layer, starts: Sequence[int], have: Sequence[int], before: str = ":") -> str:
    """The slice of the layer's output out of a larger one of the sizes `have`."""
    if tuple(have) == layer.out:
        return ""
    cuts = (f"{start}:{start + n}" for start, n in zip(starts, layer.out, strict=True))
    return f"[{', '.join([before, *cuts])}]"


def own_arguments(layer: Layer) -> dict[str, list[int]]:
    """The arguments of `normalize` and `normalize_transposed` but padding."""
    axes = layer.axes
    return {
        "size": list(layer.size),
        "kernel": [a.kernel for a in axes],
        "stride": [a.stride for a in axes],
        "dilation": [a.dilation for a in axes],
    }


def full_size(layer: Layer) -> list[int]:
    """The size of the transposed convolution before anything is cropped."""
    return [a.size + a.lo + a.hi for a in layer.axes]


def common_options(layer: Layer, *, padding: str, output_padding: str) -> list[str]:
    """The options that jaxconv and PyTorch have in common."""
    values = {
        "stride": spread([a.stride for a in layer.axes]),
        "padding": padding,
        "output_padding": output_padding,
        "dilation": spread([a.dilation for a in layer.axes]),
        "groups": str(layer.groups),
    }
    usual = {"padding": "0", "output_padding": "0"}
    return [f"{name}={value}" for name, value in values.items() if value != usual.get(name, "1")]


def window(layer: Layer) -> tuple[int, ...]:
    """The window."""
    return tuple(a.kernel for a in layer.axes)


def dilations(layer: Layer, name: str) -> list[str]:
    """The option, where there is dilation."""
    values = [a.dilation for a in layer.axes]
    return [f"{name}={as_list(values)}"] * (max(values) > 1)


def spread(values: Sequence[int]) -> str:
    """One number where all axes agree."""
    return str(values[0]) if len(set(values)) == 1 else as_tuple(values)


def as_tuple(values: Iterable[int]) -> str:
    """(3, 5)."""
    return str(tuple(values))


def as_list(values: Iterable[int]) -> str:
    """[3, 5]."""
    return str(list(values))


def flat(pads: Iterable[tuple[int, int]]) -> str:
    """All numbers in a row."""
    return as_tuple(n for pair in pads for n in pair)


def as_pairs(pads: Sequence[tuple[int, int]]) -> str:
    """((1, 2), (0, 1))."""
    return str(tuple(tuple(p) for p in pads))


def as_padding(pads: Sequence[tuple[int, int]]) -> str:
    """Numbers where both sides agree, else pairs."""
    if all(lo == hi for lo, hi in pads):
        return spread([lo for lo, _ in pads])
    return as_pairs(pads)
