"""Values of the operators on every case, in every layout, against the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.testing import assert_close, check_against_oracle, check_trilinear
from tests import oracle
from tests.cases import BY_NAME, CASES, FEW, SLOTS, Case, all_slots, check_slots


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request) -> Case:
    return request.param


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_float32(case, layout):
    args = case.arrays(np.float32)
    check_slots(case, jax.jit(all_slots(case, layout))(*args), args)


def test_float64(case):
    with jax.enable_x64(True):
        args = case.arrays(np.float64)
        results = jax.jit(all_slots(case))(*args)
        assert {r.dtype for r in results.values()} == {np.dtype(np.float64)}
        check_slots(case, results, args)


def test_int32(case):
    """Exact, and the trilinear identity exact: no tolerance that could hide anything."""
    args = case.arrays(np.int32)
    results = jax.jit(all_slots(case))(*args)
    check_slots(case, results, args)
    check_trilinear(*args, operators=[lambda *_, slot=slot: results[slot] for slot in SLOTS])


def test_unbatched(case):
    """An x without N is a batch of one."""
    x, kernel, g = case.arrays(np.float32)
    single = x[:1].sum(0), kernel, g[:1].sum(0)

    @jax.jit
    def run(x, kernel, g):
        X = jaxconv.conv_input_grad(g, kernel, x.shape, **case.options)
        W = jaxconv.conv_weight_grad(x, g, kernel.shape, **case.options)
        return {
            "forward": jaxconv.conv(x, kernel, **case.options)[None],
            "input_grad": X[None],
            "weight_grad": W,
        }

    results = run(*single)
    x, kernel, g = single
    check_slots(case, results, (x[None], kernel, g[None]))


@pytest.mark.parametrize("case", [c for c in CASES if c.transposable], ids=lambda c: c.name)
def test_conv_transpose(case):
    """The adjoint of the same convolution, its size given by output_padding or by output_shape."""
    _, kernel, g = case.arrays(np.float32)
    bias = np.linspace(-1, 2, case.channels[0], dtype=np.float32)

    def expected(g, kernel, bias):
        return oracle.input_grad(g, kernel, case.x_shape, **case.options) + bias

    def by_padding(g, kernel, bias):
        return jaxconv.conv_transpose(g, kernel, bias, output_padding=case.output_padding, **case.options)

    def by_shape(g, kernel, bias):
        return jaxconv.conv_transpose(g, kernel, bias, output_shape=case.size, **case.options)

    k = max(1, case.contraction("input_grad"))
    for fn in (by_padding, by_shape):
        check_against_oracle(fn, expected, (g, kernel, bias), contraction=k, scale=expected)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_bias(layout):
    case = BY_NAME["2d_stride"]
    x, kernel, _ = case.arrays(np.float32)
    bias = np.float32([3, -1, 4, 0.5])
    want = oracle.forward(x, kernel, **case.options) + bias
    if layout == "channels_first":
        x, want = np.moveaxis(x, -1, 1), np.moveaxis(want, -1, 1)
    got = jaxconv.conv(x, kernel, bias, layout=layout, **case.options)
    assert_close(got, want, contraction=case.contraction("forward") + 1)


@pytest.mark.parametrize("case", FEW, ids=lambda c: c.name)
def test_eager_and_numpy_arguments(case):
    """Without jit, and from NumPy arrays and lists of options, nothing changes."""
    args = case.arrays(np.float32)
    check_slots(case, all_slots(case)(*args), args)


# Padding modes: np.pad is the oracle of the padding, the oracle of the convolution does the rest.

NUMPY_MODE = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", NUMPY_MODE)
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_padding_modes(mode, layout, rng):
    x = rng.standard_normal((2, 6, 7, 3)).astype(np.float32)
    kernel = rng.standard_normal((3, 4, 3, 5)).astype(np.float32)
    pads = ((2, 1), (0, 4))
    options = dict(stride=(2, 1), dilation=(1, 2))

    def expected(x, kernel):
        padded = np.pad(x, ((0, 0), *pads, (0, 0)), mode=NUMPY_MODE[mode])
        return oracle.forward(padded, kernel, padding=((0, 0), (0, 0)), **options)

    def actual(x, kernel):
        if layout == "channels_last":
            return jaxconv.conv(x, kernel, padding=pads, padding_mode=mode, **options)
        x = jnp.moveaxis(x, -1, 1)
        y = jaxconv.conv(x, kernel, padding=pads, padding_mode=mode, layout=layout, **options)
        return jnp.moveaxis(y, 1, -1)

    check_against_oracle(actual, expected, (x, kernel), contraction=36, scale=expected)


def test_circular_padding_longer_than_the_input(rng):
    x, kernel = (
        rng.standard_normal((1, 3, 2)).astype(np.float32),
        rng.standard_normal((4, 2, 2)).astype(np.float32),
    )

    def expected(x, kernel):
        padded = np.pad(x, ((0, 0), (4, 5), (0, 0)), mode="wrap")
        return oracle.forward(padded, kernel, stride=(1,), dilation=(1,), padding=((0, 0),))

    def actual(x, kernel):
        return jaxconv.conv(x, kernel, padding=[(4, 5)], padding_mode="circular")

    check_against_oracle(actual, expected, (x, kernel), contraction=8, scale=expected)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_circular_transposed_is_the_adjoint(stride, rng):
    """<conv(x, circular), g> = <x, conv_transpose(g, circular)>, on a ring that the stride divides."""
    x = rng.standard_normal((2, 6, 12, 3)).astype(np.float32)
    kernel = rng.standard_normal((3, 4, 3, 5)).astype(np.float32)
    options = dict(stride=stride, padding=((1, 1), (2, 1)), padding_mode="circular")
    y = jaxconv.conv(x, kernel, **options)
    g = rng.standard_normal(y.shape).astype(np.float32)
    back = jaxconv.conv_transpose(g, kernel, output_shape=x.shape[1:-1], **options)
    assert back.shape == x.shape
    _, pull = jax.vjp(lambda x: jaxconv.conv(x, kernel, **options), x)
    assert_close(back, pull(jnp.asarray(g))[0], contraction=60)
