"""What a measurement is of: one slot of one convolution in one dtype and precision, as a readable string.

    weight_grad n8 g1 c64>128 56k3s1d1p1,1 28k5s2d1p2,1 float32 default

is the batch, the groups, the channels in and out, then for each axis its size, kernel, stride, dilation and
padding (lo, hi), then the result's dtype and the precision.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, cast, get_args

import jax.numpy as jnp
from jax import lax

from ..geometry import Axis, ConvSpec, Slot
from ..lowerings import core_spec
from .precision import is_pair, normalize_precision

_NUMBER = r"(\d+)"
_AXIS = re.compile(rf"{_NUMBER}k{_NUMBER}s{_NUMBER}d{_NUMBER}p{_NUMBER},{_NUMBER}")
_KEY = re.compile(
    rf"({'|'.join(get_args(Slot))}) n{_NUMBER} g{_NUMBER} c{_NUMBER}>{_NUMBER}"
    rf"((?: {_AXIS.pattern.replace('(', '(?:')})+) (\w+) (\w+(?:,\w+)?)"
)


@dataclasses.dataclass(frozen=True)
class Key:
    """Made by `Key.of`, so that equal programs have equal keys; its string is a table's key.

    Attributes:
      slot: the array that is computed.
      spec: core geometry, as the lowerings see it.
      dtype: of the result.
      precision: None for XLA's default, by whatever name it was asked for.
    """

    slot: Slot
    spec: ConvSpec
    dtype: Any
    precision: Any = None

    @classmethod
    def of(cls, slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> Key | None:
        """The key of a convolution with any padding; None where there is nothing to measure.

        That is where nothing touches, and where a size is symbolic. A `lax.DotAlgorithm` is left to XLA
        and has no spelling.
        """
        found = core_spec(spec)
        if found is None or not all(
            type(n) is int for n in (spec.batch, spec.in_channels, spec.out_channels)
        ):
            return None
        return cls(slot, found[0], jnp.dtype(dtype), _undefaulted(precision))

    @classmethod
    def parse(cls, text: str) -> Key:
        """The key that is spelled so.

        Raises:
          ValueError: if none is.

        Example:
          >>> Key.parse("forward n1 g1 c2>4 8k3s1d1p1,1 float32 high").spec.axes
          (Axis(size=8, kernel=3, stride=1, dilation=1, lo=1, hi=1, base=1),)
        """
        match = _KEY.fullmatch(text)
        try:
            if match is not None:
                slot: Any = match[1]
                batch, groups, inputs, outputs = map(int, match.groups()[1:5])
                axes = tuple(Axis(*map(int, axis)) for axis in _AXIS.findall(match[6]))
                spec = ConvSpec(batch, inputs, outputs, groups, axes)
                key = cls.of(slot, spec, match[7], _parse_precision(match[8]))
                if key is not None and str(key) == text:
                    return key
        except (TypeError, ValueError) as error:
            raise ValueError(f"{text!r} is no key of a convolution: {error}") from None
        raise ValueError(
            f"{text!r} is no key of a convolution; one looks like "
            "'forward n1 g1 c2>4 8k3s1d1p1,1 float32 default'."
        )

    @property
    def precisions(self) -> tuple[Any, ...]:
        """One for both operands, or one for each."""
        precision: Any = self.precision
        return cast("tuple[Any, ...]", precision if is_pair(precision) else (precision,))

    def __str__(self) -> str:
        """The table's spelling."""
        spec = self.spec
        axes = (f"{a.size}k{a.kernel}s{a.stride}d{a.dilation}p{a.lo},{a.hi}" for a in spec.axes)
        return " ".join(
            (
                self.slot,
                f"n{spec.batch} g{spec.groups} c{spec.in_channels}>{spec.out_channels}",
                *axes,
                self.dtype.name,
                ",".join(map(_precision_name, self.precisions)),
            )
        )


def _undefaulted(precision: Any) -> Any:
    if is_pair(precision):
        return tuple(map(_undefaulted, precision))
    return None if precision is lax.Precision.DEFAULT else precision


def _precision_name(precision: Any) -> str:
    """Lower case for `lax.Precision`, upper case for `lax.DotAlgorithmPreset`, which has a DEFAULT too."""
    if precision is None:
        return "default"
    return precision.name.lower() if isinstance(precision, lax.Precision) else precision.name


def _parse_precision(text: str) -> Any:
    both = [normalize_precision(name) for name in text.split(",")]
    return tuple(both) if len(both) > 1 else both[0]
