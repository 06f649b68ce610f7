"""Quality of restored pictures, against scikit-image in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from examples.super_resolution import metrics as matlab
from jaxconv.restore import metrics


@pytest.fixture
def pair(rng):
    truth = rng.uniform(size=(17, 23, 3))
    return truth + 0.1 * rng.normal(size=truth.shape), truth


WINDOWS = [
    {},
    {"win_size": 5},
    {"gaussian_weights": True},
    {"gaussian_weights": True, "sigma": 0.8, "use_sample_covariance": False},
]


@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_ssim_is_that_of_scikit_image_in_float64(pair, options):
    x, truth = pair
    with jax.enable_x64(True):
        ours = metrics.ssim(x, truth, data_range=1.3, channel_axis=-1, **options)
    theirs = structural_similarity(x, truth, data_range=1.3, channel_axis=-1, **options)
    assert ours == pytest.approx(theirs, rel=1e-13)


def test_ssim_of_volumes_integers_and_float32(rng):
    truth = rng.integers(0, 256, (9, 8, 11), np.uint8)
    x = np.clip(truth + rng.integers(-40, 40, truth.shape), 0, 255).astype(np.uint8)
    # Variances are differences of squares of 8-bit numbers, against C2 = 58: to 1e-4 of each other.
    assert metrics.ssim(x, truth) == pytest.approx(structural_similarity(x, truth), rel=1e-4)


def test_ssim_of_wang_is_that_of_the_super_resolution_example(rng):
    truth, x = 255 * rng.uniform(size=(2, 15, 19))
    wang = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 255.0}
    with jax.enable_x64(True):
        assert metrics.ssim(x, truth, **wang) == pytest.approx(matlab.ssim(x, truth), rel=1e-13)
        assert metrics.psnr(x, truth, data_range=255.0) == pytest.approx(matlab.psnr(x, truth), rel=1e-13)


def test_psnr_is_that_of_scikit_image(pair, rng):
    x, truth = pair
    theirs = peak_signal_noise_ratio(truth, x, data_range=2.0)
    assert metrics.psnr(x, truth, data_range=2.0, channel_axis=1) == pytest.approx(theirs, rel=1e-6)
    deep = rng.integers(0, 65536, (2, 7, 5), np.uint16)
    assert metrics.psnr(*deep) == pytest.approx(peak_signal_noise_ratio(deep[1], deep[0]), rel=1e-6)


def test_border_and_interior_are_those_pixels(rng):
    x, truth = rng.uniform(size=(2, 4, 9, 12))  # four pictures
    near, far = jax.jit(lambda x, t: metrics.border_psnr(x, t, width=2, data_range=1.0, rank=2))(x, truth)
    squares, inside = (x - truth) ** 2, np.s_[:, 2:-2, 2:-2]
    interior = squares[inside].reshape(4, -1)
    border = (squares.sum((1, 2)) - interior.sum(1)) / (9 * 12 - interior.shape[1])
    np.testing.assert_allclose(near, -10 * np.log10(border), rtol=1e-5)
    np.testing.assert_allclose(far, -10 * np.log10(interior.mean(1)), rtol=1e-5)


def test_batches_are_single_pictures(pair):
    x, truth = (np.stack([z, z**2]) for z in pair)
    options = {"data_range": 1.0, "rank": 2, "channel_axis": -1}
    for metric in (metrics.psnr, metrics.ssim):
        each = [metric(a, t, data_range=1.0, channel_axis=-1) for a, t in zip(x, truth, strict=True)]
        np.testing.assert_allclose(metric(x, truth, **options), each, rtol=1e-6)


def test_isnr_is_the_difference_of_psnrs(pair):
    x, truth = pair
    y = x + 0.2
    gain = metrics.psnr(x, truth, data_range=1.0) - metrics.psnr(y, truth, data_range=1.0)
    assert metrics.isnr(x, y, truth) == pytest.approx(float(gain), rel=1e-5)
    assert gain > 1


def test_gradients(pair):
    x, truth = pair
    with jax.enable_x64(True):
        for metric in (metrics.psnr, metrics.ssim):
            f = jax.jit(lambda x, m=metric: m(x, truth, data_range=1.0, channel_axis=-1))
            slope = float(f(x + 1e-5 * truth) - f(x - 1e-5 * truth)) / 2e-5
            assert jnp.vdot(jax.grad(f)(jnp.asarray(x)), truth) == pytest.approx(slope, rel=1e-6)
            assert jax.jvp(f, (x,), (truth,))[1] == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: metrics.psnr(x, x[1:], data_range=1), r"x has shape \(8, 9\) and truth \(7, 9\)"),
        (lambda x: metrics.psnr(x, x), "data_range is not known for x of float32 and truth of float32"),
        (lambda x: metrics.psnr(x, x, data_range=1, rank=3), "no 3 axes of space"),
        (lambda x: metrics.psnr(x, x, data_range=1, channel_axis=2), "channel_axis=2 is no axis"),
        (lambda x: metrics.ssim(x, x, data_range=1, win_size=4), "win_size=4 must be odd"),
        (lambda x: metrics.ssim(x, x, data_range=1, win_size=9), r"window of 9 is larger than .*\(8, 9\)"),
        (lambda x: metrics.ssim(x, x, data_range=1, win_size=3, gaussian_weights=True), "follows from sigma"),
        (lambda x: metrics.ssim(x, x, data_range=1, sigma=0, gaussian_weights=True), "sigma=0 must be pos"),
        (lambda x: metrics.border_psnr(x, x, data_range=1, width=4), "width=4 must be from 1 to 3"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call(np.zeros((8, 9), np.float32))
