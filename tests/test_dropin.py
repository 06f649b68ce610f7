"""The rule that install() puts in place: when it acts, when it leaves things alone, what is seen of it."""

import re
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv import dropin
from jaxconv.geometry import Axis, ConvSpec
from jaxconv.lowerings import Target
from jaxconv.planner import Table, best_reading
from jaxconv.planner.key import Key
from jaxconv.testing import assert_close

CPU = Target("cpu", jnp.dtype(jnp.float32))


def conv(x: jax.Array, kernel: jax.Array, groups: int = 1, layout: str = "NHWC") -> jax.Array:
    numbers = (layout, "HWIO" if layout == "NHWC" else "OIHW", layout)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups
    )


def depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv(x, kernel, groups=x.shape[-1])


DENSE = np.ones((2, 6, 5, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)
DEPTHWISE = np.ones((2, 16, 15, 8), np.float32), np.ones((3, 3, 1, 8), np.float32)


def program(fn: Callable, *args: Any) -> str:
    """What XLA makes of a function, without the places in the source that it comes from."""
    text = jax.jit(lambda *args: fn(*args)).lower(*args).compile().as_text()
    lines = re.findall(r"^(?:[ %}]|ENTRY).*$", text, flags=re.MULTILINE)
    assert any("ROOT" in line for line in lines)
    return re.sub(r", metadata=\{[^}]*\}", "", "\n".join(lines))


def lowered(fn: Callable, *args: Any) -> str:
    return jax.jit(lambda *args: fn(*args)).lower(*args).as_text()


def test_what_the_planner_leaves_to_xla_is_the_same_program() -> None:
    assert jaxconv.plan(conv, *DENSE, platform="cpu")[0].plan.algorithm == "direct"
    stock = program(conv, *DENSE)
    with jaxconv.installed():
        assert program(conv, *DENSE) == stock


def test_what_it_improves_is_another_program_and_the_old_one_comes_back() -> None:
    stock = lowered(depthwise, *DEPTHWISE)
    assert "stablehlo.convolution" in stock
    with jaxconv.installed():
        assert "stablehlo.convolution" not in lowered(depthwise, *DEPTHWISE)
    assert lowered(depthwise, *DEPTHWISE) == stock
    jaxconv.install()
    try:
        assert "stablehlo.convolution" not in lowered(depthwise, *DEPTHWISE)
    finally:
        jaxconv.uninstall()
    assert lowered(depthwise, *DEPTHWISE) == stock


def test_cached_functions_are_compiled_anew_and_found_again() -> None:
    traced = []

    @jax.jit
    def f(x: jax.Array, kernel: jax.Array) -> jax.Array:
        traced.append(1)
        return depthwise(x, kernel)

    first = f(*DEPTHWISE)
    with jaxconv.installed():
        second = f(*DEPTHWISE)
    assert len(traced) == 2
    f(*DEPTHWISE)
    with jaxconv.installed():
        f(*DEPTHWISE)
    assert len(traced) == 2
    assert_close(second, first, contraction=9)


def test_eager_calls_are_planned_too(rng: np.random.Generator) -> None:
    x, kernel = (rng.standard_normal(a.shape).astype(np.float32) for a in DEPTHWISE)
    with jaxconv.installed():
        y = depthwise(x, kernel)
    assert_close(y, depthwise(x, kernel), contraction=9)


def test_it_holds_for_the_thread_that_entered_it() -> None:
    found: list[str] = []
    with jaxconv.installed():
        thread = threading.Thread(target=lambda: found.append(lowered(depthwise, *DEPTHWISE)))
        thread.start()
        thread.join()
    assert "stablehlo.convolution" in found[0]


@pytest.mark.parametrize("algorithm", ["direct", "im2col", None])
def test_our_own_operators_are_planned_once(algorithm: str | None) -> None:
    """A convolution that an algorithm emits is not planned again, even where lax's own equals it."""

    def both(x: jax.Array, kernel: jax.Array) -> Any:
        ours = jaxconv.conv(x, kernel, padding="SAME", groups=8, algorithm=algorithm)
        same = lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=8,
            preferred_element_type=jnp.float32,
        )
        return ours, same

    def ours_only(x: jax.Array, kernel: jax.Array) -> Any:
        return jaxconv.conv(x, kernel, padding="SAME", groups=8, algorithm=algorithm)

    with jaxconv.installed():
        assert lowered(both, *DEPTHWISE).count("stablehlo.convolution") == (algorithm == "direct")
        installed = lowered(ours_only, *DEPTHWISE)
    assert installed == lowered(ours_only, *DEPTHWISE)


def test_accelerate_holds_for_one_function_and_its_derivatives() -> None:
    fast = jaxconv.accelerate(depthwise)

    def loss(f: Callable) -> Callable:
        return lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))

    def grads(f: Callable) -> Callable:
        return jax.grad(loss(f), (0, 1))

    assert lowered(grads(depthwise), *DEPTHWISE).count("stablehlo.convolution") == 3
    assert lowered(grads(fast), *DEPTHWISE).count("stablehlo.convolution") == 0
    batched = jax.vmap(fast, (0, None))
    assert "stablehlo.convolution" not in lowered(batched, DEPTHWISE[0][None], DEPTHWISE[1])
    both = lowered(lambda x, k: fast(x, k) + depthwise(x, k), *DEPTHWISE)
    assert both.count("stablehlo.convolution") == 1
    for got, want in zip(grads(fast)(*DEPTHWISE), grads(depthwise)(*DEPTHWISE), strict=True):
        assert_close(got, want, contraction=2 * 16 * 15, factor=4)
    with pytest.raises(ValueError, match="must be a function"):
        jaxconv.accelerate(3)
    with pytest.raises(ValueError, match="must be a function"):
        jaxconv.accelerate(nnx.Conv)


def test_a_loop_has_canonical_convolutions() -> None:
    """In a loop XLA's CPU backend has a fast program for channels-last only."""
    x, kernel = np.ones((1, 40, 12, 12), np.float32), np.ones((40, 40, 3, 3), np.float32)

    def f(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 3, lambda _, x: conv(x, kernel, layout="NCHW"), x)

    def labels() -> set[str]:
        return set(re.findall(r"dim_numbers = (\[.*?\]x\[.*?\]->\[.*?\]),", lowered(f, x, kernel)))

    assert labels() <= {"[b, f, 0, 1]x[o, i, 0, 1]->[b, f, 0, 1]"}
    assert labels()
    with jaxconv.installed():
        assert labels() <= {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}


def readings_of(fn: Callable, *args: Any, target: Target = CPU) -> list[Any]:
    """How the planner reads the convolutions of a function."""
    equations = [e for e in jax.make_jaxpr(fn)(*args).eqns if e.primitive is lax.conv_general_dilated_p]
    found = [best_reading(*(v.aval.shape for v in e.invars), e.params, target) for e in equations]
    assert None not in found
    return [reading for reading, _ in found]


def test_gradients_are_read_as_what_they_are() -> None:
    x, kernel = np.ones((2, 12, 11, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)
    options: dict[str, Any] = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", **options)

    def transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 2),) * 2, lhs_dilation=(2, 2), **options)

    for f, slot in ((strided, "forward"), (transposed, "input_grad")):
        g = np.ones(jax.eval_shape(f, x, kernel).shape, np.float32)
        found = readings_of(lambda g, f=f: jax.vjp(f, x, kernel)[1](g), g)
        assert found[0].slot == slot
        assert sorted(reading.slot for reading in found) == ["forward", "input_grad", "weight_grad"]
        assert [reading.spec.axes[0].stride for reading in found] == [2, 2, 2]
        assert [reading.spec.axes[0].kernel for reading in found] == [3, 3, 3]


def test_of_two_readings_the_faster_is_taken() -> None:
    """The kernel is the map: as a convolution it has 81 positions, as a weight gradient one."""
    x, kernel = np.ones((2, 9, 9, 64), np.float32), np.ones((9, 9, 64, 128), np.float32)

    def whole(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    (reading,) = readings_of(whole, x, kernel)
    fastest = min(
        c.seconds for c in jaxconv.plan(whole, x, kernel, platform="cpu")[0].plan.candidates if c.seconds
    )
    assert reading.spec.axes[0].kernel in (1, 9)
    assert fastest < 5e-3  # the loop that XLA has for it takes longer than this by far
    (natural,) = readings_of(whole, x, kernel, target=Target("tpu", jnp.dtype(jnp.float32)))
    assert natural.spec.axes[0].kernel == 1


def test_of_forward_and_input_gradient_the_measured_one_is_taken(rng: np.random.Generator) -> None:
    """At stride 1 a convolution is both; the table has the input gradient's times only."""
    x = rng.standard_normal((1, 8, 6, 2)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 2, 4)).astype(np.float32)
    spec = ConvSpec(1, 4, 2, 1, (Axis(8, 3, lo=1, hi=1), Axis(6, 3, lo=1, hi=1)))
    (forward,) = readings_of(conv, x, kernel)
    assert forward.slot == "forward"
    key = str(Key("input_grad", spec, jnp.dtype(jnp.float32)))
    with Table("cpu", "cpu", "any", {key: {"direct": 2e-6, "im2col": 1e-6}}):
        (turned,) = readings_of(conv, x, kernel)
        assert (turned.slot, turned.spec) == ("input_grad", spec)
        with jaxconv.installed():
            got = jax.jit(conv)(x, kernel)
            assert "stablehlo.reverse" in lowered(conv, x, kernel)
    assert_close(got, conv(x, kernel), contraction=18)


def test_what_has_no_reading_is_laxs() -> None:
    def all_dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (2,), ((3, 3),), lhs_dilation=(3,), rhs_dilation=(2,))

    x, kernel = np.ones((2, 3, 9), np.float32), np.ones((4, 3, 3), np.float32)
    stock = program(all_dilated, x, kernel)
    with jaxconv.installed():
        assert program(all_dilated, x, kernel) == stock
    assert len(jaxconv.plan(all_dilated, x, kernel)) == 0


def test_plan_of_a_function_lists_its_convolutions() -> None:
    x, kernel = DEPTHWISE

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = lax.fori_loop(0, 3, lambda _, x: depthwise(x, kernel), x)
        return jnp.sum(jaxconv.conv(x, kernel, groups=8, algorithm="im2col") ** 2)

    plans = jaxconv.plan(loss, x, kernel, platform="cpu")
    found = {(p.by, p.plan.slot, p.plan.algorithm == "im2col"): p.count for p in plans}
    assert found == {("lax", "forward", False): 3, ("jaxconv", "forward", True): 1}
    assert str(plans).splitlines()[0] == "4 convolutions on cpu, 2 of them distinct"
    assert "forced" in str(plans)
    assert plans[:1] == plans.planned[:1]
    with pytest.raises(ValueError, match="computes no convolution"):
        jaxconv.plan(jnp.sum, x)


def test_tune_measures_the_convolutions_of_lax() -> None:
    table = jaxconv.tune(depthwise, *DEPTHWISE, repeats=1, progress=False, algorithms=["im2col"])
    (key,) = table.seconds
    assert key.startswith("forward n2 g8 c8>8 16k3s1d1p1,1")
    assert set(table.seconds[key]) == {"direct", "im2col"}


def test_a_program_for_several_platforms_is_lowered_for_each(rng: np.random.Generator) -> None:
    x, kernel = (rng.standard_normal(a.shape).astype(np.float32) for a in DEPTHWISE)
    with jaxconv.installed():
        exported = jax.export.export(jax.jit(depthwise), platforms=("cpu", "cuda", "tpu"))(x, kernel)
    assert exported.mlir_module().count("stablehlo.case") >= 1
    assert_close(exported.call(x, kernel), depthwise(x, kernel), contraction=9)


@pytest.mark.parametrize("axis", [AxisType.Auto, AxisType.Explicit])
def test_only_explicit_mesh_axes_are_left_to_lax(axis: AxisType) -> None:
    mesh = jax.make_mesh((1,), ("d",), axis_types=(axis,))
    args = [jax.device_put(a, NamedSharding(mesh, PartitionSpec())) for a in DEPTHWISE]
    with jaxconv.installed():
        assert ("stablehlo.convolution" in lowered(depthwise, *args)) == (axis is AxisType.Explicit)


def test_floats_of_eight_bits_are_left_to_lax() -> None:
    x, kernel = (jnp.asarray(a, jnp.float8_e4m3fn) for a in DEPTHWISE)
    stock = lowered(depthwise, x, kernel)
    with jaxconv.installed():
        assert lowered(depthwise, x, kernel) == stock


def test_equal_layers_are_lowered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(dropin, "best_reading", lambda *args: asked.append(args) or best_reading(*args))

    def deep(x: jax.Array, kernel: jax.Array) -> jax.Array:
        for _ in range(5):
            x = depthwise(x, kernel)
        return x

    with jaxconv.installed():
        lowered(deep, *DEPTHWISE)
    assert len(asked) == 1
