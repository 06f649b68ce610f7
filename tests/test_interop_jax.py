"""Networks of Flax, Equinox and Haiku, and Orbax checkpoints, loaded here: the same outputs."""

from typing import Any

import flax.linen as flax_linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import linen, nn
from jaxconv.interop import equinox, flax, haiku
from jaxconv.testing import assert_close
from tests.torch_cases import QUICKLY

# Flax's SAME is ours; the stride divides the window, so that nobody warns of a checkerboard.
UP = {"kernel_size": (4, 2), "strides": (2, 2)}


def drawn(_key, shape, dtype=jnp.float32, **_):
    """An initialiser that compiles nothing; no two arrays are alike."""
    return jnp.asarray(np.random.default_rng(sum(shape)).uniform(-0.5, 0.5, shape), dtype)


def zeros(_key, shape, dtype=jnp.float32, **_):
    return jnp.asarray(np.zeros(shape, dtype))


def run(net, x):
    """In one program, which compiles faster than its operators by themselves."""
    return np.asarray(jax.jit(lambda x: net(x), compiler_options=QUICKLY)(x))


class Net(nnx.Module):
    """Of Flax's layers or ours. The first transposed kernel is square: only its kind tells how to read it."""

    def __init__(self, library, init, **transposed):
        options = {"rngs": nnx.Rngs(0), "kernel_init": init, "bias_init": init}
        self.a = library.Conv(3, 4, (3, 2), **options)
        self.norm = nnx.BatchNorm(4, use_running_average=True, scale_init=init, rngs=nnx.Rngs(0))
        self.b = library.ConvTranspose(4, 4, **UP, **options, **transposed)
        self.c = library.ConvTranspose(4, 5, **UP, **options, **transposed)
        self.d = nnx.Linear(5, 6, **options)

    def __call__(self, x):
        return self.d(self.c(self.b(self.norm(self.a(x)))))


def picture(rng, channels=3):
    return rng.standard_normal((2, 3, 4, channels)).astype(np.float32)


@pytest.fixture(scope="module", params=[False, True], ids=["stored", "transpose_kernel"])
def theirs(request):
    """A network of Flax with an input and what becomes of it."""
    net = Net(nnx, drawn, transpose_kernel=request.param)
    net.norm.mean[...] = drawn(None, (4,))
    net.norm.var[...] = drawn(None, (4,)) + 1
    x = picture(np.random.default_rng(0))
    return net, request.param, x, run(net, x)


@pytest.mark.parametrize("source", ["module", "state", "mapping", "sorted"])
def test_flax(theirs, source):
    net, transpose_kernel, x, y = theirs
    state = nnx.to_pure_dict(nnx.state(net))
    given = {
        "module": net,
        "state": nnx.state(net),
        "mapping": state,
        "sorted": jax.tree.map(np.asarray, state),
    }
    flax.load(ours := Net(nn, zeros), given[source], transpose_kernel=transpose_kernel)
    flax.load(back := Net(nnx, zeros, transpose_kernel=not transpose_kernel), ours)
    if source == "module":
        assert_close(run(ours, x), y, contraction=80)
    for one, other in zip((back.b, back.c), (net.b, net.c), strict=True):
        flipped = np.asarray(other.kernel[...])[::-1, ::-1].swapaxes(-1, -2)
        np.testing.assert_array_equal(one.kernel[...], flipped)


def test_orbax(theirs, tmp_path):
    """Of a module's state, and of nested mappings."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    net, transpose_kernel, *_ = theirs
    with checkpoint.StandardCheckpointer() as writer:
        writer.save(tmp_path / "state", nnx.state(net))
        writer.save(tmp_path / "mapping", nnx.to_pure_dict(nnx.state(net)))
    for name in ("state", "mapping"):
        flax.load(ours := Net(nn, zeros), tmp_path / name, transpose_kernel=transpose_kernel)
        flax.load(wanted := Net(nn, zeros), net)
        jax.tree.map(np.testing.assert_array_equal, nnx.state(ours), nnx.state(wanted))


class LinenNet(flax_linen.Module):
    """By Linen's own names, or by others that do not say what is transposed."""

    library: Any
    named: bool

    @flax_linen.compact
    def __call__(self, x):
        names = [{"name": name} for name in ("first", "second")] if self.named else [{}, {}]
        x = self.library.Conv(4, (4, 2), **names[0])(x)
        return self.library.ConvTranspose(4, **UP, **names[1])(x)


def variables(net, x, rng):
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes)


def test_linen_to_linen(rng):
    x = picture(rng)
    source, target = LinenNet(flax_linen, False), LinenNet(linen, False)
    given = variables(source, x, rng)
    loaded = flax.load(variables(target, x, rng), given).model
    wanted = run(lambda x: source.apply(given, x), x)
    assert_close(run(lambda x: target.apply(loaded, x), x), wanted, contraction=80)


def test_what_is_transposed_must_be_told_where_nothing_shows_it(rng):
    x = picture(rng, 4)
    source, target = LinenNet(flax_linen, True), LinenNet(linen, True)
    given, room = variables(source, x, rng), variables(target, x, rng)
    with pytest.raises(
        ValueError, match=r"may be read as conv or conv_transpose for second: say which .*transposed="
    ):
        flax.load(room, given)
    loaded = flax.load(room, given, transposed=("second",)).model
    kernel = given["params"]["second"]["kernel"][::-1, ::-1].swapaxes(-1, -2)
    np.testing.assert_array_equal(loaded["params"]["second"]["kernel"], kernel)
    np.testing.assert_array_equal(loaded["params"]["first"]["kernel"], given["params"]["first"]["kernel"])


class Groups(nnx.Module):
    """What a channels-first network computes, channels last; both kinds of convolution in groups."""

    def __init__(self, init=zeros):
        options = {"rngs": nnx.Rngs(0), "kernel_init": init, "bias_init": init}
        self.a = nn.Conv(4, 6, (3, 2), feature_group_count=2, **options)
        self.norm = nnx.BatchNorm(6, use_running_average=True, rngs=nnx.Rngs(0))
        self.b = nn.ConvTranspose(6, 4, (4, 2), 2, padding=1, feature_group_count=2, **options)
        self.group = nnx.GroupNorm(4, 2, epsilon=1e-5, rngs=nnx.Rngs(0))
        self.c = nn.ConvTranspose(4, 5, (2, 2), 2, padding=0, **options)
        self.d = nnx.Linear(5 * 12 * 12, 3, **options)

    def __call__(self, x):
        x = self.c(self.group(self.b(self.norm(self.a(x)))))
        return self.d(x.reshape(x.shape[0], -1))


@pytest.mark.parametrize("mode", ["ema", "batch"])
def test_equinox(mode, rng):
    eqx = pytest.importorskip("equinox", reason="the extra `models` has it")
    keys = jax.random.split(jax.random.key(0), 4)
    layers = [
        lambda: eqx.nn.Conv2d(4, 6, (3, 2), padding="SAME", groups=2, key=keys[0]),
        lambda: eqx.nn.BatchNorm(6, "batch", mode=mode),
        lambda: eqx.nn.ConvTranspose2d(6, 4, (4, 2), 2, padding=1, groups=2, key=keys[1]),
        lambda: eqx.nn.GroupNorm(2, 4),
        lambda: eqx.nn.ConvTranspose2d(4, 5, (2, 2), 2, key=keys[2]),
        lambda: eqx.nn.Lambda(jnp.ravel),
        lambda: eqx.nn.Linear(5 * 12 * 12, 3, key=keys[3]),
    ]
    net, state = eqx.nn.make_with_state(lambda: eqx.nn.Sequential([make() for make in layers]))()
    statistics = (jnp.arange(6.0) / 8, jnp.arange(1.0, 7) / 4)
    index = net.layers[1].ema_state_index if mode == "ema" else net.layers[1].batch_state_index
    state = state.set(index, statistics)
    if mode == "batch":
        state = state.set(net.layers[1].batch_counter, jnp.array(3))
    x = picture(rng, 4)
    mapped = jax.vmap(eqx.nn.inference_mode(net), axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    y = run(lambda x: mapped(x, state)[0], np.moveaxis(x, -1, 1))
    with pytest.raises(ValueError, match="is a BatchNorm: give the equinox"):
        equinox.load(Groups(), net)
    equinox.load(ours := Groups(), net, state, flatten=(5, 12, 12))
    assert_close(run(ours, x), y, contraction=5 * 144, scale=np.abs(y) + 1)


def test_haiku(rng):
    hk = pytest.importorskip("haiku", reason="the extra `models` has it")

    def net(x, train=False):
        x = hk.BatchNorm(True, True, 0.9)(hk.Conv2D(4, (3, 2), name="stem")(x), train)
        x = hk.DepthwiseConv2D(2, 3)(hk.Conv2DTranspose(4, (4, 2), stride=2)(x))
        x = hk.LayerNorm(-1, True, True)(hk.Conv2DTranspose(5, (4, 2), stride=2)(x))
        return hk.Linear(3)(hk.Flatten()(x))

    class Ours(nnx.Module):
        def __init__(self):
            options = {"rngs": nnx.Rngs(0), "kernel_init": zeros, "bias_init": zeros}
            self.a = nn.Conv(3, 4, (3, 2), **options)
            self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=nnx.Rngs(0))
            self.b = nn.ConvTranspose(4, 4, **UP, **options)
            self.depth = nn.DepthwiseConv(4, (3, 3), channel_multiplier=2, **options)
            self.c = nn.ConvTranspose(8, 5, **UP, **options)
            self.layer = nnx.LayerNorm(5, epsilon=1e-5, rngs=nnx.Rngs(0))
            self.d = nnx.Linear(12 * 16 * 5, 3, **options)

        def __call__(self, x):
            x = self.layer(self.c(self.depth(self.b(self.norm(self.a(x))))))
            return self.d(x.reshape(x.shape[0], -1))

    whole, x = hk.transform_with_state(net), picture(rng)
    shapes = jax.eval_shape(lambda x: whole.init(jax.random.key(0), x, True), x)
    params, state = jax.tree.map(lambda leaf: rng.uniform(0.1, 0.9, leaf.shape).astype(leaf.dtype), shapes)
    y = run(lambda x: whole.apply(params, state, None, x)[0], x)
    report = haiku.load(ours := Ours(), params, state)
    assert_close(run(ours, x), y, contraction=12 * 16 * 5, scale=np.abs(y) + 1)
    assert ("batch_norm/~/var_ema.average", "norm.var") in {(row[0], row[2]) for row in report.rows}
    with pytest.raises(ValueError, match=r"nothing in the source for norm .*; nearest: batch_norm"):
        haiku.load(Ours(), params)


@pytest.mark.parametrize(
    ("load", "source", "words"),
    [
        (flax.load, 3, "builtins.int is no source of Flax's weights"),
        (equinox.load, 3, "int holds no arrays; give an Equinox model"),
        (haiku.load, {"a": 3}, r"params\['a'\] is no mapping"),
    ],
)
def test_what_is_no_source(load, source, words):
    with pytest.raises(ValueError, match=words):
        load(Groups(), source)
