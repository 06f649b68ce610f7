"""Derivatives through the methods, with respect to picture, PSF and hyper-parameters; vmap, jit, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import restore
from tests.restore_oracle import PSFS, SHAPES

PSF, SHAPE = PSFS["small"], SHAPES["small"]


def data(rng: np.random.Generator) -> jax.Array:
    return jnp.asarray(rng.gamma(2.0, size=SHAPE))


def richardson_lucy(y, psf, tv, **options):
    return restore.richardson_lucy(
        y, psf, tv=tv, iterations=6, accelerate=True, boundary="unknown", **options
    ).x


def fista(y, psf, weight, **options):
    return restore.fista(y, psf, weight, iterations=5, boundary="reflect", **options).x


def tikhonov(y, psf, weight):
    return restore.tikhonov(y, psf, weight).x


def wiener(y, psf, balance):
    return restore.wiener(y, psf, lambda f: balance * jnp.sum(f**2, 0), boundary="taper").x


def tiles(y, psf, tv):
    model = restore.TileBlur(jnp.stack([psf, jnp.flip(psf)])[:, None], SHAPE, boundary="reflect")
    return restore.richardson_lucy(y, model, tv=tv, iterations=3).x


@pytest.mark.parametrize("method", [richardson_lucy, fista, tikhonov, wiener, tiles])
def test_derivatives_are_differences(method, rng: np.random.Generator) -> None:
    with jax.enable_x64(True):
        args = (data(rng), jnp.asarray(PSF), jnp.asarray(0.03))
        test = jnp.asarray(rng.standard_normal(SHAPE))
        value = jax.jit(lambda *args: jnp.vdot(method(*args), test))
        slopes = jax.jit(jax.grad(value, (0, 1, 2)))(*args)
        directions = [jnp.asarray(rng.standard_normal(a.shape)) for a in args]
        size = 1e-6
        for i, (slope, direction) in enumerate(zip(slopes, directions, strict=True)):
            direction = direction * (args[i] > 0)  # a PSF stays as positive as it was
            there, back = (
                value(*[a + s * direction if i == j else a for j, a in enumerate(args)])
                for s in (size, -size)
            )
            difference = (there - back) / (2 * size)
            np.testing.assert_allclose(jnp.vdot(slope, direction), difference, rtol=2e-5, atol=1e-7)
        ahead = jax.jvp(value, args, tuple(directions))[1]
        np.testing.assert_allclose(ahead, sum(map(jnp.vdot, slopes, directions)), rtol=1e-9)


@pytest.mark.parametrize("method", [restore.richardson_lucy, restore.fista])
def test_a_picture_of_nothing_has_a_gradient(method) -> None:
    """Zeros, of which the brightest is dark, and even areas: no noise, and so no weight of FISTA."""
    slope = jax.jit(jax.grad(lambda y: jnp.sum(method(y, PSF, iterations=2).x ** 2)))
    for y in (jnp.zeros(SHAPE), jnp.zeros(SHAPE).at[2:5, 1:4].set(2.0)):
        assert np.isfinite(slope(y)).all()


def test_checkpointed_iterations_have_the_same_gradient(rng: np.random.Generator) -> None:
    y = data(rng)

    def slope(gradient: str, iterations: int) -> jax.Array:
        run = lambda y: restore.richardson_lucy(y, PSF, iterations=iterations, gradient=gradient).x  # noqa: E731
        return jax.jit(jax.grad(lambda y: jnp.sum(run(y) ** 2)))(y)

    np.testing.assert_allclose(slope("checkpoint", 7), slope("unrolled", 7), rtol=1e-4)


def test_checkpoints_and_implicit_derivatives_take_less_memory() -> None:
    y = jnp.ones((64, 64))

    def memory(gradient: str) -> int:
        run = lambda w: restore.fista(y, jnp.ones((3, 4)) / 12, w, iterations=100, gradient=gradient).x.sum()  # noqa: E731
        analysis = jax.jit(jax.grad(run)).lower(0.1).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    unrolled, checkpoint, implicit = (memory(g) for g in ("unrolled", "checkpoint", "implicit"))
    assert checkpoint < 0.4 * unrolled
    assert implicit < 0.4 * unrolled


@pytest.mark.parametrize("method", ["fista", "richardson_lucy"])
def test_implicit_and_unrolled_derivatives_agree_at_a_fixed_point(
    method: str, rng: np.random.Generator
) -> None:
    sharp = np.array([[0.0, 0.1, 0.05], [0.1, 0.7, 0.05]])  # well conditioned: 1,500 iterations get there
    y = 0.3 * data(rng) + 3  # no pixel of the scene comes near zero, where convergence is slow
    test = jnp.asarray(rng.standard_normal(SHAPE))

    def slopes(gradient: str, stop=None):
        def cost(y, psf, strength):
            common = {"iterations": 1500, "gradient": gradient, "stop": stop, "boundary": "circular"}
            if method == "fista":
                ridge = lambda v, s: v / (1 + s)  # noqa: E731
                x = restore.fista(y, psf, strength, denoiser=ridge, accelerate=False, **common).x
            else:
                x = restore.richardson_lucy(y, psf, background=strength, **common).x
            return jnp.vdot(x, test)

        return jax.jit(jax.grad(cost, (0, 1, 2)))(y, jnp.asarray(sharp), jnp.asarray(0.3))

    with jax.enable_x64(True):
        y, test = jnp.asarray(y, jnp.float64), jnp.asarray(test, jnp.float64)
        rule = restore.RelativeChange(1e-12)
        for got, wanted in zip(slopes("implicit", rule), slopes("unrolled"), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)


def test_parameters_of_a_denoiser_are_learned_through_it(rng: np.random.Generator) -> None:
    y = data(rng)

    def cost(p: jax.Array) -> jax.Array:
        shrink = lambda v, s: v / (1 + p * s)  # noqa: E731
        return jnp.sum(restore.fista(y, PSF, 0.1, denoiser=shrink, iterations=4).x ** 2)

    slope = jax.grad(cost)(jnp.asarray(1.0))
    assert float(slope) == pytest.approx(float(cost(1.01) - cost(0.99)) / 0.02, rel=1e-2)


def test_batches_colours_and_vmap_are_each_picture_alone(rng: np.random.Generator) -> None:
    psf = PSF.astype(np.float32)
    y = rng.gamma(2.0, size=(2, *SHAPE, 3)).astype(np.float32)
    rule = restore.RelativeChange(0.02)
    run = lambda y, **o: restore.richardson_lucy(y, psf, iterations=30, accelerate=True, stop=rule, **o)  # noqa: E731
    x, report = run(y)
    assert x.shape == y.shape
    assert len(set(report.iterations.tolist())) > 1  # each stops for itself
    alone, its = run(y[1, ..., 2])
    np.testing.assert_allclose(x[1, ..., 2], alone, rtol=2e-4)
    assert int(report.iterations[1 * 3 + 2]) == int(its.iterations)
    first = np.moveaxis(y, -1, 1)
    np.testing.assert_allclose(run(first, layout="channels_first").x, np.moveaxis(x, -1, 1), rtol=2e-4)
    mapped = jax.jit(jax.vmap(lambda y: run(y).x))(first[1])
    np.testing.assert_allclose(np.moveaxis(mapped, 0, -1), x[1], rtol=2e-4)
    # A PSF for each picture.
    psfs = np.stack([psf, psf[::-1]])
    each = jax.vmap(lambda y, p: restore.tikhonov(y, p, 0.1).x)(y[..., 0], psfs)
    np.testing.assert_allclose(each[1], restore.tikhonov(y[1, ..., 0], psfs[1], 0.1).x, rtol=1e-4, atol=1e-5)
    colours, report = restore.tikhonov(y, psf)
    assert colours.shape == y.shape
    assert report.chosen["weight"].shape == (6,)
