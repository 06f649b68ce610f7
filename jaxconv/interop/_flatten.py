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


def check_names(layers: Sequence[Layer], flatten: Flatten, unflatten: Flatten) -> None:
    """Refuses names that are no dense layers of the source."""
    for option, given in (("flatten", flatten), ("unflatten", unflatten)):
        dense = [layer.path for layer in layers if "linear" in layer.kinds]
        if unknown := [path for path in given if path not in dense] if isinstance(given, Mapping) else []:
            raise ValueError(f"{option} names {unknown}; the source's dense layers are {dense or 'none'}.")


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
        inputs, outputs = pair.target.leaves["kernel"].shape
        before = after = None
        if matching.ordered:
            before, after = _channels_at(pairs[:i][::-1], 1, inputs), _channels_at(pairs[i + 1 :], 0, outputs)
        elif convs := [p.target for p in pairs if p.kind in _CONVS]:
            _check_told(pair, convs, flatten, unflatten)
        if shape := _shape(flatten, "flatten", pair, inputs, before):
            turns.setdefault(id(pair.target), []).append(_turn(0, shape, back))
        if shape := _shape(unflatten, "unflatten", pair, outputs, after):
            turns.setdefault(id(pair.target), []).append(_turn(-1, shape, back))
            for norm in _norms_after(pairs[i + 1 :], outputs):
                turns.setdefault(id(norm), []).append(_turn(-1, shape, back))
    return turns


def _check_told(pair: Pair, convs: Sequence[Layer], flatten: Flatten, unflatten: Flatten) -> None:
    """Where no order says which layers are neighbours, the dense ones that maps are next to are named."""
    path, (_, outputs) = pair.source.path, pair.target.leaves["kernel"].shape
    taken = [_channels(layer)[0] for layer in convs]
    gives = any(n > 1 and outputs % n == 0 and outputs != n for n in taken)
    for option, given, verb in (("flatten", flatten, "takes"), ("unflatten", unflatten, "gives")):
        told = given is False or isinstance(given, Mapping)
        if not told and (option == "flatten" or given is not None or gives):
            raise ValueError(
                f"whether {path} {verb} flattened maps cannot be seen, because neither the source nor the "
                f"model keeps the order of layers: give {option}={{{path!r}: (C, H, W)}} or False."
            )


def _channels_at(pairs: Sequence[Pair], side: int, features: int) -> int | None:
    """The channels of the nearest convolution, to which these features may belong.

    A dense layer between that takes or gives as many is the neighbour. One that does not is another head of
    the same maps, as the mean and the variance of an autoencoder; behind it only whole maps are believed.
    """
    heads = False
    for pair in pairs:
        if pair.kind in _CONVS:
            channels = _channels(pair.target)[side]
            return None if heads and features % channels else channels
        if pair.kind == "linear":
            if pair.target.leaves["kernel"].shape[side] == features:
                return None
            heads = True
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


def _shape(
    given: Flatten, option: str, pair: Pair, features: int, channels: int | None
) -> tuple[int, int] | None:
    """(channels, positions) of the maps at a dense layer, or None if there is nothing to reorder.

    `channels` are the convolution's next to it, None if there is none; a layer that is named needs none.
    """
    path = pair.source.path
    named = isinstance(given, Mapping) and given.get(path) is not None
    told = given.get(path) if isinstance(given, Mapping) else given
    if told is False or (told is None and features == channels) or (channels is None and not named):
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
