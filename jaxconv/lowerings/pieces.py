"""Run an algorithm on one part of the batch after the other, so that what it keeps in between stays small.

A workspace that fits into the cache is not written to memory and read again; and a program that asks for much
memory gets it from the system anew at every call, page by page, which takes longer than most convolutions.
"""

from __future__ import annotations

import dataclasses

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


def pieces(lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target) -> int:
    """The least number of equal parts of the batch with a small workspace; 1 where that does not help."""
    if target.platform != "cpu" or target.divided or type(spec.batch) is not int:
        return 1
    itemsize = jnp.dtype(target.dtype).itemsize
    whole = lowering.work(slot, spec)
    for n in (n for n in range(1, spec.batch + 1) if spec.batch % n == 0):
        part = lowering.work(slot, _part(spec, n))
        if itemsize * part.workspace <= LARGEST or n == spec.batch:
            again = n * part.moved > MOST * whole.moved or n * part.multiply_adds > MOST * whole.multiply_adds
            return 1 if again else n
    return 1


def _part(spec: ConvSpec, n: int) -> ConvSpec:
    return dataclasses.replace(spec, batch=spec.batch // n)


def work_in_pieces(lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target) -> Work:
    """As `lowering.work`, of all pieces, with the workspace of one."""
    n = pieces(lowering, slot, spec, target)
    part = lowering.work(slot, _part(spec, n))
    dots = tuple((n * count, *sizes) for count, *sizes in part.dots)
    return dataclasses.replace(part, dots=dots, moved=n * part.moved)


def run_in_pieces(
    lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array
) -> jax.Array:
    """As `lowering.run`."""
    n = pieces(lowering, slot, spec, target)
    if n == 1:
        return lowering.run(slot, spec, target, a, b)
    part = _part(spec, n)

    def piece(array: jax.Array, i: jax.Array) -> jax.Array:
        return lax.dynamic_slice_in_dim(array, i * part.batch, part.batch)

    if KINDS[slot][2] != "kernel":

        def put(i: jax.Array, y: jax.Array) -> jax.Array:
            part_of_y = lowering.run(slot, part, target, piece(a, i), b)
            return lax.dynamic_update_slice_in_dim(y, part_of_y, i * part.batch, 0)

        return lax.fori_loop(0, n, put, jnp.zeros(spec.result_shape(slot), target.dtype))
    # Sums of half precision are added in single, as they are inside of an algorithm.
    low = jnp.issubdtype(target.dtype, jnp.floating) and jnp.dtype(target.dtype).itemsize < 4
    wide = dataclasses.replace(target, dtype=jnp.dtype("float32")) if low else target

    def add(i: jax.Array, w: jax.Array) -> jax.Array:
        return w + lowering.run(slot, part, wide, piece(a, i), piece(b, i))

    return lax.fori_loop(0, n, add, jnp.zeros(spec.kernel_shape, wide.dtype)).astype(target.dtype)
