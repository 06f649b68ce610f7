"""The layers of a model, in the order in which they were made, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from .. import nn
from ._layers import FLAX, FLAX_TRANSPOSED, OTHER, Layer, Leaf, flattened, kinds_of
from ._layout import JAXCONV

# A subclass before its base; what is not here is known by its arrays.
_TYPES: tuple[tuple[type, str], ...] = (
    (nn.ConvTranspose, "conv_transpose"),
    (nnx.ConvTranspose, "conv_transpose"),
    (nnx.Conv, "conv"),
    (nnx.Linear, "linear"),
    (nnx.Embed, "embed"),
    (nnx.BatchNorm, "norm"),
    (nnx.LayerNorm, "norm"),
    (nnx.RMSNorm, "norm"),
    (nnx.GroupNorm, "norm"),
    (nnx.InstanceNorm, "norm"),
    (nnx.PReLU, "prelu"),
)
_NO_WEIGHTS = (nnx.RngState, nnx.Intermediate, nnx.Cache, nnx.Perturbation)
_COLLECTIONS = ("params", "batch_stats")


def layers_of(model: Any) -> list[Layer]:
    """The layers of an NNX module, or of a nested mapping of parameters such as Linen's.

    Raises:
      ValueError: for something else, or a model without arrays.
    """
    if isinstance(model, nnx.State):
        model = nnx.to_pure_dict(model)
    if isinstance(model, nnx.Pytree):
        layers = list(_of_module(model, (), set()))
    elif isinstance(model, Mapping):
        layers = of_params(model)
    else:
        raise ValueError(
            f"the model is a {type(model).__module__}.{type(model).__name__}; give an NNX module, or the "
            "variables that a Linen module's init returns."
        )
    if not layers:
        raise ValueError("the model holds no arrays; give one whose parameters are there already.")
    return layers


def _of_module(node: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[Layer]:
    """Depth first, each node once: what is shared belongs to the first that has it."""
    if id(node) in seen:
        return
    seen.add(id(node))
    children = dict(_children(node))
    leaves = {
        word: Leaf(".".join((*path, word)), child.get_raw_value(), child)
        for word, child in children.items()
        if _is_weight(child)
    }
    if leaves:
        yield _layer(node, ".".join(path), leaves)
    for word, child in children.items():
        if isinstance(child, nnx.Pytree | list | tuple | dict):
            yield from _of_module(child, (*path, word), seen)


def _is_weight(value: Any) -> bool:
    return (
        isinstance(value, nnx.Variable)
        and not isinstance(value, _NO_WEIGHTS)
        and hasattr(value.get_raw_value(), "shape")
    )


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, list | tuple):
        yield from ((str(i), child) for i, child in enumerate(node))
    else:
        items = node if isinstance(node, dict) else vars(node)
        yield from ((str(k), v) for k, v in items.items() if not str(k).startswith("_"))


def _layer(node: Any, path: str, leaves: dict[str, Leaf]) -> Layer:
    kind = next((kind for cls, kind in _TYPES if isinstance(node, cls)), None)
    library = JAXCONV
    if isinstance(node, nnx.ConvTranspose):
        library = FLAX_TRANSPOSED if node.transpose_kernel else FLAX
    known = (kind,) if kind else _by_arrays(leaves)
    if kind == "conv" and leaves["kernel"].shape[-2] == 1:
        known = ("conv", "depthwise")
    return Layer(path, library, known, leaves, getattr(node, "epsilon", None) if kind == "norm" else None)


def of_params(
    params: Mapping[Any, Any], *, library: str = JAXCONV, transposed: Sequence[str] | None = None
) -> list[Layer]:
    """The layers of nested mappings of arrays; Linen's collections are one tree.

    Args:
      params: the tree.
      library: that stored it.
      transposed: the paths of the layers that are transposed convolutions; None goes by names and shapes.
    """
    found: dict[tuple[str, ...], dict[str, Leaf]] = {}
    for key, array in flattened(params):
        inner = key[1:] if key and key[0] in _COLLECTIONS else key
        inner = inner[:-1] if len(inner) > 1 and inner[-1] == "value" else inner  # an older nnx.State
        if not inner or not hasattr(array, "shape") or jax.numpy.issubdtype(array.dtype, jax.dtypes.extended):
            continue
        leaf = Leaf(".".join(map(str, key)), array, key)
        found.setdefault(tuple(map(str, inner[:-1])), {})[str(inner[-1])] = leaf
    return [
        Layer(".".join(path), library, _chosen(".".join(path), leaves, library, transposed), leaves)
        for path, leaves in found.items()
    ]


def _by_arrays(leaves: dict[str, Leaf], library: str = JAXCONV) -> tuple[str, ...]:
    kinds = kinds_of(library, {word: leaf.array for word, leaf in leaves.items()})
    if "kernel" not in leaves or OTHER in kinds:
        return kinds
    kernel = leaves["kernel"].shape
    if len(kernel) == 2:
        return ("linear",)
    # Flax's own layout has the outputs last in both convolutions.
    if library != FLAX and "bias" in leaves and leaves["bias"].shape != kernel[-1:]:
        return ("conv_transpose",)
    return kinds


def _chosen(
    path: str, leaves: dict[str, Leaf], library: str, transposed: Sequence[str] | None
) -> tuple[str, ...]:
    """Linen's own names tell the two convolutions apart; so may the bias."""
    kinds = _by_arrays(leaves, library)
    if "conv" not in kinds:
        return kinds
    last = path.rpartition(".")[2]
    if path in transposed if transposed is not None else re.fullmatch(r"\w*ConvTranspose_\d+", last):
        return ("conv_transpose",)
    if transposed is not None or re.fullmatch(r"\w*Conv_\d+|depthwise|pointwise", last):
        return tuple(kind for kind in kinds if kind != "conv_transpose")
    return kinds


def write(model: Any, values: list[tuple[Leaf, np.ndarray]]) -> Any:
    """The model with new arrays where the old ones are: the same NNX module, or a copy of the mapping."""
    if isinstance(model, nnx.Pytree) and not isinstance(model, nnx.State):
        for leaf, value in values:
            leaf.place.set_value(_placed(value, leaf.array))
        return model
    new = {leaf.place: _placed(value, leaf.array) for leaf, value in values}
    tree = nnx.to_pure_dict(model) if isinstance(model, nnx.State) else model
    filled = _replaced(tree, (), new.get)
    if isinstance(model, nnx.State):
        nnx.replace_by_pure_dict(copy := jax.tree.map(lambda a: a, model), filled)
        return copy
    return filled


def _replaced(tree: Any, key: tuple[Any, ...], new: Callable[[Any, Any], Any]) -> Any:
    if isinstance(tree, Mapping):
        return {k: _replaced(v, (*key, k), new) for k, v in tree.items()}
    return new(key, tree)


def _placed(value: np.ndarray, old: Any) -> jax.Array:
    """Where the old array is, if it is anywhere; NumPy's views are copied."""
    array = jax.numpy.asarray(value)
    sharding = getattr(old, "sharding", None)
    committed = isinstance(old, jax.Array) and getattr(old, "committed", False)
    return jax.device_put(array, sharding) if committed else array
