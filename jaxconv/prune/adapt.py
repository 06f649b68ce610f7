"""A model that is a pytree: its attributes are set to the sizes of its smaller parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ..graph.names import layer_of, path_name
from .pruned import Pruned

# What Flax's NNX, Equinox and this library call the sizes of a layer.
_NAMES = {
    "in": ("in_features", "in_channels"),
    "out": ("out_features", "out_channels"),
    "groups": ("feature_group_count", "groups"),
}
_NORM = ("num_features", "channels", "shape")


def adapted(pruned: Pruned) -> Any:
    """See `Pruned.model`."""
    leaves = jax.tree_util.tree_leaves(pruned.params)
    model = jax.tree_util.tree_unflatten(pruned.subject.tree, leaves)
    if isinstance(model, dict | list | tuple):
        raise ValueError(
            "the parameters are a plain pytree, which knows no sizes; call pruned.apply(params, ...), or "
            "make the model anew with the sizes in pruned.config['layers']."
        )
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(model)[0]]
    for path, name, leaf in zip(paths, pruned.subject.names, leaves, strict=True):
        layer = _owner(model, path)
        short = path_name(path).rpartition("/")[2]
        if short in ("kernel", "weight") and leaf.ndim > 1:
            _resize(layer, pruned.config["layers"].get(layer_of(path_name(path)), {}), leaf.shape)
        elif short in ("scale", "weight") and name in pruned.masks and leaf.ndim == 1:
            _renorm(layer, pruned.masks[name][0])
    return model


def _owner(model: Any, path: tuple[Any, ...]) -> Any:
    """The object that a leaf's layer is, found by the path's names."""
    layer = model
    for part in _parts(layer_of(path_name(path))):
        layer = layer[int(part)] if isinstance(layer, list | tuple) else _child(layer, part)
    return layer


def _child(layer: Any, part: str) -> Any:
    if isinstance(layer, Mapping):
        return layer[part]
    if hasattr(layer, part):
        return getattr(layer, part)
    return layer[int(part)] if part.isdigit() else layer[part]


def _parts(name: str) -> Iterator[str]:
    yield from (part for part in name.split("/") if part)


def _resize(layer: Any, sizes: Mapping[str, list[int]], kernel: tuple[int, ...]) -> None:
    for kind, (before, after) in sizes.items():
        for name in _NAMES[kind]:
            if getattr(layer, name, None) == before:
                _set(layer, name, after)
            elif getattr(layer, name, None) == (before,):
                _set(layer, name, (after,))
    if hasattr(layer, "kernel_shape"):
        _set(layer, "kernel_shape", kernel)


def _renorm(layer: Any, mask: np.ndarray) -> None:
    before, after = len(mask), int(mask.sum())
    groups = getattr(layer, "num_groups", getattr(layer, "groups", None))
    if isinstance(groups, int) and before % groups == 0:
        left = mask.reshape(groups, -1).any(1).sum()
        for name in ("num_groups", "groups"):
            if hasattr(layer, name):
                _set(layer, name, int(left))
        if hasattr(layer, "group_size"):
            _set(layer, "group_size", after // int(left))
    for name in _NORM:
        value = getattr(layer, name, None)
        if value in (before, (before,)):
            _set(layer, name, after if value == before else (after,))


def _set(layer: Any, name: str, value: Any) -> None:
    """Modules of Equinox are frozen, but this one is new."""
    try:
        setattr(layer, name, value)
    except dataclasses.FrozenInstanceError:
        object.__setattr__(layer, name, value)
