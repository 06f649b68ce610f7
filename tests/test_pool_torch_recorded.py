"""PyTorch's recorded poolings, compared without PyTorch; tests/record_torch_pool.py makes the file."""

import numpy as np
import pytest

from jaxconv.testing import assert_close
from tests.record_torch_pool import PATH, RECORDED, load
from tests.torch_pool_cases import KINDS, PoolCase, draw, jaxconv_results


def compare(case: PoolCase, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Maxima and indices are the same; what is divided is so but for rounding."""
    assert ours["y"].dtype == case.dtype
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        if case.kind in ("max", "adaptive_max", "max_unpool"):
            np.testing.assert_array_equal(array, theirs[name], err_msg=f"{name} of {case}")
        else:
            scale = np.abs(theirs[name]).max(initial=0)
            terms = int(np.prod(case.window)) + 8 * (case.kind == "lp")
            assert_close(array, theirs[name], contraction=terms, scale=scale, label=f"{name} of {case}")


@pytest.mark.parametrize("seed", RECORDED)
def test_values_indices_and_gradients(seed: int) -> None:
    case, arrays = load(seed)
    x = arrays.pop("x")
    compare(case, jaxconv_results(case, x), arrays)


def test_the_file_holds_every_kind() -> None:
    cases = [draw(seed) for seed in RECORDED]
    assert [load(seed)[0] for seed in RECORDED] == cases
    assert {(case.kind, case.rank) for case in cases} == {
        (kind, rank) for kind in KINDS for rank in (1, 2, 3)
    }
    pooled = [case for case in cases if case.kind in ("max", "avg")]
    for name in ("ceil_mode", "nan"):
        assert {getattr(case, name) for case in pooled} == {False, True}
    assert any(max(case.padding) for case in pooled)
    assert any(max(case.dilation) > 1 for case in pooled)
    assert PATH.stat().st_size < 200_000


def test_the_test_can_fail() -> None:
    case, arrays = load(0)
    x = arrays.pop("x")
    with pytest.raises(AssertionError):
        compare(case, jaxconv_results(case, x[..., ::-1].copy()), arrays)
