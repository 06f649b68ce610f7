"""Functions of images that are divided in space among devices: one device's results, and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv
from jaxconv.partition import spatially_sharded
from tests.random_nets import net

Params = dict[str, jax.Array]
ROWS = jax.make_mesh((4,), ("row",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
BOTH = jax.make_mesh((2, 4), ("row", "col"), axis_types=(AxisType.Auto,) * 2)
EXPLICIT = jax.make_mesh((2, 2, 2), ("data", "row", "col"), axis_types=(AxisType.Explicit,) * 3)


def parameters(rng: np.random.Generator) -> Params:
    shapes = {
        "in": (3, 3, 2, 4),
        "wide": (3, 5, 4, 4),
        "grouped": (3, 2, 2, 4),
        "up": (3, 2, 4, 4),
        "one": (1, 1, 4, 8),
    }
    return {
        name: jnp.asarray(rng.standard_normal(s) / np.sqrt(np.prod(s[:-1])), jnp.float32)
        for name, s in shapes.items()
    }


def unet(x: jax.Array, p: Params) -> jax.Array:
    """A skip, and a maximum whose gradient goes to one element."""
    fine = jax.nn.relu(jaxconv.conv(x, p["in"], padding="SAME"))
    deep = jaxconv.conv(jaxconv.max_pool(fine, 2, ceil_mode=True), p["wide"], padding="SAME", dilation=(1, 2))
    up = jaxconv.conv_transpose(jax.nn.gelu(deep), p["up"], stride=2)
    return jnp.concatenate([fine, up[:, : x.shape[1], : x.shape[2]]], -1)


def valid_unet(x: jax.Array, p: Params) -> jax.Array:
    """Ronneberger's: every convolution loses its border, and the skip is cropped in the middle."""
    fine = jaxconv.conv(x, p["in"])
    deep = jaxconv.conv(jaxconv.avg_pool(fine, 2), p["wide"])
    up = jaxconv.conv_transpose(deep, p["up"][:2], stride=2)
    top, left = ((a - b) // 2 for a, b in zip(fine.shape[1:3], up.shape[1:3], strict=True))
    return fine[:, top : top + up.shape[1], left : left + up.shape[2]] + up


def fcn(x: jax.Array, p: Params) -> jax.Array:
    """A first border that is wider than a block, and a crop at the end."""
    y = lax.conv_general_dilated(
        x, p["in"], (2, 1), [(9, 9), (7, 8)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y = lax.conv_transpose(y, p["up"], (2, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y[:, 9 : 9 + x.shape[1], 7 : 7 + x.shape[2]]


def grouped(x: jax.Array, p: Params) -> jax.Array:
    """In NCHW, strided and dilated, both groups for themselves."""
    y = jnp.transpose(jaxconv.conv(x, p["in"], padding="SAME"), (0, 3, 1, 2))
    options: dict[str, Any] = {"groups": 2, "layout": "channels_first"}
    y = jaxconv.conv(y, p["grouped"], stride=(2, 3), dilation=(2, 1), padding=((3, 1), (0, 2)), **options)
    return jaxconv.conv_transpose(
        y, p["up"][:, :, :2], stride=(3, 2), padding=(1, 0), output_padding=1, **options
    )


def borders(x: jax.Array, p: Params) -> jax.Array:
    y = jaxconv.conv(x, p["in"], padding=((2, 1), (1, 3)), padding_mode="reflect")
    y = jaxconv.conv(y, p["wide"], padding=(1, 2), padding_mode="circular")
    return jaxconv.conv(jnp.roll(y, 3, 1), p["up"], padding=(1, 1), padding_mode="replicate")


def enlarged(x: jax.Array, p: Params) -> jax.Array:
    y = jax.image.resize(
        jaxconv.conv(x, p["in"], padding="SAME"),
        (x.shape[0], x.shape[1] * 2, x.shape[2] * 3 // 2, 4),
        "cubic",
    )
    y = jaxconv.resize(y, size=(x.shape[1] + 3, x.shape[2] - 4), method="linear", align_corners=True)
    return jax.image.resize(y, (*y.shape[:1], y.shape[1] * 2, y.shape[2], 4), "nearest")


def shuffled(x: jax.Array, p: Params) -> jax.Array:
    y = jaxconv.pixel_unshuffle(x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2], 2)
    return jaxconv.pixel_shuffle(
        jaxconv.conv(y[..., :4], p["wide"][:1], padding="SAME") @ p["one"][0, 0], (4, 2)
    )


def normalised(x: jax.Array, p: Params) -> jax.Array:
    """Batch statistics, a gate of global maxima and means, and a product over space."""
    y = jaxconv.conv(x, p["in"], padding="SAME")
    y = (y - y.mean((0, 1, 2))) / jnp.sqrt(y.var((0, 1, 2)) + 1e-5)
    gate = jaxconv.avg_pool(y, y.shape[1:3]) + y.max((1, 2), keepdims=True) - y.min(1, keepdims=True)
    gram = jnp.einsum("nhwc,nhwd->ncd", y, y) / y[0, ..., 0].size
    return jnp.log1p(jnp.abs(y)) * jax.nn.sigmoid(gate) @ gram[0] / jnp.abs(y).max()


def pooled(x: jax.Array, p: Params) -> jax.Array:
    y = jaxconv.conv(x, p["in"], padding="SAME")
    largest = lax.reduce_window(y, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 1, 1), "SAME")
    mean = jaxconv.avg_pool(y, 3, stride=(2, 1), padding=1)
    middle = jaxconv.max_pool(y, (3, 3), stride=(2, 1), padding=1)
    return middle + mean + largest[:, :, : mean.shape[2]]


def looped(x: jax.Array, p: Params) -> jax.Array:
    """Layers in a scan, with a mean carried along."""

    def layer(carry: Any, kernel: jax.Array) -> Any:
        y, mean = carry
        y = jax.nn.silu(jaxconv.conv(y, kernel, padding="SAME")) + mean
        return (y, y.mean()), y[..., 0]

    kernels = jnp.stack([p["wide"], p["wide"][::-1]])
    (y, _), every = lax.scan(layer, (jaxconv.conv(x, p["in"], padding="SAME"), 0.0), kernels)
    return y + every.sum(0)[..., None]


def drawn(x: jax.Array, p: Params) -> jax.Array:
    """Positions and noise are whole on each device, which takes its part of them."""
    y = jaxconv.conv(x, p["in"], padding="SAME")
    place = jnp.arange(y.shape[2]) / y.shape[2]
    kept = jax.random.bernoulli(jax.random.key(3), 0.8, y.shape)
    return jnp.where(kept, y + place[:, None], 0)


NETS = [unet, valid_unet, fcn, grouped, borders, enlarged, shuffled, normalised, pooled, looped, drawn]


def pulled(fn: Callable[..., jax.Array], weight: jax.Array) -> Callable[..., Any]:
    """The result and, for a cotangent, the gradients."""

    def run(x: jax.Array, p: Params) -> Any:
        y, pull = jax.vjp(fn, x, p)
        return y, pull(weight.astype(y.dtype))

    return jax.jit(run)


def close(got: Any, want: Any, eps: float = 1e-5) -> None:
    """Sums of at most a few thousand numbers about 1, in another order."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=eps, atol=eps * np.abs(b).max(), err_msg=str(path))


@pytest.mark.parametrize("fn", NETS, ids=lambda f: f.__name__)
def test_one_devices_results_and_gradients(fn, rng):
    """No size is a multiple of anything."""
    along_both = fn in (unet, valid_unet, pooled, enlarged)
    mesh, axes = (BOTH, (None, "row", "col")) if along_both else (ROWS, (None, "row"))
    x, p = jnp.asarray(rng.standard_normal((2, 19, 30, 2)), jnp.float32), parameters(rng)
    weight = jnp.asarray(rng.standard_normal(jax.eval_shape(fn, x, p).shape), jnp.float32)
    close(pulled(spatially_sharded(fn, mesh, axes), weight)(x, p), pulled(fn, weight)(x, p))


@pytest.mark.parametrize("seed", [1, 4, 6, 8])
def test_random_networks_to_the_last_bit(seed, rng):
    """Whatever meets what: a result is the same sum on any device."""
    fn = net(seed)
    x = jnp.asarray(rng.uniform(1, 2, (1, 17, 22, 1)), jnp.float32)
    mesh, axes = ((ROWS, (None, "row")), (BOTH, (None, "row", "col")))[seed % 2]
    np.testing.assert_array_equal(spatially_sharded(fn, mesh, axes)(x), jax.jit(fn)(x))


def test_a_training_step_on_explicit_axes_in_bfloat16(rng):
    """Images and targets are divided, the batch too; gradients of parameters are sums over all devices."""

    def loss(p: Params, x: jax.Array, target: jax.Array) -> jax.Array:
        return jnp.mean((unet(x, p).astype(jnp.float32) - target) ** 2)

    spec = P("data", "row", "col")
    x = jnp.asarray(rng.standard_normal((4, 16, 24, 2)), jnp.bfloat16)
    p = jax.tree.map(lambda a: a.astype(jnp.bfloat16), parameters(rng))
    target = jnp.asarray(rng.standard_normal((4, 16, 24, 8)), jnp.float32)
    want = jax.jit(jax.value_and_grad(loss))(p, x, target)
    step = jax.jit(jax.value_and_grad(spatially_sharded(loss, EXPLICIT, {1: spec, 2: spec})))
    with jax.set_mesh(EXPLICIT):
        put = [jax.device_put(a, NamedSharding(EXPLICIT, spec)) for a in (x, target)]
        got = step(jax.device_put(p, NamedSharding(EXPLICIT, P())), *put)
    close(got, want, eps=3 * float(jnp.finfo(jnp.bfloat16).eps))


def test_results_are_divided_as_images_are(rng):
    x, p = jnp.zeros((1, 16, 24, 2)), parameters(rng)
    divided = spatially_sharded(
        lambda x, p: jaxconv.conv(x, p["in"], padding="SAME"), BOTH, P(None, "row", "col")
    )
    y = divided(x, p)
    assert y.sharding.is_equivalent_to(NamedSharding(BOTH, P(None, "row", "col")), y.ndim)


def test_nothing_but_the_halo_is_sent():
    """Rows of 8 pixels, then columns of 8 + 2; a pool that blocks hold needs nothing, a skip neither."""
    divided = spatially_sharded(unet, BOTH, (None, "row", "col"))
    shapes = {"in": (3, 3, 2, 4), "wide": (3, 5, 4, 4), "up": (2, 2, 4, 4)}
    p = {name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in shapes.items()}
    found = divided.exchanges(jax.ShapeDtypeStruct((1, 16, 32, 2), jnp.float32), p)
    fine, deep = 4 * 2 * (2 * 8 - 8 + 2 * (8 + 2)), 4 * 4 * (1 * 4 + 2 * 4 * (4 + 2))
    assert [e.rows for e in found.sent] == [1, 2, 1, 8]
    assert found.bytes == 4 * 2 * (8 + 2 * (8 + 2)) + 4 * 4 * (4 + 8 * (4 + 2)), (fine, deep)
    assert "together" in str(found)


REFUSED = {
    "a running sum": (
        lambda x: jnp.cumsum(x, 1),
        "cumsum can't be divided among devices: it is a running sum",
    ),
    "a whole row": (lambda x: jnp.swapaxes(x, 1, 2).reshape(1, -1), "merges a divided dimension"),
    "a sort": (lambda x: jnp.sort(x, 1), "sort can't be divided"),
    "a product": (lambda x: lax.top_k(x[..., 0], 2)[0], "top_k can't be divided"),
    "other blocks": (lambda x: x[:, ::2] + x[:, :8], "blocks are of different sizes"),
    "an argmax": (lambda x: jnp.argmax(x, 1), "argmax over a divided dimension"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_local_is_refused(name):
    fn, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        spatially_sharded(fn, ROWS, (None, "row")).exchanges(jax.ShapeDtypeStruct((1, 16, 4, 2), jnp.float32))


def test_a_refusal_names_the_layer():
    def fn(x: jax.Array, params: Any) -> jax.Array:
        return jnp.cumsum(x, 1) * params["decoder"]["scan"]["scale"]

    def named(x: jax.Array, params: Any) -> jax.Array:
        with jax.named_scope("encoder"):
            return jnp.cumsum(x, 1) * params["scale"]

    x = jax.ShapeDtypeStruct((1, 16, 4, 2), jnp.float32)
    with pytest.raises(ValueError, match="layer 'encoder': cumsum"):
        spatially_sharded(named, ROWS, (None, "row")).exchanges(x, {"scale": x})


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ((None, "line"), "names 'line'; the mesh has row, col"),
        ((None, "row", "row"), "a mesh axis twice"),
        ((None, None), "divides nothing"),
        ("row", "must be a sequence"),
        ({}, "names no argument"),
        ((None, "row", None, None, "col"), "more entries than the argument"),
        ({1: (None, "row")}, "no argument that is one array"),
    ],
)
def test_bad_axes(axes, message):
    with pytest.raises(ValueError, match=message):
        spatially_sharded(lambda x: x, BOTH, axes).exchanges(jnp.zeros((1, 8, 8, 1)))


def test_no_function():
    with pytest.raises(ValueError, match="must be a function"):
        spatially_sharded(3, ROWS, (None, "row"))  # pyright: ignore[reportArgumentType]
