"""Derivatives, vmap, jit, half precision and the planner's part in filters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import filters
from jaxconv.filters.separable import factors
from jaxconv.testing import assert_close, check_grads

LINEAR = {
    "gaussian": lambda x: filters.gaussian(x, (0.8, 1.5), order=(1, 0), mode="mirror"),
    "box": lambda x: filters.box(x, (4, 25), mode="wrap", origin=(1, -3)),
    "laplace": lambda x: filters.laplace(x, mode="nearest"),
    "sobel": lambda x: filters.sobel(x, axis=0, mode="constant", cval=0.5),
    "gabor_bank": lambda x: filters.gabor_bank(x, [0.3], [0.4]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_filters(name, rng):
    x = rng.normal(size=(5, 4))
    with jax.enable_x64(True):
        check_grads(jax.jit(LINEAR[name]), (x,), multilinear=True, contraction=100)


def test_any_kernel_is_bilinear(rng):
    x, kernel = rng.normal(size=(4, 5)), rng.normal(size=(3, 2))
    with jax.enable_x64(True):
        fn = jax.jit(lambda x, kernel: filters.convolve(x, kernel, mode="mirror", origin=(0, -1)))
        check_grads(fn, (x, kernel), multilinear=True)


SMOOTH = {
    "sobel": lambda x: filters.sobel(x),
    "gaussian in sigma": lambda x, s: filters.gaussian(x, s, radius=3, order=1, axes=0),
    "bilateral": lambda x, s, c: filters.bilateral(x, s, c, radius=(1, 2)),
    "bilateral of colours": lambda x, s, c: filters.bilateral(x, s, c, radius=1, axes=0, channel_axis=1),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_other_filters_to_second_order(name, rng):
    """Both modes of the filter, and forward over reverse of a sum of squares."""
    fn, sigmas = SMOOTH[name], (np.array(1.2), np.array(0.9))
    arrays = (rng.normal(size=(3, 4)), *sigmas[: fn.__code__.co_argcount - 1])
    every = tuple(range(len(arrays)))
    with jax.enable_x64(True):
        check_grads(jax.jit(fn), arrays)
        check_grads(jax.jit(jax.grad(lambda *a: jnp.sum(fn(*a) ** 2), every)), arrays, modes=("fwd",))


@pytest.mark.parametrize("window", [3, (8, 9)])
def test_median_passes_its_derivative_to_where_the_value_came_from(window, rng):
    x, g = (
        rng.permutation(8 * 11).reshape(8, 11).astype(np.float32),
        rng.normal(size=(8, 11)).astype(np.float32),
    )
    fn = jax.jit(lambda x: filters.median(x, window, mode="constant", cval=-1.0))
    y, pull = jax.vjp(fn, x)
    expected = np.zeros_like(g)
    for (i, j), value in np.ndenumerate(np.asarray(y)):
        expected[x == value] += g[i, j]
    assert_close(pull(g)[0], expected, contraction=9)
    assert_close(jax.jvp(fn, (x,), (g,))[1], [[g[x == v].sum() for v in row] for row in np.asarray(y)])


def test_median_divides_its_derivative_among_equals():
    x = jnp.array([2.0, 2.0, 1.0, 5.0, 2.0])
    assert jax.grad(lambda x: filters.median(x, 5)[2])(x).tolist() == pytest.approx(
        [1 / 3, 1 / 3, 0, 0, 1 / 3]
    )


def test_median_adds_up_in_single_what_half_precision_does_not_hold():
    """Of 25 equals: in bfloat16, 16 and 1.046875 more are 17."""
    image, rate = jnp.ones(5, jnp.bfloat16), jnp.full(5, 1.046875, jnp.bfloat16)
    _, slope = jax.jvp(lambda x: filters.median(x, 25, mode="wrap"), (image,), (rate,))
    assert_close(slope, np.full(5, 1.046875), factor=1)


def test_a_traced_width_of_zero_leaves_the_image_alone(rng):
    x = rng.normal(size=(5, 6)).astype(np.float32)
    run = jax.jit(lambda s: filters.gaussian(x, s, order=(0, 1), radius=2))
    assert_close(run((0.0, 0.0)), x)
    slope = jax.jit(jax.grad(lambda s: filters.gaussian(x, s, radius=2).sum()))
    assert slope(0.0) == 0


def test_size_of_a_gradient_has_derivative_zero_where_it_is_zero():
    g = jax.grad(lambda x: filters.sobel(x).sum())(jnp.ones((4, 5)))
    np.testing.assert_array_equal(g, np.zeros((4, 5)))


MAPPED = {
    "gaussian": lambda x: filters.gaussian(x, 1.0, mode="nearest"),
    "median": filters.median,
    "bilateral": lambda x: filters.bilateral(x, 0.5, 0.5),
    "sobel": filters.sobel,
    "gabor_bank": lambda x: filters.gabor_bank(x, [0.3], [0.4]),
}


@pytest.mark.parametrize("name", MAPPED)
def test_vmap_and_axes_are_the_filter_of_each_image(name, rng):
    fn = jax.jit(MAPPED[name])
    x = rng.normal(size=(2, 6, 7, 3)).astype(np.float32)
    each = np.stack([np.stack([fn(x[n, ..., c]) for c in range(3)], 2) for n in range(2)])
    mapped = jax.jit(jax.vmap(jax.vmap(fn, 2, 2)))(x)
    assert_close(mapped, each, contraction=100)
    options = {"gaussian": (1.0,), "bilateral": (0.5, 0.5), "gabor_bank": ([0.3], [0.4])}.get(name, ())
    mode = {"mode": "nearest"} if name == "gaussian" else {}
    last = getattr(filters, name)(x, *options, axes="channels_last", **mode)
    assert_close(last, each, contraction=100)
    first = getattr(filters, name)(np.moveaxis(x, 3, 1), *options, axes="channels_first", **mode)
    assert_close(np.moveaxis(np.asarray(first), 1, 3), each, contraction=100)


def test_gradients_under_vmap(rng):
    x = rng.normal(size=(3, 5, 6)).astype(np.float32)
    for fn in (filters.median, lambda x: filters.bilateral(x, 0.5, 0.5), LINEAR["gaussian"]):
        grad = jax.jit(jax.grad(lambda x, fn=fn: jnp.sum(fn(x) ** 2)))
        assert_close(jax.jit(jax.vmap(grad))(x), np.stack([grad(image) for image in x]), contraction=100)


@pytest.mark.parametrize("name", ["gaussian", "box", "median", "bilateral"])
def test_half_precision_is_rounded_once(name, rng):
    """Sums are in single precision: a result is off by its rounding, and by that of taps and passes."""
    options = {"gaussian": (1.0,), "bilateral": (0.5, 0.5)}.get(name, ())
    x = jnp.asarray(rng.uniform(size=(9, 8)), jnp.bfloat16)
    y = getattr(filters, name)(x, *options)
    assert y.dtype == jnp.bfloat16
    assert_close(y, getattr(filters, name)(np.asarray(x, np.float32), *options), contraction=3, scale=1.0)


def test_half_precision_has_the_range_of_single():
    """In between: squares of large and small differences, and sums of many, are no float16."""
    for height in (1e3, 1e-4):
        step = jnp.zeros((4, 6), jnp.float16).at[:, 3:].set(height)
        assert_close(filters.sobel(step)[1, 2:4], np.full(2, height / 2**0.5), eps=2**-10)
    assert_close(filters.box(jnp.full(5, 5e3, jnp.float16), 14), np.full(5, 5e3), eps=2**-10)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_integers_become_floating_unscaled(dtype, rng):
    x = rng.integers(0, 200, (6, 7)).astype(dtype)
    y = filters.box(x, 3)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, filters.box(x.astype(np.float32), 3))


def test_complex_image_and_kernel(rng):
    x = (rng.normal(size=(5, 6)) + 1j * rng.normal(size=(5, 6))).astype(np.complex64)
    kernel = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
    parts = {
        (a, b): filters.correlate(getattr(x, a), getattr(kernel, b))
        for a in ("real", "imag")
        for b in ("real", "imag")
    }
    real = parts["real", "real"] - parts["imag", "imag"]
    imaginary = parts["real", "imag"] + parts["imag", "real"]
    assert_close(filters.correlate(x, kernel), np.asarray(real) + 1j * np.asarray(imaginary), contraction=36)
    assert_close(
        filters.correlate(x.real, kernel), parts["real", "real"] + 1j * parts["real", "imag"], contraction=18
    )


def test_factors_of_a_kernel(rng):
    a, b, c = rng.normal(size=3), rng.normal(size=(4, 5)), rng.normal(size=2)
    whole = np.einsum("i,jl,k->ijkl", a, b, c)
    parts = factors(whole, 1e-12)
    assert [axes for axes, _ in parts] == [(0,), (2,), (1, 3)]
    assert_close(np.einsum("i,k,jl->ijkl", *(values for _, values in parts)), whole, contraction=8)
    assert [axes for axes, _ in factors(b, 1e-12)] == [(0, 1)]
    assert [axes for axes, _ in factors(np.zeros((3, 4)), 1e-12)] == [(0,), (1,)]


def passes(fn, x):
    """Kernel shapes of the convolutions in a program."""
    eqns = jax.make_jaxpr(fn)(x).jaxpr.eqns
    return [e.invars[1].aval.shape[:-2] for e in eqns if e.primitive.name == "conv_forward"]


def test_separable_kernels_are_applied_in_factors_where_that_pays(rng):
    x = rng.normal(size=(20, 21)).astype(np.float32)
    kernel = np.multiply.outer(rng.normal(size=9), rng.normal(size=7)).astype(np.float32)
    whole = lambda x: filters.correlate(x, kernel, separable=False)  # noqa: E731
    assert passes(lambda x: filters.correlate(x, kernel), x) == [(9, 1), (7,)]
    assert passes(whole, x) == [(9, 7)]
    assert passes(lambda x: filters.correlate(x, kernel[:3, :3]), x) == [(3, 3)]  # nine taps are one pass
    assert passes(lambda x: filters.correlate(x, kernel[:3, :3], separable=True), x) == [(3, 1), (3,)]
    mixed = kernel + 1e-3 * rng.normal(size=(9, 7))
    assert passes(lambda x: filters.correlate(x, mixed), x) == [(9, 7)]
    assert_close(filters.correlate(x, kernel), whole(x), contraction=63, scale=abs(kernel).sum())


def test_a_kernel_that_is_not_finite_is_applied_whole(rng):
    x, kernel = rng.normal(size=(6, 7)).astype(np.float32), np.ones((7, 7), np.float32)
    kernel[0, 0] = np.nan
    assert np.isnan(filters.correlate(x, kernel)).all()
    with pytest.raises(ValueError, match="no axis of the kernel"):
        filters.correlate(x, kernel, separable=True)


def test_algorithm_is_the_planners_or_forced(rng):
    x, kernel = rng.normal(size=(200, 201)).astype(np.float32), rng.normal(size=(5, 5)).astype(np.float32)
    plan = str(jaxconv.plan(lambda x: filters.correlate(x, kernel), x))
    assert "depthwise_mac" in plan
    forced = str(jaxconv.plan(lambda x: filters.correlate(x, kernel, algorithm="fft"), x))
    assert "fft: forced" in forced
    ours, other = (filters.correlate(x, kernel, algorithm=a) for a in (None, "fft"))
    assert_close(other, ours, contraction=25, scale=np.linalg.norm(kernel) * 10)


def test_many_axes(rng):
    """Channels last in three dimensions: more runs of axes than FFT takes, so they move to the front."""
    x, kernel = (
        rng.normal(size=(2, 4, 3, 5, 2)).astype(np.float32),
        rng.normal(size=(2, 3, 2)).astype(np.float32),
    )
    y = filters.correlate(x, kernel, axes="channels_last", algorithm="fft")
    each = [[filters.correlate(x[n, ..., c], kernel) for c in range(2)] for n in range(2)]
    assert_close(y, np.moveaxis(np.array(each), 1, -1), contraction=12, scale=20.0)
    turned = filters.correlate(x[0, ..., 0], kernel, axes=(2, 0, 1))
    assert_close(turned, filters.correlate(x[0, ..., 0], kernel.transpose(1, 2, 0)), contraction=12)
