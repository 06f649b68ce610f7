"""Dense layers next to convolutions: maps are flattened channels first there and channels last here.

(C, H, W) in row-major order is (C, P), and (H, W, C) is (P, C), with P = H·W positions: exchanging two axes
is all, but only whoever wrote the network knows that it flattened, so nothing is exchanged unasked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ._layers import EQUINOX, FLAX, TORCH, Layer
from ._layout import channels_last
from ._match import Matching, Pair

Shape = Sequence[int]
# For all dense layers, or for some by their names in the source; False where the order is the same.
Flatten = None | bool | Shape | Mapping[str, Shape | bool | None]
Turn = Callable[[np.ndarray, str], tuple[np.ndarray, str]]

_CONVS = ("conv", "conv_transpose")


def orders(
    matching: Matching, flatten: Flatten, unflatten: Flatten, *, back: bool = False
) -> dict[int, list[Turn]]:
    """What to do with the arrays of which model's layers, by their ids.

    Args:
      matching: the pairs of layers.
      flatten: shapes (C, *spatial) of the maps that dense layers take.
      unflatten: those that their outputs are reshaped to.
      back: whether the model's arrays become the source's.

    Raises:
      ValueError: where a dense layer follows or precedes a convolution of another number of channels and
        nothing was said, and for shapes that do not fit.
    """
    turns: dict[int, list[Turn]] = {}
    pairs = matching.pairs
    for i, pair in enumerate(pairs):
        if pair.kind != "linear" or pair.source.library not in (TORCH, EQUINOX):
            continue
        if flatten is None and not matching.ordered and any(p.kind in _CONVS for p in pairs):
            raise ValueError(
                f"whether {pair.source.path} takes flattened maps cannot be seen, because neither the source "
                "nor the model keeps the order of layers: give "
                f"flatten={{{pair.source.path!r}: (C, H, W)}} or False."
            )
        inputs, outputs = pair.target.leaves["kernel"].shape
        before = _neighbour(pairs[i - 1 :: -1] if i else [])
        after = _neighbour(pairs[i + 1 :])
        if before is not None and (shape := _shape(flatten, "flatten", pair, inputs, _channels(before)[1])):
            turns.setdefault(id(pair.target), []).append(_turn(0, shape, back))
        if after is not None and (
            shape := _shape(unflatten, "unflatten", pair, outputs, _channels(after)[0])
        ):
            turns.setdefault(id(pair.target), []).append(_turn(-1, shape, back))
            for norm in _norms_after(pairs[i + 1 :], outputs):
                turns.setdefault(id(norm), []).append(_turn(-1, shape, back))
    return turns


def _neighbour(pairs: Sequence[Pair]) -> Layer | None:
    """The nearest convolution with no other dense layer before it."""
    for pair in pairs:
        if pair.kind in _CONVS:
            return pair.target
        if pair.kind == "linear":
            return None
    return None


def _norms_after(pairs: Sequence[Pair], features: int) -> list[Layer]:
    """The normalisations of the features before they are reshaped."""
    found = []
    for pair in pairs:
        if pair.kind != "norm" or {leaf.shape for leaf in pair.target.leaves.values()} != {(features,)}:
            break
        found.append(pair.target)
    return found


def _channels(layer: Layer) -> tuple[int, int]:
    """What a convolution takes, for one group, and what it gives."""
    *_, a, b = layer.leaves["kernel"].shape
    if "conv" in layer.kinds or layer.library == FLAX:
        return a, b
    return b, layer.leaves["bias"].shape[0] if "bias" in layer.leaves else a


def _shape(given: Flatten, option: str, pair: Pair, features: int, channels: int) -> tuple[int, int] | None:
    """(channels, positions) of the maps at a dense layer, or None if there is nothing to reorder."""
    path = pair.source.path
    told = given.get(path) if isinstance(given, Mapping) else given
    if told is False or (told is None and features == channels):
        return None
    if told is None or told is True:
        positions = features // channels if channels and features % channels == 0 else None
        guess = f"({channels}, H, W) with H·W = {positions}" if positions else "(C, H, W)"
        takes, maps = ("takes", "after") if option == "flatten" else ("gives", "before")
        raise ValueError(
            f"{path} {takes} {features} features, {maps} a convolution with {channels} channels. Where "
            "maps are flattened or unflattened, the source's order is channels first and the model's "
            f"channels last: give {option}={guess}, or {{{path!r}: ...}} for each layer, or False where the "
            "features have one order."
        )
    shape = tuple(int(n) for n in told)  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
    if math.prod(shape) != features:
        if not isinstance(given, Mapping) and features == channels:
            return None
        raise ValueError(f"{option}={shape} has {math.prod(shape)} elements; {path} has {features} features.")
    return shape[0], math.prod(shape[1:])


def _turn(axis: int, shape: tuple[int, int], back: bool) -> Turn:
    channels, positions = shape

    def turn(array: Any, done: str) -> tuple[np.ndarray, str]:
        at = array.ndim - 1 if axis < 0 else 0
        if axis == 0 and array.ndim == 1:  # the bias belongs to the outputs
            return array, done
        count = positions if back else channels
        return channels_last(
            array, at, count
        ), f"{done}, ({channels}, {positions}) -> ({positions}, {channels})"

    return turn
