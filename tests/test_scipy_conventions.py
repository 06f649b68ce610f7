"""jaxconv.correlate and jaxconv.convolve are scipy.signal's, in every mode, rank and type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

import jaxconv
from jaxconv.testing import assert_close, check_grads

pytestmark = pytest.mark.usefixtures("every_element")

FUNCTIONS = {"convolve": jaxconv.convolve, "correlate": jaxconv.correlate}
MODES = ("full", "same", "valid")

# Odd and even on every axis, each longer than the other, equal, and a single element.
SHAPES = (
    ((9,), (4,)),
    ((8,), (3,)),
    ((4,), (9,)),
    ((5,), (5,)),
    ((6,), (1,)),
    ((1,), (4,)),
    ((7, 6), (3, 4)),
    ((3, 2), (6, 7)),
    ((5, 6), (5, 1)),
    ((5, 4, 6), (2, 3, 3)),
    ((2, 1, 3), (4, 4, 3)),
)


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    values = rng.standard_normal(shape)
    if np.issubdtype(dtype, np.complexfloating):
        values = values + 1j * rng.standard_normal(shape)
    return (4 * values).astype(dtype)


def compare(name: str, a: np.ndarray, b: np.ndarray, mode: str) -> None:
    theirs = getattr(scipy.signal, name)
    wide = [array.astype(np.result_type(array, np.float64)) for array in (a, b)]
    expected = theirs(*wide, mode, method="direct")
    scale = theirs(abs(a).astype(np.float64), abs(b).astype(np.float64), mode, method="direct")
    ours = FUNCTIONS[name](a, b, mode=mode)
    assert ours.shape == expected.shape
    assert ours.dtype == np.result_type(a, b)
    assert_close(ours, expected, contraction=min(a.size, b.size), scale=scale, label=f"{name} {mode}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_values(
    name: str, a: tuple[int, ...], b: tuple[int, ...], mode: str, rng: np.random.Generator
) -> None:
    compare(name, draw(rng, a, np.float32), draw(rng, b, np.float32), mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("a", "b"), [((7,), (4,)), ((3, 2), (4, 6)), ((5, 6), (2, 3))], ids=str)
def test_complex(
    name: str, a: tuple[int, ...], b: tuple[int, ...], mode: str, rng: np.random.Generator
) -> None:
    """correlate conjugates its second argument, convolve neither."""
    compare(name, draw(rng, a, np.complex64), draw(rng, b, np.complex64), mode)
    compare(name, draw(rng, a, np.float32), draw(rng, b, np.complex64), mode)
    compare(name, draw(rng, a, np.complex64), draw(rng, b, np.float32), mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_exactly(name: str, mode: str, rng: np.random.Generator) -> None:
    a, b = (rng.integers(-9, 10, shape).astype(np.int32) for shape in ((6, 5), (3, 2)))
    expected = getattr(scipy.signal, name)(a, b, mode)
    ours = FUNCTIONS[name](a, b, mode=mode)
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_double(name: str, rng: np.random.Generator) -> None:
    with jax.enable_x64(True):
        compare(name, draw(rng, (7, 6), np.float64), draw(rng, (3, 4), np.float64), "same")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_full_is_the_default(name: str, rng: np.random.Generator) -> None:
    a, b = draw(rng, (5,), np.float32), draw(rng, (3,), np.float32)
    np.testing.assert_array_equal(FUNCTIONS[name](a, b), FUNCTIONS[name](a, b, mode="full"))


def test_valid_exchanges_the_arguments_as_scipy_does(rng: np.random.Generator) -> None:
    """The larger array is slid over; a correlation then comes out reversed and conjugated."""
    a, b = draw(rng, (3, 2), np.complex64), draw(rng, (5, 6), np.complex64)
    forth, back = jaxconv.correlate(a, b, mode="valid"), jaxconv.correlate(b, a, mode="valid")
    assert_close(forth, np.asarray(back)[::-1, ::-1].conj(), contraction=6)
    assert_close(jaxconv.convolve(a, b, mode="valid"), jaxconv.convolve(b, a, mode="valid"), contraction=6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_valid_refuses_what_scipy_refuses(name: str) -> None:
    a, b = np.zeros((3, 6)), np.zeros((5, 2))
    with pytest.raises(ValueError, match="valid"):
        getattr(scipy.signal, name)(a, b, "valid")
    with pytest.raises(ValueError, match="valid"):
        FUNCTIONS[name](a, b, mode="valid")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_refusals(name: str) -> None:
    with pytest.raises(ValueError, match=r"mode='wrap'.*full"):
        FUNCTIONS[name](np.zeros(3), np.zeros(2), mode="wrap")
    with pytest.raises(ValueError, match=r"dimensions|rank"):
        FUNCTIONS[name](np.zeros((3, 3)), np.zeros(2))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str, mode: str, rng: np.random.Generator) -> None:
    a, b = draw(rng, (6, 5), np.float32), draw(rng, (3, 4), np.float32)
    check_grads(lambda a, b: FUNCTIONS[name](a, b, mode=mode), (a, b), multilinear=True)


def test_gradient_of_a_conjugated_kernel(rng: np.random.Generator) -> None:
    """d/dk of the real part of Σ ct·correlate(x, k), through the conjugation, from scipy itself."""
    x, k, ct = (draw(rng, (n,), np.complex64) for n in (7, 3, 5))
    loss = lambda k: jnp.sum(ct * jaxconv.correlate(x, k, mode="valid")).real  # noqa: E731
    basis = np.concatenate([np.eye(3), 1j * np.eye(3)])
    values = [np.sum(ct * scipy.signal.correlate(x, e, "valid", method="direct")).real for e in basis]
    # JAX's gradient of a real function is ∂/∂re - i ∂/∂im.
    assert_close(jax.grad(loss)(k), np.array(values[:3]) - 1j * np.array(values[3:]), contraction=15)
