"""Weights of Equinox's layers for jaxconv's.

Convolutions store (out, in/groups, *window), as PyTorch's do. So do transposed ones, and correlate the
stride-dilated input with that: the window is reversed, groups divide the input's channels, and a bias is
(out, *ones). A model is a pytree of dataclasses, which says of each layer what it is. Data is channels first
and unbatched; `padding` of a transposed convolution crops as in PyTorch.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ._flatten import Flatten
from ._layers import EQUINOX, Layer, Leaf, kinds_of
from ._load import Report, load_layers
from ._match import Rename

_KINDS = (
    (r"ConvTranspose(\dd)?", "conv_transpose"),
    (r"Conv(\dd)?", "conv"),
    (r"Linear", "linear"),
    (r"(Batch|Layer|Group|RMS)Norm", "norm"),
    (r"Embedding", "embed"),
    (r"PReLU", "prelu"),
)


def load(
    model: Any,
    source: Any,
    state: Any = None,
    *,
    rename: Rename | None = None,
    strict: bool = True,
    dtype: Any = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
) -> Report:
    """Loads the weights of an Equinox model into a model with the same layers.

    Layers are matched as in `jaxconv.interop.torch.load`, and so are all options.

    Args:
      model: an NNX module, which is changed in place, or the variables of a Linen one, which are not.
      source: the Equinox model. Its files hold arrays without names: read one by
        `equinox.tree_deserialise_leaves` first.
      state: the `equinox.nn.State` with the running statistics of its BatchNorm layers.
      rename: names of layers in the source -> names in the model, None for a layer that is not wanted.
      strict: whether every array on both sides must find its place.
      dtype: of the arrays; None keeps the source's, "model" is that of the model's own parameters.
      flatten: shape of the maps that a dense layer takes flattened, channels first.
      unflatten: shape of the maps that a dense layer's outputs are reshaped to.

    Returns:
      A report, which prints as a table; its `model` has the weights.

    Raises:
      ValueError: for layers that do not match, or BatchNorm without `state`.

    Example:
      >>> import equinox, jax
      >>> from flax import nnx
      >>> from jaxconv import nn
      >>> model = nn.ConvTranspose(2, 3, (5, 4), rngs=nnx.Rngs(0))
      >>> print(load(model, equinox.nn.ConvTranspose2d(2, 3, (5, 4), key=jax.random.key(0))))
      source  shape         model   shape         done
      weight  (3, 2, 5, 4)  kernel  (5, 4, 3, 2)  oi~ -> *oi, by name
      bias    (3, 1, 1)     bias    (3,)          as is, by name
    """
    layers = list(_layers(source, "", state))
    if not layers:
        raise ValueError(f"{type(source).__name__} holds no arrays; give an Equinox model.")
    return load_layers(
        model,
        layers,
        rename=rename,
        strict=strict,
        dtype=dtype,
        flatten=flatten,
        unflatten=unflatten,
        ordered=True,
    )


def _layers(node: Any, path: str, state: Any) -> Iterator[Layer]:
    children = dict(_children(node))
    name = type(node).__name__
    kind = next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, name)), None)
    arrays = {word: a for word, a in children.items() if hasattr(a, "shape") and hasattr(a, "dtype")}
    if name == "BatchNorm":
        arrays |= _statistics(node, path, state)
    if arrays:
        leaves = {w: Leaf(f"{path}.{w}".lstrip("."), np.asarray(a)) for w, a in arrays.items()}
        kinds = (kind,) if kind else kinds_of(EQUINOX, arrays)
        yield Layer(path, EQUINOX, kinds, leaves, getattr(node, "eps", None) if kind == "norm" else None)
    if kind is None:
        for word, child in children.items():
            yield from _layers(child, f"{path}.{word}".lstrip("."), state)


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        yield from ((f.name, getattr(node, f.name, None)) for f in dataclasses.fields(node))
    elif isinstance(node, list | tuple):
        yield from ((str(i), child) for i, child in enumerate(node))
    elif isinstance(node, Mapping):
        yield from ((str(k), child) for k, child in node.items())


def _statistics(node: Any, path: str, state: Any) -> dict[str, np.ndarray]:
    """The mean and variance that BatchNorm evaluates with, as its own code finds them."""
    if state is None:
        raise ValueError(
            f"{path} is a BatchNorm: give the equinox.nn.State with its running statistics, too."
        )
    if node.mode == "ema":
        mean, var = state.get(node.ema_state_index)
        return {"running_mean": np.asarray(mean), "running_var": np.asarray(var)}
    mean, var = (np.asarray(a) for a in state.get(node.batch_state_index))
    counter = int(state.get(node.batch_counter))
    scale = mean.dtype.type(1 - node.momentum**counter if counter else 1)
    return {"running_mean": mean / scale, "running_var": var / scale}
