"""Forward models against dense matrices, each operator against its adjoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import restore
from jaxconv.testing import assert_close
from tests.restore_oracle import PSFS, SHAPES, matrix

BOUNDARIES = ("circular", "zeros", "reflect", "valid", "unknown")


@pytest.mark.parametrize("name", PSFS)
def test_blur_is_its_matrix_and_the_adjoint_its_transpose(name: str, rng: np.random.Generator) -> None:
    psf, shape = PSFS[name], SHAPES[name]
    for boundary in BOUNDARIES:
        h = matrix(psf, shape, boundary)
        model = restore.Blur(psf, shape, boundary=boundary)
        x = rng.standard_normal(model.domain).astype(np.float32)
        y = rng.standard_normal(shape).astype(np.float32)
        options = {"contraction": psf.size, "label": f"{name} {boundary}"}
        assert_close(model(x), (h @ x.ravel()).reshape(shape), scale=abs(x).max(), **options)
        expected = (h.T @ y.ravel()).reshape(model.domain)
        assert_close(model.adjoint(y), expected, scale=4 * abs(y).max(), **options)


@pytest.mark.parametrize("name", PSFS)
def test_a_psf_that_is_not_known_while_tracing_takes_another_path(
    name: str, rng: np.random.Generator
) -> None:
    psf, shape, boundary = PSFS[name], SHAPES[name], BOUNDARIES[-1]
    model = restore.Blur(psf, shape, boundary=boundary)
    assert (model.otf is None) == (name != "large")
    y = rng.standard_normal(shape).astype(np.float32)
    traced = jax.jit(lambda psf, y: restore.Blur(psf, shape, boundary=boundary).adjoint(y))(psf, y)
    expected = (matrix(psf, shape, boundary).T @ y.ravel()).reshape(model.domain)
    assert_close(traced, expected, scale=4 * abs(y).max(), contraction=psf.size, label=f"{name} {boundary}")


def test_taps_are_slid_where_that_is_quicker() -> None:
    passes = lambda psf: [len(step.offsets) for step in restore.Blur(psf, (40, 40)).steps]  # noqa: E731
    assert passes(restore.psf.gaussian(2.0)) == [17, 17]
    assert passes(restore.psf.box((8, 6))) == [8, 6]
    assert passes(PSFS["small"]) == [8]  # of 12, the others being zero
    assert passes(PSFS["large"]) == []
    assert sum(passes(restore.psf.motion(15.0, 30.0))) < 50
    assert passes(np.zeros((3, 3))) == []


def test_circular_blur_of_a_size_that_transforms_badly() -> None:
    psf, y = PSFS["large"], np.random.default_rng(0).standard_normal((17, 13))
    model = restore.Blur(psf, y.shape, boundary="circular")
    expected = (matrix(psf, y.shape, "circular") @ y.ravel()).reshape(y.shape)
    assert_close(model(y.astype(np.float32)), expected, scale=abs(y).max(), contraction=psf.size)


def adjoint_gap(model: restore.Model, rng: np.random.Generator) -> float:
    """|<Hx, y> - <x, Hᵀy>|, relative to |Hx| |y|."""
    x = rng.standard_normal(model.domain).astype(np.float32)
    y = rng.standard_normal(model.shape).astype(np.float32)
    ahead, back = np.asarray(model(x), np.float64), np.asarray(model.adjoint(y), np.float64)
    return abs((ahead * y).sum() - (x * back).sum()) / np.linalg.norm(ahead) / np.linalg.norm(y)


@pytest.mark.parametrize("boundary", ["circular", "reflect", "unknown"])
def test_composed_models_have_their_adjoints(boundary: str, rng: np.random.Generator) -> None:
    psf = PSFS["large"].astype(np.float32)
    fine = restore.Blur(psf, (13, 11), boundary=boundary)
    psfs = rng.gamma(0.5, size=(2, 3, 3, 4)).astype(np.float32)
    models = [restore.Downsample(fine, (2, 3)), restore.TileBlur(psfs, (9, 11), boundary=boundary)]
    assert models[0].shape == (7, 4)
    for model in models:
        assert adjoint_gap(model, rng) < 1e-6
        wrong = type("Wrong", (), dict(domain=model.domain, shape=model.shape, adjoint=model.adjoint))
        wrong.__call__ = lambda _, x, model=model: model(x[::-1])
        assert adjoint_gap(wrong(), rng) > 1e-3  # the check can fail


def test_downsampling_takes_every_few_positions(rng: np.random.Generator) -> None:
    fine = restore.Blur(PSFS["small"], (9, 11), boundary="zeros")
    x = rng.standard_normal((9, 11)).astype(np.float32)
    assert np.array_equal(restore.Downsample(fine, (2, 3))(x), fine(x)[::2, ::3])


def test_tiles_of_one_psf_are_one_blur_and_others_are_mixed_between_the_centres(rng) -> None:
    psf = PSFS["small"].astype(np.float32)
    x = rng.standard_normal((12, 14)).astype(np.float32)
    whole = restore.Blur(psf, (10, 11), boundary="valid")
    tiles = restore.TileBlur(np.broadcast_to(psf, (3, 2, *psf.shape)), (10, 11), boundary="valid")
    assert_close(tiles(x), whole(x), scale=abs(x).max(), contraction=psf.size)
    two = restore.TileBlur(np.stack([psf, psf[::-1, ::-1]])[:, None], (10, 11), boundary="valid")
    other = restore.Blur(psf[::-1, ::-1].copy(), (10, 11), boundary="valid")
    share = np.interp(np.arange(10), [2, 7], [0, 1])[:, None]  # the centres of 5 + 5 rows
    expected = (1 - share) * whole(x) + share * other(x)
    assert_close(two(x), expected, scale=abs(x).max(), contraction=psf.size)


def test_blur_of_colours_stacks_and_under_transformations(rng: np.random.Generator) -> None:
    psf = PSFS["large"].astype(np.float32)
    x = rng.standard_normal((2, 17, 18, 3)).astype(np.float32)
    got = restore.blur(x, psf)
    assert got.shape == (2, 7, 9, 3)
    one = restore.Blur(psf, (7, 9), boundary="valid")
    each = jax.jit(jax.vmap(lambda p, x: restore.blur(x, p), (None, 0)))
    first = np.moveaxis(x, -1, 1)
    assert_close(np.moveaxis(got, -1, 1)[1], each(psf, first[1]), contraction=psf.size)
    assert_close(got[1, ..., 2], one(x[1, ..., 2]), contraction=psf.size)
    assert_close(
        restore.blur(first, psf, layout="channels_first"), np.moveaxis(got, -1, 1), contraction=psf.size
    )
    slope = jax.grad(lambda p: jnp.sum(restore.blur(x, p) ** 2))(jnp.asarray(psf))
    assert slope.shape == psf.shape
    assert np.isfinite(slope).all()
