"""What a filter answers to most, in the pictures of a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .layers import Axes, activations, axes_of, find_layer
from .net import Net
from .score import split


@dataclasses.dataclass(frozen=True, eq=False)
class Patch:
    """A place in a picture.

    Attributes:
      value: the filter's there.
      image: number of the picture.
      position: in the layer's map.
      box: what the filter sees of the picture, along each spatial axis; less than its receptive field at
        borders.
      pixels: of the box.
    """

    value: float
    image: int
    position: tuple[int, ...]
    box: tuple[range, ...]
    pixels: np.ndarray


def top_patches(
    fn: Callable[..., Any],
    *args: Any,
    layer: str,
    k: int = 9,
    channels: Sequence[int] | None = None,
    batch: int = 64,
    wrt: int | None = None,
) -> list[list[Patch]]:
    """The k pictures in which each filter of a layer is largest, cropped to exactly what it sees there.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments; the input among them is the data set, with the number of the picture first.
      layer: one of `layer_names`.
      k: how many for each filter; of one picture only the place where the filter is largest, the first of
        equal ones.
      channels: of the layer; None for all.
      batch: pictures that are computed at once.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.

    Returns:
      For each channel its patches by falling value; of equal ones the first picture comes first.

    Raises:
      ValueError: if there is no such layer or channel, or no axis of the layer is that of the pictures.

    References:
      Zeiler, Fergus: Visualizing and understanding convolutional networks. ECCV 2014,
      doi:10.1007/978-3-319-10590-1_53.

    Example:
      >>> import jaxconv
      >>> w = {"conv": {"kernel": jnp.ones((2, 1, 1))}}
      >>> fn = lambda x: jaxconv.conv(x, w["conv"]["kernel"], padding=1)
      >>> data = np.array([[0.0, 1.0, 5.0], [9.0, 0.0, 0.0]], "f4")[..., None]
      >>> for p in top_patches(fn, data, layer="w/conv", k=2)[0]:
      ...     print(p.value, p.image, p.position, p.box, p.pixels.ravel())
      9.0 1 (0,) (range(0, 1),) [9.]
      6.0 0 (2,) (range(1, 3),) [1. 5.]
    """
    _, at = split(args, wrt)
    data = np.asarray(args[at])
    axes, sizes = _axes(fn, args, at, layer, batch)
    if axes.batch is None:
        raise ValueError(
            f"layer={layer!r} has no axis of pictures; hand the network over as jax.vmap makes it."
        )

    @jax.jit
    def largest(*args: Any) -> tuple[jax.Array, jax.Array]:
        maps = activations(fn, *args, layer=layer, wrt=at)
        flat = maps.reshape(maps.shape[0], -1, maps.shape[-1])
        return flat.max(1), flat.argmax(1)

    found = [largest(*args[:at], jnp.asarray(part), *args[at + 1 :]) for part in _parts(data, batch)]
    values, places = (np.concatenate([np.asarray(a) for a in column]) for column in zip(*found, strict=True))
    wanted = range(values.shape[1]) if channels is None else channels
    if bad := [c for c in wanted if not 0 <= c < values.shape[1]]:
        raise ValueError(f"channels={bad} are none of layer {layer!r}; it has 0 to {values.shape[1] - 1}.")
    return [
        [
            _patch(data, axes, sizes, float(values[i, c]), int(i), int(places[i, c]))
            for i in np.argsort(-values[:, c], kind="stable")[:k]
        ]
        for c in wanted
    ]


def _axes(
    fn: Callable[..., Any], args: Sequence[Any], at: int, layer: str, batch: int
) -> tuple[Axes, tuple[int, ...]]:
    """The layer's axes, and the sizes of the spatial ones."""
    few = jnp.asarray(args[at][:batch])
    net = Net(fn, (*args[:at], few, *args[at + 1 :]))
    x = net.graph.argument(at)
    value = find_layer(net.graph, x, layer)
    axes = axes_of(net.graph, x, value)
    return axes, tuple(value.shape[d] for d in axes.spatial)


def _parts(data: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    for start in range(0, len(data), batch):
        yield data[start : start + batch]


def _patch(
    data: np.ndarray, axes: Axes, sizes: tuple[int, ...], value: float, image: int, place: int
) -> Patch:
    position = tuple(int(o) for o in np.unravel_index(place, sizes))
    along = iter(position)  # of what sees a whole axis there is one position
    box = tuple(f.interval(0 if f.output_dim is None else next(along)) for f in axes.fields)
    index: list[Any] = [slice(None)] * data.ndim
    index[0] = image
    for field, seen in zip(axes.fields, box, strict=True):
        index[field.input_dim] = slice(seen.start, seen.stop)
    return Patch(value, image, position, box, data[tuple(index)])
