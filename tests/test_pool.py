"""Pooling against loops over windows: values, indices, ties, NaN, padding, ceil mode, gradients."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.testing import assert_close

from . import pool_oracle as oracle


@dataclass(frozen=True)
class Case:
    """A pooling: sizes unlike each other, borders unlike each other."""

    size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False
    batch: tuple[int, ...] = (2,)
    channels: int = 3

    @property
    def windows(self) -> oracle.Windows:
        axes = zip(self.size, self.window, self.stride, self.dilation, self.padding, strict=True)
        return [oracle.axis_windows(*rest, *pads, self.ceil_mode) for *rest, pads in axes]

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.batch, *self.size, self.channels)

    @property
    def options(self) -> dict:
        return {"stride": self.stride, "padding": self.padding, "ceil_mode": self.ceil_mode}


CASES = {
    "1d": Case((9,), (4,), (3,), ((1, 0),), (1,)),
    "1d dilated": Case((11,), (3,), (2,), ((1, 2),), (3,), ceil_mode=True),
    "1d gaps": Case((11,), (2,), (4,), ((0, 0),), (1,), ceil_mode=True, batch=()),
    "stem": Case((8, 7), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "touching": Case((6, 9), (2, 3), (2, 3), ((0, 0), (0, 0)), (1, 1)),
    "unlike": Case((7, 6), (3, 2), (2, 1), ((0, 1), (1, 0)), (1, 2), batch=()),
    "ceil": Case((8, 9), (3, 4), (2, 3), ((1, 1), (2, 0)), (1, 1), ceil_mode=True),
    "large": Case((9, 8), (5, 7), (1, 1), ((2, 2), (3, 2)), (1, 1), batch=(1,), channels=2),
    "long": Case((5, 211), (2, 70), (2, 70), ((0, 1), (8, 3)), (1, 1), batch=(), channels=2),
    "long dilated": Case((290,), (66,), (40,), ((7, 9),), (2,)),
    "3d": Case((4, 5, 3), (2, 3, 2), (2, 2, 1), ((0, 1), (1, 1), (1, 0)), (1, 1, 2), ceil_mode=True),
    "4d": Case((3, 2, 4, 3), (2, 1, 2, 2), (1, 1, 2, 1), ((0, 1), (0, 0), (0, 0), (1, 0)), (1, 1, 1, 1)),
}


def arrays(rng: np.random.Generator, shape: tuple[int, ...], *, nan: bool = False) -> np.ndarray:
    """Few values, so that windows have ties; infinite ones among them, and some that are no number."""
    x = rng.integers(-3, 3, shape).astype(np.float32)
    x[x == 2] = -np.inf
    x[rng.random(shape) < 0.05] = np.inf
    if nan:
        x[rng.random(shape) < 0.15] = np.nan
    return x


def batched(array: np.ndarray, case: Case) -> np.ndarray:
    return array if case.batch else array[None]


@pytest.mark.parametrize("name", CASES)
def test_maxima_indices_and_gradient(name, rng):
    case = CASES[name]
    first = len(name) % 2 == 0
    axis = len(case.batch)  # of the channels, if they come first

    @jax.jit
    def run(x, g):
        if first:
            x, g = (jnp.moveaxis(a, -1, axis) for a in (x, g))
        options = {**case.options, "layout": f"channels_{'first' if first else 'last'}"}
        options["dilation"] = case.dilation

        def pool(x):
            return jaxconv.max_pool(x, case.window, return_indices=True, **options)

        y, pull = jax.vjp(lambda x: jaxconv.max_pool(x, case.window, **options), x)
        same, pull_too, where = jax.vjp(pool, x, has_aux=True)
        results = (y, same, where, pull(g)[0], pull_too(g)[0])
        return [jnp.moveaxis(a, axis, -1) for a in results] if first else results

    for nan in (False, True):
        x = arrays(rng, case.shape, nan=nan)
        y, index = oracle.max_pool(batched(x, case).astype(np.float64), case.windows)
        g = rng.normal(size=y.shape).astype(np.float32)
        dx = oracle.max_pool_grad(g, index, batched(x, case).shape)
        found = run(x, g if case.batch else g[0])
        ours, same, where, ours_dx, same_dx = (batched(np.asarray(a), case) for a in found)
        np.testing.assert_array_equal(ours, y)
        np.testing.assert_array_equal(same, y)
        assert where.dtype == np.int32
        np.testing.assert_array_equal(where, index)
        assert_close(ours_dx, dx, contraction=int(np.prod(case.window)))
        np.testing.assert_array_equal(same_dx, ours_dx)


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((300,), (255,), (1,)), ((300,), (256,), (3,)), ((52, 51), (52, 51), (1, 1)), ((120,), (60,), (60,))],
)
def test_windows_of_many_elements(size, window, stride, rng):
    """The gradient is one at the maximum's number, however large that is."""
    x = rng.permutation(np.prod(size)).astype(np.float32).reshape(1, *size, 1)
    windows = [oracle.axis_windows(*axis) for axis in zip(size, window, stride, strict=True)]
    y, index = oracle.max_pool(x, windows)
    g = rng.normal(size=y.shape).astype(np.float32)
    pool = lambda x: jaxconv.max_pool(x, window, stride=stride)  # noqa: E731
    dx = jax.jit(lambda x, g: jax.vjp(pool, x)[1](g)[0])(x, g)
    assert_close(dx, oracle.max_pool_grad(g, index, x.shape), contraction=100, scale=np.abs(g).max())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if max(case.dilation) == 1])
def test_means(name, rng):
    case = CASES[name]
    x = rng.normal(size=case.shape).astype(np.float32)
    sums = oracle.sum_pool(batched(x, case), case.windows)
    g = rng.normal(size=sums.shape).astype(np.float32)
    ends = [(-lo, n + hi) for n, (lo, hi) in zip(case.size, case.padding, strict=True)]
    counts = {
        True: oracle.divisors(case.windows, ends),
        False: oracle.divisors(case.windows, [(0, n) for n in case.size]),
    }

    def run(x, g):
        found = []
        for options in ({"count_include_pad": True}, {"count_include_pad": False}, {"divisor_override": -7}):
            y, pull = jax.vjp(lambda x, o=options: jaxconv.avg_pool(x, case.window, **case.options, **o), x)
            found.append((y, pull(g if case.batch else g[0])[0]))
        return found

    for (y, dx), count in zip(jax.jit(run)(x, g), (counts[True], counts[False], np.array(-7.0)), strict=True):
        terms = int(np.prod(case.window))
        absolute = oracle.sum_pool(np.abs(batched(x, case)), case.windows) / np.abs(count)
        assert_close(batched(np.asarray(y), case), sums / count, contraction=terms, scale=absolute)
        wanted = oracle.sum_pool_grad(g / count, case.windows, batched(x, case).shape)
        scale = oracle.sum_pool_grad(np.abs(g / count), case.windows, batched(x, case).shape)
        assert_close(batched(np.asarray(dx), case), wanted, contraction=terms, scale=scale)


@pytest.mark.parametrize(
    ("size", "out"),
    [
        ((10,), (4,)),
        ((3,), (7,)),
        ((13, 6), (6, 3)),
        ((5, 8), (1, 5)),
        ((4, 3, 7), (3, 3, 2)),
        ((200,), (3,)),
    ],
)
def test_adaptive(size, out, rng):
    x = arrays(rng, (2, *size, 3))
    windows = [oracle.parts(n, o) for n, o in zip(size, out, strict=True)]
    y, index = oracle.max_pool(x.astype(np.float64), windows)
    g = rng.normal(size=y.shape).astype(np.float32)
    finite = rng.normal(size=x.shape).astype(np.float32)

    @jax.jit
    def run(x, finite, g):
        y, pull, where = jax.vjp(
            lambda x: jaxconv.adaptive_max_pool(x, out, return_indices=True), x, has_aux=True
        )
        mean, pull_mean = jax.vjp(lambda x: jaxconv.adaptive_avg_pool(x, out), finite)
        return y, where, pull(g)[0], mean, pull_mean(g)[0]

    ours, where, dx, mean, dmean = run(x, finite, g)
    np.testing.assert_array_equal(ours, y)
    np.testing.assert_array_equal(where, index)
    assert_close(dx, oracle.max_pool_grad(g, index, x.shape), contraction=8)
    count = oracle.divisors(windows, [(0, n) for n in size])
    assert_close(
        mean,
        oracle.sum_pool(finite, windows) / count,
        contraction=int(count.max()),
        scale=np.abs(finite).max(),
    )
    wanted = oracle.sum_pool_grad(g / count, windows, x.shape)
    assert_close(dmean, wanted, contraction=8, scale=np.abs(g).max())


@pytest.mark.parametrize("norm", [1, 2.0, 3, 0.5])
def test_norms(norm, rng):
    case = (
        CASES["touching"]
        if norm == 2
        else Case((7, 5), (3, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), ceil_mode=True)
    )
    x = rng.uniform(0.5, 2, case.shape).astype(np.float32)
    inside = oracle.divisors(case.windows, [(0, n) for n in case.size])
    sums = oracle.sum_pool(x.astype(np.float64) ** norm, case.windows) * np.prod(case.window) / inside
    wanted = sums ** (1 / norm)
    # d y / d x[i] = (K / n) xᵖ⁻¹[i] (K Σxᵖ / n)^(1/p - 1)
    outer = sums ** (1 / norm - 1) * np.prod(case.window) / inside
    dx = oracle.sum_pool_grad(outer, case.windows, x.shape) * x.astype(np.float64) ** (norm - 1)

    def pool(x):
        return jaxconv.lp_pool(x, case.window, norm_type=norm, stride=case.stride, ceil_mode=case.ceil_mode)

    y, ours = jax.jit(lambda x: (pool(x), jax.grad(lambda x: pool(x).sum())(x)))(x)
    assert_close(y, wanted, contraction=64)
    assert_close(ours, dx, contraction=64)


def test_norm_of_zeros_has_a_gradient_and_of_negative_sums_a_meaning():
    x = jnp.array([0.0, 0.0, 3.0, -4.0, -1.0, -2.0]).reshape(1, 6, 1)
    y, pull = jax.vjp(lambda x: jaxconv.lp_pool(x, 2), x)
    assert_close(y.ravel(), np.array([0.0, 5.0, 5**0.5]), contraction=2)
    assert_close(pull(jnp.ones_like(y))[0].ravel()[:4], np.array([0.0, 0.0, 0.6, -0.8]), contraction=2)
    np.testing.assert_array_equal(jaxconv.lp_pool(x, 2, norm_type=1).ravel(), [0, -1, -3])
    assert np.isnan(jaxconv.lp_pool(x, 2, norm_type=3).ravel()[1])


@pytest.mark.parametrize("name", ["touching", "stem", "3d"])
def test_unpool_puts_back_what_was_found(name, rng):
    case = CASES[name]
    x = rng.permutation(int(np.prod(case.shape))).astype(np.float32).reshape(case.shape) + 1
    y, index = oracle.max_pool(x, case.windows)
    wanted = np.zeros(x.shape)
    for n, c in np.ndindex(x.shape[0], x.shape[-1]):
        flat = wanted[n, ..., c].copy().ravel()
        flat[index[n, ..., c].ravel()] = y[n, ..., c].ravel()
        wanted[n, ..., c] = flat.reshape(case.size)
    g = rng.normal(size=x.shape).astype(np.float32)

    @jax.jit
    def run(x, g):
        y, where = jaxconv.max_pool(
            x, case.window, return_indices=True, **case.options, dilation=case.dilation
        )

        def unpool(y):
            return jaxconv.max_unpool(
                y, where, case.window, stride=case.stride, padding=case.padding, output_size=case.size
            )

        back, pull = jax.vjp(unpool, y)
        return back, pull(g)[0], jax.jvp(unpool, (y,), (2 * y,))[1]

    back, dy, tangent = run(x, g)
    np.testing.assert_array_equal(back, wanted)
    flat = g.reshape(g.shape[0], -1, g.shape[-1])
    np.testing.assert_array_equal(
        dy, np.take_along_axis(flat, index.reshape(flat.shape[0], -1, flat.shape[-1]), 1).reshape(y.shape)
    )
    times = np.apply_along_axis(
        lambda i: np.bincount(i, minlength=int(np.prod(case.size))),
        1,
        index.reshape(flat.shape[0], -1, flat.shape[-1]),
    )
    np.testing.assert_array_equal(tangent, 2 * wanted * times.reshape(x.shape))


def test_unpool_chooses_the_smallest_size_and_leaves_out_what_points_outside():
    x = jnp.array([5.0, 7.0, 9.0, 1.0]).reshape(2, 2, 1)
    indices = jnp.array([3, -1, 99, 7]).reshape(2, 2, 1)
    y = jaxconv.max_unpool(x, indices, (2, 3), stride=(2, 1), padding=((1, 0), (0, 1)))
    assert y.shape == (3, 3, 1)  # (2 - 1) 2 - 1 + 2, (2 - 1) 1 - 1 + 3
    np.testing.assert_array_equal(y.ravel(), [0, 0, 0, 5, 0, 0, 0, 1, 0])


def test_unpool_takes_indices_of_a_narrow_dtype():
    """A size that they can't count to is where nothing points."""
    x = jnp.array([5.0, 7.0]).reshape(1, 2, 1)
    y = np.asarray(jaxconv.max_unpool(x, np.array([3, 120], np.int8).reshape(x.shape), 2, output_size=(400,)))
    assert np.flatnonzero(y).tolist() == [3, 120]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "float16", "bfloat16", "float32", "float64"])
def test_dtypes(dtype, rng):
    with jax.enable_x64(dtype == "float64"):
        low = 0 if dtype == "uint8" else -99
        x = jnp.asarray(rng.integers(low, 99, (1, 6, 5, 2)), dtype)
        if dtype in ("int8", "uint8"):
            x = x.at[0, :2, :2].set(jnp.iinfo(dtype).min)  # as small as padding
        windows = [oracle.axis_windows(n, 3, 2, 1, 1, 1) for n in (6, 5)]
        wanted, index = oracle.max_pool(np.asarray(x, np.float64), windows)
        y, where = jaxconv.max_pool(x, 3, stride=2, padding=1, return_indices=True)
        assert y.dtype == dtype
        np.testing.assert_array_equal(np.asarray(y, np.float64), wanted)
        np.testing.assert_array_equal(where, index)
        if jnp.issubdtype(x.dtype, jnp.floating):
            mean = jaxconv.avg_pool(x, 3, stride=2, padding=1)
            assert mean.dtype == dtype
            assert_close(mean, oracle.sum_pool(np.asarray(x, np.float64), windows) / 9, contraction=1)
        else:
            with pytest.raises(ValueError, match="mean of integers"):
                jaxconv.avg_pool(x, 3)


def test_means_of_half_precision_are_summed_in_float32():
    x = jnp.ones((1, 600, 1), jnp.bfloat16)  # 256 + 1 is 256 in bfloat16
    assert jaxconv.avg_pool(x, 600).item() == 1
    assert jaxconv.adaptive_avg_pool(x, 1).item() == 1
    assert jaxconv.avg_pool(jnp.full((1, 4, 1), 6e4, jnp.float16), 4).item() == np.float16(6e4)


def test_means_of_complex_numbers(rng):
    x = (rng.normal(size=(1, 4, 2)) + 1j * rng.normal(size=(1, 4, 2))).astype(np.complex64)
    assert_close(jaxconv.avg_pool(x, 2), x.reshape(1, 2, 2, 2).mean(2), contraction=2)
    with pytest.raises(ValueError, match="complex numbers have no order"):
        jaxconv.max_pool(x, 2)


@pytest.mark.parametrize("shape", [(0, 6, 5, 2), (2, 6, 5, 0), (1, 1, 5, 2)])
def test_nothing_in_nothing_out(shape):
    x = jnp.zeros(shape)
    for pool in (jaxconv.max_pool, jaxconv.avg_pool, jaxconv.lp_pool):
        y, pull = jax.vjp(lambda x, pool=pool: pool(x, 2), x)
        assert y.shape == (shape[0], shape[1] // 2, 2, shape[3])
        np.testing.assert_array_equal(pull(y)[0], x)
    y, where = jaxconv.max_pool(x, 2, return_indices=True)
    assert jaxconv.max_unpool(y, where, 2, output_size=(6, 5)).shape == (shape[0], 6, 5, shape[3])
    if 0 in (shape[0], shape[-1]):
        y = jaxconv.adaptive_max_pool(x, (4, 2))
        assert y.shape == jaxconv.adaptive_avg_pool(x, (4, 2)).shape == (shape[0], 4, 2, shape[3])


X = jnp.zeros((2, 6, 5, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxconv.max_pool(X, (2,)), r"x has shape .* a window of 1 spatial dimensions wants 3"),
        (lambda: jaxconv.max_pool(X, 0), r"window=\(0, 0\) must be at least 1"),
        (lambda: jaxconv.max_pool(X, 2.5), "window"),
        (lambda: jaxconv.max_pool(X, 2, stride=0), r"stride=\(0, 0\) must be at least 1"),
        (lambda: jaxconv.max_pool(X, 2, stride=(1, 2, 3)), "stride"),
        (lambda: jaxconv.max_pool(X, 2, dilation=0), "dilation=0 must be at least 1"),
        (lambda: jaxconv.max_pool(X, 2, padding=-1), "must not be negative; slice x instead"),
        (lambda: jaxconv.max_pool(X, 2, padding=2), "window 0 of spatial dimension 0 .* nothing but padding"),
        (
            lambda: jaxconv.avg_pool(X, 2, padding=((0, 0), (0, 4))),
            "window 3 of spatial dimension 1 .* padding",
        ),
        (lambda: jaxconv.max_pool(X, 2, padding="FOO"), "padding='FOO' is not known"),
        (lambda: jaxconv.max_pool(X, 2, layout="NHWC"), "layout='NHWC' is not known"),
        (lambda: jaxconv.max_pool(X > 0, 2), "x has dtype bool"),
        (lambda: jaxconv.max_pool(None, 2), "x of type NoneType|x has dtype"),
        (lambda: jaxconv.avg_pool(X, 2, divisor_override=0), "divisor_override=0 would divide by zero"),
        (lambda: jaxconv.avg_pool(X, 2, divisor_override=1.5), "divisor_override=1.5 .* must be an int"),
        (lambda: jaxconv.lp_pool(X, 2, norm_type=0), "norm_type=0 must be a number above 0"),
        (lambda: jaxconv.lp_pool(X, 2, norm_type="2"), "norm_type='2' must be a number above 0"),
        (lambda: jaxconv.adaptive_max_pool(X, 0), r"output_size=\(0, 0\) .* at least 1"),
        (lambda: jaxconv.adaptive_avg_pool(X, (1,)), "a result of 1 spatial dimensions wants 3"),
        (lambda: jaxconv.adaptive_avg_pool(X[:, :0], 1), "at least 1"),
        (lambda: jaxconv.max_unpool(X, X, 2), "indices have dtype float32; wanted integers"),
        (lambda: jaxconv.max_unpool(X, jnp.zeros((2, 6, 5), int), 2), "indices have shape .* wanted x's"),
        (
            lambda: jaxconv.max_unpool(X, X.astype(int), 2, output_size=(4,)),
            "output_size=.* has 1 entries; wanted 2",
        ),
        (lambda: jaxconv.max_unpool(X, X.astype(int), 2, padding="SAME"), "padding='SAME'"),
        (lambda: jaxconv.max_unpool(X, X.astype(int), 2, stride=0), r"stride=\(0, 0\) must be at least 1"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
