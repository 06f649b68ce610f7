"""vmap of every operator over either operand and both, against one oracle call per element."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.testing import assert_close
from tests import oracle
from tests.cases import BY_NAME, CASES, FEW, SLOTS, Case

B = 3  # elements of a mapped axis: equal to no other axis that could stand in for it unseen
few = pytest.mark.parametrize("case", FEW, ids=lambda c: c.name)
MAPPINGS = {"first": (0, None), "second": (None, 0), "both": (0, 0)}


def operator(case: Case, slot: str):
    return {
        "forward": lambda x, kernel: jaxconv.conv(x, kernel, **case.options),
        "input_grad": lambda g, kernel: jaxconv.conv_input_grad(g, kernel, case.x_shape, **case.options),
        "weight_grad": lambda x, g: jaxconv.conv_weight_grad(x, g, case.kernel_shape, **case.options),
    }[slot]


def expected(case: Case, slot: str):
    return {
        "forward": lambda x, kernel: oracle.forward(x, kernel, **case.options),
        "input_grad": lambda g, kernel: oracle.input_grad(g, kernel, case.x_shape, **case.options),
        "weight_grad": lambda x, g: oracle.weight_grad(x, g, case.kernel_shape, **case.options),
    }[slot]


def operands(case: Case, slot: str, lead: tuple[int, ...], rng) -> tuple[np.ndarray, np.ndarray]:
    """Both operands of a slot with `lead` axes in front."""
    shapes = {
        "forward": (case.x_shape, case.kernel_shape),
        "input_grad": (case.y_shape, case.kernel_shape),
        "weight_grad": (case.x_shape, case.y_shape),
    }[slot]
    return tuple(rng.standard_normal((*lead, *shape)).astype(np.float32) for shape in shapes)


def one_by_one(fn, args, axes):
    """What vmap means: a loop. A None in `axes` is not mapped; the result is stacked in front."""
    pick = lambda a, axis, i: a if axis is None else np.take(a, i, axis)  # noqa: E731
    return np.stack([fn(*(pick(a, axis, i) for a, axis in zip(args, axes, strict=True))) for i in range(B)])


def contraction(case: Case) -> int:
    return max(1, *map(case.contraction, SLOTS))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_each_operand_and_both(case, rng):
    """Nine programs in one compilation: three slots, each mapped over its first operand, its second, both."""
    inputs, wanted = {}, {}
    for slot, (name, axes) in itertools.product(SLOTS, MAPPINGS.items()):
        args = operands(case, slot, (B,), rng)
        inputs[slot, name] = tuple(a if axis == 0 else a[0] for a, axis in zip(args, axes, strict=True))
        wanted[slot, name] = one_by_one(expected(case, slot), inputs[slot, name], axes)

    @jax.jit
    def run(inputs):
        return {
            (slot, name): jax.vmap(operator(case, slot), in_axes=MAPPINGS[name])(*args)
            for (slot, name), args in inputs.items()
        }

    results = run(inputs)
    for key, want in wanted.items():
        assert_close(results[key], want, contraction=contraction(case), label=f"{key}")


@few
def test_any_axis_in_and_out(case, rng):
    args = {slot: operands(case, slot, (B,), rng) for slot in SLOTS}
    moved = {slot: (np.moveaxis(a, 0, 1), np.moveaxis(b, 0, -1)) for slot, (a, b) in args.items()}

    @jax.jit
    def run(moved):
        return {s: jax.vmap(operator(case, s), in_axes=(1, -1), out_axes=2)(*ab) for s, ab in moved.items()}

    for slot, got in run(moved).items():
        want = one_by_one(expected(case, slot), args[slot], (0, 0))
        assert_close(jnp.moveaxis(got, 2, 0), want, contraction=contraction(case), label=slot)


@few
def test_nested(case, rng):
    """One operand outside and the other inside; both twice; both outside and one inside."""
    args = {slot: operands(case, slot, (2, B), rng) for slot in SLOTS}

    @jax.jit
    def run(args):
        results = {}
        for slot, (a, b) in args.items():
            fn = operator(case, slot)
            results[slot] = (
                jax.vmap(jax.vmap(fn, in_axes=(None, 0)), in_axes=(0, None))(a[:, 0], b[0]),
                jax.vmap(jax.vmap(fn))(a, b),
                jax.vmap(jax.vmap(fn, in_axes=(0, None)))(a, b[:, 0]),
            )
        return results

    for slot, results in run(args).items():
        fn, (a, b) = expected(case, slot), args[slot]
        wanted = (
            [[fn(p, q) for q in b[0]] for p in a[:, 0]],
            [[fn(a[i, j], b[i, j]) for j in range(B)] for i in range(2)],
            [[fn(a[i, j], b[i, 0]) for j in range(B)] for i in range(2)],
        )
        for n, (got, want) in enumerate(zip(results, wanted, strict=True)):
            assert_close(got, np.array(want), contraction=contraction(case), label=f"{slot}, nesting {n}")


@few
def test_per_example_gradients(case):
    """vmap of grad: one weight gradient for each element of the batch, and its sum is the whole."""
    x, kernel, g = case.arrays(np.float32)

    def loss(kernel, x, g):
        return jnp.sum(jaxconv.conv(x, kernel, **case.options) * g)

    got = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(kernel, x, g)
    options = case.options
    want = [
        oracle.weight_grad(x[i : i + 1], g[i : i + 1], kernel.shape, **options) for i in range(case.batch)
    ]
    assert_close(got, np.stack(want), contraction=contraction(case))
    assert_close(got.sum(0), oracle.weight_grad(x, g, kernel.shape, **options), contraction=contraction(case))


@few
def test_gradient_of_vmap(case, rng):
    """An ensemble: every member has its own kernel, all see one x. The gradient of x sums over members."""
    x, _ = operands(case, "forward", (), rng)
    kernels = rng.standard_normal((B, *case.kernel_shape)).astype(np.float32)
    gs = rng.standard_normal((B, *case.y_shape)).astype(np.float32)

    def loss(x, kernels):
        ys = jax.vmap(lambda kernel: jaxconv.conv(x, kernel, **case.options))(kernels)
        return jnp.sum(ys * gs)

    X, W = jax.grad(loss, argnums=(0, 1))(x, kernels)
    pairs = list(zip(gs, kernels, strict=True))
    want = sum(oracle.input_grad(g, kernel, case.x_shape, **case.options) for g, kernel in pairs)
    assert_close(X, want, contraction=B * contraction(case))
    assert_close(
        W, one_by_one(expected(case, "weight_grad"), (x, gs), (None, 0)), contraction=contraction(case)
    )


def test_conv_transpose_with_bias(rng):
    x, kernel, bias = (
        rng.standard_normal((B, *s)).astype(np.float32) for s in ((2, 4, 3, 6), (3, 2, 2, 6), (4,))
    )
    options = dict(stride=(2, 3), padding=((1, 0), (0, 1)), output_padding=(1, 2), groups=2)
    fn = lambda x, kernel, bias: jaxconv.conv_transpose(x, kernel, bias, **options)  # noqa: E731
    got = jax.vmap(fn)(x, kernel, bias)
    options = dict(stride=(2, 3), padding=((1, 0), (0, 1)), dilation=(1, 1), groups=2)
    size = tuple(oracle.transposed_size(*axis) for axis in ((4, 3, 2, 1, 1, 0, 1), (3, 2, 3, 1, 0, 1, 2)))
    want = lambda x, kernel, bias: oracle.input_grad(x, kernel, (2, *size, 4), **options) + bias  # noqa: E731
    assert_close(got, one_by_one(want, (x, kernel, bias), (0, 0, 0)), contraction=36)


def test_unbatched_under_vmap_is_batched():
    case = BY_NAME["2d_stride"]
    x, kernel, _ = case.arrays(np.float32)
    got = jax.vmap(lambda x: jaxconv.conv(x, kernel, **case.options))(x)
    assert_close(got, oracle.forward(x, kernel, **case.options), contraction=contraction(case))


def test_no_element(rng):
    case = BY_NAME["2d_stride"]
    x, kernel = operands(case, "forward", (0,), rng)
    assert jax.vmap(operator(case, "forward"))(x, kernel).shape == (0, *case.y_shape)
