"""Convolutions: how the channels of data, kernel and result hang together, groups included.

A kernel has all channels of one side (`full`: the result's, but the data's if the convolution is transposed)
and of the other (`part`) only the place in the group. In letters, with g groups:

    full: (g f)    part: (g p)    kernel: k p (g f)

    same     removes place f or p in every group     g stays
    groups   removes a whole group                   f and p stay
    regroup  removes any channels                    a new kernel is built, see `cover`
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..graph import Node
from .coupling import Coupling, Regrouped, place
from .labels import Ints


class Form(NamedTuple):
    """Dimensions of a convolution's operands and result.

    Attributes:
      groups: how many.
      transposed: whether the kernel has all channels of the data, not of the result.
      data: batch and channels of the first operand.
      kernel: channels of the data's side and of the result's side.
      result: batch and channels.
    """

    groups: int
    transposed: bool
    data: tuple[int, int]
    kernel: tuple[int, int]
    result: tuple[int, int]


def form(node: Node) -> Form | None:
    """That of a node; None for one whose kernel is no kernel, as that of a gradient."""
    p = node.params
    if node.name in ("conv_forward", "conv_input_grad"):
        rank, transposed = p["spec"].rank, node.name == "conv_input_grad"
        kernel = (rank + 1, rank) if transposed else (rank, rank + 1)
        return Form(p["spec"].groups, transposed, (0, rank + 1), kernel, (0, rank + 1))
    if node.name != "conv_general_dilated" or p["batch_group_count"] > 1:
        return None
    lhs, (out, into, *_), result = p["dimension_numbers"]
    return Form(p["feature_group_count"], False, lhs[:2], (into, out), result[:2])


def conv(c: Coupling, node: Node) -> None:
    """The rule for convolutions."""
    from .rules import shut

    found = form(node)
    if found is None:
        shut(c, node)
        return
    data, kernel = map(c.of, node.operands)
    result = list(c.none(node.results[0].shape))
    space = [d for i, d in enumerate(kernel) if i not in found.kernel]
    space += [d for i, d in enumerate(data) if i not in found.data]
    c.lock(space, f"{place(node)} moves over it")
    channels = c.labels.fresh(len(result[found.result[1]]))
    result[found.result[0]], result[found.result[1]] = data[found.data[0]], channels
    c.put(node.results[0], result)
    c.made.append((node, channels))
    sides = [(data[found.data[1]], found.kernel[0]), (channels, found.kernel[1])]
    (full, full_dim), (part, part_dim) = sides if found.transposed else sides[::-1]
    c.labels.unite(full, kernel[full_dim])
    _couple(c, node, found.groups, full, part, (full_dim, part_dim))


def _couple(c: Coupling, node: Node, groups: int, full: Ints, part: Ints, dims: tuple[int, int]) -> None:
    place_in_group = c.of(node.operands[1])[dims[1]]
    if groups == 1:
        c.labels.unite(part, place_in_group)
        return
    f, p = full.reshape(groups, -1), part.reshape(groups, -1)
    kernel = node.operands[1]
    if c.strategy == "regroup" and p.shape[1] > 1 and kernel.kind == "argument":
        c.labels.lock(place_in_group, f"{place(node)} is regrouped")
        for other in (r for r in c.regrouped.values() if r.kernel is kernel):
            c.labels.unite(other.part, part)  # a layer that is called again has one new kernel
        c.regrouped[node] = Regrouped(node, kernel, groups, full, part, dims)
    elif c.strategy == "groups" or p.shape[1] == 1:  # depthwise
        c.labels.lock(place_in_group, f"{place(node)} loses whole groups only")
        for column in (*f.T[1:], *p.T):
            c.labels.unite(f.T[0], column)
    else:
        for row in f[1:]:
            c.labels.unite(f[0], row)
        for row in p:
            c.labels.unite(place_in_group, row)


def cover(full: Ints, part: Ints, groups: int) -> int:
    """The most groups that hold what is left of a grouped convolution; the kernel is zero between old groups.

    Args:
      full: which channels are left, as a mask.
      part: those of the other side.
      groups: how many there were.

    Returns:
      The number.

    Example:
      >>> even = np.array([1, 0, 1, 1, 0, 1, 1, 1, 0], bool)
      >>> cover(even, even, 3), cover(even, np.ones(9, bool), 3)
      (3, 3)
      >>> cover(np.array([1, 1, 0, 1], bool), np.array([1, 1, 1, 0], bool), 2)
      1
    """
    f, p = (np.flatnonzero(mask) // (len(mask) // groups) for mask in (full, part))
    for count in range(min(len(f), len(p)), 1, -1):
        if len(f) % count or len(p) % count:
            continue
        # Each old group that has both sides has to lie in one new group.
        ours, theirs = np.arange(len(f)) // (len(f) // count), np.arange(len(p)) // (len(p) // count)
        met = np.equal.outer(f, p)
        if not (met & ~np.equal.outer(ours, theirs)).any():
            return count
    return 1


def regrouped(kernel: np.ndarray, full: Ints, part: Ints, groups: int, dims: tuple[int, int]) -> np.ndarray:
    """The kernel of what is left.

    Args:
      kernel: of all channels.
      full: which are left, as a mask.
      part: those of the other side.
      groups: how many there were.
      dims: of the kernel, for `full` and `part`.

    Returns:
      The kernel for `cover(full, part, groups)` groups.
    """
    count = cover(full, part, groups)
    wide = np.moveaxis(kernel, dims, (-1, -2))
    p, size = wide.shape[-2], len(full) // groups
    dense = np.zeros((*wide.shape[:-2], len(part), len(full)), kernel.dtype)
    for g in range(groups):
        mine = slice(g * size, (g + 1) * size)
        dense[..., g * p : (g + 1) * p, mine] = wide[..., mine]
    left = dense[..., part, :][..., full]
    rows, columns = left.shape[-2] // count, left.shape[-1] // count
    parts = [left[..., i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] for i in range(count)]
    return np.moveaxis(np.concatenate(parts, -1), (-1, -2), dims)


def spread(kernel: np.ndarray, full: Ints, part: Ints, groups: int, dims: tuple[int, int]) -> np.ndarray:
    """The inverse of `regrouped`, zero for what was removed.

    Raises:
      ValueError: if training has filled what was zero between the old groups.
    """
    count, size, places = cover(full, part, groups), len(full) // groups, len(part) // groups
    small = np.moveaxis(kernel, dims, (-1, -2))
    inside = np.flatnonzero(full)
    wide = np.zeros((*small.shape[:-2], places, len(full)), kernel.dtype)
    left = np.flatnonzero(part)
    rows, columns = len(left) // count, len(inside) // count
    for new, old in enumerate(inside):
        first = (new // columns) * rows
        for row in range(rows):
            at = left[first + row]
            if at // places == old // size:
                wide[..., at % places, old] = small[..., row, new]
            elif small[..., row, new].any():
                raise ValueError(
                    "this regrouped kernel was trained, and the zeros between its old groups are gone; what "
                    "is left has no place in the original. Keep the pruned network, or use strategy='same'."
                )
    return np.moveaxis(wide, (-1, -2), dims)
