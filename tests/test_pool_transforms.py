"""Pooling under JAX's transformations: derivatives of both modes and orders, vmap, scan, shards, export."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv.testing import assert_close, check_grads

INDICES = np.array([[[3], [0]], [[1], [5]]])  # no place twice


def unpool(x: jax.Array) -> jax.Array:
    return jaxconv.max_unpool(x, jnp.broadcast_to(INDICES, x.shape), 2, output_size=(3, 4))


LINEAR = {
    "mean": lambda x: jaxconv.avg_pool(x, (3, 2), stride=2, padding=1, count_include_pad=False),
    "adaptive mean": lambda x: jaxconv.adaptive_avg_pool(x, (2, 3)),
    "unpool": lambda x: unpool(x[:, :2, :2, :1]),
}
PIECEWISE_LINEAR = {
    "joint": lambda x: jaxconv.max_pool(x, (3, 2), stride=2, padding=1),
    "one by one": lambda x: jaxconv.max_pool(x, 5, stride=1, padding=((2, 1), (1, 2))),
    "adaptive": lambda x: jaxconv.adaptive_max_pool(x, (2, 3)),
}
POOLS = LINEAR | PIECEWISE_LINEAR | {"norm": lambda x: jaxconv.lp_pool(x, 2, norm_type=3)}


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Positive numbers, no two of which a finite difference confuses."""
    return (1 + rng.permutation(int(np.prod(shape))).reshape(shape) / 8).astype(np.float32)


@pytest.mark.parametrize("name", POOLS)
def test_derivatives(name, rng):
    x = apart(rng, (1, 5, 4, 2))
    square = lambda x: POOLS[name](x) ** 2  # noqa: E731  (so that there is a second derivative)
    check_grads(jax.jit(square), (x,), order=2 if name in ("joint", "adaptive", "mean") else 1)


@pytest.mark.parametrize("name", ["joint", "one by one", "adaptive", "mean", "unpool"])
def test_vmap_and_scan(name, rng):
    x = apart(rng, (3, 2, 5, 4, 2))
    pool = POOLS[name]

    @jax.jit
    def run(x):
        def value_and_grad(x):
            y, pull = jax.vjp(pool, x)
            return y, pull(y)[0]

        mapped = jax.vmap(value_and_grad, in_axes=1)(jnp.swapaxes(x, 0, 1))
        scanned = lax.scan(lambda carry, x: (carry, value_and_grad(x)), 0, x)[1]
        return mapped, scanned

    mapped, scanned = run(x)
    y = np.stack([pool(x[i]) for i in range(3)])
    dx = np.stack([jax.vjp(pool, x[i])[1](y[i])[0] for i in range(3)])
    for found in (mapped, scanned):
        assert_close(found[0], y, contraction=16)
        assert_close(found[1], dx, contraction=64)


def test_vmap_of_the_tangent_alone(rng):
    """Tangents are mapped and maxima are not, as in a Jacobian."""
    x = apart(rng, (1, 4, 4, 1))
    pool = PIECEWISE_LINEAR["joint"]
    forward, backward = jax.jacfwd(pool)(x), jax.jacrev(pool)(x)
    np.testing.assert_array_equal(forward, backward)
    np.testing.assert_array_equal(forward.sum((4, 5, 6, 7)), jnp.ones(pool(x).shape))
    for nothing in ((0, 1, 4, 4, 1), (2, 0, 4, 4, 1), (2, 1, 4, 4, 0)):
        assert jax.vmap(jax.grad(lambda x: pool(x).sum()))(jnp.zeros(nothing)).shape == nothing


def test_indices_pass_through_everything(rng):
    x = apart(rng, (2, 3, 6, 4, 2))
    pool = functools.partial(jaxconv.max_pool, window=(2, 3), stride=1, return_indices=True)
    y, where = jax.jit(jax.vmap(pool))(x)
    for i in range(2):
        flat = np.asarray(x[i]).reshape(3, 24, 2)
        np.testing.assert_array_equal(
            np.take_along_axis(flat, where[i].reshape(3, -1, 2), 1).reshape(y[i].shape), y[i]
        )
    same, unpooled = jax.vmap(lambda y, i: (y, jaxconv.max_unpool(y, i, (2, 3), stride=1)))(y, where)
    np.testing.assert_array_equal(same, y)
    assert unpooled.shape == x.shape


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize("name", ["joint", "one by one", "adaptive", "mean", "there and back"])
def test_sharded_batch(name, axis_type, rng):
    x = apart(rng, (8, 5, 4, 2))
    there_and_back = lambda x: jaxconv.max_unpool(*jaxconv.max_pool(x, 2, return_indices=True), 2)  # noqa: E731
    pool = POOLS.get(name, there_and_back)
    grad = jax.grad(lambda x: (pool(x) ** 2).sum())
    wanted = jax.jit(grad)(x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        placed = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        found = jax.jit(grad)(placed)
    assert found.sharding.spec[0] == "data"
    assert_close(found, wanted, contraction=8)


@pytest.mark.parametrize("name", ["joint", "mean"])
def test_shard_map(name, rng):
    x = apart(rng, (8, 5, 4, 2))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("data")
    mapped = jax.shard_map(POOLS[name], mesh=mesh, in_specs=spec, out_specs=spec)
    loss = lambda pool, x: (pool(x) ** 2).sum()  # noqa: E731
    found = jax.jit(jax.grad(functools.partial(loss, mapped)))(x)
    assert_close(found, jax.grad(functools.partial(loss, POOLS[name]))(x), contraction=8)


def test_export_with_a_symbolic_batch(rng):
    x = apart(rng, (3, 5, 4, 2))
    [n] = jax.export.symbolic_shape("n")
    grad = jax.jit(jax.grad(lambda x: (POOLS["joint"](x) ** 2).sum()))
    exported = jax.export.export(grad)(jax.ShapeDtypeStruct((n, 5, 4, 2), jnp.float32))
    np.testing.assert_array_equal(exported.call(x), grad(x))


def test_without_jit_and_under_checkpoint(rng):
    x = apart(rng, (1, 5, 4, 2))
    loss = lambda x: (POOLS["joint"](x) ** 2).sum()  # noqa: E731
    with jax.disable_jit():
        eager = jax.grad(loss)(x)
    assert_close(eager, jax.jit(jax.grad(jax.checkpoint(loss)))(x), contraction=8)
