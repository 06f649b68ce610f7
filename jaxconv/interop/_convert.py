"""The arrays of one library's layer as another's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._layers import EQUINOX, FLAX, FLAX_TRANSPOSED, OTHER, Layer
from ._layout import TABLE, convert, fold, regroup


class Misfit(Exception):
    """Why a layer is not another."""


def fits(source: Layer, target: Layer) -> tuple[str, ...]:
    """The kinds of layer as which `source` has exactly the arrays that `target` has."""
    kinds = (kind for kind in target.kinds if kind in source.kinds)
    return tuple(kind for kind in kinds if misfit(source, target, kind) is None)


def misfit(source: Layer, target: Layer, kind: str) -> str | None:
    """Why `source` read as `kind` is not `target`, or None; no array is copied for it."""
    try:
        converted(source, target, kind, shapes_only=True)
    except Misfit as reason:
        return str(reason)
    return None


def converted(source: Layer, target: Layer, kind: str, *, shapes_only: bool = False) -> dict[str, Any]:
    """The arrays of `source`, by the words of `target` and in its layouts.

    Raises:
      Misfit: for other arrays than the target has, or of other shapes.
    """
    there, here = source.roles(kind), target.roles(kind)
    if kind == OTHER and len(there) == len(here) == 1:  # one array needs no word
        there = dict(zip(here, there.values(), strict=True))
    if there.keys() != here.keys():
        missing, more = sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys())
        said = [f"has no {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(more)}"] * bool(more)
        raise Misfit(f"{source.path} {' and '.join(said)}")
    result = {}
    for role, word in here.items():
        array = source.leaves[there[role]].array
        if shapes_only:  # every view of an array without strides is one
            array = np.broadcast_to(np.zeros((), np.int8), array.shape)
        wanted = target.leaves[word].shape
        try:
            value = _array(np.asarray(array), role, kind, source.library, target.library, wanted)
        except ValueError as error:
            raise Misfit(str(error)) from None
        if value.shape != wanted:
            raise Misfit(f"{role} {source.leaves[there[role]].shape} is {value.shape} here, not {wanted}")
        result[word] = value
    return result


def described(source: Layer, target: Layer, kind: str, word: str) -> str:
    """What `converted` does to the array that the target calls `word`, in the letters of the table."""
    if kind == "depthwise" and target.roles(kind).get("kernel") == word:
        return "folded"
    if kind not in TABLE or target.roles(kind).get("kernel") != word:
        return "as is"
    before, after = (TABLE[kind][_row(side.library, kind)] for side in (source, target))
    return f"{before} -> {after}" if before != after else "as is"


def _array(
    array: np.ndarray, role: str, kind: str, source: str, target: str, wanted: tuple[int, ...]
) -> np.ndarray:
    if role == "kernel" and kind in TABLE:
        return _kernel(array, kind, source, target, wanted)
    # Vectors have axes of length 1 in some libraries, to broadcast.
    small = array.size == max(array.shape, default=1) and kind != OTHER
    return array.reshape(wanted) if small and array.size == np.prod(wanted) else array


def _row(library: str, kind: str) -> str:
    """The option of Flax's transposed convolutions leaves its other layers alone."""
    return FLAX if library == FLAX_TRANSPOSED and kind != "conv_transpose" else library


def _kernel(array: np.ndarray, kind: str, source: str, target: str, wanted: tuple[int, ...]) -> np.ndarray:
    source, target = _row(source, kind), _row(target, kind)
    windowed = len(wanted) > 2
    if kind == "conv" and array.ndim == 2 and windowed:  # a dense layer, where ours convolves
        array = array.reshape(_stored(wanted, kind, target, source))
    if kind == "depthwise":  # ours folds its last two axes into one
        return fold(convert(array, kind, source=source))
    if kind == "conv" and array.ndim > 2 and not windowed:
        return convert(array, kind, source=source, target=target).reshape(wanted)
    array = convert(array, kind, source=source, target=target)
    if source == EQUINOX and kind == "conv_transpose" and array.shape[-2] > wanted[-2] > 0:
        groups, rest = divmod(array.shape[-2], wanted[-2])
        array = array if rest else regroup(array, groups)
    return array


def _stored(shape: tuple[int, ...], kind: str, library: str, other: str) -> tuple[int, ...]:
    """The shape that a kernel of `library` has in `other`."""
    return convert(np.broadcast_to(np.int8(0), shape), kind, source=library, target=other).shape


def same(source: Layer, target: Layer, kinds: tuple[str, ...]) -> bool:
    """Whether all these readings give the same numbers."""
    first, *others = (converted(source, target, kind) for kind in kinds)
    return all(np.array_equal(first[w], other[w], equal_nan=True) for other in others for w in first)
