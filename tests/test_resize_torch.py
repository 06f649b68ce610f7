"""`resize` and its gradient against PyTorch's interpolate: recorded, and a sweep where it is installed."""

import numpy as np
import pytest

import jaxconv
from jaxconv.geometry.resample import Resample
from jaxconv.testing import assert_close
from tests.torch_resize import CASES, LINEAR, MODES, PATH, Case, load, our_results, torch_results

SEEDS = range(60)


def compare(ours: dict[str, np.ndarray], wanted: dict[str, np.ndarray], label: str) -> None:
    """Weights add up to at most 3 or so in absolute value; they and the sums are rounded to float32."""
    for name, result in ours.items():
        assert_close(result, wanted[name], contraction=32, label=f"{name} of {label}")


@pytest.mark.parametrize("name", CASES)
def test_recorded(name):
    case, arrays = load(name)
    assert case == CASES[name]
    compare(our_results(case, arrays), arrays, name)


def test_the_file_is_small_and_holds_something():
    assert PATH.stat().st_size < 100_000
    for name in CASES:
        _, arrays = load(name)
        assert min(np.abs(arrays[key]).max() for key in ("y", "dx")) > 0


def test_the_test_can_fail():
    case, arrays = load("cubic")
    wrong = jaxconv.resize(
        np.float32(arrays["x"]), size=case.size, method="cubic", cubic_a=-0.5, layout="channels_first"
    )
    with pytest.raises(AssertionError, match="differ"):
        compare({"y": np.asarray(wrong)}, arrays, "cubic")


def draw(seed: int) -> Case:
    """A random call of which PyTorch has one opinion.

    Antialiased results one pixel wide have wrong rows there, and in three dimensions the passes of "nearest"
    differ in whether they heed a scale that keeps or doubles the size.
    """
    rng = np.random.default_rng(seed)
    method = str(rng.choice(["nearest", "nearest-exact", "linear", "cubic", "area", "lanczos3"]))
    rank = 2 if method in MODES else int(rng.integers(1, 4))
    antialias = method == "lanczos3" or (method in ("linear", "cubic") and rank == 2 and seed % 2 == 0)
    least = 2 if antialias else 1
    before = tuple(int(n) for n in rng.integers(least, 12, rank))
    corners = method in ("linear", "cubic") and bool(rng.integers(0, 2))
    if method == "area" or (method == "nearest" and rank == 3) or rng.integers(0, 2):
        after = tuple(int(n) for n in rng.integers(least, 14, rank))
        return Case(method, before, after, None, corners, antialias)
    scales = zip(rng.uniform(0.2, 3, rank), before, strict=True)
    scale = tuple(round(float(max(s, (least + 0.01) / n)), 3) for s, n in scales)
    return Case(method, before, None, scale, corners, antialias)


@pytest.mark.parametrize("seed", SEEDS)
def test_sweep(seed):
    pytest.importorskip("torch", reason="compares with PyTorch")
    case = draw(seed)
    arrays = case.arrays(seed)
    compare(our_results(case, arrays), torch_results(case, arrays), str(case))


def test_the_sweep_visits_everything():
    cases = [draw(seed) for seed in SEEDS]
    assert {c.method for c in cases} == {"nearest", "nearest-exact", "linear", "cubic", "area", "lanczos3"}
    assert {
        (c.align_corners, c.antialias) for c in cases if c.method in LINEAR.values() or c.method == "cubic"
    } == {(a, b) for a in (False, True) for b in (False, True)}
    assert {c.scale is None for c in cases} == {True, False}


def test_nearest_picks_pytorchs_pixel_in_every_pair_of_sizes():
    """Where float32 decides, too; PyTorch's channels-last kernel is the one that rounds as its gradient."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    for method in ("nearest", "nearest-exact"):
        for size in range(1, 48):
            x = torch.arange(size, dtype=torch.float32)[None, None, :, None].expand(1, 4, size, 2)
            x = x.contiguous(memory_format=torch.channels_last)
            for out in range(1, 96):
                y = torch.nn.functional.interpolate(x, size=(out, 2), mode=method)[0, 0, :, 0]
                assert tuple(y.int().tolist()) == Resample(size, out, method).nearest(), (method, size, out)
