"""Layers of a Keras model from its files, its object, or its arrays by name.

A `.keras` file is a zip of `config.json` and `model.weights.h5`. There a layer's arrays are numbered, and
only the configuration, which is JSON, says the order and class of layers and what a number means. The older
`.h5` has words for arrays and the configuration as an attribute; a `.weights.h5` has neither, and its layers
are known by their automatic names and shapes.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._files import check_file, check_unpacked
from ._layers import KERAS, Layer, Leaf, flattened, kinds_of

_WEIGHTS = "model.weights.h5"
_NORMS = ("BatchNormalization", "LayerNormalization", "GroupNormalization")
_CLASSES = re.compile(
    r"(?P<separable>SeparableConv\dD)|(?P<depthwise>DepthwiseConv\dD)|(?P<conv_transpose>Conv\dDTranspose)|"
    r"(?P<conv>Conv\dD)|(?P<linear>Dense)|(?P<norm>(?:Batch|Layer|Group|RMS)Normalization)|"
    r"(?P<embed>Embedding)|(?P<prelu>PReLU)"
)


class Described:
    """What a configuration says of a layer: its path by names, its class and its options."""

    def __init__(self, path: str, config: Mapping[str, Any]):
        self.path, self.kind = path, str(config.get("class_name"))
        self.options = config["config"] if isinstance(config.get("config"), Mapping) else {}


def layers_of_source(source: Any) -> tuple[list[Layer], bool | None]:
    """The layers of a file, a Keras model, or arrays by name, and whether their order is known.

    Raises:
      ValueError: for a file that is missing, damaged or of another kind, or arrays whose meaning is unknown.
    """
    if isinstance(source, str | Path):
        return _of_file(Path(source))
    if isinstance(source, Mapping):
        arrays = {"/".join(map(str, key)): np.asarray(a) for key, a in flattened(source)}
        return _of_words(arrays, {}), None
    if hasattr(source, "layers") and hasattr(source, "weights"):
        return list(_of_model(source, "")), True
    raise ValueError(
        f"{type(source).__module__}.{type(source).__name__} is no source of weights; give a .keras or .h5 "
        "file, a Keras model, or {variable.path: array}."
    )


def _of_model(model: Any, path: str) -> Iterator[Layer]:
    for layer in model.layers:
        name = f"{path}{layer.name}"
        if getattr(layer, "layers", None):
            yield from _of_model(layer, f"{name}/")
        elif layer.weights:
            arrays = {f"{name}/{w.path.rpartition('/')[2]}": np.asarray(w) for w in layer.weights}
            described = Described(name, {"class_name": type(layer).__name__, "config": layer.get_config()})
            yield from _of_words(arrays, {name: described})


def _of_file(path: Path) -> tuple[list[Layer], bool | None]:
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ValueError(f"{path}: names of Keras's files end in .keras, .h5 or .hdf5; convert the file.")
    check_file(path)
    if path.suffix == ".keras":
        return _of_zip(path)
    with _opened(path, path) as file:
        arrays = _datasets(file, path)
        if "model_weights" not in file and "layer_names" not in file.attrs:
            return _numbered(arrays, {}), None
        told = file.attrs.get("model_config")
        config = _json(told, path) if told is not None else {}
        by_name = {d.path.rpartition("/")[2]: d for _, d in _walk(config, "", "")}
        return _of_words(_by_weight_names(file, arrays), by_name), True


def _of_zip(path: Path) -> tuple[list[Layer], bool | None]:
    """Members are read by name, into memory: nothing is unpacked to the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (_WEIGHTS, "config.json"):
                size = archive.getinfo(name).file_size
                check_unpacked(f"{path}: {name}", path.stat().st_size, size)
            weights, config = archive.read(_WEIGHTS), archive.read("config.json")
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} is no .keras file, or damaged: {error}") from None
    with _opened(io.BytesIO(weights), path) as file:
        return _numbered(_datasets(file, path), dict(_walk(_json(config, path), "", ""))), True


@contextlib.contextmanager
def _opened(file: Any, path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{path} needs the package h5py: pip install h5py.") from None
    try:
        with h5py.File(file, "r") as opened:
            yield opened
    except (OSError, RuntimeError, KeyError) as error:  # h5py's, depending on which byte is wrong
        raise ValueError(f"{path} is no HDF5 file, or damaged: {error}") from None


def _datasets(file: Any, path: Path) -> dict[str, np.ndarray]:
    """The arrays that are in the file itself: links to other files are not followed."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiubV" and not name.startswith("optimizer"):
            found[name] = item

    file.visititems(visit)
    for name, item in found.items():
        if item.external or item.is_virtual:
            raise ValueError(f"{path}: {name} points to another file, which was not read.")
    total = sum(item.size * item.dtype.itemsize for item in found.values())
    check_unpacked(path, file.id.get_filesize(), total)
    return {name: item[()] for name, item in found.items()}


def _json(text: str | bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its configuration is damaged: {error}") from None


def _walk(config: Any, group: str, path: str) -> Iterator[tuple[str, Described]]:
    """The layers of a configuration, nested models included, by their groups in the file of weights."""
    inner = config.get("config") if isinstance(config, Mapping) else None
    layers = inner.get("layers") if isinstance(inner, Mapping) else inner
    counts: dict[str, int] = {}
    for layer in layers if isinstance(layers, list) else []:
        if not isinstance(layer, Mapping):
            continue
        kind = _snake(str(layer.get("class_name")))
        counts[kind] = counts.get(kind, -1) + 1
        options = layer.get("config")
        name = str(options.get("name", kind)) if isinstance(options, Mapping) else kind
        there = f"{group}layers/{kind}{f'_{counts[kind]}' if counts[kind] else ''}"
        yield there, Described(path + name, layer)
        yield from _walk(layer, f"{there}/", f"{path}{name}/")


def _snake(name: str) -> str:
    """A class's name as Keras writes it in its files."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _numbered(arrays: Mapping[str, np.ndarray], described: Mapping[str, Described]) -> list[Layer]:
    """The layers of a file whose arrays are `.../vars/0`, in the configuration's order if there is one."""
    groups: dict[str, list[Leaf]] = {}
    for name in sorted(arrays, key=lambda n: (n.rpartition("/")[0], len(n), n)):
        groups.setdefault(name.rpartition("/")[0].removesuffix("/vars").removesuffix("vars"), []).append(
            Leaf(name, arrays[name])
        )
    place = {group: i for i, group in enumerate(described)}
    layers = []
    for group in sorted(groups, key=lambda g: place.get(g, len(place))):
        known = described.get(group) or Described(*_automatic(group))
        words = _words(known, groups[group])
        layers += _split(known, dict(zip(words, groups[group], strict=True)))
    return layers


def _automatic(group: str) -> tuple[str, dict[str, str]]:
    """The path and the class that an automatic name tells; the first of a class has no number."""
    parts = [
        f"{part}_0" if above == "layers" and not re.search(r"_\d+$", part) else part
        for above, part in zip(["", *group.split("/")], group.split("/"), strict=False)
        if part != "layers"
    ]
    name = re.sub(r"_\d+$", "", parts[-1])
    classes = ["Dense", "Embedding", "PReLU", *_NORMS]
    classes += [
        f"{c}{n}D{t}"
        for c in ("Conv", "DepthwiseConv", "SeparableConv")
        for n in (1, 2, 3)
        for t in ("", "Transpose")
    ]
    return "/".join(parts), {"class_name": next((c for c in classes if _snake(c) == name), "")}


def _words(known: Described, leaves: list[Leaf]) -> list[str]:
    """The words for numbered arrays."""
    kind = _kind(known.kind)
    ranks = [leaf.array.ndim for leaf in leaves]
    count = len(leaves)
    if kind == "norm" or (not kind and count > 1 and set(ranks) == {1}):
        affine = [w for w, flag in (("gamma", "scale"), ("beta", "center")) if known.options.get(flag, True)]
        words = affine + ["moving_mean", "moving_variance"] * (
            known.kind == "BatchNormalization" or count == 4
        )
        if len(words) != count:
            raise ValueError(
                f"{known.path} has {count} arrays of which {', '.join(words)} cannot be told apart; save the "
                "whole model as .keras, with its configuration."
            )
        return words
    if kind == "separable" or (not kind and count > 1 and min(ranks[:2]) > 2):
        return ["depthwise_kernel", "pointwise_kernel", "bias"][:count]
    if kind in ("embed", "prelu"):
        return ["embeddings" if kind == "embed" else "alpha"]
    if kind or (ranks[0] > 1 and ranks[1:] in ([], [1])):
        return ["kernel", "bias"][:count]
    return [str(i) for i in range(count)]


def _by_weight_names(file: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of an older file in its order, by the names of variables."""
    root = "model_weights/" if "model_weights" in file else ""
    found = {}
    for layer in _texts((file[root] if root else file).attrs.get("layer_names", ())):
        if f"{root}{layer}" not in file:
            raise ValueError(f"{file.filename} is damaged: it names a layer {layer!r} and has none.")
        for weight in _texts(file[f"{root}{layer}"].attrs.get("weight_names", ())):
            name = f"{root}{layer}/{weight}"
            if name not in arrays:
                raise ValueError(f"{file.filename} is damaged: it names {weight!r} and has no such array.")
            found[weight.partition(":")[0]] = arrays[name]
    return found


def _texts(names: Any) -> list[str]:
    return [n.decode() if isinstance(n, bytes) else str(n) for n in names]


def _of_words(arrays: Mapping[str, np.ndarray], described: Mapping[str, Described]) -> list[Layer]:
    """Layers of arrays that are named `layer/word`; a layer is described by its path or by its name."""
    groups: dict[str, dict[str, Leaf]] = {}
    for name, array in arrays.items():
        path, _, word = name.partition(":")[0].rpartition("/")
        groups.setdefault(path, {})[word] = Leaf(name, array)
    layers = []
    for path, leaves in groups.items():
        known = described.get(path) or described.get(path.rpartition("/")[2])
        options = known.options if known else {}
        layers += _split(
            Described(path, {"class_name": known.kind if known else "", "config": options}), leaves
        )
    return layers


def _split(known: Described, leaves: dict[str, Leaf]) -> list[Layer]:
    """One layer, or the two that a separable convolution is here."""
    if "depthwise_kernel" in leaves and "pointwise_kernel" in leaves:
        rest = {("kernel" if w == "pointwise_kernel" else w): x for w, x in leaves.items() if w[0] != "d"}
        return [
            Layer(f"{known.path}/depthwise", KERAS, ("depthwise",), {"kernel": leaves["depthwise_kernel"]}),
            Layer(f"{known.path}/pointwise", KERAS, ("conv",), rest),
        ]
    leaves = {("kernel" if word == "depthwise_kernel" else word): leaf for word, leaf in leaves.items()}
    kind = _kind(known.kind)
    kinds = (kind,) if kind else kinds_of(KERAS, {word: leaf.array for word, leaf in leaves.items()})
    epsilon = known.options.get("epsilon", None) if kind == "norm" else None
    return [Layer(known.path, KERAS, kinds, leaves, epsilon)]


def _kind(name: str) -> str:
    found = _CLASSES.fullmatch(name)
    return str(found.lastgroup) if found else ""
