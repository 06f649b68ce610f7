"""Correlation and true convolution of plain arrays, with SciPy's meaning."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from . import arguments
from .conv import conv

_MODES = ("full", "same", "valid")


def correlate(x: ArrayLike, k: ArrayLike, *, mode: str = "full", precision: Any = None) -> jax.Array:
    """Cross-correlation of two arrays of the same number of dimensions.

        z[t] = sum over l of x[l] * conj(k[l - t])

    Args:
      x: first array, any number of dimensions from one.
      k: second array; complex values are conjugated.
      mode: "full" (every overlap), "same" (the size of x, from the centre of "full") or "valid" (complete
        overlaps only; one array must be at least as large as the other in every dimension).
      precision: as in `conv`.

    Returns:
      The correlation, of size n + m - 1, n, or max(n, m) - min(n, m) + 1 in each dimension.

    Raises:
      ValueError: for arrays of different rank, empty arrays, an unknown mode, or a "valid" that neither array
        fits.

    References:
      scipy.signal.correlate, whose results these are.

    Example:
      >>> correlate([1.0, 2.0, 3.0], [0.0, 1.0, 0.5], mode="same").tolist()
      [2.0, 3.5, 3.0]
    """
    x, k = _operands(x, k, mode)
    if mode == "valid" and _swapped(x, k):
        return jnp.flip(_slide(k, x.conj(), mode, precision)).conj()
    return _slide(x, k.conj(), mode, precision)


def convolve(x: ArrayLike, k: ArrayLike, *, mode: str = "full", precision: Any = None) -> jax.Array:
    """Convolution in the sense of signal processing: the second array is flipped.

        z[t] = sum over l of x[l] * k[t - l]

    Args:
      x: first array, any number of dimensions from one.
      k: second array.
      mode: "full" (every overlap), "same" (the size of x, from the centre of "full") or "valid" (complete
        overlaps only; one array must be at least as large as the other in every dimension).
      precision: as in `conv`.

    Returns:
      The convolution, of size n + m - 1, n, or max(n, m) - min(n, m) + 1 in each dimension.

    Raises:
      ValueError: for arrays of different rank, empty arrays, an unknown mode, or a "valid" that neither array
        fits.

    References:
      scipy.signal.convolve, whose results these are.

    Example:
      >>> convolve([1.0, 2.0, 3.0], [0.0, 1.0, 0.5], mode="same").tolist()
      [1.0, 2.5, 4.0]
    """
    x, k = _operands(x, k, mode)
    if mode == "valid" and _swapped(x, k):
        x, k = k, x
    # "same" is centred on the full result; correlating with the flipped kernel, an even one is centred one
    # further.
    return _slide(x, jnp.flip(k), mode, precision)


def _operands(x: Any, k: Any, mode: str) -> tuple[jax.Array, jax.Array]:
    x, k = arguments.array(x, "x"), arguments.array(k, "k")
    if mode not in _MODES:
        raise ValueError(f"mode={mode!r} is not known; use one of {', '.join(_MODES)}.")
    if x.ndim != k.ndim or x.ndim == 0:
        raise ValueError(
            f"x has {x.ndim} dimensions and k has {k.ndim}; wanted the same number, at least one."
        )
    if 0 in (x.size, k.size):
        raise ValueError(f"x of shape {x.shape} and k of shape {k.shape} must not be empty.")
    dtype = jnp.promote_types(x.dtype, k.dtype)
    return x.astype(dtype), k.astype(dtype)


def _swapped(x: jax.Array, k: jax.Array) -> bool:
    if all(n >= m for n, m in zip(x.shape, k.shape, strict=True)):
        return False
    if all(n <= m for n, m in zip(x.shape, k.shape, strict=True)):
        return True
    raise ValueError(
        f"mode='valid' wants one array at least as large as the other in every dimension; got {x.shape} and "
        f"{k.shape}."
    )


def _slide(x: jax.Array, k: jax.Array, mode: str, precision: Any) -> jax.Array:
    padding = {"full": "FULL", "valid": "VALID", "same": [(m // 2, (m - 1) // 2) for m in k.shape]}[mode]
    return conv(x[..., None], k[..., None, None], padding=padding, precision=precision)[..., 0]  # pyright: ignore[reportArgumentType]
