"""The loop: rules that stop it, callbacks, progress, reports; and what is chosen before it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import restore

NOISE = 0.02


@pytest.fixture(scope="module")
def observed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene of blocks, its PSF, and what was seen of it."""
    rng = np.random.default_rng(11)
    scene = np.kron(rng.random((8, 9)), np.ones((6, 6))).astype(np.float32)
    psf = np.asarray(restore.psf.gaussian((1.2, 1.8), shape=(8, 9)))
    y = restore.blur(scene, psf) + NOISE * rng.standard_normal((41, 46))
    return scene[3:44, 4:50], psf, np.asarray(y)


def test_noise_is_estimated_and_blur_hardly_matters(observed) -> None:
    _, _, y = observed
    assert float(restore.noise_level(y)) == pytest.approx(NOISE, rel=0.25)  # edges count too
    rng = np.random.default_rng(5)
    stack = rng.standard_normal((2, 30, 31, 32)) * np.array([1.0, 3.0])[:, None, None, None]
    np.testing.assert_allclose(restore.noise_level(stack, rank=3), [1, 3], rtol=0.05)
    key = jax.random.key(0)
    light = restore.noise.poisson(key, np.full((100, 99), 0.4), peak=50.0)
    assert float(light.var()) == pytest.approx(0.4 / 50, rel=0.1)
    assert float(light.mean()) == pytest.approx(0.4, rel=0.02)
    dark = restore.noise.gaussian(key, np.full((100, 99), 7), sigma=0.5)
    assert float(dark.std()) == pytest.approx(0.5, rel=0.05)


def test_rules_stop_when_they_say(observed) -> None:
    scene, psf, y = observed
    model = restore.Blur(psf, y.shape, boundary="valid")
    seen: dict[int, np.ndarray] = {}
    restore.richardson_lucy(y, model, iterations=400, callback=seen.__setitem__)
    jax.effects_barrier()
    errors = [np.square(seen[k][3:44, 4:50] - scene).mean() for k in (0, 399)]
    run = lambda rule: restore.richardson_lucy(y, model, iterations=400, stop=rule)  # noqa: E731
    for rule in (restore.RelativeChange(2e-3), restore.Discrepancy(NOISE, factor=1.02), restore.Whiteness()):
        x, report = run(rule)
        k = int(report.iterations)
        assert 1 < k < 400
        history = np.asarray(report.history)
        assert np.isfinite(history[:k]).all()
        assert np.isinf(history[k:]).all()
        error = np.square(x[3:44, 4:50] - scene).mean()
        assert error < min(errors)  # not too early, not too late
        assert f"{k} of 400 iterations: stopped by {type(rule).__name__}" in str(report)
        np.testing.assert_allclose(x, seen[k - 1], rtol=1e-3, atol=1e-4)
        left = np.asarray(y - model(seen[k - 2]))
        if isinstance(rule, restore.Discrepancy):
            assert np.sqrt(np.square(left).mean()) / NOISE == pytest.approx(history[k - 1], rel=1e-3)
            assert history[k - 1] <= 1.02 < history[k - 2]
        elif isinstance(rule, restore.Whiteness):
            assert int(history.argmin()) == k - 1 - rule.patience
            assert float(restore.whiteness(left)) == pytest.approx(history[k - 1], rel=1e-2)
        else:
            assert history[k - 1] <= 2e-3 < history[k - 2]
    counts = np.random.default_rng(0).poisson(50 * y.clip(0)).astype(float)
    x, report = restore.richardson_lucy(counts, psf, iterations=300, stop=restore.Discrepancy())
    predicted = restore.Blur(psf, y.shape, boundary="valid")
    assert int(report.iterations) < 300
    assert report.history[int(report.iterations) - 1] <= 1
    assert predicted.shape == x.shape
    _, report = run(restore.RelativeChange(0.0))
    assert "the limit came before RelativeChange" in str(report)


def test_white_noise_is_white_and_smooth_noise_is_not(rng: np.random.Generator) -> None:
    white = rng.standard_normal((60, 61)).astype(np.float32)
    assert float(restore.whiteness(white)) == pytest.approx(1, abs=0.6)
    assert float(restore.whiteness(white + np.roll(white, 1, 0))) > 20


def test_callbacks_see_each_iteration(observed, capsys: pytest.CaptureFixture[str]) -> None:
    _, psf, y = observed
    seen: dict[int, np.ndarray] = {}
    x, _ = restore.richardson_lucy(y, psf, iterations=4, callback=seen.__setitem__, boundary="zeros")
    jax.effects_barrier()
    assert sorted(seen) == [0, 1, 2, 3]
    np.testing.assert_array_equal(seen[3], x)
    again: list[int] = []
    rule = restore.RelativeChange(0.02)
    _, report = restore.fista(y, psf, 0.01, iterations=50, stop=rule, callback=lambda k, _: again.append(k))
    jax.effects_barrier()
    assert sorted(again) == list(range(int(report.iterations)))
    restore.richardson_lucy(y, psf, iterations=3, progress=True, boundary="zeros")
    assert "iteration 3" in capsys.readouterr().err


# Influence of a place: half the PSF in each direction, there and back, for each iteration.
def test_tiles_are_the_whole() -> None:
    rng = np.random.default_rng(3)
    psf = np.asarray(restore.psf.disk(1.5, shape=(5, 6)))
    scene = np.kron(rng.random((12, 13)), np.ones((8, 8))).astype(np.float32)
    y = restore.blur(scene, psf)
    run = lambda n: jax.jit(  # noqa: E731
        lambda y: restore.richardson_lucy(y, psf, iterations=n, start=0.5, boundary="reflect").x
    )
    short, long = run(3), run(30)
    whole, parts = short(y), restore.tiled(short, y, tile=(50, 55), overlap=3 * 5)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    whole = long(y)
    near, none = (restore.tiled(long, y, tile=50, overlap=overlap) for overlap in (12, 0))
    assert float(jnp.abs(near - whole).max()) < 0.01  # the bound that the docstring states
    assert float(jnp.abs(none - whole).max()) > 0.01
    stack = jnp.stack([y, y[::-1]])
    each = jax.jit(lambda t: restore.wiener(t, psf, 0.01, layout="channels_first").x)
    whole, parts = each(stack), restore.tiled(each, stack, tile=(60, 60), overlap=20)
    assert float(jnp.abs(parts - whole).max()) < 0.05
