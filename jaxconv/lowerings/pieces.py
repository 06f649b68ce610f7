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


def pieces(lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target) -> int:
    """The least number of equal parts of the batch with a small workspace; 1 where it can't be cut."""
    if target.platform != "cpu" or target.divided or type(spec.batch) is not int:
        return 1
    used = lowering.work(slot, spec).workspace * jnp.dtype(target.dtype).itemsize
    divisors = (n for n in range(1, spec.batch + 1) if spec.batch % n == 0)
    return next((n for n in divisors if used <= n * LARGEST), spec.batch)


def work_in_pieces(lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target) -> Work:
    """As `lowering.work`, with the workspace of one piece."""
    work = lowering.work(slot, spec)
    return dataclasses.replace(work, workspace=work.workspace // pieces(lowering, slot, spec, target))


def run_in_pieces(
    lowering: Lowering, slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array
) -> jax.Array:
    """As `lowering.run`."""
    n = pieces(lowering, slot, spec, target)
    if n == 1:
        return lowering.run(slot, spec, target, a, b)
    part = dataclasses.replace(spec, batch=spec.batch // n)

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
