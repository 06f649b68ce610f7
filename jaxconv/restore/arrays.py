"""Arrays as the restoring functions compute with them, and what they refuse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def floating(value: Any, name: str) -> jax.Array:
    """A real array as float32, or as float64 if it is that. Integers keep their scale."""
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} has dtype {array.dtype}; wanted real numbers.")
    if array.size == 0:
        raise ValueError(f"{name} of shape {array.shape} is empty.")
    return array.astype(jnp.float64 if array.dtype == jnp.float64 else jnp.float32)


def known(value: Any) -> bool:
    """Whether the value can be looked at: not while it is traced."""
    return not isinstance(value, Tracer)


def check_positive(value: Any, name: str) -> None:
    """Raises unless all of it is above zero; a traced value can't be looked at and passes."""
    if known(value) and not np.all(np.asarray(value) > 0):
        raise ValueError(f"{name}={value} must be positive.")


def check_option(value: Any, name: str, shape: tuple[int, ...] = ()) -> None:
    """An option is one number for all pictures, or, where a shape is given, one for each position."""
    if value is None or np.shape(value) in ((), shape):
        return
    each = f", or one for each position, {shape}" if shape else ""
    raise ValueError(
        f"{name} has shape {np.shape(value)}; wanted one number{each}. Map over pictures with one each by "
        "jax.vmap."
    )


def check_size(size: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """The PSF must not be larger than the data."""
    if len(size) != len(shape) or any(k > n for k, n in zip(size, shape, strict=True)):
        raise ValueError(
            f"psf of shape {size} is larger than data of shape {shape}; cut it out with "
            "restore.psf.centred(psf, shape=...)."
        )


def check_values(psf: Any) -> None:
    """Light is neither negative nor infinite. A traced PSF can't be looked at and passes."""
    if not known(psf):
        return
    values = np.asarray(psf)
    if not np.isfinite(values).all():
        raise ValueError("psf has values that are not finite; replace them first.")
    if values.min(initial=0) < 0:
        raise ValueError(
            f"psf has negative values, down to {values.min():g}; subtract its background and cut at zero, as "
            "restore.psf.from_image does."
        )
