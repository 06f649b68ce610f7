"""PSFs: where their light is, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import j1

from jaxconv import restore
from jaxconv.testing import assert_close

psf = restore.psf

MADE = {
    "gaussian": lambda: psf.gaussian((1.0, 2.5)),
    "gaussian of even size": lambda: psf.gaussian(1.0, shape=(10, 11)),
    "gaussian of three axes": lambda: psf.gaussian(1.0, rank=3),
    "box": lambda: psf.box((3, 4)),
    "disk": lambda: psf.disk(3.3),
    "ball": lambda: psf.disk(1.5, rank=3),
    "motion": lambda: psf.motion(9.0, 30.0),
    "trajectory": lambda: psf.trajectory(jax.random.key(3), (15, 18)),
    "airy": lambda: psf.airy(2.5),
}


@pytest.mark.parametrize("name", MADE)
def test_constructors_give_what_the_check_accepts(name: str) -> None:
    made = MADE[name]()
    psf.check(made, (64, 64, 64)[: made.ndim])
    assert np.asarray(made).sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(psf.offset(made)).max() <= 0.5 + 1e-4  # an even box has its centroid half a pixel early


def test_known_values() -> None:
    axis = np.arange(-4, 5)
    gauss = np.exp(-(axis**2) / 2)
    assert_close(psf.gaussian(1.0)[4], gauss / gauss.sum() * gauss[4] / gauss.sum(), contraction=9)
    v = 3.8317059702 * np.hypot(*np.mgrid[-3:4, -4:5]) / 2
    with np.errstate(invalid="ignore"):
        airy = np.where(v > 0, 2 * j1(v) / v, 1.0) ** 2
    assert_close(psf.airy(2.0, shape=(7, 9)), airy / airy.sum(), contraction=256)
    # A small one on a large frame, where nodes of an integral would be too few; amplitudes, that all count.
    v = 3.8317059702 * np.hypot(1e-9, np.arange(-300, 301)) / 0.9
    far = np.square(2 * j1(v) / v)
    amplitudes = np.sqrt(psf.airy(0.9, shape=(1, 601))[0])
    np.testing.assert_allclose(amplitudes, np.sqrt(far / far.sum()), atol=3e-6)
    assert np.isfinite(jax.grad(lambda r: psf.airy(r, shape=(1, 601))[0, 0])(0.9))
    # Motion towards the upper right: more columns, fewer rows.
    streak = np.asarray(psf.motion(8.0, 30.0))
    rows, columns = (
        np.mgrid[: streak.shape[0], : streak.shape[1]] - np.array(streak.shape)[:, None, None] // 2
    )
    covariance = np.array([[(streak * a * b).sum() for b in (rows, columns)] for a in (rows, columns)])
    assert covariance[0, 1] < 0
    along = np.linalg.eigh(covariance)[1][:, -1]
    assert np.degrees(np.arctan2(-along[0], along[1])) % 180 == pytest.approx(30, abs=1)
    length = psf.motion(8.0, 0.0).sum(0)
    assert float((length * jnp.square(jnp.arange(length.size) - length.size // 2)).sum()) == pytest.approx(
        64 / 12 + 1 / 6,
        rel=0.01,  # of a streak, and of the hat that a sample is
    )


def test_an_image_of_a_bead_is_cut_out_and_centred() -> None:
    image = np.full((20, 21), 7, np.uint16)
    image[3:6, 15:18] = [[8, 9, 8], [9, 20, 10], [8, 9, 8]]
    made = np.asarray(psf.from_image(image, shape=(5, 4)))
    assert made.shape == (5, 4)
    assert np.unravel_index(made.argmax(), made.shape) == (2, 2)
    assert made[2, 3] == pytest.approx(3 * made[1, 1], rel=1e-5)


def test_derivatives_of_the_parameters(rng: np.random.Generator) -> None:
    test = rng.standard_normal((13, 12)).astype(np.float32)

    def all_of(s):
        made = [psf.gaussian(s[0], shape=test.shape), psf.motion(s[1], s[2], shape=test.shape)]
        return jnp.stack([jnp.vdot(p, test) for p in [*made, psf.airy(s[3], shape=test.shape)]])

    at = jnp.array([1.3, 7.3, 25.0, 2.2])
    all_of = jax.jit(all_of)
    difference = [
        (all_of(at + 0.01 * e * at) - all_of(at - 0.01 * e * at)) / (0.02 * at @ e) for e in np.eye(4)
    ]
    slopes = jax.jit(jax.jacrev(all_of))(at)
    np.testing.assert_allclose(slopes, np.transpose(difference), rtol=0.05, atol=3e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: psf.check(np.ones((3, 3)) / 9, (2, 9)), "larger than data"),
        (lambda: psf.check([[-0.1, 1.1]]), "negative values, down to -0.1"),
        (lambda: psf.check([[np.nan, 1.0]]), "not finite"),
        (lambda: psf.check([[0.5, 0.6]]), "sums to 1.1"),
        (lambda: psf.check([0, 0, 0, 0, 1.0]), "off-centre"),
        (lambda: psf.gaussian(0.0), "sigma=0.0 must be positive"),
        (lambda: psf.motion(-1.0, 3.0), "length=-1.0 must be positive"),
        (lambda: psf.box((3, 0)), "positive integers"),
        (lambda: psf.disk(2.0, shape=(3.5, 2)), "positive integers"),
        (lambda: psf.trajectory(jax.random.key(0), (5,)), "two axes"),
        (lambda: psf.trajectory(jax.random.key(0), inertia=1.0), "inertia=1.0"),
        (lambda: psf.trajectory(jax.random.key(0), samples=1), "samples=1 make no path"),
        (lambda: psf.normalised([0.0, 0.0]), "sums to 0; wanted a finite number"),
        (lambda: psf.normalised([np.nan, 1.0]), "sums to nan"),
        (lambda: psf.splat(jnp.array([[9.0]]), (3,)), "sums to 0"),
        (lambda: psf.from_image(np.full((4, 4), 3)), "nothing above the background"),
        (lambda: psf.from_image([[np.inf, 1.0]]), "not finite"),
        (lambda: psf.centred(np.zeros((3, 3))), "sums to 0"),
        (lambda: psf.splat(jnp.zeros((4, 3)), (5, 5)), "do not fit"),
        (lambda: jax.jit(psf.gaussian)(1.0), "give a shape"),
        (lambda: psf.gaussian(1j), "real numbers"),
    ],
)
def test_mistakes_are_named(wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
