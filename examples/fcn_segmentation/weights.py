"""Weights of VGG as torchvision lays them out, from a safetensors file or a state_dict that torch.save wrote.

`features.N.weight` is (out, in, 3, 3). `classifier.0.weight` of the dense layer fc6 is (4096, 512·7·7), its
columns in the order channel, row, column, so it is the kernel of a 7x7 convolution, (4096, 512, 7, 7).
`classifier.3.weight` of fc7 is that of a 1x1 convolution, and `classifier.6`, which tells ImageNet's thousand
classes apart, has no place in a segmentation network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.flax import load_file

from jaxconv import nn
from jaxconv.interop import torch as layout

from .backbones import VGG
from .model import FCN, SkipFCN

_DROPPED = "classifier.6."


def load_vgg(model: FCN, path: Path) -> None:
    """Gives the VGG in `model` the weights in a file of torchvision's layout; its scores stay as they are.

    Raises:
        ValueError: the model has no VGG without normalisation, or the file is missing, damaged, or does not
            hold exactly the arrays that fit; it lists what is missing, unknown or of another shape. The model
            is unchanged then.
    """
    if not isinstance(model.network, SkipFCN):
        raise ValueError(
            "VGG's weights fit the networks on VGG only; use fcn32s, fcn16s, fcn8s or fcn8s-atonce"
        )
    vgg = model.network.backbone
    if vgg.fc6.norm is not None:
        raise ValueError('these are the weights of VGG without normalisation; use norm="none"')
    arrays = {name: array for name, array in read(path).items() if not name.startswith(_DROPPED)}
    _check({name: tuple(array.shape) for name, array in arrays.items()}, shapes(vgg), path)
    for name, layer in _layers(vgg).items():
        *size, inputs, outputs = layer.kernel.shape
        weight, bias = (np.asarray(arrays[f"{name}.{part}"], np.float32) for part in ("weight", "bias"))
        weight = weight.reshape(outputs, inputs, *size)
        layer.kernel[...] = jnp.asarray(layout.conv_kernel(weight))
        assert layer.bias is not None  # without normalisation there is one
        layer.bias[...] = jnp.asarray(layout.bias(bias))


def shapes(vgg: VGG) -> dict[str, tuple[int, ...]]:
    """The arrays that fit this VGG by their names in the file, with the shapes that they have there."""
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in _layers(vgg).items():
        *size, inputs, outputs = layer.kernel.shape
        dense = name.startswith("classifier")
        found[f"{name}.weight"] = (outputs, inputs * size[0] * size[1]) if dense else (outputs, inputs, *size)
        found[f"{name}.bias"] = (outputs,)
    return found


def read(path: Path) -> Mapping[str, Any]:
    """The arrays in a file, by name: NumPy's, or JAX's from safetensors, which may be bfloat16.

    Raises:
        ValueError: there is no such file, its kind is not known, or it is damaged.
    """
    readers = {".safetensors": _read_safetensors, ".pt": _read_torch, ".pth": _read_torch}
    if path.suffix not in readers:
        raise ValueError(f"{path}: weights are read from files whose name ends in {', '.join(readers)}")
    if not path.is_file():
        raise ValueError(f"no weights at {path}: check the path")
    return readers[path.suffix](path)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or damaged: {error}") from None


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        import torch  # pyright: ignore[reportMissingImports]  # not installed by any extra
    except ImportError:
        raise ValueError(
            f"{path} can be read where PyTorch is installed only; store the weights as .safetensors"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.detach().float().numpy() for name, tensor in state.items()}
    except Exception as error:  # of many types, depending on which byte is wrong
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is no state_dict that torch.save wrote, or damaged: {reason}") from None


def _layers(vgg: VGG) -> dict[str, nn.Conv]:
    """The convolutions by torchvision's names: rectifiers and poolings count, too."""
    layers, place = {}, 0
    for stage in vgg.stages:
        for layer in stage:
            layers[f"features.{place}"] = layer.conv
            place += 2
        place += 1
    return layers | {"classifier.0": vgg.fc6.conv, "classifier.3": vgg.fc7.conv}


def _check(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], path: Path) -> None:
    faults = {
        "missing": [name for name in wanted if name not in found],
        "unknown": [name for name in found if name not in wanted],
        "of another shape": [
            f"{name} {found[name]} for {shape}"
            for name, shape in wanted.items()
            if found.get(name, shape) != shape
        ],
    }
    told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in faults.items() if names)
    if told:
        raise ValueError(f"{path} does not hold the weights of this VGG. {told}")
