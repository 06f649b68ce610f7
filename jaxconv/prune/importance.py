"""How much channels matter: scores, the least of which go first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from .channels import Channels

Name = Literal["l1", "l2", "bn_scale", "taylor", "random"]
Importance = Callable[[Channels], np.ndarray]
_SCALES = {"scale", "gamma", "weight"}


def l1(channels: Channels) -> np.ndarray:
    """The sum of the magnitudes of all kernels' elements that go with a channel."""
    return np.sum([np.abs(w).sum(1) for w in _kernels(channels)], axis=0)


def l2(channels: Channels) -> np.ndarray:
    """The Euclidean norm of the same."""
    return np.sqrt(np.sum([np.square(w).sum(1) for w in _kernels(channels)], axis=0))


def bn_scale(channels: Channels) -> np.ndarray:
    """The magnitude of the scales of norms.

    Raises:
      ValueError: if no norm scales these channels.

    References:
      Liu et al., "Learning efficient convolutional networks through network slimming", ICCV 2017,
      doi:10.1109/ICCV.2017.298.
    """
    scales = [np.abs(w).sum(1) for (name, _), w in channels.weights.items() if _is_scale(name, channels)]
    if not scales:
        raise ValueError(
            f"the channels of {channels.name} are scaled by no norm; take importance='l2', or leave them "
            f"with ignore=[{channels.name!r}]."
        )
    return np.sum(scales, axis=0)


def taylor(channels: Channels) -> np.ndarray:
    """The first-order change of the loss by each parameter that goes, in magnitude, added up.

    Raises:
      ValueError: without gradients.

    References:
      Molchanov et al., "Importance estimation for neural network pruning", CVPR 2019,
      doi:10.1109/CVPR.2019.01152.
    """
    if not channels.gradients:
        raise ValueError("importance='taylor' needs gradients=, a pytree like the parameters.")
    changes = [(w * channels.gradients[key]).sum(1) for key, w in channels.weights.items()]
    return np.sum(np.abs(changes), axis=0)


def random(seed: int) -> Importance:
    """Numbers that mean nothing: what any other importance has to beat."""
    rng = np.random.default_rng(seed)
    return lambda channels: rng.uniform(0.5, 1.5, channels.count)


def scores(importance: Name | Importance, channels: list[Channels], seed: int) -> list[np.ndarray]:
    """One array for each, checked.

    Raises:
      ValueError: for an unknown importance, or one that returns what are no scores.
    """
    known: dict[str, Importance] = {
        "l1": l1, "l2": l2, "bn_scale": bn_scale, "taylor": taylor, "random": random(seed)
    }  # fmt: skip
    if not callable(importance) and importance not in known:
        raise ValueError(
            f"importance={importance!r} is not known; use a function or one of {', '.join(known)}."
        )
    rate = importance if callable(importance) else known[importance]
    found = [np.asarray(rate(c), float) for c in channels]
    for c, s in zip(channels, found, strict=True):
        if s.shape != (c.count,) or not np.isfinite(s).all():
            raise ValueError(
                f"importance gave {c.name} scores of shape {s.shape}, finite: {bool(np.isfinite(s).all())}; "
                f"{c.count} finite ones were wanted, of shape {(c.count,)}."
            )
    if importance in ("l1", "l2"):  # weights of different layers are of different scale
        found = [s / (s.mean() or 1.0) for s in found]
    return found


def _kernels(channels: Channels) -> list[np.ndarray]:
    """What has more than one element for each channel; all there is, if there is no such."""
    found = [w for w in channels.weights.values() if w.shape[1] > channels.width]
    return found or list(channels.weights.values()) or [np.zeros((channels.count, 1))]


def _is_scale(name: str, channels: Channels) -> bool:
    parts = [part for part in name.split("/") if part not in ("value", "raw_value")]
    layer = name[: name.rindex(parts[-1])]
    alone = all(w.shape[1] <= channels.width for (n, _), w in channels.weights.items() if n.startswith(layer))
    return parts[-1] in _SCALES and alone
