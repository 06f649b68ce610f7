"""Transposed convolutions in sub-pixel form, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv.testing import assert_close

# Kernel, stride, padding, output_padding, groups, out, in: kernels that the stride divides and others, one
# shorter than it, sides cropped unlike and beyond the kernel, and paddings by name.
CASES = [
    ((4,), (2,), 1, 0, 1, 2, 3),
    ((3,), (2,), 1, 1, 2, 2, 4),
    ((1,), (3,), 0, 2, 1, 1, 2),
    ((5,), (2,), "CAUSAL", 0, 1, 2, 2),
    ((3,), (1,), 1, 0, 1, 2, 3),
    ((5, 2), (2, 3), ((2, 1), (0, -1)), (1, 2), 2, 4, 6),
    ((4, 3), (2, 2), ((5, 0), (0, 3)), 0, 1, 2, 2),
    ((9, 9), (3, 3), "SAME", 0, 1, 1, 4),
    ((2, 3, 4), (3, 1, 2), "SAME_LOWER", 0, 3, 3, 6),
]


def cut(y, crop):
    inner = (slice(lo, n - hi) for (lo, hi), n in zip(crop, y.shape[1:-1], strict=True))
    return y[(slice(None), *inner)]


@pytest.mark.parametrize(("taps", "stride", "padding", "extra", "groups", "outer", "inner"), CASES, ids=str)
def test_is_the_transposed_convolution_and_comes_back(
    taps, stride, padding, extra, groups, outer, inner, rng
):
    kernel = rng.normal(size=(*taps, outer // groups, inner)).astype(np.float32)
    bias = rng.normal(size=outer).astype(np.float32)
    x = rng.normal(size=(2, *(5 + j for j in range(len(taps))), inner)).astype(np.float32)
    options = {"stride": stride, "output_padding": extra, "groups": groups}
    form = jaxconv.to_subpixel(kernel, bias, padding=padding, **options)

    @jax.jit
    def both(x):
        shuffled = jaxconv.pixel_shuffle(
            jaxconv.conv(x, form.kernel, form.bias, padding=form.padding, groups=groups), stride
        )
        wanted = jaxconv.conv_transpose(
            x, kernel, bias, padding=padding, algorithm="zero_insertion", **options
        )
        return cut(shuffled, form.crop), wanted

    y, wanted = both(x)
    assert_close(y, wanted, contraction=inner // groups * kernel[..., 0, 0].size)

    back = jaxconv.from_subpixel(
        form.kernel,
        form.bias,
        stride=stride,
        padding=form.padding,
        crop=form.crop,
        kernel_size=taps,
        groups=groups,
    )
    np.testing.assert_array_equal(back.kernel, kernel)
    np.testing.assert_array_equal(back.bias, bias)
    again = jaxconv.conv_transpose(
        x,
        back.kernel,
        back.bias,
        stride=stride,
        padding=back.padding,
        groups=groups,
        algorithm="zero_insertion",
    )
    np.testing.assert_array_equal(again, wanted)
    if isinstance(padding, int):
        assert back.padding == ((padding, padding - extra),) * len(taps)


def test_is_the_matrix_of_the_oracle(rng):
    """Against the definition, one weight at a time: y[i * stride + k - lo] += x[i] * kernel[k]."""
    kernel, x = rng.normal(size=5), rng.normal(size=4)
    full = np.zeros(3 * 3 + 5)
    for i in range(4):
        full[3 * i : 3 * i + 5] += x[i] * kernel
    form = jaxconv.to_subpixel(kernel.reshape(5, 1, 1).astype(np.float32), stride=3, padding=((2, 1),))
    y = jaxconv.conv(x.reshape(1, 4, 1).astype(np.float32), form.kernel, padding=form.padding)
    assert_close(cut(jaxconv.pixel_shuffle(y, 3), form.crop).ravel(), full[2:-1], contraction=2)


def test_a_layer_of_one_kind_becomes_the_other(rng):
    """With a padding of its own and no crop, as SubpixelConv has it."""
    kernel = rng.normal(size=(3, 2, 4, 12)).astype(np.float32)
    bias = np.repeat(rng.normal(size=2), 6).astype(np.float32)
    x = rng.normal(size=(1, 6, 5, 4)).astype(np.float32)
    y = jaxconv.pixel_shuffle(jaxconv.conv(x, kernel, bias, padding=((1, 1), (0, 1))), (2, 3))
    form = jaxconv.from_subpixel(kernel, bias, stride=(2, 3), padding=((1, 1), (0, 1)))
    assert form.kernel.shape == (6, 6, 2, 4)
    z = jaxconv.conv_transpose(x, form.kernel, form.bias, stride=(2, 3), padding=form.padding)
    assert_close(z, y, contraction=24)


def test_differentiates_and_traces(rng):
    """The weights are only moved, so gradients move with them."""
    kernel = jnp.asarray(rng.normal(size=(4, 2, 3)), jnp.float32)

    @jax.jit
    def there_and_back(kernel, bias):
        form = jaxconv.to_subpixel(kernel, bias, stride=2)
        back = jaxconv.from_subpixel(form.kernel, form.bias, stride=2, kernel_size=(4,))
        return back.kernel, back.bias

    bias = jnp.ones(2)
    jacobian = jax.jacrev(lambda k: there_and_back(k, bias)[0].ravel())(kernel).reshape(24, 24)
    np.testing.assert_array_equal(jacobian, np.eye(24))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: jaxconv.to_subpixel(k, stride=0), "stride=0 must be at least 1"),
        (lambda k: jaxconv.to_subpixel(k, stride=(2, 2)), "2 entries for 1 spatial"),
        (lambda k: jaxconv.to_subpixel(k, stride=2, groups=4), "groups=4 must divide in_channels=6"),
        (lambda k: jaxconv.to_subpixel(k, jnp.ones(3), stride=2), r"bias has shape \(3,\); wanted \(2,\)"),
        (lambda k: jaxconv.to_subpixel(k, stride=2, output_padding=2), "output_padding=2 .* below max"),
        (lambda k: jaxconv.to_subpixel(k, stride=2, padding="ALL"), "padding='ALL' is not known"),
        (lambda k: jaxconv.from_subpixel(k, stride=4), "divide 6 features"),
        (lambda k: jaxconv.from_subpixel(k, stride=2, kernel_size=(2,)), "the largest is"),
        (lambda k: jaxconv.from_subpixel(k, stride=2, kernel_size=(5,)), "drop taps that are not zero"),
        (
            lambda k: jaxconv.from_subpixel(k, jnp.arange(6.0), stride=2),
            "bias differs between the sub-pixels",
        ),
        (lambda k: jaxconv.from_subpixel(k[0], stride=2), "wanted .*one spatial dimension or more"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((3, 2, 6)))
