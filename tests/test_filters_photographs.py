"""Filters against SciPy and scikit-image on photographs: whole pictures, single precision and double."""

import functools

import jax
import numpy as np
import pytest
import scipy.ndimage as ndi
import skimage.data
import skimage.filters
import skimage.restoration

from jaxconv import filters
from jaxconv.testing import assert_close


@functools.cache
def grey() -> np.ndarray:
    return skimage.data.camera()[::2, 1:400:2] / 255


@functools.cache
def colour() -> np.ndarray:
    return skimage.data.astronaut()[100:180, 150:250] / 255


# By name: ours, theirs, and how many products add up to a value.
PAIRS = {
    "gaussian": (lambda x: filters.gaussian(x, 2.5), lambda x: ndi.gaussian_filter(x, 2.5), 42),
    "gaussian_laplace": (
        lambda x: filters.gaussian_laplace(x, 1.5),
        lambda x: ndi.gaussian_laplace(x, 1.5),
        52,
    ),
    "box": (lambda x: filters.box(x, (7, 30)), lambda x: ndi.uniform_filter(x, (7, 30)), 37),
    "sobel": (lambda x: filters.sobel(x), skimage.filters.sobel, 18),
    "scharr": (lambda x: filters.scharr(x), skimage.filters.scharr, 18),
    "prewitt": (lambda x: filters.prewitt(x), skimage.filters.prewitt, 18),
    "sobel_h": (lambda x: filters.sobel(x, axis=0), skimage.filters.sobel_h, 9),
    "laplace": (lambda x: -filters.laplace(x), skimage.filters.laplace, 9),
    "unsharp_mask": (
        lambda x: filters.unsharp_mask(x, 2.0, 1.5),
        lambda x: skimage.filters.unsharp_mask(x, 2.0, 1.5, preserve_range=True),
        36,
    ),
    "difference_of_gaussians": (
        lambda x: filters.difference_of_gaussians(x, 1.5, mode="nearest"),
        lambda x: skimage.filters.difference_of_gaussians(x, 1.5),
        64,
    ),
    "median": (lambda x: filters.median(x, 5), lambda x: ndi.median_filter(x, 5), 1),
    "gabor_bank": (
        lambda x: filters.gabor_bank(x, [0.2], [0.7])[..., 0, 0],
        lambda x: np.add(*np.multiply(skimage.filters.gabor(x, 0.2, 0.7), [[[1]], [[1j]]])),
        361,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_photograph(name):
    ours, theirs, contraction = PAIRS[name]
    expected = theirs(grey())
    with jax.enable_x64(True):
        assert_close(jax.jit(ours)(grey()), expected, contraction=contraction, scale=4.0)
    single = np.asarray(jax.jit(ours)(grey().astype(np.float32)))
    assert single.dtype in (np.float32, np.complex64)
    assert_close(single, expected, contraction=contraction, scale=4.0)


def test_colour_photograph():
    x = colour()
    with jax.enable_x64(True):
        y = filters.gaussian(x, 2.0, axes=(0, 1), mode="nearest")
    assert_close(y, skimage.filters.gaussian(x, 2.0, channel_axis=-1), contraction=34, scale=1.0)


@pytest.mark.parametrize(("frequency", "theta", "more"), [(0.13, 0.4, {}), (0.3, -2.0, {"sigma_x": 2.0})])
def test_gabor_kernel_is_scikit_images(frequency, theta, more):
    options = {"bandwidth": 0.8, "n_stds": 2.5, "offset": 0.3, **more}
    theirs = skimage.filters.gabor_kernel(frequency, theta, **options)
    assert_close(filters.gabor_kernel(frequency, theta, **options), theirs, contraction=10)


def test_bank_holds_each_kernel_in_its_place():
    x, frequencies, thetas = grey()[:40, :50], [0.15, 0.4], [0.0, 0.6, 2.0]
    with jax.enable_x64(True):
        bank = filters.gabor_bank(np.stack([x.T, x.T]), frequencies, thetas, axes=(2, 1), mode="wrap")
    assert bank.shape == (2, 50, 40, 2, 3)
    for i, frequency in enumerate(frequencies):
        for j, theta in enumerate(thetas):
            real, imaginary = skimage.filters.gabor(x, frequency, theta, mode="wrap")
            assert_close(bank[1, ..., i, j], (real + 1j * imaginary).T, contraction=31**2, scale=1.0)


def test_bilateral_is_scikit_images_where_that_weights_right():
    """With equal weights in space: scikit-image 0.26 reads those of odd windows from tables of even ones.

    Its weights of values are a table of 10,000 steps, of colours at a third of the distance.
    """
    for x, sigma, axis in ((grey()[:60, :70], 0.1, None), (colour()[:30, :40], 0.3, -1)):
        theirs = skimage.restoration.denoise_bilateral(
            x, win_size=7, sigma_color=0.1, sigma_spatial=1e6, mode="symmetric", channel_axis=axis
        )
        with jax.enable_x64(True):
            ours = filters.bilateral(x, 1e6, sigma, radius=3, channel_axis=axis)
        # A step of 1e-4 changes a weight by at most 1e-4 / 0.1 · e^(-1/2), and so the mean.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=6.1e-4)
