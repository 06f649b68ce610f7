"""Which channels go: ratios for each layer or for all together, rounded to sizes that hardware likes."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Mapping, Sequence

import numpy as np

from .channels import Channels

Ratio = float | Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Choice:
    """How to choose.

    Attributes:
      ratio: share of the channels that goes; or by pattern of layers' names, for those alone.
      global_pruning: whether the ratio is one of all channels together, the least important ones of the
        network.
      most: no layer loses a larger share than this.
      round_to: the number of channels that is kept is a multiple of this where the layer has as many.
    """

    ratio: Ratio
    global_pruning: bool
    most: float
    round_to: int

    def __post_init__(self) -> None:
        """Refuses shares that are none."""
        shares = self.ratio.values() if isinstance(self.ratio, Mapping) else [self.ratio]
        for share in (*shares, self.most):
            if not 0 <= share <= 1:
                raise ValueError(
                    f"a ratio of {share} is no share; it must be from 0 to 1, the share that goes."
                )
        if self.round_to < 1 or int(self.round_to) != self.round_to:
            raise ValueError(f"round_to={self.round_to} must be a whole number of channels, as 8 or 128.")
        if self.global_pruning and isinstance(self.ratio, Mapping):
            raise ValueError(
                "ratio by layer and global_pruning=True exclude each other; give one ratio for all."
            )


def matching(pattern: str, names: Sequence[str]) -> bool:
    """Whether any of a layer's names is meant: the layer itself, or one that it is in."""
    return any(fnmatch.fnmatchcase(n, pattern) or fnmatch.fnmatchcase(n, f"{pattern}/*") for n in names)


def remove(channels: Sequence[Channels], scores: Sequence[np.ndarray], choice: Choice) -> frozenset[int]:
    """The roots of the channels that go."""
    counts = _global(channels, scores, choice) if choice.global_pruning else _by_layer(channels, choice)
    removed: set[int] = set()
    for c, s, gone in zip(channels, scores, counts, strict=True):
        kept = _rounded(c, c.count - min(gone, _share(choice.most, c.count)), choice.round_to)
        removed |= set(c.roots[_least(c, s, c.count - kept)].tolist())
    return frozenset(removed)


def _share(ratio: float, count: int) -> int:
    return math.floor(ratio * count + 1e-9)


def _by_layer(channels: Sequence[Channels], choice: Choice) -> list[int]:
    if not isinstance(choice.ratio, Mapping):
        return [_share(choice.ratio, c.count) for c in channels]
    found = []
    for c in channels:
        ratios = [share for pattern, share in choice.ratio.items() if matching(pattern, c.layers)]
        found.append(_share(ratios[0], c.count) if ratios else 0)
    return found


def _global(channels: Sequence[Channels], scores: Sequence[np.ndarray], choice: Choice) -> list[int]:
    """Goes through all channels from the least important one, until the share is reached."""
    assert not isinstance(choice.ratio, Mapping)
    every = sorted((s, i) for i, own in enumerate(scores) for s in own.tolist())
    wanted = choice.ratio * sum(c.count * c.width for c in channels)
    gone, total = [0] * len(channels), 0
    for _, i in every:
        c = channels[i]
        if total + c.width > wanted + 1e-9:
            break
        if gone[i] < min(_share(choice.most, c.count), c.count - 1):
            gone[i] += 1
            total += c.width
    return gone


def _rounded(c: Channels, kept: int, to: int) -> int:
    """At least one is kept, and in each block equally many where blocks are of one size."""
    step = to // math.gcd(to, c.width)
    if c.blocks is not None and _even(c.blocks):
        step = math.lcm(step, len(np.unique(c.blocks)))
    return min(c.count, math.ceil(max(kept, 1) / step) * step)


def _even(blocks: np.ndarray) -> bool:
    return len(set(np.unique(blocks, return_counts=True)[1].tolist())) == 1


def _least(c: Channels, s: np.ndarray, gone: int) -> np.ndarray:
    order = np.argsort(s, kind="stable")
    if c.blocks is None or not _even(c.blocks):
        return order[:gone]
    names = np.unique(c.blocks)
    share = gone // len(names)
    return np.concatenate([order[c.blocks[order] == b][:share] for b in names])


def schedule(ratio: float, steps: int) -> list[float]:
    """Ratios for pruning in steps with training in between, each counted from the original.

    Args:
      ratio: the last one.
      steps: how many.

    Returns:
      The ratios, equally far apart.

    Raises:
      ValueError: for less than one step.

    Example:
      >>> schedule(0.6, 3)
      [0.2, 0.4, 0.6]
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    return [ratio * i / steps for i in range(1, steps + 1)]
