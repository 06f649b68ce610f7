"""Every dtype the operators take, what they accumulate in, and the dtype that gradients keep."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.testing import assert_close
from tests.cases import BY_NAME, FEW, SLOTS, all_slots, check_slots, expected_slots

few = pytest.mark.parametrize("case", FEW, ids=lambda c: c.name)
NARROW = ("float16", "bfloat16", "float32", "complex64", "int32", "int8")
WIDE = ("float64", "complex128", "int64")
# Depthwise and grouped weight gradients take other code paths than dense ones, dilation a third.
VARIED = [BY_NAME[n] for n in ("2d_stride", "2d_groups_strided_dilated", "2d_depthwise", "3d")]
varied = pytest.mark.parametrize("case", VARIED, ids=lambda c: c.name)


def arrays(case, dtype):
    """Random arrays in the dtype; half precision is rounded from float32."""
    base = np.float32 if jnp.issubdtype(dtype, jnp.floating) else dtype
    return [jnp.asarray(a, dtype) for a in case.arrays(base)]


def check(case, args, results, dtype):
    """The results' dtype, and their values against the oracle of the very numbers that JAX saw."""
    assert {r.dtype for r in results.values()} == {jnp.dtype(dtype)}
    check_slots(case, results, [np.asarray(a) for a in args])


@varied
@pytest.mark.parametrize("dtype", NARROW)
def test_values(case, dtype):
    args = arrays(case, dtype)
    check(case, args, jax.jit(all_slots(case))(*args), dtype)


@varied
@pytest.mark.parametrize("dtype", WIDE)
def test_values_with_x64(case, dtype):
    with jax.enable_x64(True):
        args = arrays(case, dtype)
        check(case, args, jax.jit(all_slots(case))(*args), dtype)


@pytest.mark.parametrize("case", VARIED[:3], ids=lambda c: c.name)
@pytest.mark.parametrize(
    ("dtype", "wider"),
    [("int8", "int32"), ("float16", "float32"), ("bfloat16", "float32"), ("int8", "float32")],
)
def test_preferred_element_type(case, dtype, wider):
    """The result has the wider dtype and its accuracy: bfloat16 operands, but sums right to float32."""
    args = arrays(case, dtype)
    check(case, args, jax.jit(all_slots(case, preferred_element_type=wider))(*args), wider)


def test_preferred_complex_of_real_operands():
    with pytest.raises(ValueError, match="preferred_element_type"):
        jaxconv.conv(jnp.ones((1, 4, 1)), jnp.ones((2, 1, 1)), preferred_element_type="complex64")


def test_preferred_float64_of_float32_operands():
    case = BY_NAME["2d_stride"]
    with jax.enable_x64(True):
        args = arrays(case, np.float32)
        check(case, args, all_slots(case, preferred_element_type=np.float64)(*args), np.float64)


@few
@pytest.mark.parametrize(("dtype", "wider"), [("bfloat16", "float32"), ("float16", "float32")])
def test_gradients_keep_the_operands_dtype(case, dtype, wider):
    """y is wider than x and kernel; their gradients are not (jax-ml/jax#31592)."""
    x, kernel, _ = (jnp.asarray(a, dtype) for a in case.arrays(np.float32))
    g = jnp.asarray(case.arrays(np.float32)[2])

    def operator(x, kernel):
        return jaxconv.conv(x, kernel, preferred_element_type=wider, **case.options)

    y, pull = jax.vjp(operator, x, kernel)
    assert y.dtype == wider
    X, W = pull(g)
    assert (X.dtype, W.dtype) == (x.dtype, kernel.dtype)
    wide = [np.asarray(a, np.float64) for a in (x, kernel, g)]
    want, sizes = expected_slots(case, *wide), expected_slots(case, *map(np.abs, wide))
    assert_close(X, want["input_grad"], contraction=case.contraction("input_grad"), scale=sizes["input_grad"])
    assert_close(
        W, want["weight_grad"], contraction=case.contraction("weight_grad"), scale=sizes["weight_grad"]
    )
    _, tangent = jax.jvp(operator, (x, kernel), (x, kernel))
    assert tangent.dtype == wider


def test_gradients_of_the_gradients_keep_it_too():
    case = BY_NAME["2d_stride"]
    x, kernel, g = (jnp.asarray(a, jnp.bfloat16) for a in case.arrays(np.float32))
    options = dict(case.options, preferred_element_type=np.float32)
    for fn, operands in (
        (lambda g, kernel: jaxconv.conv_input_grad(g, kernel, x.shape, **options), (g, kernel)),
        (lambda x, g: jaxconv.conv_weight_grad(x, g, kernel.shape, **options), (x, g)),
        (lambda g, kernel: jaxconv.conv_transpose(g, kernel, output_shape=case.size, **options), (g, kernel)),
    ):
        result, pull = jax.vjp(fn, *operands)
        assert result.dtype == jnp.float32
        assert {ct.dtype for ct in pull(result)} == {jnp.dtype(jnp.bfloat16)}
        hessian = jax.jvp(lambda *o, fn=fn: jax.grad(lambda *p: jnp.sum(fn(*p) ** 2))(*o), operands, operands)
        assert {h.dtype for h in hessian} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_sums_do_not_stall(dtype):
    """4096 ones add up to 4096: a bfloat16 accumulator would stop at 256, a float16 one at 2048."""
    n = 4096
    x, g = jnp.ones((1, n, 1), dtype), jnp.ones((1, n, 1), dtype)
    assert jaxconv.conv_weight_grad(x, g, (1, 1, 1))[0, 0, 0] == n
    assert jaxconv.conv(x, jnp.ones((n, 1, 1), dtype))[0, 0, 0] == n
    depthwise = jnp.ones((1, n, 2), dtype)
    assert jaxconv.conv_weight_grad(depthwise, depthwise, (1, 1, 2), groups=2).ravel().tolist() == [n, n]
    assert jaxconv.conv_transpose(jnp.ones((1, 1, n), dtype), jnp.ones((1, 1, n), dtype))[0, 0, 0] == n


@pytest.mark.parametrize(("name", "dtype"), [("2d_depthwise", "float8_e5m2"), ("4d", "float8_e4m3fn")])
def test_eight_bit_floats(name, dtype):
    """Small integers times 0 or 1 are exact in eight bits, and so are their sums."""
    case, rng = BY_NAME[name], np.random.default_rng(3)
    numbers = [rng.integers(0, top, a.shape) for top, a in zip((3, 2, 2), case.arrays(), strict=True)]
    args = [jnp.asarray(a, dtype) for a in numbers]
    want = expected_slots(case, *map(np.float64, numbers))
    dtypes = {"": dtype, "bfloat16": "bfloat16", "float32": "float32"}
    run = jax.jit(lambda *a: {p: all_slots(case, preferred_element_type=p or None)(*a) for p in dtypes})
    for preferred, results in run(*args).items():
        for slot, result in results.items():
            assert result.dtype == dtypes[preferred]
            np.testing.assert_array_equal(result, want[slot].astype(result.dtype))


def test_what_operators_sum_in_is_not_for_strict_promotion_to_refuse():
    x, kernel = jnp.arange(10, dtype=jnp.bfloat16).reshape(1, 5, 2), jnp.ones((2, 2, 1), jnp.bfloat16)
    with jax.numpy_dtype_promotion("strict"):
        y = jaxconv.conv(x, kernel, jnp.ones(1, jnp.bfloat16), preferred_element_type=np.float32)
        assert (y.dtype, y.ravel().tolist()) == (np.float32, [7, 15, 23, 31])
        assert jaxconv.avg_pool(x, 5).ravel().tolist() == [4, 5]
        assert jaxconv.resize(x, size=(1,), method="area")[0].ravel().tolist() == [4, 5]
    assert jaxconv.avg_pool(x.astype("float8_e5m2"), 5).astype(np.float32).ravel().tolist() == [4, 5]


def test_complex_is_not_conjugated():
    """By hand: (1 + 2j)·(3 + 1j) = 1 + 7j, and the transposes multiply by kernel and x themselves."""
    x, kernel = jnp.full((1, 1, 1), 1 + 2j), jnp.full((1, 1, 1), 3 + 1j)
    y, pull = jax.vjp(jaxconv.conv, x, kernel)
    assert y[0, 0, 0] == 1 + 7j
    X, W = pull(jnp.ones_like(y))
    assert (X[0, 0, 0], W[0, 0, 0]) == (3 + 1j, 1 + 2j)


@pytest.mark.parametrize("precision", [None, "high", jax.lax.Precision.HIGHEST, ("high", "highest")])
def test_precision_is_accepted_and_lowered(precision):
    """CPU values do not depend on it; programs say which one was asked for, in all slots and gradients."""
    case = BY_NAME["2d_stride"]
    args = arrays(case, np.float32)
    fn = jax.jit(all_slots(case, precision=precision))
    check(case, args, fn(*args), np.float32)
    loss = lambda *a: jaxconv.conv(*a, precision=precision, **case.options).sum()  # noqa: E731
    if precision is None:
        return
    asked = {str(p).upper() for p in (precision if isinstance(precision, tuple) else [precision])}
    for text in fn.lower(*args).as_text(), jax.jit(jax.grad(loss, (0, 1))).lower(*args[:2]).as_text():
        products = [line for line in text.splitlines() if re.search("stablehlo.(convolution|dot)", line)]
        assert products
        assert all(set(re.findall("DEFAULT|HIGHEST|HIGH", line)) == asked for line in products)


def test_default_matmul_precision_is_read():
    case = BY_NAME["2d_stride"]
    args = arrays(case, np.float32)
    with jax.default_matmul_precision("highest"):
        assert "HIGHEST" in jax.jit(all_slots(case)).lower(*args).as_text()
    assert "HIGHEST" not in jax.jit(all_slots(case)).lower(*args).as_text()


def test_numpy_float64_follows_x64():
    """What JAX does with a float64 array: float32 without x64, float64 with."""
    case = BY_NAME["1d"]
    x, kernel, _ = case.arrays(np.float64)
    assert jaxconv.conv(x, kernel).dtype == np.float32
    with jax.enable_x64(True):
        assert jaxconv.conv(x, kernel).dtype == np.float64


@pytest.mark.parametrize("slot", SLOTS)
def test_unsigned_and_wrapping_integers(slot):
    """Integers wrap as NumPy's do: no float in between."""
    case = BY_NAME["2d_groups"]
    rng = np.random.default_rng(5)
    args = [rng.integers(0, 256, s).astype(np.uint8) for s in (case.x_shape, case.kernel_shape, case.y_shape)]
    want = expected_slots(case, *args)[slot].astype(np.uint8)
    np.testing.assert_array_equal(all_slots(case)(*args)[slot], want)
