"""Pruned networks: what is cut computes what the masked original does, in every library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.prune import prune
from tests.prune_models import LIBRARIES, NETS, build

# Channels that are left of each layer, out of those in the table, with half of every layer gone.
LEFT = {
    "resnet": {"stem": 3, "conv1": 5, "conv2": 3, "down": 4, "conv3": 2, "conv4": 4, "head": 5},
    "mobilenet": {"stem": 3, "deep1": 6, "point1": 4, "deep2": 4, "point2": 2, "head": 5},
    "resnext": {"stem": 3, "into": 6, "grouped": 9, "back": 3, "head": 5},
    "unet": {"first": 2, "second": 3, "third": 4, "up1": 2, "dec1": 3, "up2": 1, "last": 2},
    "fsrcnn": {"features": 4, "shrink": 2, "map": 3, "expand": 4, "deconv": 1},
    "decoder": {"start": 6, "up1": 4, "up2": 4, "last": 2},
}


def close(got: jax.Array, want: jax.Array, depth: int = 10) -> None:
    """To rounding: `depth` layers of some hundred products each."""
    eps = float(jnp.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, want, rtol=0, atol=depth * 16 * eps * float(jnp.abs(want).max()))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("net", NETS)
def test_pruned_is_the_masked_network(net: str, library: str, rng: np.random.Generator) -> None:
    fn, params, x = build(library, net, rng)
    small = prune(fn, params, x)
    layers = {name.rpartition("/")[2]: sizes["out"] for name, sizes in small.config["layers"].items()}
    assert layers == {name: [NETS[net][1][name].outputs, left] for name, left in LEFT[net].items()}
    masked = small.expand()
    whole, parts = jax.tree.leaves(params), jax.tree.leaves(small.params)
    assert sum(p.size for p in parts if hasattr(p, "size")) < 0.55 * sum(
        w.size for w in whole if hasattr(w, "size")
    )

    def both(p, q, y):
        return small.apply(p, y), fn(q, y), *([fn(small.model, y)] if library != "linen" else [])

    got, want, *own = jax.jit(both)(small.params, masked, x)
    assert got.shape == want.shape
    assert float(jnp.abs(want).max()) > 1e-3
    close(got, want)
    for other in own:  # the library's own layers with smaller arrays
        close(other, got)
