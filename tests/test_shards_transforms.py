"""What JAX makes of functions that are divided among devices: derivatives of derivatives, batches, loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import jaxconv
from jaxconv.partition import spatially_sharded
from tests.test_shards import BOTH, ROWS, Params, close, parameters, unet


def gated(x: jax.Array, p: Params) -> jax.Array:
    """Means, maxima and a product over all devices, each in a derivative of the other."""
    y = jaxconv.conv(x, p["in"], padding="SAME", padding_mode="circular")
    gate = y.mean((1, 2), keepdims=True) * y.max((1, 2), keepdims=True)
    return jnp.einsum("nhwc,nhwd->ncd", y, jnp.tanh(y * gate))


def picked(x: jax.Array, p: Params) -> jax.Array:
    """Derivatives of maxima are picked by numbers of their positions, which are integers."""
    y = jaxconv.max_pool(jax.nn.relu(jaxconv.conv(x, p["in"], padding="SAME")), 2, ceil_mode=True)
    return jaxconv.conv(jax.nn.gelu(y), p["wide"], padding="SAME", dilation=(1, 2))


IN_TWO = BOTH, (None, "row", "col")
MESHES: dict[Any, Any] = {picked: IN_TWO, gated: (ROWS, (None, "row"))}


def smooth(fn: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A number to which no two positions contribute alike; its second derivatives are not zero."""
    return lambda x, p: jnp.mean(jnp.tanh(y := fn(x, p)) * jnp.sin(0.1 * jnp.arange(y.size)).reshape(y.shape))


def second(fn: Callable[..., jax.Array]) -> Callable[..., Any]:
    """The gradient's derivative along a direction, forward over reverse and reverse over reverse."""

    def run(x: jax.Array, p: Params, direction: Any) -> Any:
        gradient = jax.grad(smooth(fn), (0, 1))

        def along(*at: Any) -> jax.Array:
            dots = jax.tree.map(jnp.vdot, gradient(*at), direction)
            return sum(jax.tree.leaves(dots), jnp.zeros(()))

        return jax.jvp(gradient, (x, p), direction), jax.grad(along, (0, 1))(x, p)

    return jax.jit(run)


@pytest.mark.parametrize("fn", MESHES, ids=lambda f: f.__name__)
def test_second_derivatives(fn, rng):
    x, p = jnp.asarray(rng.standard_normal((1, 11, 14, 2)), jnp.float32), parameters(rng)
    direction = jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape), a.dtype), (x, p))
    want = second(fn)(x, p, direction)
    (_, forward), reverse = want
    close(forward, reverse)  # the Hessian is symmetric
    close(second(spatially_sharded(fn, *MESHES[fn]))(x, p, direction), want)
    assert float(jnp.abs(forward[0]).max()) > 1e-4


def test_batches_of_images_and_of_parameters(rng):
    """A dimension that the function does not know of, in front of the image's or of the kernels'."""
    x = jnp.asarray(rng.standard_normal((3, 1, 11, 14, 2)), jnp.float32)
    each = [parameters(rng) for _ in range(3)]
    p = jax.tree.map(lambda *a: jnp.stack(a), *each)

    def run(fn: Callable[..., jax.Array]) -> Any:
        gradients = jax.vmap(jax.value_and_grad(smooth(fn), 1))
        return jax.jit(lambda x, p: (jax.vmap(fn, (0, None))(x, each[0]), gradients(x, p)))(x, p)

    close(run(spatially_sharded(unet, *IN_TWO)), run(unet))


def test_steps_in_a_loop(rng):
    """Descent in a scan, each step with a gradient that is recomputed in part."""
    x, p = jnp.asarray(rng.standard_normal((1, 11, 14, 2)), jnp.float32), parameters(rng)

    def run(fn: Callable[..., jax.Array]) -> Any:
        def step(p: Params, rate: jax.Array) -> tuple[Params, jax.Array]:
            loss, gradient = jax.value_and_grad(jax.checkpoint(smooth(fn)), 1)(x, p)
            return jax.tree.map(lambda a, g: a - rate * g, p, gradient), loss

        return jax.jit(lambda p: lax.scan(step, p, jnp.array([0.5, 0.3, 0.2])))(p)

    want = run(unet)
    close(run(spatially_sharded(unet, *IN_TWO)), want)
    assert float(want[1][-1]) < float(want[1][0])
