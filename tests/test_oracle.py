"""The oracle's two constructions agree, and are the sum they claim to be on examples small enough to read."""

import numpy as np
import pytest

from tests import oracle
from tests.cases import CASES, Case


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request) -> Case:
    return request.param


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.complex128])
def test_two_constructions_agree(case, dtype):
    x, kernel, g = case.arrays(dtype)
    taps = oracle.Taps(case.size, case.kernel, **case.options)
    pairs = [
        (oracle.forward(x, kernel, **case.options), taps.forward(x, kernel)),
        (oracle.input_grad(g, kernel, x.shape, **case.options), taps.input_grad(g, kernel)),
        (oracle.weight_grad(x, g, kernel.shape, **case.options), taps.weight_grad(x, g)),
    ]
    for (pattern, loop), shape in zip(pairs, (case.y_shape, case.x_shape, case.kernel_shape), strict=True):
        assert pattern.shape == loop.shape == shape
        assert pattern.dtype == loop.dtype == dtype
        np.testing.assert_allclose(pattern, loop, rtol=1e-12, atol=1e-12)


def test_trilinear_identity(case):
    x, kernel, g = case.arrays(np.int64)
    form = np.sum(oracle.forward(x, kernel, **case.options) * g)
    assert form == np.sum(x * oracle.input_grad(g, kernel, x.shape, **case.options))
    assert form == np.sum(kernel * oracle.weight_grad(x, g, kernel.shape, **case.options))


def test_index_pattern_by_hand():
    # x0 x1 x2 x3 with one zero before: the windows start at -1 and 1, the second tap looks 2 further.
    pattern = oracle.index_pattern(size=4, kernel=2, stride=2, dilation=2, lo=1, hi=0)
    assert np.argwhere(pattern).tolist() == [[1, 0, 1], [1, 1, 0], [3, 1, 1]]


def test_operators_by_hand():
    options = dict(stride=(2,), dilation=(1,), padding=((1, 0),))
    x = np.array([1, 2, 3, 4]).reshape(1, 4, 1)
    kernel = np.array([10, 100]).reshape(2, 1, 1)
    g = np.array([5, 7]).reshape(1, 2, 1)
    assert oracle.forward(x, kernel, **options).ravel().tolist() == [100, 320]  # (0, 1), (2, 3)
    assert oracle.input_grad(g, kernel, x.shape, **options).ravel().tolist() == [500, 70, 700, 0]
    assert oracle.weight_grad(x, g, kernel.shape, **options).ravel().tolist() == [14, 26]


def test_groups_are_blocks():
    """Two groups are two convolutions on halves of the channels."""
    options = dict(stride=(1,), dilation=(1,), padding=((0, 0),))
    rng = np.random.default_rng(1)
    x, kernel = rng.standard_normal((2, 5, 6)), rng.standard_normal((3, 3, 4))
    halves = [
        oracle.forward(x[..., :3], kernel[..., :2], **options),
        oracle.forward(x[..., 3:], kernel[..., 2:], **options),
    ]
    grouped = oracle.forward(x, kernel, **options, groups=2)
    np.testing.assert_allclose(grouped, np.concatenate(halves, -1), rtol=1e-13)


def test_table_holds_what_it_promises():
    """The kinds of case that the operator tests rely on are still in the table, each at least once."""
    axes = [
        (*axis, *pads, out)
        for case in CASES
        for *axis, pads, out in zip(
            case.size, case.kernel, *list(case.options.values())[:3], case.out, strict=True
        )
    ]
    assert {case.rank for case in CASES} == {1, 2, 3, 4, 5}
    assert len({case.name for case in CASES}) == len(CASES) >= 40
    assert any(lo < 0 < hi for *_, lo, hi, _ in axes)
    assert any(lo < 0 and hi == 0 for *_, lo, hi, _ in axes)
    assert any(hi < 0 <= lo for *_, lo, hi, _ in axes)
    assert any(s > k for _, k, s, *_ in axes)
    assert any(s > 1 and d > 1 for _, _, s, d, *_ in axes)
    assert any((size + lo + hi - d * (k - 1) - 1) % s for size, k, s, d, lo, hi, out in axes if out)
    assert any(k > size for size, k, *_ in axes)
    assert any(out == 0 for *_, out in axes)
    assert any(lo > d * (k - 1) for _, k, _, d, lo, *_ in axes)
    assert any(case.groups == case.channels[0] < case.channels[1] for case in CASES)
    assert any(case.groups == case.channels[0] == case.channels[1] > 1 for case in CASES)
    assert any(1 < case.groups < case.channels[0] for case in CASES)
    assert any(0 in case.size for case in CASES)
    assert any(case.batch == 0 for case in CASES)
    assert any(case.channels[0] == 0 for case in CASES)
    assert any(case.channels[1] == 0 for case in CASES)
