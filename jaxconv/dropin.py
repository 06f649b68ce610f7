"""Existing programs: every lax convolution through the planner, where it is lowered.

A convolution of Flax, Haiku, Equinox or Keras ends as an equation of `lax.conv_general_dilated`, and so do
the gradients and batches that JAX makes of it. What is replaced here is the rule that turns such an equation
into a program, and only that: models, traces and gradients stay what they are. The rule reads off which slot
of which convolution the equation is and asks the planner; where the answer is XLA's own convolution in the
form that the equation has, JAX's rule runs as if nothing had been installed.
"""

# JAX's lowering rules are not fully typed.
# pyright: standard

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax._src.interpreters import mlir as _rules  # the rules in force can't be asked for in public
from jax.experimental.xla_metadata import set_xla_metadata
from jax.interpreters import mlir
from jax.sharding import AxisType

from .lowerings import PLATFORMS, narrow_float
from .lowerings.direct import window_beyond_map
from .ops.primitives import LAX, lower_in, target_of
from .planner import Reading, best_reading, execute, normalize_precision

F = TypeVar("F", bound=Callable[..., Any])

# What `accelerate` leaves on the equations of its function; autodiff and batching hand it on.
_MARK = "jaxconv"


def install() -> None:
    """Sends every convolution of lax that is compiled from now on, in all threads, through the planner.

    That is those of Flax, Haiku, Equinox and Keras, forward and in their gradients. What was compiled before
    is compiled anew. Forward-mode and reverse-mode gradients, vmap, scan, and sharding are JAX's as before.
    Results differ by rounding where another algorithm computes them; Winograd and the FFT, which a precision
    of "highest" keeps out, also spread an infinity over a tile.

    Example:
      >>> import jax, jax.numpy as jnp, jaxconv
      >>> jaxconv.install()
      >>> jax.lax.conv(jnp.arange(4.0).reshape(1, 1, 4), jnp.ones((1, 1, 3)), (1,), "VALID").ravel().tolist()
      [3.0, 6.0]
      >>> jaxconv.uninstall()
    """
    _register()
    LAX.set_global("planned")


def uninstall() -> None:
    """Leaves what is compiled from now on to JAX's own rule again.

    Example:
      >>> import jax, jax.numpy as jnp, jaxconv
      >>> jaxconv.install()
      >>> jaxconv.uninstall()
      >>> jax.lax.conv(jnp.ones((1, 1, 4)), jnp.ones((1, 1, 3)), (1,), "VALID").ravel().tolist()
      [3.0, 3.0]
    """
    LAX.set_global("stock")


def installed() -> AbstractContextManager[Any]:
    """The same as `install` inside of a `with` block, in this thread.

    Returns:
      A context manager.

    Example:
      >>> import jax, jax.numpy as jnp, jaxconv
      >>> with jaxconv.installed():
      ...     y = jax.lax.conv(jnp.ones((1, 1, 4)), jnp.ones((1, 1, 3)), (1,), "VALID")
      >>> y.ravel().tolist()
      [3.0, 3.0]
    """
    _register()
    return LAX("planned")


def accelerate(fn: F) -> F:
    """A function whose lax convolutions go through the planner, wherever it is traced, and no others.

    Derivatives and batches of the function are accelerated with it. The equations traced in `fn` carry a
    mark, which the compiled program's operations show as the frontend attribute "jaxconv".

    Args:
      fn: a function of arrays.

    Returns:
      The same function.

    Raises:
      ValueError: if it is no function.

    Example:
      >>> import jax, jax.numpy as jnp, jaxconv
      >>> @jaxconv.accelerate
      ... def smooth(x):
      ...     return jax.lax.conv(x, jnp.ones((1, 1, 3)) / 3, (1,), "VALID")
      >>> jax.grad(lambda x: smooth(x).sum())(jnp.ones((1, 1, 4))).round(2).ravel().tolist()
      [0.33, 0.67, 0.67, 0.33]
    """
    if not callable(fn) or isinstance(fn, type):
        raise ValueError(f"fn={fn!r} of type {type(fn).__name__} must be a function.")
    _register()

    @functools.wraps(fn)
    def accelerated(*args: Any, **kwargs: Any) -> Any:
        with set_xla_metadata(**{_MARK: "planned"}):
            return fn(*args, **kwargs)

    return cast("F", accelerated)


@functools.cache
def _register() -> None:
    primitive = lax.conv_general_dilated_p
    for platform in PLATFORMS:
        entry = _rules._platform_specific_lowerings[platform].get(primitive, _rules._lowerings[primitive])
        rule = functools.partial(_lower, platform, entry.rule)
        mlir.register_lowering(primitive, rule, platform=platform)


def _lower(platform: str, stock: Any, ctx: mlir.LoweringRuleContext, lhs: Any, rhs: Any, **params: Any):
    (a, b), (y,) = cast("Any", (ctx.avals_in, ctx.avals_out))
    if not _wanted(ctx) or _left_to_lax(a, y):
        return stock(ctx, lhs, rhs, **params)
    target = target_of(ctx, platform, y.dtype, normalize_precision(params["precision"]))
    found = best_reading(a.shape, b.shape, params, target)
    if found is None or (found[1] == "direct" and _as_good(found[0], platform, params)):
        return stock(ctx, lhs, rhs, **params)
    reading = found[0]

    def compute(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return reading.result(execute(reading.slot, reading.spec, target, None, *reading.operands(lhs, rhs)))

    return lower_in(ctx, compute, lhs, rhs)


def _wanted(ctx: mlir.LoweringRuleContext) -> bool:
    """Whether an equation is the planner's: it is installed or marked, and no part of an algorithm."""
    marks = getattr(ctx.jaxpr_eqn_ctx, "xla_metadata", None) or {}
    return LAX.value == "planned" or (LAX.value == "stock" and _MARK in marks)


def _left_to_lax(operand: Any, result: Any) -> bool:
    """Whether a convolution is lax's whatever its shape."""
    if jnp.issubdtype(operand.dtype, jnp.complexfloating):
        return True  # it is made of real ones, which come here again
    if narrow_float(operand.dtype):
        return True  # there is no arithmetic in eight bits
    return AxisType.Explicit in result.sharding.mesh.axis_types  # its sharding is part of its type


def _as_good(reading: Reading, platform: str, params: dict[str, Any]) -> bool:
    """Whether lax's form of a convolution is as good to XLA as `direct`'s."""
    if platform == "tpu":  # an exchanged kernel would be turned around as an array, which costs as much
        return not reading.exchanged or reading.spec.groups == 1
    if reading.exchanged:
        return False
    if platform == "cpu":  # in a loop XLA has no fast program for other dimension numbers
        n = len(params["window_strides"]) + 1
        data, kernel = (0, n, *range(1, n)), (n, n - 1, *range(n - 1))
        return tuple(params["dimension_numbers"]) == (data, kernel, data)
    # XLA's GPU backend finds an input gradient by its reversed kernel, which JAX's gradients have and the
    # transposed layers of libraries have not; it writes out the zeros between the taps of a dilated kernel
    # where a border is not alike on both sides; and a weight gradient's operands it may exchange.
    dilated = any(a.dilation > 1 for a in reading.spec.axes)
    if reading.slot == "weight_grad":
        return not dilated and not window_beyond_map(reading.spec)
    return not dilated and reading.slot == "forward"
