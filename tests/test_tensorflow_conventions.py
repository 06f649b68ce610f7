"""TensorFlow's and Keras's SAME and VALID, from the formulas in their documentation; neither is imported.

    SAME    out = ceil(in / stride), total padding
            in % stride == 0:  max(filter - stride, 0)      else:  max(filter - in % stride, 0)
            of which total // 2 is in front
    VALID   out = ceil((in - filter + 1) / stride) (https://www.tensorflow.org/api_docs/python/tf/nn, "Notes
    on padding"; filter is the dilated filter's extent)

A transposed convolution is "the gradient of conv2d": tf.nn.conv2d_transpose names its output shape, Keras's
layers compute it. References here are loops over one axis and over every position; the worked numbers are
printed by Keras 3.15.
"""

import itertools
import math

import numpy as np
import pytest

import jaxconv
from jaxconv.interop import keras, tensorflow
from jaxconv.testing import assert_close

# size, filter, stride, dilation: stride dividing the size and not, filters longer and shorter than stride and
# size.
GEOMETRIES = [
    (n, k, s, d)
    for n, k, s, d in itertools.product((4, 5, 7), (1, 2, 3, 4), (1, 2, 3), (1, 2))
    if s == 1 or d == 1  # TensorFlow has no strided dilated convolution
]


def same_pads(size: int, extent: int, stride: int) -> tuple[int, int]:
    """The documented formula, which distinguishes two cases and names the filter only."""
    remainder = size % stride
    total = max(extent - (stride if remainder == 0 else remainder), 0)
    return total // 2, total - total // 2


def reference_conv(x: np.ndarray, kernel: np.ndarray, stride: int, dilation: int, padding: str) -> np.ndarray:
    """tf.nn.convolution along one axis, x (N, n, I), kernel (k, I, O), a loop over outputs and taps."""
    extent = dilation * (len(kernel) - 1) + 1
    size = x.shape[1]
    if padding == "SAME":
        out, (front, _) = math.ceil(size / stride), same_pads(size, extent, stride)
    else:
        out, front = max(math.ceil((size - extent + 1) / stride), 0), 0
    y = np.zeros((len(x), out, kernel.shape[2]))
    for o, k in itertools.product(range(out), range(len(kernel))):
        i = o * stride + k * dilation - front
        if 0 <= i < size:
            y[:, o] += x[:, i] @ kernel[k]
    return y


def reference_conv_transpose(
    x: np.ndarray, kernel: np.ndarray, out: int, stride: int, dilation: int, padding: str
) -> np.ndarray:
    """tf.nn.conv1d_transpose, kernel (k, O, I): inputs add their kernel to where a conv would have read."""
    front = same_pads(out, dilation * (len(kernel) - 1) + 1, stride)[0] if padding == "SAME" else 0
    y = np.zeros((len(x), out, kernel.shape[1]))
    for i, k in itertools.product(range(x.shape[1]), range(len(kernel))):
        o = i * stride + k * dilation - front
        if 0 <= o < out:
            y[:, o] += x[:, i] @ kernel[k].T
    return y


def draw(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "k", "stride", "dilation"), GEOMETRIES)
def test_conv(size: int, k: int, stride: int, dilation: int, padding: str, rng: np.random.Generator) -> None:
    x, kernel = draw(rng, (2, size, 3), (k, 3, 4))
    y = jaxconv.conv(x, tensorflow.conv_kernel(kernel), stride=stride, dilation=dilation, padding=padding)
    options = stride, dilation, padding
    scale = reference_conv(abs(x), abs(kernel), *options)
    assert_close(y, reference_conv(x, kernel, *options), contraction=3 * k, scale=scale)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "k", "stride", "dilation"), [g for g in GEOMETRIES if g[0] != 7])
def test_conv_transpose_with_each_output_shape(
    size: int, k: int, stride: int, dilation: int, padding: str, rng: np.random.Generator
) -> None:
    """All output shapes that TensorFlow accepts: those whose convolution has the input's size."""
    x, kernel = draw(rng, (2, size, 4), (k, 3, 4))
    extent = dilation * (k - 1) + 1
    shortest = (size - 1) * stride + (1 if padding == "SAME" else extent)
    for out in range(shortest, shortest + stride):
        y = jaxconv.conv_transpose(
            x,
            tensorflow.conv_transpose_kernel(kernel),
            stride=stride,
            dilation=dilation,
            padding=padding,
            output_shape=out,
        )
        options = out, stride, dilation, padding
        scale = reference_conv_transpose(abs(x), abs(kernel), *options)
        assert_close(y, reference_conv_transpose(x, kernel, *options), contraction=4 * k, scale=scale)


def test_each_axis_on_its_own_in_two_dimensions(rng: np.random.Generator) -> None:
    """A kernel that is a product of one for each axis: two references in a row are the result."""
    x, first, second = draw(rng, (1, 7, 6, 1), (3, 1, 1), (4, 1, 1))
    kernel = np.einsum("aio,bop->abip", first, second)
    along_rows = reference_conv(x[0].transpose(1, 0, 2), first, 2, 1, "SAME").transpose(1, 0, 2)
    expected = reference_conv(along_rows, second, 3, 1, "SAME")[None]
    y = jaxconv.conv(x, kernel, stride=(2, 3), padding="SAME")
    assert_close(y, expected, contraction=12)
    back = jaxconv.conv_transpose(y, kernel, stride=(2, 3), padding="SAME", output_shape=(7, 6))
    rows = reference_conv_transpose(np.asarray(y)[0].transpose(1, 0, 2), first, 7, 2, 1, "SAME")
    assert_close(
        back,
        reference_conv_transpose(rows.transpose(1, 0, 2), second, 6, 3, 1, "SAME")[None],
        contraction=12,
    )


# padding, filter, stride, output_padding, dilation and the result: keras.ops.conv_transpose of [1, 2, 3] with
# the kernel [1, 10, 100, ...], so that each digit of a result is the input that its tap met.
KERAS_TRANSPOSED = [
    ("same", 3, 1, None, 1, [12, 123, 230]),
    ("same", 3, 2, None, 1, [1, 10, 102, 20, 203, 30]),
    ("same", 4, 2, None, 1, [10, 102, 1020, 203, 2030, 300]),
    ("same", 4, 1, None, 1, [12, 123, 1230]),
    ("same", 5, 2, None, 1, [10, 102, 1020, 10203, 2030, 20300]),
    ("same", 2, 3, None, 1, [1, 10, 0, 2, 20, 0, 3, 30, 0]),
    ("same", 1, 2, None, 1, [1, 0, 2, 0, 3, 0]),
    ("same", 3, 2, 0, 1, [10, 102, 20, 203, 30]),
    ("same", 3, 2, 1, 1, [1, 10, 102, 20, 203, 30]),
    ("same", 4, 2, 0, 1, [102, 1020, 203, 2030]),
    ("same", 4, 2, 1, 1, [10, 102, 1020, 203, 2030]),
    ("same", 5, 3, 2, 1, [10, 100, 1002, 10020, 200, 2003, 20030, 300, 3000]),
    ("same", 2, 3, 1, 1, [1, 10, 0, 2, 20, 0, 3]),
    ("same", 3, 1, None, 2, [13, 20, 130]),
    ("same", 2, 1, None, 3, [2, 3, 10]),
    ("valid", 3, 1, None, 1, [1, 12, 123, 230, 300]),
    ("valid", 3, 2, None, 1, [1, 10, 102, 20, 203, 30, 300]),
    ("valid", 4, 1, None, 1, [1, 12, 123, 1230, 2300, 3000]),
    ("valid", 5, 2, None, 1, [1, 10, 102, 1020, 10203, 2030, 20300, 3000, 30000]),
    ("valid", 2, 3, None, 1, [1, 10, 0, 2, 20, 0, 3, 30, 0]),
    ("valid", 1, 2, None, 1, [1, 0, 2, 0, 3, 0]),
    ("valid", 3, 2, 0, 1, [1, 10, 102, 20, 203, 30, 300]),
    ("valid", 3, 2, 1, 1, [1, 10, 102, 20, 203, 30, 300, 0]),
    ("valid", 5, 3, 2, 1, [1, 10, 100, 1002, 10020, 200, 2003, 20030, 300, 3000, 30000, 0, 0]),
    ("valid", 2, 3, 1, 1, [1, 10, 0, 2, 20, 0, 3, 30, 0]),
    ("valid", 3, 1, None, 2, [1, 2, 13, 20, 130, 200, 300]),
    ("valid", 2, 1, None, 3, [1, 2, 3, 10, 20, 30]),
]


def decimal_kernel(k: int) -> np.ndarray:
    return (10.0 ** np.arange(k, dtype=np.float32)).reshape(k, 1, 1)


@pytest.mark.parametrize(
    ("padding", "k", "stride", "output_padding", "dilation", "expected"), KERAS_TRANSPOSED
)
def test_keras_conv_transpose(padding, k, stride, output_padding, dilation, expected) -> None:
    pads = keras.conv_transpose_padding(
        padding, (k,), strides=stride, output_padding=output_padding, dilation_rate=dilation
    )
    x = np.array([[[1], [2], [3]]], np.float32)
    kernel = keras.conv_transpose_kernel(decimal_kernel(k))
    y = jaxconv.conv_transpose(x, kernel, stride=stride, padding=pads, dilation=dilation)
    assert y.ravel().tolist() == expected
    if output_padding is None:
        named = jaxconv.conv_transpose(x, kernel, stride=stride, padding=padding, dilation=dilation)
        assert named.ravel().tolist() == expected


def deconv_output_length(size, filter_size, padding, output_padding, stride, dilation) -> int:
    """keras.utils.conv_utils.deconv_output_length (tf_keras 2), as it stands there."""
    filter_size = filter_size + (filter_size - 1) * (dilation - 1)
    if output_padding is None:
        if padding == "valid":
            return size * stride + max(filter_size - stride, 0)
        return size * stride
    pad = filter_size // 2 if padding == "same" else 0
    return (size - 1) * stride + filter_size - 2 * pad + output_padding


def test_keras_output_sizes() -> None:
    seen = 0
    for padding, size, k, stride, dilation in itertools.product(
        ("same", "valid"), (1, 4), (1, 2, 3, 6), (1, 2, 5), (1, 3)
    ):
        for extra in (None, *range(stride)):
            [(lo, hi)] = keras.conv_transpose_padding(
                padding, (k,), strides=stride, output_padding=extra, dilation_rate=dilation
            )
            length = (size - 1) * stride + dilation * (k - 1) + 1 - lo - hi
            assert length == deconv_output_length(size, k, padding, extra, stride, dilation)
            assert lo >= 0
            seen += 1
    assert seen > 200


# padding, size, filter, stride, dilation and the result: keras.ops.conv of [1, 2, ..., size] with [1, 10,
# 100, ...].
KERAS_CONV = [
    ("same", 5, 3, 1, 1, [210, 321, 432, 543, 54]),
    ("same", 5, 3, 2, 1, [210, 432, 54]),
    ("same", 6, 3, 2, 1, [321, 543, 65]),
    ("same", 7, 4, 2, 1, [3210, 5432, 7654, 76]),
    ("same", 7, 2, 3, 1, [21, 54, 7]),
    ("same", 5, 4, 1, 2, [4200, 5310, 420, 531, 42]),
    ("same", 4, 4, 1, 1, [3210, 4321, 432, 43]),
    ("same", 8, 5, 3, 1, [43210, 76543, 876]),
    ("valid", 5, 3, 2, 1, [321, 543]),
    ("valid", 6, 3, 2, 1, [321, 543]),
    ("valid", 7, 2, 3, 1, [21, 54]),
]


@pytest.mark.parametrize(("padding", "size", "k", "stride", "dilation", "expected"), KERAS_CONV)
def test_keras_conv(padding, size, k, stride, dilation, expected) -> None:
    x = np.arange(1, size + 1, dtype=np.float32).reshape(1, size, 1)
    y = jaxconv.conv(
        x, keras.conv_kernel(decimal_kernel(k)), stride=stride, padding=padding, dilation=dilation
    )
    assert y.ravel().tolist() == expected


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_and_separable(multiplier: int, rng: np.random.Generator) -> None:
    """tf.nn.depthwise_conv2d: output[..., i·M + m] = Σ input[strides·b + d, i]·filter[d, i, m]; then 1x1."""
    x, depthwise, pointwise = draw(rng, (1, 7, 4), (3, 4, multiplier), (1, 4 * multiplier, 5))
    expected = np.concatenate(
        [reference_conv(x[..., [i]], depthwise[:, [i]], 2, 1, "SAME") for i in range(4)], axis=-1
    )
    kernel = tensorflow.depthwise_kernel(depthwise)
    y = jaxconv.conv(x, kernel, stride=2, padding="SAME", groups=4)
    assert_close(y, expected, contraction=3)
    first, second = tensorflow.separable_kernels(depthwise, pointwise)
    z = jaxconv.conv(jaxconv.conv(x, first, stride=2, padding="SAME", groups=4), second)
    assert_close(z, expected @ pointwise[0], contraction=3 * 4 * multiplier)
