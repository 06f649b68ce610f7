"""Reshapes: a dimension that is split into factors, or made of them, is cut along one of the factors."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from ..graph.reshaped import groups
from .labels import Ints, Labels

_KEPT = "a reshape keeps its size"


@dataclasses.dataclass(frozen=True, eq=False)
class Relation:
    """A dimension and its factors, the outermost first."""

    whole: Ints
    factors: tuple[Ints, ...]


def relations(
    source: Sequence[Ints], shape: Sequence[int], labels: Labels
) -> tuple[tuple[Ints, ...], list[Relation]]:
    """The labels of a reshaped array, and how they hang together with those of its source.

    Args:
      source: the labels of each dimension.
      shape: of the result.
      labels: where new ones come from.

    Returns:
      Labels for each dimension of the result, and the relations to be settled.
    """
    dims = [np.zeros(n, int) for n in shape]
    found: list[Relation] = []
    if 0 in shape:
        return tuple(dims), found
    for before, after in blocks([len(d) for d in source], shape):
        if len(before) == len(after) == 1:
            dims[after[0]] = source[before[0]]
            continue
        for d in after:
            dims[d] = labels.fresh(shape[d])
        whole = source[before[0]] if len(before) == 1 else dims[after[0]] if len(after) == 1 else None
        if whole is None:
            whole = labels.fresh(int(np.prod([shape[d] for d in after])))
        if len(before) > 1:
            found.append(Relation(whole, tuple(source[d] for d in before)))
        if len(after) > 1:
            found.append(Relation(whole, tuple(dims[d] for d in after)))
    return tuple(dims), found


def blocks(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The dimensions of both sides that make up the same elements; those of size 1 belong to none.

    Example:
      >>> blocks((2, 12, 1, 5), (2, 3, 4, 5))
      [([0], [0]), ([1], [1, 2]), ([3], [3])]
    """
    left, right = ([d for d, n in enumerate(shape) if n != 1] for shape in (before, after))
    found = groups([before[d] for d in left], [after[d] for d in right])
    return [([left[i] for i in ours], [right[j] for j in theirs]) for ours, theirs in found]


def settle(relations: Sequence[Relation], labels: Labels, known: Collection[int]) -> None:
    """Decides along which factor each dimension is cut, those first that leave no choice.

    Of several factors that could be cut it is one that parameters reach, then the one of the finest steps,
    then the outermost.

    Args:
      relations: in the graph's order.
      labels: what is united and locked so far.
      known: the labels of parameters.
    """
    left = list(relations)
    while left:
        choices = [_free(relation, labels) for relation in left]
        at = next((i for i, free in enumerate(choices) if len(free) < 2), 0)
        relation, free = left.pop(at), choices[at]
        _cut_along(relation, _best(relation, free, labels, known), labels)


def _best(relation: Relation, free: Sequence[int], labels: Labels, known: Collection[int]) -> int | None:
    if len(free) < 2:
        return free[0] if free else None
    reached = set(labels.roots(np.array(sorted(known), int)).tolist())

    def rank(f: int) -> tuple[bool, int]:
        factor = relation.factors[f]
        return not reached.isdisjoint(labels.roots(factor).tolist()), len(factor)

    return max(free, key=rank)


def _free(relation: Relation, labels: Labels) -> list[int]:
    """The factors that could be cut."""
    if labels.locked(relation.whole).all():
        return []
    return [i for i, factor in enumerate(relation.factors) if not labels.locked(factor).all()]


def _cut_along(relation: Relation, chosen: int | None, labels: Labels) -> None:
    for i, factor in enumerate(relation.factors):
        if i != chosen:
            labels.lock(factor, _KEPT)
    if chosen is None:
        labels.lock(relation.whole, _KEPT)
        return
    sizes = [len(factor) for factor in relation.factors]
    index = np.indices(sizes)[chosen].ravel()
    labels.unite(relation.whole, relation.factors[chosen][index])
