"""A pruned network: smaller parameters, what was kept, and the function that takes them."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..graph import Node, Value
from ..graph.trace import is_array
from .coupling import Strategy, place
from .cut import Cut, evaluate
from .grouped import cover, form, regrouped, spread
from .labels import Ints
from .rebind import groups_left
from .subject import Subject, flat_arrays

Masks = Mapping[str, tuple[Ints, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """How a kernel of a grouped convolution is built anew.

    Attributes:
      full: which of the channels stay that the kernel has all of.
      part: of the other side.
      groups: before.
      dims: of the kernel.
    """

    full: Ints
    part: Ints
    groups: int
    dims: tuple[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Pruned:
    """A network without the channels that were removed; made by `prune` or `load`.

    It is called like the original, without the parameters: `pruned(x)`. `pruned.apply(params, x)` is a pure
    function of smaller parameters, to be compiled and differentiated; it takes other sizes of the data too.

    Attributes:
      params: the parameters, a pytree like the original's. If the model is such a pytree itself (NNX,
        Equinox), its attributes still say the old sizes; see `model`.
      config: what was kept, as JSON: by layer the channels before and after, by parameter the indices.
      subject: the original, without data.
      masks: of each parameter that is cut, by dimension, which positions stay.
      folds: of kernels that are regrouped.
      strategy: what became of grouped convolutions.
      kept_whole: by layer, why its channels could not be pruned.
    """

    params: Any
    config: dict[str, Any]
    subject: Subject
    masks: Masks
    folds: Mapping[str, Fold]
    strategy: Strategy
    kept_whole: Mapping[str, str]
    _cuts: dict[Any, Cut] = dataclasses.field(default_factory=dict)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function of everything but the parameters."""
        return self.apply(self.params, *args, **kwargs)

    def apply(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """The pruned function.

        Args:
          params: like `self.params`.
          *args: the original's other arguments; data may be of other sizes than when it was pruned.
          **kwargs: likewise.

        Returns:
          What the original returns.

        Raises:
          ValueError: for parameters of other shapes.
        """
        return _apply(self, self.subject, params, args, kwargs)

    def like(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Another function of the same parameters, cut in the same way.

        As the training mode of a Linen model, which also returns new statistics: they come out small.

        Args:
          fn: takes the original's parameters at the same place.

        Returns:
          A function of `params` and the other arguments, as `apply`.

        Raises:
          ValueError: when called, if it needs channels that were removed.
        """
        subject = dataclasses.replace(self.subject, fn=fn, position=max(self.subject.position, 0))

        def applied(params: Any, *args: Any, **kwargs: Any) -> Any:
            return _apply(self, subject, params, args, kwargs)

        return applied

    def with_params(self, params: Any) -> Pruned:
        """The same with other values, as trained ones; a model that is a pytree will do.

        Args:
          params: like `self.params`.

        Returns:
          A new one.

        Raises:
          ValueError: for another number of leaves.
        """
        leaves = jax.tree_util.tree_leaves(params)
        _check_count(self.subject, leaves)
        return dataclasses.replace(self, params=jax.tree_util.tree_unflatten(self.subject.tree, leaves))

    def expand(self, params: Any = None) -> Any:
        """Parameters for the original network: the same values, and zeros for what was removed.

        So masked, the original computes what the pruned network does, but for norms over channels and what
        else mixes channels without parameters.

        Args:
          params: like `self.params`, which is the default.

        Returns:
          A pytree with the original's shapes.

        Raises:
          ValueError: if a regrouped kernel was trained.
        """
        leaves = jax.tree_util.tree_leaves(self.params if params is None else params)
        whole = [
            self._expanded(name, leaf, form)
            for name, leaf, form in zip(self.subject.names, leaves, self.subject.leaves, strict=True)
        ]
        return jax.tree_util.tree_unflatten(self.subject.tree, whole)

    def _expanded(self, name: str, leaf: Any, form: Any) -> Any:
        if name in self.folds:
            f = self.folds[name]
            return jax.numpy.asarray(spread(np.asarray(leaf), f.full, f.part, f.groups, f.dims))
        if name not in self.masks:
            return leaf
        whole = np.zeros(form.shape, form.dtype)
        whole[np.ix_(*self.masks[name])] = leaf
        return jax.numpy.asarray(whole)

    @property
    def model(self) -> Any:
        """The model itself with smaller parameters; its attributes (features, groups) say the new sizes.

        For models that are pytrees of their own, as those of NNX and Equinox, whose code adapts to its
        arrays. Its training mode, dropout and statistics work.

        Raises:
          ValueError: if the parameters are a plain pytree.
        """
        from .adapt import adapted

        return adapted(self)

    def report(self, *args: Any, repeats: int = 0, **kwargs: Any) -> Any:
        """Parameters, multiply-adds and time before and after; print it.

        Args:
          *args: the original's arguments without the parameters, arrays if times are to be measured.
          repeats: how often to run both networks, forward and with the gradient of the parameters; 0 measures
            no time.
          **kwargs: likewise.

        Returns:
          A `Report`.

        Raises:
          ValueError: if the function fits none of the arguments.
        """
        from .report import report

        return report(self, args, kwargs, repeats)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a folder with params.npz (no pickle in it) and config.json.

        Args:
          path: of the folder, which is made.
        """
        from .files import save

        save(self, path)


def cut_leaf(name: str, leaf: Any, masks: Masks, folds: Mapping[str, Fold]) -> Any:
    """What is left of one parameter."""
    if name in folds:
        f = folds[name]
        return jax.numpy.asarray(regrouped(np.asarray(leaf), f.full, f.part, f.groups, f.dims))
    if name not in masks:
        return leaf
    return jax.numpy.asarray(np.asarray(leaf)[np.ix_(*masks[name])])


def make(
    subject: Subject,
    leaves: Sequence[Any],
    cut: Cut,
    values: Mapping[int, Value],
    kept_whole: Mapping[str, str],
    small: Mapping[str, Any] | None = None,
) -> Pruned:
    """From a cut of the subject's graph, and the original parameters, or `small` ones by name."""
    _check_left(cut)
    names = {v: subject.names[i] for i, v in values.items()}
    masks = {names[v]: cut.masks(v) for v in values.values() if cut.shape(v) != v.shape}
    sides = {r: (cut.mask(r.full), cut.mask(r.part)) for r in cut.coupling.regrouped.values()}
    folds = {
        names[r.kernel]: Fold(full, part, r.groups, r.dims)
        for r, (full, part) in sides.items()
        if not (full.all() and part.all())
    }
    cuts = [
        small.get(n, leaf) if small is not None else cut_leaf(n, leaf, masks, folds)
        for n, leaf in zip(subject.names, leaves, strict=True)
    ]
    params = jax.tree_util.tree_unflatten(subject.tree, cuts)
    config = _config(subject, cut, masks)
    return Pruned(params, config, subject, masks, folds, cut.coupling.strategy, kept_whole)


def _check_left(cut: Cut) -> None:
    for node in cut.coupling.graph.nodes:
        for value in node.results:
            if 0 in cut.shape(value) and 0 not in value.shape:
                raise ValueError(
                    f"nothing would be left of the result of {place(node)}; lower the ratio, or ignore the "
                    "layer that it comes from."
                )


def _config(subject: Subject, cut: Cut, masks: Masks) -> dict[str, Any]:
    layers: dict[str, dict[str, list[int]]] = {}
    for node, made in cut.coupling.made:
        if node.layer and node.layer not in layers:
            layers[node.layer] = {**_into(cut, node), "out": [len(made), int(cut.mask(made).sum())]}
    kept = {
        name: {str(d): np.flatnonzero(m).tolist() for d, m in enumerate(ms) if not m.all()}
        for name, ms in masks.items()
    }
    shapes = {n: list(x.shape) for n, x in zip(subject.names, subject.leaves, strict=True) if is_array(x)}
    return {"strategy": cut.coupling.strategy, "layers": layers, "kept": kept, "original": shapes}


def _into(cut: Cut, node: Node) -> dict[str, list[int]]:
    """Channels that a layer takes, and its groups, before and after."""
    if (found := form(node)) is not None:
        data, groups = node.operands[0], groups_left(cut, node) if found.groups > 1 else 1
        channels = [shape[found.data[1]] for shape in (data.shape, cut.shape(data))]
        return {"in": channels, "groups": [found.groups, groups]}
    if node.name != "dot_general":
        return {}
    contracted, data = node.params["dimension_numbers"][0][0], node.operands[0]
    return {"in": [math.prod(shape[d] for d in contracted) for shape in (data.shape, cut.shape(data))]}


def _apply(pruned: Pruned, subject: Subject, params: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    leaves = jax.tree_util.tree_leaves(params)
    _check_count(subject, leaves)
    cut = _cut_for(pruned, subject, args, kwargs)
    whole = jax.tree_util.tree_unflatten(subject.tree, leaves)
    fn, given = subject.call(leaves, args) if subject.fn is None else (subject.fn, None)
    if given is None:
        given = (*args[: subject.position], whole, *args[subject.position :])
    arrays = flat_arrays((fn, given, kwargs))
    inputs = [v for v in cut.coupling.graph.inputs if v.kind == "argument"]
    for v, array in zip(inputs, arrays, strict=True):
        if array.shape != _expected(cut, v):
            raise ValueError(
                f"{v.name or 'an argument'} has shape {array.shape}, the pruned network wants "
                f"{_expected(cut, v)}; params must be like pruned.params."
            )
    outputs = evaluate(cut, dict(zip(inputs, arrays, strict=True)))
    return jax.tree_util.tree_unflatten(cut.coupling.graph.tree, outputs)


def _check_count(subject: Subject, leaves: Sequence[Any]) -> None:
    if len(leaves) != len(subject.leaves):
        raise ValueError(
            f"params has {len(leaves)} leaves, the pruned network has {len(subject.leaves)}; hand over what "
            "is like pruned.params."
        )


def _expected(cut: Cut, value: Value) -> tuple[int, ...]:
    """Of a regrouped kernel the shape that it has for its new groups."""
    for r in cut.coupling.regrouped.values():
        if r.kernel is value:
            shape = list(cut.shape(value))
            full, part = cut.mask(r.full), cut.mask(r.part)
            shape[r.dims[1]] = int(part.sum()) // cover(full, part, r.groups)
            return tuple(shape)
    return cut.shape(value)


def _cut_for(pruned: Pruned, subject: Subject, args: Sequence[Any], kwargs: dict[str, Any]) -> Cut:
    """Each form of the arguments is looked at once."""
    flat, tree = jax.tree_util.tree_flatten((args, kwargs))
    forms = [(x.shape, str(x.dtype)) if is_array(x) else x for x in flat]
    key = (subject.fn, tree, tuple(forms))
    try:
        if key in pruned._cuts:
            return pruned._cuts[key]
    except TypeError:  # an argument that cannot be a key
        key = None
    specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) if is_array(x) else x for x in flat]
    rest, named = jax.tree_util.tree_unflatten(tree, specs)
    graph, values = subject.graph(rest, named)
    weights = list(values.values())
    masks = [
        pruned.masks.get(subject.names[i], tuple(np.ones(n, bool) for n in v.shape))
        for i, v in values.items()
    ]
    cut = Cut.of_masks(graph, weights, masks, pruned.strategy)
    if key is not None:
        pruned._cuts[key] = cut
    return cut
