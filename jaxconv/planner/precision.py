"""Precision in one spelling: hashable, and never a string where there is an enum."""

from __future__ import annotations

from typing import Any

import jax
from jax import lax


def normalize_precision(precision: Any) -> Any:
    """None, a `lax.Precision`, a `lax.DotAlgorithm` or a preset of one, or a pair of precisions.

    Args:
      precision: as in lax: one of these, its name, or a pair. None reads JAX's default of the moment.

    Returns:
      The precision in one spelling.

    Raises:
      ValueError: for a name that is not known, or a tuple that is no pair.

    Example:
      >>> print(normalize_precision("float32").name)
      HIGHEST
    """
    if precision is None:
        default: Any = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009
        return None if default is None else _one(default)
    if is_pair(precision):
        pair: list[Any] = list(precision)  # pyright: ignore[reportUnknownArgumentType]
        if len(pair) != 2:
            raise ValueError(
                f"precision={precision!r} has {len(pair)} entries; wanted one, or one for each operand."
            )
        return tuple(None if p is None else _one(p) for p in pair)
    return _one(precision)


def is_pair(precision: Any) -> bool:
    """Whether there is one for each operand; a `lax.DotAlgorithm` is a tuple of other things."""
    return isinstance(precision, tuple | list) and not isinstance(precision, lax.DotAlgorithm)


def only_direct(precision: Any) -> bool:
    """Whether a precision is for XLA's own convolution alone: a backend may have no such matrix product."""
    return isinstance(precision, lax.DotAlgorithm | lax.DotAlgorithmPreset)


def _one(precision: Any) -> Any:
    presets = lax.DotAlgorithmPreset
    if isinstance(precision, lax.Precision | lax.DotAlgorithm | presets):
        return precision
    if isinstance(precision, str):
        if precision in presets.__members__:
            return presets[precision]
        try:
            return lax.Precision(precision)
        except ValueError:
            pass
    known = ", ".join(repr(p.name.lower()) for p in lax.Precision)
    raise ValueError(
        f"precision={precision!r} is not known; use None, {known}, a name of "
        "lax.DotAlgorithmPreset, or a pair."
    )
