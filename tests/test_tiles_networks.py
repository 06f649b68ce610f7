"""Tiles against the whole image: the networks of the examples, U-Nets, a dilated stack, at every border."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from benchmarks import nets
from examples.fcn_segmentation.model import FCN
from examples.fcn_segmentation.model import ModelConfig as Segments
from examples.super_resolution.model import ModelConfig, SuperResolution
from jaxconv.partition import tiled

pytestmark = pytest.mark.usefixtures("every_element")
EPS = np.finfo(np.float32).eps


def enlarging(**options: Any) -> Callable[[nnx.Rngs], nnx.Module]:
    return lambda rngs: SuperResolution(ModelConfig(**options), rngs=rngs)


def segmenting(model: Any) -> Callable[[nnx.Rngs], nnx.Module]:
    config = Segments(model=model, width=1 / 64, depth=11, blocks=(1, 1, 1, 1))
    return lambda rngs: FCN(config, 1, 2, rngs=rngs)


def unet(rank: int, widths: tuple[int, ...]) -> Callable[[nnx.Rngs], nnx.Module]:
    """That of the benchmarks, which is written for volumes, of this many axes."""
    options = {"widths": widths, "up_kernels": (3, 2)[: len(widths) - 1], "classes": 2}
    return lambda rngs: nets.UNet3D(nets.Layers(jaxconv.nn, rngs, rank), **options)


def dilated(rngs: nnx.Rngs) -> nnx.Module:
    """A context module: each position sees 31 x 31."""
    sizes = [(1, 3, 1), (3, 3, 2), (3, 4, 4), (4, 3, 8)]
    convs = [jaxconv.nn.Conv(n, m, (3, 3), kernel_dilation=d, rngs=rngs) for n, m, d in sizes]
    return nnx.Sequential(*(layer for conv in convs for layer in (conv, jax.nn.gelu)))


# Of each the shape of an image, no side of which is a multiple of the tile's, the tile, and the borders: each
# is a program for every tile, so a network has those that it is used with, or that are hardest for it.
NETWORKS = {
    "FSRCNN": (enlarging(model="fsrcnn", scale=3, d=4, s=3, m=2), (1, 19, 14, 1), (33, 24), "SAME"),
    "ESPCN": (enlarging(model="espcn", scale=2, features=(4, 3)), (1, 19, 14, 1), (22, 16), "REFLECT"),
    "FCN-8s": (segmenting("fcn8s"), (1, 170, 90, 1), 96, "SAME"),
    "FCN, dilated": (segmenting("dilated"), (1, 75, 40, 1), 40, "SAME"),
    "U-Net": (unet(2, (3, 4)), (1, 26, 22, 1), (14, 12), "REFLECT CIRCULAR"),
    "U-Net, volumes": (unet(3, (3, 4, 5)), (1, 12, 20, 8, 1), (8, 12, 8), "SAME"),
    "dilated stack": (dilated, (1, 47, 38, 1), (25, 20), "REFLECT CIRCULAR"),
}
CASES = [(name, border) for name, (*_, borders) in NETWORKS.items() for border in borders.split()]


def network(name: str, border: str, rng: np.random.Generator) -> Any:
    """With parameters that are nowhere zero, of about the size that keeps a layer's scale."""

    def draw(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):  # of dropout, which is off
            return jax.random.key(0)
        size = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        drawn = rng.normal(size=leaf.shape) * size if leaf.ndim > 1 else rng.uniform(0.5, 1, leaf.shape)
        return jnp.asarray(drawn, leaf.dtype)

    structure, state = nnx.split(nnx.eval_shape(lambda: NETWORKS[name][0](nnx.Rngs(0))))
    model = nnx.merge(structure, jax.tree.map(draw, state))
    model.eval()
    kinds = {"SAME": (), "REFLECT": jaxconv.nn.Conv, "CIRCULAR": jaxconv.nn.Conv | jaxconv.nn.ConvTranspose}
    for _, node in nnx.iter_graph(model):
        if isinstance(node, kinds[border]) and max(node.kernel_size) > 1:
            node.padding = border
    return model


def terms(model: nnx.Module) -> int:
    """The products that all layers together sum up for one position."""
    arrays = (node[...] for _, node in nnx.iter_graph(model) if isinstance(node, nnx.Variable))
    return sum(int(np.prod(a.shape[:-1])) for a in arrays if a.ndim > 2)


@pytest.mark.parametrize(("name", "border"), CASES)
def test_networks(name, border, rng):
    _, shape, tile, _ = NETWORKS[name]
    model = network(name, border, rng)
    x = rng.normal(size=shape).astype(np.float32)
    want = np.asarray(jax.jit(lambda model, x: model(x))(model, x))
    by_tiles = tiled(model, tile=tile)
    assert by_tiles.tiling(x).counts[0] == 2
    tolerance = 4 * EPS * np.sqrt(terms(model)) * np.abs(want).max()
    assert want.std() > 100 * tolerance
    np.testing.assert_allclose(by_tiles(x), want, rtol=0, atol=tolerance)
