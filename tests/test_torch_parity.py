"""PyTorch's convolutions and all their gradients over a random sweep of its parameters."""

import collections

import numpy as np
import pytest

from jaxconv.testing import assert_close
from tests.record_torch import PATH, RECORDED, load, torch_results
from tests.torch_cases import Case, draw, jaxconv_results

pytest.importorskip("torch", reason="compares with PyTorch; recorded results are in test_torch_recorded.py")

SEEDS = range(360)

pytestmark = [
    pytest.mark.usefixtures("every_element"),
    # PyTorch's own remark about its speed.
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
]


def compare(case: Case, arrays: dict[str, np.ndarray]) -> None:
    """Ours in the case's type against PyTorch's in double, each element within its own rounding errors."""
    double = {name: array.astype(np.result_type(array, np.float64)) for name, array in arrays.items()}
    expected = torch_results(case, double)
    # Σ|a||b|, what the rounding errors of the sums are relative to; the bias only makes it larger.
    scales = torch_results(case, {name: np.abs(array) for name, array in double.items()})
    ours = jaxconv_results(case, arrays)
    assert list(ours) == list(expected)
    for name, result in ours.items():
        assert result.dtype == case.dtype
        assert_close(
            result,
            expected[name],
            contraction=case.contraction,
            scale=scales[name],
            label=f"{name} of {case}",
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_sweep(seed: int) -> None:
    case = draw(seed)
    compare(case, case.arrays(np.random.default_rng(seed).standard_normal))


def test_the_sweep_visits_everything() -> None:
    """A count of each value of each parameter; two are what a combination of the rarest has."""
    cases = [draw(seed) for seed in SEEDS]
    seen = collections.Counter()
    for case in cases:
        spelling = case.padding if isinstance(case.padding, str) else "numbers"
        seen.update([("operator", case.rank, case.transposed), ("padding", case.rank, spelling)])
        seen.update([("mode", case.rank, case.padding_mode), ("groups", case.transposed, case.groups)])
        seen.update([("batch", case.transposed, case.batch), ("bias", case.transposed, case.bias)])
        seen.update(
            [("dtype", case.transposed, case.dtype), ("output_padding", case.rank, any(case.output_padding))]
        )
        wide = np.greater(case.stride, case.kernel).any()
        seen.update([("stride > kernel", case.transposed, bool(wide)), ("dilated", max(case.dilation) > 1)])
    wanted = 6 + 9 + 12 + 6 + 8 + 4 + 8 + 6 + 4 + 2
    assert len(seen) == wanted
    assert min(seen.values()) >= 2


@pytest.mark.parametrize("name", ["conv2d_groups", "conv_transpose2d", "conv1d_complex"])
def test_recorded_file_is_what_torch_says(name: str) -> None:
    """The rest of the file is as good as its three kinds; tests/record_torch.py rewrites it."""
    case, arrays = load(name)
    assert case == RECORDED[name]
    assert PATH.exists()
    for key, result in torch_results(case, {k: arrays[k] for k in ("x", "weight", "bias", "g")}).items():
        np.testing.assert_array_equal(result, arrays[key])


def test_the_test_can_fail() -> None:
    case = draw(3)
    arrays = case.arrays(np.random.default_rng(3).standard_normal)
    wrong = jaxconv_results(case, arrays | {"x": np.nextafter(arrays["x"], 2) * (1 + 1e-6)})
    with pytest.raises(AssertionError, match="differ"):
        assert_close(wrong["y"], torch_results(case, arrays)["y"], contraction=case.contraction)
