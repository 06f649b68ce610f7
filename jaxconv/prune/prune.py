"""Prune a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import jax
import numpy as np

from ..graph import Value
from .channels import Channels, find_channels, unprunable
from .coupling import Coupling, Strategy
from .cut import Cut
from .importance import Importance, Name, scores
from .pruned import Pruned, make
from .select import Choice, Ratio, matching, remove
from .subject import Subject, is_weight


def prune(
    fn: Callable[..., Any],
    *args: Any,
    ratio: Ratio = 0.5,
    importance: Name | Importance = "l2",
    gradients: Any = None,
    global_pruning: bool = False,
    strategy: Strategy = "same",
    round_to: int = 1,
    most: float = 0.9,
    ignore: Sequence[str] = (),
    seed: int = 0,
    **kwargs: Any,
) -> Pruned:
    """Todo."""
    subject, leaves, rest = Subject.of(fn, args)
    choice = Choice(ratio, global_pruning, most, round_to, tuple(ignore))
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy={strategy!r} is not known; use one of {', '.join(get_args(Strategy))}.")
    graph, values = subject.graph(rest, kwargs)
    weights = {subject.names[i]: v for i, v in values.items() if is_weight(subject.leaves[i])}
    coupling = Coupling(graph, list(weights.values()), strategy)
    _ignore(coupling, weights, choice.ignore)
    arrays = dict(zip(subject.names, leaves, strict=True))
    slopes = _gradients(subject, gradients)
    channels = find_channels(coupling, list(weights.items()), *({n: _data(d[n]) for n in weights if n in d} for d in (arrays, slopes)))
    why = dict(unprunable(coupling))
    removed = remove(channels, scores(importance, channels, seed), choice)
    cut = Cut(coupling, removed)
    return make(subject, leaves, cut, values, strategy, why)


def _data(x):
    return np.asarray(x, dtype=np.float64)

def _gradients(subject, gradients):
    if gradients is None:
        return {}
    return dict(zip(subject.names, jax.tree_util.tree_leaves(gradients), strict=True))

def _ignore(coupling: Coupling, weights: Mapping[str, Value], patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for node, made in coupling.made:
            if matching(pattern, [node.layer]):
                coupling.labels.lock(made, "it is ignored")
        for name, value in weights.items():
            if len(value.shape) == 1 and matching(pattern, [value.name.rpartition("/")[0]]):
                coupling.lock(coupling.of(value), "it is ignored")
