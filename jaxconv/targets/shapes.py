"""Arrays as they are written on a command line: `f32[8,56,56,64]`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .devices import topology

_DTYPES = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "i32": "int32",
    "s32": "int32",
    "i8": "int8",
    "s8": "int8",
    "u8": "uint8",
    "pred": "bool",
}
_SHAPE = re.compile(r"(\w+)\[([\d,@\s]*)\]")
_SIZE = re.compile(r"(\d+)(?:@(\d+))?")


def parse_shapes(texts: Sequence[str], device: str) -> list[jax.ShapeDtypeStruct]:
    """The arguments of a function.

    Args:
      texts: each a dtype and sizes; `f32[8@4,56,56,64]` is divided along its first dimension over 4 devices.
      device: as in `compile_for`; asked only where something is divided.

    Returns:
      One `jax.ShapeDtypeStruct` for each.

    Raises:
      ValueError: for what is not of that form, says what is wrong with it.

    Example:
      >>> parse_shapes(["f32[8,56,56,64]", "bf16[]"], "h100")
      [ShapeDtypeStruct(shape=(8, 56, 56, 64), dtype=float32), ShapeDtypeStruct(shape=(), dtype=bfloat16)]
    """
    parsed = [_parse(text) for text in texts]
    counts = {n for _, _, parts in parsed for n in parts if n > 1}
    if len(counts) > 1:
        raise ValueError(
            f"arrays are divided over {', '.join(map(str, sorted(counts)))} devices; use one number."
        )
    if not counts:
        return [jax.ShapeDtypeStruct(shape, dtype) for dtype, shape, _ in parsed]
    mesh = Mesh(np.array(topology(device, counts.pop())), ("devices",))
    return [
        jax.ShapeDtypeStruct(
            shape,
            dtype,
            sharding=NamedSharding(mesh, PartitionSpec(*("devices" if n > 1 else None for n in parts))),
        )
        for dtype, shape, parts in parsed
    ]


def _parse(text: str) -> tuple[np.dtype, tuple[int, ...], tuple[int, ...]]:
    """Dtype, sizes, and over how many devices each is divided."""
    found = _SHAPE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no shape; write a dtype and sizes in brackets, as in f32[8,56,56,64].")
    name, sizes = found.groups()
    if name not in _DTYPES:
        raise ValueError(f"{name!r} in {text!r} is no dtype; use one of {', '.join(_DTYPES)}.")
    dims: list[tuple[int, int]] = []
    for part in filter(None, (s.strip() for s in sizes.split(","))):
        size = _SIZE.fullmatch(part)
        if not size:
            raise ValueError(f"{part!r} in {text!r} is no size; write 8, or 8@4 to divide 8 over 4 devices.")
        n, over = int(size[1]), int(size[2] or 1)
        if over < 1 or n % over:
            raise ValueError(f"{part!r} in {text!r}: {over} devices do not divide {n}.")
        dims.append((n, over))
    if sum(over > 1 for _, over in dims) > 1:
        raise ValueError(f"{text!r} is divided along more than one dimension; divide it along one.")
    return jnp.dtype(_DTYPES[name]), tuple(n for n, _ in dims), tuple(over for _, over in dims)
