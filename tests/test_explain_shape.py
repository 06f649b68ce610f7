"""Sizes both ways: against counting windows, and in words."""

import itertools
import re

import numpy as np
import pytest

from jaxconv import cli, explain
from jaxconv.geometry import Axis, Bounds, Choice, missing_padding, reachable
from tests import oracle
from tests.explain_cases import arrays, draw_layer, expected


def test_choices_are_all_there_are() -> None:
    """Both directions against the oracle's formulas over a whole box of parameters."""
    bounds = Bounds(range(1, 5), range(1, 4), (1, 2), range(3), range(3))
    for transposed, size, out in itertools.product((False, True), (5, 8), range(1, 26)):
        wanted = set()
        for k, s, d, lo, more, extra in itertools.product(
            range(1, 5), range(1, 4), (1, 2), range(3), (0, 1), range(3)
        ):
            hi = lo + more
            if hi > 2 or extra >= (max(s, d) if transposed else 1) or (extra and more):
                continue
            count = (
                oracle.transposed_size(size, k, s, d, lo, hi, extra)
                if transposed
                else oracle.output_size(size, k, s, d, lo, hi)
            )
            if count == out:
                wanted.add(Choice(k, s, d, lo, hi, extra))
        found = explain.choices(size, out, bounds=bounds, transposed=transposed)
        assert set(found.choices) == wanted
        assert len(found.choices) == len(wanted)
        assert (out in found.possible) is bool(wanted) is (not found.reasons)


def test_the_usual_choice_comes_first() -> None:
    found = explain.choices(16, 32, bounds=Bounds([3], [2]), transposed=True)
    assert found.choices == (Choice(3, 2, 1, 1, 1, 1), Choice(3, 2, 1, 0, 1, 0))  # both cases of an odd sum
    assert found.choices[0] == reachable(16, Bounds([3], [2]), transposed=True)[32][0]


@pytest.mark.parametrize("transposed", [False, True])
def test_missing_padding_leads_there(transposed: bool) -> None:
    for size, out, window in [(9, 7, (3, 2, 1)), (9, 4, (2, 3, 2)), (6, 14, (3, 2, 1)), (4, 4, (1, 1, 1))]:
        kernel, stride, dilation = window
        sums = missing_padding(size, out, window, transposed=transposed)
        if transposed:
            extras = [out - oracle.transposed_size(size, *window, t, 0) for t in sums]
            assert extras == list(range(max(stride, dilation)))
            continue
        reached = [
            oracle.output_size(size, kernel, stride, dilation, t, 0)
            for t in (sums[0] - 1, *sums, sums[-1] + 1)
        ]
        assert reached == [out - 1, *[out] * stride, out + 1]


def test_infeasible_says_why_and_what_is_possible() -> None:
    text = str(explain.choices(16, 50, bounds=Bounds([3], [2]), transposed=True))
    assert "impossible" in text
    assert "16 too short" in text  # 34 without padding and with all output padding
    assert "Possible sizes: 27, 28, 29, 30, 31, 32, 33, 34." in text
    assert "leaves 22 positions" in str(
        explain.choices(32, 4, bounds=Bounds([3], [2]))
    )  # 4 use 9 of them, and one may remain
    with pytest.raises(ValueError, match="output_size=0 must be an int of at least 1"):
        explain.choices(16, 0)
    with pytest.raises(ValueError, match=r"bounds.kernels is empty"):
        explain.choices(16, 3, bounds=Bounds(kernels=[]))


@pytest.mark.parametrize("seed", range(12))
def test_numbers_of_a_layer(seed: int) -> None:
    """Size, products, coverage and field, all counted from the oracle's sums of ones."""
    described = draw_layer(seed)
    x, kernel, _ = (np.ones_like(a) for a in arrays(described, seed))
    y = expected(described, x, kernel)
    assert y.shape[1:-1] == described.out
    assert y[0].sum() == described.multiply_adds
    if described.transposed:
        covered = (
            np.einsum("...c->...", y[0])
            / (described.in_channels // described.groups)
            / described.out_channels
        )
        products = described.coverage[0]
        for more in described.coverage[1:]:
            products = np.multiply.outer(products, more)
        np.testing.assert_array_equal(covered, products)
    for axis, seen in zip(described.axes, described.field, strict=True):
        pattern = oracle.index_pattern(40, axis.kernel, axis.stride, axis.dilation, 0, 0)
        touching = np.asarray(pattern.sum(axis=1))
        side = touching if described.transposed else touching.T  # one row for each output
        places = [np.flatnonzero(row) for row in side if row.any()]
        assert seen == max(p[-1] - p[0] + 1 for p in places)


def test_checkerboard_where_the_stride_does_not_divide_the_kernel() -> None:
    uneven = {k: explain.layer(9, k, stride=2, transposed=True).checkerboard for k in range(1, 7)}
    assert uneven == {1: True, 2: False, 3: True, 4: False, 5: True, 6: False}
    assert explain.layer(
        9, 4, stride=2, dilation=2, transposed=True
    ).checkerboard  # it never meets odd outputs


def test_position_is_the_one_equation() -> None:
    axis = Axis(7, 3, stride=2, dilation=2, lo=1, hi=2)
    pattern = oracle.index_pattern(7, 3, 2, 2, 1, 2)
    assert sorted((i, k, o) for o, k, i in axis.triples()) == [tuple(t) for t in np.argwhere(pattern)]


def test_report_works_the_formula_out() -> None:
    text = explain.report(
        explain.layer((32, 20), (3, 5), stride=2, padding=((1, 0), (2, 2)), dilation=(1, 2))
    )
    sums = re.findall(r"= ([\d +*()/-]+) = (\d+)$", text, re.MULTILINE)
    assert [(eval(rule), int(result)) for rule, result in sums] == [(3, 3), (16, 16), (9, 9), (8, 8)]
    assert "= 0, as it does not fit" in explain.report(explain.layer(4, 9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": -1}, "crop or pad x or y by itself"),
        ({"padding": ((0, -7),), "transposed": True, "stride": 2}, "by itself"),
        ({"output_padding": 1}, "belong to a transposed convolution"),
        ({"groups": 2, "in_channels": 3}, "groups=2 must divide in_channels=3"),
        ({"transposed": True, "stride": 2, "output_padding": 2}, "below max"),
    ],
)
def test_layer_refuses(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explain.layer(7, 3, **options)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["shape", "28,14", "--output", "14", "--stride", "2,1", "--kernel", "3"]) == 0
    assert "y = jaxconv.conv(x, kernel, stride=(2, 1), padding=1)" in capsys.readouterr().out
    assert (
        cli.main(
            [
                "shape",
                "16",
                "--kernel",
                "3",
                "--stride",
                "2",
                "--padding",
                "1:0",
                "--transposed",
                "--channels",
                "2:4",
                "--groups",
                "2",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "(16 - 1) * 2 + 3 - 1 - 0 + 0 = 32" in out
    assert (
        "layer = torch.nn.ConvTranspose1d(2, 4, kernel_size=3, stride=2, groups=2)\n  y = layer(x)[..., 1:33]"
        in out
    )
    assert cli.main(["shape", "16,8", "--kernel", "3", "--padding", "1:2"]) == 0
    assert "convolution 16x8 -> 17x9" in capsys.readouterr().out
    assert cli.main(["shape", "16", "--output", "50", "--kernel", "3"]) == 0
    assert "impossible" in capsys.readouterr().out
    for words, message in {
        "shape 16": "--kernel is missing",
        "shape 9 --kernel 3 --stride 0": "stride=0",
    }.items():
        assert cli.main(words.split()) == 1
        assert message in capsys.readouterr().err
