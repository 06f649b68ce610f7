"""Weights of Haiku's modules for jaxconv's layers.

Parameters are {module: {name: array}}. Convolutions store `w` as (*window, in/groups, out), depthwise ones
as (*window, 1, in·multiplier), which are jaxconv's; transposed ones as (*window, out, in) with the window
reversed. Vectors of a BatchNorm have axes of length 1, its running statistics are modules of their own in the
state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._layers import HAIKU, Layer, Leaf, kinds_of
from ._load import Report, load_layers
from ._match import Rename

_STATISTICS = {"/~/mean_ema": "mean", "/~/var_ema": "var"}


def load(
    model: Any,
    params: Mapping[str, Mapping[str, Any]],
    state: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    rename: Rename | None = None,
    strict: bool = True,
    dtype: Any = None,
    transposed: Sequence[str] | None = None,
) -> Report:
    """Loads the weights of a Haiku network into a model with the same layers.

    Layers are matched as in `jaxconv.interop.torch.load`, and so are `rename`, `strict` and `dtype`.

    Args:
      model: an NNX module, which is changed in place, or the variables of a Linen one, which are not.
      params: what `init` of the transformed function returned.
      state: its state, for the running statistics of BatchNorm.
      rename: names of modules -> names in the model, None for a layer that is not wanted.
      strict: whether every array on both sides must find its place.
      dtype: of the arrays; None keeps the source's, "model" is that of the model's own parameters.
      transposed: the names of the transposed convolutions; None goes by Haiku's own names, by the model and
        by shapes, and says so where these leave it open.

    Returns:
      A report, which prints as a table; its `model` has the weights.

    Raises:
      ValueError: for layers that do not match, or parameters of another form.

    Example:
      >>> import numpy as np
      >>> from flax import nnx
      >>> from jaxconv import nn
      >>> w = np.arange(6.0, dtype=np.float32).reshape(3, 2, 1)  # window, out, in
      >>> model = nn.ConvTranspose(1, 2, 3, use_bias=False, rngs=nnx.Rngs(0))
      >>> print(load(model, {"net/conv1_d_transpose": {"w": w}}))
      source                   shape      model   shape      done
      net/conv1_d_transpose.w  (3, 2, 1)  kernel  (3, 2, 1)  ~oi -> *oi, the only one that fits
      >>> model.kernel[..., 0].tolist()
      [[4.0, 5.0], [2.0, 3.0], [0.0, 1.0]]
    """
    layers = _layers(params, state or {}, transposed)
    return load_layers(model, layers, rename=rename, strict=strict, dtype=dtype)


def _layers(params: Any, state: Mapping[str, Any], transposed: Sequence[str] | None) -> list[Layer]:
    found: dict[str, dict[str, Leaf]] = {}
    for path, arrays in params.items():
        if not isinstance(arrays, Mapping) or not all(hasattr(a, "shape") for a in arrays.values()):
            raise ValueError(
                f"params[{path!r}] is no mapping of names to arrays; give what Haiku's init returns."
            )
        found[path] = {word: Leaf(f"{path}.{word}", np.asarray(a)) for word, a in arrays.items()}
    for path, arrays in state.items():
        for ending, word in _STATISTICS.items():
            if path.endswith(ending) and "average" in arrays:
                leaf = Leaf(f"{path}.average", np.asarray(arrays["average"]))
                found.setdefault(path.removesuffix(ending), {})[word] = leaf
    return [Layer(path, HAIKU, _kinds(path, leaves, transposed), leaves) for path, leaves in found.items()]


def _kinds(path: str, leaves: dict[str, Leaf], transposed: Sequence[str] | None) -> tuple[str, ...]:
    kinds = kinds_of(HAIKU, {word: leaf.array for word, leaf in leaves.items()})
    if not {"conv", "conv_transpose"} <= set(kinds):
        return kinds
    if "transpose" in path.rpartition("/")[2] if transposed is None else path in transposed:
        return ("conv_transpose",)
    named = "conv" in path.rpartition("/")[2] or transposed is not None
    return ("conv",) if named else kinds
