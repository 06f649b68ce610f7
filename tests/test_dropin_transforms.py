"""install() and accelerate() under transformations, dtypes, debugging flags, export, meshes and threads."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv
from jaxconv.testing import assert_close
from tests.programs import remembered
from tests.torch_cases import QUICKLY

Layer = Callable[[Any, Any], Any]

LAYERS = 3
X_SHAPE, KERNEL = (2, 16, 15, 8), (3, 3, 1, 8)
# A weight gradient sums over batch and positions; layers follow each other, each with a second derivative.
TERMS = 2 * 16 * 15 * LAYERS * 4


def depthwise(x: Any, kernel: Any, **options: Any) -> Any:
    """A layer for which the planner has another program than XLA's, in all three slots."""
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=x.shape[-1], **options
    )


def loss_of(f: Callable) -> Callable:
    return lambda *args: jnp.sum(jnp.sin(f(*args)))


def grad_of(f: Callable) -> Callable:
    return jax.grad(loss_of(f), (0, 1))


def convolutions(f: Callable, *args: Any) -> int:
    """How many XLA gets of them."""
    return jax.jit(lambda *args: f(*args)).lower(*args).as_text().count("stablehlo.convolution")


def run(f: Callable, *args: Any) -> Any:
    return jax.jit(lambda *args: f(*args), compiler_options=QUICKLY)(*args)


def compare(got: Any, want: Any, terms: int = TERMS) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(want)
    for (path, theirs), ours in zip(leaves, jax.tree.leaves(got), strict=True):
        assert ours.dtype == theirs.dtype
        assert_close(ours, theirs, contraction=terms, label=jax.tree_util.keystr(path))


@pytest.fixture
def arrays(rng: np.random.Generator) -> tuple[jax.Array, jax.Array]:
    x, kernels = rng.standard_normal(X_SHAPE), rng.standard_normal((LAYERS, *KERNEL))
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernels, jnp.float32)


# Transformations: functions of a layer, then of x and a stack of kernels


def scanned(layer: Layer, **options: Any) -> Layer:
    def net(x: Any, kernels: Any) -> Any:
        return lax.scan(lambda x, kernel: (jnp.tanh(layer(x, kernel)), None), x, kernels, **options)[0]

    return net


def with_own_gradient(layer: Layer) -> Layer:
    @jax.custom_vjp
    def f(x: Any, kernel: Any) -> Any:
        return layer(x, kernel)

    def pull(saved: Any, g: Any) -> Any:
        return jax.vjp(layer, *saved)[1](2 * g)

    f.defvjp(lambda x, kernel: (layer(x, kernel), (x, kernel)), pull)
    return f


def looped(layer: Layer) -> Layer:
    def net(x: Any, kernel: Any) -> Any:
        step = lambda c: (c[0] + 1, jnp.tanh(layer(c[1], kernel)))  # noqa: E731
        return lax.while_loop(lambda c: c[0] < LAYERS, step, (0, x))[1]

    return net


def branched(layer: Layer) -> Layer:
    return lambda x, kernel: lax.cond(x[0, 0, 0, 0] > -9, layer, lambda x, _: x, x, kernel)


def twice(f: Callable) -> Callable:
    """A Hessian-vector product, forward over reverse."""
    return lambda x, kernel: jax.jvp(grad_of(f), (x, kernel), (x, kernel))


def reverse_twice(f: Callable) -> Callable:
    return jax.grad(lambda x, kernel: jnp.vdot(jax.grad(loss_of(f))(x, kernel), x), (0, 1))


def first(make: Callable) -> Callable:
    """The transformation of a layer with the first kernel of the stack."""
    return lambda layer: lambda x, kernels: make(layer)(x, kernels[0])


TRANSFORMATIONS: dict[str, Callable[[Layer], Callable]] = {
    "scan": lambda layer: grad_of(scanned(layer)),
    "unrolled scan": lambda layer: grad_of(scanned(layer, unroll=LAYERS)),
    "scan of remat": lambda layer: grad_of(scanned(jax.checkpoint(layer))),
    "remat with a policy": first(
        lambda layer: grad_of(jax.checkpoint(layer, policy=jax.checkpoint_policies.dots_saveable))
    ),
    "ensemble": lambda layer: lambda x, kernels: jax.vmap(grad_of(layer), (None, 0))(x, kernels),
    "ensemble with own data": lambda layer: (
        lambda x, kernels: jax.vmap(grad_of(layer))(jnp.stack([x, x + 1, x * 2]), kernels)
    ),
    "jit in jit": first(lambda layer: grad_of(jax.jit(lambda x, kernel: layer(layer(x, kernel), kernel)))),
    "jvp": first(lambda layer: lambda x, kernel: jax.jvp(layer, (x, kernel), (x, kernel))),
    "forward over reverse": first(twice),
    "reverse over reverse": first(reverse_twice),
    "linear transpose": first(
        lambda layer: lambda x, kernel: jax.linear_transpose(lambda kernel: layer(x, kernel), kernel)(x)
    ),
    "custom_vjp": first(lambda layer: grad_of(with_own_gradient(layer))),
    "while": first(looped),
    "cond": first(lambda layer: grad_of(branched(layer))),
    "platform_dependent": first(
        lambda layer: (
            lambda x, kernel: lax.platform_dependent(x, kernel, cpu=layer, default=lambda x, _: 2 * x)
        )
    ),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformation(name: str, arrays: tuple) -> None:
    transformed = TRANSFORMATIONS[name]
    stock = transformed(depthwise)
    want, before = run(stock, *arrays), convolutions(stock, *arrays)
    with jaxconv.installed():
        compare(run(stock, *arrays), want)
        planned = convolutions(stock, *arrays)
    assert planned < before
    assert convolutions(transformed(jaxconv.accelerate(depthwise)), *arrays) == planned
    assert convolutions(jaxconv.accelerate(stock), *arrays) == planned
    assert convolutions(stock, *arrays) == before


def test_a_function_jitted_before_is_found_by_accelerate(arrays: tuple) -> None:
    x, kernel = arrays[0], arrays[1][0]
    inner = jax.jit(lambda x, kernel: depthwise(x, kernel))
    inner(x, kernel)
    outer = lambda x, kernel: inner(x, kernel)  # noqa: E731
    assert convolutions(jaxconv.accelerate(outer), x, kernel) == 0
    assert convolutions(outer, x, kernel) == 1


# Settings


def test_traces_and_shapes_are_unchanged(arrays: tuple) -> None:
    f = grad_of(scanned(depthwise))
    jaxpr, shapes = str(jax.make_jaxpr(f)(*arrays)), jax.eval_shape(f, *arrays)
    with jaxconv.installed():
        assert str(jax.make_jaxpr(f)(*arrays)) == jaxpr
        assert jax.eval_shape(f, *arrays) == shapes


@pytest.mark.parametrize(
    "setting",
    [
        jax.disable_jit,
        jax.debug_nans,
        jax.debug_infs,
        jax.check_tracer_leaks,
        jax.enable_checks,
        lambda: jax.numpy_dtype_promotion("strict"),
        lambda: jax.numpy_rank_promotion("raise"),
    ],
    ids=["disable_jit", "debug_nans", "debug_infs", "leaks", "checks", "dtype promotion", "rank promotion"],
)
def test_setting(setting: Callable, arrays: tuple) -> None:
    x, kernel = arrays[0], arrays[1][0]
    f = grad_of(depthwise)
    want = run(f, x, kernel)
    with setting(), jaxconv.installed():
        compare(run(f, x, kernel), want)


def test_debug_nans_finds_the_convolution(arrays: tuple) -> None:
    x, kernel = np.asarray(arrays[0]), np.asarray(arrays[1][0])
    x = np.where(np.arange(X_SHAPE[-1]) == 5, np.nan, x)  # NumPy's, as JAX would find it in the argument
    with jax.debug_nans(True), jaxconv.installed(), pytest.raises(FloatingPointError, match="nan"):
        jax.block_until_ready(jax.jit(lambda: depthwise(x, kernel))())


@pytest.mark.parametrize("name", ["bfloat16", "high", "highest"])
def test_default_precision(name: str, arrays: tuple) -> None:
    x, kernel = arrays[0], arrays[1][0]
    f = grad_of(depthwise)
    with jax.default_matmul_precision(name):
        want = run(f, x, kernel)
        with jaxconv.installed():
            compare(run(f, x, kernel), want)
            assert convolutions(f, x, kernel) < 3


def test_a_dot_algorithm_is_xlas_to_give(arrays: tuple) -> None:
    x, kernel = arrays[0], arrays[1][0]
    f = grad_of(depthwise)
    with jax.default_matmul_precision("BF16_BF16_F32"):
        want = run(f, x, kernel)
        with jaxconv.installed():
            compare(run(f, x, kernel), want)
            assert convolutions(f, x, kernel) == 3


# Types: of the operands, and preferred for the result


@pytest.mark.parametrize(
    ("dtype", "preferred"),
    [
        (jnp.bfloat16, None),
        (jnp.bfloat16, jnp.float32),
        (jnp.float16, None),
        (jnp.float16, jnp.float32),
        (jnp.float32, jnp.float64),
        (jnp.float64, None),
        (jnp.complex64, None),
    ],
    ids=lambda dtype: dtype and dtype.dtype.name,
)
def test_inexact_types(dtype: Any, preferred: Any, rng: np.random.Generator) -> None:
    with jax.enable_x64(jnp.float64 in (dtype, preferred)):
        x, kernel = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in (X_SHAPE, KERNEL))
        if dtype == jnp.complex64:
            x, kernel = x + 1j * x[:, ::-1], kernel * (1 - 2j)

        def f(x: Any, kernel: Any) -> Any:
            y, pull = jax.vjp(lambda *args: depthwise(*args, preferred_element_type=preferred), x, kernel)
            return y, *pull(y)

        want, before = run(f, x, kernel), convolutions(f, x, kernel)
        with jaxconv.installed():
            compare(run(f, x, kernel), want)
            assert convolutions(f, x, kernel) < before


@pytest.mark.parametrize(
    ("dtype", "preferred"),
    [
        (np.int8, jnp.int32),
        (np.int8, None),
        (np.uint8, jnp.int32),
        (np.int32, None),
        (np.bool_, None),
        (np.int8, jnp.float32),
    ],
)
def test_integers(dtype: Any, preferred: Any, rng: np.random.Generator) -> None:
    """Exact, with the overflow of a narrow result."""
    low = 0 if dtype == np.uint8 else -100
    shapes = (8, 32, 30, KERNEL[-1]), KERNEL
    x, kernel = (rng.integers(low, 101, shape).astype(dtype) for shape in shapes)
    f = lambda x, kernel: depthwise(x, kernel, preferred_element_type=preferred)  # noqa: E731
    want, program = run(f, x, kernel), jax.jit(f).lower(x, kernel).as_text()
    with jaxconv.installed():
        got = run(f, x, kernel)
        assert jax.jit(f).lower(x, kernel).as_text() != program
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


# Export and ahead-of-time compilation


def module(exported: export.Exported) -> str:
    """The program without the places in the source that it comes from."""
    return re.sub(r"#loc.*|loc\(.*?\)", "", exported.mlir_module())


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
def test_export(platform: str, arrays: tuple) -> None:
    """A dilated kernel's gradient is another program everywhere, and stays what it was exported as."""
    x, kernel = arrays[0], arrays[1][0]
    f = grad_of(lambda x, kernel: depthwise(x, kernel, rhs_dilation=(2, 1)))

    def exported() -> export.Exported:
        return export.export(jax.jit(lambda *args: f(*args)), platforms=(platform,))(x, kernel)

    stock = exported()
    with jaxconv.installed():
        planned = export.deserialize(bytearray(exported().serialize(vjp_order=1)))
    assert planned.platforms == (platform,)
    assert module(planned) != module(stock)
    if platform == "cpu":
        compare(planned.call(x, kernel), run(f, x, kernel))


def test_a_symbolic_batch_is_laxs(arrays: tuple) -> None:
    x, kernel = arrays[0], arrays[1][0]
    (batch,) = export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)

    def exported() -> export.Exported:
        return export.export(jax.jit(lambda *args: grad_of(depthwise)(*args)))(shape, kernel)

    stock = exported()
    with jaxconv.installed():
        planned = exported()
    assert module(planned) == module(stock)


def test_compiled_inside_and_called_outside(arrays: tuple) -> None:
    x, kernel = arrays[0], arrays[1][0]
    with jaxconv.installed():
        compiled = jax.jit(depthwise).lower(x, kernel).compile()
    assert " convolution(" not in (compiled.as_text() or "")
    compare(compiled(x, kernel), depthwise(x, kernel))


def test_what_counts_is_where_it_is_lowered(arrays: tuple) -> None:
    x, kernel = arrays[0], arrays[1][0]
    traced = jax.jit(lambda x, kernel: depthwise(x, kernel)).trace(x, kernel)
    with jaxconv.installed():
        pull = jax.vjp(depthwise, x, kernel)[1]
        assert "stablehlo.convolution" not in traced.lower().as_text()
    assert convolutions(pull, x) == 2


def test_persistent_cache(arrays: tuple, tmp_path: Path) -> None:
    """Two programs, and the second process finds each."""
    x, kernel = arrays[0], arrays[1][0]
    f = lambda x, kernel: depthwise(x, kernel)  # noqa: E731

    def entries() -> int:
        return len(list(tmp_path.glob("*-cache")))

    counts, results = [], []
    with remembered(tmp_path):
        for _ in range(2):
            jax.clear_caches()
            results.append(run(f, x, kernel))
            counts.append(entries())
            with jaxconv.installed():
                results.append(run(f, x, kernel))
            counts.append(entries())
    assert counts == [1, 2, 2, 2]
    np.testing.assert_array_equal(results[:2], results[2:])
    compare(results[1], results[0])


# Meshes


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_meshes(kind: AxisType, rng: np.random.Generator) -> None:
    """Inside shard_map and under jit, the batch sharded over two devices; gradients of both operands."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    x, kernel = (rng.standard_normal(s).astype(np.float32) for s in ((4, *X_SHAPE[1:]), KERNEL))
    data, want = P("data"), run(grad_of(depthwise), x, kernel)
    args = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip((x, kernel), (data, P()), strict=True)]

    def loss(x: Any, kernel: Any) -> Any:
        return lax.psum(loss_of(depthwise)(x, kernel), "data")

    outside = jax.grad(jax.shard_map(loss, mesh=mesh, in_specs=(data, P()), out_specs=P()), (0, 1))
    specs = {"mesh": mesh, "in_specs": (data, P()), "out_specs": (data, P())}
    inside = jax.shard_map(grad_of(depthwise), **specs)
    for f in (outside, inside, grad_of(depthwise)):
        with jaxconv.installed():
            got = run(f, *args)
        assert got[0].sharding.is_equivalent_to(args[0].sharding, 4)
        compare(got, want)


# Threads, and one context in another


def test_two_threads_at_once(arrays: tuple) -> None:
    x, kernel = arrays[0], arrays[1][0]
    f, barrier = jax.jit(lambda x, kernel: depthwise(x, kernel)), threading.Barrier(2)
    found: dict[bool, list[int]] = {True: [], False: []}

    def lower(planned: bool) -> None:
        barrier.wait(timeout=60)
        for _ in range(4):
            found[planned].append(f.lower(x, kernel).as_text().count("stablehlo.convolution"))

    def lower_planned() -> None:
        with jaxconv.installed():
            lower(True)

    threads = [threading.Thread(target=lower_planned), threading.Thread(target=lower, args=(False,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {True: [0] * 4, False: [1] * 4}


def test_install_holds_for_all_threads_and_contexts_nest(arrays: tuple) -> None:
    args, found = (arrays[0], arrays[1][0]), []

    def look() -> None:
        found.append(convolutions(depthwise, *args))

    try:
        jaxconv.install()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        with jaxconv.installed():
            jaxconv.uninstall()
            with jaxconv.installed():
                pass
            look()
        look()
    finally:
        jaxconv.uninstall()
    assert found == [0, 0, 1]
