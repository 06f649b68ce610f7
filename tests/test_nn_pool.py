"""The pooling layers of NNX and Linen are the functions, with any number of batch axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jaxconv

FLAVOURS = {
    "nnx": lambda name, *args, **options: getattr(jaxconv.nn, name)(*args, **options),
    "linen": lambda name, *args, **options: getattr(jaxconv.linen, name)(*args, **options).bind({}),
}


@pytest.fixture(params=FLAVOURS)
def layer(request):
    return FLAVOURS[request.param]


def test_layers_are_the_functions(layer, rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 7, 6, 2)), jnp.float32)
    flat = x.reshape(6, 7, 6, 2)
    options = {"padding": ((1, 0), (0, 1)), "ceil_mode": True}

    pool = layer("MaxPool", [3, 2], 2, return_indices=True, dilation=(1, 2), **options)
    y, where = pool(x)
    wanted = jaxconv.max_pool(flat, (3, 2), stride=2, dilation=(1, 2), return_indices=True, **options)
    for found, function in zip((y, where), wanted, strict=True):
        np.testing.assert_array_equal(found, function.reshape(2, 3, *function.shape[1:]))

    unpool = layer("MaxUnpool", (3, 2), 2, padding=options["padding"])
    back = unpool(y, where, output_size=(7, 6))
    same = jaxconv.max_unpool(*wanted, (3, 2), stride=2, padding=options["padding"], output_size=(7, 6))
    np.testing.assert_array_equal(back, same.reshape(x.shape))

    mean = layer("AvgPool", (3, 2), (2, 3), count_include_pad=False, **options)(x)
    wanted = jaxconv.avg_pool(flat, (3, 2), stride=(2, 3), count_include_pad=False, **options)
    np.testing.assert_array_equal(mean, wanted.reshape(mean.shape))


def test_without_batch_and_with_one_axis(layer):
    x = jnp.array([[3.0], [5.0], [4.0], [1.0]])
    np.testing.assert_array_equal(layer("MaxPool", 2)(x), [[5], [4]])
    np.testing.assert_array_equal(layer("AvgPool", 2, 1, padding="SAME")(x), [[4], [4.5], [2.5], [0.5]])


@pytest.mark.parametrize(
    ("name", "args", "options", "message"),
    [
        ("MaxPool", ((),), {}, r"window=\(\) has no axis"),
        ("MaxPool", ((2, 0),), {}, r"window=\(2, 0\) must be at least 1"),
        ("AvgPool", ((2, 2), 0), {}, "strides=0 must be at least 1"),
        ("AvgPool", ((2, 2), (1, 2, 3)), {}, "strides"),
        ("AvgPool", (2,), {"padding": "CIRCULAR"}, "padding='CIRCULAR' is not known"),
        ("MaxUnpool", (2,), {"padding": "SAME"}, "padding='SAME'"),
    ],
)
def test_says_what_is_wrong(layer, name, args, options, message):
    with pytest.raises(ValueError, match=message):
        layer(name, *args, **options)


def test_refuses_inputs_of_too_few_axes(layer):
    with pytest.raises(ValueError, match=r"window=\(2, 2\) wants \(\*batch, \*spatial, features\)"):
        layer("MaxPool", (2, 2))(jnp.zeros((4, 3)))


def test_in_a_network_under_jit():
    class Net(nnx.Module):
        def __init__(self):
            self.pool = jaxconv.nn.MaxPool((2, 2))

        def __call__(self, x):
            return self.pool(x)

    x = jnp.arange(32.0).reshape(2, 4, 4, 1)
    np.testing.assert_array_equal(nnx.jit(Net())(x), jaxconv.max_pool(x, 2))
    sequence = linen.Sequential([jaxconv.linen.MaxPool((2, 2)), jaxconv.linen.AvgPool((2, 2))])
    y, variables = sequence.init_with_output(jax.random.key(0), x)
    assert variables == {}
    np.testing.assert_array_equal(y.ravel(), [10, 26])
