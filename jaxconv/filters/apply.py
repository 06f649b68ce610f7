"""Sliding one kernel over some axes of an array, by the convolution operators and so by their planner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..ops.conv import conv
from ..typing import Algorithm
from .arguments import Mode, Number
from .borders import extended

# So many spatial axes are as many as every algorithm takes.
_MOST = 3


def slide(
    x: jax.Array,
    kernel: Any,
    axes: Sequence[int],
    *,
    dilation: int = 1,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Correlates where the kernel fits; its i-th axis is along `axes[i]`, all others are a batch."""
    order = sorted(range(len(axes)), key=lambda i: axes[i])
    kernel, axes = jnp.asarray(kernel, x.dtype).transpose(order), [axes[i] for i in order]
    runs = _runs(x.ndim, axes)
    if len(runs) > _MOST and len(axes) < len(runs):
        front = list(range(x.ndim - len(axes), x.ndim))
        y = slide(jnp.moveaxis(x, axes, front), kernel, front, dilation=dilation, algorithm=algorithm)
        return jnp.moveaxis(y, front, axes)
    batch = math.prod(x.shape[: axes[0]])
    spatial = [math.prod(x.shape[a] for a in run) for run in runs]
    window = [kernel.shape[axes.index(run[0])] if run[0] in axes else 1 for run in runs]
    # What reads an array shift by shift should not compute it anew each time: borders and earlier passes, and
    # in the derivative what follows.
    x = lax.optimization_barrier(x)
    y = conv(
        x.reshape(batch, *spatial, 1),
        kernel.reshape(*window, 1, 1),
        dilation=dilation,
        algorithm=algorithm,
    )
    shape = list(x.shape)
    for axis, size in zip(axes, kernel.shape, strict=True):
        shape[axis] -= dilation * (size - 1)
    return lax.optimization_barrier(y.reshape(shape))


def _runs(ndim: int, axes: Sequence[int]) -> list[list[int]]:
    """From the first filtered axis on: each on its own, and its unfiltered neighbours as one."""
    runs: list[list[int]] = []
    for a in range(axes[0], ndim):
        if a in axes or runs[-1][-1] in axes:
            runs.append([a])
        else:
            runs[-1].append(a)
    return runs


def along(
    x: jax.Array,
    taps: Any,
    axis: int,
    mode: Mode,
    cval: Number = 0.0,
    *,
    before: int | None = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Correlates along one axis, `before` taps (by default half of them) in front of the own position."""
    size = len(taps)
    before = size // 2 if before is None else before
    x = extended(x, [axis], [(before, size - 1 - before)], [mode], cval)
    return slide(x, taps, [axis], algorithm=algorithm)
