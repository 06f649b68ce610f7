"""The cost model: what it prices, what it falls back on, and that its choice can be made."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import pytest

import jaxconv
from jaxconv.geometry import Axis, ConvSpec, Slot, multiply_adds
from jaxconv.lowerings import REGISTRY, Target, Work, core_spec
from jaxconv.planner import cost, neighbours
from jaxconv.testing import assert_close
from tests.cases import CASES, SLOTS
from tests.test_lowerings import spec_of

CPU = Target("cpu", jnp.dtype("float32"))
DENSE = ConvSpec(4, 64, 64, 1, (Axis(28, 3, lo=1, hi=1),) * 2)
DEPTHWISE = ConvSpec(4, 128, 128, 128, (Axis(56, 3, lo=1, hi=1),) * 2)


@pytest.fixture
def constants(monkeypatch):
    """A model of our own: what it says of each kind of program."""

    def use(run: dict[str, list[float]], compiled: dict[str, float] | None = None, **measured: Any):
        known = {"run": run, "compile": compiled or {}, "measured": measured}
        monkeypatch.setattr(cost, "model", lambda _: known)

    return use


def choice(slot: Slot, spec: ConvSpec, target: Target) -> str:
    found = cost.cheapest(slot, spec, target)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("name", REGISTRY)
def test_no_algorithm_does_less_than_winograds_share_of_the_products(name, slot):
    for case in CASES:
        found = core_spec(spec_of(case))
        if found is None or REGISTRY[name].supports(slot, found[0], jnp.float32, None):
            continue
        work = REGISTRY[name].work(slot, found[0])
        assert min(work.moved, work.workspace) >= 0
        assert work.steps >= 1
        if name not in ("winograd", "fft"):
            assert work.multiply_adds >= multiply_adds(found[0]), (case.name, work)


def test_features_are_of_the_dots_and_of_the_data():
    work = Work(((2, 3, 5, 7),), moved=11, workspace=13, steps=17)
    spec = ConvSpec(1, 2, 3, 1, (Axis(4, 2),))
    data = 4 * 2 + 2 * 2 * 3 + 3 * 3
    assert cost.features(work, "forward", spec, 4) == (1, 17, 210, 30, 70, 42, 11, data, 0)
    assert cost.features(work, "forward", spec, 8) == (1, 17, 420, 60, 140, 84, 22, 2 * data, 0)
    large = dataclasses.replace(work, workspace=cost.KEPT + 5)
    assert cost.features(large, "forward", spec, 4)[-1] == 5


def test_a_special_kind_goes_before_a_general_one(constants):
    call = [1.0] + [0.0] * 8
    constants({"direct forward": call})
    names = ("direct", "fft")
    assert cost.predict(names, "forward", DENSE, CPU) == {"direct": 1.0}
    constants({"direct forward": call, "direct forward dense 2-d wide plain": [2 * c for c in call]})
    assert cost.predict(names, "forward", DENSE, CPU) == {"direct": 2.0}
    assert cost.predict(names, "forward", DEPTHWISE, CPU) == {"direct": 1.0}


def test_what_was_missed_nearby_corrects(constants):
    call = [1.0] + [0.0] * 8
    near = dataclasses.replace(DENSE, batch=5)
    forward = {"positions": [neighbours.position(DENSE)], "residuals": {"direct": [[0, math.log(4.0)]]}}
    constants({"direct forward": call, "im2col forward": call}, forward=forward)
    at, by, far = (
        cost.predict(("direct", "im2col"), "forward", spec, CPU) for spec in (DENSE, near, DEPTHWISE)
    )
    # One measurement against the weight of the prior, which says that nothing was missed.
    assert at["direct"] == pytest.approx(4.0 ** (1 / (1 + neighbours.PRIOR)))
    assert 1.05 < by["direct"] < at["direct"]
    assert far["direct"] == pytest.approx(1.0, abs=0.05)
    assert at["im2col"] == by["im2col"] == 1.0  # it was not measured


def test_the_cheapest_by_a_margin_is_taken(constants):
    call = [1.0] + [0.0] * 8
    for share, name in ((0.99 * cost.MARGIN, "im2col"), (1.01 * cost.MARGIN, "direct")):
        constants({"direct forward": call, "im2col forward": [share * c for c in call]})
        assert choice("forward", DENSE, CPU) == name
    constants({})
    assert cost.cheapest("forward", DENSE, CPU) is None


def test_compilation_is_paid_back(constants):
    call = [1.0] + [0.0] * 8
    run = {"direct forward": call, "im2col forward": [c / 2 for c in call]}
    steps = REGISTRY["im2col"].work("forward", DENSE).steps
    for seconds, name in ((0.2, "im2col"), (0.5, "direct")):
        constants(run, {"im2col": seconds * cost.CALLS / steps})
        assert choice("forward", DENSE, CPU) == name


def test_what_is_refused_is_not_taken(constants):
    call = [1.0] + [0.0] * 8
    constants({"direct forward": call, "winograd forward": [c / 9 for c in call]})
    assert choice("forward", DENSE, CPU) == "winograd"
    half = Target("cpu", jnp.dtype("bfloat16"))
    assert choice("forward", DENSE, half) == "direct"


@pytest.mark.parametrize("slot", SLOTS)
def test_the_shipped_model_knows_every_case(slot):
    for case in CASES:
        found = core_spec(spec_of(case))
        if found is not None:
            assert REGISTRY[choice(slot, found[0], CPU)].supports(slot, found[0], CPU.dtype, None) is None


def test_the_shipped_model_leaves_xla_where_it_is_known_to_be_slow():
    for slot in SLOTS:
        assert jaxconv.plan(DEPTHWISE, platform="cpu", slot=slot).algorithm not in (
            "direct",
            "zero_insertion",
        )
    grouped = ConvSpec(4, 128, 128, 8, (Axis(28, 3, lo=1, hi=1),) * 2)
    assert jaxconv.plan(grouped, platform="cpu", slot="weight_grad").algorithm != "direct"


def test_other_platforms_have_no_model_yet():
    assert cost.model("tpu") == {}
    assert cost.cheapest("forward", DENSE, Target("tpu", jnp.dtype("float32"))) is None


def test_a_symbolic_batch_is_planned_as_a_usual_one():
    [n] = jax.export.symbolic_shape("n")
    spec = dataclasses.replace(DEPTHWISE, batch=n)
    assert choice("forward", spec, CPU) != "direct"
    assert cost.cheapest("forward", dataclasses.replace(DENSE, out_channels=n), CPU) is None
    x = jax.ShapeDtypeStruct((n, 9, 9, 4), jnp.float32)
    run = jax.jit(lambda x, k: jaxconv.conv(x, k, groups=4))
    exported = jax.export.export(run)(x, jnp.ones((3, 3, 1, 4)))
    for batch in (1, 3):
        x = jnp.arange(batch * 9 * 9 * 4.0).reshape(batch, 9, 9, 4)
        assert_close(exported.call(x, jnp.ones((3, 3, 1, 4))), run(x, jnp.ones((3, 3, 1, 4))), contraction=9)


def test_what_is_known_to_be_bad_is_not_taken(constants):
    """Tiny maps under a large kernel run in reverse, in one convolution or in one for each group."""
    call = [1.0] + [0.0] * 8
    spec = ConvSpec(2, 4, 4, 1, (Axis(2, 3, lo=1, hi=1),))
    constants({"direct forward": call, "im2col forward": [9 * c for c in call]})
    chosen = jaxconv.plan(spec, platform="cpu")
    assert chosen.algorithm == "im2col"
    assert "in reverse" in str(chosen)
    grouped = dataclasses.replace(spec, groups=2)
    constants({"per_group forward": call, "im2col forward": [9 * c for c in call]})
    assert jaxconv.plan(grouped, platform="cpu").algorithm == "im2col"
    constants({})
    assert jaxconv.plan(spec, platform="cpu").algorithm == "shifted_matmul"


def test_digits_are_given_up_for_a_larger_gain(constants):
    call = [1.0] + [0.0] * 8
    for share, name in ((0.99 * cost.WORTH, "winograd"), (1.01 * cost.WORTH, "im2col")):
        constants({"im2col forward": call, "winograd forward": [share * c for c in call]})
        assert choice("forward", DENSE, CPU) == name
