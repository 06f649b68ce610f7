"""What every lowering is and what it may rely on.

A lowering sees only core geometry (`Axis.core`): `0 <= lo < span`, `0 <= hi < span`, no empty array, fewer
than `stride` unreached positions at the end of an axis. Arrays are channels-last, as in `ConvSpec`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from ..geometry import ConvSpec, Slot

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclasses.dataclass(frozen=True)
class Target:
    """What a slot is computed for.

    Args:
      platform: "cpu", "cuda", "tpu", "rocm": the platform of the compiled program, not of the tracing
        process.
      dtype: the result's.
      precision: as in lax.
      divided: whether the compiler may divide the arrays over several devices.
    """

    platform: str
    dtype: Any
    precision: Any = None
    divided: bool = False


@dataclasses.dataclass(frozen=True)
class Work:
    """What an algorithm does to compute a slot, in the numbers that a cost model prices.

    Args:
      dots: its matrix products, each as (count, m, k, n): `count` products of an (m, k) with a (k, n).
      moved: elements that the rest of the program reads and writes, workspace included.
      workspace: elements of the temporaries that are alive at once.
      steps: operations in the program, each of which is compiled and dispatched.
    """

    dots: tuple[tuple[int, int, int, int], ...] = ()
    moved: int = 0
    workspace: int = 0
    steps: int = 1

    @property
    def multiply_adds(self) -> int:
        """Of all matrix products."""
        return sum(count * m * k * n for count, m, k, n in self.dots)


@dataclasses.dataclass(frozen=True)
class Lowering:
    """An algorithm.

    Args:
      name: its public name.
      supports: from slot, spec, the result's dtype and precision, None if it can compute the slot, else one
        sentence that says why not. It does not see the platform: an algorithm that is wrong nowhere but slow
        somewhere is the planner's to avoid.
      run: computes the slot from its two operands, in the order of `ConvSpec.operand_shapes`.
      work: what that takes.
    """

    name: str
    supports: Callable[[Slot, ConvSpec, Any, Any], str | None]
    run: Callable[[Slot, ConvSpec, Target, jax.Array, jax.Array], jax.Array]
    work: Callable[[Slot, ConvSpec], Work]


def _wider(a: Any, b: Any) -> Any:
    # What a user lets JAX promote in arrays of his own is another matter.
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(a, b)


def common_dtype(a: jax.Array, b: jax.Array, target: Target) -> tuple[jax.Array, jax.Array, Any]:
    """Both operands in one dtype, and the dtype to accumulate in: never narrower than either operand."""
    dtype = _wider(a.dtype, b.dtype)
    return a.astype(dtype), b.astype(dtype), _wider(dtype, target.dtype)


def product_operands(a: jax.Array, b: jax.Array, target: Target) -> tuple[jax.Array, jax.Array, Any]:
    """As `common_dtype`, for sums of several products: those of half precision are added in single."""
    a, b, dtype = common_dtype(a, b, target)
    return a, b, _wider(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype


def once(fn: Callable[..., jax.Array], target: Target, *operands: jax.Array) -> jax.Array:
    """`fn(*operands)` as a loop of its own, whose result goes to memory.

    XLA's CPU backend takes cheap operations into every loop that reads their result, and computes them anew
    in each; a normalisation and its gradient read a layer's output five times. It has no barrier that lasts
    until then, but leaves a call alone that says so. A call would not be divided over devices.
    """
    if target.platform != "cpu" or target.divided:
        return fn(*operands)
    with set_xla_metadata(inlineable="false"):
        return jax.jit(fn)(*operands)


def convolve(
    lhs: jax.Array,
    rhs: jax.Array,
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    target: Target,
    numbers: lax.ConvDimensionNumbers | None = None,
    **options: Any,
) -> jax.Array:
    """`lax.conv_general_dilated`, by default in the dimension numbers that every XLA backend is fast with."""
    lhs, rhs, dtype = common_dtype(lhs, rhs, target)
    n = lhs.ndim - 2
    data, kernel = (0, n + 1, *range(1, n + 1)), (n + 1, n, *range(n))
    y = lax.conv_general_dilated(
        lhs,
        rhs,
        stride,
        padding,
        dimension_numbers=numbers or lax.ConvDimensionNumbers(data, kernel, data),
        precision=target.precision,
        preferred_element_type=dtype,
        **options,
    )
    return y.astype(target.dtype)
