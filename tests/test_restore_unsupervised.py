"""What the sampler of unsupervised Wiener draws: moments of quadratic forms, against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.restore import unsupervised
from jaxconv.restore.spectrum import multiplicity
from tests.restore_oracle import PSFS, differences, matrix


def test_moments_of_the_sums_are_those_of_the_posterior(rng: np.random.Generator) -> None:
    noise, prior = 30.0, 0.4
    for shape in ((6, 7), (5, 8)):
        h, d = matrix(PSFS["small"], shape, "circular"), differences(shape)
        y = rng.standard_normal(h.shape[0])
        spread = np.linalg.inv(noise * h.T @ h + prior * d.T @ d)
        mean = spread @ (noise * h.T @ y)
        forms = (h.T @ h, -2 * h.T @ (y - h @ mean)), (d.T @ d, 2 * d.T @ d @ mean)  # and their slopes
        sizes = np.array([np.square(y - h @ mean).sum(), np.square(d @ mean).sum()])
        means = sizes + [np.trace(form @ spread) for form, _ in forms]
        covariance = [
            [2 * np.trace(a @ spread @ b @ spread) + slope @ spread @ other for b, other in forms]
            for a, slope in forms
        ]
        transform = lambda x, shape=shape: np.fft.rfftn(x.reshape(shape), norm="backward")  # noqa: E731
        data, gain = abs(transform(y)) ** 2 / y.size, abs(transform(h[:, 0])) ** 2
        penalty = abs(transform(d[:, 0])) ** 2
        of = unsupervised.Powers(*map(jnp.asarray, (data, gain, penalty)), multiplicity(shape), jnp.ones(()))
        variance = 1 / jnp.asarray(noise * gain + prior * penalty)
        got, relative = unsupervised._moments(of, jnp.asarray(noise), jnp.asarray(prior), variance)
        np.testing.assert_allclose(got, means, rtol=1e-4)
        wanted = (np.asarray(covariance) / means / means[:, None])[[0, 0, 1], [0, 1, 1]]
        np.testing.assert_allclose(relative, wanted, rtol=1e-3, atol=1e-5)


def test_sums_have_the_moments_that_they_are_drawn_with(rng: np.random.Generator) -> None:
    means, relative = jnp.array([3.0, 50.0]), jnp.array([0.02, -0.01, 0.03])
    draw = jax.vmap(unsupervised._sums, (0, None, None))
    drawn = np.asarray(draw(jnp.asarray(rng.standard_normal((200_000, 2))), means, relative))
    np.testing.assert_allclose(drawn.mean(0), means, rtol=3e-3)
    got = (np.cov(drawn.T) / np.outer(means, means))[[0, 0, 1], [0, 1, 1]]
    np.testing.assert_allclose(got, relative, rtol=0.05)
