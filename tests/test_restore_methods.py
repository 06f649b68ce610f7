"""The methods against float64 oracles, against scikit-image, and in what they keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.restoration

from jaxconv import restore
from jaxconv.testing import assert_close
from tests import restore_oracle as oracle
from tests.restore_oracle import PSFS, SHAPES


def counts(name: str, boundary: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A PSF, its matrix, and counts of a scene that it blurred."""
    psf, shape = PSFS[name], SHAPES[name]
    h = oracle.matrix(psf, shape, boundary)
    scene = rng.gamma(0.5, 40.0, size=h.shape[1])
    return psf, h, rng.poisson(h @ scene + 2.0).astype(float)


@pytest.mark.parametrize(
    ("name", "boundary"), [("small", "zeros"), ("large", "unknown"), ("solid", "reflect")]
)
def test_richardson_lucy_is_its_formula(name: str, boundary: str, rng: np.random.Generator) -> None:
    psf, h, y = counts(name, boundary, rng)
    weights = (rng.random(y.shape) > 0.1).astype(float)
    expected = oracle.richardson_lucy(h, y, 12, b=2.0, w=weights)
    expected = oracle.frame(
        expected.reshape(oracle.domain(psf.shape, SHAPES[name], boundary)), psf.shape, SHAPES[name], boundary
    )
    with jax.enable_x64(True):
        shape = SHAPES[name]
        x, _ = restore.richardson_lucy(
            y.reshape(shape),
            psf,
            iterations=12,
            background=2.0,
            weights=weights.reshape(shape),
            boundary=boundary,
        )
        assert x.dtype == jnp.float64
        np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)


def test_one_step_methods_are_their_formulas(rng: np.random.Generator) -> None:
    psf, shape = PSFS["small"], SHAPES["small"]
    h, d = oracle.matrix(psf, shape, "circular"), oracle.differences(shape)
    y = rng.standard_normal(h.shape[0])
    n, options = h.shape[1], {"boundary": "circular"}
    with jax.enable_x64(True):
        picture = y.reshape(shape)

        def same(x: jax.Array, expected: np.ndarray) -> None:
            np.testing.assert_allclose(x, expected.reshape(shape), rtol=1e-8, atol=1e-8)

        same(
            restore.tikhonov(picture, psf, 0.02, **options).x,
            np.linalg.solve(h.T @ h + 0.02 * d.T @ d, h.T @ y),
        )
        identity = restore.tikhonov(picture, psf, 0.02, operator="identity", **options).x
        same(identity, np.linalg.solve(h.T @ h + 0.02 * np.eye(n), h.T @ y))
        same(restore.wiener(picture, psf, 0.02, **options).x, np.asarray(identity))
        kernel = np.array([[0.0, 1.0, 0.0], [0.5, -2.0, 0.0]])  # of even size, and asymmetric
        k = oracle.matrix(kernel, shape, "circular")
        penalised = restore.tikhonov(picture, psf, 0.02, operator=kernel, **options).x
        same(penalised, np.linalg.solve(h.T @ h + 0.02 * k.T @ k, h.T @ y))
        same(restore.inverse(picture, psf, threshold=0.0, **options).x, np.linalg.solve(h, y))
        # Wiener with nothing to balance inverts, and per frequency it is the same as the function.
        clean = (h @ y).reshape(shape)
        same(restore.wiener(clean, psf, 0.0, **options).x, y)
        spectrum = jnp.asarray(0.1 + rng.random((shape[0], shape[1] // 2 + 1)))
        by_function = restore.wiener(picture, psf, lambda f: 0.1 * jnp.sum(f**2, 0), **options).x
        f = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij")
        same(
            by_function, np.asarray(restore.wiener(picture, psf, 0.1 * (f[0] ** 2 + f[1] ** 2), **options).x)
        )
        transfer = np.fft.rfftn(h[:, 0].reshape(shape))  # H is circulant
        expected = np.fft.irfftn(
            transfer.conj() * np.fft.rfftn(picture) / (abs(transfer) ** 2 + spectrum), shape, axes=(0, 1)
        )
        same(restore.wiener(picture, psf, spectrum, **options).x, expected)


def test_generalised_cross_validation_and_discrepancy_choose_what_they_say(rng: np.random.Generator) -> None:
    psf, shape, noise = PSFS["small"], (18, 20), 0.05
    h, d = oracle.matrix(psf, shape, "circular"), oracle.differences(shape)
    scene = np.add.outer(np.sin(np.arange(18) / 3), np.cos(np.arange(20) / 2)).ravel()
    y = h @ scene + noise * rng.standard_normal(scene.size)

    def influence(weight: float) -> np.ndarray:
        return h @ np.linalg.solve(h.T @ h + weight * d.T @ d, h.T)

    def score(weight: float) -> float:
        left, n = np.eye(y.size) - influence(weight), y.size
        return np.square(left @ y).sum() / (n - (1 + 3 / n**0.5) * (n - np.trace(left))) ** 2

    options = {"boundary": "circular"}
    with jax.enable_x64(True):
        found = restore.tikhonov(y.reshape(shape), psf, rule="gcv", **options)
        weight = float(found.report.chosen["weight"])
        assert "weight = " in str(found.report)
        assert "chosen by generalised cross-validation" in str(found.report)
        assert score(weight) <= min(score(weight * f) for f in (0.1, 0.8, 1.25, 10)) * (1 + 1e-9)
        found = restore.tikhonov(y.reshape(shape), psf, rule="discrepancy", noise=noise, **options)
        left = y - influence(float(found.report.chosen["weight"])) @ y
        assert np.sqrt(np.square(left).mean()) == pytest.approx(noise, rel=1e-6)


def test_small_pictures_are_not_restored_to_their_noise(rng: np.random.Generator) -> None:
    psf, n = np.asarray(restore.psf.gaussian(1.2, shape=(7, 7))), 12
    steps = rng.standard_normal((60, n + 6, n + 6)).cumsum(1).cumsum(2)
    scenes = (steps / np.abs(steps).max((1, 2), keepdims=True)).astype(np.float32)
    y = restore.blur(scenes, psf, layout="channels_first")
    y = y + 0.02 * rng.standard_normal(y.shape).astype(np.float32)

    def errors(method, *args) -> np.ndarray:
        x = method(y, psf, *args, layout="channels_first").x
        return np.square(x - scenes[:, 3:-3, 3:-3]).mean((1, 2))

    best = np.min([errors(restore.tikhonov, weight) for weight in 10.0 ** np.arange(-4, 2)], 0)
    assert (errors(restore.tikhonov) / best).max() < 2.5
    assert (errors(restore.wiener) / best).max() < 40


def test_the_same_as_scikit_image_where_the_conventions_agree(rng: np.random.Generator) -> None:
    psf = PSFS["large"][:7, :7].astype(np.float32)  # odd: theirs has another centre for even sizes
    psf /= psf.sum()
    y = rng.random((40, 44)).astype(np.float32)
    theirs = skimage.restoration.wiener(y, psf, 0.03, clip=False)
    ours = restore.tikhonov(y, psf, 0.03, boundary="circular").x
    assert_close(ours, theirs, scale=10.0, contraction=y.size, eps=2**-23)
    # Theirs does not divide by Hᵀ1, which is felt three pixels further inside with each half iteration.
    theirs = skimage.restoration.richardson_lucy(y, psf, 3, clip=False)
    ours = restore.richardson_lucy(y, psf, iterations=3, start=0.5, boundary="zeros").x
    inside = (slice(3 * 6 - 3, -15),) * 2
    assert ours[inside].size > 50
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=2e-4)
    assert abs(ours[0, 0] - theirs[0, 0]) > 0.1 * theirs[0, 0]
    # Up to sampling: the posterior mean is one thing, and both approach it. Not theirs of an even width: the
    # highest frequencies count twice there, and its precisions come out 4 % and 8 % too small.
    scene = np.add.outer(np.sin(np.arange(40) / 4), np.cos(np.arange(45) / 3))
    y = np.asarray(restore.Blur(psf, scene.shape, boundary="circular")(jnp.asarray(scene, jnp.float32)))
    y = (y + 0.02 * rng.standard_normal(y.shape)).astype(np.float32)
    long = {"threshold": 0, "max_num_iter": 2000}
    theirs, chains = skimage.restoration.unsupervised_wiener(y, psf, clip=False, rng=1, user_params=long)
    long = {"iterations": 2000, "stop": None}  # tens of samples leave the noise open to a tenth
    ours, report = restore.unsupervised_wiener(y, psf, key=jax.random.key(0), boundary="circular", **long)
    assert np.abs(np.asarray(ours) - theirs).mean() < 0.1 * np.abs(scene - theirs).mean()
    assert float(report.chosen["noise"]) == pytest.approx(np.mean(chains["noise"][20:]), rel=0.03)
    assert float(report.chosen["noise"]) ** -0.5 == pytest.approx(0.02, rel=0.2)


def test_richardson_lucy_keeps_light_and_sign_for_a_thousand_iterations(rng: np.random.Generator) -> None:
    psf, _, y = counts("large", "circular", rng)
    y = y.reshape(SHAPES["large"]).astype(np.float32)
    for options in ({}, {"accelerate": True}):
        x, _ = restore.richardson_lucy(y, psf, iterations=1000, boundary="circular", **options)
        assert np.isfinite(x).all()
        assert x.min() >= 0
        assert float(x.sum()) == pytest.approx(y.sum(), rel=1e-4)


def likelihood(h: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    predicted = h @ np.asarray(x, float).ravel()
    return float((y * np.log(predicted) - predicted).sum())


def test_variants_of_richardson_lucy_do_what_they_are_for(rng: np.random.Generator) -> None:
    psf, shape = PSFS["small"], (20, 22)
    h = oracle.matrix(psf, shape, "zeros")
    scene = np.full(shape, 200.0)
    scene[6:13, 5:11] = 900
    y = rng.poisson(h @ scene.ravel()).astype(np.float32)
    run = lambda **o: restore.richardson_lucy(y.reshape(shape), psf, iterations=25, boundary="zeros", **o).x  # noqa: E731
    plain, quick = run(), run(accelerate=True)
    assert likelihood(h, quick, y) > likelihood(h, plain, y)
    rough = lambda x: np.abs(np.diff(x[14:], axis=0)).mean()  # noqa: E731  (where the scene is flat)
    for calmer in (run(damping=3.0), run(tv=0.03)):
        assert rough(calmer) < 0.75 * rough(plain)
        assert np.abs(calmer - scene).mean() < np.abs(plain - scene).mean()
    # A saturated pixel that is left out does no harm.
    burnt = y.copy().reshape(shape)
    burnt[9, 8] = 65535
    masked = restore.richardson_lucy(burnt, psf, iterations=25, boundary="zeros", weights=burnt < 60000)
    assert np.abs(masked.x - scene).mean() < 1.1 * np.abs(plain - scene).mean()


def test_total_variation_is_minimised(rng: np.random.Generator) -> None:
    psf, shape, weight = PSFS["small"], (10, 9), 0.05
    h = oracle.matrix(psf, shape, "reflect")
    y = rng.random(shape)

    def cost(x: np.ndarray) -> float:
        steps = [np.diff(x, axis=a, append=np.take(x, [-1], a)) for a in (0, 1)]
        return (
            0.5 * np.square(h @ x.ravel() - y.ravel()).sum() + weight * np.sqrt(np.square(steps).sum(0)).sum()
        )

    with jax.enable_x64(True):
        x = np.asarray(restore.fista(y, psf, weight, iterations=2000, inner=20, boundary="reflect").x)
    assert (x >= 0).all()
    best = cost(x)
    for _ in range(200):  # convex: what no small step improves is the minimum
        assert cost(np.maximum(x + 1e-3 * rng.standard_normal(shape) * rng.integers(0, 2, shape), 0)) > best
    flat = np.full(shape, y.mean())
    assert all(cost((1 - s) * x + s * other) > best for other in (flat, y) for s in (1e-3, 1e-2, 0.1))


def test_a_denoiser_takes_the_place_of_total_variation(rng: np.random.Generator) -> None:
    psf, shape = PSFS["small"], (10, 9)
    h, y = oracle.matrix(psf, shape, "circular"), rng.random(shape)
    ridge = lambda v, strength: v / (1 + strength)  # noqa: E731  (the prox of |x|²/2)
    with jax.enable_x64(True):
        x, _ = restore.fista(y, psf, 0.1, denoiser=ridge, positive=False, iterations=300, boundary="circular")
    expected = np.linalg.solve(h.T @ h + 0.1 * np.eye(h.shape[1]), h.T @ y.ravel())
    np.testing.assert_allclose(x, expected.reshape(shape), atol=1e-8)


def test_fewer_pixels_and_varying_psfs_are_restored_by_the_same_methods(rng: np.random.Generator) -> None:
    scene = rng.gamma(0.3, 50, size=(24, 26)).astype(np.float32)
    psf = np.asarray(restore.psf.gaussian(1.0, shape=(6, 7)))
    other = np.asarray(restore.psf.gaussian(1.6, shape=(6, 7)))
    fine = restore.Blur(psf, (24, 26), boundary="reflect")
    for model in (
        restore.Downsample(fine, 2),
        restore.TileBlur(np.stack([psf, other])[None], (24, 26), boundary="reflect"),
    ):
        y = model(scene)
        x, _ = restore.richardson_lucy(y, model, iterations=40)
        assert x.shape == scene.shape
        assert float(jnp.abs(model(x) - y).mean()) < 0.15 * float(jnp.abs(y - y.mean()).mean())


def test_blind_finds_more_of_the_psf_than_it_was_given(rng: np.random.Generator) -> None:
    scene = np.full((40, 44), 1.0, np.float32)
    scene[rng.integers(2, 38, 25), rng.integers(2, 42, 25)] = 800.0
    truth = np.asarray(restore.psf.motion(5.0, 50.0, shape=(7, 8)))
    y = rng.poisson(restore.blur(scene, truth, boundary="circular")).astype(np.float32)
    guess = np.asarray(restore.psf.gaussian(2.0, shape=(7, 8)))
    x, found, report = restore.blind(y, guess, boundary="circular")
    assert x.shape == y.shape
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert np.abs(found - truth).sum() < 0.2 * np.abs(guess - truth).sum()
    assert "30 of 30" in str(report)


def test_semi_blind_finds_the_parameter(rng: np.random.Generator) -> None:
    f = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64))
    f[0, 0] = 1
    scene = np.fft.irfftn(np.fft.rfftn(rng.standard_normal((64, 64))) / f, (64, 64), axes=(0, 1))
    scene = (scene - scene.min()).astype(np.float32)
    family = lambda p: restore.psf.gaussian(jnp.stack([p["rows"], p["columns"]]), shape=(11, 10))  # noqa: E731
    truth = {"rows": jnp.asarray(1.0), "columns": jnp.asarray(1.7)}
    y = restore.blur(scene, family(truth)) + 0.01 * rng.standard_normal((54, 55)).astype(np.float32)
    x, psf, report = restore.semi_blind(y, family, {"rows": 1.4, "columns": 1.4}, iterations=3)
    assert x.shape == y.shape
    assert psf.shape == (11, 10)
    for name, value in truth.items():
        assert float(report.chosen["params"][name]) == pytest.approx(float(value), rel=0.1)
