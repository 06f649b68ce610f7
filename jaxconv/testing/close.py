"""Agreement of values to what rounding explains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._numeric import FACTOR, Array, spacing, widest


def assert_close(
    actual: Array,
    expected: Array,
    *,
    contraction: int = 1,
    scale: Array | None = None,
    eps: float | None = None,
    factor: float = FACTOR,
    label: str = "result",
) -> None:
    """Assert that every element of two arrays agrees to factor · eps · √contraction · scale.

    Integers and booleans have to be equal. An infinity is close to itself only, and NaN to nothing.

    Args:
        actual: What was computed. Its dtype and that of `expected` say what precision can be asked for.
        expected: What it should be, of the same shape; usually of a wider type.
        contraction: How many products were summed for one element. 1 is right for elementwise functions.
        scale: What the rounding errors are relative to, an array that broadcasts against `expected`. For sums
            of products it is Σ|a||b|, the same sum over absolute values. None takes the largest |expected|:
            right in norm, and the one to use for FFT and Winograd, whose errors are normwise.
        eps: The spacing of the arithmetic; None takes the coarser of the two dtypes'. Give it when the
            arithmetic is coarser than the dtype, as 2⁻¹⁰ for TensorFloat-32.
        factor: Safety factor, half the λ of the bound; 2 lets practically no correct result fail.
        label: What the arrays are, for the message.

    Raises:
        AssertionError: An element differs by more than its tolerance, or the shapes differ.

    References:
        Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41
        (2019), doi:10.1137/18M1226312.

    Example:
        >>> third = np.float32(1) / np.float32(3)
        >>> assert_close(third, 1 / 3)
        >>> assert_close(np.array([1.0, 0.3333], np.float32), [1.0, 1 / 3], label="thirds")
        Traceback (most recent call last):
        ...
        AssertionError: thirds: 1 of 2 elements differ by more than the tolerance.
          at         [1]
          got        0.33329999446868896
          wanted     0.3333333333333333
          difference 3.334e-05
          tolerance  2.384e-07 = 2 · eps 1.192e-07 · √1 · scale 1
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"{label}: got shape {actual.shape}, wanted {expected.shape}.")
    if eps is None:
        eps = max(spacing(actual.dtype), spacing(expected.dtype))
    if scale is None:
        scale = np.max(np.abs(widest(expected)), initial=0, where=np.isfinite(expected))
    scale = np.broadcast_to(np.asarray(scale, np.float64), expected.shape)
    tolerance = factor * eps * math.sqrt(contraction) * scale
    compare(
        actual,
        expected,
        tolerance,
        lambda at: f"{factor:g} · eps {eps:.4g} · √{contraction} · scale {scale[at]:.4g}",
        label,
    )


def compare(
    actual: Array, expected: Array, tolerance: np.ndarray, rule: Callable[[tuple[int, ...]], str], label: str
) -> None:
    """Raises where two arrays of one shape differ by more than `tolerance`; `rule(at)` explains that."""
    got, wanted = widest(actual), widest(expected)
    wide = np.result_type(got, wanted, np.float64)  # the difference of two integers may be no int64
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = np.abs(got.astype(wide) - wanted.astype(wide))
    # Written so that a NaN on either side is wrong, and so are integers whose difference is rounded to 0.
    wrong = ~((got == wanted) | ((difference > 0) & (difference <= tolerance)))
    if not wrong.any():
        return
    excess = np.where(wrong, np.nan_to_num(difference - tolerance, nan=np.inf), -np.inf)
    at = tuple(map(int, np.unravel_index(np.argmax(excess), wrong.shape)))
    raise AssertionError(
        f"{label}: {wrong.sum()} of {wrong.size} elements differ by more than the tolerance.\n"
        f"  at         {list(at)}\n"
        f"  got        {got[at]}\n"
        f"  wanted     {wanted[at]}\n"
        f"  difference {difference[at]:.4g}\n"
        f"  tolerance  {tolerance[at]:.4g} = {rule(at)}"
    )


def check_against_oracle(
    fn: Callable[..., Any],
    oracle: Callable[..., Any],
    args: Sequence[Any],
    *,
    contraction: int = 1,
    scale: Callable[..., Any] | None = None,
    eps: float | None = None,
    factor: float = FACTOR,
    label: str = "result",
) -> None:
    """Assert that `fn(*args)` agrees with `oracle(*args)`, the latter in float64, complex128 or int64.

    The arrays are first rounded to the dtype JAX gives them, so that both functions see the same numbers; the
    oracle then gets them as NumPy arrays of float64, complex128 or int64.

    Args:
        fn: The function under test, of arrays or pytrees of arrays. Its result may be a pytree.
        oracle: A NumPy function of the same arguments with a result of the same structure.
        args: The arguments. Their dtypes are those under test.
        contraction: How many products are summed for one element of the result.
        scale: A function of the *absolute values* of the arguments that gives what the rounding errors are
            relative to, of the result's structure. For a convolution that is the oracle itself:
            `scale=oracle` makes the tolerance of each element its own Σ|x||kernel|. None takes the largest
            element of the expected result.
        eps: As in `assert_close`.
        factor: As in `assert_close`.
        label: What is compared, for the message.

    Raises:
        AssertionError: A result differs by more than the tolerance, in shape, or in structure.

    Example:
        >>> x, y = np.array([1, 2, 3], np.float16), np.array([0.1, 0.2, 0.3], np.float16)
        >>> check_against_oracle(jnp.dot, np.dot, (x, y), contraction=3, scale=np.dot)
        >>> wrong = lambda x, y: 1.01 * jnp.dot(x, y)
        >>> check_against_oracle(wrong, np.dot, (x, y), contraction=3, scale=np.dot)
        Traceback (most recent call last):
        ...
        AssertionError: result: 1 of 1 elements differ by more than the tolerance.
          at         []
          got        1.4140625
          wanted     1.4000244140625
          difference 0.01404
          tolerance  0.004736 = 2 · eps 0.0009766 · √3 · scale 1.4
    """
    args = jax.tree.map(jnp.asarray, tuple(args))
    wide = jax.tree.map(lambda a: widest(np.asarray(a)), args)
    expected = oracle(*wide)
    scales = scale(*jax.tree.map(np.abs, wide)) if scale else jax.tree.map(lambda _: None, expected)
    actual_leaves, structure = jax.tree_util.tree_flatten_with_path(fn(*args))
    wanted_structure = jax.tree.structure(expected)
    if structure != wanted_structure:
        raise AssertionError(f"{label}: got a result of structure {structure}, wanted {wanted_structure}.")
    wanted = structure.flatten_up_to(expected), structure.flatten_up_to(scales)
    for (path, got), want, size in zip(actual_leaves, *wanted, strict=True):
        name = label + jax.tree_util.keystr(path)
        assert_close(got, want, contraction=contraction, scale=size, eps=eps, factor=factor, label=name)
