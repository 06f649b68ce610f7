"""Streams: chunk by chunk what the function gives of the whole signal, each result as soon as it is known."""

import re
from fractions import Fraction

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jaxconv
from benchmarks.stream_nets import EnCodec, HiFiGAN, wavenet, wavenet_params
from jaxconv.partition import streaming
from jaxconv.testing import assert_close
from tests.stream_nets import joined, known, net

TAPS = 64  # the longest sum that is compared, times the layers of a net


def kernel(*shape: int) -> jax.Array:
    drawn = np.random.default_rng(shape).normal(size=shape)
    return jnp.asarray(drawn / np.sqrt(np.prod(shape[:-1])), jnp.float32)


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def shaped(*shape: int, dtype="float32") -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


K3, K4, K6 = kernel(3, 2, 2), kernel(4, 2, 2), kernel(3, 2, 6)


def recurrent(x: jax.Array) -> jax.Array:
    def step(carry: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        carry = jnp.tanh(0.5 * carry + now)
        return carry, carry

    return jnp.moveaxis(jax.lax.scan(step, jnp.ones((1, 2)), jnp.moveaxis(x, 1, 0))[1], 0, 1)


# A function of (1, time, 2), its rate and its latency.
LAYERS = {
    "same": (lambda x: jaxconv.conv(x, K3, padding=1), 1, 1),
    "causal": (lambda x: x + jaxconv.conv(x - 1, K3, padding="CAUSAL", dilation=2), 1, 0),
    "uneven": (lambda x: jaxconv.conv(x, K4, stride=3, padding=[(1, 4)]), Fraction(1, 3), 2),
    "transposed": (lambda x: jaxconv.conv_transpose(x + 1, K4, stride=2, padding=1), 2, Fraction(1, 2)),
    "holes": (lambda x: jaxconv.conv_transpose(x, K3, stride=5, padding=0), 5, Fraction(2, 5)),
    "lax": (
        lambda x: jax.lax.conv_general_dilated(x, K4, (2,), [(2, 3)], (3,), None, ("NWC", "WIO", "NWC")),
        Fraction(3, 2),
        Fraction(1, 3),
    ),
    "down and up": (
        lambda x: (
            jaxconv.conv_transpose(
                jnp.tanh(jaxconv.conv(x, K4, stride=2, padding=1)), K4, stride=2, padding=1
            )
            + x
        ),
        1,
        3,
    ),
    "maximum": (lambda x: jaxconv.max_pool(x - 9, (3,), stride=2, padding=1), Fraction(1, 2), 1),
    "lax maximum": (lambda x: linen.max_pool(x - 9, (3,), (2,), "SAME"), Fraction(1, 2), 2),
    "mean": (lambda x: jaxconv.avg_pool(x, (3,), stride=1, padding=1, count_include_pad=False), 1, 1),
    "linear": (lambda x: jaxconv.resize(x, scale=(1.5,)), Fraction(3, 2), Fraction(2, 3)),
    "smaller": (lambda x: jaxconv.resize(x, scale=(0.5,), antialias=True), Fraction(1, 2), 2),
    "nearest": (lambda x: jax.image.resize(x, (1, 2 * x.shape[1], 2), "nearest"), 2, 0),
    "cubic": (lambda x: jax.image.resize(x, (1, 2 * x.shape[1], 2), "cubic"), 2, Fraction(3, 2)),
    "repeated": (lambda x: jnp.repeat(x, 3, 1), 3, 0),
    "shuffled": (lambda x: jaxconv.pixel_shuffle(jaxconv.conv(x, K6, padding=1), (2,)), 2, 1),
    "unshuffled": (lambda x: jaxconv.pixel_unshuffle(x, (4,)), Fraction(1, 4), 3),
    "reflected": (lambda x: jaxconv.conv(x, K3, padding=1, padding_mode="reflect"), 1, 1),
    "replicated": (lambda x: jaxconv.conv(x, K3, padding=2, padding_mode="replicate"), 1, 0),
    "zeros first": (lambda x: jaxconv.conv(jnp.concatenate([jnp.ones((1, 2, 2)), x], 1), K3), 1, 0),
    "ahead": (lambda x: jaxconv.conv(jnp.pad(x, ((0, 0), (4, 1), (0, 0))), K3), 1, -2),
    "cropped": (lambda x: jaxconv.conv(x, K3, padding=1)[:, 2:-3], 1, 5),
    "differences": (lambda x: x[:, 1:] - x[:, :-1], 1, 1),
    "running maximum": (lambda x: jax.lax.cummax(x - 9, 1), 1, 0),
    "recurrent": (recurrent, 1, 0),
    "dense": (lambda x: jax.nn.softmax(x @ K3[0]) * jnp.broadcast_to(K3[1, 0], (x.shape[1], 2)), 1, 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, rng: np.random.Generator) -> None:
    fn, rate, latency = LAYERS[name]
    fn = jax.jit(fn)
    stream = streaming(fn, shaped(1, 12, 2), block=5)
    x = drawn(rng, 1, 24, 2)
    assert_close(joined(stream, x, rng), fn(x), contraction=TAPS)
    assert (stream.rate, stream.latency) == (rate, latency)
    for samples in range(1, 16):
        there = known(fn, x, 1, 1, samples)
        if samples % stream.period == 0:  # what is left out if the signal ends now is not known either
            there = min(there, jax.eval_shape(fn, shaped(1, samples + 12, 2)).shape[1] - int(12 * rate))
        assert stream.ready(samples) == max(there, 0)


@pytest.mark.parametrize("seed", range(8))
def test_random_nets(seed: int, rng: np.random.Generator) -> None:
    fn = jax.jit(net(seed))
    stream = streaming(fn, shaped(2, 24, 4), block=7)
    x = drawn(rng, 2, 24 + 3 * stream.period, 4)
    assert_close(joined(stream, x, rng), fn(x), contraction=5 * TAPS)
    if stream.period == 1:  # otherwise with a period at most
        assert stream.ready(24) == min(known(fn, x, 1, 1, 24), same(fn(x), fn(x[:, :24])))
    assert all(stream.ready(n) <= known(fn, x, 1, 1, n) for n in range(1, 24))


def same(a: jax.Array, b: jax.Array) -> int:
    """How many of the first positions of two results are close."""
    size = min(a.shape[1], b.shape[1])
    other = np.flatnonzero((np.abs(a[:, :size] - b[:, :size]) > 1e-4).any((0, 2)))
    return int(other[0]) if len(other) else size


WAVENET = wavenet_params(jax.random.key(0), 4, dilations=(1, 2, 4, 1))
ENCODEC = EnCodec(4, (2, 4))
ENCODEC_PARAMS = ENCODEC.init(jax.random.key(0), jnp.zeros((1, 16, 1)))


def hifigan() -> HiFiGAN:
    """Transposed convolutions of kernel 16, stride 8, and of kernel 4, stride 2."""
    return HiFiGAN(8, mels=3, strides=(8, 2), kernels=(3, 5), dilations=(1, 3), rngs=nnx.Rngs(0))


class Separator(equinox.Module):
    """A U-Net over time and frequency, channels first, without a batch."""

    down: equinox.nn.Conv2d
    inner: equinox.nn.Conv2d
    up: equinox.nn.ConvTranspose2d
    last: equinox.nn.Conv2d

    def __init__(self) -> None:
        keys = jax.random.split(jax.random.key(1), 4)
        self.down = equinox.nn.Conv2d(2, 3, (3, 4), stride=2, padding=1, key=keys[0])
        self.inner = equinox.nn.Conv2d(3, 3, 3, padding=1, key=keys[1])
        self.up = equinox.nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1, key=keys[2])
        self.last = equinox.nn.Conv2d(4, 1, 3, padding=1, groups=1, key=keys[3])

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.up(jax.nn.relu(self.inner(jax.nn.relu(self.down(x)))))
        return self.last(jnp.concatenate([x, y], 0))


# The function, the signal it is made with, the dimension of time, the latency.
NETS = {
    "wavenet": (lambda x: wavenet(WAVENET, x), (1, 32, 1), 1, 0),
    "hifigan": (hifigan(), (1, 10, 3), 1, Fraction(6)),
    "encodec": (lambda x: ENCODEC.apply(ENCODEC_PARAMS, x), (2, 64, 1), 1, 7),
    "separator": (Separator(), (2, 12, 10), 1, 5),
}


@pytest.mark.parametrize("name", NETS)
def test_nets(name: str, rng: np.random.Generator) -> None:
    fn, shape, axis, latency = NETS[name]
    stream = streaming(fn, shaped(*shape), axis=axis, block=8)
    assert stream.latency == latency
    length = shape[axis] + 3 * stream.period
    x = drawn(rng, *shape[:axis], length, *shape[axis + 1 :])
    whole = equinox.filter_jit(lambda x: fn(x))
    assert_close(joined(stream, x, rng), whole(x), contraction=6 * TAPS)
    assert all(stream.ready(n) <= known(whole, x, axis, stream.out_axis, n) for n in range(1, 12, 2))


def test_bfloat16(rng: np.random.Generator) -> None:
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16) if isinstance(a, jax.Array) else a, WAVENET)

    def fn(x):
        return wavenet(params, x)

    stream = streaming(fn, shaped(1, 32, 1, dtype="bfloat16"), block=8)
    x = np.asarray(jnp.asarray(rng.normal(size=(1, 40, 1)), jnp.bfloat16))
    y = joined(stream, x, rng)
    assert y.dtype == jnp.bfloat16
    assert_close(y, jax.jit(fn)(x), contraction=TAPS)


def listened(x: jax.Array) -> jax.Array:
    return jaxconv.conv(jnp.tanh(jaxconv.conv(x, K4, stride=2, padding=1)), K3, padding=1)


def test_listeners_each_at_its_own_position(rng: np.random.Generator) -> None:
    stream = streaming(listened, shaped(1, 8, 2))
    counts = np.array([[5, 0, 3, 5], [0, 1, 5, 2], [5, 5, 4, 5]])  # of rounds, for each listener
    x = drawn(rng, 3, 4, 1, 5, 2)
    states = jax.tree.map(lambda a: jnp.stack([a] * 3), stream.init())
    found: list[list[np.ndarray]] = [[], [], []]
    step = jax.jit(jax.vmap(stream.step))
    for i in range(4):
        states, ys, ready = step(states, x[:, i], counts[:, i])
        for listener in range(3):
            found[listener].append(np.asarray(ys[listener, :, : ready[listener]]))
    ys, ready = jax.jit(jax.vmap(stream.flush))(states)
    for listener in range(3):
        heard = np.concatenate([x[listener, i, :, : counts[listener, i]] for i in range(4)], 1)
        y = np.concatenate([*found[listener], ys[listener, :, : ready[listener]]], 1)
        assert_close(y, listened(heard), contraction=TAPS)
    # Not known under vmap, and too short to be sure of.
    assert jax.vmap(stream.flush)(jax.tree.map(lambda a: a[None], stream.init()))[1].tolist() == [-1]


def test_a_saved_state_goes_on(tmp_path, rng: np.random.Generator) -> None:
    import orbax.checkpoint

    stream = streaming(listened, shaped(1, 8, 2))
    x = drawn(rng, 1, 30, 2)
    state, first = stream.feed(stream.init(), x[:, :11])
    leaves, tree = jax.tree.flatten(state)
    np.savez(tmp_path / "state.npz", *leaves)
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "orbax", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "orbax", state)
    with np.load(tmp_path / "state.npz") as file:
        loaded = jax.tree.unflatten(tree, [jnp.asarray(file[f"arr_{i}"]) for i in range(len(leaves))])
    rest = []
    for saved in (state, loaded, restored):
        last, second = stream.feed(saved, x[:, 11:])
        rest.append(np.concatenate([second, stream.finish(last)], 1))
    assert np.array_equal(rest[0], rest[1])
    assert np.array_equal(rest[0], rest[2])
    assert_close(np.concatenate([first, rest[0]], 1), listened(x), contraction=TAPS)


def test_a_long_signal_needs_no_larger_numbers(rng: np.random.Generator) -> None:
    stream = streaming(listened, shaped(1, 8, 2))
    x = drawn(rng, 1, 4000, 2)

    def step(state, chunk):
        state, y, ready = stream.step(state, chunk)
        return state, (y, ready)

    cut = jnp.moveaxis(x.reshape(1, 1000, 4, 2), 1, 0)
    state, (ys, ready) = jax.jit(lambda s: jax.lax.scan(step, s, cut))(stream.init())
    y = np.concatenate(
        [*(y[:, :n] for y, n in zip(np.asarray(ys), ready, strict=True)), stream.finish(state)], 1
    )
    assert_close(y, listened(x), contraction=TAPS)
    assert int(state["samples"]) < 40


def test_gradients_are_those_of_the_whole(rng: np.random.Generator) -> None:
    """By the parameters, which are the stream's leaves, and by the samples, through the state."""
    x = jnp.asarray(rng.normal(size=(1, 12, 1)), jnp.float32)
    target = jnp.asarray(rng.normal(size=(1, 12, 1)), jnp.float32)

    def whole(params, x):
        return ((wavenet({**WAVENET, **params}, x) - target) ** 2).sum()

    def streamed(stream, x):
        def step(state, chunk):
            state, y, _ = stream.step(state, chunk)  # causal, so all chunks bring as many results
            return state, y

        ys = jax.lax.scan(step, stream.init(), x.reshape(3, 1, 4, 1))[1]
        return ((ys.reshape(1, 12, 1) - target) ** 2).sum()

    def apply(params, x):
        return wavenet({**WAVENET, **params}, x)

    params = {"first": WAVENET["first"], "last": WAVENET["last"]}
    stream = streaming(apply, params, shaped(1, 8, 1), wrt=1)
    ours = jax.jit(jax.grad(streamed, (0, 1)))(stream, x)
    theirs = jax.jit(jax.grad(whole, (0, 1)))(params, x)
    for a, b in zip(jax.tree.leaves(ours)[:2], jax.tree.leaves(theirs)[:2], strict=True):
        assert_close(a, b, contraction=12 * TAPS)
    assert_close(ours[1], theirs[1], contraction=12 * TAPS)
    forward = jax.jit(lambda x: jax.jvp(lambda x: streamed(stream, x), (x,), (target,))[1])(x)
    assert_close(
        forward, (theirs[1] * target).sum(), contraction=12 * TAPS, scale=np.abs(theirs[1] * target).sum()
    )


REFUSED = {
    "reduce_sum": lambda x: x - x.mean(1, keepdims=True),
    "dot_general": lambda x: jax.nn.softmax(x @ jnp.swapaxes(x, 1, 2)) @ x,
    "rev": lambda x: x[:, ::-1],
    "cumsum": lambda x: jax.lax.cumsum(x, 1, reverse=True),
    "concatenate": lambda x: jaxconv.conv(x, K3, padding=1, padding_mode="circular"),
    "sort": lambda x: jnp.sort(x, 1),
    "add": lambda x: x + x[:, -1:],
    "conv_forward": lambda x: jaxconv.conv(jnp.pad(x, ((0, 0), (2, 0), (0, 0)), mode="reflect"), K3),
    "mul": lambda x: x * jnp.arange(x.shape[1], dtype=x.dtype)[:, None],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_local_in_time_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} in test_streams.py:\d+ .* can't be streamed"):
        streaming(REFUSED[name], shaped(1, 24, 2))


def test_a_layer_is_named() -> None:
    class Squeezed(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Conv(4, (3,))(x)
            return linen.GroupNorm(2, name="statistics")(x)

    model = Squeezed()
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 2)))
    with pytest.raises(ValueError, match=r"in Squeezed/statistics .*whole signal"):
        streaming(lambda x: model.apply(variables, x), shaped(1, 8, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: streaming(listened, shaped(1, 8, 2), axis=3), "axis=3 is no dimension"),
        (lambda _: streaming(listened, shaped(1, 0, 2)), "no samples along axis=1"),
        (lambda _: streaming(listened, shaped(1, 8, 2), block=0), "block=0 must be at least 1"),
        (lambda _: streaming(lambda x: (x, x), shaped(1, 8, 2)), "2 results; wanted one"),
        (lambda _: streaming(lambda _: jnp.ones(3), shaped(1, 8, 2)), "does not depend on the signal"),
        (lambda _: streaming(lambda p, x: p * x, shaped(2), shaped(1, 8, 2)), "only the signal may be"),
        (lambda s: s.step(s.init(), jnp.ones((2, 4, 2))), r"shape \(2, 4, 2\) .* wanted \(1, any, 2\)"),
        (lambda s: s.feed(s.init(), np.ones((1, 4, 2), int)), "dtype int"),
        (lambda s: s.step(s.init(), jnp.ones((1, 4, 2)), 5), "count=5"),
        (lambda s: s.flush(s.init()), "ended after 0 samples"),
    ],
)
def test_mistakes(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(streaming(listened, shaped(1, 8, 2)))


def test_lengths_that_are_padded_otherwise() -> None:
    """Of an odd signal SAME pads both sides, of an even one the right side only."""

    def fn(x):
        return jaxconv.conv(x, K3, stride=2, padding="SAME")

    stream = streaming(fn, shaped(1, 8, 2))
    state, _ = stream.feed(stream.init(), jnp.ones((1, 9, 2)))
    with pytest.raises(ValueError, match="pads a signal of 9 samples otherwise"):
        stream.finish(state)
    with pytest.raises(ValueError, match="otherwise"):
        jax.jit(stream.flush)(state)


def test_every_length_if_padding_is_a_number(rng: np.random.Generator) -> None:
    stream = streaming(listened, shaped(1, 8, 2), block=4)
    for length in (2, 3, 7, 9):
        x = drawn(rng, 1, length, 2)
        assert_close(joined(stream, x, rng), listened(x), contraction=TAPS)


def test_it_says_what_it_keeps() -> None:
    text = str(streaming(listened, shaped(1, 8, 2)))
    assert text.splitlines()[0] == "1/2 results for each sample, latency 4, period 2"
    assert re.search(r"state: \d+ bytes\n  signal: \d positions, \d+ bytes", text)


def test_a_resize_in_double_precision(rng):
    """Its weights have all digits near the ends of the signal, too."""
    fn, x = LAYERS["smaller"][0], rng.normal(size=(1, 24, 2))
    with jax.enable_x64(True):
        y = joined(streaming(fn, x), x, rng)
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, fn(x), rtol=1e-13, atol=1e-13)
