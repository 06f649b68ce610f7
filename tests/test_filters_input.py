"""What filters refuse, and what each of them says; empty images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import filters

X = np.ones((4, 5), np.float32)
K = np.ones((3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filters.gaussian(X > 0, 1.0), r"dtype bool.*Cast it"),
        (lambda: filters.gaussian(1.0, 1.0), r"single number.*one dimension"),
        (lambda: filters.gaussian("photo.png", 1.0), r"x of type str"),
        (lambda: filters.gaussian(X, -1.0), r"sigma=-1\.0 must be finite and not negative"),
        (lambda: filters.gaussian(X, np.nan), r"sigma=nan must be finite"),
        (lambda: filters.gaussian(X, (1.0, 2.0, 3.0)), r"sigma=.* 3 entries; wanted one, or 2"),
        (lambda: filters.gaussian(X, 1.0, truncate=-4.0), r"truncate=-4\.0 must be finite and not negative"),
        (lambda: filters.gaussian(X, 1.0, truncate=np.inf), r"truncate=inf must be finite"),
        (lambda: filters.gaussian(X, 1.0, order=-1), r"order=-1 must not be negative"),
        (lambda: filters.gaussian(X, 1.0, radius=1.5), r"radius=1\.5.*must be an int"),
        (lambda: jax.jit(filters.gaussian)(X, 1.0), r"sigma is traced.*radius="),
        (lambda: filters.gaussian(X, 1.0, mode="symmetric"), r"mode='symmetric'.*reflect, mirror"),
        (lambda: filters.gaussian(X, 1.0, mode=("wrap",)), r"mode=.* 1 entries; wanted one, or 2"),
        (lambda: filters.gaussian(X, 1.0, axes=2), r"axes=2 must be axes of x, from -2 to 1"),
        (lambda: filters.gaussian(X, 1.0, axes=0.5), r"axes=0\.5 of type float must be an int"),
        (lambda: filters.gaussian(X, 1.0, axes=(0, -2)), r"axes=\(0, -2\) names an axis twice"),
        (lambda: filters.gaussian(X, 1.0, axes="channels_last"), r"has 2 dimensions.*axes=\(0, 1\)"),
        (lambda: filters.gaussian(X, 1.0, axes="NHWC"), r"axes='NHWC' is not known; use channels_last"),
        (lambda: filters.difference_of_gaussians(X, 2.0, 1.0), r"high_sigma=1\.0 must not be below"),
        (lambda: filters.box(X, 0), r"size=0 must be at least 1"),
        (lambda: filters.box(X, 4, origin=2), r"origin=2 leaves a window of 4; it may be from -2 to 1"),
        (lambda: filters.correlate(X, K[0]), r"kernel has 1 dimensions and the filter runs along 2"),
        (lambda: filters.correlate(X, np.ones((0, 3))), r"kernel has shape \(0, 3\).*none empty"),
        (lambda: filters.convolve(X, K, origin=-2), r"origin=.*it may be from -1 to 1"),
        (lambda: filters.correlate(X, np.eye(3), separable=True), r"no axis of the kernel.*splits off"),
        (lambda: jax.jit(lambda k: filters.correlate(X, k, separable=True))(K), r"known while tracing"),
        (lambda: filters.correlate(X, K, algorithm="winograds"), r"algorithm='winograds' is not known"),
        (lambda: filters.sobel(X, axis=0, axes=1), r"axis=0 is not one of the filtered axes \(1,\)"),
        (lambda: filters.sobel(X + 1j), r"complex64; filter its real and imaginary"),
        (lambda: filters.median(X + 1j), r"median compares values.*complex64"),
        (lambda: filters.median(X, footprint=np.zeros((3, 3))), r"footprint.* 0 true entries"),
        (lambda: filters.median(X, footprint=[1, 1]), r"footprint of shape \(2,\).*wanted 2 dimensions"),
        (lambda: filters.bilateral(X, 0.0, 1.0), r"sigma_spatial=0\.0 must be positive"),
        (lambda: filters.bilateral(X, 1.0, -1.0), r"sigma_color=-1\.0 must be positive"),
        (lambda: filters.bilateral(X, 1.0, 1.0, axes=(0, 1), channel_axis=1), r"channel_axis=1 is one of"),
        (lambda: jax.jit(filters.bilateral)(X, 1.0, 1.0), r"sigma_spatial is traced.*radius="),
        (lambda: filters.gabor_bank(X, [], [0.0]), r"must not be empty"),
        (lambda: filters.gabor_bank(X, [0.1], [0.0], axes=0), r"two axes, not 1"),
        (lambda: filters.gabor_kernel(0.0), r"frequency=0\.0.*must be positive"),
        (lambda: filters.gabor_kernel(0.1, sigma_x=-1.0), r"sigma_x=-1\.0.*must be positive"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_empty_images(shape):
    x = jnp.zeros(shape)
    for fn in (
        lambda x: filters.gaussian(x, 1.0),
        lambda x: filters.correlate(x, K),
        filters.box,
        filters.sobel,
        filters.laplace,
        filters.median,
        lambda x: filters.bilateral(x, 1.0, 1.0),
    ):
        assert fn(x).shape == shape
    assert filters.gabor_bank(x, [0.1], [0.0, 1.0]).shape == (*shape, 1, 2)
