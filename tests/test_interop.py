"""Kernel conversions: every index goes where the documentation of the other library says it is."""

import doctest
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.interop import _layout, flax, keras, onnx, tensorflow, torch

CONV, CONV_TRANSPOSE = "conv_kernel", "conv_transpose_kernel"

# Where jaxconv's element [*w, i, o] of conv, or [*w, o, i] of conv_transpose, stands in the other library,
# and whether w counts from the window's other end there. Written from the libraries' documentation.
PLACES = {
    "torch conv": (torch, CONV, {}, lambda w, i, o: (o, i, *w), False),
    "torch transposed": (torch, CONV_TRANSPOSE, {}, lambda w, i, o: (i, o, *w), False),
    "onnx Conv": (onnx, CONV, {}, lambda w, i, o: (o, i, *w), False),
    "onnx ConvTranspose": (onnx, CONV_TRANSPOSE, {}, lambda w, i, o: (i, o, *w), False),
    "keras Conv": (keras, CONV, {}, lambda w, i, o: (*w, i, o), False),
    "keras ConvTranspose": (keras, CONV_TRANSPOSE, {}, lambda w, i, o: (*w, o, i), False),
    "tf conv": (tensorflow, CONV, {}, lambda w, i, o: (*w, i, o), False),
    "tf conv_transpose": (tensorflow, CONV_TRANSPOSE, {}, lambda w, i, o: (*w, o, i), False),
    "flax Conv": (flax, CONV, {}, lambda w, i, o: (*w, i, o), False),
    "flax ConvTranspose": (flax, CONV_TRANSPOSE, {}, lambda w, i, o: (*w, i, o), True),
    "flax transpose_kernel": (
        flax,
        CONV_TRANSPOSE,
        {"transpose_kernel": True},
        lambda w, i, o: (*w, o, i),
        False,
    ),
}


def functions(name):
    """theirs -> ours and ours -> theirs."""
    module, function, options, *_ = PLACES[name]
    there, back = getattr(module, function), getattr(module, f"to_{function}")
    return lambda array: there(array, **options), lambda array: back(array, **options)


@pytest.mark.parametrize("window", [(5,), (3, 4), (2, 3, 4), (2, 1, 3, 2)], ids=str)
@pytest.mark.parametrize("name", PLACES)
def test_every_element_is_in_its_place(name: str, window: tuple[int, ...]) -> None:
    to_ours, to_theirs = functions(name)
    _, function, _, place, reverse = PLACES[name]
    theirs = np.arange(np.prod(window) * 6).reshape(place(window, 2, 3))
    ours = to_ours(theirs)
    assert ours.shape == ((*window, 2, 3) if function == CONV else (*window, 3, 2))
    for *w, a, b in np.ndindex(*ours.shape):
        i, o = (a, b) if function == CONV else (b, a)
        there = [n - 1 - k for k, n in zip(w, window, strict=True)] if reverse else w
        assert ours[(*w, a, b)] == theirs[place(there, i, o)]
    np.testing.assert_array_equal(to_theirs(ours), theirs)


@pytest.mark.parametrize("name", PLACES)
def test_arrays_keep_their_kind_and_type(name: str, rng: np.random.Generator) -> None:
    values = rng.standard_normal((3, 4, 5, 2)).astype(np.float16)
    for convert in functions(name):
        assert type(convert(values)) is np.ndarray
        assert isinstance(convert(jnp.asarray(values)), jax.Array)
        assert convert(values).dtype == convert(jnp.asarray(values)).dtype == np.float16
        np.testing.assert_array_equal(convert(jnp.asarray(values)), convert(values))
        np.testing.assert_array_equal(jax.jit(convert)(values), convert(values))


def test_depthwise_is_input_channel_major(rng: np.random.Generator) -> None:
    theirs = rng.integers(-9, 9, (3, 2, 4, 5))  # window 3x2, in 4, multiplier 5
    ours = keras.depthwise_kernel(theirs, shape=(3, 2, 1, 20))
    for i, m in np.ndindex(4, 5):
        np.testing.assert_array_equal(ours[:, :, 0, i * 5 + m], theirs[:, :, i, m])
    np.testing.assert_array_equal(
        keras.to_depthwise_kernel(ours, depth_multiplier=5, shape=theirs.shape), theirs
    )
    assert keras.to_depthwise_kernel(ours).shape == (3, 2, 20, 1)


def test_separable(rng: np.random.Generator) -> None:
    theirs = rng.standard_normal((3, 2, 5)), rng.standard_normal((1, 10, 4))
    ours = keras.separable_kernels(*theirs)
    assert [kernel.shape for kernel in ours] == [(3, 1, 10), (1, 10, 4)]
    for kernel, back in zip(theirs, keras.to_separable_kernels(*ours, depth_multiplier=5), strict=True):
        np.testing.assert_array_equal(back, kernel)


@pytest.mark.parametrize("module", [torch, onnx, keras, tensorflow, flax])
def test_bias(module) -> None:
    bias = np.array([1.5, -2.0, 0.25])
    assert module.bias(bias, shape=(3,)) is bias
    assert module.bias(jnp.asarray(bias)).shape == (3,)
    with pytest.raises(ValueError, match=r"got shape \(3, 1\), wanted \(out,\)"):
        module.bias(bias[:, None])
    with pytest.raises(ValueError, match=r"got shape \(3,\), wanted \(4,\)"):
        module.bias(bias, shape=(4,))


class Parameter:
    """Neither array nor tensor, as torch.nn.Parameter and nnx.Param are to NumPy."""

    shape, ndim = (2, 3, 4), 3


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(
    "value", [[[[1.0]]], Parameter(), None, 3.0], ids=["list", "parameter", "None", "number"]
)
def test_refuses_what_is_no_array(name: str, value: object) -> None:
    for convert in functions(name):
        with pytest.raises(ValueError, match=r"got .*wanted a NumPy or JAX array \(.*; pass tensor\.detach"):
            convert(value)


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("shape", [(), (4,), (3, 4)], ids=str)
def test_refuses_a_rank_without_window(name: str, shape: tuple[int, ...]) -> None:
    for convert in functions(name):
        with pytest.raises(
            ValueError, match=rf"got rank {len(shape)}, .*wanted \(.*at least one window axis"
        ):
            convert(np.zeros(shape))


def test_names_the_layout_that_would_have_fitted() -> None:
    weight = np.zeros((5, 2, 3, 4))
    assert torch.conv_kernel(weight, shape=(3, 4, 2, 5)).shape == (3, 4, 2, 5)
    with pytest.raises(
        ValueError, match=r"\(out, in/groups, \*window\) gives .*it would fit as .*keras"
    ) as error:
        torch.conv_kernel(weight, shape=weight.shape)
    assert "jaxconv's (*window, in/groups, out)" in str(error.value)
    with pytest.raises(ValueError, match="no known layout of it fits"):
        torch.conv_kernel(weight, shape=(3, 4, 2, 6))
    # Flax's kernel under the other value of transpose_kernel.
    with pytest.raises(ValueError, match=r"it would fit as .*flax with transpose_kernel=True"):
        flax.conv_transpose_kernel(weight, shape=(5, 2, 3, 4))


def test_refuses_impossible_depthwise_and_separable_kernels() -> None:
    with pytest.raises(ValueError, match="takes 2 input channels per group"):
        keras.to_depthwise_kernel(np.zeros((3, 2, 4)))
    with pytest.raises(ValueError, match="depth_multiplier=3 must divide the kernel's 4 output channels"):
        keras.to_depthwise_kernel(np.zeros((3, 1, 4)), depth_multiplier=3)
    with pytest.raises(ValueError, match=r"depth_multiplier=2\.0 must divide .* as an int"):
        keras.to_depthwise_kernel(np.zeros((3, 1, 4)), depth_multiplier=2.0)  # type: ignore
    with pytest.raises(ValueError, match=r"wanted \(1, 1, 8, out\)"):
        keras.separable_kernels(np.zeros((3, 5, 2, 4)), np.zeros((1, 1, 4, 7)))
    with pytest.raises(ValueError, match=r"wanted \(1, 8, out\)"):
        keras.to_separable_kernels(np.zeros((3, 1, 8)), np.zeros((2, 8, 7)))


def test_refuses_a_shape_that_is_none() -> None:
    for convert, array in [(keras.conv_kernel, np.zeros((3, 1, 4))), (keras.bias, np.zeros(4))]:
        with pytest.raises(ValueError, match="shape=3 must be a tuple of ints"):
            convert(array, shape=3)  # type: ignore


def test_window_of_a_padding_may_be_numpys() -> None:
    for kernel_size in (np.int64(3), np.array(3), np.array([3]), [3]):
        wanted = keras.conv_transpose_padding("same", 3, strides=2)
        assert keras.conv_transpose_padding("same", kernel_size, strides=2) == wanted  # type: ignore
    for kernel_size in (3.5, None, (3, 2.0), True):
        with pytest.raises(ValueError, match="kernel_size="):
            keras.conv_transpose_padding("same", kernel_size)  # type: ignore
        with pytest.raises(ValueError, match="kernel_size="):
            flax.conv_transpose_padding("SAME", kernel_size)  # type: ignore


def test_refuses_unknown_paddings() -> None:
    with pytest.raises(ValueError, match="padding=None is not one of Keras's: use"):
        keras.conv_transpose_padding(None, 3)  # type: ignore
    with pytest.raises(ValueError, match="padding='causal' is not one of Keras's: use"):
        keras.conv_transpose_padding("causal", (3,))
    with pytest.raises(ValueError, match="padding='CAUSAL' is none of ConvTranspose's: use SAME"):
        flax.conv_transpose_padding("CAUSAL", (3,))
    with pytest.raises(ValueError, match="strides"):
        keras.conv_transpose_padding("same", (3, 2), strides=(1, 2, 3))
    with pytest.raises(ValueError, match="kernel_dilation"):
        flax.conv_transpose_padding("SAME", (3, 2), kernel_dilation=(1,))


def test_words_of_the_table_name_the_same_axes() -> None:
    for words in _layout.TABLE.values():
        assert len({frozenset(word.replace("~", "*")) for word in words.values()}) == 1


def test_the_examples_of_the_documentation_run() -> None:
    page = Path(__file__).parent.parent / "docs" / "conventions.md"
    outcome = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert outcome.attempted >= 10
    assert outcome.failed == 0
