"""Activation maximisation: an input that a unit answers to most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ...filters import gaussian
from ...graph import Fields, trace
from .score import Target, scored


def maximise(
    fn: Callable[..., Any],
    *args: Any,
    target: Target = None,
    layer: str | None = None,
    wrt: int | None = None,
    steps: int = 128,
    rate: float = 0.1,
    noise: float = 0.1,
    decay: float = 0.01,
    blur: float = 0.5,
    jitter: int = 2,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    seed: int = 0,
) -> jax.Array:
    """Climbs from the given input, with noise, to one with a larger score.

    Each step shifts the input by chance, adds `rate` times the gradient divided by its root mean square,
    shifts back, draws it towards the start and smooths it. Without such rules the score grows most by
    patterns that no picture has.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments; the input among them is the start, such as a grey picture.
      target: the score, as in `gradient`.
      layer: as in `gradient`; a layer's channel is looked at everywhere, one of its units by a tuple.
      wrt: as in `gradient`.
      steps: how often.
      rate: root mean square of a step, in units of the input.
      noise: standard deviation of what is added to the start.
      decay: share of the difference from the start that a step takes back.
      blur: standard deviation, in pixels, of the Gaussian that smooths after each step.
      jitter: how far the shift may be, in pixels, round about, along each spatial axis.
      bounds: of the input's values, or None.
      seed: of noise and shifts; the same seed gives the same picture.

    Returns:
      The input that was reached.

    Raises:
      ValueError: as `gradient`, or for a negative option.

    References:
      Erhan, Bengio, Courville, Vincent: Visualizing higher-layer features of a deep network. Université de
      Montréal 1341, 2009. Yosinski et al.: Understanding neural networks through deep visualization. 2015,
      arXiv:1506.06579.

    Example:
      >>> fn = lambda x: -jnp.square(x - 0.75).sum()
      >>> found = maximise(fn, jnp.zeros((1, 2, 2, 1)), decay=0.0, blur=0.0, jitter=0, rate=0.01)
      >>> bool(jnp.abs(found - 0.75).max() < 0.05)
      True
    """
    options = {"steps": steps, "rate": rate, "noise": noise, "decay": decay, "blur": blur, "jitter": jitter}
    if bad := {name: value for name, value in options.items() if value < 0}:
        raise ValueError(f"{bad} must not be negative.")
    s, start = scored(fn, args, target=target, layer=layer, wrt=wrt)
    graph = trace(s, start)
    axes = Fields(graph, graph.data(0)).dims
    low, high = (-jnp.inf, jnp.inf) if bounds is None else bounds

    def step(x: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        shift = jax.random.randint(key, (len(axes),), -jitter, jitter + 1)
        g = jnp.roll(jax.grad(s)(jnp.roll(x, shift, axes)), -shift, axes)
        x = x + rate * g / (jnp.sqrt(jnp.square(g).mean()) + jnp.finfo(g.dtype).tiny)
        x = x + decay * (start - x)
        x = gaussian(x, blur, axes=axes) if blur else x
        return jnp.clip(x, low, high), None

    first, *keys = jax.random.split(jax.random.key(seed), steps + 1)
    x = jnp.clip(start + noise * jax.random.normal(first, start.shape, start.dtype), low, high)
    return lax.scan(step, x, jnp.stack(keys))[0] if keys else x
