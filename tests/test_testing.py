"""Each helper of jaxconv.testing is silent on a right answer and fails on one wrong by little."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.custom_derivatives import linear_call

from jaxconv.testing import assert_close, check_against_oracle, check_grads, check_trilinear
from tests import oracle
from tests.cases import BY_NAME

EPS = float(jnp.finfo(np.float32).eps)


# assert_close


def test_tolerance_is_what_it_says(rng):
    """√9 · 2 · eps · scale: just inside is close, just outside is not."""
    expected = rng.standard_normal((3, 4))
    scale = 1 + rng.random((3, 4))
    error = np.zeros((3, 4))
    error[1, 2] = 6 * EPS * scale[1, 2]
    assert_close(expected + 0.99 * error, expected, contraction=9, scale=scale, eps=EPS)
    with pytest.raises(AssertionError, match=r"1 of 12 elements(.|\n)*at +\[1, 2\]"):
        assert_close(expected + 1.01 * error, expected, contraction=9, scale=scale, eps=EPS)
    with pytest.raises(AssertionError):
        assert_close(expected + 0.99 * error, expected, contraction=8, scale=scale, eps=EPS)
    with pytest.raises(AssertionError):
        assert_close(expected + 0.99 * error, expected, contraction=9, scale=scale, eps=EPS, factor=1.9)


def test_default_scale_is_the_largest_expected():
    expected = np.array([0.0, -4.0])
    assert_close(np.array([7.9 * EPS, -4.0]), expected, eps=EPS)
    with pytest.raises(AssertionError, match=r"scale 4$"):
        assert_close(np.array([8.1 * EPS, -4.0]), expected, eps=EPS)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"])
def test_eps_is_the_coarser_dtype(dtype):
    eps = float(jnp.finfo(dtype).eps)
    one = np.ones(2, jnp.dtype(dtype))
    assert_close(one, one.astype(np.complex128) + eps)
    with pytest.raises(AssertionError):
        assert_close(one, one.astype(np.complex128) + 3 * eps)


def test_integers_have_to_be_equal():
    assert_close(np.array([2**40, 3]), np.array([2**40, 3]))
    with pytest.raises(AssertionError, match=r"got +3"):
        assert_close(np.array([2**40, 3]), np.array([2**40, 4]))


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (np.array([2**63 - 1]), np.array([-1])),
        (np.array([2**63 - 1]), np.array([2**63 - 2])),
        (np.array([2**63], np.uint64), np.array([-(2**63)])),
        (np.array([2**63], np.uint64), np.array([-(2.0**63)])),
        (np.array([0], np.uint64), np.array([2**64 - 1], np.uint64)),
    ],
)
def test_integers_do_not_wrap(got, want):
    assert_close(got, got.copy())
    with pytest.raises(AssertionError, match="1 of 1 elements"):
        assert_close(got, want)


def test_non_finite_values():
    assert_close(np.array([np.inf, 1.0]), np.array([np.inf, 1.0]), scale=1.0)
    for got, want in [(np.nan, 1.0), (1.0, np.nan), (np.nan, np.nan), (np.inf, -np.inf), (np.inf, 1.0)]:
        with pytest.raises(AssertionError):
            assert_close(np.array([got]), np.array([want]))


def test_shapes_have_to_be_equal():
    with pytest.raises(AssertionError, match=r"got shape \(1, 3\), wanted \(3,\)"):
        assert_close(np.ones((1, 3)), np.ones(3))
    assert_close(np.ones((0, 3)), np.ones((0, 3)))


# check_against_oracle


def test_oracle_accepts_rounding_and_refuses_more(rng):
    """A dot product of 1000 terms that cancel: its error is judged by Σ|a||b|, not by the small result."""
    a, b = rng.standard_normal((2, 1000)).astype(np.float32)
    b[-1] = -np.dot(a[:-1], b[:-1]) / a[-1]
    size = np.dot(np.abs(a), np.abs(b))
    check_against_oracle(jnp.dot, np.dot, (a, b), contraction=1000, scale=np.dot)
    wrong = 3 * EPS * np.sqrt(1000) * size
    with pytest.raises(AssertionError):
        check_against_oracle(
            lambda a, b: jnp.dot(a, b) + wrong, np.dot, (a, b), contraction=1000, scale=np.dot
        )


def test_oracle_sees_the_numbers_that_jax_sees():
    """0.1 is not the same number in bfloat16; the oracle must get the rounded one, in float64."""
    seen = []

    def double(x):
        seen.append(x)
        return 2 * x

    check_against_oracle(lambda x: 2 * x, double, (jnp.asarray([0.1, 0.2], jnp.bfloat16),), eps=1e-9)
    assert seen[0].dtype == np.float64
    assert seen[0][0] == float(jnp.bfloat16(0.1)) != 0.1


def test_oracle_compares_trees_and_names_the_leaf():
    def both(x):
        return {"sum": x.sum(), "twice": 2 * x}

    x = np.arange(3.0, dtype=np.float32)
    check_against_oracle(both, both, (x,), contraction=3, scale=both)
    with pytest.raises(AssertionError, match=r"both\['twice'\]"):
        check_against_oracle(both, lambda x: {"sum": x.sum(), "twice": 3 * x}, (x,), label="both")
    with pytest.raises(AssertionError, match="structure"):
        check_against_oracle(both, lambda x: {"sum": x.sum()}, (x,))


# check_grads


def matmul(x, y):
    return {"product": x @ y, "shape": jnp.asarray(x.shape)}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64"])
def test_multilinear_of_any_dtype(rng, dtype):
    x, y = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    args = (jnp.asarray(x, dtype), jnp.asarray(y, dtype))
    check_grads(matmul, args, order=2, multilinear=True)


def test_affine_in_each_argument_is_enough(rng):
    x, kernel, bias = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3), (3, 4), (4,)))
    check_grads(
        lambda x, p: x @ p["kernel"] + p["bias"], (x, dict(kernel=kernel, bias=bias)), multilinear=True
    )


def test_not_multilinear_is_refused():
    with pytest.raises(AssertionError):
        check_grads(lambda x: x**2, (np.array([0.5, 2.0], np.float32),), multilinear=True)


@pytest.mark.parametrize("x64", [False, True])
def test_smooth_functions_by_central_differences(rng, x64):
    with jax.enable_x64(x64):
        args = (jnp.asarray(rng.standard_normal(5)), jnp.arange(5))
        check_grads(lambda x, n: jnp.tanh(x * n).sum() + jnp.exp(x), args, order=2)


def test_complex_functions_that_are_not_holomorphic(rng):
    z = (rng.standard_normal(4) + 1j * rng.standard_normal(4)).astype(np.complex64)
    check_grads(lambda z: jnp.abs(z) ** 2 + jnp.conj(z) * 1j, (z,), order=2)


def test_zero_size(rng):
    x, y = rng.standard_normal((3, 0)).astype(np.float32), rng.standard_normal((0, 2)).astype(np.float32)
    check_grads(matmul, (x, y), order=2, multilinear=True)


def slightly_wrong(fwd: float, rev: float):
    """x -> 2x whose derivative is 2·(1 + fwd) in forward and 2·(1 + rev) in reverse mode."""

    @jax.custom_jvp
    def double(x):
        return 2 * x

    @double.defjvp
    def _(primals, tangents):
        def forward(_, t):
            return 2 * (1 + fwd) * t

        def backward(_, ct):
            return 2 * (1 + rev) * ct

        return double(*primals), linear_call(forward, backward, (), *tangents)

    return double


@pytest.mark.parametrize("multilinear", [True, False])
@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_wrong_derivative_in_one_mode_only(mode, multilinear):
    """Wrong by one per thousand in one mode: that mode's check fails, the other's passes."""
    x = np.array([0.7, -1.1, 0.4], np.float32)
    other = {"fwd": "rev", "rev": "fwd"}[mode]
    right = slightly_wrong(**{"fwd": 0, "rev": 0})
    wrong = slightly_wrong(**{mode: 2e-3, other: 0})
    options = dict(multilinear=multilinear)
    check_grads(right, (x,), **options)
    check_grads(wrong, (x,), modes=(other,), **options)
    with pytest.raises(AssertionError, match=mode):
        check_grads(wrong, (x,), **options)


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_multilinear_sees_an_error_of_a_few_roundings(mode):
    x = np.array([0.7, -1.1, 0.4], np.float32)
    wrong = slightly_wrong(**{"fwd": 0, "rev": 0} | {mode: 40 * EPS})
    with pytest.raises(AssertionError, match=mode):
        check_grads(wrong, (x,), multilinear=True)


def test_wrong_argument_is_named(rng):
    @jax.custom_jvp
    def product(x, y):
        return x * y["b"]

    product.defjvp(lambda p, t: (product(*p), t[0] * p[1]["b"] + 1.01 * p[0] * t[1]["b"]))
    x, y = rng.standard_normal((2, 4)).astype(np.float32)
    with pytest.raises(AssertionError, match=r"args\[1\]\['b'\]"):
        check_grads(product, (x, {"b": y}), multilinear=True)


@pytest.mark.parametrize("multilinear", [True, False])
def test_wrong_second_order(multilinear):
    """The rule forgets that its coefficient depends on y: right at order 1, wrong at order 2."""

    @jax.custom_jvp
    def product(x, y):
        return x * y

    product.defjvp(lambda p, t: (product(*p), jax.lax.stop_gradient(p[1]) * t[0] + p[0] * t[1]))
    args = np.float32([0.5, -1.5]), np.float32([2.0, 0.7])
    check_grads(product, args, multilinear=multilinear)
    for mode in ("fwd", "rev"):
        check_grads(product, args, modes=(mode,), multilinear=multilinear)
        with pytest.raises(AssertionError, match=f"{mode} of {mode}"):
            check_grads(product, args, order=2, modes=(mode,), multilinear=multilinear)


def test_wrong_third_order_only():
    @jax.custom_jvp
    def cube(x):
        return x**3

    @cube.defjvp
    def _(p, t):
        x = p[0]
        frozen = jax.lax.stop_gradient(x)
        slope = 3 * frozen**2 + 6 * frozen * (x - frozen)  # right value and first derivative, no second
        return cube(x), slope * t[0]

    x = np.float32([0.5, -1.5])
    check_grads(cube, (x,), order=2)
    with pytest.raises(AssertionError, match="of fwd of fwd"):
        check_grads(cube, (x,), order=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(order=0), "order=0"),
        (dict(modes=("forward",)), "'forward'"),
        (dict(modes=()), "checks nothing"),
        (dict(), "args hold no"),
    ],
)
def test_check_grads_refuses_nonsense(options, message):
    x = np.array([1, 2]) if not options else np.ones(2, np.float32)
    with pytest.raises(ValueError, match=message):
        check_grads(lambda x: x, (x,), **options)


def test_check_grads_refuses_integer_results_alone():
    with pytest.raises(ValueError, match="fn has no floating-point or complex result"):
        check_grads(lambda x: (x > 0).astype(int), (np.ones(2, np.float32),))


# check_trilinear


def numpy_operators(case):
    return (
        lambda x, kernel: oracle.forward(x, kernel, **case.options),
        lambda g, kernel: oracle.input_grad(g, kernel, case.x_shape, **case.options),
        lambda x, g: oracle.weight_grad(x, g, case.kernel_shape, **case.options),
    )


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.complex128])
def test_trilinear_holds_for_three_callables(dtype):
    case = BY_NAME["2d_groups_strided_dilated"]
    check_trilinear(*case.arrays(dtype), operators=numpy_operators(case))


def test_trilinear_holds_for_jaxconv():
    case = BY_NAME["2d_groups_strided_dilated"]
    check_trilinear(*case.arrays(np.float32), **case.options)
    check_trilinear(*case.arrays(np.int32), **case.options)


@pytest.mark.parametrize("slot", [0, 1, 2])
@pytest.mark.parametrize(("dtype", "error"), [(np.int64, 1), (np.float64, 1e-9)])
def test_trilinear_fails_on_one_wrong_element(slot, dtype, error):
    case = BY_NAME["2d_stride"]
    operators = list(numpy_operators(case))
    right = operators[slot]

    def wrong(a, b):
        result = right(a, b)
        result[1, 1] += error
        return result

    operators[slot] = wrong
    with pytest.raises(AssertionError, match=r"<forward\(x, kernel\), g> = "):
        check_trilinear(*case.arrays(dtype), operators=operators)


def test_trilinear_fails_on_a_flipped_kernel():
    case = BY_NAME["2d"]
    forward, input_grad, weight_grad = numpy_operators(case)
    operators = (forward, lambda g, kernel: input_grad(g, kernel[::-1]), weight_grad)
    with pytest.raises(AssertionError):
        check_trilinear(*case.arrays(np.float64), operators=operators)


def test_trilinear_checks_shapes_and_options():
    case = BY_NAME["2d"]
    x, kernel, g = case.arrays(np.float64)
    with pytest.raises(AssertionError, match=r"forward\(x, kernel\): got shape"):
        check_trilinear(x, kernel, g[:, 1:], operators=numpy_operators(case))
    with pytest.raises(ValueError, match="stride"):
        check_trilinear(x, kernel, g, operators=numpy_operators(case), stride=2)
