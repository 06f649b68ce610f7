"""Labels of positions: those that are united stay or go together, those that are locked stay."""

from __future__ import annotations

import numpy as np

Ints = np.ndarray
DATA = "it is no channel, but a position in the data"


class Labels:
    """A union-find over integers; label 0 is locked and stands for all positions of the data.

    Example:
      >>> labels = Labels()
      >>> a, b = labels.fresh(3), labels.fresh(3)
      >>> labels.unite(a, b[::-1])
      >>> labels.lock(a[:1], "it is an output")
      >>> labels.roots(b).tolist(), labels.locked(b).tolist(), labels.why(b)
      ([3, 2, 1], [False, False, True], 'it is an output')
    """

    def __init__(self) -> None:
        self._parent = [0]
        self._reasons = {0: DATA}

    def fresh(self, count: int) -> Ints:
        """Labels that nothing is known of; a dimension of one position has nothing to be removed."""
        if count == 1:
            return np.zeros(1, int)
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def unite(self, a: Ints, b: Ints) -> None:
        """Makes each of `a` stay or go with the one at its place in `b`."""
        if a is b:
            return
        for i, j in np.unique(np.stack([a.ravel(), b.ravel()], 1), axis=0).tolist():
            i, j = sorted((self._root(i), self._root(j)))
            if i != j:
                self._parent[j] = i
                reason = self._reasons.pop(j, None)
                if reason is not None:
                    self._reasons.setdefault(i, reason)

    def lock(self, labels: Ints, reason: str) -> None:
        """Makes them stay; the first reason counts."""
        for root in np.unique(self.roots(labels)).tolist():
            self._reasons.setdefault(root, reason)

    def roots(self, labels: Ints) -> Ints:
        """The same number for all that stay or go together."""
        return np.array([self._root(i) for i in labels.ravel().tolist()], int).reshape(labels.shape)

    def locked(self, labels: Ints) -> Ints:
        """Which have to stay."""
        return np.array([self._root(i) in self._reasons for i in labels.tolist()], bool)

    def why(self, labels: Ints) -> str:
        """The reason for which some of them have to stay; empty if there is none."""
        found = [reason for i in labels.tolist() if (reason := self._reasons.get(self._root(i)))]
        return next((reason for reason in found if reason != DATA), found[0] if found else "")

    def _root(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i
