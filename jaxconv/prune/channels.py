"""Coupled channels: what can be removed, and the weights that go with it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import Value
from .coupling import Coupling
from .labels import Ints

Place = tuple[str, int]  # a parameter's name and one of its dimensions


@dataclasses.dataclass(frozen=True, eq=False)
class Channels:
    """Channels that are alike: each goes with the same places of the same parameters.

    Attributes:
      name: of the first layer that makes them.
      layers: all layers that make them; those of a residual sum are several.
      width: how many positions of that layer's result go with one.
      weights: by the parameter's name and dimension, `(count, elements)`: what goes with each.
      gradients: likewise, of the loss; empty if none were given.
      roots: their labels.
      blocks: the group that each is in, where kernels are regrouped; else None.
    """

    name: str
    layers: tuple[str, ...]
    width: int
    weights: Mapping[Place, np.ndarray]
    gradients: Mapping[Place, np.ndarray]
    roots: Ints
    blocks: Ints | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.roots)

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.count} of width {self.width}, in {', '.join(n for n, _ in self.weights)}"


def find_channels(
    coupling: Coupling,
    weights: Sequence[tuple[str, Value]],
    arrays: Mapping[str, np.ndarray],
    gradients: Mapping[str, np.ndarray],
) -> list[Channels]:
    """All that can be removed, in the order in which the function makes it.

    Args:
      coupling: of the function.
      weights: names and values of the parameters.
      arrays: their data by name; those that are missing have no weights in the result.
      gradients: of the loss, likewise.
    """
    members, makers = _members(coupling, weights), _makers(coupling)
    alike: dict[tuple[Any, ...], list[int]] = collections.defaultdict(list)
    for root, places in members.items():
        alike[(*makers.get(root, ()), *((key, len(at)) for key, at in places.items()))].append(root)
    order = {root: i for i, root in enumerate(makers)}
    taken: collections.Counter[str] = collections.Counter()
    found: list[Channels] = []
    for roots in sorted(alike.values(), key=lambda roots: order.get(roots[0], len(order))):
        places = {key: [members[root][key] for root in roots] for key in members[roots[0]]}
        (first, _), at = next(iter(places.items()))
        layers = makers.get(roots[0], [(first.rpartition("/")[0], len(at[0]))])
        name, width = layers[0]
        taken[name] += 1
        found.append(
            Channels(
                name if taken[name] == 1 else f"{name}#{taken[name]}",
                tuple(dict.fromkeys(layer for layer, _ in layers)),
                width,
                _slices(arrays, places),
                _slices(gradients, places),
                np.array(roots),
                _blocks(coupling, np.array(roots)),
            )
        )
    return found


def _members(coupling: Coupling, weights: Sequence[tuple[str, Value]]) -> dict[int, dict[Place, list[int]]]:
    """By root, the positions along each dimension of each parameter that go with it."""
    found: dict[int, dict[Place, list[int]]] = collections.defaultdict(dict)
    for name, value in weights:
        for d, own in enumerate(coupling.of(value)):
            locked = coupling.labels.locked(own)
            for i, root in enumerate(coupling.labels.roots(own).tolist()):
                if not locked[i]:
                    found[root].setdefault((name, d), []).append(i)
    return found


def _makers(coupling: Coupling) -> dict[int, list[tuple[str, int]]]:
    """By root, the layers that make it and how many positions of it."""
    found: dict[int, list[tuple[str, int]]] = {}
    for node, made in coupling.made:
        roots, counts = np.unique(coupling.labels.roots(made), return_counts=True)
        for root, count in zip(roots.tolist(), counts.tolist(), strict=True):
            if count < len(made) or len(made) == 1:
                found.setdefault(root, []).append((node.layer or node.source, count))
    return found


def _slices(
    arrays: Mapping[str, np.ndarray], places: Mapping[Place, list[list[int]]]
) -> dict[Place, np.ndarray]:
    """What goes with each channel of each parameter that there is an array of."""
    found = {}
    for (name, dim), at in places.items():
        if name in arrays:
            found[name, dim] = np.moveaxis(arrays[name], dim, 0)[np.array(at)].reshape(len(at), -1)
    return found


def _blocks(coupling: Coupling, roots: Ints) -> Ints | None:
    """The finest groups that regrouped kernels have for these channels."""
    for r in sorted(coupling.regrouped.values(), key=lambda r: -r.groups):
        for side in (r.full, r.part):
            at = {root: i for i, root in enumerate(coupling.labels.roots(side).tolist())}
            if all(root in at for root in roots.tolist()):
                return np.array([at[root] // (len(side) // r.groups) for root in roots.tolist()])
    return None


def unprunable(coupling: Coupling) -> Iterator[tuple[str, str]]:
    """Layers whose channels all stay, and why."""
    for node, made in coupling.made:
        if coupling.labels.locked(made).all() and len(made) > 1 and (why := coupling.labels.why(made)):
            yield node.layer or node.source, why
