"""What the checks share: the precision of a dtype, the widest type of its kind, and the safety factor."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

Array = Any  # whatever numpy.asarray takes

FACTOR = 2.0
"""Half the λ of Higham and Mary's bound: a right element is refused with probability below 7e-4."""


def spacing(dtype: Any) -> float:
    """The distance from 1 to the next number, twice the unit roundoff; 0 for integers and booleans."""
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.inexact) else 0.0


def widest(array: Array) -> np.ndarray:
    """The array in NumPy as int64, float64 or complex128, whichever is its kind; bfloat16 is a float.

    uint64, which int64 does not hold, stays what it is.
    """
    array = np.asarray(array)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        return array.astype(np.complex128)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(np.float64)
    return array if array.dtype == np.uint64 else array.astype(np.int64)


def norm(array: Array) -> float:
    """The Euclidean norm of all elements."""
    return float(np.linalg.norm(widest(array).ravel()))


def largest(array: Array) -> float:
    """The largest absolute value; 0 of none."""
    return float(np.max(np.abs(widest(array)), initial=0))
