"""Axes, specs and costs against brute force: the windows are written out one by one and counted."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxconv.geometry import Axis, ConvSpec, bytes_moved, multiply_adds
from tests.windows import axes, triples, windows

SLOTS = ("forward", "input_grad", "weight_grad")


@given(axes)
def test_output_size_counts_windows(axis: Axis) -> None:
    assert axis.out == len(windows(axis))


@given(axes)
def test_taps_are_the_outputs_that_touch(axis: Axis) -> None:
    touching = triples(axis)
    for k, (start, stop) in enumerate(axis.taps()):
        assert list(range(start, stop)) == sorted(o for _, tap, o in touching if tap == k)
        assert 0 <= start <= stop <= axis.out


@pytest.mark.parametrize(
    ("axis", "out"),
    [
        (Axis(7, 3), 5),
        (Axis(7, 3, stride=5), 1),
        (Axis(3, 4), 0),
        (Axis(3, 3, dilation=2), 0),
        (Axis(0, 1), 0),
        (Axis(0, 3, lo=2, hi=2), 2),
        (Axis(5, 1, stride=3), 2),
        (Axis(6, 2, lo=-1, hi=-2), 2),
        (Axis(4, 2, lo=-5, hi=0), 0),
    ],
)
def test_output_size_by_hand(axis: Axis, out: int) -> None:
    assert axis.out == out


@given(axes)
def test_tight_hi_is_the_smallest_with_the_same_output(axis: Axis) -> None:
    tight = dataclasses.replace(axis, hi=axis.tight_hi)
    assert tight.out == axis.out
    assert tight.out == 0 or dataclasses.replace(tight, hi=tight.hi - 1).out == axis.out - 1
    assert triples(tight) == triples(axis)


@given(axes)
def test_adjoint_exchanges_input_and_output_and_turns_the_kernel(axis: Axis) -> None:
    adjoint = axis.adjoint()
    assert (adjoint.size, adjoint.out) == (axis.out, axis.size)
    assert triples(adjoint) == {(o, axis.kernel - 1 - k, i) for i, k, o in triples(axis)}


@given(axes)
def test_adjoint_of_adjoint_is_the_axis(axis: Axis) -> None:
    assert axis.adjoint().adjoint() == dataclasses.replace(axis, hi=axis.tight_hi)


@given(axes)
def test_core_keeps_all_that_touches_and_pads_sanely(axis: Axis) -> None:
    core = axis.core()
    if core is None:
        assert triples(axis) == set()
        return
    inner, start, first = core.axis, core.input_start, core.output_start
    assert {(i + start, k, o + first) for i, k, o in triples(inner)} == triples(axis)
    assert start + inner.size <= axis.size
    assert first + inner.out <= axis.out
    assert 0 <= inner.lo < inner.span
    assert 0 <= inner.hi < inner.span
    assert inner.tight_hi > -inner.stride  # fewer than stride unreached positions
    turned = inner.adjoint()
    assert turned.lo >= 0
    assert turned.hi >= 0


@given(st.lists(axes, min_size=1, max_size=3), st.integers(0, 3), st.integers(1, 3), *[st.integers(0, 2)] * 2)
def test_multiply_adds_count_the_touching_triples(spatial, batch, groups, width_in, width_out) -> None:
    touching = [triples(axis) for axis in spatial]
    assume(math.prod(map(len, touching)) < 2000)
    channels = itertools.product(range(groups), range(width_in), range(width_out))
    spec = ConvSpec(batch, groups * width_in, groups * width_out, groups, tuple(spatial))
    assert multiply_adds(spec) == sum(1 for _ in itertools.product(range(batch), channels, *touching))


def test_spec_names_the_shapes_of_each_slot() -> None:
    spec = ConvSpec(2, 4, 6, 2, (Axis(7, 3, stride=2, lo=1), Axis(5, 2, hi=-1)))
    x, kernel, y = (2, 7, 5, 4), (3, 2, 2, 6), (2, 3, 3, 6)
    assert (spec.input_shape, spec.kernel_shape, spec.output_shape, spec.rank) == (x, kernel, y, 2)
    given_and_open = {slot: (spec.operand_shapes(slot), spec.result_shape(slot)) for slot in SLOTS}
    assert given_and_open == {
        "forward": ((x, kernel), y),
        "input_grad": ((y, kernel), x),
        "weight_grad": ((x, y), kernel),
    }
    elements = 2 * 7 * 5 * 4 + 3 * 2 * 2 * 6 + 2 * 3 * 3 * 6
    assert {bytes_moved(spec, slot, 2) for slot in SLOTS} == {2 * elements}


def test_spec_is_a_key() -> None:
    one_, two = (ConvSpec(1, 2, 2, 2, (Axis(5, 3),)) for _ in range(2))
    assert {one_: "plan"}[two] == "plan"
    assert one_ != dataclasses.replace(one_, groups=1)
    assert one_.depthwise
    assert not dataclasses.replace(one_, groups=1).depthwise


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Axis(-1, 3), r"size=-1 is negative; .* zero or more"),
        (lambda: Axis(5, 0), r"kernel=0 must be at least 1"),
        (lambda: Axis(5, 3, stride=0), r"stride=0 must be at least 1"),
        (lambda: Axis(5, 3, dilation=-2), r"dilation=-2 must be at least 1"),
        (lambda: Axis(5, 3, base=0), r"base=0 must be at least 1"),
        (lambda: ConvSpec(1, 4, 6, 3, ()), r"groups=3 must divide in_channels=4; use one of 1, 2\."),
        (lambda: ConvSpec(1, 6, 4, 3, ()), r"groups=3 must divide out_channels=4; use one of 1, 2\."),
        (lambda: ConvSpec(1, 4, 4, 0, ()), r"groups=0 must be at least 1"),
    ],
)
def test_refusals(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
