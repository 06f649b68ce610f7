"""Where features meet: narrow operands, JAX's global switches, tracers as options, sharded mapped axes."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv
from jaxconv import Axis, ConvSpec, linen, nn
from jaxconv.lowerings import REGISTRY
from jaxconv.testing import assert_close
from jaxconv.typing import Algorithm
from tests.cases import BY_NAME, SLOTS, Case, all_slots, check_slots, expected_slots, random_array
from tests.test_lowerings import NORMWISE, spec_of, supported
from tests.test_vmap import B, expected, one_by_one, operands

PLAIN = Case("plain", (7, 5), (3, 2), (4, 6))
X, K, G = PLAIN.arrays()
NHWC = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
VOLUME = Case("3d_wide", (4, 5, 3), (3, 3, 3), (8, 9), padding=((1, 1), (0, 1), (1, 0)), batch=1)


def apply(case: Case, slot: str, **options: Any) -> Callable[..., jax.Array]:
    """One slot of a case as a function of its two operands."""
    options |= case.options
    return {
        "forward": lambda x, kernel: jaxconv.conv(x, kernel, **options),
        "input_grad": lambda g, kernel: jaxconv.conv_input_grad(g, kernel, case.x_shape, **options),
        "weight_grad": lambda x, g: jaxconv.conv_weight_grad(x, g, case.kernel_shape, **options),
    }[slot]


def test_every_algorithm_has_its_name_in_the_type():
    assert set(typing.get_args(Algorithm)) == set(REGISTRY)


# Winograd, whose transforms add and scale before anything is multiplied.

LINE = Case("1d_k3", (9,), (3,), padding=((0, 2),))


@pytest.mark.parametrize("case", [LINE, VOLUME], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_winograd_transforms_narrow_operands_in_the_wide_dtype(case, dtype, rng):
    """All of int8, whose sums would wrap in it; in half precision every step would round."""
    shapes = (case.x_shape, case.kernel_shape, case.y_shape)
    x, kernel, g = (
        rng.integers(-128, 128, s, dtype) if dtype == "int8" else random_array(rng, s, jnp.bfloat16)
        for s in shapes
    )
    with pytest.raises(ValueError, match=f"winograd's transforms would lose digits that {dtype} can't"):
        apply(case, "forward", algorithm="winograd")(x, kernel)
    forced = dict(algorithm="winograd", preferred_element_type="float32")
    want = expected_slots(case, x, kernel, g)
    for slot, operand in (("forward", x), ("input_grad", g)):
        got = jax.jit(apply(case, slot, **forced))(operand, kernel)
        assert got.dtype == np.float32
        assert_close(got, want[slot], contraction=case.contraction(slot), factor=NORMWISE["winograd"])


def test_winograd_is_declined_where_the_default_precision_is_highest():
    """It is what the planner takes here otherwise, and what an argument of the call still allows."""
    spec, (x, kernel, _) = spec_of(VOLUME), VOLUME.arrays()
    forced = apply(VOLUME, "forward", algorithm="winograd")
    able = lambda plan: {c.name for c in plan.candidates if c.work is not None}  # noqa: E731
    assert "winograd" in able(jaxconv.plan(spec, platform="cpu"))
    with jax.default_matmul_precision("highest"):
        plan = jaxconv.plan(spec, platform="cpu")
        assert "winograd" not in able(plan)
        assert re.search("winograd: .* precision HIGHEST forbids it", str(plan))
        for call in (lambda: jaxconv.plan(spec, algorithm="winograd"), lambda: forced(x, kernel)):
            with pytest.raises(ValueError, match=r"'winograd' is not possible here: .*HIGHEST forbids it"):
                call()
        assert "winograd" in able(jaxconv.plan(spec, platform="cpu", precision="default"))
        by_name = apply(VOLUME, "forward", algorithm="winograd", precision="default")
        assert jax.eval_shape(by_name, x, kernel).shape == VOLUME.y_shape


# A forced algorithm under vmap of both operands, which makes groups of the mapped axis.

FORCED = {
    name: BY_NAME[name] for name in ("2d_same_k3", "2d_depthwise", "2d_groups", "2d_stride", "2d_dilated")
}


@pytest.mark.parametrize("name", FORCED)
def test_forced_algorithm_under_vmap_of_both_operands(name, rng):
    """Right values, by that algorithm if it takes groups, else by the planner's choice."""
    case = FORCED[name]
    forced = [(slot, algorithm) for slot in SLOTS for algorithm in supported(case, slot)]
    inputs = {slot: operands(case, slot, (B,), rng) for slot in SLOTS}

    def run(inputs):
        return [jax.vmap(apply(case, slot, algorithm=a))(*inputs[slot]) for slot, a in forced]

    used = re.findall(r"algorithm=(\w+)", str(jax.make_jaxpr(run)(inputs)))
    assert used == [algorithm if algorithm != "winograd" else "None" for _, algorithm in forced]
    want = {slot: one_by_one(expected(case, slot), args, (0, 0)) for slot, args in inputs.items()}
    for (slot, algorithm), got in zip(forced, jax.jit(run)(inputs), strict=True):
        assert_close(got, want[slot], contraction=case.contraction(slot), label=f"{algorithm} {slot}")


@pytest.mark.parametrize("algorithm", REGISTRY)
def test_forced_algorithm_is_refused_in_the_other_slots(algorithm, rng):
    pairs = [(case, slot) for case in FORCED.values() for slot in SLOTS]
    unable = [(case, slot) for case, slot in pairs if algorithm not in supported(case, slot)]
    assert len(unable) < len(pairs)  # the test above has tried it somewhere
    for case, slot in unable:
        with pytest.raises(ValueError, match=f"algorithm='{algorithm}' is not possible here: "):
            jax.vmap(apply(case, slot, algorithm=algorithm))(*operands(case, slot, (B,), rng))


# JAX's switches: every public function without jit, and without implicit broadcasting.


class Arrays(NamedTuple):
    """What the functions below take their operands from."""

    x: Any
    k: Any
    bias: Any
    g: Any


ARRAYS = Arrays(X, K, G[0, 0, 0], G)
PAD = {"padding": ((1, 2), (0, 1))}
OPERATORS: dict[str, Callable[[Arrays], Any]] = {
    "conv": lambda a: jaxconv.conv(a.x, a.k, a.bias, stride=(2, 1), **PAD),
    "conv unbatched": lambda a: jaxconv.conv(a.x[0], a.k, a.bias, padding_mode="reflect", **PAD),
    "conv depthwise": lambda a: jaxconv.conv(a.x, a.k[:, :, :1, :4], a.bias[:4], groups=4),
    "conv grouped": lambda a: jaxconv.conv(a.x, a.k[:, :, :2], a.bias, groups=2),
    "conv_transpose": lambda a: jaxconv.conv_transpose(a.g, a.k, a.bias[:4], stride=2, output_padding=(1, 0)),
    "conv_transpose circular": lambda a: jaxconv.conv_transpose(a.g, a.k, padding=1, padding_mode="circular"),
    "conv_input_grad": lambda a: jaxconv.conv_input_grad(a.g, a.k, X.shape),
    "conv_weight_grad": lambda a: jaxconv.conv_weight_grad(a.x, a.g, K.shape),
    "conv_general_dilated": lambda a: jaxconv.conv_general_dilated(a.x, a.k, (1, 1), "SAME", **NHWC),
    "conv_matrix": lambda a: jaxconv.conv_matrix(a.k, X.shape[1:], **PAD),
    "conv_matrix sparse": lambda a: jaxconv.conv_matrix(a.k, X.shape[1:], sparse=True).todense(),
    "convolve": lambda a: jaxconv.convolve(a.x, a.k),
    "correlate": lambda a: jaxconv.correlate(a.x, a.k, mode="same"),
    "unfold": lambda a: jaxconv.unfold(a.x, (3, 2), **PAD),
    "fold": lambda a: jaxconv.fold(a.x, (8, 6), (2, 2), padding_mode="circular"),
    "max_pool": lambda a: jaxconv.max_pool(a.x, (3, 2), stride=2),
    "max_unpool": lambda a: jaxconv.max_unpool(*jaxconv.max_pool(a.x, 2, return_indices=True), 2),
    "avg_pool": lambda a: jaxconv.avg_pool(a.x, (3, 2), padding=1, count_include_pad=False),
    "lp_pool": lambda a: jaxconv.lp_pool(abs(a.x), 2),
    "adaptive_max_pool": lambda a: jaxconv.adaptive_max_pool(a.x, 3),
    "adaptive_avg_pool": lambda a: jaxconv.adaptive_avg_pool(a.x, 3),
    "resize": lambda a: jaxconv.resize(a.x, size=(5, 9), method="cubic"),
    "resize nearest": lambda a: jaxconv.resize(a.x, size=(5, 9), method="nearest"),
    "to_subpixel": lambda a: jaxconv.to_subpixel(a.k, stride=2).kernel,
    "from_subpixel": lambda a: (
        jaxconv.from_subpixel(jaxconv.to_subpixel(a.k, stride=2).kernel, stride=2).kernel
    ),
    "pixel_shuffle": lambda a: jaxconv.pixel_shuffle(a.x, 2),
    "pixel_unshuffle": lambda a: jaxconv.pixel_unshuffle(a.x[:, :6, :4], 2),
}
operator = pytest.mark.parametrize("name", OPERATORS)


def with_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """The value of a function, and the cotangent of its argument for that value."""

    def run(argument):
        y, pull = jax.vjp(function, argument)
        return y, pull(y)

    return run


# They take functions, or none; test_dropin.py and test_tune.py are theirs.
ABOUT_OTHERS = (
    *("accelerate", "install", "installed", "plan", "tune", "uninstall"),
    *("effective_receptive_field", "receptive_field", "summary"),
)


def test_every_public_function_is_in_the_table():
    functions = {name for name, _ in inspect.getmembers(jaxconv, inspect.isfunction)}
    assert {name.partition(" ")[0] for name in OPERATORS} == functions - {*ABOUT_OTHERS}


@operator
def test_operators_without_jit(name):
    function = OPERATORS[name] if name != "conv" else with_gradients(OPERATORS[name])
    want = jax.jit(function)(ARRAYS)
    with jax.disable_jit():
        got = function(ARRAYS)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert_close(a, b, contraction=G.size)


@operator
def test_operators_without_rank_promotion(name):
    """Traced and lowered, gradients included: what broadcasts is refused before anything is compiled."""
    with jax.numpy_rank_promotion("raise"):
        jax.jit(with_gradients(OPERATORS[name])).lower(ARRAYS)


LAYERS = {
    "Conv": {"padding": "CIRCULAR"},
    "CausalConv": {},
    "SeparableConv": {},
    "ConvTranspose": {"strides": (3, 1)},
    "CausalConvTranspose": {"strides": (3, 1)},
    "SubpixelConv": {"factor": 2, "kernel_init": nn.init.icnr(2)},
    "ResizeConv": {"factor": 2, "method": "linear"},
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_without_rank_promotion(name):
    def of_nnx(x):
        return getattr(nn, name)(4, 6, (3, 2), rngs=nnx.Rngs(0), **LAYERS[name])(x)

    def of_linen(x):
        return getattr(linen, name)(6, (3, 2), **LAYERS[name]).init_with_output(jax.random.key(0), x)[0]

    with jax.numpy_rank_promotion("raise"):
        for layer in (of_nnx, of_linen):
            jax.jit(with_gradients(layer)).lower(X)


# dtypes, precisions, and keys that compare equal


@pytest.mark.parametrize(
    ("dtype", "preferred", "got"),
    [
        ("float32", "float64", "float32"),
        ("bfloat16", np.float64, "float32"),
        ("int8", "int64", "int32"),
        ("int8", "float64", "float32"),
        ("complex64", "complex128", "complex64"),
    ],
)
def test_preferred_wide_type_without_x64(dtype, preferred, got):
    """It is the type that JAX has in its place, without a warning."""
    args = LINE.arrays(jnp.dtype(dtype))
    results = jax.jit(all_slots(LINE, preferred_element_type=preferred))(*args)
    assert {y.dtype for y in results.values()} == {np.dtype(got)}
    check_slots(LINE, results, args)
    options = dict(NHWC, preferred_element_type=preferred)
    y = jaxconv.conv_general_dilated(X.astype(dtype), K.astype(dtype), (1, 1), "SAME", **options)
    assert y.dtype == got


def test_preferred_int64_of_floats_without_x64():
    with pytest.raises(ValueError, match="preferred_element_type=int32 would lose what operands of float32"):
        jaxconv.conv(X, K, preferred_element_type="int64")


def test_conv_general_dilated_follows_x64():
    """What equal arguments were translated to is kept; it must not outlive the switch."""
    options = dict(NHWC, preferred_element_type=np.float64)
    for x64 in (False, True, False):
        with jax.enable_x64(x64):
            y = jaxconv.conv_general_dilated(X, K, (1, 1), "VALID", **options)
        assert y.dtype == (np.float64 if x64 else np.float32)
        assert_close(y, expected_slots(PLAIN, X, K, G)["forward"], contraction=24)


ONES: dict[str, Callable[[Any], Any]] = {
    "window_strides": lambda one: (one, 1),
    "padding": lambda one: ((1, one), (1, 1)),
    "lhs_dilation": lambda one: (1, one),
    "rhs_dilation": lambda one: (one, one),
    "feature_group_count": lambda one: one,
    "batch_group_count": lambda one: one,
}


@pytest.mark.parametrize("option", ONES)
def test_conv_general_dilated_tells_equal_ones_apart(option):
    """True == 1 == 1.0, also as keys, but lax does not take all of them everywhere."""

    def outcome(function, one):
        options = {"window_strides": (1, 1), "padding": ((1, 1), (1, 1)), option: ONES[option](one)}
        try:
            return function(X, K, **NHWC, **options)
        except (TypeError, ValueError) as error:
            return type(error)

    for one in (True, 1, 1.0):
        got, want = (outcome(f, one) for f in (jaxconv.conv_general_dilated, lax.conv_general_dilated))
        if isinstance(want, type):
            assert got is want
        else:
            assert_close(got, want, contraction=24)


PRESET = lax.DotAlgorithmPreset.F32_F32_F32


@pytest.mark.parametrize("precision", [PRESET, PRESET.name, None], ids=["enum", "name", "default"])
def test_dot_algorithm_preset(precision):
    """In either spelling, or as JAX's default, it is the enum's member in the program and in its products."""
    case = BY_NAME["2d_1x1"]
    general = dict(NHWC, window_strides=(1, 1), padding="VALID", precision=precision)

    def run(x, kernel, g):
        y, pull = jax.vjp(lambda *a: jaxconv.conv_general_dilated(*a, **general), x, kernel)
        cotangents = dict(zip(SLOTS, (y, *pull(g)), strict=True))
        return all_slots(case, precision=precision)(x, kernel, g), cotangents

    with jax.default_matmul_precision(PRESET.name if precision is None else "default"):
        args = case.arrays()
        assert re.findall(r"precision=(\w+)", str(jax.make_jaxpr(run)(*args))) == [PRESET.name] * 6
        for results in jax.jit(run)(*args):
            check_slots(case, results, args)
        with pytest.raises(ValueError, match=f"precision .*{PRESET.name} forbids it"):
            jaxconv.plan(spec_of(VOLUME), precision=precision, algorithm="winograd")


def test_what_only_xlas_convolution_can_multiply_is_left_to_it():
    """CPU's matrix product lacks some presets; the gradient of a 1x1 kernel is one otherwise."""
    x, kernel = jnp.asarray(X), jnp.asarray(K[:1, :1])
    for precision in ("TF32_TF32_F32", lax.DotAlgorithmPreset.BF16_BF16_F32_X3):
        run = jax.grad(lambda k, p=precision: jaxconv.conv(x, k, precision=p).sum())
        jax.jit(run).lower(kernel).compile()


def test_dot_algorithm_that_is_no_preset():
    """It has no spelling in a table, so the planner asks none, and nothing is left to measure."""
    single = np.dtype("float32")
    precision = lax.DotAlgorithm(single, single, single)
    with jaxconv.installed():
        got = jax.lax.conv_general_dilated(X, K, (1, 1), "VALID", **NHWC, precision=precision)
    np.testing.assert_array_equal(got, jax.lax.conv_general_dilated(X, K, (1, 1), "VALID", **NHWC))

    def run(x):
        return jaxconv.conv(x, K, precision=precision)

    [planned] = jaxconv.plan(run, X, platform="cpu")
    assert planned.plan.algorithm == "direct"
    assert len(jaxconv.tune(run, X, progress=False)) == 0


def test_dimension_numbers_may_be_a_list():
    want = jaxconv.conv_general_dilated(X, K, (1, 1), "VALID", **NHWC)
    got = jaxconv.conv_general_dilated(X, K, (1, 1), "VALID", dimension_numbers=[*NHWC["dimension_numbers"]])
    np.testing.assert_array_equal(got, want)


# The plan and what is run.

CROPPED = (
    (Case("crop_below_the_window", (12, 9), (5, 4), padding=((-9, 4), (-6, 3))), "float32"),
    (Case("crop_behind", (9,), (3,), stride=(2,), padding=((6, -7),)), "float32"),
    (Case("outputs_on_padding_alone", (5,), (3,), stride=(2,), padding=((9, 8),)), "float32"),
    (BY_NAME["2d_crop_strided_dilated"], "float32"),
    (BY_NAME["2d_depthwise"], "float32"),
    (VOLUME, "float32"),
    (VOLUME, "bfloat16"),
    (BY_NAME["1d_no_window_fits"], "float32"),
)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize(("case", "dtype"), CROPPED, ids=lambda p: getattr(p, "name", str(p)))
def test_the_plan_names_what_is_run(case, dtype, platform, monkeypatch):
    ran = dict.fromkeys(SLOTS)  # nothing, where nothing touches
    for name, lowering in tuple(REGISTRY.items()):

        def run(slot, *rest, lowering=lowering):
            ran[slot] = lowering.name
            return lowering.run(slot, *rest)

        monkeypatch.setitem(REGISTRY, name, dataclasses.replace(lowering, run=run))
    jax.jit(all_slots(case)).trace(*case.arrays(jnp.dtype(dtype))).lower(lowering_platforms=(platform,))
    options = dict(platform=platform, dtype=dtype)
    assert ran == {slot: jaxconv.plan(spec_of(case), slot=slot, **options).algorithm for slot in SLOTS}


KNOWN = {
    "platform": ["cpu", "cuda", "rocm", "tpu"],
    "slot": SLOTS,
    "algorithm": REGISTRY,
    "precision": ["'default'", "'high'", "'highest'", "DotAlgorithmPreset"],
}


@pytest.mark.parametrize("option", KNOWN)
@pytest.mark.parametrize("wrong", ["other", 5.5], ids=str)
def test_the_plan_lists_the_names_it_knows(option, wrong):
    with pytest.raises(ValueError, match=f"^{option}={wrong!r} is not known; use ") as error:
        jaxconv.plan(spec_of(VOLUME), **{option: wrong})
    assert [name for name in KNOWN[option] if name not in str(error.value)] == []


def wide(rank: int, size: int, kernel: int, channels: int, groups: int = 1, pad: int = 1) -> ConvSpec:
    return ConvSpec(1, channels, channels, groups, (Axis(size, kernel, lo=pad, hi=pad),) * rank)


@pytest.mark.parametrize(
    ("few", "many"),
    [
        (wide(4, 6, 3, channels=4), wide(4, 6, 3, channels=16)),
        (wide(2, 96, 64, channels=1, pad=63), wide(2, 4, 3, channels=8, pad=2)),
        (wide(1, 999, 512, 16, groups=16), wide(1, 999, 512, 17, groups=17)),
    ],
    ids=["small products", "many taps", "few channels"],
)
def test_products_for_each_tap_are_for_wide_arrays(few, many):
    """With few channels or many taps other weight gradients are faster."""
    assert jaxconv.plan(few, slot="weight_grad", platform="cpu").algorithm != "shifted_matmul"
    assert jaxconv.plan(many, slot="weight_grad", platform="cpu").algorithm != "direct"


# Options that are traced.

TAKING_OPTIONS = {
    "conv": (X, K),
    "conv_transpose": (G, K),
    "conv_input_grad": (G, K, X.shape),
    "conv_weight_grad": (X, G, K.shape),
    "conv_matrix": (K, X.shape[1:]),
    "unfold": (X, (3, 2)),
    "fold": (np.ones((2, 5, 4, 24), np.float32), (7, 5), (3, 2)),
}


@pytest.mark.parametrize("name", TAKING_OPTIONS)
def test_a_traced_option_is_refused_by_its_name(name):
    function, args = getattr(jaxconv, name), TAKING_OPTIONS[name]
    options = {"stride", "padding", "output_padding", "dilation", "groups", "output_shape"}
    words = "must be an int|must hold integers|wanted an int"
    for option in sorted(options & inspect.signature(function).parameters.keys()):
        for value in (1, (1, 1), np.array([1, 1]), ((0, 1), (1, 0))):
            call = jax.jit(lambda value, option=option: function(*args, **{option: value}))
            with pytest.raises(ValueError, match=f"^{option}=.*({words})"):
                call(value)
