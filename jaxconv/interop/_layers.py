"""What both sides of a transfer of weights are: a list of layers, each a few arrays under its own words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ._layout import JAXCONV

TORCH, KERAS, EQUINOX, HAIKU = "torch/onnx", "keras/tensorflow", "equinox", "haiku"
FLAX, FLAX_TRANSPOSED = "flax", "flax with transpose_kernel=True"

_KERNEL = {"kernel": "kernel", "bias": "bias"}
_WEIGHT = {"weight": "kernel", "bias": "bias"}
_W = {"w": "kernel", "b": "bias"}
_OURS = {
    **dict.fromkeys(("conv", "conv_transpose", "linear"), _KERNEL),
    "norm": {"scale": "scale", "bias": "bias", "mean": "mean", "var": "var"},
    "embed": {"embedding": "embedding"},
    "prelu": {"negative_slope": "negative_slope"},
}
_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_THEIRS = {
    **dict.fromkeys(("conv", "conv_transpose", "linear"), _WEIGHT),
    "norm": _NORM,
    "embed": {"weight": "embedding"},
}

# library -> kind of layer -> the library's word for an array -> Flax's, which is jaxconv's.
WORDS: dict[str, dict[str, dict[str, str]]] = {
    JAXCONV: {**_OURS, "depthwise": _KERNEL},
    FLAX: _OURS,
    FLAX_TRANSPOSED: _OURS,
    TORCH: {**_THEIRS, "prelu": {"weight": "negative_slope"}},
    EQUINOX: {**_THEIRS, "prelu": {"negative_slope": "negative_slope"}},
    KERAS: {
        **dict.fromkeys(("conv", "conv_transpose", "depthwise", "linear"), _KERNEL),
        "norm": {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"},
        "embed": {"embeddings": "embedding"},
        "prelu": {"alpha": "negative_slope"},
    },
    HAIKU: {
        **dict.fromkeys(("conv", "conv_transpose", "linear"), _W),
        "norm": {"scale": "scale", "offset": "bias", "mean": "mean", "var": "var"},
        "embed": {"embeddings": "embedding"},
    },
}
# Ranks that the array has which a kind is known by; a dense layer's kernel may be a convolution's.
_RANKS: dict[str, Callable[[np.ndarray], bool]] = {
    "conv": lambda a: np.ndim(a) >= 2,
    "conv_transpose": lambda a: np.ndim(a) >= 3,
    "depthwise": lambda a: np.ndim(a) >= 3,
    "linear": lambda a: np.ndim(a) == 2,
    "embed": lambda a: np.ndim(a) == 2,
    "norm": lambda a: np.size(a) == max(np.shape(a), default=1),
    "prelu": lambda a: np.size(a) == max(np.shape(a), default=1),
}
OTHER = "other"


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array: its whole name, and for a model the place that it is written to."""

    name: str
    array: Any
    place: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.array.shape)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of one library: which kinds it may be of, and its arrays by the library's words."""

    path: str
    library: str
    kinds: tuple[str, ...]
    leaves: dict[str, Leaf]
    epsilon: float | None = None
    note: str = ""

    def roles(self, kind: str) -> dict[str, str]:
        """Our word for each of its arrays -> its own word."""
        words = WORDS[self.library].get(kind, {})
        return {words.get(word, word): word for word in self.leaves}

    def __str__(self) -> str:
        arrays = ", ".join(f"{word} {leaf.shape}" for word, leaf in self.leaves.items())
        return f"{self.path or '(the model)'} ({arrays})"


def kinds_of(library: str, arrays: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of layer whose words and ranks these arrays have."""
    found = []
    for kind, words in WORDS[library].items():
        # The array of the largest rank says what a layer is.
        if all(word in words for word in arrays) and _RANKS[kind](max(arrays.values(), key=np.ndim)):
            found.append(kind)
    return tuple(found) or (OTHER,)


def grouped(
    arrays: Mapping[str, Any],
    library: str,
    *,
    kinds: Callable[[str, Mapping[str, Any]], tuple[str, ...] | None] | None = None,
) -> list[Layer]:
    """Arrays by their dotted names as layers, in their order; `kinds` decides where it knows better."""
    layers: dict[str, dict[str, Leaf]] = {}
    for name, array in arrays.items():
        path, _, word = name.rpartition(".")
        layers.setdefault(path, {})[word] = Leaf(name, array)
    result = []
    for path, leaves in layers.items():
        bare = {word: leaf.array for word, leaf in leaves.items()}
        known = kinds(path, bare) if kinds else None
        result.append(Layer(path, library, known or kinds_of(library, bare), leaves))
    return result


def keeps_order(arrays: Iterable[tuple[str, Any]]) -> bool:
    """Whether arrays, by their names, are in the order in which they were made, and not an alphabetical one.

    safetensors sorts by dtype, then by name; jax.tree sorts keys. Whoever makes a layer makes `weight` or
    `kernel` before `bias`, so the order of making is alphabetical for hardly any network.
    """
    by_dtype: dict[str, list[str]] = {}
    for name, array in arrays:
        by_dtype.setdefault(str(array.dtype), []).append(name)
    return any(names != sorted(names) for names in by_dtype.values())


def in_order(layers: Iterable[Layer]) -> bool:
    """`keeps_order` of the arrays of layers; a model of one layer has no order to lose."""
    return keeps_order((leaf.name, leaf.array) for layer in layers for leaf in layer.leaves.values())


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts conv2 before conv10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(p), "") if p.isdigit() else (0, 0, p) for p in parts]


def flattened(tree: Any, prefix: tuple[Any, ...] = ()) -> Iterable[tuple[tuple[Any, ...], Any]]:
    """The leaves of nested mappings, with their keys."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from flattened(value, (*prefix, key))
    else:
        yield prefix, tree
