"""Tiles in space: a function of images applied to what does not fit into memory, without seams.

From the function's jaxpr follows what each part of the results needs of the image: halo, alignment and scale.
Tiles inside the image are one compiled program, those at its borders have their own, where every operation
meets the border just where it does on the whole image. So the result is that of the whole image.

Memory is that of one tile, or of `batch` of them: image and result are read and written in parts, and may be
NumPy arrays, memory maps, zarr arrays or anything else with shape, dtype and slicing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..graph.trace import is_array, traced
from .host import Progress, Source, looks_like_array, reported, results
from .unroll import unrolled
from .work import Tiling, Work

_MEMORY = 2**28  # bytes, where nothing else is said


@dataclasses.dataclass(frozen=True)
class _Options:
    axes: Sequence[int] | None
    tile: int | Sequence[int] | None
    memory: int
    batch: int


class Tiled:
    """A function applied tile by tile; made by `tiled`."""

    def __init__(self, fn: Callable[..., Any], wrt: int | None, options: _Options) -> None:
        self.fn, self.wrt, self._options = fn, wrt, options
        self._works: dict[Any, Work] = {}

    def __call__(self, *args: Any, out: Any = None, progress: Progress = False, **kwargs: Any) -> Any:
        """The function's result, in NumPy arrays or in what is given for it.

        Args:
          *args: the function's. The image may be anything with shape, dtype and slicing.
          out: what the result is written to: anything with shape, dtype and slicing, in a structure like the
            result's; by default new NumPy arrays.
          progress: whether to show a bar on stderr, or what is called with the numbers of tiles that are done
            and of all tiles.
          **kwargs: the function's keyword arguments.

        Returns:
          `out`, or the new arrays.

        Raises:
          ValueError: if the function is not local (see `tiled`), or `out` does not fit.
        """
        position, work = self._work(args, kwargs)
        sinks = results(out, work.graph.outputs, work.graph.tree)
        with reported(progress, len(work.grid)) as tell:
            work.run(Source(args[position]), self._leaves(args, kwargs, position), sinks, tell)
        if out is not None:
            return out
        return jax.tree_util.tree_unflatten(work.graph.tree, [sink.array for sink in sinks])

    def tiling(self, *args: Any, **kwargs: Any) -> Tiling:
        """How these arguments would be cut; the image may be a `jax.ShapeDtypeStruct`."""
        return self._work(args, kwargs)[1].tiling

    def _leaves(self, args: Sequence[Any], kwargs: dict[str, Any], position: int) -> list[Any]:
        """The arrays among the arguments, in the order of the graph's inputs; the image is only a shape."""
        leaves = jax.tree_util.tree_leaves((self.fn, self._shaped(args, position), kwargs))
        return [leaf for leaf in leaves if is_array(leaf)]

    def _shaped(self, args: Sequence[Any], position: int) -> tuple[Any, ...]:
        image = args[position]
        shape = jax.ShapeDtypeStruct(tuple(image.shape), Source(image).dtype)
        return (*args[:position], shape, *args[position + 1 :])

    def _work(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[int, Work]:
        """Where the image is, and what arguments of these shapes need."""
        found = [i for i, a in enumerate(args) if looks_like_array(a)] if self.wrt is None else [self.wrt]
        if not found or not (0 <= found[0] < len(args) and looks_like_array(args[found[0]])):
            raise ValueError(
                f"wrt={self.wrt} names no positional argument with a dtype and a shape of two or more "
                "dimensions; hand the image over by position, and name that with wrt=."
            )
        position, shaped = found[0], self._shaped(args, found[0])
        leaves, tree = jax.tree_util.tree_flatten((self.fn, shaped, kwargs))
        key = (tree, *((leaf.shape, leaf.dtype) if is_array(leaf) else leaf for leaf in leaves))
        if key not in self._works:
            graph = unrolled(traced(self.fn, shaped, kwargs, simple=True))
            options = self._options
            self._works[key] = Work(
                graph, graph.argument(position), options.axes, options.tile, options.memory, options.batch
            )
        return position, self._works[key]


def tiled(
    fn: Callable[..., Any],
    *,
    wrt: int | None = None,
    axes: Sequence[int] | None = None,
    tile: int | Sequence[int] | None = None,
    memory: int | None = None,
    batch: int = 1,
) -> Tiled:
    """A function of images of any size, computed tile by tile with the memory of one tile.

    The result is the whole image's, to rounding: what a tile needs beyond its own part follows from the
    function's jaxpr, and at the image's borders each operation pads as it does on the whole. Nothing of the
    image's size is computed but the result. Layers and functions of any library do, if they are local along
    the axes that are cut: global pooling, or statistics of the image as batch or instance normalisation in
    training take them, are refused.

    Args:
      fn: what `jax.jit` takes, or a callable pytree such as a module of NNX or Equinox.
      wrt: which positional argument is the image; by default the first that has two or more dimensions.
      axes: dimensions of the image that are cut; by default all over which windows move.
      tile: positions of the result that a tile has at most, one number or one for each axis; by default as
        many as `memory` allows. The first result with all axes counts, and all tiles are about equal.
      memory: bytes that the program of one batch of tiles may take with what it reads and writes, 256 MiB by
        default; models' parameters are among them. JAX itself and the compiler take some hundred MB more.
      batch: how many tiles of one kind are computed at once.

    Returns:
      A `Tiled`: call it like `fn`, with `out=` and `progress=` besides; see `Tiled.__call__`.

    Raises:
      ValueError: when called, if `fn` is not local along the axes; the layer is named.

    Example:
      >>> import numpy as np, jax.numpy as jnp, jaxconv
      >>> kernel = jnp.ones((3, 3, 1, 1)) / 9
      >>> def blur(x):
      ...     return jaxconv.conv(x, kernel, stride=2, padding=1, padding_mode="reflect")
      >>> image = np.random.default_rng(0).normal(size=(1, 37, 50, 1)).astype("float32")
      >>> by_tiles = tiled(blur, tile=8)
      >>> float(abs(by_tiles(image) - blur(image)).max()) < 1e-6
      True
      >>> print(by_tiles.tiling(image))
      3 x 4 tiles of (7, 7) positions of the result, dimensions (1, 2) of the image
      image positions per result (2, 2), halo ((1, 0), (1, 0)), programs repeat every (1, 1) positions
    """
    if batch < 1:
        raise ValueError(f"batch={batch} must be at least 1 tile.")
    if memory is not None and memory < 1:
        raise ValueError(f"memory={memory} must be a number of bytes.")
    return Tiled(fn, wrt, _Options(axes, tile, memory or _MEMORY, batch))
