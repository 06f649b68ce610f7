"""What pruning saves: channels, parameters, multiply-adds, and seconds where they are measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph import Row, summary
from ..graph.table import Table
from .pruned import Pruned
from .subject import is_weight

Pair = tuple[float, float]
_COUNTS = ("parameters", "forward")


@dataclasses.dataclass(frozen=True)
class Report:
    """Before and after; print it.

    Attributes:
      rows: by layer: its name, channels, parameters and multiply-adds, each before and after.
      forward: milliseconds of a forward pass, before and after; None if not measured.
      step: of the gradient of all parameters.
    """

    rows: tuple[tuple[str, Pair, Pair, Pair], ...]
    forward: Pair | None = None
    step: Pair | None = None

    @property
    def parameters(self) -> Pair:
        """Elements of all floating arrays."""
        return _sum(row[2] for row in self.rows)

    @property
    def multiply_adds(self) -> Pair:
        """Of a forward pass."""
        return _sum(row[3] for row in self.rows)

    def __str__(self) -> str:
        """A table, and the times below."""
        columns = ("layer", "channels", "left", "parameters", "left", "multiply-adds", "left")
        rows = [(name, *map(int, (*c, *p, *m))) for name, c, p, m in self.rows]
        total = ("all", "", "", *map(int, (*self.parameters, *self.multiply_adds)))
        (p, q), (m, n) = self.parameters, self.multiply_adds
        title = f"{_percent(p, q)} of the parameters and {_percent(m, n)} of the multiply-adds are left"
        times = {"forward": self.forward, "forward and gradient": self.step}
        notes = [
            f"{name}: {a:.3g} ms, now {b:.3g} ms: {_percent(a, b)}"
            for name, t in times.items()
            if t
            for a, b in [t]
        ]
        return Table(title, columns, rows, total, notes).plain()


def _sum(pairs: Any) -> Pair:
    before, after = zip(*pairs, strict=True)
    return sum(before), sum(after)


def _percent(before: float, after: float) -> str:
    return f"{100 * after / before:.1f} %" if before else "nothing"


def report(pruned: Pruned, args: Sequence[Any], kwargs: dict[str, Any], repeats: int) -> Report:
    """See `Pruned.report`."""
    subject = pruned.subject
    fn, given = subject.call(subject.leaves, args)
    before, after = summary(fn, *given, **kwargs), summary(pruned.apply, pruned.params, *args, **kwargs)
    rows = tuple(_rows(*([r for r in s if r.parameters or r.forward] for s in (before, after))))
    if not repeats:
        return Report(rows)

    def original(params: Any, *rest: Any, **named: Any) -> Any:
        f, ours = subject.call(jax.tree_util.tree_leaves(params), rest)
        return f(*ours, **named)

    sides = [(original, pruned.expand()), (pruned.apply, pruned.params)]
    forward = _times([_forward(f, p, args, kwargs) for f, p in sides], repeats)
    step = _times([_gradient(f, p, args, kwargs) for f, p in sides], repeats)
    return Report(rows, forward, step)


def _rows(before: Sequence[Row], after: Sequence[Row]) -> Iterator[tuple[str, Pair, Pair, Pair]]:
    """By layer; both come in the same order, but layers without names are named by lines that differ."""
    if len(before) != len(after):
        parameters, forward = (
            (sum(getattr(r, n) for r in before), sum(getattr(r, n) for r in after)) for n in _COUNTS
        )
        yield "all layers", (0, 0), parameters, forward
        return
    names = list(dict.fromkeys(row.layer for row in before))
    for name in names:
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.layer == name]
        channels = pairs[-1][0].output[-1], pairs[-1][1].output[-1]
        parameters = _sum((a.parameters, b.parameters) for a, b in pairs)
        yield name, channels, parameters, _sum((a.forward, b.forward) for a, b in pairs)


def _forward(fn: Callable[..., Any], params: Any, args: Any, kwargs: Any) -> Callable[[], Any]:
    compiled = jax.jit(lambda p, a: fn(p, *a, **kwargs))
    return lambda: compiled(params, args)


def _gradient(fn: Callable[..., Any], params: Any, args: Any, kwargs: Any) -> Callable[[], Any]:
    """Of the sum of squares of the results: what the loss is does not matter to the time."""
    leaves, tree = jax.tree_util.tree_flatten(params)
    at = [i for i, leaf in enumerate(leaves) if is_weight(leaf)]

    def loss(weights: Sequence[Any], a: Any) -> Any:
        every = list(leaves)
        for i, w in zip(at, weights, strict=True):
            every[i] = w
        results = jax.tree_util.tree_leaves(fn(jax.tree_util.tree_unflatten(tree, every), *a, **kwargs))
        return sum(jnp.sum(jnp.square(jnp.abs(r))) for r in results if jnp.issubdtype(r.dtype, jnp.inexact))

    compiled = jax.jit(jax.grad(loss))
    weights = [leaves[i] for i in at]
    return lambda: compiled(weights, args)


def _times(calls: Sequence[Callable[[], Any]], repeats: int) -> Pair:
    """Medians in milliseconds, the calls taking turns."""
    for call in calls:
        jax.block_until_ready(call())
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, own in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            own.append(time.perf_counter() - start)
    before, after = (1e3 * float(np.median(own)) for own in seconds)
    return before, after
