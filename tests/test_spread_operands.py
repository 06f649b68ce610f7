"""Operands of size 1 or of lower rank that meet longer ones, stacks and what is taken apart: random networks.

What sees what is found by running a network; tiles, streams and devices have to give what the whole gives.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType

import jaxconv
from jaxconv.partition import spatially_sharded, streaming, tiled
from tests.random_nets import Maker, Net, sees
from tests.stream_nets import joined
from tests.test_receptive_field import wrong_intervals

H, W, C = 14, 19, 3
MESH = jax.make_mesh((2, 4), ("row", "col"), axis_types=(AxisType.Auto,) * 2)

# Parts of (1, H, W, C) that spread to it; those of the first line leave out no column.
ALONG_COLUMNS: list[Net] = [
    lambda x: x[:, 3:4],
    lambda x: x[..., 1:2],
    lambda x: x[0],
    lambda x: x[0, 5],
    lambda x: x.max(-1, keepdims=True),
    lambda x: jnp.unstack(x, axis=1)[2][:, None],
    lambda x: jnp.stack(jnp.unstack(x, axis=-1)[::-1], -1),
    lambda x: jnp.tile(x[..., :1], (1, 1, 1, C)),
    lambda x: lax.broadcast_in_dim(x[0, 4], x.shape[1:], (1, 2)),
    lambda x: jnp.stack([x, x[:, :1] + x], 1).max(1),
]
OTHERS: list[Net] = [
    lambda x: x[:, :, 4:5],
    lambda x: x[:, 3:4, 6:7],
    lambda x: x[0, 2, 7],
    lambda x: x[0, :, 8, None],
    lambda x: jnp.unstack(x, axis=2)[5][:, :, None],
    lambda x: jnp.tile(x[:, :, 9:10], (1, 1, x.shape[2], 1)),
]


def spreading(seed: int, parts: list[Net]) -> Net:
    """Three layers, each of a convolution and two parts that meet it."""
    make = Maker(seed)
    known = [make.kernel(H, 1, 1), make.kernel(1, 1, C), make.kernel(1, W, 1)]
    mask = np.array([True, False, True])  # of channels, so that some result sees either

    def layer() -> Net:
        kernel, low, high = make.kernel(3, 2, C, C), make.pick(0, 1, 2), make.pick(0, 1)
        padding = [(low, 2 - low), (high, 1 - high)]
        take = [parts[make.pick(*range(len(parts)))] for _ in range(2)]
        which, constant = make.pick(0, 1, 2, 3), known[make.pick(0, 1, *[2] * (parts is not ALONG_COLUMNS))]

        def apply(x: jax.Array) -> jax.Array:
            y = jaxconv.conv(x, kernel, padding=padding, algorithm="direct")
            a, b = (part(x) for part in take)
            y = (y + a, jnp.maximum(a, y), jnp.where(mask, y, a), lax.clamp(0.0, a + y, 1e30))[which]
            return (y + b) * (0.5 + constant)

        return apply

    layers = [layer() for _ in range(2)]
    enter = make.kernel(1, 1, 1, C)
    return lambda x: layers[1](layers[0](x @ enter[0, 0]))


@pytest.mark.parametrize("seed", range(9))
def test_what_is_seen(seed):
    fn = spreading(seed, ALONG_COLUMNS + OTHERS)
    fields = jaxconv.receptive_field(fn, jax.ShapeDtypeStruct((1, H, W, 1), jnp.float32))
    each = jax.vmap(lambda x: fn(x[None])[0])
    for field, seen in zip(fields, sees(each, (H, W)), strict=True):
        assert seen.any()
        assert wrong_intervals(field, seen) == []


def test_far_from_the_borders():
    """One row that all others meet stays where it is; what is stacked and taken apart moves on."""
    kernel, x = jnp.ones((3, 2, 1, 1)), jax.ShapeDtypeStruct((1, H, W, 1), jnp.float32)

    def meeting(x: jax.Array) -> jax.Array:
        y = jaxconv.conv(x, kernel, padding="SAME")
        return y + y[:, 3:4]

    rows, columns = jaxconv.receptive_field(meeting, x)
    assert (rows.jump, columns.jump, columns.size) == (None, 1, 2)
    assert "branches of different jumps meet" in rows.why

    def stacked(x: jax.Array) -> jax.Array:
        first, second = jnp.unstack(jnp.stack([x, jaxconv.conv(x, kernel, padding="SAME")], 1), axis=1)
        return jnp.tile(first + second, (1, 1, 1, 2))

    fields = jaxconv.receptive_field(stacked, x)
    assert (fields.size, fields.jump) == ((3, 2), (1, 1))


@pytest.mark.parametrize("seed", range(3))
def test_tiles_and_devices(seed, rng):
    fn = spreading(seed, ALONG_COLUMNS + OTHERS)
    x = rng.uniform(1, 2, (1, H, W, 1)).astype(np.float32)
    want = jax.jit(fn)(x)
    np.testing.assert_array_equal(tiled(fn, tile=(8, 10))(x), want)
    np.testing.assert_array_equal(spatially_sharded(fn, MESH, (None, "row", "col"))(x), want)


@pytest.mark.parametrize("seed", range(2))
def test_streams(seed, rng):
    fn = spreading(seed, ALONG_COLUMNS)
    x = rng.uniform(1, 2, (1, H, W, 1)).astype(np.float32)
    stream = streaming(fn, jax.ShapeDtypeStruct(x.shape, x.dtype), axis=2)
    np.testing.assert_allclose(joined(stream, x, rng), jax.jit(fn)(x), rtol=1e-6)
