"""jit, loops, rematerialisation, export and ahead-of-time compilation, of values and gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import jaxconv
from jaxconv.testing import assert_close, check_grads
from tests import oracle
from tests.cases import BY_NAME, FEW, SLOTS, all_slots, check_slots, expected_slots

few = pytest.mark.parametrize("case", FEW, ids=lambda c: c.name)
SQUARE = dict(
    stride=(1, 1), dilation=(1, 1), padding=((2, 0), (0, 1))
)  # 3x2 kernels that keep the map's size


def square_arrays(rng, steps=1, channels=3):
    """x, one kernel for each step, and a cotangent, for a body that can be repeated."""
    x = rng.standard_normal((2, 5, 4, channels)).astype(np.float32)
    kernels = (0.4 * rng.standard_normal((steps, 3, 2, channels, channels))).astype(np.float32)
    g = rng.standard_normal(x.shape).astype(np.float32)
    return x, kernels, g


def test_jit_compiles_once_for_equal_specs():
    """Every spelling of one geometry is one parameter of the primitive, and so one program."""
    x, kernel = jnp.ones((2, 8, 9, 3)), jnp.ones((3, 3, 3, 4))
    text = {
        str(jax.make_jaxpr(lambda x, k, o=o: jaxconv.conv(x, k, **o))(x, kernel))
        for o in (
            dict(padding="SAME"),
            dict(padding=1, stride=1),
            dict(padding=(1, 1), dilation=(1, 1)),
            dict(padding=[[1, 1], [1, 1]], stride=[1, 1]),
            dict(padding=np.array([1, 1]), groups=np.int64(1)),
        )
    }
    assert len(text) == 1


def test_eager_calls_share_a_compilation(caplog):
    """Called outside jit, the second call of one geometry compiles nothing, however it is spelt."""
    x, kernel = jnp.ones((2, 17, 3)), jnp.ones((3, 3, 4))
    jaxconv.conv(x, kernel, padding=1)
    with jax.log_compiles():
        jaxconv.conv(x, kernel, padding="SAME")
        assert "compil" not in caplog.text.lower()
        jaxconv.conv(x, kernel, padding=2)
        assert "compil" in caplog.text.lower()


def test_eval_shape_and_abstract_arguments():
    case = BY_NAME["2d_groups_strided_dilated"]
    shapes = [jax.ShapeDtypeStruct(s, jnp.bfloat16) for s in (case.x_shape, case.kernel_shape, case.y_shape)]
    results = jax.eval_shape(all_slots(case), *shapes)
    wanted = (case.y_shape, case.x_shape, case.kernel_shape)
    assert [(results[slot].shape, results[slot].dtype) for slot in SLOTS] == [
        (s, jnp.bfloat16) for s in wanted
    ]


def test_scan_over_a_convolution(rng):
    """Four layers in a scan: value and gradients equal the unrolled loop's, and are right by differences."""
    x, kernels, _ = square_arrays(rng, steps=4)

    def layer(x, kernel):
        return jnp.tanh(jaxconv.conv(x, kernel, padding=SQUARE["padding"])), jnp.sum(x)

    def scanned(x, kernels):
        y, sums = lax.scan(layer, x, kernels)
        return jnp.sum(y**2) + sums.sum()

    def unrolled(x, kernels):
        total = 0.0
        for kernel in kernels:
            x, s = layer(x, kernel)
            total += s
        return jnp.sum(x**2) + total

    got = jax.jit(jax.value_and_grad(scanned, (0, 1)))(x, kernels)
    want = jax.value_and_grad(unrolled, (0, 1))(x, kernels)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert_close(a, b, contraction=200)
    with jax.enable_x64(True):
        check_grads(jax.jit(scanned), (jnp.float64(x), jnp.float64(kernels)))


def test_scan_with_the_kernel_as_carry(rng):
    """Gradient descent inside a scan: weight gradients in the body, against the oracle's own loop."""
    x, kernels, target = square_arrays(rng)

    def step(kernel, _):
        def loss(kernel):
            return 0.5 * jnp.sum((jaxconv.conv(x, kernel, padding=SQUARE["padding"]) - target) ** 2)

        return kernel - 0.01 * jax.grad(loss)(kernel), None

    got, _ = jax.jit(lambda kernel: lax.scan(step, kernel, None, length=3))(kernels[0])
    want = kernels[0].astype(np.float64)
    for _ in range(3):
        residual = oracle.forward(x, want, **SQUARE) - target
        want -= 0.01 * oracle.weight_grad(x, residual, want.shape, **SQUARE)
    assert_close(got, want, contraction=3 * 2 * 5 * 4)


def test_while_loop_and_fori_loop(rng):
    x, kernels, _ = square_arrays(rng)
    conv = lambda x: jaxconv.conv(x, kernels[0], padding=SQUARE["padding"])  # noqa: E731

    def until_large(x):
        return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, conv(c[1])), (0, x))[1]

    want = x
    for _ in range(3):
        want = oracle.forward(want, kernels[0], **SQUARE)
    assert_close(jax.jit(until_large)(x), want, contraction=3 * 18)
    assert_close(lax.fori_loop(0, 3, lambda _, x: conv(x), x), want, contraction=3 * 18)
    _, tangent = jax.jvp(until_large, (x,), (x,))  # the map is linear
    assert_close(tangent, want, contraction=3 * 18)


@pytest.mark.parametrize("slot", SLOTS)
def test_every_slot_inside_a_loop(slot):
    """The operands are loop variables, so that nothing can be computed outside."""
    case = BY_NAME["2d_groups_strided_dilated"]
    arrays = case.arrays(np.float32)

    def body(_, carry):
        arrays, _ = carry
        result = all_slots(case)(*arrays)[slot]
        return tuple(a + 0 * result.ravel()[0] for a in arrays), result

    start = jnp.zeros_like(jax.eval_shape(all_slots(case), *arrays)[slot])
    _, got = jax.jit(lambda arrays: lax.fori_loop(0, 2, body, (arrays, start)))(arrays)
    assert_close(got, expected_slots(case, *arrays)[slot], contraction=case.contraction(slot))


def test_cond(rng):
    x, kernels, _ = square_arrays(rng)
    same = dict(padding=SQUARE["padding"])

    @jax.jit
    def either(flag, x):
        there = lambda x: jaxconv.conv(x, kernels[0], **same)  # noqa: E731
        back = lambda x: jaxconv.conv_transpose(x, kernels[0], **same)  # noqa: E731
        return lax.cond(flag, there, back, x)

    assert_close(either(True, x), oracle.forward(x, kernels[0], **SQUARE), contraction=18)
    assert_close(either(False, x), oracle.input_grad(x, kernels[0], x.shape, **SQUARE), contraction=18)


def test_remat(rng):
    """Recomputed activations give the same gradients, and the jaxpr shows the recomputation."""
    x, kernels, _ = square_arrays(rng, steps=2)

    def net(x, kernels, wrap):
        for kernel in kernels:
            x = wrap(lambda x, kernel: jnp.tanh(jaxconv.conv(x, kernel, padding=SQUARE["padding"])))(
                x, kernel
            )
        return jnp.sum(x**2)

    plain = jax.grad(lambda k: net(x, k, lambda f: f))
    remat = jax.grad(lambda k: net(x, k, jax.checkpoint))
    assert_close(remat(kernels), plain(kernels), contraction=200)
    count = lambda f: str(jax.make_jaxpr(f)(kernels)).count("conv_forward")  # noqa: E731
    assert count(remat) > count(plain) == 2


def test_linearize(rng):
    x, kernels, _ = square_arrays(rng)
    y, linear = jax.linearize(lambda k: jaxconv.conv(x, k, padding=SQUARE["padding"]), kernels[0])
    assert_close(linear(kernels[0]), y, contraction=18)


@few
def test_ahead_of_time(case):
    args = case.arrays(np.float32)
    compiled = jax.jit(all_slots(case)).lower(*args).compile()
    check_slots(case, compiled(*args), args)


# jax.export


def grads_and_values(case):
    def loss(x, kernel, g):
        results = all_slots(case)(x, kernel, g)
        return sum(jnp.sum(jnp.sin(r)) for r in results.values()), results

    return jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))


@few
def test_export_for_three_platforms(case):
    """One artefact for CPU, CUDA and TPU, with gradients, that survives serialisation."""
    args = case.arrays(np.float32)
    fn = grads_and_values(case)
    exported = export.export(fn, platforms=("cpu", "cuda", "tpu"))(*args)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    again = export.deserialize(bytearray(exported.serialize(vjp_order=1)))
    grads, results = again.call(*args)
    check_slots(case, results, args)
    for got, want in zip(grads, fn(*args)[0], strict=True):
        assert_close(got, want, contraction=1000)
    if case is not FEW[0]:
        return
    pull = jax.vjp(lambda kernel: again.call(args[0], kernel, args[2])[1]["forward"], args[1])[1]
    assert_close(pull(args[2])[0], expected_slots(case, *args)["weight_grad"], contraction=100)


@few
def test_export_for_another_platform_only(case):
    args = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in case.arrays(np.float32)]
    for platform in ("tpu", "cuda"):
        exported = export.export(grads_and_values(case), platforms=(platform,))(*args)
        assert exported.platforms == (platform,)


@few
def test_export_with_a_symbolic_batch(case):
    """Exported once for any batch, gradients included, and called with two."""
    [batch] = export.symbolic_shape("batch")
    x, kernel, g = case.arrays(np.float32)
    options = case.options

    @jax.jit
    def fn(x, kernel, g):
        y, pull = jax.vjp(lambda x, kernel: jaxconv.conv(x, kernel, **options), x, kernel)
        return {"forward": y, "input_grad": pull(g)[0], "weight_grad": pull(g)[1]}

    shapes = ((batch, *x.shape[1:]), kernel.shape, (batch, *g.shape[1:]))
    exported = export.export(fn, platforms=("cpu", "cuda", "tpu"))(
        *(jax.ShapeDtypeStruct(s, np.float32) for s in shapes)
    )
    exported = export.deserialize(bytearray(exported.serialize()))
    for n in (1, 5):
        args = (np.resize(x, (n, *x.shape[1:])), kernel, np.resize(g, (n, *g.shape[1:])))
        results = exported.call(*args)
        check_slots(dataclasses.replace(case, batch=n), results, args)


@pytest.mark.parametrize("algorithm", ["direct", "shifted_matmul", "im2col"])
def test_export_with_symbolic_channels(algorithm, rng):
    """Sizes that can't be compared decide nothing."""
    [channels] = export.symbolic_shape("c")

    def fn(x, kernel):
        return jax.value_and_grad(
            lambda *a: jnp.sum(jaxconv.conv(*a, padding=1, algorithm=algorithm) ** 2), (0, 1)
        )(x, kernel)

    shapes = ((2, 5, 4, channels), (3, 3, channels, 8))
    exported = export.export(jax.jit(fn))(*(jax.ShapeDtypeStruct(s, np.float32) for s in shapes))
    args = [rng.standard_normal([3 if n is channels else n for n in s]).astype(np.float32) for s in shapes]
    for got, want in zip(jax.tree.leaves(exported.call(*args)), jax.tree.leaves(fn(*args)), strict=True):
        assert_close(got, want, contraction=1000)


def test_symbolic_batch_in_the_public_gradients():
    """conv_input_grad and conv_weight_grad are told shapes that hold the symbol."""
    [batch] = export.symbolic_shape("b")
    case = BY_NAME["2d_stride"]
    x, kernel, g = case.arrays(np.float32)

    @jax.jit
    def fn(x, kernel, g):
        X = jaxconv.conv_input_grad(g, kernel, x.shape, **case.options)
        W = jaxconv.conv_weight_grad(x, g, kernel.shape, **case.options)
        T = jaxconv.conv_transpose(g, kernel, output_shape=case.size, **case.options)
        return X, W, T

    shapes = ((batch, *x.shape[1:]), kernel.shape, (batch, *g.shape[1:]))
    exported = export.export(fn)(*(jax.ShapeDtypeStruct(s, np.float32) for s in shapes))
    X, W, T = exported.call(x, kernel, g)
    want = expected_slots(case, x, kernel, g)
    assert_close(X, want["input_grad"], contraction=100)
    assert_close(T, want["input_grad"], contraction=100)
    assert_close(W, want["weight_grad"], contraction=100)
