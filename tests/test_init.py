"""Initialisers: what the layer they start computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax.nn.initializers import he_normal, lecun_normal, normal, variance_scaling

import jaxconv
from jaxconv.nn import ConvTranspose, SubpixelConv, init
from jaxconv.testing import assert_close

KEY = jax.random.key(3)
calm = pytest.mark.filterwarnings("ignore::jaxconv.nn.CheckerboardWarning")


def repeat(x: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Nearest-neighbour upsampling of `(N, *spatial, C)`."""
    for axis, factor in enumerate(factors, 1):
        x = np.repeat(np.asarray(x), factor, axis=axis)
    return x


# transposed


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_transposed_moves_each_groups_channels(groups):
    kernel = init.transposed(normal(), groups=groups)(KEY, (3, 2, 12 // groups, 6), jnp.float16)
    drawn = normal()(KEY, (3, 2, 6 // groups, 12), jnp.float16)
    assert kernel.dtype == jnp.float16
    for g in range(groups):
        n, m = 6 // groups, 12 // groups
        np.testing.assert_array_equal(
            kernel[..., g * n : (g + 1) * n], drawn[..., g * m : (g + 1) * m].swapaxes(-1, -2)
        )


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("base", "gain"), [(lecun_normal(), 1.0), (he_normal(), 2.0)])
def test_fan_in_of_a_transposed_layer_is_its_own(base, gain, groups):
    """The standard deviation of n draws has a relative error of about 1/sqrt(2n): here under 0.6 %."""
    layer = ConvTranspose(64, 32, (5, 5), 5, feature_group_count=groups, kernel_init=base, rngs=nnx.Rngs(0))
    wanted = np.sqrt(gain / (25 * 64 / groups))
    assert np.std(layer.kernel[...]) == pytest.approx(wanted, rel=0.03)


def test_variance_scaled_by_the_strides_keeps_the_variance(rng):
    base = variance_scaling(4.0, "fan_in", "normal")
    layer = ConvTranspose(64, 64, (4, 4), (2, 2), kernel_init=base, rngs=nnx.Rngs(0))
    y = layer(jnp.asarray(rng.normal(size=(2, 16, 16, 64)), jnp.float32))[:, 4:-4, 4:-4]
    assert np.var(y) == pytest.approx(1.0, rel=0.1)


def test_transposed_refuses_groups_that_do_not_divide():
    with pytest.raises(ValueError, match=r"groups=4 must divide the 6 inputs .*\(3, 2, 6\)"):
        init.transposed(normal(), groups=4)(KEY, (3, 2, 6))


@pytest.mark.parametrize("wrap", [init.transposed, lambda base: init.icnr(2, base)])
def test_boxes_keep_their_metadata(wrap):
    names = ("k", "a", "b")
    boxed = wrap(linen.with_partitioning(normal(), names))(KEY, (3, 2, 6))
    assert boxed.names == names
    np.testing.assert_array_equal(boxed.value, wrap(normal())(KEY, (3, 2, 6)))
    boxed = wrap(nnx.with_metadata(normal(), mark=5))(KEY, (3, 2, 6))
    assert boxed.metadata["mark"] == 5
    np.testing.assert_array_equal(boxed.raw_value, wrap(normal())(KEY, (3, 2, 6)))


# bilinear


def long_shelhamer_darrell(kernel: int) -> np.ndarray:
    """The filter as FCN's own code writes it."""
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 else factor - 0.5
    return 1 - np.abs(np.arange(kernel) - centre) / factor


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
def test_bilinear_is_fcns_filter(stride):
    kernel = 2 * stride - stride % 2
    taps = long_shelhamer_darrell(kernel)
    got = init.bilinear(stride)(KEY, (kernel, kernel, 3, 3))
    wanted = np.multiply.outer(np.multiply.outer(taps, taps), np.eye(3))
    assert_close(got, wanted)


@calm
@pytest.mark.parametrize(("kernel_size", "strides"), [((4, 6), (2, 3)), ((5, 2), (2, 1)), ((3, 9), (3, 4))])
def test_bilinear_keeps_constants(kernel_size, strides):
    layer = ConvTranspose(
        3, 3, kernel_size, strides, padding="VALID", kernel_init=init.bilinear(strides), rngs=nnx.Rngs(0)
    )
    y = np.asarray(layer(jnp.broadcast_to(jnp.array([1.0, -2.0, 5.0]), (8, 8, 3))))
    inner = y[kernel_size[0] : -kernel_size[0], kernel_size[1] : -kernel_size[1]]
    assert_close(inner, np.broadcast_to([1.0, -2.0, 5.0], inner.shape), contraction=9)


@pytest.mark.parametrize(("kernel_size", "strides"), [((4,), (2,)), ((5, 8), (3, 4)), ((4, 3, 6), (2, 1, 2))])
@calm
def test_bilinear_is_linear_interpolation(kernel_size, strides, rng):
    """Where k - s is even, SAME centres the filter on half-pixel positions, those of jax.image.resize."""
    layer = ConvTranspose(2, 2, kernel_size, strides, kernel_init=init.bilinear(strides), rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.normal(size=(1, *(6, 5, 4)[: len(strides)], 2)), jnp.float32)
    shape = (1, *(n * s for n, s in zip(x.shape[1:-1], strides, strict=True)), 2)
    inner = (slice(None), *(slice(s, -s) for s in strides))
    assert_close(layer(x)[inner], jax.image.resize(x, shape, "linear")[inner], contraction=4)


@calm
def test_bilinear_with_a_kernel_of_odd_excess_stands_on_the_pixels(rng):
    layer = ConvTranspose(2, 2, 3, 2, kernel_init=init.bilinear(2), rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.normal(size=(1, 6, 2)), jnp.float32)
    y = layer(x)
    assert_close(y[:, 1::2], x)
    assert_close(y[:, 2::2], (x[:, 1:] + x[:, :-1]) / 2, contraction=2)


def test_bilinear_with_a_kernel_of_the_stride_repeats(rng):
    layer = ConvTranspose(2, 2, (3, 2), (3, 2), kernel_init=init.bilinear((3, 2)), rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.normal(size=(1, 4, 5, 2)), jnp.float32)
    assert_close(layer(x), repeat(x, (3, 2)))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_bilinear_pairs_channels_in_every_group(groups, rng):
    layer = ConvTranspose(
        6, 6, 4, 2, feature_group_count=groups, kernel_init=init.bilinear(2), rngs=nnx.Rngs(0)
    )
    bare = init.bilinear(2)(KEY, (4, 6 // groups, 6))
    np.testing.assert_array_equal(layer.kernel[...], bare)
    x = jnp.asarray(rng.normal(size=(1, 5, 6)), jnp.float32)
    one = init.bilinear(2)(KEY, (4, 1, 1))
    wanted = [jaxconv.conv_transpose(x[..., i : i + 1], one, stride=2, padding="SAME") for i in range(6)]
    assert_close(layer(x), jnp.concatenate(wanted, -1), contraction=2)


@pytest.mark.parametrize(
    ("shape", "strides", "message"),
    [
        ((2, 1, 1), 3, "kernel of at least the stride; got kernel=2, stride=3"),
        ((4, 4, 6), 2, "in_features == out_features"),
        ((4, 4, 1, 1), (2, 2, 2), "strides=.* has 3 entries for 2"),
    ],
)
def test_bilinear_refuses(shape, strides, message):
    with pytest.raises(ValueError, match=message):
        init.bilinear(strides)(KEY, shape)


# icnr


@pytest.mark.parametrize(("factor", "kernel_size"), [((2, 2), (3, 3)), ((3, 2), (1, 5)), ((4,), (3,))])
def test_icnr_starts_a_subpixel_layer_as_nearest_neighbour(factor, kernel_size, rng):
    layer = SubpixelConv(4, 3, kernel_size, factor, kernel_init=init.icnr(factor), rngs=nnx.Rngs(0))
    kernel = layer.kernel[..., :: int(np.prod(factor))]
    assert np.std(kernel) == pytest.approx(np.sqrt(1 / (4 * np.prod(kernel_size))), rel=0.5)
    x = jnp.asarray(rng.normal(size=(*(2, 6, 5, 4)[: 1 + len(factor)], 4)), jnp.float32)
    wanted = repeat(jaxconv.conv(x, kernel, padding="SAME"), factor)
    assert_close(layer(x), wanted, contraction=4 * int(np.prod(kernel_size)))


# kernel_size, strides, crop: whole blocks, blocks cut by SAME's crop, kernels no multiple of the stride.
SPREADS = [
    ((4, 6), (2, 2), None),
    ((6, 9), (2, 3), None),
    ((3, 5), (2, 4), None),
    ((4, 6), (2, 3), 0),
    ((4, 8), (2, 4), (1, 3)),
]


@calm
@pytest.mark.parametrize(("kernel_size", "strides", "crop"), SPREADS)
def test_icnr_starts_a_transposed_layer_as_nearest_neighbour(kernel_size, strides, crop, rng):
    """Each block of outputs is constant, and the layer is a small transposed convolution, then repetition."""
    draw = init.icnr_transpose(strides, crop=crop)
    if crop is None:
        los = tuple(max(k - s, 0) // 2 for k, s in zip(kernel_size, strides, strict=True))
        padding = "SAME"
    else:
        los = (crop, crop) if isinstance(crop, int) else crop
        padding = [(lo, k - s - lo) for lo, k, s in zip(los, kernel_size, strides, strict=True)]
    layer = ConvTranspose(
        4, 3, kernel_size, strides, padding=padding, kernel_init=draw, use_bias=False, rngs=nnx.Rngs(0)
    )
    x = jnp.asarray(rng.normal(size=(2, 6, 5, 4)), jnp.float32)
    y = np.asarray(layer(x))
    assert y.shape == (2, 6 * strides[0], 5 * strides[1], 3)
    assert np.std(y) > 0.1
    assert_close(y, repeat(y[:, :: strides[0], :: strides[1]], strides), contraction=4)

    # The small kernel, read off the large one: the taps that the first output of each block meets.
    starts = [lo % s for lo, s in zip(los, strides, strict=True)]
    small = layer.kernel[starts[0] :: strides[0], starts[1] :: strides[1]]
    pads = [
        (lo // s, small.shape[i] - 1 - lo // s) for i, (lo, s) in enumerate(zip(los, strides, strict=True))
    ]
    wanted = jaxconv.conv_transpose(x, small, padding=pads)
    assert_close(y, repeat(wanted, strides), contraction=4 * 9)


def test_icnr_transpose_has_the_fan_in_of_the_small_kernel():
    layer = ConvTranspose(64, 32, (6, 6), 2, kernel_init=init.icnr_transpose(2), rngs=nnx.Rngs(0))
    assert np.std(layer.kernel[...]) == pytest.approx(np.sqrt(1 / (9 * 64)), rel=0.05)


@pytest.mark.parametrize(
    ("draw", "shape", "message"),
    [
        (init.icnr(2), (3, 3, 4, 6), "6 features in kernel shape .* no multiple of 4"),
        (init.icnr((2, 2, 2)), (3, 3, 4, 8), "factor=.* has 3 entries for 2"),
        (init.icnr_transpose(3), (2, 4, 4), r"kernel \(2,\) holds no whole block of strides=3"),
        (init.icnr_transpose(2, crop=1), (2, 4, 4), "holds no whole block"),
        (init.icnr_transpose(2, crop=(1, 1)), (4, 4, 4), "crop=.* has 2 entries for 1"),
    ],
)
def test_icnr_refuses(draw, shape, message):
    with pytest.raises(ValueError, match=message):
        draw(KEY, shape)
