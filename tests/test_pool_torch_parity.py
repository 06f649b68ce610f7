"""PyTorch's poolings and their gradients over a random sweep of their parameters."""

import collections

import numpy as np
import pytest

from tests.record_torch_pool import RECORDED, load, torch_results
from tests.test_pool_torch_recorded import compare
from tests.torch_pool_cases import KINDS, draw, jaxconv_results

pytest.importorskip(
    "torch", reason="compares with PyTorch; recorded results are in test_pool_torch_recorded.py"
)

SEEDS = range(108, 234)


@pytest.mark.parametrize("seed", SEEDS)
def test_sweep(seed: int) -> None:
    case = draw(seed)
    x = case.x(np.random.default_rng(seed))
    compare(case, jaxconv_results(case, x), torch_results(case, x))


def test_the_sweep_visits_everything() -> None:
    cases = [draw(seed) for seed in SEEDS]
    seen = collections.Counter((case.kind, case.rank, case.dtype) for case in cases)
    seen.update(
        ("options", case.kind, case.ceil_mode, case.count_include_pad) for case in cases if case.kind == "avg"
    )
    seen.update(
        ("ceil", case.kind, case.ceil_mode, max(case.padding) > 0) for case in cases if case.kind == "max"
    )
    assert len(seen) == len(KINDS) * 3 * 2 + 4 + 4


def test_recorded_file_is_what_torch_says() -> None:
    for seed in list(RECORDED)[::7]:
        case, arrays = load(seed)
        x = arrays.pop("x")
        for name, result in torch_results(case, x).items():
            np.testing.assert_array_equal(result, arrays[name])
