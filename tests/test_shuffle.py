"""pixel_shuffle and pixel_unshuffle against the index formula of their docstrings, and against PyTorch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv.ops.shuffle import pixel_shuffle, pixel_unshuffle

# (batch shape, spatial shape, channels of the result, factors): no two sizes of a case are equal.
CASES = [
    ((2,), (5,), 3, (4,)),
    ((), (3, 5), 2, (4, 1)),
    ((2,), (4, 3), 5, (2, 3)),
    ((2, 3), (4, 5), 1, (3, 2)),
    ((1,), (2, 3, 4), 5, (3, 1, 2)),
    ((), (2, 1, 3, 2), 2, (1, 2, 2, 3)),
    ((0,), (4, 3), 2, (2, 2)),
]


def _by_formula(x: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Channels-last, one batch axis; one element at a time."""
    batch, *spatial, channels = x.shape
    block = int(np.prod(factors))
    y = np.empty((batch, *(n * r for n, r in zip(spatial, factors, strict=True)), channels // block), x.dtype)
    for where in itertools.product(*map(range, spatial)):
        for p, offset in enumerate(itertools.product(*map(range, factors))):
            at = tuple(i * r + a for i, r, a in zip(where, factors, offset, strict=True))
            for c in range(channels // block):
                y[(slice(None), *at, c)] = x[(slice(None), *where, c * block + p)]
    return y


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("batch", "spatial", "channels", "factors"), CASES)
def test_matches_the_formula_and_inverts(batch, spatial, channels, factors, layout, rng):
    x = rng.normal(size=(*batch, *spatial, channels * int(np.prod(factors)))).astype(np.float32)
    flat = x.reshape(int(np.prod(batch)), *x.shape[len(batch) :])
    wanted = _by_formula(flat, factors)
    wanted = wanted.reshape(*batch, *wanted.shape[1:])
    if layout == "channels_first":
        x, wanted = (np.moveaxis(a, -1, len(batch)) for a in (x, wanted))
    y = pixel_shuffle(jnp.asarray(x), factors, layout=layout)
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(pixel_unshuffle(y, factors, layout=layout), x)


@pytest.mark.parametrize("factor", [2, 3])
def test_is_pytorch_in_two_dimensions(factor, rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 2 * factor**2, 3, 4)).astype(np.float32)
    wanted = torch.nn.functional.pixel_shuffle(torch.from_numpy(x), factor).numpy()
    y = pixel_shuffle(jnp.asarray(x), factor, layout="channels_first")
    np.testing.assert_array_equal(y, wanted)
    image = rng.normal(size=(2, 3, 4 * factor, 5 * factor)).astype(np.float32)
    wanted = torch.nn.functional.pixel_unshuffle(torch.from_numpy(image), factor).numpy()
    np.testing.assert_array_equal(
        pixel_unshuffle(jnp.asarray(image), factor, layout="channels_first"), wanted
    )


def test_an_int_counts_for_every_spatial_axis(rng):
    x = jnp.asarray(rng.integers(-9, 9, size=(2, 3, 4, 5, 8)), jnp.int8)
    np.testing.assert_array_equal(pixel_shuffle(x, 2), pixel_shuffle(x, (2, 2, 2)))
    np.testing.assert_array_equal(pixel_unshuffle(x, 1), x)


def test_transposes_to_its_inverse_under_jit_and_vmap(rng):
    x = jnp.asarray(rng.normal(size=(3, 2, 4, 5, 12)), jnp.float32)
    g = jnp.asarray(rng.normal(size=(3, 2, 8, 15, 2)), jnp.float32)

    @jax.jit
    @jax.vmap
    def pull(x, g):
        y, vjp = jax.vjp(lambda x: pixel_shuffle(x, (2, 3)), x)
        return y, vjp(g)[0]

    y, gx = pull(x, g)
    np.testing.assert_array_equal(y, pixel_shuffle(x, (2, 3)))
    np.testing.assert_array_equal(gx, pixel_unshuffle(g, (2, 3)))


def test_keeps_the_batch_sharded_under_explicit_axes(rng):
    x = jnp.asarray(rng.normal(size=(8, 3, 2, 4)), jnp.float32)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        y = pixel_shuffle(jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))), 2)
        back = pixel_unshuffle(y, 2)
    assert jax.typeof(y).sharding.spec[0] == jax.typeof(back).sharding.spec[0] == "data"
    np.testing.assert_array_equal(y, pixel_shuffle(x, 2))
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize(
    ("function", "shape", "factor", "layout", "message"),
    [
        (pixel_shuffle, (2, 3, 5, 6), 2, "channels_last", "6 channels.*multiple of 4.*give.* 8 of them"),
        (pixel_shuffle, (2, 6, 3, 8), 2, "channels_first", "6 channels.*multiple of 4"),
        (
            pixel_unshuffle,
            (2, 4, 5, 6),
            2,
            "channels_last",
            r"\(2, 2\) must divide .* \(4, 5\)",
        ),
        (pixel_shuffle, (2, 3, 5, 4), 0, "channels_last", "factor=0 must be at least 1"),
        (pixel_shuffle, (2, 3, 5, 4), 1.5, "channels_last", r"factor=1\.5 is of type float; wanted an int"),
        (pixel_shuffle, (2, 3, 5, 4), True, "channels_last", "factor=True is of type bool; wanted an int"),
        (pixel_shuffle, (2, 3, 5, 4), (2, True), "channels_last", "factor=.* must hold integers"),
        (pixel_unshuffle, (2, 3, 5, 4), None, "channels_last", "factor=None is of type NoneType"),
        (pixel_shuffle, (5, 4), 2, "channels_last", "does not go with x of shape"),
        (pixel_unshuffle, (5, 4), (1, 1), "channels_last", "does not go with x of shape"),
        (pixel_shuffle, (2, 3, 5, 4), 2, "NHWC", "layout='NHWC'.*channels_last, channels_first"),
    ],
)
def test_says_what_is_wrong(function, shape, factor, layout, message):
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda x: function(x, factor, layout=layout))(jnp.zeros(shape))


def test_takes_lists_and_numpy_factors():
    x = np.arange(8.0, dtype=np.float32).reshape(1, 2, 4)
    wanted = pixel_shuffle(jnp.asarray(x), 2)
    for factor in (np.array([2]), np.int64(2), np.array(2), [2]):
        np.testing.assert_array_equal(pixel_shuffle(x.tolist(), factor), wanted)
        np.testing.assert_array_equal(pixel_unshuffle(wanted.tolist(), factor), x)
    np.testing.assert_array_equal(pixel_shuffle(x > 3, 2), wanted > 3)


@pytest.mark.parametrize("function", [pixel_shuffle, pixel_unshuffle])
@pytest.mark.parametrize("x", [None, "x", [[1.0], [1.0, 2.0]]])
def test_refuses_what_is_no_array(function, x):
    with pytest.raises(ValueError, match=r"x of type .* is not an array|dtype"):
        function(x, 2)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("factors", [(3,), (2, 3), (2, 1, 3)])
def test_tensorflows_order_has_the_sub_pixels_first(factors, layout, rng):
    """TensorFlow's channel p*C + c is PyTorch's c*R + p."""
    n, block, channels = len(factors), int(np.prod(factors)), 5
    x = rng.normal(size=(2, *(2 + i for i in range(n)), channels * block)).astype(np.float32)
    theirs = x.reshape(*x.shape[:-1], channels, block).swapaxes(-1, -2).reshape(x.shape)
    wanted = _by_formula(x, factors)
    if layout == "channels_first":
        theirs, wanted = (np.moveaxis(a, -1, 1) for a in (theirs, wanted))
    y = pixel_shuffle(jnp.asarray(theirs), factors, order="tensorflow", layout=layout)
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(pixel_unshuffle(y, factors, order="tensorflow", layout=layout), theirs)
    with pytest.raises(ValueError, match="order='tf' is not known; use one of torch, tensorflow"):
        pixel_shuffle(theirs, factors, order="tf", layout=layout)


def test_tensorflows_order_is_that_of_its_documentation():
    """The example of tf.nn.depth_to_space: twelve channels become three."""
    x = jnp.arange(1, 13).reshape(1, 1, 1, 12)
    y = pixel_shuffle(x, 2, order="tensorflow")
    assert y.tolist() == [[[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]]
