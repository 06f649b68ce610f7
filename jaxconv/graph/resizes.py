"""Resizes: a product with a matrix, or rows taken by indices, that follow from shapes alone."""

from __future__ import annotations

import numpy as np

from ..geometry import Taps
from .known import Known
from .nodes import Node, Window


def find_resize(node: Node, known: Known) -> None:
    """Gives a node its window, if it is one, and calls a product a resize."""
    if node.op == "dot":
        for side in (0, 1):
            if (window := _product(node, side, known)) is not None:
                node.op, node.windows = "resize", (window,)
                return
    elif node.op == "gather" and (window := _taken(node, known)) is not None:
        node.windows = (window,)


def _product(node: Node, side: int, known: Known) -> Window | None:
    """Where the other side is a known matrix; its dimension of the result is the first or the last."""
    contracted, batched = node.params["dimension_numbers"]
    other = 1 - side
    if len(node.operands[other].shape) != 2 or len(contracted[0]) != 1 or batched[0]:
        return None
    matrix = known(node.operands[other])
    if matrix is None:
        return None
    dim, turned = contracted[side][0], np.moveaxis(matrix, contracted[other][0], 1) != 0
    rows = tuple(tuple(np.flatnonzero(row).tolist()) for row in turned)
    last, size = len(node.results[0].shape) - 1, node.operands[side].shape[dim]
    if all(len(row) == size for row in rows):
        return None  # every result sees everything: a layer, whatever its matrix
    return Window(dim, 0 if side else last, Taps.fit(rows, size), operand=side, rows=rows)


def _taken(node: Node, known: Known) -> Window | None:
    """Along one dimension, whole in all others."""
    numbers, shape = node.params["dimension_numbers"], node.operands[0].shape
    dims, slices = numbers.start_index_map, node.params["slice_sizes"]
    whole = all(n == (1 if d in dims else shape[d]) for d, n in enumerate(slices))
    if len(dims) != 1 or dims != numbers.collapsed_slice_dims or not whole:
        return None
    indices = known(node.operands[1])
    if indices is None or indices.ndim != 2:
        return None
    dim, size = dims[0], shape[dims[0]]
    rows = tuple((min(max(int(i), 0), size - 1),) for i in indices[:, 0])
    at = next(d for d in range(len(shape)) if d not in numbers.offset_dims)
    return Window(dim, at, Taps.fit(rows, size), sums=len(rows) != size, rows=rows)
