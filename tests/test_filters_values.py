"""Filters against their definitions over an image that NumPy extends, and against SciPy, in float64.

SciPy is no oracle everywhere: where a window reaches farther than an image is long, 1.17 has correlate and
median_filter read beyond their buffers. NumPy's `pad` is defined for every width.
"""

import itertools

import jax
import numpy as np
import pytest
import scipy.ndimage as ndi

from jaxconv import filters
from jaxconv.testing import assert_close

MODES = {
    "reflect": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
    "wrap": "wrap",
    "constant": "constant",
}
CVAL = 1.3
modes = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def windows(x, window, origin, mode):
    """What each position sees, (*x.shape, *window)."""
    before = [n // 2 + o for n, o in zip(window, origin, strict=True)]
    widths = [(b, n - 1 - b) for n, b in zip(window, before, strict=True)]
    options = {"constant_values": CVAL} if mode == "constant" else {}
    return np.lib.stride_tricks.sliding_window_view(np.pad(x, widths, MODES[mode], **options), window)


def weighted(x, kernel, origin, mode):
    return np.tensordot(windows(x, kernel.shape, origin, mode), kernel, kernel.ndim)


def middle(x, mask, origin, mode):
    seen = windows(x, mask.shape, origin, mode)[..., mask]
    return np.sort(seen, -1)[..., seen.shape[-1] // 2]


# (shape, window, origins): even and odd windows, as far off centre as can be, longer than the image.
CASES = [
    ((7,), (4,), (1,)),
    ((1,), (5,), (-2,)),
    ((3,), (20,), (9,)),
    ((5, 6), (3, 4), (-1, -2)),
    ((2, 7), (9, 1), (4, 0)),
    ((3, 2, 4), (2, 3, 5), (0, 1, -2)),
]


@modes
@pytest.mark.parametrize(("shape", "window", "origin"), CASES, ids=str)
def test_any_kernel(shape, window, origin, mode, rng):
    x, kernel = rng.normal(size=shape), rng.normal(size=window)
    options = {"mode": mode, "cval": CVAL, "origin": origin}
    expected = weighted(x, kernel, origin, mode)
    scale = weighted(abs(x), abs(kernel), origin, mode)
    ours = filters.correlate(x, kernel, **options)
    assert_close(ours, expected, contraction=kernel.size, scale=scale)
    # The convolution whose flipped kernel and turned origin give the same sum.
    turned = tuple(-o - (n % 2 == 0) for o, n in zip(origin, window, strict=True))
    if all(-(n // 2) <= o <= (n - 1) // 2 for o, n in zip(turned, window, strict=True)):
        flipped = filters.convolve(x, np.flip(kernel), **(options | {"origin": turned}))
        np.testing.assert_array_equal(flipped, ours)


@modes
def test_scipys_correlate_and_convolve(mode, rng):
    x, kernel = rng.normal(size=(9, 8)), rng.normal(size=(4, 3))
    for name, origin in itertools.product(("correlate", "convolve"), (0, (1, -1), (-2, 1))):
        options = {"mode": mode, "cval": CVAL, "origin": origin}
        expected = getattr(ndi, name)(x, kernel, **options)
        assert_close(
            getattr(filters, name)(x, kernel, **options), expected, contraction=12, label=f"{origin}"
        )


@modes
@pytest.mark.parametrize(("shape", "window", "origin"), CASES, ids=str)
def test_median(shape, window, origin, mode, rng):
    x = rng.normal(size=shape)
    expected = middle(x, np.ones(window, bool), origin, mode)
    ours = filters.median(x, window, mode=mode, cval=CVAL, origin=origin)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "uint8", "int32"])
@pytest.mark.parametrize("size", [(3, 3), (4, 3), (8, 9)])  # the last one by bisection
def test_median_selects_in_every_dtype(dtype, size, rng):
    x = (40 * rng.normal(size=(9, 11)) + 100 * (dtype == "uint8")).astype(dtype)
    mask = rng.random(size) > 0.1
    y = filters.median(x, footprint=mask)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, middle(x, mask, (0, 0), "reflect"))
    if dtype != "float16":  # which SciPy has not
        np.testing.assert_array_equal(filters.median(x, size), ndi.median_filter(x, size))


@modes
def test_gaussians_are_scipys(mode, rng):
    x = rng.normal(size=(6, 9))
    options = {"mode": mode, "cval": CVAL}
    for sigma, more in (
        ((0.8, 2.5), {}),  # the second reaches beyond the image
        ((0.0, 1.2), {"order": (0, 1), "truncate": 2.6}),
        (1.1, {"order": (2, 3), "radius": (4, 2)}),
    ):
        expected = ndi.gaussian_filter(x, sigma, **options, **more)
        ours = jax.jit(lambda x, s=sigma, m=more: filters.gaussian(x, s, **options, **m))
        assert_close(ours(x), expected, contraction=21, scale=4.0)
    assert_close(
        jax.jit(lambda x: filters.gaussian_laplace(x, (1.0, 1.4), **options))(x),
        ndi.gaussian_laplace(x, (1.0, 1.4), **options),
        contraction=40,
        scale=4.0,
    )


@modes
@pytest.mark.parametrize("size", [(3, 4), (25, 30), (31, 1)])  # sums of one step, and of two
def test_box_is_scipys(mode, size, rng):
    x = rng.normal(size=(33, 40))
    for origin in (0, (-1, 0)):
        options = {"mode": mode, "cval": CVAL, "origin": origin}
        ours = jax.jit(lambda x, o=options: filters.box(x, size, **o))(x)
        assert_close(ours, ndi.uniform_filter(x, size, **options), contraction=60)


@modes
def test_differences_are_scipys(mode, rng):
    x = rng.normal(size=(5, 4, 6))
    for axis in (0, 2):
        for name in ("sobel", "prewitt"):
            options = {"axis": axis, "normalize": False, "mode": mode}
            ours = jax.jit(lambda x, n=name, o=options: getattr(filters, n)(x, **o))
            assert_close(ours(x), getattr(ndi, name)(x, axis, mode=mode), contraction=27)
    options = {"mode": mode, "cval": CVAL}
    assert_close(filters.laplace(x, **options), ndi.laplace(x, **options), contraction=9)


def test_modes_differ_by_axis(rng):
    x, kernel = rng.normal(size=(4, 5)), rng.normal(size=(3, 4))
    wide = np.pad(np.pad(x, ((1, 1), (0, 0)), "wrap"), ((0, 0), (2, 1)), "edge")
    expected = np.tensordot(np.lib.stride_tricks.sliding_window_view(wide, (3, 4)), kernel, 2)
    assert_close(filters.correlate(x, kernel, mode=("wrap", "nearest")), expected, contraction=12)


def bilateral(x, sigma_spatial, sigma_color, radius, channel):
    """One pixel after the other; of a 2-D image with channels last or none."""
    x = x if channel else x[..., None]
    wide = np.pad(x, [(radius, radius)] * 2 + [(0, 0)], "symmetric")
    y = np.empty_like(x)
    near = np.arange(-radius, radius + 1) ** 2
    near = near[:, None] + near
    for i, j in np.ndindex(*x.shape[:2]):
        seen = wide[i : i + 2 * radius + 1, j : j + 2 * radius + 1]
        far = ((seen - x[i, j]) ** 2).sum(-1)
        weights = np.exp(-near / (2 * sigma_spatial**2) - far / (2 * sigma_color**2))
        y[i, j] = (weights[..., None] * seen).sum((0, 1)) / weights.sum()
    return y if channel else y[..., 0]


def test_bilateral_is_its_formula(rng):
    for x, sigma, axis in ((rng.normal(size=(6, 8)), 1.0, None), (rng.normal(size=(5, 7, 3)), 0.7, -1)):
        radius = 3
        ours = filters.bilateral(x, sigma, 0.8, channel_axis=axis, radius=radius)
        assert_close(ours, bilateral(x, sigma, 0.8, radius, axis is not None), contraction=49)
    x = rng.normal(size=(6, 9))  # 81 positions run in a loop; by default the radius is 3 sigma, at least 2
    assert_close(filters.bilateral(x, 1.3, 0.5), bilateral(x, 1.3, 0.5, 4, False), contraction=81)
    assert_close(filters.bilateral(x, 0.3, 0.5), bilateral(x, 0.3, 0.5, 2, False), contraction=25)
