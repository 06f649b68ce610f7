"""Arrays outside of JAX that are read and written in parts: NumPy's, memory maps, zarr's, HDF5's."""

from __future__ import annotations

import contextlib
import mmap
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import numpy as np

from ..graph.nodes import Value
from ..planner.progress import reporting
from .regions import Region

Progress = bool | Callable[[int, int], None]
# Bytes read or written until a memory map is asked to let go of its pages.
_HELD = 2**26


def looks_like_array(value: Any) -> bool:
    """Whether it has a shape, a dtype, and at least two dimensions."""
    return hasattr(value, "dtype") and len(getattr(value, "shape", ())) >= 2


def index(region: Region) -> tuple[slice, ...]:
    """Of a region."""
    return tuple(slice(None) if i is None else slice(*i) for i in region)


class Source:
    """What is read from: parts as NumPy arrays of a dtype that JAX has."""

    def __init__(self, array: Any) -> None:
        self.array, self.dtype = array, jax.dtypes.canonicalize_dtype(np.dtype(array.dtype).newbyteorder("="))
        self._read = 0

    def __getitem__(self, region: Region) -> np.ndarray:
        """A part."""
        part = np.asarray(self.array[index(region)]).astype(self.dtype, order="C")
        self._read = _let_go(self.array, self._read + part.nbytes)
        return part


class Sink:
    """What is written to.

    Args:
      array: with the result's shape, and a dtype that the result's may be cast to; a new one if None.
      value: the result.

    Raises:
      ValueError: if the array has another shape or dtype.
    """

    def __init__(self, array: Any, value: Value) -> None:
        self.array = np.empty(value.shape, value.dtype) if array is None else array
        self._written = 0
        if tuple(self.array.shape) != value.shape:
            raise ValueError(f"out has shape {tuple(self.array.shape)}, and the result has {value.shape}.")
        if not np.can_cast(value.dtype, self.array.dtype, "same_kind"):
            raise ValueError(
                f"out has dtype {self.array.dtype}, and the result has {value.dtype}, which does not become "
                "that by rounding alone; convert it in the function."
            )

    def __setitem__(self, region: Region, part: Any) -> None:
        """Writes a part."""
        array = np.asarray(part)
        self.array[index(region)] = array.astype(self.array.dtype, copy=False)
        self._written = _let_go(self.array, self._written + array.nbytes)


def _let_go(array: Any, used: int) -> int:
    """Pages of a mapped file stay in memory until someone else needs it; what is done with can go before."""
    if used < _HELD or not isinstance(array, np.memmap) or array.mode == "c":
        return used
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
    return 0


@contextlib.contextmanager
def reported(progress: Progress, total: int) -> Generator[Callable[[int], None], None, None]:
    """What is called with the number of tiles that are done; a bar is moved at most each second."""
    if not isinstance(progress, bool):
        progress(0, total)
        yield lambda done: progress(done, total)
        return
    with reporting(total, progress, "tiles") as report:
        said, last = 0, time.monotonic()

        def tell(done: int) -> None:
            nonlocal said, last
            if done == total or time.monotonic() - last > 1:
                report("", done - said)
                said, last = done, time.monotonic()

        yield tell


def results(arrays: Any, values: Sequence[Value], tree: Any) -> list[Sink]:
    """One to write to for each result; `arrays` has the results' structure, or is None.

    Raises:
      ValueError: if it has another structure, or its arrays do not fit.
    """
    if arrays is None:
        found = [None] * len(values)
    else:
        try:
            found = tree.flatten_up_to(arrays)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"out must have the structure of the function's result, {tree}: {error}"
            ) from error
    return [Sink(array, value) for array, value in zip(found, values, strict=True)]
