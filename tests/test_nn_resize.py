"""The layers without parameters, of both kinds: each is the function of its name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from jaxconv import linen, nn

CALLS = [
    ("Upsample", {"scale": (2.5, 2.0)}, jaxconv.resize),
    ("Upsample", {"size": [3, 9], "method": "cubic", "align_corners": True}, jaxconv.resize),
    ("Upsample", {"size": 3, "antialias": True, "border": "symmetric"}, jaxconv.resize),
    ("Upsample", {"scale": 1.6, "method": "cubic", "cubic_a": -0.6}, jaxconv.resize),
    ("PixelShuffle", {"factor": (2, 1)}, jaxconv.pixel_shuffle),
    ("PixelShuffle", {"factor": 2, "order": "tensorflow"}, jaxconv.pixel_shuffle),
    ("PixelUnshuffle", {"factor": [2, 3]}, jaxconv.pixel_unshuffle),
    ("PixelUnshuffle", {"factor": (1, 2), "order": "tensorflow"}, jaxconv.pixel_unshuffle),
]


@pytest.mark.parametrize(("name", "options", "function"), CALLS)
def test_is_the_function(name, options, function, rng):
    x = jnp.asarray(rng.normal(size=(2, 4, 6, 4)), jnp.float32)
    wanted = function(x, **options)
    layer = getattr(nn, name)(**options)
    np.testing.assert_array_equal(nnx.jit(lambda layer, x: layer(x))(layer, x), wanted)
    assert jax.tree.leaves(nnx.state(layer)) == []
    np.testing.assert_array_equal(getattr(linen, name)(**options).apply({}, x), wanted)


@pytest.mark.parametrize("sizes", [[2, 2], np.array([2, 2])], ids=["list", "array"])
def test_linens_layers_are_hashable_whatever_holds_their_sizes(sizes):
    for make in (lambda n: linen.Upsample(scale=n), linen.PixelShuffle, linen.PixelUnshuffle):
        assert hash(make(sizes)) == hash(make((2, 2)))


@pytest.mark.parametrize("library", [nn, linen])
def test_refuses_at_construction(library):
    with pytest.raises(ValueError, match="give exactly one"):
        library.Upsample(method="cubic")
    with pytest.raises(ValueError, match="method='bilinear' is not known"):
        library.Upsample(scale=2, method="bilinear")
