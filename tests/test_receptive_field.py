"""Receptive fields: of axes by hand and by the literature, of functions by running them."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

import jaxconv
from jaxconv.geometry import Axis, Taps
from jaxconv.graph import Field
from tests.random_nets import net, sees

SHAPE = (20, 17)


def shaped(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def wrong_intervals(field: Field, seen: np.ndarray) -> list[tuple[int, range, range]]:
    """Where a field is not what (input position, output position) says."""
    wrong = []
    for o, column in enumerate(seen.T):
        places = np.flatnonzero(column)
        wanted = range(places[0], places[-1] + 1) if places.size else range(0)
        if field.interval(o) != wanted:
            wrong.append((o, field.interval(o), wanted))
    return wrong


@pytest.mark.parametrize("seed", range(30))
def test_random_nets(seed: int) -> None:
    fn = net(seed)
    fields = jaxconv.receptive_field(fn, shaped(1, *SHAPE, 1))
    for field, seen in zip(fields, sees(fn, SHAPE), strict=True):
        assert seen.any()
        assert wrong_intervals(field, seen) == []
    # Far from the borders, of which there is something in an input four times as large.
    large = shaped(1, *(4 * n for n in SHAPE), 1)
    outputs = jax.eval_shape(fn, large).shape
    for field in jaxconv.receptive_field(fn, large):
        n = outputs[field.output_dim]
        intervals = {o: field.interval(o) for o in range(n // 4, 3 * n // 4)}
        before = [i.start - (field.start + o * field.jump) for o, i in intervals.items() if i]
        assert max(map(len, intervals.values())) == field.size
        assert min(before) >= 0
        if field.jump.denominator < len(before):  # there is a whole period of them
            assert min(before) == 0


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jaxconv.avg_pool(x, (3, 2), stride=2, padding=((1, 0), (0, 1))),
        lambda x: jaxconv.max_pool(x, (3, 2), stride=2, dilation=2),
        lambda x: jaxconv.max_pool(x, 3, stride=2, ceil_mode=True),
        lambda x: jaxconv.adaptive_avg_pool(x, (4, 3)),
        lambda x: jaxconv.resize(x, size=(23, 9), method="linear"),
        lambda x: jaxconv.resize(x, size=(17, 21), method="linear", align_corners=True),
        lambda x: jaxconv.resize(x, size=(5, 6), method="cubic", antialias=True),
        lambda x: jaxconv.resize(x, size=(22, 26), method="nearest"),
    ],
)
def test_pools_and_resizes(fn: Callable[[jax.Array], jax.Array]) -> None:
    fields = jaxconv.receptive_field(fn, shaped(1, *SHAPE, 1))
    for field, seen in zip(fields, sees(fn, SHAPE), strict=True):
        assert seen.any()
        assert wrong_intervals(field, seen) == []


def test_the_probe_and_the_comparison_can_fail() -> None:
    kernel = jnp.ones((3, 1, 1, 1)) / 3
    fn = lambda x: jaxconv.conv(x, kernel, stride=2, algorithm="direct")  # noqa: E731
    rows, columns = sees(fn, (7, 4))
    assert np.argwhere(rows).tolist() == [
        [0, 0],
        [1, 0],
        [2, 0],
        [2, 1],
        [3, 1],
        [4, 1],
        [4, 2],
        [5, 2],
        [6, 2],
    ]
    assert np.argwhere(columns).tolist() == [[0, 0], [2, 1]]
    field = jaxconv.receptive_field(fn, shaped(1, 7, 4, 1))[0]
    assert wrong_intervals(field, rows) == []
    rows[2, 1] = False
    assert wrong_intervals(field, rows) == [(1, range(2, 5), range(3, 5))]


def layers(*kernels_and_strides: tuple[int, int]) -> list[Axis]:
    return [Axis(224, k, stride, lo=(k - 1) // 2, hi=(k - 1) // 2) for k, stride in kernels_and_strides]


UNIT = ((1, 1), (3, 1), (1, 1))
LAST = ((1, 1), (3, 2), (1, 1))  # TensorFlow's ResNets stride in the last unit of a stage


@pytest.mark.parametrize(
    ("net", "size", "jump"),
    [
        # Araujo, Norris, Sim: Computing receptive fields of convolutional neural networks, table 1.
        ([(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)], 195, 32),
        ([*2 * [(3, 1)], (2, 2), *2 * [(3, 1)], (2, 2), *3 * [*3 * [(3, 1)], (2, 2)]], 212, 32),
        ([(7, 2), (3, 2), *2 * UNIT, *LAST, *3 * UNIT, *LAST, *5 * UNIT, *LAST, *3 * UNIT], 483, 32),
    ],
    ids=["AlexNet", "VGG-16", "ResNet-50"],
)  # fmt: skip
def test_published_sizes(net: list[tuple[int, int]], size: int, jump: int) -> None:
    field = Taps.chain(layers(*net))
    assert (field.size, field.jump) == (size, jump)


def test_taps_by_hand() -> None:
    """Of a transposed convolution, of what it leaves empty, and of chains."""
    up = Axis(5, 2, stride=3).adjoint()  # every third result gets nothing
    assert Taps.of(up).taps == ((0,), (0,), ())
    assert [Taps.of(up)(o) for o in (-1, 2, 3)] == [(), (), (1,)]
    holes = Taps.of(Axis(9, 3, dilation=2, lo=2))
    assert holes(0) == (-2, 0, 2)
    assert holes.after(Taps.of(up))(0) == (-1, 0)  # of -2, 0 and 2, which gets nothing
    assert Taps.of(Axis(9, 2, stride=2, dilation=2)).after(holes)(3) == (4, 6, 8, 10)
    assert (holes.size, holes.start, Taps(1, 1, ((),)).size, Taps(1, 1, ((),)).start) == (5, -2, 0, None)


@pytest.mark.parametrize("axis", [Axis(9, 4, 3, 2, 1, 2), Axis(6, 3, 2, 1, 2, 0).adjoint(), Axis(7, 2, 1, 3)])
def test_taps_are_those_of_the_definition(axis: Axis) -> None:
    taps = Taps.of(axis)
    for o in range(axis.out):
        meet = {
            i
            for i in range(-40, 40)
            for k in range(axis.kernel)
            if o * axis.stride + k * axis.dilation - axis.lo == i * axis.base
        }
        assert taps(o) == tuple(sorted(meet))
    assert taps.jump == Fraction(axis.stride, axis.base)


def test_halo_is_what_a_tile_lacks() -> None:
    chain = Taps.chain(
        [Axis(40, 5, 2, lo=1, hi=3), Axis(20, 3, dilation=2, lo=2, hi=2), Axis(20, 4, 2).adjoint()]
    )
    before, behind = chain.halo
    for q, n in ((0, 1), (3, 2)):
        touched = {i for o in range(q * chain.period, (q + n) * chain.period) for i in chain(o)}
        assert min(touched) == q * chain.advance - before
        assert max(touched) == (q + n) * chain.advance + behind - 1


def test_fit_refuses_what_does_not_repeat() -> None:
    assert Taps.fit(((0,), (1, 2), (1,), (2, 3)), 4) is None
    assert Taps.fit(((0, 1), (0, 1), (0, 1)), 2) is None
    assert Taps.fit(((0,), (0, 1), (1,), (1, 2), (2,)), 3) == Taps(2, 1, ((0,), (0, 1)))  # aligned corners


def test_period_is_the_number_of_entries() -> None:
    with pytest.raises(ValueError, match="period=2 must be the number"):
        Taps(2, 1, ((0,),))


KERNEL = jnp.ones((3, 3, 2, 2))


def conv(x: jax.Array, **options: Any) -> jax.Array:
    return jaxconv.conv(x, KERNEL, padding=1, **options)


def attention(x: jax.Array) -> jax.Array:
    rows = x.reshape(1, -1, 2)
    return (jax.nn.softmax(rows @ rows.mT, -1) @ rows).reshape(x.shape)


def batch_norm(x: jax.Array) -> jax.Array:
    with jax.named_scope("norm"):
        return (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda x: conv(x).mean((1, 2)), "reduce_sum"),
        (lambda x: conv(batch_norm(conv(x))), "reduce_sum in norm: it takes in whole rows"),
        (lambda x: conv(x).reshape(1, -1) @ jnp.ones((16 * 12 * 2, 5)), "dot_general"),
        (lambda x: jnp.fft.fft2(conv(x), axes=(1, 2)).real, "fft .*: it is not known to be local"),
        (lambda x: attention(conv(x)), "reduce_max in .* attention"),
        (lambda x: lax.while_loop(lambda x: x.sum() < 1e9, lambda x: 2 * x, conv(x)), "while"),
        (lambda x: lax.while_loop(lambda x: x.sum() < 1e9, conv, x), "while"),
        (lambda x: jnp.cumsum(jnp.cumsum(conv(x), 1), 2), "cumsum .*: it is a running sum"),
        (lambda x: conv(jnp.sort(jnp.sort(x, 1), 2)), r"sort in test_receptive_field.py:\d+ .*not known"),
    ],
    ids=["mean", "batch norm", "flatten", "fft", "attention", "rounds", "while", "cumsum", "sort"],
)  # fmt: skip
def test_what_is_not_local_is_named(fn: Callable[..., Any], why: str) -> None:
    for field in jaxconv.receptive_field(fn, shaped(1, 16, 12, 2)):
        assert (field.size, field.jump, field.start) == (None, None, None)
        assert re.match(why, field.why), field.why
        assert str(field) == f"all: {field.why}"


def test_running_sum_and_global_mean_at_every_position() -> None:
    [running, _] = jaxconv.receptive_field(lambda x: jnp.cumsum(conv(x), 1), shaped(1, 9, 8, 2))
    assert [running.interval(o) for o in (0, 3, 8)] == [range(2), range(5), range(9)]
    [mean, _] = jaxconv.receptive_field(lambda x: conv(x).mean((1, 2)), shaped(1, 9, 8, 2))
    assert (mean.output_dim, mean.interval(0)) == (None, range(9))


def test_branches_of_other_jumps_are_exact_but_do_not_repeat() -> None:
    [rows, columns] = jaxconv.receptive_field(lambda x: conv(x)[:, ::2] + conv(x)[:, :5], shaped(1, 10, 6, 2))
    assert (rows.size, rows.jump, columns.jump) == (7, None, 1)
    assert "branches of different jumps meet" in rows.why
    assert [rows.interval(o) for o in range(5)] == [
        range(2),
        range(4),
        range(1, 6),
        range(2, 8),
        range(3, 10),
    ]


def test_recurrence_sees_the_past() -> None:
    def fn(x: jax.Array) -> Any:
        step = lambda h, x_t: ((h + x_t), h + x_t)  # noqa: E731
        return lax.scan(step, jnp.zeros(3), x)[1], lax.scan(step, jnp.zeros(3), x, reverse=True)[1]

    past, future = jaxconv.receptive_field(fn, shaped(6, 3))
    assert [past[0].interval(o) for o in (0, 5)] == [range(1), range(6)]
    assert [future[0].interval(o) for o in (0, 5)] == [range(6), range(5, 6)]
    assert past[0].size is None or past[0].jump is None


def test_conditional_is_the_union_of_its_branches() -> None:
    fn = lambda p, x: lax.cond(p, conv, lambda x: jnp.roll(x, 3, 1), x)  # noqa: E731
    [rows, columns] = jaxconv.receptive_field(fn, jax.ShapeDtypeStruct((), bool), shaped(1, 12, 8, 2))
    assert (rows.size, rows.start, columns.size) == (5, -3, 3)


def test_causal_dilated_stack() -> None:
    """WaveNet's: 2^n positions, all of them in the past."""
    kernel = jnp.ones((2, 4, 4))

    def fn(x: jax.Array) -> jax.Array:
        for n in range(8):
            x = x + jaxconv.conv(x, kernel, dilation=2**n, padding="CAUSAL")
        return x

    [field] = jaxconv.receptive_field(fn, shaped(1, 600, 4))
    assert (field.size, field.jump, field.start) == (256, 1, -255)
    assert field.interval(500) == range(245, 501)


def test_channels_decide() -> None:
    """A group sees its own branch only, and a shuffle undone is the identity."""
    grouped = jnp.ones((1, 1, 2, 4))

    def fn(x: jax.Array) -> jax.Array:
        both = jnp.concatenate([conv(x), conv(conv(x))], -1)
        return jaxconv.conv(both, grouped, groups=2)[..., :2]

    assert jaxconv.receptive_field(fn, shaped(1, 12, 12, 2)).size == (3, 3)
    back = lambda x: conv(jaxconv.pixel_shuffle(jaxconv.pixel_unshuffle(x, (2, 3)), (2, 3)))  # noqa: E731
    found = jaxconv.receptive_field(back, shaped(1, 12, 12, 2))
    assert (found.size, found.jump, found.start) == ((3, 3), (1, 1), (-1, -1))
    half = jaxconv.receptive_field(
        lambda x: jnp.split(jaxconv.pixel_unshuffle(x, 2), 2, -1)[0], shaped(1, 8, 8, 1)
    )
    assert half.size == (1, 2)


def test_axes_are_found_in_any_layout_and_under_transformations() -> None:
    first = lambda x: jaxconv.conv(x, KERNEL, stride=(1, 2), layout="channels_first")  # noqa: E731
    found = jaxconv.receptive_field(jax.vmap(jax.jit(jax.checkpoint(first))), shaped(3, 2, 9, 8))
    assert [(f.input_dim, f.output_dim, f.size, f.jump) for f in found] == [(2, 2, 3, 1), (3, 3, 3, 2)]
    pool = lambda x: jnp.maximum(x[:, :-1:2], x[:, 1::2])  # noqa: E731
    assert jaxconv.receptive_field(lambda x: pool(conv(x)), shaped(1, 9, 8, 2)).size == (4, 3)
    lines = jaxconv.receptive_field(lambda x: jaxconv.conv(x, KERNEL[0], padding="SAME"), shaped(1, 9, 2))
    assert [(f.input_dim, f.size) for f in lines] == [(1, 3)]


def test_results_of_any_kind() -> None:
    fn = lambda x: {"a": conv(x), "b": (jnp.ones(3), x * 2)}  # noqa: E731
    found = jaxconv.receptive_field(fn, shaped(1, 9, 8, 2))
    assert found["a"].size == (3, 3)
    assert found["b"][0] is None
    assert found["b"][1].size == (1, 1)


def test_u_net_of_linen_and_sizes_beyond_memory() -> None:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            fine = linen.relu(linen.Conv(4, (3, 3))(x))
            deep = linen.Conv(4, (3, 3))(linen.max_pool(fine, (2, 2), (2, 2)))
            wide = linen.ConvTranspose(4, (2, 2), strides=(2, 2))(deep)
            return linen.Conv(1, (3, 3))(jnp.concatenate([fine, wide], -1))

    x = shaped(1, 4096, 8192, 1)
    params = jax.eval_shape(Net().init, jax.random.key(0), shaped(1, 8, 8, 1))
    found = jaxconv.receptive_field(Net().apply, params, x)
    # Three rows of the last kernel lie on two pooled ones, whose kernel sees four, and those eight.
    assert (found.size, found.jump) == ((10, 10), (1, 1))
    assert found[1].interval(8191) == range(8187, 8192)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxconv.receptive_field(3, shaped(1, 2)), "fn=3 of type int must be a function"),
        (lambda: jaxconv.receptive_field(lambda d: d["x"], {"x": shaped(1, 2)}), "name the input with wrt="),
        (
            lambda: jaxconv.receptive_field(conv, shaped(1, 4, 4, 2), wrt=1),
            r"wrt=1 is no argument .* are \[0\]",
        ),
        (lambda: jaxconv.receptive_field(conv, shaped(1, 4, 4, 2))[0].interval(4), "o=4 is no position"),
        (
            lambda: jaxconv.effective_receptive_field(conv, shaped(1, 4, 4, 2), position=(4, 0)),
            "is none of the",
        ),
        (
            lambda: jaxconv.effective_receptive_field(conv, shaped(1, 4, 4, 2), position=(1,)),
            "is none of the",
        ),
        (lambda: jaxconv.effective_receptive_field(lambda x: (x, x), shaped(1, 4)), "fn has 2 results"),
        (lambda: jaxconv.effective_receptive_field(conv, shaped(1, 4, 4, 2), samples=0), "samples=0 must be"),
    ],
)
def test_bad_input(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_effective_field_of_a_linear_net(rng: np.random.Generator, tmp_path: Any) -> None:
    """The gradient is the kernels' convolution, whatever the input; NumPy's is the oracle."""
    first, second = rng.standard_normal((2, 3, 5)).astype(np.float32)
    by_hand = np.zeros((5, 9))
    for i, j in np.ndindex(3, 5):
        by_hand[i : i + 3, j : j + 5] += np.float64(first[i, j]) * second
    kernels = [jnp.asarray(k[:, :, None, None]) for k in (first, second)]

    def fn(kernels: Any, x: jax.Array) -> jax.Array:
        for kernel in kernels:
            x = jaxconv.conv(x, kernel, padding="SAME", algorithm="direct")
        return x

    found = jaxconv.effective_receptive_field(fn, kernels, shaped(1, 11, 13, 1), position=(4, 6), samples=2)
    assert found.box == (range(2, 7), range(2, 11))
    wanted = np.zeros((11, 13))
    wanted[2:7, 2:11] = np.abs(by_hand) / np.abs(by_hand).sum()
    np.testing.assert_allclose(found.magnitude, wanted, atol=1e-6)
    found.save(tmp_path / "field.png")
    assert (tmp_path / "field.png").read_bytes()[:4] == b"\x89PNG"


def test_effective_field_is_smaller_than_what_is_seen(rng: np.random.Generator) -> None:
    """Luo et al.: of random weights it is bell-shaped, with most of it near the middle."""
    kernels = jnp.asarray(rng.uniform(0.5, 1, (8, 5, 1, 1)), jnp.float32)

    def fn(x: jax.Array) -> jax.Array:
        return lax.scan(lambda x, k: (jaxconv.conv(x, k, padding=2, algorithm="direct"), None), x, kernels)[0]

    found = jaxconv.effective_receptive_field(fn, shaped(2, 65, 1), samples=3)
    middle = found.magnitude[32 - 8 : 32 + 9].sum()
    assert (found.box, found.position) == ((range(16, 49),), (32,))
    assert middle > 0.95
    assert found.magnitude[32] > 100 * found.magnitude[16] > 0
    axes = found.draw()
    assert axes.get_xlabel() == "position of the input"
