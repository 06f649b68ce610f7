"""Where a class is seen: Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...ops.resize import resize
from .layers import axes_of, find_layer
from .net import Net
from .score import Target, score, split


def grad_cam(
    fn: Callable[..., Any],
    *args: Any,
    layer: str,
    target: Target = None,
    wrt: int | None = None,
    signed: bool = False,
    enlarge: bool = True,
) -> jax.Array:
    """A layer's maps, each weighted by how much the score grows with it.

        max(0, Σ_c w_c A_c),   w_c = mean over positions of ∂s / ∂A_c

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments.
      layer: one of `layer_names`, with spatial axes; A is what it gives. The paper's
        are rectified: "name+relu".
      target: the score, as in `gradient`.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.
      signed: whether to leave out max(0, ·): what is below zero speaks against the class.
      enlarge: whether to enlarge the map linearly to the input's size, as the paper does; that ignores by how
        much receptive fields reach beyond the map.

    Returns:
      `(n, *spatial)`, without n if the input has none.

    Raises:
      ValueError: if the layer or the target is none of the function's, or the layer has no spatial axes.

    References:
      Selvaraju et al.: Grad-CAM. ICCV 2017, doi:10.1109/ICCV.2017.74.

    Example:
      >>> import jaxconv
      >>> w = {"conv": {"kernel": jnp.array([[[1.0, -1.0]]])}}
      >>> fn = lambda x: jax.nn.relu(jaxconv.conv(x, w["conv"]["kernel"])).sum((1, 2))
      >>> grad_cam(fn, jnp.array([0.0, 2.0, 4.0, -1.0]).reshape(1, 4, 1), layer="w/conv", target=0).tolist()
      [[0.0, 0.5, 1.0, 0.0]]
    """
    _, at = split(args, wrt)
    net = Net(fn, args)
    x = net.graph.argument(at)
    value = find_layer(net.graph, x, layer)
    axes = axes_of(net.graph, x, value)
    if not axes.spatial:
        raise ValueError(f"layer={layer!r} gives {value.shape}, without spatial axes; take one before it.")

    def answer(change: jax.Array) -> tuple[jax.Array, jax.Array]:
        results = net.compute([value, *net.graph.outputs], added={value: change})
        return score(jax.tree.unflatten(net.graph.tree, results[1:]), target), results[0]

    pull, maps = jax.grad(answer, has_aux=True)(jnp.zeros(value.shape, value.dtype))
    maps = axes.to_last(maps)
    spatial = tuple(range(maps.ndim - 1))[-len(axes.spatial) :]
    weights = axes.to_last(pull).mean(spatial, keepdims=True)
    cam = (weights * maps).sum(-1)
    cam = cam if signed else jnp.maximum(cam, 0)
    size = tuple(x.shape[field.input_dim] for field in axes.fields if field.output_dim is not None)
    return resize(cam[..., None], size=size)[..., 0] if enlarge else cam
