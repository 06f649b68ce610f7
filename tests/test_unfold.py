"""unfold, fold and conv_matrix: a convolution as patches times a matrix, and as the matrix that it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.testing import assert_close, check_grads
from tests import oracle
from tests.cases import BY_NAME, CASES, Case

plain = pytest.mark.parametrize("case", [c for c in CASES if c.groups == 1], ids=lambda c: c.name)
MATRICES = [
    BY_NAME[name]
    for name in (
        "1d_dilated_strided",
        "1d_crop_low_pad_high_strided",
        "1d_no_window_fits",
        "1d_pad_exceeds_span",
        "2d_groups",
        "2d_groups_strided_dilated",
        "2d_depthwise_multiplier",
        "2d_crop_strided_dilated",
        "2d_in_channels_zero",
        "3d",
        "5d",
    )
]
matrices = pytest.mark.parametrize("case", MATRICES, ids=lambda c: c.name)


def geometry(case: Case) -> dict:
    return {name: value for name, value in case.options.items() if name != "groups"}


def as_matrix(kernel: np.ndarray) -> np.ndarray:
    """(*k, C, O) -> (K, O)."""
    return kernel.reshape(int(np.prod(kernel.shape[:-1])), kernel.shape[-1])


def patches_oracle(case: Case, x: np.ndarray) -> np.ndarray:
    """Patches as a convolution with the identity: one output channel for each (tap, channel)."""
    taps = case.kernel_shape[:-1]
    k = int(np.prod(taps))
    return oracle.forward(x, np.eye(k, dtype=x.dtype).reshape(*taps, k), **case.options)


@plain
def test_unfold_is_the_convolution_and_fold_the_adjoint(case, rng):
    """In integers, so exactly: patches are copies, patches @ kernel is conv(x, kernel), fold(g @ kernelᵀ) is
    the transposed convolution, and <unfold(x), p> = <x, fold(p)> for patches p that come from nowhere."""
    x, kernel, g = case.arrays(np.int32)
    want = patches_oracle(case, x)
    p = rng.integers(-8, 9, want.shape).astype(np.int32)

    @jax.jit
    def run(x, g, p):
        fold = lambda p: jaxconv.fold(p, case.size, case.kernel, **geometry(case))  # noqa: E731
        back = fold(g @ as_matrix(kernel).T) if case.channels[0] else jnp.zeros(x.shape, x.dtype)
        return jaxconv.unfold(x, case.kernel, **geometry(case)), fold(p), back

    patches, folded, back = run(x, g, p)
    np.testing.assert_array_equal(patches, want)
    np.testing.assert_array_equal(patches @ as_matrix(kernel), oracle.forward(x, kernel, **case.options))
    np.testing.assert_array_equal(back, oracle.input_grad(g, kernel, x.shape, **case.options))
    assert folded.shape == x.shape
    assert folded.dtype == x.dtype
    assert np.sum(want * p) == np.sum(x * folded)


def test_padding_may_crop_more_than_there_is():
    x = jnp.arange(1.0, 4.0).reshape(1, 3, 1)
    crop = ((-5, 0),)
    p = jaxconv.unfold(x, (2,), padding=crop)
    assert p.shape == (1, 0, 2)
    np.testing.assert_array_equal(jaxconv.fold(p, (3,), (2,), padding=crop), jnp.zeros_like(x))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_unfold_with_padding_modes(mode, rng):
    x = rng.integers(-8, 9, (2, 5, 6, 3)).astype(np.int32)
    pads = ((2, 1), (0, 3))
    numpy_mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), mode=numpy_mode)
    options = dict(padding=pads, padding_mode=mode, stride=(1, 2))
    patches = jaxconv.unfold(x, (3, 2), **options)
    np.testing.assert_array_equal(patches, jaxconv.unfold(padded, (3, 2), stride=(1, 2)))
    folded = jaxconv.fold(patches, (5, 6), (3, 2), **options)
    assert np.sum(patches**2) == np.sum(x * folded)


def test_layouts_and_unbatched(rng):
    """Channels-first moves the patch axis behind N and leaves its order (*k, C)."""
    x = rng.standard_normal((2, 7, 6, 3)).astype(np.float32)
    options = dict(stride=(2, 1), padding=((1, 0), (0, 2)), dilation=(1, 2))
    patches = jaxconv.unfold(x, (3, 2), **options)
    first = jaxconv.unfold(np.moveaxis(x, -1, 1), (3, 2), layout="channels_first", **options)
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), patches)
    np.testing.assert_array_equal(jaxconv.unfold(x[0], (3, 2), **options), patches[0])
    folded = jaxconv.fold(patches, (7, 6), (3, 2), **options)
    from_first = jaxconv.fold(first, (7, 6), (3, 2), layout="channels_first", **options)
    np.testing.assert_array_equal(np.moveaxis(from_first, 1, -1), folded)
    np.testing.assert_array_equal(jaxconv.fold(patches[0], (7, 6), (3, 2), **options), folded[0])


def test_unfold_and_fold_differentiate_and_map(rng):
    x = rng.standard_normal((2, 7, 6, 3)).astype(np.float32)
    options = dict(stride=(2, 1), padding=((1, 0), (0, 2)))
    unfold = lambda x: jaxconv.unfold(x, (3, 2), **options)  # noqa: E731
    fold = lambda p: jaxconv.fold(p, (7, 6), (3, 2), **options)  # noqa: E731
    check_grads(jax.jit(unfold), (x,), multilinear=True)
    check_grads(jax.jit(fold), (jax.jit(unfold)(x),), multilinear=True)
    stack = np.stack([x, 2 * x, -x])
    np.testing.assert_array_equal(jax.vmap(unfold)(stack), np.stack([unfold(a) for a in stack]))
    [adjoint] = jax.linear_transpose(unfold, x)(unfold(x))
    np.testing.assert_array_equal(jax.jit(fold)(unfold(x)), adjoint)


@matrices
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "bcoo"])
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_matrix_is_the_convolution_and_its_transpose_the_transposed(case, sparse, layout):
    """A @ x == conv(x) and A.T @ g == input_grad(g), exactly, in integers."""
    x, kernel, g = (a[0] if i != 1 else a for i, a in enumerate(case.arrays(np.int32)))
    y = oracle.forward(x[None], kernel, **case.options)[0]
    back = oracle.input_grad(g[None], kernel, (1, *x.shape), **case.options)[0]
    if layout == "channels_first":
        x, g, y, back = (np.moveaxis(a, -1, 0) for a in (x, g, y, back))
    A = jaxconv.conv_matrix(kernel, x.shape, sparse=sparse, layout=layout, **case.options)
    assert A.shape == (y.size, x.size)
    np.testing.assert_array_equal(A @ x.ravel(), y.ravel())
    np.testing.assert_array_equal(A.T @ g.ravel(), back.ravel())


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "bcoo"])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_matrix_with_padding_modes(mode, sparse, rng):
    """A border that repeats the inside meets the same element through several taps: entries add up."""
    x, kernel = (
        rng.standard_normal((5, 3, 2)).astype(np.float32),
        rng.standard_normal((3, 2, 2, 3)).astype(np.float32),
    )
    options = dict(padding=((2, 1), (1, 2)), padding_mode=mode)
    A = jaxconv.conv_matrix(kernel, x.shape, sparse=sparse, **options)
    want = jaxconv.conv(x, kernel, **options)
    assert_close(A @ x.ravel(), want.ravel(), contraction=12)


@matrices
def test_sparse_equals_dense_and_stores_what_touches(case):
    _, kernel, _ = case.arrays(np.float32)
    dense = jaxconv.conv_matrix(kernel, case.x_shape[1:], **case.options)
    sparse = jaxconv.conv_matrix(kernel, case.x_shape[1:], sparse=True, **case.options)
    np.testing.assert_array_equal(sparse.todense(), dense)
    ones = np.ones(case.kernel_shape)
    assert sparse.nse == oracle.forward(np.ones((1, *case.x_shape[1:])), ones, **case.options).sum()


def test_matrix_differentiates_in_the_kernel():
    case = BY_NAME["2d_groups"]
    x, kernel, g = (a[0] if i != 1 else a for i, a in enumerate(case.arrays(np.float32)))

    def matrix(kernel):
        return jaxconv.conv_matrix(kernel, x.shape, **case.options)

    check_grads(matrix, (kernel,), multilinear=True)
    W = jax.grad(lambda kernel: g.ravel() @ (matrix(kernel) @ x.ravel()))(jnp.asarray(kernel))
    assert_close(W, oracle.weight_grad(x[None], g[None], kernel.shape, **case.options), contraction=100)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: jaxconv.unfold(x, (3, 2, 2, 2)), "x has shape"),
        (lambda x: jaxconv.unfold(x, np.array([3, 2, 2, 2])), "x has shape"),
        (lambda x: jaxconv.unfold(x, (3, 2), stride=(1, 1, 1)), "stride"),
        (lambda x: jaxconv.unfold(x, 2, padding_mode="mirror"), "padding_mode"),
        (lambda x: jaxconv.fold(x, (7, 6), (3, 2)), "patches"),
        (lambda x: jaxconv.conv_matrix(x, (5, 5)), "input_shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((2, 7, 6, 3)))
