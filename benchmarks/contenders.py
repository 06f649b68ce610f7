"""The programs that are compared: each computes one slot of one workload, with everything prepared outside.

| name                | program                                                                           |
|---------------------|-----------------------------------------------------------------------------------|
| `stock`             | the `lax` convolution that Flax's layer calls, and `jax.vjp` of it for a gradient   |
| `jaxconv`           | the public operator, the algorithm left to the planner                            |
| `jaxconv:ALGORITHM` | the same, the algorithm forced                                                    |
| `torch`             | PyTorch's operator, in the better of its two memory formats                       |

`stock` is also the reference: a program whose result differs from it is never timed.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv
from jaxconv.geometry import Slot, multiply_adds
from jaxconv.lowerings import REGISTRY

from .workload import Array, Workload

Arrays = Mapping[Array, np.ndarray]
ALGORITHMS = tuple(REGISTRY)


class Refused(Exception):
    """A contender that cannot compute the slot; the message says why."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A program ready to run.

    Attributes:
      call: runs it to completion and returns its own kind of array.
      read: from what `call` returns, the result as a float32 array in the layout of the workload's arrays.
      facts: what is known of it before it is timed: seconds to compile, bytes of temporary memory, algorithm.
    """

    call: Callable[[], Any]
    read: Callable[[Any], np.ndarray]
    facts: dict[str, Any]


def arrays(workload: Workload, seed: int = 0) -> dict[Array, np.ndarray]:
    """Normal random numbers for the layer's three arrays, the kernel scaled as in a network."""
    rng = np.random.default_rng(seed)
    found: dict[Array, np.ndarray] = {
        name: rng.standard_normal(shape, dtype=np.float32) for name, shape in workload.shapes.items()
    }
    taps = math.prod(workload.kernel) * workload.in_features / workload.groups
    found["kernel"] /= np.float32(math.sqrt(taps))
    return found


def ahead_of_time(
    program: Callable[..., Any], operands: Sequence[Any]
) -> tuple[Callable[[], Any], dict[str, Any]]:
    """A call that runs the compiled program to its end, and what is known of it before it is timed."""
    start = time.perf_counter()
    compiled = jax.jit(program).lower(*operands).compile()
    facts: dict[str, Any] = {"compile_s": time.perf_counter() - start}
    if memory := compiled.memory_analysis():
        facts["temp_bytes"] = memory.temp_size_in_bytes
    return lambda: jax.block_until_ready(compiled(*operands)), facts


def check_name(name: str) -> None:
    """Raises ValueError unless there is a contender of that name."""
    if name not in ("stock", "torch", "jaxconv", *(f"jaxconv:{algorithm}" for algorithm in ALGORITHMS)):
        raise ValueError(
            f"contender {name!r} is not known; use stock, torch, jaxconv or jaxconv:ALGORITHM with one of "
            f"{', '.join(ALGORITHMS)}."
        )


def build(name: str, workload: Workload, slot: Slot, given: Arrays, dtype: str) -> Contender:
    """The contender of that name.

    Raises:
      Refused: if it cannot compute this slot, or its library is not installed.
      ValueError: if there is no contender of that name.
    """
    check_name(name)
    if name == "stock":
        return _stock(workload, slot, given, dtype)
    if name == "torch":
        from .contenders_torch import torch_contender

        return torch_contender(workload, slot, given, dtype)
    return _jaxconv(workload, slot, given, dtype, name.partition(":")[2] or None)


def tolerance(workload: Workload, slot: Slot, dtype: str) -> float:
    """How far two right results may differ, relative to the largest entry.

    A sum of K products of random numbers has an error near eps * sqrt(K) of its terms; the constant leaves
    room for Winograd's transforms. Half precision is bounded outright: sqrt(K) * eps would let anything pass.
    """
    form_slot, _ = workload.form(slot)
    contraction = multiply_adds(workload.spec) / math.prod(workload.spec.result_shape(form_slot))
    bound = 32 * float(jnp.finfo(dtype).eps) * math.sqrt(max(contraction, 1))
    return min(bound, 0.05)


def relative_error(result: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over largest reference; infinite if the shapes differ or something is not finite."""
    if result.shape != reference.shape or not np.isfinite(result).all():
        return math.inf
    return float(np.abs(result - reference).max() / max(float(np.abs(reference).max()), 1e-30))


def swap_kernel(kernel: np.ndarray, groups: int) -> np.ndarray:
    """From `(*k, a, g * b)` to the flipped `(*k, b, g * a)`; its own inverse.

    Flax keeps the kernel of a transposed layer as that of the stuffed convolution which it computes.
    """
    *taps, a, gb = kernel.shape
    split = kernel.reshape(*taps, a, groups, gb // groups)
    swapped = np.moveaxis(split, -1, -3).swapaxes(-1, -2).reshape(*taps, gb // groups, groups * a)
    return np.flip(swapped, axis=tuple(range(len(taps))))


def stock_program(workload: Workload, slot: Slot) -> Callable[..., jax.Array]:
    """A function of the layer's x, kernel and g; a transposed layer's kernel is Flax's."""

    def layer(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return stock_layer(workload, x, kernel)

    def program(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
        if slot == "forward":
            return layer(x, kernel)
        if slot == "input_grad":
            return jax.vjp(lambda x: layer(x, kernel), x)[1](g)[0]
        return jax.vjp(lambda kernel: layer(x, kernel), kernel)[1](g)[0]

    return program


def _stock(workload: Workload, slot: Slot, given: Arrays, dtype: str) -> Contender:
    def own(kernel: np.ndarray) -> np.ndarray:
        return swap_kernel(kernel, workload.groups) if workload.transposed else kernel

    given = {**given, "kernel": own(given["kernel"])}
    return _compiled(stock_program(workload, slot), given, dtype, own if slot == "weight_grad" else None)


def stock_layer(workload: Workload, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The call that Flax's layer makes; its kernel is `(*k, in/groups, out)` for a transposed layer too."""
    axes, rank = workload.spec.axes, workload.spec.rank
    data = (0, rank + 1, *range(1, rank + 1))
    numbers = lax.ConvDimensionNumbers(data, (rank + 1, rank, *range(rank)), data)
    strides, dilations = tuple(a.stride for a in axes), tuple(a.dilation for a in axes)
    if workload.transposed:
        adjoint = [a.adjoint() for a in axes]
        return lax.conv_general_dilated(
            x,
            kernel,
            (1,) * rank,
            tuple((a.lo, a.hi) for a in adjoint),
            lhs_dilation=strides,
            rhs_dilation=dilations,
            dimension_numbers=numbers,
            feature_group_count=workload.groups,
        )
    padding = tuple((a.lo, a.hi) for a in axes)
    if workload.padding == "CAUSAL":  # Flax pads by hand there
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        padding = ((0, 0),) * rank
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilations,
        dimension_numbers=numbers,
        feature_group_count=workload.groups,
    )


def jaxconv_program(workload: Workload, slot: Slot, algorithm: str | None = None) -> Callable[..., jax.Array]:
    """A function of the layer's x, kernel and g."""
    form_slot, (left, right) = workload.form(slot)
    axes = workload.spec.axes
    options: dict[str, Any] = {
        "stride": tuple(a.stride for a in axes),
        "padding": tuple((a.lo, a.hi) for a in axes),
        "dilation": tuple(a.dilation for a in axes),
        "groups": workload.groups,
        "algorithm": algorithm,
    }

    def program(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
        named: dict[Array, jax.Array] = {"x": x, "kernel": kernel, "g": g}
        a, b = named[left], named[right]
        if form_slot == "forward":
            return jaxconv.conv(a, b, **options)
        if form_slot == "weight_grad":
            return jaxconv.conv_weight_grad(a, b, workload.spec.kernel_shape, **options)
        if workload.transposed:
            return jaxconv.conv_transpose(a, b, **options)
        return jaxconv.conv_input_grad(a, b, workload.spec.input_shape, **options)

    return program


def _jaxconv(workload: Workload, slot: Slot, given: Arrays, dtype: str, algorithm: str | None) -> Contender:
    form_slot, _ = workload.form(slot)
    try:
        plan = jaxconv.plan(workload.spec, slot=form_slot, dtype=jnp.dtype(dtype), algorithm=algorithm)
    except ValueError as error:
        raise Refused(str(error).partition("not possible here: ")[2] or str(error)) from None
    contender = _compiled(jaxconv_program(workload, slot, algorithm), given, dtype, None)
    contender.facts["algorithm"] = plan.algorithm
    return contender


def _compiled(
    program: Callable[..., jax.Array],
    given: Arrays,
    dtype: str,
    own: Callable[[np.ndarray], np.ndarray] | None,
) -> Contender:
    """Compiled ahead of time for the three arrays; those that the slot does not need are dropped by jit."""
    operands = [jnp.asarray(given[name], dtype) for name in ("x", "kernel", "g")]
    call, facts = ahead_of_time(program, operands)

    def read(result: jax.Array) -> np.ndarray:
        values = np.asarray(result.astype(jnp.float32))
        return own(values) if own else values

    return Contender(call, read, facts)
