"""Choose an algorithm and run it."""

from __future__ import annotations

import jax

from ..geometry import ConvSpec, Slot
from ..lowerings import Target, on_core, run_in_pieces
from .plan import choose


def execute(
    slot: Slot, spec: ConvSpec, target: Target, algorithm: str | None, a: jax.Array, b: jax.Array
) -> jax.Array:
    """Computes one slot; the choice is made for the part of the convolution where something touches.

    Args:
      slot: the array to compute.
      spec: the convolution, with any padding.
      target: platform, result dtype, precision.
      algorithm: a forced choice, or None.
      a: first operand.
      b: second operand.

    Returns:
      The array of the open slot.
    """

    def run(slot: Slot, inner: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
        lowering, _ = choose(slot, inner, target, algorithm)
        return run_in_pieces(lowering, slot, inner, target, a, b)

    return on_core(run, slot, spec, target, a, b)
