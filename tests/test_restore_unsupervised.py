"""What the sampler of unsupervised Wiener draws: moments of quadratic forms, against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import restore
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


def test_precisions_have_the_means_of_their_posterior(rng: np.random.Generator) -> None:
    """Of which X is integrated out in closed form, and the two that are left by quadrature; an even width."""
    shape = (16, 18)
    psf = PSFS["small"] / PSFS["small"].sum()
    h, d = matrix(psf, shape, "circular"), differences(shape)
    scene = np.add.outer(np.sin(np.arange(16) / 2), np.cos(np.arange(18) / 2)).ravel()
    y = (h @ scene + 0.1 * rng.standard_normal(scene.size)).reshape(shape)
    data, gain, penalty = (abs(np.fft.fft2(a.reshape(shape))).ravel() ** 2 for a in (y, h[:, 0], d[:, 0]))
    noise, prior = np.meshgrid(np.geomspace(20, 400, 60), np.geomspace(0.05, 50, 60), indexing="ij")
    both = noise[..., None] * gain + prior[..., None] * penalty
    explained = (noise * prior)[..., None] * penalty * data / y.size / both
    # Jeffreys' priors are flat in the logarithms, and so is the grid.
    logarithm = y.size * np.log(noise) + (y.size - 1) * np.log(prior) - (np.log(both) + explained).sum(-1)
    density = np.exp((logarithm - logarithm.max()) / 2)
    density /= density.sum()
    assert max(density[[0, -1]].sum(), density[:, [0, -1]].sum()) < 1e-6
    options = {"iterations": 5000, "burn_in": 50, "stop": None, "boundary": "circular"}
    chosen = restore.unsupervised_wiener(y, psf, key=jax.random.key(0), **options).report.chosen
    for name, values in (("noise", noise), ("prior", prior)):
        np.testing.assert_allclose(chosen[name], (density * values).sum(), rtol=0.02, err_msg=name)
