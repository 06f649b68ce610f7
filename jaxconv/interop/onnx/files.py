"""Files of ONNX, read with care: what a file declares is compared to what it holds before memory is taken."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Which field of a tensor holds numbers of a type that are not raw, by the type's name.
_FIELDS = {
    "FLOAT": "float_data",
    "DOUBLE": "double_data",
    "INT64": "int64_data",
    "UINT32": "uint64_data",
    "UINT64": "uint64_data",
    **dict.fromkeys(
        ["FLOAT16", "BFLOAT16", "INT8", "INT16", "INT32", "UINT8", "UINT16", "BOOL"], "int32_data"
    ),
}
PARAMETERS = "jaxconv.parameters"
"""The key of a model's own list of its parameters' names, a line each."""
_WANTED = "jaxconv.interop.onnx needs the package onnx: pip install 'jaxconv[onnx]'."


def package() -> Any:
    """The module `onnx`.

    Raises:
      ImportError: if it is not installed; the message says how it is.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(_WANTED) from error
    return onnx


def number_type(code: int) -> np.dtype | None:
    """The dtype of ONNX's number for it; None for one that is not supported."""
    onnx = package()
    known = {getattr(onnx.TensorProto, name) for name in _FIELDS}
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code)) if code in known else None


def read_model(source: str | os.PathLike[str] | bytes) -> tuple[Any, Path | None]:
    """A model's message, and the folder in which its weights may lie.

    Raises:
      ValueError: if there is no such file, or it is not a model.
    """
    onnx = package()
    if isinstance(source, bytes | bytearray):
        data, folder = bytes(source), None
    else:
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"{path} is not a file; wanted a model of ONNX, or its bytes.")
        data, folder = path.read_bytes(), path.resolve().parent
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"{_called(source)} is not a model of ONNX, or it is cut off: {error}") from None
    if not model.HasField("graph") or not model.opset_import:
        raise ValueError(f"{_called(source)} is not a model of ONNX: it has no graph, or no opset.")
    return model, folder


def _called(source: Any) -> str:
    return f"{len(source)} bytes" if isinstance(source, bytes | bytearray) else str(source)


def reader(folder: Path | None) -> Callable[[Any], np.ndarray]:
    """A function that makes arrays of tensors' messages; data outside of the model lies in `folder`."""
    onnx = package()
    names = {value: name for name, value in onnx.TensorProto.DataType.items()}

    def array(tensor: Any) -> np.ndarray:
        kind, called = names.get(tensor.data_type, str(tensor.data_type)), f"tensor {tensor.name!r}"
        dtype = number_type(tensor.data_type)
        if dtype is None:
            raise ValueError(f"{called} is of type {kind}; wanted one of {', '.join(_FIELDS)}.")
        dims = tuple(tensor.dims)
        count = math.prod(dims)
        if min(dims, default=0) < 0:
            raise ValueError(f"{called} has the negative shape {dims}.")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            data = _external(tensor, folder, count * dtype.itemsize)
            return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(dims)
        raw = tensor.HasField("raw_data")
        held = len(tensor.raw_data) if raw else len(getattr(tensor, _FIELDS[kind]))
        wanted = count * dtype.itemsize if raw else count
        if held != wanted:
            unit = "bytes" if raw else "numbers"
            raise ValueError(
                f"{called} of type {kind} and shape {dims} wants {wanted} {unit}; the file holds {held}."
            )
        return np.asarray(onnx.numpy_helper.to_array(tensor))

    return array


def _external(tensor: Any, folder: Path | None, size: int) -> bytes:
    """The bytes of a tensor that lie in a file beside the model."""
    called = f"tensor {tensor.name!r}"
    if folder is None:
        raise ValueError(f"{called} lies in another file; load the model from its path, not its bytes.")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(folder, entries.get("location", ""), called)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        raise ValueError(f"{called} has an offset or a length that is no number.") from None
    held = path.stat().st_size
    if offset < 0 or length != size or offset + length > held:
        raise ValueError(
            f"{called} wants {size} bytes and names {length} from {offset} of {path.name}, which has {held}."
        )
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _inside(folder: Path, location: str, called: str) -> Path:
    """A regular file in the model's folder: no way out of it, by name or by link."""
    if not location or "\0" in location or Path(location).is_absolute():
        raise ValueError(f"{called} has its data in {location!r}; wanted a file beside the model.")
    path = (folder / location).resolve()
    if ".." in Path(location).parts or not path.is_relative_to(folder):
        raise ValueError(f"{called} has its data in {location!r}, which is outside of the model's folder.")
    if not path.exists() or not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{called} has its data in {location!r}, and there is no such file.")
    return path
