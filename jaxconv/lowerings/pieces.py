"""Run an algorithm on one part of the arrays after the other, so that what it keeps in between stays small.

A workspace that fits into the cache is not written to memory and read again; and a program that asks for much
memory gets it from the system anew at every call, page by page, which takes longer than most convolutions.
The parts are images of the batch, and where one image is still too much, slabs of its first axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import ConvSpec, Slot
from ._base import Lowering, Target, Work
from ._core import KINDS

# Bytes of workspace: less than the 32 MiB from which on glibc returns memory to the system.
LARGEST = 16 * 2**20
# What every piece does anew, such as transforming the kernel, may add this much to the work.
MOST = 1.25

Cut = Callable[[ConvSpec, int], ConvSpec]


def _images(spec: ConvSpec, n: int) -> ConvSpec:
    """An n-th of the batch."""
    return dataclasses.replace(spec, batch=spec.batch // n)


def _slab(spec: ConvSpec, n: int) -> ConvSpec:
    """An n-th of the first axis' outputs, rounded up, and the inputs that they see, border included."""
    axis, out = spec.axes[0], -(-spec.axes[0].out // n)
    size = (out - 1) * axis.stride + axis.span
    return dataclasses.replace(spec, axes=(dataclasses.replace(axis, size=size, lo=0, hi=0), *spec.axes[1:]))


def cuts(lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target) -> tuple[int, int]:
    """Into how many groups of images, and each of them into how many slabs; 1 where that does not help."""
    symbolic = spec.symbolic_channels or type(spec.batch) is not int
    if target.platform != "cpu" or target.divided or symbolic:
        return 1, 1

    def least(spec: ConvSpec, cut: Cut, numbers: Iterable[int], most: int) -> int:
        whole = lowering.work(slot, spec)
        itemsize = jnp.dtype(target.dtype).itemsize
        if itemsize * whole.workspace <= LARGEST:
            return 1
        for n in numbers:
            part = lowering.work(slot, cut(spec, n))
            if n == most or itemsize * part.workspace <= LARGEST:
                more = n * part.moved > MOST * whole.moved
                return 1 if more or n * part.multiply_adds > MOST * whole.multiply_adds else n
        return 1

    images = least(spec, _images, (n for n in range(2, spec.batch + 1) if spec.batch % n == 0), spec.batch)
    if images < spec.batch or slot == "input_grad":  # what neighbouring slabs give of the latter overlaps
        return images, 1
    rows = spec.axes[0].out
    return images, least(_images(spec, images), _slab, range(2, rows + 1), rows)


def work_in_pieces(lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target) -> Work:
    """As `lowering.work`, of all pieces, with the workspace of one."""
    images, slabs = cuts(lowering, slot, spec, target)
    part = _images(spec, images)
    work, n = lowering.work(slot, _slab(part, slabs) if slabs > 1 else part), images * slabs
    return dataclasses.replace(
        work, dots=tuple((n * count, *sizes) for count, *sizes in work.dots), moved=n * work.moved
    )


def run_in_pieces(
    lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array
) -> jax.Array:
    """As `lowering.run`."""
    images, slabs = cuts(lowering, slot, spec, target)
    part = _images(spec, images)
    if images == 1:
        return _run_slabs(lowering, slot, part, target, a, b, slabs)

    def run(i: jax.Array, target: Target) -> jax.Array:
        x = lax.dynamic_slice_in_dim(a, i * part.batch, part.batch)
        g = lax.dynamic_slice_in_dim(b, i * part.batch, part.batch) if slot == "weight_grad" else b
        return _run_slabs(lowering, slot, part, target, x, g, slabs)

    return _together(images, slot, target, spec.result_shape(slot), 0, run)


def _run_slabs(
    lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array, n: int
) -> jax.Array:
    if n == 1:
        return lowering.run(slot, spec, target, a, b)
    axis, slab = spec.axes[0], _slab(spec, n)
    seen, rows = slab.axes[0].size, slab.axes[0].out
    x = _resized(a, axis.lo, (n * rows - 1) * axis.stride + axis.span)
    g = _resized(b, 0, n * rows) if slot == "weight_grad" else b

    def run(i: jax.Array, target: Target) -> jax.Array:
        below = lax.dynamic_slice_in_dim(g, i * rows, rows, 1) if slot == "weight_grad" else g
        above = lax.dynamic_slice_in_dim(x, i * rows * axis.stride, seen, 1)
        return lowering.run(slot, slab, target, above, below)

    shape = spec.result_shape(slot)
    if slot == "weight_grad":
        return _together(n, slot, target, shape, 0, run)
    y = _together(n, slot, target, (shape[0], n * rows, *shape[2:]), 1, run)
    return lax.slice_in_dim(y, 0, axis.out, axis=1)


def _resized(array: jax.Array, lo: int, size: int) -> jax.Array:
    """With `lo` zeros in front along the first spatial axis, then zeros behind or a cut to `size`."""
    hi = max(0, size - lo - array.shape[1])
    padded = jnp.pad(array, ((0, 0), (lo, hi), *((0, 0),) * (array.ndim - 2)))
    return lax.slice_in_dim(padded, 0, size, axis=1)


def _together(
    n: int,
    slot: Slot,
    target: Target,
    shape: tuple[int, ...],
    axis: int,
    run: Callable[[jax.Array, Target], jax.Array],
) -> jax.Array:
    """The pieces' results side by side along an axis, or their sum where the result is the kernel."""
    if KINDS[slot][2] != "kernel":

        def put(i: jax.Array, y: jax.Array) -> jax.Array:
            piece = run(i, target)
            return lax.dynamic_update_slice_in_dim(y, piece, i * piece.shape[axis], axis)

        return lax.fori_loop(0, n, put, jnp.zeros(shape, target.dtype))
    # Sums of half precision are added in single, as they are inside of an algorithm.
    low = jnp.issubdtype(target.dtype, jnp.floating) and jnp.dtype(target.dtype).itemsize < 4
    wide = dataclasses.replace(target, dtype=jnp.dtype("float32")) if low else target
    w = lax.fori_loop(0, n, lambda i, w: w + run(i, wide), jnp.zeros(shape, wide.dtype))
    return w.astype(target.dtype)
