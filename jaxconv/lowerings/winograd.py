"""Winograd's minimal filtering: tiles of m outputs from m + 2 products along each axis, instead of 3 m.

    y = A^T [(G w) * (B^T d)]  along every axis, for an input tile d of m + 2 and a kernel w of 3

Products with the transforms are sums of shifted slices; the starred product is, over channels, one batch of
(m + 2)^rank matrix products. F(4, 3) in one and two dimensions needs 2 and 4 times fewer multiply-adds than
the form, F(2, 3) in three dimensions 3.4 times fewer. The input gradient is the forward operator with the
flipped kernel. The weight gradient is the same trilinear form, solved for w, with the products summed over
all tiles before the one transform of a kernel:

    w = G^T sum over tiles of [(A g) * (B^T d)]

Wins for wide channels, where the products outweigh the transforms; as weight gradient, which reads 2.25 times
its operands in two dimensions where patches are 9 times the input, for narrower ones too. Error: norm-wise
about 10 times that of a dot product of the contraction's length for F(4, 3), whose B and A hold entries up to
8, 2 times for F(2, 3); an infinity makes NaNs of its whole tile. It declines at precision HIGHEST.

References:
  Lavin, Gray: Fast algorithms for convolutional neural networks. 2016, doi:10.1109/CVPR.2016.435.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..geometry import ConvSpec, Slot
from ._base import Lowering, Target, Work, product_operands
from .kernels import adjoint_kernel, adjoint_spec

_F2 = (
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
)
_F4 = (
    np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
    np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
    np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)


def forward(spec: ConvSpec, target: Target, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """From x (N, *s, C) and w (3, ..., C, O), y (N, *o, O)."""
    x, kernel, dtype = product_operands(x, kernel, target)
    x, kernel = x.astype(dtype), kernel.astype(dtype)  # the transforms must not round in a narrower one
    data, filters, output = _transforms(spec)
    m, n = output.shape
    tiles, rank = _tiles(spec, m), spec.rank
    x = _tiled(_bordered(spec, x, tiles, m), data, m, tiles)
    for axis in range(rank):
        kernel = jnp.tensordot(jnp.asarray(filters, kernel.dtype), kernel, (1, axis))
    product = lax.dot_general(
        x.reshape(n**rank, -1, spec.in_channels),
        kernel.reshape(n**rank, *spec.kernel_shape[-2:]),
        (((2,), (1,)), ((0,), (0,))),
        precision=target.precision,
        preferred_element_type=dtype,
    )
    y = product.reshape(*(n,) * rank, spec.batch, *tiles, spec.out_channels)
    for _ in range(rank):
        y = jnp.stack(_combine(output, [y[i] for i in range(n)]), rank - 1)
    # m2 m1 N t1 t2 O -> N (t1 m1) (t2 m2) O
    order = (rank, *itertools.chain(*((rank + 1 + i, rank - 1 - i) for i in range(rank))), 2 * rank + 1)
    y = jnp.transpose(y, order).reshape(spec.batch, *(t * m for t in tiles), spec.out_channels)
    return lax.slice(y, (0,) * y.ndim, spec.output_shape).astype(target.dtype)


def weight_grad(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """From x (N, *s, C) and g (N, *o, O), w (3, ..., C, O)."""
    x, g, dtype = product_operands(x, g, target)
    x, g = x.astype(dtype), g.astype(dtype)
    data, filters, output = _transforms(spec)
    m, n = output.shape
    tiles, rank = _tiles(spec, m), spec.rank
    x = _tiled(_bordered(spec, x, tiles, m), data, m, tiles)
    g = jnp.pad(g, [(0, 0), *((0, t * m - a.out) for t, a in zip(tiles, spec.axes, strict=True)), (0, 0)])
    g = _tiled(g, output.T, m, tiles)
    product = lax.dot_general(
        x.reshape(n**rank, -1, spec.in_channels).swapaxes(1, 2),
        g.reshape(n**rank, -1, spec.out_channels),
        (((2,), (1,)), ((0,), (0,))),
        precision=target.precision,
        preferred_element_type=dtype,
    )
    w = product.reshape(*(n,) * rank, spec.in_channels, spec.out_channels)
    for axis in range(rank):  # the last of the spatial axes stands in front, and ends behind the others
        w = jnp.tensordot(jnp.asarray(filters.T, dtype), w, (1, axis))
    return w.astype(target.dtype)


def _transforms(spec: ConvSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B^T, G and A^T."""
    return _F2 if spec.rank == 3 else _F4


def _tiles(spec: ConvSpec, m: int) -> list[int]:
    """How many tiles cover the output along each axis."""
    return [-(-a.out // m) for a in spec.axes]


def _bordered(spec: ConvSpec, x: jax.Array, tiles: list[int], m: int) -> jax.Array:
    """The input with the zeros that its tiles see."""
    ends = [(a.lo, t * m + 2 - a.lo - a.size) for a, t in zip(spec.axes, tiles, strict=True)]
    return jnp.pad(x, [(0, 0), *((lo, max(hi, 0)) for lo, hi in ends), (0, 0)])


def _tiled(array: jax.Array, transform: np.ndarray, m: int, tiles: list[int]) -> jax.Array:
    """The transform (n, elements of a tile) of all tiles, which begin every m elements.

    One axis at a time, its n results in front: N s1 s2 C -> n1 N t1 s2 C -> n2 n1 N t1 t2 C.
    """
    for axis, t in enumerate(tiles):
        seen = _strided(array, 2 * axis + 1, transform.shape[1], m, t)
        array = jnp.stack(_combine(transform, seen))
    return array


def _strided(x: jax.Array, axis: int, n: int, m: int, tiles: int) -> list[jax.Array]:
    """The i-th element of each tile, i = 0 ... n - 1."""
    return [lax.slice_in_dim(x, i, i + (tiles - 1) * m + 1, stride=m, axis=axis) for i in range(n)]


def _combine(matrix: np.ndarray, arrays: list[jax.Array]) -> list[jax.Array]:
    """The matrix times a vector whose elements are arrays, without its zeros."""
    rows = []
    for row in matrix:
        terms = [
            a if c == 1 else -a if c == -1 else a * float(c) for c, a in zip(row, arrays, strict=True) if c
        ]
        rows.append(sum(terms[1:], terms[0]))
    return rows


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del slot
    if (
        spec.groups > 1
        or spec.rank > 3
        or any((a.kernel, a.stride, a.dilation) != (3, 1, 1) for a in spec.axes)
    ):
        return "winograd wants a kernel of 3, stride 1, dilation 1, one group, at most three dimensions."
    if not jnp.issubdtype(dtype, jnp.inexact) or jnp.finfo(dtype).bits < 32:
        return f"winograd's transforms would lose digits that {jnp.dtype(dtype)} can't spare."
    wanted = precision if isinstance(precision, tuple) else (precision,)
    if any(p not in (None, lax.Precision.DEFAULT, lax.Precision.HIGH) for p in wanted):
        return f"winograd's error is about ten times that of a dot product; precision {precision} forbids it."
    return None


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    if slot == "weight_grad":
        return weight_grad(spec, target, a, b)
    if slot == "forward":
        return forward(spec, target, a, b)
    return forward(adjoint_spec(spec), target, a, adjoint_kernel(b, spec.groups))


def _work(slot: Slot, spec: ConvSpec) -> Work:
    if slot == "input_grad":
        return _work("forward", adjoint_spec(spec))
    m, n = _transforms(spec)[2].shape
    tiles, count = spec.batch * math.prod(_tiles(spec, m)), n**spec.rank
    transformed = count * tiles * (spec.in_channels + spec.out_channels)
    dot = (count, tiles, spec.in_channels, spec.out_channels)
    if slot == "weight_grad":
        dot = (count, spec.in_channels, tiles, spec.out_channels)
    return Work((dot,), 4 * transformed, transformed, steps=2 + 4 * n * spec.rank)


LOWERING = Lowering("winograd", _supports, _run, _work)
