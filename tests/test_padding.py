"""Every spelling of padding, its transposed meaning and what is refused, against windows written out."""

import dataclasses
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxconv.geometry import Axis, normalize, normalize_transposed
from jaxconv.geometry.padding import NAMES, per_axis
from tests.windows import dilations, kernels, pads, strides, triples, windows


def one(padding, size, kernel, stride=1, dilation=1) -> Axis:
    """The axis of a one-dimensional convolution."""
    [axis] = normalize(padding, size=[size], kernel=[kernel], stride=[stride], dilation=[dilation])
    return axis


def transposed(padding, size, kernel, stride=1, dilation=1, extra=None, wanted=None) -> Axis:
    """The axis behind a one-dimensional transposed convolution of `size` inputs."""
    [axis] = normalize_transposed(
        padding,
        size=[size],
        kernel=[kernel],
        stride=[stride],
        dilation=[dilation],
        output_padding=None if extra is None else [extra],
        output_shape=None if wanted is None else [wanted],
    )
    return axis


# Named and numbered padding of convolutions.


def test_same_on_tensorflows_own_example() -> None:
    """13 inputs, 6 taps, stride 5: one zero in front, two behind; VALID drops the last two inputs."""
    assert one("SAME", 13, 6, 5) == Axis(13, 6, 5, lo=1, hi=2)
    assert one("SAME", 13, 6, 5).out == 3
    assert one("VALID", 13, 6, 5) == Axis(13, 6, 5)
    assert one("VALID", 13, 6, 5).out == 2


@given(st.integers(1, 12), kernels, strides, dilations)
def test_same_by_tensorflows_formula(size: int, kernel: int, stride: int, dilation: int) -> None:
    """The documented case distinction on size % stride, with the effective (dilated) filter size."""
    effective = (kernel - 1) * dilation + 1
    rest = size % stride
    total = max(effective - (rest or stride), 0)
    axis = one("SAME", size, kernel, stride, dilation)
    assert (axis.lo, axis.hi) == (total // 2, total - total // 2)
    assert axis.out == math.ceil(size / stride) == len(windows(axis))
    lower = one("SAME_LOWER", size, kernel, stride, dilation)
    assert (lower.lo, lower.hi, lower.out) == (axis.hi, axis.lo, axis.out)


@given(st.integers(0, 9), kernels, strides, dilations)
def test_other_names(size: int, kernel: int, stride: int, dilation: int) -> None:
    span = (kernel - 1) * dilation + 1
    valid = one("VALID", size, kernel, stride, dilation)
    assert all(0 <= i < size for window in windows(valid) for i in window)
    assert valid.out == max(math.ceil((size - span + 1) / stride), 0)  # TensorFlow's formula for VALID

    causal = one("CAUSAL", size, kernel, stride, dilation)
    assert [window[-1] for window in windows(causal)] == list(range(0, size, stride))

    full = one("FULL", size, kernel, stride, dilation)
    assert (full.lo, full.hi) == (span - 1, span - 1)
    if stride == dilation == 1 and size:
        # Every output touches something, and one more on either side would not.
        touched = {o for _, _, o in triples(full)}
        assert touched == set(range(size + kernel - 1)) == set(range(full.out))


def test_numbers_in_every_spelling() -> None:
    common = {"size": [7, 8], "kernel": [3, 2], "stride": [1, 2], "dilation": [2, 1]}
    wanted = (Axis(7, 3, 1, 2, 1, 1), Axis(8, 2, 2, 1, 1, 1))
    for spelling in (1, (1, 1), [[1, 1], (1, 1)], [1, (1, 1)]):
        assert normalize(spelling, **common) == wanted
    skewed = (Axis(7, 3, 1, 2, -1, 3), Axis(8, 2, 2, 1, 0, 2))
    assert normalize([(-1, 3), (0, 2)], **common) == skewed
    assert normalize((-1, (0, 2)), **common) == (dataclasses.replace(skewed[0], hi=-1), skewed[1])
    assert normalize("same", **common) == normalize("SAME", **common)
    assert normalize(0, **common) == normalize("VALID", **common)


def test_no_spatial_dimension_is_a_case() -> None:
    nothing = {"size": [], "kernel": [], "stride": [], "dilation": []}
    assert normalize(0, **nothing) == normalize("SAME", **nothing) == normalize([], **nothing) == ()


# The transposed meaning.


@given(st.integers(1, 6), kernels, strides, dilations, st.integers(0, 3), pads, pads)
def test_numbered_padding_crops_the_transposed_output(size, kernel, stride, dilation, extra, lo, hi) -> None:
    """PyTorch's formula; each input, spread over its window, lands where the convolution has looked."""
    assume(extra < max(stride, dilation))
    out = (size - 1) * stride - lo - hi + dilation * (kernel - 1) + 1 + extra
    assume(out >= 0)
    axis = transposed([(lo, hi)], size, kernel, stride, dilation, extra)
    assert (axis.size, axis.out, axis.lo) == (out, size, lo)
    spread = {(o * stride + k * dilation - lo, k, o) for o in range(size) for k in range(kernel)}
    assert triples(axis) == {(i, k, o) for i, k, o in spread if 0 <= i < out}


@given(st.integers(1, 6), kernels, strides, dilations)
def test_named_transposed_padding(size: int, kernel: int, stride: int, dilation: int) -> None:
    """SAME and VALID as Keras documents the length; CAUSAL keeps size * stride; FULL undoes FULL."""
    span = (kernel - 1) * dilation + 1
    lengths = {
        "VALID": size * stride + max(span - stride, 0),
        "SAME": size * stride,
        "SAME_LOWER": size * stride,
        "CAUSAL": size * stride,
        "FULL": (size - 1) * stride + span - 2 * (span - 1),
    }
    for name, length in lengths.items():
        if length < 0:
            continue
        axis = transposed(name, size, kernel, stride, dilation)
        assert (axis.size, axis.out) == (length, size), name
        if name != "CAUSAL":  # the adjoint of the convolution with the same name
            assert triples(axis) == triples(one(name, length, kernel, stride, dilation)), name


@given(st.integers(1, 6), kernels, strides, dilations)
def test_transposed_causal_is_causal(size: int, kernel: int, stride: int, dilation: int) -> None:
    """Nothing lands before its own time o * stride, and the first tap lands exactly there."""
    touching = triples(transposed("CAUSAL", size, kernel, stride, dilation))
    assert all(i >= o * stride for i, _, o in touching)
    assert {(i, o) for i, k, o in touching if k == 0} == {(o * stride, o) for o in range(size)}


def listed(message: str) -> list[int]:
    """The sizes that an error message offers."""
    return [int(n) for n in message.partition("possible sizes are ")[2].rstrip(".").split(", ")]


@given(st.integers(1, 5), kernels, strides, dilations, st.integers(0, 3), st.integers(0, 3))
def test_output_shape_is_solved_or_the_possible_sizes_listed(size, kernel, stride, dilation, lo, hi) -> None:
    smallest = (size - 1) * stride - lo - hi + (kernel - 1) * dilation + 1
    possible = [n for n in range(smallest, smallest + max(stride, dilation)) if n >= 0]
    assume(possible)
    for wanted in range(possible[-1] + 3):
        if wanted in possible:
            axis = transposed([(lo, hi)], size, kernel, stride, dilation, wanted=wanted)
            assert (axis.size, axis.out, axis.lo) == (wanted, size, lo)
            assert axis == transposed([(lo, hi)], size, kernel, stride, dilation, extra=wanted - smallest)
        else:
            with pytest.raises(ValueError, match=f"output_shape of {wanted} is impossible") as error:
                transposed([(lo, hi)], size, kernel, stride, dilation, wanted=wanted)
            assert listed(str(error.value)) == possible


@given(st.integers(1, 5), kernels, strides, dilations, st.sampled_from(["SAME", "SAME_LOWER"]))
def test_output_shape_with_same_is_any_size_that_same_maps_back(size, kernel, stride, dilation, name) -> None:
    back = {n: one(name, n, kernel, stride, dilation).out for n in range((size + 1) * stride)}
    possible = [n for n, out in back.items() if out == size]
    for wanted in range(size * stride + 3):
        if wanted in possible:
            axis = transposed(name, size, kernel, stride, dilation, wanted=wanted)
            assert triples(axis) == triples(one(name, wanted, kernel, stride, dilation))
        else:
            with pytest.raises(ValueError, match="is impossible") as error:
                transposed(name, size, kernel, stride, dilation, wanted=wanted)
            assert listed(str(error.value)) == possible


@pytest.mark.parametrize("padding", [0, 1, *NAMES])
def test_transposed_of_nothing_is_nothing(padding) -> None:
    axis = transposed(padding, 0, 3, 2)
    assert (axis.size, axis.out, triples(axis)) == (0, 0, set())


# What is refused, and the words.


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: one("SAMEISH", 5, 3), r"padding='SAMEISH' is not known; .*VALID, SAME, SAME_LOWER, FULL, C"),
        (lambda: one(1.5, 5, 3), r"padding=1.5 is of type float; wanted an int"),
        (lambda: one(None, 5, 3), r"padding=None is of type NoneType; wanted an int"),
        (lambda: one(True, 5, 3), r"padding=True is of type bool; wanted an int"),
        (lambda: one((1, 1, 1), 5, 3), r"padding=\(1, 1, 1\) has 3 entries for 1 spatial dimension"),
        (lambda: one((1, 2), 5, 3), r"has 2 entries for 1 .* write \(\(1, 2\),\)"),
        (lambda: one([(1, 2, 3)], 5, 3), r"holds \(1, 2, 3\); wanted an int or a pair \(lo, hi\)"),
        (lambda: one(["SAME"], 5, 3), r"holds 'SAME'; wanted an int or a pair \(lo, hi\)"),
        (lambda: one([(1, 0.5)], 5, 3), r"holds \(1, 0.5\); wanted an int or a pair"),
        (lambda: per_axis((1, 2), 3, "stride"), r"stride=\(1, 2\) has 2 entries for 3 spatial dimensions"),
        (lambda: per_axis("22", 2, "stride"), r"stride='22' .* wanted an int or one int for each"),
        (lambda: per_axis((1, 2.0), 2, "dilation"), r"dilation=\(1, 2.0\) must hold integers"),
        (lambda: per_axis(2.0, 2, "stride"), r"stride=2.0 is of type float; wanted an int"),
        (lambda: transposed(1, 4, 3, 2, extra=2), r"output_padding=2 .* below max\(stride, dilation\)=2"),
        (lambda: transposed(1, 4, 3, 2, extra=-1), r"output_padding=-1 .* must be at least 0"),
        (lambda: transposed("SAME", 4, 3, 2, extra=1), r"output_padding=1 does not go with padding='SAME'"),
        (lambda: transposed(0, 4, 3, 2, extra=1, wanted=9), r"output_padding=.* and output_shape=.*give one"),
        (lambda: transposed(1, 4, 3, 2, wanted=9), r"output_shape of 9 .* possible sizes are 7, 8\."),
        (lambda: transposed(3, 1, 3), r"output of -3 is impossible .*possible sizes are none"),
        (lambda: transposed(0, 4, 3, 40, wanted=1), r"possible sizes are 123, 124, .*, \.\.\."),
    ],
)
def test_refusals(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
