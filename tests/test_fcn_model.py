"""The networks of the segmentation example: the paper's geometry, and other formulas of their parts."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from examples.fcn_segmentation import layers
from examples.fcn_segmentation.layers import ConvNorm, Fixed, Score, Upsample, max_pool
from examples.fcn_segmentation.model import FCN, ModelConfig, normalise, start_from
from tests.torch_cases import QUICKLY

pytestmark = pytest.mark.usefixtures("every_element", "cheap_draws")
GRAY = float(np.mean([0.485, 0.456, 0.406]))  # of one channel; normalised it is zero
CLASSES = 3
HE = layers.HE
quick_jit = functools.partial(jax.jit, compiler_options=QUICKLY)
conv_nhwc = functools.partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def draw(key, shape, dtype=jnp.float32):
    """He's normal draws by NumPy: JAX's compile a program for each shape, longer than the tests take."""
    try:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    except jax.errors.TracerArrayConversionError:  # by eval_shape, which draws nothing
        return HE(key, shape, dtype)
    return jnp.asarray(rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1])), dtype)


@pytest.fixture
def cheap_draws(monkeypatch):
    monkeypatch.setattr(layers, "HE", draw)


def network(model="fcn8s", *, dtype=jnp.float32, seed=0, **options) -> Any:
    options = {"width": 1 / 16, "depth": 11, "blocks": (1, 1, 1, 1), "norm": "none", **options}
    fcn = FCN(ModelConfig(model=model, **options), 1, CLASSES, dtype=dtype, rngs=nnx.Rngs(seed))
    fcn.eval()
    return fcn


def parameters(model):
    return [(path, param) for path, param in nnx.iter_graph(model) if isinstance(param, nnx.Param)]


def arrays(tree):
    """The leaves, as NumPy's: JAX compiles a program for each shape that is asked `any`."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def wake(model, rng):
    """Gives what is zero at first, scores and residual branches, some other value. Biases stay zero."""
    for path, param in parameters(model):
        if path[-1] in ("kernel", "scale") and not np.any(np.asarray(param[...])):
            deviation = np.sqrt(param.shape[-1] / param.size)
            param[...] = jnp.asarray(rng.normal(size=param.shape) * deviation, jnp.float32)
    return model


@quick_jit
def run(model, x):
    return model(x), nnx.state(model, nnx.BatchStat)


def scores(model, x):
    """As NumPy's: JAX compiles a program for each small thing that is asked of its arrays."""
    return np.asarray(run(model, x)[0])


def image(rng, height, width, *, n=1, channels=1):
    return rng.random((n, height, width, channels), np.float32)


def shape_of(model, size):
    graph, state = nnx.split(model)
    x = jax.ShapeDtypeStruct((2, *size, 1), jnp.float32)
    return jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, x)


@pytest.mark.parametrize("model", ["fcn8s", "dilated"])
def test_any_size_gives_scores_of_that_size(model):
    fcn = network(model)
    for size in [(1, 1), (33, 47), (64, 9), (65, 31)]:
        y = shape_of(fcn, size)
        assert (y.shape, y.dtype) == ((2, *size, CLASSES), jnp.float32)


@pytest.mark.parametrize(("factor", "points"), [(2, False), (8, False), (16, False), (32, False), (8, True)])
@pytest.mark.parametrize("learned", [False, True], ids=["fixed", "learned"])
def test_upsampling_is_bilinear_at_the_pixels_centres(rng, factor, points, learned):
    layer = Upsample(CLASSES, factor, points=points, learned=learned, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = rng.normal(size=(2, 3, 4, CLASSES)).astype(np.float32)

    def weights(n):
        """How much of each of n scores each pixel takes: hats around the scores' places."""
        size = (n - 1) * factor + 1 if points else n * factor
        place = np.arange(size) / factor if points else (np.arange(size) + 0.5) / factor - 0.5
        return np.maximum(0, 1 - abs(place[:, None] - np.arange(n)))

    expected = np.einsum("yi,xj,nijc->nyxc", weights(3), weights(4), x)
    np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-6 * abs(x).max())
    assert layer.kernel.shape[:2] == (2 * factor - points,) * 2
    assert isinstance(layer.kernel, nnx.Param if learned else Fixed)


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (1, 2)], ids=str)
@pytest.mark.parametrize("window", [2, 3])
def test_max_pool_covers_odd_sizes(rng, size, window):
    x = rng.permutation(size[0] * size[1]).reshape(1, *size, 1).astype(np.float32) - 20  # negative ones, too

    def reference(i, j):
        rows, columns = (
            [k for k in range(2 * i - (window == 3), 2 * i + 2) if 0 <= k < n]
            for i, n in ((i, size[0]), (j, size[1]))
        )
        return max(x[0, row, column, 0] for row in rows for column in columns)

    out = [[reference(i, j) for j in range(-(-size[1] // 2))] for i in range(-(-size[0] // 2))]
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), window)[0, :, :, 0], out)


@pytest.mark.parametrize("features", [12, 3])
def test_group_norm_normalises_each_image(rng, features):
    layer = ConvNorm(2, features, 3, norm="group", dtype=jnp.float32, rngs=nnx.Rngs(0))
    y = np.asarray(layer(image(rng, 5, 7, n=2, channels=2)))
    groups = y.reshape(2, 5 * 7, np.gcd(features, 8), -1)
    np.testing.assert_allclose(groups.mean(axis=(1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(groups.var(axis=(1, 3)), 1, rtol=1e-3)
    assert layer.conv.bias is None


def paper_scores(model, x):
    """The authors' network: margins of 100 pixels, no padding from fc6 on, crops at their offsets."""
    net = model.network
    relu, kernel = jax.nn.relu, lambda layer: layer.kernel[...]

    def conv(layer, x, padding=0):
        return conv_nhwc(x, kernel(layer), (1, 1), [(padding, padding)] * 2) + layer.bias[...]

    def enlarge(factor, x):
        hat = 1 - abs(np.arange(2 * factor) - factor + 0.5) / factor
        weights = np.einsum("y,x,cd->yxcd", hat, hat, np.eye(CLASSES)).astype(np.float32)
        edges = [(2 * factor - 1,) * 2] * 2
        return conv_nhwc(x, weights, (1, 1), edges, lhs_dilation=(factor, factor))

    def crop(x, like, offset):
        return x[:, offset : offset + like.shape[1], offset : offset + like.shape[2]]

    pools, h = [], normalise(x)
    for stage in net.backbone.stages:
        for layer in stage:
            h = relu(conv(layer.conv, h, 1 if pools or h.shape[-1] > 1 else 100))
        edges = [(0, 0), *[(0, n % 2) for n in h.shape[1:3]], (0, 0)]
        h = lax.reduce_window(jnp.pad(h, edges), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        pools.append(h)
    for layer in (net.backbone.fc6, net.backbone.fc7):
        h = relu(conv(layer.conv, h))
    h = conv(net.score, h)
    for skip, pool, offset in zip(net.skips, (pools[3], pools[2]), (5, 9), strict=False):
        h = enlarge(2, h)
        h = h + crop(conv(skip, pool), h, offset)
    return crop(enlarge(32 >> len(net.skips), h), x, {0: 19, 1: 27, 2: 31}[len(net.skips)])


def test_scores_are_those_of_the_authors_networks(rng):
    nets = [wake(network(model), rng) for model in ("fcn8s", "fcn16s", "fcn32s")]
    for _, layer in nnx.iter_graph(nets[0].network.backbone):  # a margin is then more than zeros
        if isinstance(layer, ConvNorm):
            bias = rng.normal(size=layer.conv.out_features) / 10
            nnx.update(layer.conv, {"bias": jnp.asarray(bias, jnp.float32)})
    x = image(rng, 65, 97)
    padded = np.pad(x, ((0, 0), (99, 99), (99, 99), (0, 0)), constant_values=GRAY)

    @quick_jit
    def both(nets, x, padded):
        for net in nets[1:]:  # one backbone, compiled once
            net.network.backbone = nets[0].network.backbone
        return [net(padded) for net in nets], [paper_scores(net, x) for net in nets]

    ours, theirs = jax.device_get(both(nets, x, padded))
    # Theirs fade beyond the centres of the first and the last cell, where ours have margins.
    inside = (slice(None), slice(30, 60), slice(30, 90))
    for y, expected in zip(ours, theirs, strict=True):
        y, expected = y[:, 99:-99, 99:-99][inside], expected[inside]
        np.testing.assert_allclose(y, expected, rtol=0, atol=3e-5 * abs(expected).max())
        assert np.ptp(expected) > 0.1 * abs(expected).max()


@pytest.mark.parametrize(
    ("model", "size", "stride"),
    [pytest.param("fcn8s", (256, 288), 32, marks=pytest.mark.slow), ("dilated", (225, 241), 8)],
    ids=str,
)
def test_a_shifted_image_gives_shifted_scores(rng, model, size, stride):
    fcn = wake(network(model), rng)
    top, left = size[0] // 2 - 32, size[1] // 2 - 40  # far enough from the borders to see none of them
    x = np.full((1, *size, 1), GRAY, np.float32)
    x[:, top : top + 19, left : left + 25] = image(rng, 19, 25)
    y, shifted = scores(fcn, x), scores(fcn, np.roll(x, (stride, stride), (1, 2)))
    moved = np.roll(y, (stride, stride), (1, 2))
    inside = (slice(None), slice(stride + 32, -32), slice(stride + 32, -32))  # where scores do not fade
    np.testing.assert_allclose(shifted[inside], moved[inside], rtol=0, atol=1e-5 * abs(y).max())
    assert abs(moved - y)[inside].max() > 0.1 * abs(y).max()


@pytest.mark.parametrize(
    ("model", "size"),
    [pytest.param("fcn8s", (64, 96), marks=pytest.mark.slow), ("dilated", (33, 49))],
    ids=str,
)
def test_scores_of_the_mirrored_image_are_mirrored(rng, model, size):
    """With kernels that equal their mirror images: what is off by a pixel, or by half of one, would show."""
    fcn = wake(network(model), rng)
    for _, param in parameters(fcn):
        if param.ndim == 4:
            kernel = np.asarray(param[...])
            param[...] = jnp.asarray((kernel + kernel[::-1, ::-1]) / 2)
    x = image(rng, *size)
    y, mirrored = scores(fcn, x), scores(fcn, x[:, ::-1, ::-1])
    np.testing.assert_allclose(mirrored[:, ::-1, ::-1], y, rtol=0, atol=1e-5 * abs(y).max())
    assert abs(y - y[:, ::-1]).max() > 0.01 * abs(y).max()


@pytest.mark.slow
def test_at_once_scales_what_the_skips_see(rng):
    plain, at_once = network("fcn8s"), wake(network("fcn8s-atonce"), rng)
    nnx.update(plain, nnx.state(at_once))
    x = image(rng, 33, 47)

    @quick_jit
    def both(plain, at_once, x):
        plain.network.backbone = at_once.network.backbone  # compiled once
        return plain(x), at_once(x)

    unscaled, y = jax.device_get(both(plain, at_once, x))
    assert abs(unscaled - y).max() > 0.1 * abs(y).max()
    for skip, scale in zip(plain.network.skips, (0.01, 1e-4), strict=True):
        skip.kernel[...] *= scale
    scaled, y = jax.device_get(both(plain, at_once, x))
    np.testing.assert_allclose(scaled, y, rtol=0, atol=1e-5 * abs(y).max())


def test_a_finer_network_starts_from_a_coarser_one(rng):
    coarse, fine = wake(network("fcn16s"), rng), network("fcn8s", seed=1)
    start_from(fine, coarse)
    ours, theirs = dict(parameters(fine)), dict(parameters(coarse))
    new = ("network", "skips", 1)
    assert {path for path in ours if path not in theirs} == {(*new, "kernel"), (*new, "bias")}
    for path, param in theirs.items():
        np.testing.assert_array_equal(ours[path][...], param[...])
    assert not ours[(*new, "kernel")][...].any()
    with pytest.raises(ValueError, match="VGG"):
        start_from(fine, network("dilated"))


def strided_features(backbone, x):
    """The residual network before its last two strides became dilations."""

    def conv(layer, x, stride=1):
        layer, reach = layer.conv, layer.conv.kernel.shape[0] // 2
        return conv_nhwc(x, layer.kernel[...], (stride, stride), [(reach, reach)] * 2) + layer.bias[...]

    x = jax.nn.relu(conv(backbone.stem, x, 2))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)])
    for i, block in enumerate(backbone.blocks):
        stride = 2 if i in (1, 2, 4) else 1  # the first of a stage's blocks, but for the first stage
        shortcut = x if block.shortcut is None else conv(block.shortcut, x, stride)
        x = jax.nn.relu(conv(block.second, jax.nn.relu(conv(block.first, x, stride))) + shortcut)
    return x


def test_dilations_compute_what_strides_did_at_more_places(rng):
    backbone = wake(network("dilated", blocks=(1, 1, 2, 2)), rng).network.backbone
    x = image(rng, 75, 54)
    both = quick_jit(lambda x: (backbone(x), strided_features(backbone, x)))
    y, coarse = jax.device_get(both(x))
    assert y.shape[1:3] == (10, 7)
    np.testing.assert_allclose(y[:, ::4, ::4], coarse, rtol=0, atol=1e-5 * abs(y).max())
    assert abs(y[:, 1::4, ::4][:, :2] - coarse[:, :2]).max() > 0.1 * abs(y).max()


@quick_jit
def gradients(model, x, key):
    def loss(model):
        y = model(x, rngs=nnx.Rngs(dropout=key))
        return (jax.nn.log_softmax(y)[..., 0] * jnp.sin(jnp.arange(x.size)).reshape(x.shape)[..., 0]).mean()

    return nnx.grad(loss)(model)


def names(tree, keep=lambda _: True):
    return {"/".join(map(str, path)) for path, leaf in nnx.to_flat_state(tree) if keep(np.asarray(leaf[...]))}


@pytest.mark.parametrize(
    ("model", "norm", "learned"),
    [
        pytest.param("fcn8s", "batch", "all", marks=pytest.mark.slow),
        ("dilated", "none", "intermediate"),
    ],
)
def test_every_parameter_has_a_gradient_and_nothing_else(rng, model, norm, learned):
    fcn = network(model, norm=norm, learn_upsampling=learned, dropout=0.2)
    fcn.train()
    x = image(rng, 33, 47, n=2)
    first = names(gradients(fcn, x, jax.random.key(1)), np.any)
    assert first
    assert all("score" in name or "skips" in name for name in first)  # zero scores hide what is behind them
    wake(fcn, rng)
    g = gradients(fcn, x, jax.random.key(1))
    assert names(g, lambda g: np.isfinite(g).all() and g.any()) == names(nnx.state(fcn, nnx.Param))
    assert names(nnx.state(fcn, Fixed)) == ({"network/enlarge/kernel"} if learned != "all" else set())


def test_dropout_is_a_function_of_the_calls_key(rng):
    fcn, x = wake(network("fcn32s", dropout=0.2), rng), image(rng, 33, 47, n=2)
    assert not nnx.state(fcn, nnx.RngState), "no stream is kept in the network"
    fcn.train()
    drop = quick_jit(lambda model, x, key: model(x, rngs=nnx.Rngs(dropout=key)))
    first, again, other = (np.asarray(drop(fcn, x, jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_batch_norm_learns_in_training_and_stays_in_evaluation(rng):
    fcn, x = wake(network("dilated", norm="batch"), rng), image(rng, 33, 47, n=2)

    def moved(statistics):
        """How many of the statistics are no longer those of the network."""
        pairs = zip(*map(arrays, (statistics, nnx.state(fcn, nnx.BatchStat))), strict=True)
        return [bool((a != b).any()) for a, b in pairs]

    (together, statistics), (doubled, _) = jax.device_get((run(fcn, x), run(fcn, x[[1, 1]])))
    np.testing.assert_allclose(together[1], doubled[0], rtol=0, atol=1e-6 * abs(doubled).max())
    assert not any(moved(statistics))
    fcn.train()
    (trained, statistics), (doubled, _) = jax.device_get((run(fcn, x), run(fcn, x[[1, 1]])))
    assert abs(trained[1] - doubled[0]).max() > 0.01 * abs(trained).max()
    assert abs(trained - together).max() > 0.01 * abs(trained).max()
    assert all(moved(statistics))


@pytest.mark.slow
def test_half_precision_computes_close_to_single(rng):
    single, half = (network("dilated", norm="batch", dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16))
    nnx.update(half, nnx.state(wake(single, rng)))
    assert {param.dtype for param in jax.tree.leaves(nnx.state(half))} == {jnp.dtype("float32")}
    x = image(rng, 33, 47, n=2)
    y, expected = scores(half, x), scores(single, x)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=0, atol=0.1 * abs(expected).max())
    assert (y != expected).any()


@pytest.mark.parametrize(
    ("model", "classes", "extra"), [("fcn32s", 21, 0), ("fcn8s", 21, (512 + 256 + 2) * 21)]
)
def test_the_full_network_has_as_many_parameters_as_vgg16(model, classes, extra):
    """By hand from VGG's table; its 138,357,544 less the last layer's 4,097,000, and 21 scores of fc7."""
    table = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(9 * a * b + b for a, b in itertools.pairwise(table))
    dense = 512 * 7 * 7 * 4096 + 4096 + 4096 * 4096 + 4096
    assert convolutions + dense == 138_357_544 - 4_097_000
    config = ModelConfig(model=model, width=1, norm="none")
    full = nnx.eval_shape(lambda: FCN(config, 3, classes, rngs=nnx.Rngs(0)))
    count = sum(param.size for param in jax.tree.leaves(nnx.state(full, nnx.Param)))
    assert count == convolutions + dense + 4097 * classes + extra
    assert round(count / 1e6, 1) == (134.3 if model == "fcn32s" else 134.4)


def test_three_channels_are_normalised_as_imagenet(rng):
    x = image(rng, 2, 3, channels=3)
    expected = (np.asarray(x) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(normalise(x), expected, rtol=1e-5, atol=1e-6)
    assert not normalise(jnp.full((1, 1, 1, 1), GRAY)).any()


@pytest.mark.parametrize("options", [{"width": 0}, {"dropout": 1}, {"blocks": (2, 2, 0, 2)}], ids=str)
def test_impossible_settings_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        ModelConfig(**options)


def test_scores_begin_at_zero():
    layer = Score(5, CLASSES, dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert not layer(jnp.ones((1, 2, 3, 5))).any()
