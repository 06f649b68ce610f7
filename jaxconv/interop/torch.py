"""Kernels and biases of PyTorch's convolutions (`torch.nn.ConvNd`, `torch.nn.ConvTransposeNd`), as arrays.

PyTorch stores a convolution's weight as (out, in/groups, *window) and a transposed one's as (in, out/groups,
*window). Both become jaxconv's by the same permutation, and biases stay what they are. Strides, paddings
(integers, 'same' and 'valid'), output paddings, dilations and groups mean the same in both libraries; data is
`layout="channels_first"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ._files import read, unwrapped, write_safetensors
from ._flatten import Flatten
from ._layers import TORCH, Layer, grouped
from ._layout import Array, convert, convert_bias
from ._load import Report, export_layers, load_layers, named
from ._match import Rename
from ._models import layers_of

# A counter that batch normalisation keeps and evaluation does not read.
_IGNORED = "num_batches_tracked"


def conv_kernel(weight: Array, *, shape: Sequence[int] | None = None) -> Array:
    """A `torch.nn.ConvNd.weight` for `jaxconv.conv`: (out, in/groups, *window) -> (*window, in/groups, out).

    Args:
      weight: the weight as a NumPy or JAX array, such as `layer.weight.detach().cpu().numpy()`; groups and
        depthwise included.
      shape: the shape that the result must have, such as `layer.kernel.shape`; None, the default, accepts
        any.

    Returns:
      The kernel, an array of the same kind and type; for NumPy a view of `weight`.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> weight = np.arange(24).reshape(4, 3, 2)  # out, in, window
      >>> kernel = conv_kernel(weight)
      >>> kernel.shape, int(kernel[1, 2, 3]), int(weight[3, 2, 1])
      ((2, 3, 4), 23, 23)
    """
    return convert(weight, "conv", source=TORCH, shape=shape)


def to_conv_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The inverse of `conv_kernel`: (*window, in/groups, out) -> (out, in/groups, *window).

    Args:
      kernel: the kernel of a `jaxconv.conv`, a NumPy or JAX array.
      shape: the shape that the result must have, such as `tuple(layer.weight.shape)`; None accepts any.

    Returns:
      The weight, an array of the same kind and type; for NumPy a view of `kernel`.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> to_conv_kernel(np.zeros((5, 2, 3, 4))).shape
      (4, 3, 5, 2)
    """
    return convert(kernel, "conv", target=TORCH, shape=shape)


def conv_transpose_kernel(weight: Array, *, shape: Sequence[int] | None = None) -> Array:
    """A `torch.nn.ConvTransposeNd.weight` for `jaxconv.conv_transpose`.

    (in, out/groups, *window) -> (*window, out/groups, in); the window is not reversed.

    Args:
      weight: the weight as a NumPy or JAX array; groups included.
      shape: the shape that the result must have; None accepts any.

    Returns:
      The kernel, an array of the same kind and type; for NumPy a view of `weight`.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> weight = np.arange(24).reshape(4, 3, 2)  # in, out, window
      >>> conv_transpose_kernel(weight)[0, 1].tolist() == weight[:, 1, 0].tolist() == [2, 8, 14, 20]
      True
    """
    return convert(weight, "conv_transpose", source=TORCH, shape=shape)


def to_conv_transpose_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The inverse of `conv_transpose_kernel`: (*window, out/groups, in) -> (in, out/groups, *window).

    Args:
      kernel: the kernel of a `jaxconv.conv_transpose`, a NumPy or JAX array.
      shape: the shape that the result must have; None accepts any.

    Returns:
      The weight, an array of the same kind and type; for NumPy a view of `kernel`.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> to_conv_transpose_kernel(np.zeros((5, 2, 3, 4))).shape
      (4, 3, 5, 2)
    """
    return convert(kernel, "conv_transpose", target=TORCH, shape=shape)


def bias(array: Array, *, shape: Sequence[int] | None = None) -> Array:
    """A `bias` of any of PyTorch's convolutions for jaxconv, and back: the same numbers, checked.

    Args:
      array: one number per output channel, a NumPy or JAX array.
      shape: the shape that it must have; None accepts any length.

    Returns:
      `array` itself.

    Raises:
      ValueError: for something that is no array, a rank other than 1, or another shape.

    Example:
      >>> import numpy as np
      >>> bias(np.array([0.5, -1.5]), shape=(2,)).tolist()
      [0.5, -1.5]
    """
    return convert_bias(array, source=TORCH, shape=shape)


def load(
    model: Any,
    source: Mapping[str, Any] | str | Path,
    *,
    rename: Rename | None = None,
    strict: bool = True,
    dtype: Any = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
) -> Report:
    """Loads the weights of a PyTorch network into a model with the same layers.

    Layers are matched by their names where these agree, else in their order among those of one kind and
    shape; what could be wrong is an error that lists everything (docs/porting.md tells what to do). Kernels
    get jaxconv's layouts, `num_batches_tracked` is ignored. Nothing in a file is run.

    Args:
      model: an NNX module, which is changed in place, or the variables of a Linen one, which are not.
      source: a state_dict, or a file: .safetensors, .npz, or .pt and .pth, for which PyTorch is needed and
        read with `weights_only=True`.
      rename: names of layers in the source (without weight or bias) -> names in the model, a mapping or a
        function; None for a layer that is not wanted.
      strict: whether every array on both sides must find its place. Otherwise what does not match stays as
        it is, and is listed in the report.
      dtype: of the arrays; None keeps the source's, "model" is that of the model's own parameters.
      flatten: shape (C, H, W) of the maps that a dense layer takes flattened, for all such layers or as
        {name in the source: shape}; their order is channels first in PyTorch and channels last here. False
        says that there is none.
      unflatten: the same for maps that a dense layer's outputs are reshaped to.

    Returns:
      A report, which prints as a table; its `model` has the weights.

    Raises:
      ValueError: for layers that do not match, a dense layer next to a convolution of which `flatten` or
        `unflatten` says nothing, or a file that is missing, damaged or holds anything but arrays.

    Example:
      >>> import numpy as np
      >>> from flax import nnx
      >>> from jaxconv import nn
      >>> model = nnx.Sequential(nn.Conv(3, 4, (5, 2), rngs=nnx.Rngs(0)), nnx.relu)
      >>> weights = {"0.weight": np.zeros((4, 3, 5, 2), np.float32), "0.bias": np.ones(4, np.float32)}
      >>> print(load(model, weights))
      source    shape         model            shape         done
      0.weight  (4, 3, 5, 2)  layers.0.kernel  (5, 2, 3, 4)  oi* -> *io, by name
      0.bias    (4,)          layers.0.bias    (4,)          as is, by name
      >>> model.layers[0].bias[...].tolist()
      [1.0, 1.0, 1.0, 1.0]
    """
    return load_layers(
        model,
        _layers(_arrays(source)),
        rename=rename,
        strict=strict,
        dtype=dtype,
        flatten=flatten,
        unflatten=unflatten,
    )


def to_state_dict(
    model: Any,
    *,
    like: Mapping[str, Any] | str | Path | None = None,
    rename: Rename | None = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
) -> dict[str, np.ndarray]:
    """The weights of a model as a PyTorch state_dict of NumPy arrays, the inverse of `load`.

    Args:
      model: an NNX module or the variables of a Linen one.
      like: a state_dict or file of the network that the result is for, whose names, shapes, order and dtypes
        it gets; None names arrays by their paths in the model.
      rename: as in `load`, from names in `like` to names in the model.
      flatten: as in `load`.
      unflatten: as in `load`.

    Returns:
      The arrays by name; `torch.from_numpy` makes them tensors.

    Raises:
      ValueError: as `load`.

    Example:
      >>> from flax import nnx
      >>> from jaxconv import nn
      >>> model = nnx.Sequential(nn.ConvTranspose(3, 4, (5, 2), rngs=nnx.Rngs(0)), nnx.relu)
      >>> {name: array.shape for name, array in to_state_dict(model).items()}
      {'layers.0.weight': (3, 4, 5, 2), 'layers.0.bias': (4,)}
    """
    if like is not None:
        arrays = _arrays(like)
        kept = {name: np.asarray(array) for name, array in arrays.items() if name.endswith(_IGNORED)}
        result = export_layers(model, _layers(arrays), rename=rename, flatten=flatten, unflatten=unflatten)
        return {name: result.get(name, kept.get(name)) for name in arrays}  # pyright: ignore[reportReturnType]
    if flatten is not None or unflatten is not None:
        raise ValueError(
            "flatten and unflatten go by names in `like`; give like=, a state_dict of the network."
        )
    return dict(named(layers_of(model)))


def save(model: Any, path: str | Path, **options: Any) -> None:
    """Writes `to_state_dict(model, **options)` to a .safetensors file.

    Args:
      model: as in `to_state_dict`.
      path: of the file; its name ends in .safetensors.
      **options: as in `to_state_dict`.

    Raises:
      ValueError: as `to_state_dict`, and for another ending.

    Example:
      >>> import tempfile
      >>> from flax import nnx
      >>> from jaxconv import nn
      >>> model = nn.Conv(3, 4, (5, 2), rngs=nnx.Rngs(0))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(model, f"{folder}/net.safetensors")
      ...     len(load(model, f"{folder}/net.safetensors").rows)
      2
    """
    write_safetensors(Path(path), to_state_dict(model, **options))


def _arrays(source: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    return read(source) if isinstance(source, str | Path) else unwrapped(source, "the state_dict")


def _layers(arrays: Mapping[str, Any]) -> list[Layer]:
    return grouped({name: a for name, a in arrays.items() if not name.endswith(_IGNORED)}, TORCH)


def from_exported(program: Any) -> tuple[Callable[..., Any], dict[str, jax.Array]]:
    """A network exported by `torch.export` as a JAX function and its parameters.

    Operators run by jaxconv's, channels first as in PyTorch: the function can be jitted, differentiated and
    vectorised, and parameters keep PyTorch's names and layouts. It evaluates: export the network after
    `eval()`.

    Args:
      program: a `torch.export.ExportedProgram`, such as `torch.export.export(model.eval(), (x,))`. A file is
        no argument: `torch.export.load` may run code that is in it, so that is for you to decide.

    Returns:
      `function(params, *inputs)`, which returns what the network returns, and `params`, by their names.

    Raises:
      ValueError: for something else, or for operators without a counterpart, all of them listed.

    Example:
      With PyTorch, for a `model` and an array `x` of 8 pictures:

          program = torch.export.export(model.eval(), (torch.from_numpy(x),))
          function, params = jaxconv.interop.torch.from_exported(program)
          y = jax.jit(function)(params, x)

      >>> from_exported("net.pt2")
      Traceback (most recent call last):
      ValueError: 'net.pt2' is no ExportedProgram; ...
    """
    if not all(hasattr(program, word) for word in ("graph", "graph_signature", "state_dict", "call_spec")):
        raise ValueError(
            f"{program!r} is no ExportedProgram; give torch.export.export(model.eval(), (x,)), or what "
            "torch.export.load returns for a file that you trust, since it may hold code."
        )
    from ._exported import from_program

    return from_program(program)
