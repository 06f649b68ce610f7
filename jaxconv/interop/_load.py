"""From matched layers to a written model and a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ._convert import converted, described
from ._flatten import Flatten, check_names, orders
from ._layers import TORCH, WORDS, Layer, Leaf, in_order
from ._layout import TABLE, convert
from ._match import Matching, Pair, Rename, match
from ._models import layers_of, write


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of each array; `print` shows it as a table.

    Attributes:
      model: the model with the weights: the NNX module itself, or a copy of the variables.
      rows: for each array its name and shape in the source, those in the model, and what was done.
      problems: what `strict=False` let pass, in sentences; the arrays concerned are as they were.
    """

    model: Any
    rows: tuple[tuple[str, str, str, str, str], ...]
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        table = [("source", "shape", "model", "shape", "done"), *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(row[:4], widths, strict=True)), row[4]])
            for row in table
        ]
        return "\n".join([*lines, *self.problems])


def load_layers(
    model: Any,
    sources: Sequence[Layer],
    *,
    rename: Rename | None,
    strict: bool,
    dtype: Any,
    flatten: Flatten = None,
    unflatten: Flatten = None,
    ordered: bool | None = None,
) -> Report:
    """Writes the arrays of `sources` into `model`, if all of them have a place.

    `ordered` says whether the sources are in the order in which they were made; None finds out.

    Raises:
      ValueError: for layers that do not match, all of them listed; the model is unchanged then.
    """
    check_names(sources, flatten, unflatten)
    known = in_order(sources) if ordered is None else ordered
    matching = _matched(sources, model, rename, known)
    _refuse(matching, strict, "load")
    turned = orders(matching, flatten, unflatten)
    values: list[tuple[Leaf, np.ndarray]] = []
    rows, problems = [], list(matching.problems)
    for pair in matching.pairs:
        for word, array in converted(pair.source, pair.target, pair.kind).items():
            leaf, origin = pair.target.leaves[word], _origin(pair, word)
            done = described(pair.source, pair.target, pair.kind, word)
            for turn in turned.get(id(pair.target), ()):
                array, done = turn(array, done)
            array, done = _cast(array, done, leaf, dtype)
            values.append((leaf, array))
            rows.append((origin.name, str(origin.shape), leaf.name, str(leaf.shape), f"{done}, {pair.how}"))
        problems += _epsilon(pair)
    return Report(write(model, values), tuple(rows), tuple(problems))


def export_layers(
    model: Any, like: Sequence[Layer], *, rename: Rename | None, flatten: Flatten, unflatten: Flatten
) -> dict[str, np.ndarray]:
    """The model's arrays under the names, in the layouts and dtypes of `like`."""
    check_names(like, flatten, unflatten)
    matching = _matched(like, model, rename, in_order(like))
    _refuse(matching, True, "export")
    turned = orders(matching, flatten, unflatten, back=True)
    result = {}
    for pair in matching.pairs:
        turns = turned.get(id(pair.target), ())
        ours = dataclasses.replace(
            pair.target,
            leaves={
                word: dataclasses.replace(leaf, array=_turned(np.asarray(leaf.array), turns))
                for word, leaf in pair.target.leaves.items()
            },
        )
        for word, array in converted(ours, pair.source, pair.kind).items():
            leaf = pair.source.leaves[word]
            result[leaf.name] = np.ascontiguousarray(array.astype(leaf.array.dtype)).reshape(array.shape)
    return {leaf.name: result[leaf.name] for layer in like for leaf in layer.leaves.values()}


def _matched(sources: Sequence[Layer], model: Any, rename: Rename | None, ordered: bool) -> Matching:
    targets = layers_of(model)
    made = isinstance(model, nnx.Pytree) and not isinstance(model, nnx.State)
    return match(sources, targets, rename=rename, ordered=(ordered, made or in_order(targets)))


def named(layers: Sequence[Layer]) -> Iterator[tuple[str, np.ndarray]]:
    """A model's arrays in PyTorch's layouts, under PyTorch's words after their paths in the model."""
    for layer in layers:
        kind = layer.kinds[0]
        words = {role: word for word, role in WORDS[TORCH].get(kind, {}).items()}
        for role, word in layer.roles(kind).items():
            array = np.asarray(layer.leaves[word].array)
            if role == "kernel" and kind in TABLE:
                array = convert(array, kind, source=layer.library, target=TORCH)
            yield ".".join(filter(None, (layer.path, words.get(role, word)))), np.ascontiguousarray(array)


def _turned(array: np.ndarray, turns: Sequence[Callable[..., Any]]) -> np.ndarray:
    for turn in turns:
        array, _ = turn(array, "")
    return array


def _origin(pair: Pair, word: str) -> Leaf:
    """The source's leaf that became the model's `word`."""
    here = {w: role for role, w in pair.target.roles(pair.kind).items()}
    there = pair.source.roles(pair.kind)
    return pair.source.leaves[there.get(here[word]) or next(iter(there.values()))]


def _refuse(matching: Matching, strict: bool, what: str) -> None:
    if matching.problems and (strict or not matching.pairs):
        told = "\n  ".join(matching.problems)
        raise ValueError(
            f"cannot {what}: {len(matching.pairs)} layers match, these do not. Give rename= (a mapping or a "
            f"function from the source's names of layers to the model's, None for what is not wanted), or "
            f"strict=False to leave them as they are; nothing was changed.\n  {told}"
        )


def _cast(array: np.ndarray, done: str, leaf: Leaf, dtype: Any) -> tuple[np.ndarray, str]:
    """The array in its own dtype, in the model's, or in another."""
    wanted = array.dtype if dtype is None else jnp.dtype(leaf.array.dtype if dtype == "model" else dtype)
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise ValueError(
            f"{leaf.name} would be {wanted}, which JAX has with jax_enable_x64 only; give dtype=jnp.float32 "
            'or dtype="model".'
        )
    if wanted == array.dtype:
        return array, done
    if not jnp.can_cast(array.dtype, wanted, casting="same_kind"):
        raise ValueError(f"{leaf.name}: {array.dtype} cannot become {wanted}; give another dtype.")
    return array.astype(wanted), f"{done}, {array.dtype} to {wanted}"


def _epsilon(pair: Pair) -> list[str]:
    theirs, ours = pair.source.epsilon, pair.target.epsilon
    if theirs is None or ours is None or np.isclose(theirs, ours, rtol=1e-3):
        return []
    told = f"epsilon is {ours:g}, that of {pair.source.path} {theirs:g}"
    return [f"{pair.target.path}: {told}; results will differ."]
