"""Prune a function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import jax
import numpy as np

from ..graph import Value
from .channels import Channels, find_channels, unprunable
from .coupling import Coupling, Strategy
from .cut import Cut
from .importance import Importance, Name, scores
from .latency import predicted, ratio_for
from .pruned import Pruned, make
from .select import Choice, Ratio, matching, remove
from .subject import Subject, is_weight


def prune(
    fn: Callable[..., Any] | Pruned,
    *args: Any,
    ratio: Ratio = 0.5,
    importance: Name | Importance = "l2",
    gradients: Any = None,
    global_pruning: bool = False,
    strategy: Strategy = "same",
    round_to: int = 1,
    most: float = 0.9,
    ignore: Sequence[str] = (),
    time: float | None = None,
    training: bool = False,
    platform: str | None = None,
    seed: int = 0,
    **kwargs: Any,
) -> Pruned:
    """Removes the least important channels of a network, with all that is tied to them.

    What is tied is read off the jaxpr: a channel goes with its place in every kernel, bias, norm, residual
    sum and concatenation that it meets. Nothing goes of the arguments and results of the function, of what an
    operation that is not understood touches, and of what goes into loops and conditionals.

    Args:
      fn: a callable pytree (a model of NNX or Equinox), a function of a pytree of parameters and data (as
        `model.apply` of Linen), or what was pruned before: then `ratio` counts from the original.
      *args: its arguments; the parameters are `fn` itself or the first argument that is a pytree.
      ratio: share of the channels of each layer that goes; or shares by name of layers, with `*` for
        anything, for those alone.
      importance: which channels matter: "l1" or "l2", the magnitude of all kernels' elements that go with
        one; "bn_scale", of the norms' scales; "taylor", first order in the loss, with `gradients`; "random";
        or a function of a `Channels` that returns a score for each.
      gradients: of the loss, a pytree like the parameters.
      global_pruning: whether the ratio is one of all channels of the network, so that layers lose different
        shares. Magnitudes are divided by each layer's mean first.
      strategy: what a grouped convolution loses: "same", the same places in every group; "groups", whole
        groups; "regroup", any channels, equally many in each group where groups are of equal size, else its
        kernel is built anew with zeros between old groups. A depthwise one always loses whole groups.
      round_to: the number of channels that is kept is rounded up to a multiple, as 8 or 128.
      most: no layer loses a larger share.
      ignore: names of layers whose channels stay, with `*` for anything.
      time: instead of a ratio, the share that may be left of the time of all convolutions by the planner's
        measurements and predictions.
      training: whether that time is one of forward pass and both gradients.
      platform: that it is for; by default that of JAX's default device.
      seed: of "random".
      **kwargs: the function's keyword arguments.

    Returns:
      A `Pruned`: its `params`, `apply`, `config`, `report`.

    Raises:
      ValueError: for options out of range, a function without parameters, if nothing can be pruned, or if a
        layer that was named can't be; the message says which, and why.

    References:
      Fang et al., "DepGraph: Towards any structural pruning", CVPR 2023, doi:10.1109/CVPR52729.2023.01544.

    Example:
      >>> import jax.numpy as jnp, jaxconv
      >>> from jaxconv.prune import prune
      >>> def f(params, x):
      ...     y = jax.nn.relu(jaxconv.conv(x, params["a"]["kernel"], params["a"]["bias"]))
      ...     return jaxconv.conv(y, params["b"]["kernel"])
      >>> key = jax.random.key(0)
      >>> params = {
      ...     "a": {"kernel": jax.random.normal(key, (3, 3, 1, 8)), "bias": jnp.ones(8)},
      ...     "b": {"kernel": jnp.ones((1, 1, 8, 2))},
      ... }
      >>> x = jnp.ones((1, 5, 6, 1))
      >>> small = prune(f, params, x, ratio=0.25)
      >>> small.params["a"]["kernel"].shape, small.params["b"]["kernel"].shape, small(x).shape
      ((3, 3, 1, 6), (1, 1, 6, 2), (1, 3, 4, 2))
      >>> print(small.report(x))
      75.0 % of the parameters and 75.0 % of the multiply-adds are left
      ------------------------------------------------------------
      layer  channels  left  parameters  left  multiply-adds  left
      ------------------------------------------------------------
      a      8         6             80    60            864   648
      b      2         2             16    12            192   144
      ------------------------------------------------------------
      all                            96    72          1.06k   792
      >>> float(jnp.abs(small(x) - f(small.expand(), x)).max()) < 1e-6
      True
    """
    choice = Choice(ratio, global_pruning, most, round_to)
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy={strategy!r} is not known; use one of {', '.join(get_args(Strategy))}.")
    before = fn if isinstance(fn, Pruned) else None
    if before is None:
        subject, leaves, rest = Subject.of(fn, args)
    else:
        subject, leaves, rest = before.subject, jax.tree_util.tree_leaves(before.expand()), args
        gradients = None if gradients is None else before.expand(gradients)
    graph, values = subject.graph(rest, kwargs)
    weights = {subject.names[i]: v for i, v in values.items() if is_weight(subject.leaves[i])}
    coupling = Coupling(graph, list(weights.values()), before.strategy if before else strategy)
    _ignore(coupling, weights, ignore)
    arrays = _arrays(subject, leaves, weights)
    channels = find_channels(coupling, list(weights.items()), arrays, _gradients(subject, gradients, weights))
    kept_whole = dict(unprunable(coupling))
    _check(channels, kept_whole, choice.ratio)
    gone = _gone(coupling, before, weights)
    rated = scores(importance, channels, seed)
    for c, own in zip(channels, rated, strict=True):
        own[np.isin(c.roots, list(gone))] = -np.inf

    def cut(share: Ratio) -> Cut:
        chosen = dataclasses.replace(choice, ratio=share)
        return Cut(coupling, remove(channels, rated, chosen) | gone)

    if time is not None:
        choice = dataclasses.replace(
            choice, ratio=ratio_for(time, most, lambda r: predicted(cut(r), platform, training=training))
        )
    return make(subject, leaves, cut(choice.ratio), values, kept_whole)


def _arrays(subject: Subject, leaves: Sequence[Any], weights: Mapping[str, Value]) -> dict[str, np.ndarray]:
    found = dict(zip(subject.names, leaves, strict=True))
    if any(isinstance(found[name], jax.ShapeDtypeStruct) for name in weights):
        raise ValueError("the parameters are shapes without values; pruning needs the arrays.")
    return {name: np.asarray(found[name]).astype(_wide(found[name])) for name in weights}


def _wide(array: Any) -> Any:
    return np.complex128 if np.iscomplexobj(array) else np.float64


def _gradients(subject: Subject, gradients: Any, weights: Mapping[str, Value]) -> dict[str, np.ndarray]:
    if gradients is None:
        return {}
    leaves = jax.tree_util.tree_leaves(gradients)
    if len(leaves) != len(subject.names):
        raise ValueError(
            f"gradients has {len(leaves)} leaves, the parameters have {len(subject.names)}; make it with "
            "jax.grad(loss)(params)."
        )
    found = dict(zip(subject.names, leaves, strict=True))
    for name, value in weights.items():
        if np.shape(found[name]) != value.shape:
            raise ValueError(f"the gradient of {name} has shape {np.shape(found[name])}, not {value.shape}.")
    return {name: np.asarray(found[name]).astype(_wide(found[name])) for name in weights}


def _ignore(coupling: Coupling, weights: Mapping[str, Value], patterns: Sequence[str]) -> None:
    """What such layers make stays; what they get may shrink."""
    for pattern in patterns:
        made = [labels for node, labels in coupling.made if matching(pattern, [node.layer])]
        own = [
            v
            for v in weights.values()
            if len(v.shape) == 1 and matching(pattern, [v.name.rpartition("/")[0]])
        ]
        if not made and not own:
            layers = dict.fromkeys(node.layer for node, _ in coupling.made if node.layer)
            raise ValueError(f"ignore={pattern!r} names no layer; there are {', '.join(layers)}.")
        coupling.lock(made, "it is ignored")
        for value in own:
            coupling.lock(coupling.of(value), "it is ignored")


def _check(channels: Sequence[Channels], kept_whole: Mapping[str, str], ratio: Ratio) -> None:
    """Refuses to do nothing, or less than was asked for by name."""
    reasons = "; ".join(f"{layer}: {why}" for layer, why in kept_whole.items())
    if not channels:
        raise ValueError(
            f"nothing can be pruned. {reasons or 'The function has no channels between layers'}."
        )
    for pattern in ratio if isinstance(ratio, Mapping) else ():
        if any(matching(pattern, c.layers) for c in channels):
            continue
        found = [
            f"{layer} cannot be pruned: {why}"
            for layer, why in kept_whole.items()
            if matching(pattern, [layer])
        ]
        there = ", ".join(dict.fromkeys(layer for c in channels for layer in c.layers))
        raise ValueError(
            f"ratio names {pattern!r}: {'; '.join(found) or 'no such layer makes channels'}. Those that can "
            f"be pruned are {there}."
        )


def _gone(coupling: Coupling, before: Pruned | None, weights: Mapping[str, Value]) -> frozenset[int]:
    """The roots of what an earlier pruning removed."""
    found: set[int] = set()
    for name, value in weights.items() if before else ():
        assert before is not None
        for own, mask in zip(coupling.of(value), before.masks.get(name, ()), strict=False):
            found |= set(coupling.labels.roots(own[~mask]).tolist())
    return frozenset(found)
