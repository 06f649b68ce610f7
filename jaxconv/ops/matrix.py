"""A convolution written out as the matrix that it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..geometry import Axis, normalize
from ..typing import Layout, Padding, PaddingMode
from . import arguments, border


def conv_matrix(
    kernel: ArrayLike,
    input_shape: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "channels_last",
    sparse: bool = False,
) -> Any:
    """The matrix A with `A @ x.ravel() == conv(x, kernel).ravel()` for one unbatched x.

    Its transpose is the transposed convolution: `A.T @ g.ravel() == conv_input_grad(g, kernel,
    input_shape).ravel()`.

    Args:
      kernel: `(*k, in/groups, out)`.
      input_shape: shape of x without N, in `layout`.
      stride: as in `conv`.
      padding: as in `conv`.
      dilation: as in `conv`.
      groups: as in `conv`.
      padding_mode: as in `conv`.
      layout: order of the x and y that the matrix maps between.
      sparse: return a `jax.experimental.sparse.BCOO` that stores touching pairs only.

    Returns:
      An array or BCOO of shape (elements of y, elements of x), differentiable in `kernel`.

    Raises:
      ValueError: if shapes, groups or names do not fit.

    Example:
      >>> conv_matrix(jnp.array([1.0, 2.0]).reshape(2, 1, 1), (3, 1)).tolist()
      [[1.0, 2.0, 0.0], [0.0, 1.0, 2.0]]
    """
    kernel = arguments.array(kernel, "kernel")
    rank = arguments.spatial_rank(kernel.shape)
    shape = arguments.shape(input_shape, rank + 1, "input_shape", "the shape of x without N")
    _, *size, channels = arguments.form(shape, rank, layout, "input_shape").enter_shape(shape)
    groups = arguments.check_channels(kernel.shape, channels, groups, transposed=False)
    border.check_mode(padding_mode)
    axes = normalize(
        padding,
        size=size,
        kernel=kernel.shape[:-2],
        stride=stride,
        dilation=dilation,
    )
    # All touching (output, tap, input) of each axis, and of the channels; their product enumerates the
    # matrix.
    inner, outer = kernel.shape[-2:]
    channel = [(o, i, o // (outer // groups) * inner + i) for o in range(outer) for i in range(inner)]
    triples = [*(_touching(a, padding_mode) for a in axes), np.array(channel, int).reshape(-1, 3)]
    grid = np.indices([len(t) for t in triples]).reshape(rank + 1, -1)
    output, tap, source = ([t[index, j] for t, index in zip(triples, grid, strict=True)] for j in range(3))

    values = kernel[(*tap, output[-1])]
    row, m = _flat(output, (*(a.out for a in axes), outer), layout)
    column, n = _flat(source, (*size, channels), layout)
    if sparse:
        from jax.experimental.sparse import BCOO  # it imports SciPy, a tenth of a second

        # A border that repeats the input touches one element several times; its entries are added up.
        matrix = BCOO((values, jnp.asarray(np.stack([row, column], axis=-1))), shape=(m, n))
        return (
            matrix if padding_mode == "zeros" else matrix.sum_duplicates(nse=len(np.unique(row * n + column)))
        )
    return jnp.zeros((m, n), kernel.dtype).at[row, column].add(values)


def _touching(axis: Axis, padding_mode: str) -> np.ndarray:
    """All (output, tap, input) of one axis that touch, as rows."""
    if padding_mode == "zeros":
        border_index = np.arange(-axis.lo, axis.size + axis.hi)
        inside = (border_index >= 0) & (border_index < axis.size)
    else:
        border.check_possible(axis, padding_mode)
        border_index = np.pad(np.arange(axis.size), (axis.lo, axis.hi), mode=border.MODES[padding_mode])  # pyright: ignore
        inside = np.ones(len(border_index), bool)
    o, k = (index.ravel() for index in np.indices((axis.out, axis.kernel)))
    position = o * axis.stride + k * axis.dilation
    return np.stack([o, k, border_index[position]], axis=-1)[inside[position]]


def _flat(index: list[np.ndarray], dims: tuple[int, ...], layout: Layout) -> tuple[np.ndarray, int]:
    """Positions in a raveled array of these dimensions, channels last in `index` and `dims`, and its size."""
    if layout == "channels_first":
        index, dims = [index[-1], *index[:-1]], (dims[-1], *dims[:-1])
    size = math.prod(dims)
    return np.ravel_multi_index(index, dims) if size else np.zeros(0, int), size
