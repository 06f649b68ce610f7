"""Tiles against the whole image: every operation, every border, random networks, and arrays on disk."""

import warnings

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
import zarr
from flax import linen, nnx
from jax import lax
from scipy import ndimage

import jaxconv
from jaxconv.partition import tiled
from jaxconv.partition.memory import compiled_bytes

from .random_nets import net

EPS = np.finfo(np.float32).eps


def image(rng, *shape, dtype=np.float32):
    return rng.normal(size=shape).astype(dtype)


def same(a, b, terms=100):
    """To rounding of sums of so many terms."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        np.testing.assert_allclose(x, y, rtol=0, atol=4 * EPS * np.sqrt(terms) * max(np.abs(y).max(), 1e-9))
    return True


def programs(by_tiles):
    [work] = by_tiles._works.values()
    return len(work._programs)


@pytest.mark.parametrize("seed", range(11))
def test_random_networks(seed):
    x = np.random.default_rng(seed).uniform(1, 2, (1, 37, 33, 1)).astype(np.float32)
    whole = np.asarray(jax.jit(net(seed))(x))
    by_tiles = tiled(net(seed), tile=tuple(-(-n // 2) for n in whole.shape[1:3]))
    assert same(by_tiles(x), whole)
    assert len([n for n in by_tiles.tiling(x).counts if n > 1]) == 2


WEIGHTS = jnp.asarray(np.random.default_rng(5).normal(size=(4, 3, 3)), jnp.float32)
PLACES = jnp.asarray(np.random.default_rng(6).normal(size=(1, 23, 3)), jnp.float32)


def lax_conv(x, *args, **kwargs):
    return lax.conv_general_dilated(x, WEIGHTS, *args, dimension_numbers=("NWC", "WIO", "NWC"), **kwargs)


def indexed(method, size):
    return lambda x: jax.image.resize(x, (1, size, 3), method)


OPERATIONS = {
    "conv": lambda x: jaxconv.conv(x, WEIGHTS, stride=2, padding=((2, 1),), dilation=2),
    "conv with a crop": lambda x: jaxconv.conv(x, WEIGHTS, padding=((-2, 5),)),
    "conv_transpose": lambda x: jaxconv.conv_transpose(x, WEIGHTS, stride=3, padding=((2, 0),)),
    "conv_transpose with gaps": lambda x: jaxconv.conv_transpose(x, WEIGHTS[:2], stride=3),
    "conv_transpose, circular": lambda x: jaxconv.conv_transpose(
        x, WEIGHTS, stride=2, padding="SAME", padding_mode="circular"
    ),
    "lax, both dilations": lambda x: lax_conv(x, (2,), [(3, 4)], (3,), (2,)),
    "lax, transposed": lambda x: lax.conv_transpose(
        x, WEIGHTS, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    ),
    "max_pool": lambda x: jaxconv.max_pool(x, 3, stride=2, padding=1),
    "max_pool in ceil mode": lambda x: jaxconv.max_pool(x, 4, stride=3, ceil_mode=True),
    "avg_pool": lambda x: jaxconv.avg_pool(x, 3, stride=2, padding=1, count_include_pad=False),
    "adaptive_avg_pool": lambda x: jaxconv.adaptive_avg_pool(x, 9),
    "adaptive_max_pool": lambda x: jaxconv.adaptive_max_pool(x, 9),
    "reduce_window": lambda x: lax.reduce_window(
        x, 2.0, lax.mul, (1, 3, 1), (1, 2, 1), ((0, 0), (2, 1), (0, 0))
    ),
    "smallest": lambda x: linen.max_pool(-9.0 - x, (3,), (1,), "SAME"),
    "resize, nearest": lambda x: jaxconv.resize(x, size=41, method="nearest"),
    "resize, linear": lambda x: jaxconv.resize(x, scale=2, method="linear"),
    "resize, cubic, smaller": lambda x: jaxconv.resize(x, size=11, method="cubic", antialias=True),
    "resize, corners": lambda x: jaxconv.resize(x, size=45, method="linear", align_corners=True),
    "jax.image, linear": indexed("linear", 46),
    "jax.image, nearest": indexed("nearest", 37),
    "repeat": lambda x: jnp.repeat(x, 3, axis=1),
    "pixel_shuffle": lambda x: jaxconv.pixel_shuffle(jnp.concatenate([x, 2 * x], -1), 2),
    "pixel_unshuffle": lambda x: jaxconv.pixel_unshuffle(x[:, 1:], 2),
    "blocks": lambda x: x[:, 2:].reshape(1, 7, 3, 3).max(2),
    "interior padding": lambda x: lax.pad(x, 7.0, ((0, 0, 0), (2, -1, 2), (0, 0, 0))),
    "edge": lambda x: jnp.pad(x, ((0, 0), (5, 3), (0, 0)), "edge"),
    "symmetric": lambda x: jnp.pad(x, ((0, 0), (5, 3), (0, 0)), "symmetric"),
    "slices": lambda x: x[:, 1:-2:3] + x[:, :-3:3],
    "reverse": lambda x: x[:, ::-1, ::-1],
    "known start": lambda x: lax.dynamic_slice(x, (0, 4, 1), (1, 15, 2)),
    "one position for all": lambda x: x - x[:, 5:6],
    "split": lambda x: jnp.concatenate([-a for a in jnp.split(x, [4, 9], axis=1)][::-1], 1),
    "channels": lambda x: jnp.cumsum(jax.nn.softmax(x), -1) * jnp.sort(x, -1) @ WEIGHTS[0],
    "argmax": lambda x: jnp.argmax(x, -1),
    "transpose": lambda x: jnp.einsum("nwc,cd->dnw", x, WEIGHTS[1]),
    "positions": lambda x: x * jnp.arange(23.0)[:, None] + PLACES,
    "scan": lambda x: lax.scan(
        lambda x, w: (jaxconv.conv(x, w, padding="SAME"), x[..., 0]), x, WEIGHTS[None]
    ),
    "checkpoint": jax.checkpoint(lambda x: jnp.tanh(jaxconv.conv(x, WEIGHTS))),
    "two results": lambda x: {"fine": jaxconv.resize(x, scale=2), "coarse": jaxconv.max_pool(x, 2)},
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name, rng):
    x = image(rng, 1, 23, 3)
    fn = OPERATIONS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jaxconv.nn.CheckerboardWarning)
        by_tiles = tiled(fn, tile=5, axes=[1])
        assert same(by_tiles(x), fn(x))
    assert by_tiles.tiling(x).counts[0] > 1


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_borders(mode, layout, rng):
    """Two layers, so that the border of the second is made of what the first makes of its own."""
    kernels = [image(rng, 5, 3, 2, 4), image(rng, 3, 2, 4, 1)]

    def fn(x):
        for kernel, stride in zip(kernels, (1, 2), strict=True):
            x = jaxconv.conv(x, kernel, stride=stride, padding=(2, 1), padding_mode=mode, layout=layout)
        return x

    x = image(rng, *((2, 41, 30, 2) if layout == "channels_last" else (2, 2, 41, 30)))
    by_tiles = tiled(fn, tile=6)
    assert same(by_tiles(x), jax.jit(fn)(x))
    assert programs(by_tiles) <= 25
    assert by_tiles.tiling(x).axes == ((1, 2) if layout == "channels_last" else (2, 3))


@pytest.mark.parametrize(
    ("mode", "theirs"), [("reflect", "mirror"), ("circular", "wrap"), ("zeros", "constant")]
)
def test_scipy(mode, theirs, rng):
    """What scipy makes of the whole image, in float64."""
    x, kernel = image(rng, 33, 45), image(rng, 3, 5)

    def fn(x):
        padded = x[..., None]
        return jaxconv.conv(padded[None], kernel[..., None, None], padding=(1, 2), padding_mode=mode)[
            0, ..., 0
        ]

    want = ndimage.correlate(x.astype(np.float64), kernel.astype(np.float64), mode=theirs)
    assert same(tiled(fn, tile=(9, 14))(x), want)


def test_a_large_image_has_few_programs():
    kernel = jnp.ones((5, 1, 1))

    def fn(x):
        return jaxconv.conv(jnp.tanh(jaxconv.conv(x, kernel, padding="SAME")), kernel, stride=2, padding=2)

    by_tiles = tiled(fn, tile=100)
    shape = jax.ShapeDtypeStruct((1, 100_001, 1), np.float32)
    assert by_tiles.tiling(shape).counts == (501,)
    [work] = by_tiles._works.values()
    assert len({work.plan(number).key for number in work.grid}) == 4  # the last two see the border
    assert by_tiles.tiling(shape).halo == ((4, 3),)
    assert by_tiles.tiling(shape).scale == (2,)


def upsampling(x):
    return jaxconv.conv_transpose(jaxconv.max_pool(x, 2), jnp.ones((2, 2, 3, 3)), stride=2)


REFUSED = {
    "global pooling": (lambda x, _: upsampling(x) * x.mean((1, 2), keepdims=True), "reduce_sum.*it reduces"),
    "one window": (lambda x, _: upsampling(x) * jaxconv.avg_pool(x, x.shape[1:3]), "its one window sees"),
    "a running sum": (lambda x, _: jnp.cumsum(upsampling(x), 1), "cumsum.*running sum"),
    "attention": (lambda x, _: jnp.einsum("nhwc,nkwc->nhkw", upsampling(x), x), "dot_general.*joins each"),
    "a transform": (lambda x, _: jnp.fft.fft(upsampling(x), axis=1).real, "fft.*not known to be local"),
    "rows joined": (lambda x, _: upsampling(x).reshape(1, -1, 3), "reshape.*joins the axis"),
    "unknown places": (
        lambda x, p: upsampling(x)[:, p["mixer"]["kernel"][0, 0].astype(int)],
        "not known before",
    ),
    "a loop": (
        lambda x, _: lax.while_loop(lambda x: x.sum() < 9, lambda x: 2 * x, upsampling(x)),
        "while.*only a scan",
    ),
    "a parameter's layer": (
        lambda x, p: jnp.einsum("nhwc,hk->nkwc", upsampling(x), p["mixer"]["kernel"]),
        "dot_general in mixer .*it sums",
    ),
    "instance normalisation": (
        lambda x, _: jax.named_scope("norm_3")(lambda y: y / y.std((1, 2), keepdims=True))(upsampling(x)),
        "in norm_3 is not local along partitioned axis 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_local_is_refused_by_name(name, rng):
    fn, message = REFUSED[name]
    x, parameters = image(rng, 1, 8, 6, 3), {"mixer": {"kernel": jnp.ones((8, 8))}}
    with pytest.raises(ValueError, match=message):
        tiled(fn, tile=4)(x, parameters)


def test_batch_statistics_are_refused_and_their_averages_are_not(rng):
    model = nnx.Sequential(
        jaxconv.nn.Conv(1, 3, (3, 3), rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    )
    x = image(rng, 1, 20, 17, 1)
    with pytest.raises(ValueError, match="it reduces over the whole axis"):
        tiled(lambda x: nnx.clone(model)(x), tile=8)(x)
    model.eval()
    assert same(tiled(model, tile=8)(x), model(x))


def test_parameters_are_arguments(rng):
    """Of NNX and Equinox they are the function's own; what changes between calls counts."""
    x = image(rng, 1, 20, 17, 1)
    ours = jaxconv.nn.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0))
    by_tiles = tiled(ours, tile=8)
    first = by_tiles(x)
    ours.kernel[...] = 2 * ours.kernel[...]
    assert same(by_tiles(x), 2 * first)
    assert programs(by_tiles) == 9
    theirs = equinox.nn.Conv2d(1, 2, 3, padding=1, key=jax.random.key(0))
    assert same(tiled(theirs, tile=8)(x[..., 0]), theirs(x[..., 0]))
    layer = linen.Conv(2, (3, 3))
    variables = layer.init(jax.random.key(0), x)
    assert same(tiled(layer.apply, tile=8)(variables, x), layer.apply(variables, x))


def blurred(x):
    """(height, width) of any dtype to bytes of half the size."""
    kernel = jnp.ones((4, 4, 1, 1)) / 16
    y = jaxconv.conv(
        x.astype(jnp.float32)[None, ..., None], kernel, stride=2, padding=1, padding_mode="reflect"
    )
    return jnp.round(y[0, ..., 0]).astype(jnp.uint8)


@pytest.mark.parametrize("dtype", ["u1", ">u2"])
def test_files(dtype, rng, tmp_path):
    x = rng.integers(0, 256, (50, 70)).astype(dtype)
    want = np.asarray(blurred(x.astype("u2")))
    by_tiles, told = tiled(blurred, tile=13), []

    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", dtype, x.shape)
    mapped[:] = x
    out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", "u1", want.shape)
    assert by_tiles(mapped, out=out, progress=lambda done, total: told.append((done, total))) is out
    assert told[0] == (0, 6)
    assert told[-1] == (6, 6)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), want)

    stored = zarr.create_array(tmp_path / "x.zarr", shape=x.shape, chunks=(16, 16), dtype=x.dtype)
    stored[:] = x
    result = zarr.create_array(tmp_path / "y.zarr", shape=want.shape, chunks=(16, 16), dtype="u1")
    by_tiles(stored, out=result)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "y.zarr")[:], want)

    tifffile.imwrite(tmp_path / "x.tif", x)
    drawn = tifffile.memmap(tmp_path / "y.tif", shape=want.shape, dtype="u1", photometric="minisblack")
    by_tiles(tifffile.memmap(tmp_path / "x.tif"), out=drawn)
    drawn.flush()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "y.tif"), want)


def test_pages_of_memory_maps_are_let_go(tmp_path, monkeypatch, rng):
    monkeypatch.setattr("jaxconv.partition.host._HELD", 100)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (50, 70))
    x[:] = rng.integers(0, 256, x.shape)
    out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.uint8, (25, 35))
    np.testing.assert_array_equal(tiled(blurred, tile=20)(x, out=out), blurred(np.array(x)))
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[:] = 7  # these pages are nowhere else
    assert (tiled(blurred, tile=20)(private) == 7).all()


def test_batches_of_tiles(rng):
    x, kernel = image(rng, 64, 30, 2), image(rng, 3, 3, 2, 1)

    def fn(x):
        return jaxconv.conv(x, kernel, padding=1)

    by_tiles = tiled(fn, tile=7, batch=4)
    assert same(by_tiles(x), fn(x))
    [work] = by_tiles._works.values()
    assert {batch for _, batch in work._programs} >= {1, 4}


def test_memory_decides_the_tile(rng):
    x, kernel = image(rng, 1, 300, 200, 1), image(rng, 3, 3, 1, 16)

    def fn(x):
        return jaxconv.conv(x, kernel, padding=1).sum(-1)

    small, large = tiled(fn, memory=2**20), tiled(fn)
    assert same(small(x), fn(x), 500)
    [work] = small._works.values()
    assert large.tiling(x).counts == (1, 1)
    assert tiled(fn, memory=5 * 2**20).tiling(x).counts == (2, 1)  # rows stay whole
    assert np.prod(small.tiling(x).counts) >= 4
    assert max(compiled_bytes(program) for program in work._programs.values()) <= 2**20


def test_bad_input(rng):
    x = image(rng, 1, 20, 17, 1)

    def fn(x):
        return jaxconv.conv(x, jnp.ones((3, 3, 1, 1)), padding=1)

    for options, message in [
        ({"batch": 0}, "batch=0 must be"),
        ({"memory": 0}, "memory=0 must be"),
        ({"wrt": 2}, "wrt=2 names no positional argument"),
        ({"axes": (1, 1)}, "must be different dimensions"),
        ({"axes": (7,)}, "must be different dimensions"),
        ({"tile": (3, 4, 5)}, "one number of positions, or one for each"),
        ({"tile": 0}, "one number of positions, or one for each"),
    ]:
        with pytest.raises(ValueError, match=message):
            tiled(fn, **options)(x)
    by_tiles = tiled(fn, tile=8)
    with pytest.raises(ValueError, match="out has shape"):
        by_tiles(x, out=np.empty((1, 20, 16, 1), np.float32))
    with pytest.raises(ValueError, match="convert it in the function"):
        by_tiles(x, out=np.empty(x.shape, np.uint8))
    with pytest.raises(ValueError, match="must have the structure"):
        tiled(lambda x: (fn(x), x), tile=8)(x, out=x)
    with pytest.raises(ValueError, match="no window moves"):
        tiled(lambda x: 2 * x, tile=8)(x)
    with pytest.raises(ValueError, match="no result of the function has a position"):
        tiled(lambda _: jnp.ones(3), tile=8, axes=[1])(x)
