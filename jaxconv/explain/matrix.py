"""A convolution as a sparse matrix, and its transpose beside it."""

from __future__ import annotations

import math

import numpy as np

from ..ops.matrix import conv_matrix
from .draw import MARGIN, Picture
from .layer import Layer
from .scene import TINTS, Box, Mark, Scene, Words, beside
from .story import headline

MOST_ENTRIES = 10_000
_SMALL, _LARGE = 9.0, 26.0  # sizes of an entry


def draw_matrix(layer: Layer) -> Picture:
    """The matrix A of a convolution, y = A·x, and the matrix Aᵀ of its transposed convolution.

    An entry's colour and label say which element of the kernel stands there; empty ones are zeros.

    Args:
      layer: what `explain.layer` returned; for a transposed one Aᵀ comes first.

    Returns:
      The picture.

    Raises:
      ValueError: if the matrix has more entries than one can look at.

    Example:
      >>> from jaxconv.explain import layer
      >>> draw_matrix(layer(4, 3)).scene.title
      'A is 2 × 4, 6 of 8 entries are not zero; Aᵀ is 4 × 2'
    """
    spec = layer.spec
    rows, columns = (math.prod(s[1:]) for s in (spec.output_shape, spec.input_shape))
    if not 0 < rows * columns <= MOST_ENTRIES:
        raise ValueError(
            f"a matrix of {rows} x {columns} can't be looked at; choose sizes with 1 to {MOST_ENTRIES} "
            "entries."
        )
    # Numbering the kernel's elements from 1 on makes every entry say where it comes from.
    kernel = np.arange(1, layer.parameters + 1, dtype=np.float32).reshape(spec.kernel_shape)
    matrix = np.asarray(
        conv_matrix(
            kernel,
            spec.input_shape[1:],
            stride=[a.stride for a in layer.axes],
            padding=[(a.lo, a.hi) for a in layer.axes],
            dilation=[a.dilation for a in layer.axes],
            groups=layer.groups,
        )
    ).astype(int)
    title = (
        f"A is {rows} × {columns}, {np.count_nonzero(matrix)} of {matrix.size} entries are not zero; "
        f"Aᵀ is {columns} × {rows}"
    )
    grids = [
        _grid(matrix, "convolution: y = A·x", "x", "y"),
        _grid(matrix.T, "transposed: x = Aᵀ·y", "y", "x"),
    ]
    scene = beside(grids[::-1] if layer.transposed else grids, title)
    note = headline(layer).replace("\n", ", ")
    scene = Scene(
        max(scene.width, 7.4 * len(note) + 2 * MARGIN),
        scene.height + 24,
        (*scene.marks, Words(MARGIN, scene.height + 4, note, "muted", 12, "start")),
        title,
        note,
    )
    return Picture(scene)


def _grid(matrix: np.ndarray, name: str, column: str, row: str) -> Scene:
    """One matrix; its columns and rows are named where there is room."""
    rows, columns = matrix.shape
    cell = _LARGE if max(rows, columns) <= 18 else _SMALL
    roomy = cell == _LARGE
    left, top = MARGIN + 26 * roomy, MARGIN + 24 + 20 * roomy
    width, height = columns * cell, rows * cell
    marks: list[Mark] = [Words(left + width / 2, MARGIN + 6, name, size=14, bold=True)]
    if roomy:
        marks += [
            Words(left + (j + 0.5) * cell, top - 10, f"{column}{j}", "muted", 10) for j in range(columns)
        ]
        marks += [
            Words(left - 6, top + (i + 0.5) * cell, f"{row}{i}", "muted", 10, "end") for i in range(rows)
        ]
    marks.append(Box(left, top, width, height, "", "line"))
    for i, j in np.argwhere(matrix):
        element = int(matrix[i, j]) - 1
        colour = TINTS[element % len(TINTS)]
        x, y = left + j * cell, top + i * cell
        inset = 1.0 if roomy else 0.5
        side = cell - 2 * inset
        marks.append(
            Box(x + inset, y + inset, side, side, f"{colour}-fill" if roomy else colour, colour * roomy)
        )
        if roomy:
            marks.append(Words(x + cell / 2, y + cell / 2, f"w{element}", size=10))
    least = 8.2 * len(name)
    return Scene(max(left + width, least) + MARGIN, top + height + MARGIN, tuple(marks), name, name)
