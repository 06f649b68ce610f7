"""Random layers of the kinds that networks have, so that nothing is tuned to the named ones alone."""

from __future__ import annotations

import random

from jaxconv.geometry import multiply_adds

from .workload import Workload

MOST_MULTIPLY_ADDS = 300_000_000
# Below this, calling the program takes longer than what it computes.
LEAST_MULTIPLY_ADDS = 100_000
# XLA's CPU backend computes a grouped weight gradient as a dense one, and a transposed layer's over the zeros
# between its inputs: what bounds the time of the slowest program is the layer's work times this.
MOST_EXPANDED = 10 * MOST_MULTIPLY_ADDS

_KERNELS = {1: (1, 3, 3, 5, 7, 15, 31), 2: (1, 1, 2, 3, 3, 3, 4, 5, 7), 3: (1, 2, 3, 3)}
_SIZES = {1: (16, 4096), 2: (1, 128), 3: (2, 32)}


def random_workloads(count: int, seed: int) -> tuple[Workload, ...]:
    """The first `count` layers of the stream named by `seed`; a longer stream starts with the shorter one.

    Args:
      count: how many.
      seed: of the stream; part of the names.

    Returns:
      Layers of one to three dimensions, none of more than `MOST_MULTIPLY_ADDS`.

    Example:
      >>> [w.name for w in random_workloads(2, seed=7)]
      ['random-7-0', 'random-7-1']
    """
    rng = random.Random(seed)
    found: list[Workload] = []
    while len(found) < count:
        workload = _draw(rng, f"random-{seed}-{len(found)}", f"seed {seed}")
        if workload is not None:
            found.append(workload)
    return tuple(found)


def _draw(rng: random.Random, name: str, source: str) -> Workload | None:
    """One layer, or None where it would be empty, too small to time, or too large."""
    rank = rng.choice((1, 1, 2, 2, 2, 3))
    kernel = _per_axis(rng, _KERNELS[rank], rank)
    stride = _per_axis(rng, (1, 1, 1, 2, 2, 4, 8) if rank == 1 else (1, 1, 1, 2, 2, 3), rank)
    transposed = rng.random() < 0.3
    # Dilation is rare together with stride, and has no meaning for a single tap.
    dilated = max(kernel) > 1 and max(stride) == 1 and rng.random() < 0.25
    groups, in_features, out_features = _channels(rng)
    workload = Workload(
        name,
        source,
        batch=_log_uniform(rng, 1, 32),
        spatial=_spatial(rng, rank),
        in_features=in_features,
        out_features=out_features,
        kernel=kernel,
        stride=stride,
        dilation=rng.choice((2, 2, 4, 8)) if dilated else 1,
        groups=groups,
        padding=rng.choice(("SAME", "SAME", "SAME", "VALID", "CAUSAL" if rank == 1 else 1)),
        transposed=transposed,
    )
    return workload if _fits(workload) else None


def _fits(workload: Workload) -> bool:
    try:
        spec = workload.spec
    except ValueError:  # a transposed layer that crops more than it has
        return False
    work = multiply_adds(spec)
    if not LEAST_MULTIPLY_ADDS <= work <= MOST_MULTIPLY_ADDS:
        return False
    expanded = work * workload.groups
    if workload.transposed:
        for axis in spec.axes:
            expanded *= axis.stride
    return expanded <= MOST_EXPANDED


def _channels(rng: random.Random) -> tuple[int, int, int]:
    """Groups, channels in, channels out."""
    kind = rng.choice(("dense", "dense", "dense", "depthwise", "grouped"))
    if kind == "depthwise":
        channels = _log_uniform(rng, 2, 512)
        return channels, channels, channels * rng.choice((1, 1, 1, 2))
    groups = rng.choice((2, 4, 8, 32)) if kind == "grouped" else 1
    return groups, groups * _log_uniform(rng, 1, 512 // groups), groups * _log_uniform(rng, 1, 512 // groups)


def _spatial(rng: random.Random, rank: int) -> tuple[int, ...]:
    """A square mostly, sometimes not quite, sometimes a size for each axis."""
    side = _log_uniform(rng, *_SIZES[rank])
    kind = rng.random()
    if kind < 0.6:
        return (side,) * rank
    if kind < 0.8:
        return tuple(max(1, side + rng.randint(-3, 3)) for _ in range(rank))
    return tuple(_log_uniform(rng, *_SIZES[rank]) for _ in range(rank))


def _per_axis(rng: random.Random, choices: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Mostly one value for all axes, sometimes one for each."""
    if rng.random() < 0.8:
        return (rng.choice(choices),) * rank
    return tuple(rng.choice(choices) for _ in range(rank))


def _log_uniform(rng: random.Random, low: int, high: int) -> int:
    return min(high, int(low * (high / low + 1e-9) ** rng.random() + 0.5))
