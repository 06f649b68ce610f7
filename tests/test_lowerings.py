"""Every algorithm in every slot it supports, on every case; and what it says where it supports none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.geometry import Axis, ConvSpec, multiply_adds
from jaxconv.lowerings import REGISTRY, Target, on_core
from jaxconv.testing import assert_close
from tests.cases import CASES, SLOTS, Case, expected_slots

# Winograd's error is bounded in norm, and its transforms cost a digit (its file says why). So is the FFT's:
# three transforms of log2(n) <= 10 levels, each of which rounds by 0.6 u = 0.3 eps in the root mean square
# (Schatzman, 1996), as independent errors do: 4 standard deviations of 0.3 sqrt(30) are below 7.
NORMWISE = {"winograd": 20.0, "fft": 7.0}


def spec_of(case: Case) -> ConvSpec:
    o = case.options
    axes = zip(case.size, case.kernel, o["stride"], o["dilation"], o["padding"], strict=True)
    return ConvSpec(
        case.batch, *case.channels, case.groups, tuple(Axis(n, k, s, d, *pad) for n, k, s, d, pad in axes)
    )


def supported(case: Case, slot: str) -> list[str]:
    """The algorithms for a slot; what decides is the part where something touches."""
    spec = spec_of(case)
    return [name for name, a in REGISTRY.items() if a.supports(slot, spec, jnp.float32, None) is None]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_algorithm_is_the_oracle(case: Case) -> None:
    spec, args = spec_of(case), case.arrays(np.float32)
    operands = {"forward": (0, 1), "input_grad": (2, 1), "weight_grad": (0, 2)}

    @jax.jit
    def run(*args):
        target = Target("cpu", jnp.dtype(jnp.float32))
        return {
            (slot, name): on_core(REGISTRY[name].run, slot, spec, target, args[i], args[j])
            for slot, (i, j) in operands.items()
            for name in supported(case, slot)
        }

    want, sizes = expected_slots(case, *args), expected_slots(case, *map(np.abs, args))
    for (slot, name), got in run(*args).items():
        scale = None if name in NORMWISE else sizes[slot]
        k = max(1, case.contraction(slot))
        assert_close(
            got, want[slot], contraction=k, scale=scale, factor=NORMWISE.get(name, 2), label=f"{name} {slot}"
        )


@pytest.mark.parametrize("name", REGISTRY)
def test_some_case_tries_it(name: str) -> None:
    assert any(name in supported(case, slot) for case in CASES for slot in SLOTS)


@pytest.mark.parametrize(
    ("name", "slot", "spec", "words"),
    [
        (
            "zero_insertion",
            "forward",
            ConvSpec(1, 2, 2, 1, (Axis(5, 3),)),
            "computes input_grad, not forward",
        ),
        ("overlap_add", "input_grad", ConvSpec(1, 2, 2, 1, (Axis(5, 3, 2, 2),)), "a dilated kernel is not"),
        ("overlap_add", "forward", ConvSpec(1, 2, 2, 1, (Axis(5, 3, 2),)), "forward wants stride 1"),
        ("overlap_add", "weight_grad", ConvSpec(1, 2, 2, 1, (Axis(5, 3),)), "not weight_grad"),
        ("subpixel", "input_grad", ConvSpec(1, 2, 2, 1, (Axis(5, 3),)), "at stride 1 there is one"),
        (
            "depthwise_mac",
            "forward",
            ConvSpec(1, 4, 4, 2, (Axis(5, 3),)),
            "in each group; here are 2",
        ),
        ("depthwise_mac", "input_grad", ConvSpec(1, 4, 4, 4, (Axis(5, 3, 2),)), "wants stride 1"),
        ("winograd", "forward", ConvSpec(1, 4, 4, 1, (Axis(5, 5),)), "wants a kernel of 3"),
        ("fft", "forward", ConvSpec(1, 1, 4, 1, (Axis(640, 32, 16),)), "computes 16 positions for each"),
        ("fft", "forward", ConvSpec(1, 1, 4, 1, (Axis(5, 3),) * 4), "here are 4"),
        ("space_to_batch", "weight_grad", ConvSpec(1, 2, 2, 1, (Axis(5, 3, 2),)), "it is direct"),
        ("space_to_batch", "forward", ConvSpec(1, 2, 2, 1, (Axis(9, 3, 2, 3),)), "stride 2 to divide"),
        ("merged_groups", "forward", ConvSpec(1, 64, 32, 2, (Axis(5, 3),)), "narrower than 16 channels"),
        ("merged_groups", "weight_grad", ConvSpec(1, 4, 4, 4, (Axis(5, 3),)), "not depthwise ones"),
    ],
)
def test_it_declines_with_a_reason(name: str, slot: str, spec: ConvSpec, words: str) -> None:
    """The sentence is the same in the printed plan and in the error of a caller who forces the algorithm."""
    reason = REGISTRY[name].supports(slot, spec, jnp.float32, None)
    assert reason is not None
    assert words in reason
    assert f"{name}: {reason}" in str(jaxconv.plan(spec, slot=slot, platform="cpu"))
    with pytest.raises(ValueError, match="is not possible here") as error:
        jaxconv.plan(spec, slot=slot, algorithm=name)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("channels", "groups", "dense"),
    [((8, 24), 2, 1), ((36, 12), 6, 1), ((48, 96), 12, 3), ((96, 96), 32, 4), ((512, 256), 128, 16)],
)
def test_groups_are_merged_until_they_are_wide_and_few(channels, groups, dense) -> None:
    spec = ConvSpec(2, *channels, groups, (Axis(9, 3),))
    times = groups // dense
    assert REGISTRY["merged_groups"].supports("forward", spec, jnp.float32, None) is None
    assert REGISTRY["merged_groups"].work("forward", spec).multiply_adds == times * multiply_adds(spec)


def test_a_depthwise_sum_is_computed_once_however_many_read_it(rng: np.random.Generator) -> None:
    """XLA would take its taps into each loop of a normalisation."""
    taps = 21

    @jax.jit
    def normalised(x, kernel):
        y = jaxconv.conv(x, kernel, groups=24, algorithm="depthwise_mac")
        centred = y - y.mean(-1, keepdims=True)
        z = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6)
        return z, z.reshape(-1, 24).T @ z.reshape(-1, 24)

    x, kernel = rng.standard_normal((2, 40, 24)), rng.standard_normal((taps, 1, 24))
    text = normalised.lower(jnp.float32(x), jnp.float32(kernel)).compile().as_text()
    assert taps <= str(text).count(" multiply(") < 2 * taps


@pytest.mark.parametrize("name", NORMWISE)
def test_it_declines_what_its_error_would_spoil(name: str) -> None:
    spec = ConvSpec(1, 4, 4, 1, (Axis(8, 3), Axis(8, 3)))
    supports = REGISTRY[name].supports
    assert supports("forward", spec, jnp.float32, None) is None
    # Winograd's transforms round in the dtype of the result; the FFT's never in less than single precision.
    assert ("bfloat16" in (supports("forward", spec, jnp.bfloat16, None) or "")) == (name == "winograd")
    assert "int32" in (supports("forward", spec, jnp.int32, None) or "")
    assert "HIGHEST" in (supports("forward", spec, jnp.float32, jax.lax.Precision.HIGHEST) or "")


@pytest.mark.parametrize("name", ["zero_insertion", "overlap_add", "subpixel"])
def test_three_methods_of_transposed_convolution(name: str, rng: np.random.Generator) -> None:
    """Selected by name they are one function with one gradient, in values and not only in shape."""
    x = rng.standard_normal((2, 5, 4, 3)).astype(np.float32)
    kernel = rng.standard_normal((4, 3, 2, 3)).astype(np.float32)
    options = {"stride": (3, 2), "padding": ((1, 0), (0, 1)), "output_padding": (2, 1)}

    def loss(x, kernel, algorithm):
        y = jaxconv.conv_transpose(x, kernel, algorithm=algorithm, **options)
        return jnp.sum(jnp.sin(y)), y

    def run(algorithm):
        grads, y = jax.grad(loss, (0, 1), has_aux=True)(x, kernel, algorithm)
        return (y, *grads)

    for got, want in zip(run(name), run("direct"), strict=True):
        assert_close(got, want, contraction=48, factor=4)


@pytest.mark.parametrize("name", ["fft", "space_to_batch"])
def test_it_computes_all_slots_of_all_transformations(name: str, rng: np.random.Generator) -> None:
    """A forced algorithm is taken along by grad, jvp and vmap, and vmap of both operands makes groups."""
    x = rng.standard_normal((3, 2, 11, 9, 2)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 2, 2, 4)).astype(np.float32)
    options = {"padding": ((2, 1), (0, 3)), "dilation": (2, 3)}

    def run(algorithm):
        def conv(x, kernel):
            return jaxconv.conv(x, kernel, algorithm=algorithm, **options)

        def loss(x, kernel):
            return jnp.sum(jnp.sin(jax.vmap(conv)(x, kernel)))

        return *jax.jvp(jax.jit(jax.vmap(conv)), (x, kernel), (x, kernel)), *jax.grad(loss, (0, 1))(x, kernel)

    for got, want in zip(run(name), run("direct"), strict=True):
        assert_close(got, want, contraction=60, factor=NORMWISE.get(name, 4))
