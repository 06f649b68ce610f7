"""Odd input gives finite pictures, and bad input sentences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import restore
from jaxconv.restore import extend

PSF = np.array([[0.0, 0.1, 0.0, 0.0], [0.1, 0.4, 0.2, 0.0], [0.0, 0.1, 0.1, 0.0]], np.float32)
METHODS = {
    "inverse": lambda y, psf: restore.inverse(y, psf),
    "wiener": lambda y, psf: restore.wiener(y, psf),
    "tikhonov": lambda y, psf: restore.tikhonov(y, psf),
    "discrepancy": lambda y, psf: restore.tikhonov(y, psf, rule="discrepancy", boundary="taper"),
    "unsupervised_wiener": lambda y, psf: restore.unsupervised_wiener(
        y, psf, key=jax.random.key(0), iterations=20, boundary="reflect"
    ),
    "richardson_lucy": lambda y, psf: restore.richardson_lucy(
        y, psf, iterations=10, damping=2.0, tv=0.01, accelerate=True, stop=restore.Whiteness()
    ),
    "fista": lambda y, psf: restore.fista(y, psf, 0.1, iterations=5, stop=restore.RelativeChange()),
    "blind": lambda y, psf: restore.blind(y, psf, iterations=3, stop=restore.Discrepancy(1.0)),
}


def pictures(rng: np.random.Generator) -> dict[str, np.ndarray]:
    eight = rng.integers(0, 255, (13, 14), np.uint8)
    sixteen = rng.integers(0, 65535, (13, 14)).astype(np.uint16)
    saturated = sixteen.copy()
    saturated[4:8, 5:9] = 65535
    return {
        "zeros": np.zeros((13, 14), np.float32),
        "one point": np.pad(np.ones((1, 1), np.float32), ((6, 6), (7, 6))),
        "constant": np.full((13, 14), 7.0, np.float32),
        "8 bits": eight,
        "16 bits": sixteen,
        "saturated": saturated,
        "negative": rng.standard_normal((13, 14)).astype(np.float32),
        "wide range": np.geomspace(1e-12, 1e12, 182, dtype=np.float32).reshape(13, 14),
    }


@pytest.mark.parametrize("method", METHODS)
def test_no_picture_gives_nan(method: str, rng: np.random.Generator) -> None:
    for name, y in pictures(rng).items():
        result = METHODS[method](y, PSF)
        assert result.x.shape == y.shape, name
        assert result.x.dtype == jnp.float32, name
        assert np.isfinite(result.x).all(), name
        if name == "constant" and method not in ("blind", "inverse"):
            np.testing.assert_allclose(result.x, 7.0, rtol=0.02, err_msg=method)
        assert str(result.report).startswith(method.replace("discrepancy", "tikhonov"))


def test_where_weights_are_zero_the_data_do_not_matter(rng: np.random.Generator) -> None:
    y = rng.random((9, 8)).astype(np.float32)
    weights = np.ones_like(y)
    weights[3, 4:6] = 0
    for method in (restore.richardson_lucy, restore.fista, restore.blind):
        run = functools.partial(method, psf=PSF, iterations=3, weights=weights, stop=restore.Discrepancy(0.1))
        left, dead = run(np.where(weights, y, 0)).x, run(np.where(weights, y, np.nan)).x
        assert np.isfinite(dead).all()
        np.testing.assert_array_equal(dead, left)


@pytest.mark.parametrize("method", ["tikhonov", "richardson_lucy", "fista"])
def test_a_psf_as_large_as_the_picture(method: str, rng: np.random.Generator) -> None:
    y = rng.random((9, 8)).astype(np.float32)
    psf = np.asarray(restore.psf.gaussian(1.5, shape=y.shape))
    assert np.isfinite(METHODS[method](y, psf).x).all()


def test_continued_pictures_are_periodic_and_keep_what_was_there() -> None:
    extended = jax.jit(extend.extend, static_argnums=2)
    y = np.add.outer(np.arange(20.0), 3 * np.arange(17.0)).astype(np.float32)
    for boundary in ("reflect", "liu_jia"):
        whole = np.asarray(extended(y, PSF, boundary))
        assert whole.shape == extend.grid(y.shape, PSF.shape, boundary)
        np.testing.assert_array_equal(whole[:20, :17], y)
        seams = [np.abs(np.diff(np.take(whole, [n - 1, n], a), axis=a)).max() for a, n in ((0, 20), (1, 17))]
        ends = [np.abs(np.diff(np.take(whole, [-1, 0], a), axis=a)).max() for a in (0, 1)]
        assert max(seams + ends) < 0.25 * 48  # circular has one of 48
    # The membrane: where nothing is given, each value is the mean of its neighbours.
    line = np.asarray(extended(y[:, 0], PSF[1], "liu_jia"))
    np.testing.assert_allclose(np.diff(line[19:], append=0), -19 / (line.size - 19), rtol=1e-3)
    tapered = extended(y, PSF, "taper")
    np.testing.assert_allclose(tapered[5:-5, 5:-5], y[5:-5, 5:-5], rtol=1e-4)
    assert abs(tapered[0, 0] - tapered[-1, -1]) < abs(y[0, 0] - y[-1, -1])


def test_borders_ring_less_than_periodic_ones(rng: np.random.Generator) -> None:
    scene = np.kron(rng.random((8, 9)), np.ones((8, 8))).astype(np.float32)
    psf = restore.psf.motion(7.0, 20.0)
    y = restore.blur(scene, psf)
    lo = [k - 1 - k // 2 for k in psf.shape]
    truth = scene[lo[0] : lo[0] + y.shape[0], lo[1] : lo[1] + y.shape[1]]
    error = {
        b: float(jnp.square(restore.tikhonov(y, psf, 1e-3, boundary=b).x - truth).mean())
        for b in ("circular", "reflect", "taper", "liu_jia")
    }
    assert max(error["reflect"], error["taper"], error["liu_jia"]) < 0.5 * error["circular"]


Y = np.ones((9, 10), np.float32)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: restore.richardson_lucy(Y, -PSF), "negative values"),
        (lambda: restore.richardson_lucy(Y, np.ones((10, 3)) / 30), "larger than data"),
        (lambda: restore.wiener(Y, np.ones((10, 3)) / 30), "larger than data"),
        (lambda: restore.richardson_lucy(Y, 1.0), "psf is a number"),
        (lambda: restore.richardson_lucy(Y[0], PSF), "fewer axes"),
        (lambda: restore.richardson_lucy(Y * 1j, PSF), "real numbers"),
        (lambda: restore.richardson_lucy(Y[:0], PSF), "empty"),
        (lambda: restore.richardson_lucy(Y, PSF, iterations=0), "iterations=0"),
        (lambda: restore.richardson_lucy(Y, PSF, boundary="mirror"), "boundary='mirror'"),
        (lambda: restore.wiener(Y, PSF, 0.1, boundary="unknown"), "boundary='unknown'"),
        (lambda: restore.richardson_lucy(Y, PSF, gradient="exact"), "gradient='exact'"),
        (lambda: restore.richardson_lucy(Y, PSF, stop=0.1), "stop=0.1 is no rule"),
        (
            lambda: restore.richardson_lucy(Y, PSF, gradient="checkpoint", stop=restore.Whiteness()),
            "leave stop",
        ),
        (lambda: restore.richardson_lucy(Y, PSF, weights=np.ones((3, 3))), "weights has shape"),
        (lambda: restore.richardson_lucy(Y, PSF, damping=0.0), "damping=0.0 must be positive"),
        (lambda: restore.richardson_lucy(Y, PSF, tv=Y), r"tv has shape \(9, 10\); wanted .*\(11, 13\)"),
        (lambda: restore.richardson_lucy(Y, PSF, start=Y), r"the scene has \(11, 13\)"),
        (lambda: restore.richardson_lucy(Y, PSF, layout="NHWC"), "layout='NHWC'"),
        (lambda: restore.richardson_lucy(Y, restore.Blur(PSF, (8, 9))), "build it for y"),
        (lambda: restore.wiener(Y, restore.Blur(PSF, (9, 10)), 0.1), "wants an array"),
        (lambda: restore.wiener(Y, PSF, np.ones((3, 3))), "balance has shape"),
        (lambda: restore.wiener(Y, PSF, noise=[0.1, 0.2]), r"noise has shape \(2,\); wanted one number"),
        (lambda: restore.tikhonov(Y, PSF, [0.1, 0.2]), r"weight has shape \(2,\); wanted one number\. Map"),
        (lambda: restore.tikhonov(Y, PSF, 0.1, operator=[1.0, -1.0]), r"operator has shape \(2,\); wanted 2"),
        (lambda: restore.tikhonov(Y, PSF, 0.1, operator=np.ones((2, 50))), r"none longer than"),
        (lambda: restore.tikhonov(Y, PSF, 0.1, operator=[[1j]]), "operator has dtype complex64"),
        (lambda: restore.tikhonov(Y, PSF, rule="lcurve"), "rule='lcurve'"),
        (lambda: restore.tikhonov(Y, PSF, operator="sobel"), "operator='sobel'"),
        (lambda: restore.unsupervised_wiener(Y, PSF, key=jax.random.key(0), burn_in=200), "burn_in=200"),
        (lambda: restore.fista(Y, PSF, 0.1, inner=0), "inner=0"),
        (lambda: restore.fista(Y, PSF, [0.1, 0.2]), r"weight has shape \(2,\); wanted one number, or"),
        (lambda: restore.fista(Y, -PSF, 0.1), "negative values"),
        (lambda: restore.blind(np.stack([Y, Y]), PSF), "jax.vmap"),
        (lambda: restore.blind(Y, PSF, psf_steps=-1), "psf_steps=-1"),
        (lambda: restore.semi_blind(Y, lambda p: PSF * p, 1.0, fit_steps=0), "fit_steps=0"),
        (lambda: restore.Downsample(restore.Blur(PSF, (9, 10)), 0), "factor=0"),
        (lambda: restore.TileBlur(np.ones((2, 3, 3)), (9, 10)), "psfs has shape"),
        (lambda: restore.blur(Y[:2], PSF), "does not fit"),
        (lambda: restore.tiled(lambda t: t, Y, tile=4, overlap=2), "leaves nothing"),
        (lambda: restore.tiled(lambda t: t[1:], Y, tile=6, overlap=2), "wanted the same"),
        (lambda: restore.noise_level(np.ones((5, 1))), "no differences"),
        (lambda: restore.noise.poisson(jax.random.key(0), Y, peak=0.0), "peak=0.0"),
        (lambda: restore.noise.gaussian(jax.random.key(0), Y, sigma=-1.0), "sigma=-1.0"),
    ],
)
def test_mistakes_are_named(wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


def test_an_off_centre_psf_is_told_of_and_can_be_meant(rng: np.random.Generator) -> None:
    away = np.zeros((5, 5), np.float32)
    away[4, 4] = 1
    y = rng.random((9, 10)).astype(np.float32)
    with pytest.warns(UserWarning, match=r"centroid \[2.0, 2.0\] pixels from its centre") as caught:
        moved = restore.richardson_lucy(y, away, iterations=2, boundary="circular").x
    assert caught[0].filename == __file__
    meant = restore.richardson_lucy(y, restore.Blur(away, y.shape, boundary="circular"), iterations=2).x
    np.testing.assert_allclose(moved, np.roll(y, (-2, -2), (0, 1)), rtol=1e-4)
    np.testing.assert_array_equal(moved, meant)
