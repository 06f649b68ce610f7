"""What of the input a unit's value comes from: four kinds of gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .score import Target, scored


def gradient(
    fn: Callable[..., Any],
    *args: Any,
    target: Target = None,
    layer: str | None = None,
    wrt: int | None = None,
) -> jax.Array:
    """How much the score changes with each element of the input: saliency, ∂s/∂x.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments.
      target: the score s: a number stands for that channel, y[..., target] summed over all positions and
        examples; a tuple for what it indexes; a function of the result for itself; None if the result is one
        number.
      layer: in place of the function's result y what this layer gives, as `activations` orders it.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.

    Returns:
      An array of the input's shape. Examples of a batch do not touch each other, if they do not in `fn`.

    Raises:
      ValueError: if the target or the layer is none of the function's, or the input is no floating array.

    References:
      Simonyan, Vedaldi, Zisserman: Deep inside convolutional networks. ICLR 2014 workshop, arXiv:1312.6034.

    Example:
      >>> fn = lambda x: jax.nn.relu(x) @ jnp.array([[1.0, 2.0], [3.0, -4.0]])
      >>> gradient(fn, jnp.array([[1.0, 1.0], [1.0, -1.0]]), target=1).tolist()
      [[2.0, -4.0], [2.0, 0.0]]
    """
    s, x = scored(fn, args, target=target, layer=layer, wrt=wrt)
    return jax.grad(s)(x)


def deconvnet(
    fn: Callable[..., Any],
    *args: Any,
    target: Target = None,
    layer: str | None = None,
    wrt: int | None = None,
) -> jax.Array:
    """The unit projected down to the input: as a gradient, but rectifiers rectify what comes back.

    Convolutions are transposed, maxima hand back to where the largest element was (the switches), and where
    the forward pass rectified, max(g, 0) goes on. Arguments and errors are those of `gradient`; what begins
    to go back is the target's gradient, so `target=lambda a: a[0, 3, 4, 7] ** 2 / 2` begins with the
    activation itself, as the paper does.

    Returns:
      An array of the input's shape.

    Raises:
      ValueError: as `gradient`; and if `fn` has no rectifier max(x, 0), or a leaky one.

    References:
      Zeiler, Fergus: Visualizing and understanding convolutional networks. ECCV 2014,
      doi:10.1007/978-3-319-10590-1_53.

    Example:
      >>> fn = lambda x: jax.nn.relu(x) @ jnp.array([[1.0, 2.0], [3.0, -4.0]])
      >>> deconvnet(fn, jnp.array([[1.0, 1.0], [-1.0, -1.0]]), target=1).tolist()
      [[2.0, 0.0], [2.0, 0.0]]
    """
    s, x = scored(fn, args, target=target, layer=layer, wrt=wrt, rule="deconvnet")
    return jax.grad(s)(x)


def guided_backprop(
    fn: Callable[..., Any],
    *args: Any,
    target: Target = None,
    layer: str | None = None,
    wrt: int | None = None,
) -> jax.Array:
    """Both at once: what comes back passes a rectifier where its input and the signal are positive.

    Arguments and errors are those of `deconvnet`.

    Returns:
      An array of the input's shape.

    References:
      Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for simplicity. ICLR 2015 workshop,
      arXiv:1412.6806.

    Example:
      >>> fn = lambda x: jax.nn.relu(x) @ jnp.array([[1.0, 2.0], [3.0, -4.0]])
      >>> guided_backprop(fn, jnp.array([[1.0, 1.0], [-1.0, -1.0]]), target=1).tolist()
      [[2.0, 0.0], [0.0, 0.0]]
    """
    s, x = scored(fn, args, target=target, layer=layer, wrt=wrt, rule="guided")
    return jax.grad(s)(x)


class Integrated(NamedTuple):
    """Integrated gradients, and how complete they are.

    Attributes:
      values: of the input's shape.
      total: their sum.
      difference: the score of the input less that of the baseline; `total` equals it but for the error of
        integration, which more steps lower.
    """

    values: jax.Array
    total: jax.Array
    difference: jax.Array


def integrated_gradients(
    fn: Callable[..., Any],
    *args: Any,
    target: Target = None,
    layer: str | None = None,
    wrt: int | None = None,
    baseline: ArrayLike = 0.0,
    steps: int = 32,
) -> Integrated:
    """The score's difference from that of a baseline, divided among the elements of the input.

        (x - b) ∫₀¹ ∂s/∂x (b + t (x - b)) dt,   by Gauss-Legendre with `steps` points

    The rule is exact for a score that is a polynomial of degree 2 · steps along the way. With rectifiers the
    gradient jumps there, and the error falls as 1 / steps only; compare `total` with `difference`.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments.
      target: the score, as in `gradient`.
      layer: as in `gradient`.
      wrt: as in `gradient`.
      baseline: b, an array like the input or one number: an input that says nothing.
      steps: gradients that are taken, one after the other.

    Returns:
      An `Integrated`: values, total, difference.

    Raises:
      ValueError: as `gradient`, or if there are no steps, or the baseline does not fit.

    References:
      Sundararajan, Taly, Yan: Axiomatic attribution for deep networks. ICML 2017, arXiv:1703.01365.

    Example:
      >>> found = integrated_gradients(lambda x: (x**3).sum(), jnp.array([[1.0, 2.0]]), steps=2)
      >>> found.values.round(4).tolist(), float(found.difference)
      ([[1.0, 8.0]], 9.0)
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    s, x = scored(fn, args, target=target, layer=layer, wrt=wrt)
    b = jnp.asarray(baseline, x.dtype)
    if b.shape not in ((), x.shape):
        raise ValueError(
            f"baseline of shape {b.shape} must be one number, or of the input's shape {x.shape}."
        )
    points, weights = np.polynomial.legendre.leggauss(steps)
    t, w = (jnp.asarray(a / 2, x.dtype) for a in (points + 1, weights))

    def add(total: jax.Array, tw: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + tw[1] * jax.grad(s)(b + tw[0] * (x - b)), None

    mean, _ = jax.lax.scan(add, jnp.zeros_like(x), (t, w))
    values = (x - b) * mean
    return Integrated(values, values.sum(), s(x) - s(jnp.broadcast_to(b, x.shape)))
