"""Files of arrays, read without running what is in them and without trusting the sizes that they claim."""

from __future__ import annotations

import importlib
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

# Compressed weights are not much smaller than weights; a file that claims to be much larger is none.
_MARGIN, _TIMES = 64 * 2**20, 64

_WRAPPED = ("state_dict", "model_state_dict", "model", "params_ema", "params", "net", "weights")


def read(path: str | Path) -> Mapping[str, Any]:
    """The arrays in a .safetensors, .npz, .pt, .pth or .bin file, by name.

    Raises:
      ValueError: there is no such file, its kind is not known, it is damaged, or it holds something else.
    """
    path = Path(path)
    readers = {
        ".safetensors": _safetensors,
        ".npz": _npz,
        ".pt": _torch,
        ".pth": _torch,
        ".bin": _torch,
    }
    if path.suffix not in readers:
        raise ValueError(f"{path}: names of files of weights end in {', '.join(readers)}; convert the file.")
    check_file(path)
    return readers[path.suffix](path)


def check_file(path: Path) -> None:
    """Raises ValueError where no file is."""
    if not path.is_file():
        raise ValueError(f"{path} is no file: check the path.")


def check_unpacked(path: object, packed: int, unpacked: int) -> None:
    """Refuses what grows out of proportion when it is unpacked."""
    if unpacked > _MARGIN + _TIMES * packed:
        raise ValueError(
            f"{path} has {packed} bytes and claims to hold {unpacked}; that is no file of weights, and it "
            "was not unpacked."
        )


def _safetensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ValueError(f"{path} needs the package safetensors: pip install safetensors.") from None
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no safetensors file, or damaged: {error}") from None


def _npz(path: Path) -> Mapping[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                check_unpacked(f"{path}: {entry.filename}", path.stat().st_size, entry.file_size)
                _check_header(archive, entry, path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, NotImplementedError) as error:
        raise ValueError(f"{path} is no npz file, or damaged: {error}") from None
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(
            f"{path} holds Python objects, which may be code and were not loaded; save plain arrays by "
            "np.savez."
        ) from None


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """An array's header may claim any shape, and NumPy makes room for it first."""
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(member)
    claimed = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    if not dtype.hasobject and claimed > entry.file_size:
        raise ValueError(f"{path}: {entry.filename} claims shape {shape}, and is cut off before its end.")


def _torch(path: Path) -> Mapping[str, Any]:
    try:
        torch = _pytorch()
    except ImportError:
        raise ValueError(
            f"{path} can be read where PyTorch is installed only; store the state_dict as .safetensors "
            "there, with safetensors.torch.save_file(model.state_dict(), path)."
        ) from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many types, depending on which byte is wrong
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path} is damaged, or holds more than tensors, which may be code and was not run: {reason} "
            "Where you trust it, load it with PyTorch and save model.state_dict() as .safetensors."
        ) from None
    return unwrapped(found, str(path))


def _pytorch() -> Any:
    # No extra installs it, and where it is missing a type checker takes the torch.py beside this file for it.
    return importlib.import_module("torch")


def unwrapped(found: Any, name: str) -> Mapping[str, Any]:
    """The state_dict in a checkpoint, as arrays."""
    if isinstance(found, Mapping) and not any(hasattr(v, "shape") for v in found.values()):
        inner = next((found[key] for key in _WRAPPED if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            raise ValueError(
                f"{name} has {list(found)[:20]}, none of them an array; pass the mapping of names to arrays."
            )
        found = inner
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} is a {type(found).__name__}, wanted a mapping of names to arrays.")
    if wrong := [key for key, value in found.items() if not hasattr(value, "shape")]:
        raise ValueError(f"{name}: {wrong[:20]} are no arrays; pass the mapping of names to arrays only.")
    return {str(key): to_numpy(value) for key, value in found.items()}


def to_numpy(value: Any) -> Any:
    """A tensor as an array, bfloat16 included; arrays stay what they are."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    if str(value.dtype) == "torch.bfloat16":
        from ml_dtypes import bfloat16

        return value.contiguous().view(_pytorch().int16).numpy().view(bfloat16)
    return value.numpy()


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name."""
    try:
        from safetensors.numpy import save_file
    except ImportError:
        raise ValueError(f"{path} needs the package safetensors: pip install safetensors.") from None
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights are written to .safetensors; give a name that ends so.")
    save_file(
        {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}, path
    )


def restored(path: Path) -> Any:
    """What is in the folder of an Orbax checkpoint, as nested mappings of arrays.

    Raises:
      ValueError: there is no such folder, it is no checkpoint, is damaged, or claims to be much larger.
    """
    try:
        from orbax import checkpoint
    except ImportError:
        raise ValueError(f"{path} needs orbax-checkpoint: pip install orbax-checkpoint.") from None
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; give that of an Orbax checkpoint.")
    with checkpoint.PyTreeCheckpointer() as reader:
        try:
            tree = reader.metadata(path.absolute()).item_metadata.tree
            leaves = [leaf for leaf in jax.tree.leaves(tree) if getattr(leaf, "shape", None) is not None]
            claimed = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)
            packed = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            check_unpacked(path, packed, claimed)
            as_numpy = jax.tree.map(lambda _: checkpoint.RestoreArgs(restore_type=np.ndarray), tree)
            return reader.restore(path.absolute(), restore_args=as_numpy)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no Orbax checkpoint of arrays, or damaged: {error}") from None
