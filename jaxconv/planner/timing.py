"""Time the algorithms of one convolution against each other, on random data, each checked once."""

# Most of it calls JAX, whose functions are not fully typed.
# pyright: standard

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType

from ..geometry import multiply_adds
from ..lowerings import REGISTRY, Target, run_in_pieces
from .key import Key
from .table import duration

# A sample is at least this long, so that a small convolution is called several times for one.
SAMPLE_SECONDS, MOST_CALLS = 1e-3, 100
# What is this many times slower than the best after the first round is out of the race.
HOPELESS = 3.0
# A compilation can't be interrupted; one that took longer than this is reported, and its time is kept.
SLOW_COMPILE_SECONDS = 20.0

Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Race:
    """What was measured of some algorithms.

    Attributes:
      seconds: the least of each call, by name, without algorithms that the device had no memory for.
      compiled: seconds of compilation of the same.
      remarks: what was unusual, a sentence each.
    """

    seconds: dict[str, float]
    compiled: dict[str, float]
    remarks: list[str]


def race(
    key: Key, dtypes: tuple[Any, Any], names: Sequence[str], device: Any, platform: str, repeats: int
) -> Race:
    """The least seconds of each algorithm; they take turns, so that what else the machine does meets all.

    Args:
      key: the convolution.
      dtypes: of its operands.
      names: algorithms that can compute it, `direct` first: the others are checked against it.
      device: where.
      platform: the device's, in the planner's words.
      repeats: rounds.

    Returns:
      What was measured.

    Raises:
      RuntimeError: if two algorithms disagree.
    """
    target = Target(platform, key.dtype, key.precision)
    rng = np.random.default_rng(0)
    shapes = key.spec.operand_shapes(key.slot)
    operands = [
        jax.device_put(random_array(rng, shape, dtype), device)
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    calls: dict[str, Call] = {}
    compiled: dict[str, float] = {}
    remarks: list[str] = []
    want: np.ndarray | None = None
    for name in names:
        run = functools.partial(run_in_pieces, REGISTRY[name], key.slot, key.spec, target)
        start = time.perf_counter()
        try:
            call = functools.partial(jax.jit(run).lower(*operands).compile(), *operands)
            spent = time.perf_counter() - start
            got = np.asarray(call())
        except jax.errors.JaxRuntimeError as error:
            if want is None:
                raise
            remarks.append(f"{name} failed: {str(error).splitlines()[0]}")
            continue
        if spent > SLOW_COMPILE_SECONDS:
            remarks.append(f"{name} took {duration(spent)} to compile")
        if want is None:
            want = got
        else:
            check(key, dtypes, platform, name, got, want)
        calls[name], compiled[name] = call, spent
    return Race(_rounds(calls, repeats), compiled, remarks)


def alone(device: Any) -> AbstractContextManager[Any]:
    """A mesh of one device, in place of the one under which the function may be called."""
    return jax.set_mesh(jax.make_mesh((1,), ("",), axis_types=(AxisType.Auto,), devices=[device]))


def _rounds(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    # The first samples, of one call, also say how many calls make one that can be measured.
    seconds = {name: _sample(call, 1) for name, call in calls.items()}
    counts = {name: max(1, min(MOST_CALLS, int(SAMPLE_SECONDS / s))) for name, s in seconds.items()}
    racing = list(calls)
    for turn in range(repeats):
        for name in racing:
            seconds[name] = min(seconds[name], _sample(calls[name], counts[name]))
        if turn == 0:
            limit = HOPELESS * min(seconds.values())
            racing = [name for name in racing if seconds[name] <= limit]
    return seconds


def _sample(call: Call, count: int) -> float:
    """Seconds of one call, the mean of `count` one after the other."""
    start = time.perf_counter()
    for _ in range(count):
        jax.block_until_ready(call())
    return (time.perf_counter() - start) / count


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Standard normal numbers of any dtype, or small integers."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        values = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    elif jnp.issubdtype(dtype, jnp.inexact):
        values = rng.standard_normal(shape, np.float32)
    else:
        values = rng.integers(0, 5, shape)
    return jnp.asarray(values, dtype)


def check(
    key: Key, dtypes: tuple[Any, Any], platform: str, name: str, got: np.ndarray, want: np.ndarray
) -> None:
    """Refuses a result that rounding does not explain.

    In norm, the inputs' rounding costs eps, and a sum of K products in at least single precision
    eps(float32) * sqrt(K); Winograd's constant is the largest of all algorithms'. Integers have to be equal.

    Raises:
      RuntimeError: if `got`, the algorithm's result, is not `want`, that of `direct`.
    """
    wide = np.complex128 if np.iscomplexobj(want) else np.float64
    difference = got.astype(wide) - want.astype(wide)
    error = float(np.linalg.norm(difference.ravel()))
    tolerance = _tolerance(key, dtypes, platform) * float(np.linalg.norm(want.astype(wide).ravel()))
    if not error <= tolerance:  # so that NaN is wrong
        raise RuntimeError(
            f"{name} computed {key} wrong: it differs from direct by {error:.3g} in norm, where rounding "
            f"explains {tolerance:.3g}. This is a bug, of jaxconv or of XLA; please report it."
        )


def _tolerance(key: Key, dtypes: tuple[Any, Any], platform: str) -> float:
    inexact = [dtype for dtype in (*dtypes, key.dtype) if jnp.issubdtype(dtype, jnp.inexact)]
    if not jnp.issubdtype(key.dtype, jnp.inexact):
        return 0.0
    eps = [float(jnp.finfo(dtype).eps) for dtype in inexact]
    if platform != "cpu" or any(isinstance(p, lax.DotAlgorithmPreset) for p in key.precisions):
        eps.append(2.0**-8)  # operands may be rounded to bfloat16
    terms = multiply_adds(key.spec) / math.prod(key.spec.result_shape(key.slot))
    single = min(max(eps), float(jnp.finfo(jnp.float32).eps))
    return 16 * (max(eps) + single * math.sqrt(terms))
