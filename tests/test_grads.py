"""Derivatives of the operators: exact by differences with a step of one, in any order and mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.testing import assert_close, check_grads
from tests import oracle
from tests.cases import BY_NAME, CASES, FEW, Case, all_slots

few = pytest.mark.parametrize("case", FEW, ids=lambda c: c.name)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_jvp_and_vjp_of_every_slot(case):
    """One function of (x, kernel, g) that holds all three operators, affine in each argument."""
    check_grads(all_slots(case), case.arrays(np.float32), multilinear=True)


@few
def test_second_order_of_every_slot(case):
    check_grads(all_slots(case), case.arrays(np.float32), order=2, multilinear=True)


def test_third_order():
    case = BY_NAME["1d_dilated_strided"]
    fn = lambda x, kernel: jaxconv.conv(x, kernel, **case.options)  # noqa: E731
    check_grads(fn, case.arrays(np.float32)[:2], order=3, multilinear=True)


def test_complex():
    case = BY_NAME["2d_groups_strided_dilated"]
    check_grads(all_slots(case), case.arrays(np.complex64), multilinear=True)


def test_channels_first_and_unbatched():
    case = BY_NAME["2d_groups_strided_dilated"]
    x, kernel, g = case.arrays(np.float32)
    check_grads(all_slots(case, "channels_first"), (x, kernel, g), multilinear=True)
    check_grads(lambda x, kernel: jaxconv.conv(x, kernel, **case.options), (x[0], kernel), multilinear=True)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode, rng):
    """conv and the two functions that claim to be its gradients, with borders copied from the inside."""
    x, kernel = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((3, 2, 3, 4))
    x, kernel = x.astype(np.float32), kernel.astype(np.float32)
    options = dict(stride=(1, 2), padding=((2, 1), (0, 3)), padding_mode=mode)
    fn = lambda x, kernel: jaxconv.conv(x, kernel, **options)  # noqa: E731
    check_grads(fn, (x, kernel), multilinear=True)
    y, pull = jax.vjp(fn, x, kernel)
    g = rng.standard_normal(y.shape).astype(np.float32)
    X, W = pull(g)
    assert_close(jaxconv.conv_input_grad(g, kernel, x.shape, **options), X, contraction=24)
    assert_close(jaxconv.conv_weight_grad(x, g, kernel.shape, **options), W, contraction=40)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_conv_transpose(mode, rng):
    x, kernel, bias = (rng.standard_normal(s).astype(np.float32) for s in ((2, 4, 3, 4), (3, 4, 2, 4), (4,)))
    options = dict(stride=(2, 3), padding=((1, 0), (1, 1)), groups=2, padding_mode=mode)
    options |= dict(output_shape=(8, 9)) if mode == "circular" else dict(output_padding=(1, 2))

    def fn(x, kernel, bias):
        return jaxconv.conv_transpose(x, kernel, bias, **options)

    check_grads(fn, (x, kernel, bias), order=2, multilinear=True)


# Against the oracle, operator by operator: the table "closed under differentiation".


@few
@pytest.mark.parametrize("slot", ["forward", "input_grad", "weight_grad"])
def test_transposes_are_the_other_operators(case, slot):
    x, kernel, g = case.arrays(np.float32)
    ct_x, ct_kernel, ct_g = case.arrays(np.float32, salt="cotangents")
    options = case.options
    forward = lambda x, w: oracle.forward(x, w, **options)  # noqa: E731
    input_grad = lambda g, w: oracle.input_grad(g, w, case.x_shape, **options)  # noqa: E731
    weight_grad = lambda x, g: oracle.weight_grad(x, g, case.kernel_shape, **options)  # noqa: E731
    # slot: (the operator, its operands, cotangent, what its transposes must be)
    fn, operands, ct, wanted = {
        "forward": (
            lambda x, w: jaxconv.conv(x, w, **options),
            (x, kernel),
            ct_g,
            (input_grad(ct_g, kernel), weight_grad(x, ct_g)),
        ),
        "input_grad": (
            lambda g, w: jaxconv.conv_input_grad(g, w, case.x_shape, **options),
            (g, kernel),
            ct_x,
            (forward(ct_x, kernel), weight_grad(ct_x, g)),
        ),
        "weight_grad": (
            lambda x, g: jaxconv.conv_weight_grad(x, g, case.kernel_shape, **options),
            (x, g),
            ct_kernel,
            (input_grad(g, ct_kernel), forward(x, ct_kernel)),
        ),
    }[slot]
    _, pull = jax.vjp(fn, *operands)
    for i, (got, want) in enumerate(zip(pull(ct), wanted, strict=True)):
        assert_close(
            got, want, contraction=max(map(case.contraction, ("forward", "input_grad", "weight_grad")))
        )
        [alone] = jax.linear_transpose(lambda a, i=i: fn(*operands[:i], a, *operands[i + 1 :]), operands[i])(
            ct
        )
        np.testing.assert_array_equal(alone, got)


def dense_jacobian(case: Case, kernel: np.ndarray) -> np.ndarray:
    """d forward / d x from the oracle, one basis vector at a time, as (*y_shape, *x_shape)."""
    size = int(np.prod(case.x_shape))
    basis = np.eye(size).reshape(size, *case.x_shape)
    columns = [oracle.forward(e, kernel, **case.options) for e in basis]
    return np.stack(columns, -1).reshape(*case.y_shape, *case.x_shape)


@pytest.mark.parametrize("name", ["1d_crop_low_pad_high_strided", "1d_depthwise_k5"])
def test_jacobians(name):
    case = BY_NAME[name]
    x, kernel, _ = case.arrays(np.float32)
    wanted = dense_jacobian(case, kernel)
    for jacobian in (jax.jacfwd, jax.jacrev):
        got = jacobian(lambda x: jaxconv.conv(x, kernel, **case.options))(x)
        assert_close(got, wanted)


def test_hessian_of_a_nonlinear_function():
    """f(x) = Σ tanh(conv(x))  has the Hessian  Jᵀ diag(tanh'') J."""
    case = BY_NAME["1d_crop_low_pad_high_strided"]
    x, kernel, _ = case.arrays(np.float32)

    def f(x):
        return jnp.tanh(jaxconv.conv(x, kernel, **case.options)).sum()

    size = int(np.prod(case.x_shape))
    J = dense_jacobian(case, kernel).reshape(-1, size)
    t = np.tanh(oracle.forward(x, kernel, **case.options)).ravel()
    wanted = J.T @ np.diag(-2 * t * (1 - t**2)) @ J

    @jax.jit
    def hessians(x):
        outer_inner = ((jax.jacfwd, jax.jacrev), (jax.jacfwd, jax.jacfwd), (jax.jacrev, jax.jacfwd))
        return [jax.hessian(f)(x), *(outer(inner(f))(x) for outer, inner in outer_inner)]

    for got in hessians(x):
        assert_close(got.reshape(size, size), wanted, contraction=100)  # tanh itself is off by a few units


@pytest.mark.parametrize("operator", ["conv", "conv_transpose"])
def test_nonlinear_network_to_second_order(operator, rng):
    """Two layers with a nonlinearity, in float64 by central differences."""
    with jax.enable_x64(True):
        x = jnp.asarray(0.5 * rng.standard_normal((2, 5, 6, 2)))
        kernels = [jnp.asarray(0.5 * rng.standard_normal(s)) for s in ((3, 2, 2, 2), (2, 3, 2, 2))]
        layer = getattr(jaxconv, operator)

        def net(x, kernels):
            for kernel in kernels:
                x = jnp.tanh(layer(x, kernel, stride=(1, 2), padding=((1, 0), (1, 2))))
            return x

        check_grads(net, (x, kernels), order=2)
