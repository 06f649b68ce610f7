"""The ratio that meets a time, by what the planner has measured or predicts of each convolution."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, get_args

import jax.numpy as jnp

from ..geometry import ConvSpec, Slot
from ..planner import plan
from .cut import Cut
from .rebind import groups_left

_ROUNDS = 12  # of halving the interval of ratios


def predicted(cut: Cut, platform: str | None, *, training: bool) -> float:
    """Seconds of the convolutions of a cut graph, for training with both gradients.

    Raises:
      ValueError: if the planner knows no time for one of them.
    """
    total = 0.0
    for node, count in cut.coupling.graph.walk():
        conv = node.conv
        if conv is None or conv.slot == "weight_grad":
            continue
        spec = conv.spec
        if node in cut.coupling.graph.nodes and cut.touches(node):
            into, out = _channels(cut, node)
            spec = dataclasses.replace(
                spec, in_channels=into, out_channels=out, groups=groups_left(cut, node)
            )
        for slot in get_args(Slot) if training else (conv.slot,):
            dtype = str(jnp.dtype(node.params.get("dtype") or node.results[0].dtype))
            total += count * _seconds(spec, slot, platform, dtype, conv.by == "lax")
    return total


def _channels(cut: Cut, node: Any) -> tuple[int, int]:
    """In and out, of the convolution that a transposed one is the adjoint of."""
    from .grouped import form

    found = form(node)
    assert found is not None
    data = cut.shape(node.operands[0])[found.data[1]]
    result = cut.shape(node.results[0])[found.result[1]]
    return (result, data) if node.conv.slot == "input_grad" else (data, result)


@functools.lru_cache(maxsize=4096)
def _seconds(spec: ConvSpec, slot: Slot, platform: str | None, dtype: str, plain: bool) -> float:
    found = plan(spec, slot=slot, platform=platform, dtype=dtype)
    if found.algorithm is None:
        return 0.0
    chosen = next(c for c in found.candidates if (c.name == "direct" if plain else c.chosen))
    if chosen.seconds is None:
        raise ValueError(
            f"nothing is known of the time of {slot} of {spec} on {found.platform}; measure it with "
            "jaxconv.tune and prune inside `with table:`, or give a ratio."
        )
    return chosen.seconds


def ratio_for(share: float, most: float, cost: Callable[[float], float]) -> float:
    """The smallest ratio that leaves at most this share of the cost.

    Raises:
      ValueError: if no ratio does.
    """
    if not 0 < share <= 1:
        raise ValueError(
            f"time={share} is no share of the original's time; it must be above 0 and at most 1."
        )
    whole, least = cost(0.0), cost(most)
    if least > share * whole:
        raise ValueError(
            f"time={share} cannot be met: with ratio={most} {least / whole:.2f} of the predicted time of the "
            "convolutions is left. Raise most, round less, or ignore fewer layers."
        )
    low, high = 0.0, most
    if whole <= share * whole:
        return 0.0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= share * whole else (middle, high)
    return high
