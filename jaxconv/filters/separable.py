"""Kernels that are outer products of smaller ones, found by singular values.

A kernel splits along an axis if and only if its unfolding along that axis, the matrix whose rows are the
slices of the axis, has rank 1. Each axis that splits is taken off, and the rest goes on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Axes (positions in the kernel) and the factor along them.
Factor = tuple[tuple[int, ...], np.ndarray]


def factors(kernel: np.ndarray, eps: float) -> list[Factor]:
    """The kernel as an outer product of as many factors as there are.

    Args:
      kernel: of any rank, not empty.
      eps: singular values below this, relative to the largest, are rounding. The factors' product then
        differs from the kernel by no more than that, in norm.

    Returns:
      The factors, which have no axis in common; one of them if the kernel does not split.

    References:
      De Lathauwer, De Moor, Vandewalle: A multilinear singular value decomposition. SIAM J. Matrix Anal.
      Appl. 21, 2000, doi:10.1137/S0895479896305696.
    """
    found: list[Factor] = []
    rest, axes = kernel, list(range(kernel.ndim))
    for axis in range(kernel.ndim):
        if rest.ndim == 1:
            break
        i = axes.index(axis)
        shape = rest.shape[:i] + rest.shape[i + 1 :]
        u, s, v = np.linalg.svd(np.moveaxis(rest, i, 0).reshape(rest.shape[i], -1), full_matrices=False)
        if s[1:].max(initial=0) <= eps * s[0]:
            found.append(((axis,), u[:, 0]))
            rest = (s[0] * v[0]).reshape(shape)
            axes.remove(axis)
    return [*found, (tuple(axes), rest)]


def pays(kernel: Any, parts: list[Factor]) -> bool:
    """Whether several passes are fewer multiply-adds, by enough to pay for reading the image again."""
    return len(parts) > 1 and kernel.size > 2 * sum(part.size for _, part in parts)
