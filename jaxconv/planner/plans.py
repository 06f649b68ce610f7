"""Explain what the planner would do: with one convolution, or with all of a function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args, overload

import jax.numpy as jnp

from ..geometry import ConvSpec, Slot
from ..lowerings import PLATFORMS, Target
from .collect import Found, collect
from .device import default_device, platform_of
from .plan import Plan, plan_slot
from .precision import normalize_precision


@dataclasses.dataclass(frozen=True)
class Planned:
    """One convolution of a function.

    Attributes:
      plan: its plan.
      count: how often the function computes it.
      by: whose it is: "jaxconv", or "lax" for one that is the planner's under `install` only.
    """

    plan: Plan
    count: int
    by: str

    def __str__(self) -> str:
        """One line; the plan has more."""
        left, right = self.plan.spec.operand_shapes(self.plan.slot)
        chosen = next((c for c in self.plan.candidates if c.chosen), None)
        what = f"{chosen.name}: {chosen.reason}" if chosen else "zeros: nothing touches"
        times = f"{self.count} x " if self.count > 1 else ""
        result = self.plan.spec.result_shape(self.plan.slot)
        return f"{times}{self.by} {self.plan.slot} {left} x {right} -> {result}: {what}"


@dataclasses.dataclass(frozen=True)
class Plans(Sequence[Planned]):
    """The convolutions of a function, those with the most work first; print it.

    Attributes:
      planned: one entry for each distinct convolution.
      platform: of the compiled program.
    """

    planned: tuple[Planned, ...]
    platform: str

    def __len__(self) -> int:
        """How many are distinct."""
        return len(self.planned)

    @overload
    def __getitem__(self, index: int) -> Planned: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Planned]: ...
    def __getitem__(self, index: int | slice) -> Planned | Sequence[Planned]:
        """One of them."""
        return self.planned[index]

    def __str__(self) -> str:
        """A line for each."""
        total = sum(p.count for p in self.planned)
        head = f"{total} convolutions on {self.platform}, {len(self)} of them distinct"
        return "\n".join([head, *(f"  {p}" for p in self.planned)])


@overload
def plan(
    fn_or_spec: ConvSpec,
    *,
    slot: Slot = ...,
    platform: str | None = ...,
    dtype: Any = ...,
    algorithm: str | None = ...,
    precision: Any = ...,
) -> Plan: ...
@overload
def plan(fn_or_spec: Callable[..., Any], *args: Any, platform: str | None = ..., **kwargs: Any) -> Plans: ...
def plan(fn_or_spec: Any, *args: Any, platform: str | None = None, **kwargs: Any) -> Plan | Plans:
    """Explains which algorithm computes one slot of a convolution, or each convolution of a function.

    A function is traced, not run. Its convolutions are this library's, as they are compiled, and lax's (those
    of Flax, Haiku, Equinox, Keras, and of their gradients), as they would be compiled under
    `jaxconv.install`. For training hand over `jax.grad(loss)` or a whole step.

    Args:
      fn_or_spec: the convolution, or a function of arrays and pytrees of arrays.
      *args: a function's arguments; `jax.ShapeDtypeStruct`s will do.
      platform: "cpu", "cuda", "rocm" or "tpu"; by default that of JAX's default device.
      **kwargs: a function's keyword arguments; for a convolution any of
        slot: "forward" (the default), "input_grad" (a transposed convolution is one) or "weight_grad";
        dtype: of the result, float32 by default;
        algorithm: a forced choice, as in `conv`;
        precision: as in `conv`.

    Returns:
      For a convolution a `Plan`: every candidate, and why it was chosen or not. For a function `Plans`, a
      sequence with a `plan`, a `count` and the library it is `by` for each distinct convolution, those with
      the most work first; without those of symbolic size, and those where nothing touches.

    Raises:
      ValueError: for an unknown dtype, slot, platform or algorithm, a forced one that can't compute the slot,
        what is neither spec nor function, or a function without convolutions.

    Example:
      >>> from jaxconv.geometry import Axis, ConvSpec
      >>> spec = ConvSpec(1, 4, 4, 1, (Axis(8, 3, dilation=2),))
      >>> print(plan(spec, slot="weight_grad", platform="cuda"))
      weight_grad (1, 8, 4) x (1, 4, 4) -> (3, 4, 4) on cuda
        192 multiply-adds, at least 384 bytes
           direct: applies, but space_to_batch is preferred (192 multiply-adds, 0 elements of workspace)
           zero_insertion: zero_insertion computes input_grad, not weight_grad.
        ...
        -> space_to_batch: a dilated kernel's gradient is no backward-filter convolution to XLA (192 ...)
        ...

      >>> import jax
      >>> def loss(kernel, x):
      ...     return jax.lax.conv(x, kernel, (1, 1), "SAME").sum()
      >>> x, kernel = jnp.ones((1, 8, 16, 16)), jnp.ones((8, 8, 3, 3))
      >>> print(plan(jax.grad(loss), kernel, x, platform="tpu"))
      2 convolutions on tpu, 2 of them distinct
        lax forward (1, 16, 16, 8) x (3, 3, 8, 8) -> (1, 16, 16, 8): direct: XLA's own convolution
        lax weight_grad (1, 16, 16, 8) x (1, 16, 16, 8) -> (3, 3, 8, 8): direct: XLA's own convolution
    """
    platform = default_platform(platform)
    if isinstance(fn_or_spec, ConvSpec) and not args:
        return _plan_spec(fn_or_spec, platform, **kwargs)
    if not callable(fn_or_spec):
        raise ValueError(
            f"fn_or_spec={fn_or_spec!r} of type {type(fn_or_spec).__name__} must be a ConvSpec, or a "
            "function followed by its arguments."
        )
    found = collect(fn_or_spec, args, kwargs, platform)
    if found is None:
        raise ValueError(f"{getattr(fn_or_spec, '__name__', fn_or_spec)} computes no convolution.")
    return Plans(tuple(_plans(found, platform)), platform)


def default_platform(platform: str | None) -> str:
    """The platform of that name, or of JAX's default device.

    Raises:
      ValueError: if there is none.
    """
    platform = platform or platform_of(default_device())
    platform = "cuda" if platform == "gpu" else platform
    if platform not in PLATFORMS:
        raise ValueError(f"platform={platform!r} is not known; use one of {', '.join(PLATFORMS)}.")
    return platform


def _plans(found: list[Found], platform: str) -> Iterator[Planned]:
    for f in found:
        target = Target(platform, f.key.dtype, f.key.precision)
        yield Planned(plan_slot(f.key.spec, f.key.slot, target, f.algorithm), f.count, f.by)


def _plan_spec(
    spec: ConvSpec,
    platform: str,
    slot: Slot = "forward",
    dtype: Any = jnp.float32,
    algorithm: str | None = None,
    precision: Any = None,
) -> Plan:
    try:
        dtype = jnp.dtype(dtype)
    except TypeError:
        raise ValueError(f"dtype={dtype!r} is not a dtype.") from None
    if slot not in get_args(Slot):
        raise ValueError(f"slot={slot!r} is not known; use one of {', '.join(get_args(Slot))}.")
    return plan_slot(spec, slot, Target(platform, dtype, normalize_precision(precision)), algorithm)
