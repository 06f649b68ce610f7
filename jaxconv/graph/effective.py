"""The effective receptive field: how much each position of the input matters to one of the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .field import Fields
from .trace import traced


@dataclasses.dataclass(frozen=True, eq=False)
class EffectiveField:
    """Mean gradient magnitudes; draw it, or save the picture.

    Attributes:
      magnitude: for each position of the input's spatial axes; their sum is 1 unless all are zero.
      position: of the result, one number for each axis.
      box: the positions of the input that it sees at all, for each axis.
    """

    magnitude: np.ndarray
    position: tuple[int, ...]
    box: tuple[range, ...]

    def draw(self, axes: Any = None) -> Any:
        """Draws the field, and the box of all that is seen; of more than two axes the sum over the others.

        Args:
          axes: of matplotlib; by default those of a new figure.

        Returns:
          The axes that were drawn on.
        """
        import matplotlib.pyplot as plt
        from matplotlib.patches import Rectangle

        axes = plt.subplots(layout="constrained")[1] if axes is None else axes
        if self.magnitude.ndim == 1:
            axes.fill_between(np.arange(self.magnitude.size), self.magnitude, step="mid")
            for edge in (self.box[0].start, self.box[0].stop):
                axes.axvline(edge - 0.5, color="tab:orange")
            axes.set_xlabel("position of the input")
        else:
            shown = self.magnitude.sum(tuple(range(2, self.magnitude.ndim)))
            image = axes.imshow(np.sqrt(shown), cmap="magma")
            axes.figure.colorbar(image, ax=axes, label="√ mean gradient magnitude", fraction=0.046)
            rows, columns = self.box[:2]
            corner = columns.start - 0.5, rows.start - 0.5
            style = {"fill": False, "edgecolor": "tab:cyan", "linewidth": 1.5}
            axes.add_patch(Rectangle(corner, len(columns), len(rows), **style))
        axes.set_title(f"what result {', '.join(map(str, self.position))} depends on")
        return axes

    def save(self, path: str | Path) -> None:
        """Writes the picture; the suffix says in which format."""
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        self.draw(figure.subplots())
        figure.savefig(path)


def effective_receptive_field(
    fn: Callable[..., Any],
    *args: Any,
    wrt: int | None = None,
    position: Sequence[int] | None = None,
    samples: int = 32,
    seed: int = 0,
    **kwargs: Any,
) -> EffectiveField:
    """How much each position of the input matters to one position of the result, on average.

    E over x of |∂ Σ_c y[position, c] / ∂x|, summed over x's channels, for normally distributed x: the
    field of a network with its weights, which is bell-shaped and smaller than what the structure allows.

    Args:
      fn: a function of arrays with one array as result, or a callable pytree.
      *args: its arguments; of the input only shape and dtype count, all others have to be arrays.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.
      position: of the result along its spatial axes; by default the middle.
      samples: random inputs to average over, rounded up to whole batches.
      seed: of the random inputs.
      **kwargs: its keyword arguments.

    Returns:
      An `EffectiveField`: the magnitudes as a NumPy array, and how to draw them.

    Raises:
      ValueError: if `fn` has several results or none that depends on the input, the position is none of the
        result, the input is not floating, or there are no samples.

    References:
      Luo, Li, Urtasun, Zemel: Understanding the effective receptive field in deep convolutional neural
      networks. NeurIPS 2016, arXiv:1701.04128.

    Example:
      >>> import jaxconv
      >>> kernel = jnp.array([1.0, 2.0, 1.0]).reshape(3, 1, 1)
      >>> f = lambda x: jaxconv.conv(jaxconv.conv(x, kernel, padding=1), kernel, padding=1)
      >>> found = effective_receptive_field(f, jax.ShapeDtypeStruct((1, 9, 1), "f4"), samples=1)
      >>> (found.magnitude * 16).round(2).tolist(), found.box
      ([0.0, 0.0, 1.0, 4.0, 6.0, 4.0, 1.0, 0.0, 0.0], (range(2, 7),))
    """
    if samples < 1:
        raise ValueError(f"samples={samples} must be at least 1.")
    graph = traced(fn, args, kwargs, simple=True)
    x = graph.data(wrt)
    fields = Fields(graph, x).of(graph.outputs[0]) if len(graph.outputs) == 1 else None
    if fields is None:
        raise ValueError(
            f"fn has {len(graph.outputs)} results; the effective receptive field is that of a function "
            "with one, which depends on the input."
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"the input has dtype {x.dtype}; a gradient needs a floating one.")
    place, shape = _place(position, fields, graph.outputs[0].shape)
    argument = x.argument or 0  # a bare one has a position

    # Were the cotangent a constant, XLA would fold the part of the gradient that no input changes.
    @jax.jit
    def step(key: jax.Array, one: jax.Array) -> jax.Array:
        drawn = jax.random.normal(key, x.shape, x.dtype)
        y, pull = jax.vjp(lambda x: fn(*args[:argument], x, *args[argument + 1 :], **kwargs), drawn)
        return jnp.abs(pull(jnp.zeros_like(y).at[place].set(one.astype(y.dtype)))[0])

    batch = x.shape[0] if 0 not in [f.input_dim for f in fields] else 1
    keys = jax.random.split(jax.random.key(seed), -(-samples // max(batch, 1)))
    others = tuple(d for d in range(len(x.shape)) if d not in [f.input_dim for f in fields])
    total = np.sum([np.asarray(step(key, jnp.ones(())), np.float64).sum(others) for key in keys], axis=0)
    box = tuple(f.interval(o) for f, o in zip(fields, shape, strict=True))
    return EffectiveField(total / (total.sum() or 1), shape, box)


def _place(
    position: Sequence[int] | None, fields: Any, shape: Sequence[int]
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The index of the position in the result, and the position by axis."""
    sizes = [1 if f.output_dim is None else shape[f.output_dim] for f in fields]
    chosen = tuple(n // 2 for n in sizes) if position is None else tuple(position)
    if len(chosen) != len(sizes) or not all(0 <= o < n for o, n in zip(chosen, sizes, strict=True)):
        raise ValueError(f"position={position} is none of the result; its spatial sizes are {tuple(sizes)}.")
    index: list[Any] = [slice(None)] * len(shape)
    for field, o in zip(fields, chosen, strict=True):
        if field.output_dim is not None:
            index[field.output_dim] = o
    return tuple(index), chosen
