"""Flax's Conv and ConvTranspose and lax.conv_transpose, by jaxconv's functions and documented conversions.

Flax runs in double precision: what is compared are conventions and jaxconv's own rounding.
"""

import itertools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv
from jaxconv.interop import flax as interop
from jaxconv.testing import assert_close
from tests.torch_cases import QUICKLY

# window, strides, kernel_dilation, padding, groups, size; windows odd and even, axes unlike each other.
CONV = [
    ((3,), (1,), (1,), "SAME", 1, (7,)),
    ((4,), (2,), (1,), "SAME", 1, (7,)),
    ((4,), (2,), (3,), "VALID", 1, (14,)),
    ((3,), (2,), (2,), "CAUSAL", 1, (8,)),
    ((4,), (1,), (2,), "CIRCULAR", 1, (7,)),
    ((4,), (2,), (1,), "REFLECT", 1, (6,)),
    ((3, 2), (2, 1), (1, 2), "SAME", 2, (6, 5)),
    ((3, 4), (1, 2), (2, 1), "CIRCULAR", 1, (5, 6)),
    ((2, 3), (1, 2), (2, 1), "REFLECT", 2, (5, 6)),
    ((2, 3), (2, 1), (1, 2), ((2, 0), (1, 3)), 1, (6, 5)),
    ((2, 3), (2, 1), (1, 1), (2, 1), 4, (6, 5)),
    ((3, 2), (1, 1), (1, 1), 1, 1, (4, 5)),
    ((2, 3, 2), (1, 2, 1), (1, 1, 2), "SAME", 2, (3, 4, 5)),
]


def conv_padding(padding, window, dilation):
    """`padding` and `padding_mode` of jaxconv.conv, as the head of jaxconv/interop/flax.py says."""
    if padding not in ("CIRCULAR", "REFLECT"):
        return padding, "zeros"
    spans = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    return [((span - 1) // 2, span // 2) for span in spans], padding.lower()


@pytest.mark.parametrize("library", ["nnx", "linen"])
@pytest.mark.parametrize(("window", "strides", "dilation", "padding", "groups", "size"), CONV)
def test_conv(library, window, strides, dilation, padding, groups, size, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, *size, 4)).astype(np.float32)
    options = {
        "strides": strides,
        "kernel_dilation": dilation,
        "padding": padding,
        "feature_group_count": groups,
    }
    y, kernel, bias = layer(library, "Conv", x, 8, window, options)
    pads, mode = conv_padding(padding, window, dilation)
    settings = {
        "stride": strides,
        "padding": pads,
        "padding_mode": mode,
        "dilation": dilation,
        "groups": groups,
    }
    kernel = interop.conv_kernel(kernel, shape=(*window, 4 // groups, 8))
    compare_layer(jaxconv.conv, (x, kernel, interop.bias(bias)), y, settings)


def layer(library: str, name: str, x: np.ndarray, features: int, window, options) -> tuple:
    """What a Flax layer with random parameters returns, in double precision, and its parameters."""
    if library == "nnx":
        module = getattr(nnx, name)(
            x.shape[-1], features, window, kernel_init=drawn, bias_init=drawn, rngs=nnx.Rngs(0), **options
        )
        call, kernel, bias = module, module.kernel[...], module.bias[...]
    else:
        module = getattr(flax.linen, name)(features, window, kernel_init=drawn, bias_init=drawn, **options)
        shapes = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
        kernel, bias = (drawn(None, shapes[name].shape, np.float32) for name in ("kernel", "bias"))
        call = lambda x: module.apply({"params": {"kernel": kernel, "bias": bias}}, x)  # noqa: E731
    with jax.enable_x64(True):
        y = jax.jit(lambda x: call(x), compiler_options=QUICKLY)(x.astype(np.float64))
    return np.asarray(y), kernel, bias


def drawn(_key, shape, dtype, **_) -> jax.Array:
    """A Flax initialiser that compiles nothing."""
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape), dtype)


def compare_layer(function, arrays, y: np.ndarray, options) -> None:
    """jaxconv's `function` of single-precision arrays is y, within the rounding errors of each element."""

    def run(*arrays):
        return function(*arrays, **options), function(*map(jnp.abs, arrays), **options)

    ours, scale = jax.jit(run, compiler_options=QUICKLY)(*arrays)
    kernel = arrays[1]
    assert_close(ours, y, contraction=kernel.size // min(kernel.shape[-2:]), scale=scale)


# window, strides, kernel_dilation, padding, size; spans below, at and above the stride.
CONV_TRANSPOSE = [
    ((3,), (1,), (1,), "SAME", (5,)),
    ((4,), (2,), (1,), "SAME", (5,)),
    ((2,), (3,), (1,), "SAME", (4,)),
    ((3,), (2,), (2,), "SAME", (4,)),
    ((4,), (1,), (1,), "VALID", (5,)),
    ((2,), (3,), (1,), "VALID", (4,)),
    ((4,), (2,), (1,), "CIRCULAR", (5,)),
    ((3,), (2,), (1,), "CIRCULAR", (4,)),
    ((4,), (1,), (2,), "CIRCULAR", (5,)),
    ((2,), (3,), (1,), "CIRCULAR", (4,)),
    ((5,), (1,), (3,), "CIRCULAR", (4,)),
    ((3,), (2,), (1,), 1, (4,)),
    ((3,), (2,), (1,), ((3, 0),), (4,)),
    ((3, 2), (2, 3), (1, 1), "SAME", (3, 4)),
    ((2, 3), (1, 2), (3, 1), "VALID", (4, 3)),
    ((4, 3), (2, 1), (1, 2), "CIRCULAR", (3, 5)),
    ((3, 2), (2, 2), (1, 2), ((1, 2), (4, 0)), (4, 3)),
    ((3, 4), (2, 2), (1, 1), (2, 1), (4, 3)),
    ((2, 3, 2), (2, 1, 2), (1, 2, 1), "SAME", (2, 3, 3)),
]


def convention(padding, window, strides, dilation, transpose_kernel) -> dict:
    """The options of jaxconv.conv_transpose that do what a Flax ConvTranspose does."""
    pads = interop.conv_transpose_padding(
        padding, window, strides=strides, kernel_dilation=dilation, transpose_kernel=transpose_kernel
    )
    mode = "circular" if padding == "CIRCULAR" else "zeros"
    return {"stride": strides, "padding": pads, "padding_mode": mode, "dilation": dilation}


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize(("window", "strides", "dilation", "padding", "size"), CONV_TRANSPOSE)
def test_conv_transpose(
    window, strides, dilation, padding, size, transpose_kernel, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((2, *size, 3)).astype(np.float32)
    options = {"strides": strides, "kernel_dilation": dilation, "padding": padding}
    options["transpose_kernel"] = transpose_kernel
    y, kernel, bias = layer("nnx", "ConvTranspose", x, 4, window, options)
    kernel = interop.conv_transpose_kernel(kernel, transpose_kernel=transpose_kernel, shape=(*window, 4, 3))
    settings = convention(padding, window, strides, dilation, transpose_kernel)
    arrays = x, kernel, interop.bias(bias)
    compare_layer(jaxconv.conv_transpose, arrays, y, settings)
    if padding in ("SAME", "VALID"):
        compare_layer(jaxconv.conv_transpose, arrays, y, settings | {"padding": padding})


@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", ((1, 2), (4, 0))])
def test_linen_conv_transpose(padding, transpose_kernel: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 4, 3, 3)).astype(np.float32)
    window, strides, dilation = (3, 4), (2, 1), (1, 2)
    options = {"strides": strides, "kernel_dilation": dilation, "padding": padding}
    options["transpose_kernel"] = transpose_kernel
    y, kernel, bias = layer("linen", "ConvTranspose", x, 4, window, options)
    kernel = interop.conv_transpose_kernel(kernel, transpose_kernel=transpose_kernel)
    settings = convention(padding, window, strides, dilation, transpose_kernel)
    compare_layer(jaxconv.conv_transpose, (x, kernel, bias), y, settings)


LAX = list(itertools.product(["SAME", "VALID", ((2, 1), (0, 3))], [False, True], [(1, 1), (2, 1), (1, 3)]))


@pytest.mark.parametrize(("padding", "transpose_kernel", "dilation"), LAX)
def test_lax_conv_transpose_and_its_gradients(
    padding, transpose_kernel: bool, dilation: tuple[int, int], rng: np.random.Generator
) -> None:
    """Through the conversion of the kernel, so that the gradient comes out in lax's layout."""
    window, strides = (3, 4), (2, 3)
    x = rng.standard_normal((2, 3, 4, 2))
    kernel = rng.standard_normal((*window, 5, 2) if transpose_kernel else (*window, 2, 5))
    settings = convention(padding, window, strides, dilation, transpose_kernel)

    def theirs(x, kernel):
        return lax.conv_transpose(x, kernel, strides, padding, dilation, transpose_kernel=transpose_kernel)

    def ours(x, kernel):
        kernel = interop.conv_transpose_kernel(kernel, transpose_kernel=transpose_kernel)
        return jaxconv.conv_transpose(x, kernel, **settings)

    with jax.enable_x64(True):
        compare(ours, theirs, (x, kernel), rng, contraction=2 * 12 * 12 * 5)


@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 2), (0, 1))])
def test_lax_consistent_padding_is_ours(padding, rng: np.random.Generator) -> None:
    """`use_consistent_padding` gives lax.conv_transpose PyTorch's meaning of pairs, which is jaxconv's."""
    x, kernel = rng.standard_normal((1, 4, 3, 2)), rng.standard_normal((3, 2, 5, 2))
    strides, dilation = (2, 1), (1, 2)

    def theirs(x, kernel):
        return lax.conv_transpose(
            x, kernel, strides, padding, dilation, transpose_kernel=True, use_consistent_padding=True
        )

    def ours(x, kernel):
        return jaxconv.conv_transpose(x, kernel, stride=strides, padding=padding, dilation=dilation)

    with jax.enable_x64(True):
        compare(ours, theirs, (x, kernel), rng, contraction=100)


@pytest.mark.parametrize(
    ("window", "stride", "dilation"), [(3, 1, 1), (4, 1, 1), (3, 3, 1), (4, 2, 1), (3, 2, 2)]
)
def test_circular_is_the_adjoint_here_always(
    window: int, stride: int, dilation: int, rng: np.random.Generator
) -> None:
    """And in Flax where the two paddings of docs/conventions.md agree."""
    size, span = 6, dilation * (window - 1) + 1
    x, g = rng.standard_normal((1, size, 2)), rng.standard_normal((1, size // stride, 3))
    kernel = rng.standard_normal((window, 2, 3))
    pairs, mode = conv_padding("CIRCULAR", (window,), (dilation,))
    options = {"stride": stride, "padding": pairs, "padding_mode": mode, "dilation": dilation}
    with jax.enable_x64(True):
        [expected] = jax.linear_transpose(lambda x: jaxconv.conv(x, kernel, **options), x)(g)
        ours = jaxconv.conv_transpose(g, kernel, output_shape=size, **options)
        assert_close(ours, np.asarray(expected), contraction=3 * window)
        layer = nnx.ConvTranspose(
            3,
            2,
            (window,),
            (stride,),
            padding="CIRCULAR",
            kernel_dilation=(dilation,),
            transpose_kernel=True,
            param_dtype=np.float64,
            rngs=nnx.Rngs(0),
        )
        layer.kernel[...] = jnp.asarray(kernel)
        agrees = np.allclose(layer(jnp.asarray(g)), expected)
    assert agrees is (-(-(span - stride) // 2) == (span - 1) // 2)


def compare(ours, theirs, operands, rng: np.random.Generator, contraction: int) -> None:
    """Values and both gradients of two functions, in double precision."""

    def run(function, *operands):
        y, vjp = jax.vjp(function, *operands)
        return y, *vjp(g)

    g = rng.standard_normal(jax.eval_shape(theirs, *operands).shape)
    both = jax.jit(lambda *operands: (run(ours, *operands), run(theirs, *operands)), compiler_options=QUICKLY)
    for got, wanted in zip(*both(*operands), strict=True):
        assert_close(got, np.asarray(wanted), contraction=contraction)


def test_the_layouts_differ(rng: np.random.Generator) -> None:
    """What a porter would see without the conversion: another result."""
    x, kernel = rng.standard_normal((1, 5, 3)), rng.standard_normal((3, 3, 3))
    expected = lax.conv_transpose(x.astype(np.float32), kernel.astype(np.float32), (2,), "VALID")
    with pytest.raises(AssertionError, match="differ"):
        assert_close(
            jaxconv.conv_transpose(
                x.astype(np.float32), kernel.astype(np.float32), stride=2, padding="VALID"
            ),
            np.asarray(expected),
            contraction=9,
        )
