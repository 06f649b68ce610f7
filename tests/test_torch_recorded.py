"""PyTorch's recorded results, compared without PyTorch; tests/record_torch.py makes the file."""

import numpy as np
import pytest

from jaxconv.testing import assert_close
from tests.record_torch import PATH, RECORDED, load
from tests.torch_cases import NAMES, jaxconv_results

pytestmark = pytest.mark.usefixtures("every_element")


@pytest.mark.parametrize("name", RECORDED)
def test_values_and_gradients(name: str) -> None:
    case, arrays = load(name)
    ours = jaxconv_results(case, arrays)
    assert list(ours) == [key for key in NAMES if key in arrays]
    for key, array in ours.items():
        assert array.dtype == case.dtype
        assert_close(array, arrays[key], contraction=case.contraction, label=f"{name} {key}")


def test_the_file_holds_the_table() -> None:
    for name, case in RECORDED.items():
        recorded, arrays = load(name)
        assert recorded == case
        assert arrays["y"].shape == case.y_shape
        assert np.abs(arrays["dx"]).max() > 0
    with np.load(PATH, allow_pickle=False) as file:
        assert {key.split("/")[0] for key in file.files} == set(RECORDED)
    assert PATH.stat().st_size < 300_000


def test_the_test_can_fail() -> None:
    case, arrays = load("conv_transpose2d")
    flipped = arrays | {"weight": arrays["weight"][..., ::-1].copy()}
    with pytest.raises(AssertionError, match="differ"):
        assert_close(jaxconv_results(case, flipped)["y"], arrays["y"], contraction=case.contraction)
