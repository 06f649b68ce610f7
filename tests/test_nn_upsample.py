"""The NNX layers that enlarge, against functions, Flax, PyTorch and definitions; checkerboard warnings."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, PartitionSpec

import jaxconv
from jaxconv.interop import flax as interop
from jaxconv.nn import (
    CausalConv,
    CausalConvTranspose,
    CheckerboardWarning,
    Conv,
    ConvTranspose,
    ResizeConv,
    SubpixelConv,
)
from jaxconv.testing import assert_close
from tests import oracle

NORMAL = nnx.initializers.normal(1.0)
calm = pytest.mark.filterwarnings("ignore::jaxconv.nn.CheckerboardWarning")

# kernel_size, strides, kernel_dilation, groups, padding, output_padding of the layer; oracle's lo and out.
TRANSPOSES = {
    "default": ((4, 2), (2, 1), (1, 1), 1, "SAME", 0, (1, 0), (10, 4)),
    "larger stride": ((2, 3), (3, 2), (1, 1), 1, "SAME", 0, (0, 0), (15, 8)),
    "valid": ((3, 2), (2, 3), (1, 1), 1, "VALID", 0, (0, 0), (11, 12)),
    "int": ((3, 2), (2, 1), (1, 2), 2, 1, 0, (1, 1), (9, 4)),
    "pairs, extra": ((3, 2), (2, 3), (2, 1), 4, ((1, 2), (0, 1)), (1, 2), (1, 0), (11, 12)),
    "negative": ((3, 2), (2, 1), (1, 1), 1, ((-1, 0), (0, 2)), 0, (-1, 0), (12, 3)),
}


def bias_of(layer: nnx.Module) -> np.ndarray:
    return np.asarray(nnx.to_pure_dict(nnx.state(layer, nnx.Param))["bias"])


@calm
@pytest.mark.parametrize("case", TRANSPOSES)
def test_transpose_is_the_adjoint_of_a_convolution(case, rng):
    kernel_size, strides, dilation, groups, padding, extra, lo, out = TRANSPOSES[case]
    options = {"kernel_dilation": dilation, "feature_group_count": groups, "output_padding": extra}
    layer = ConvTranspose(
        4, 8, kernel_size, strides, padding=padding, bias_init=NORMAL, rngs=nnx.Rngs(0), **options
    )
    x = rng.normal(size=(2, 5, 4, 4)).astype(np.float32)
    kernel, bias = np.asarray(layer.kernel[...]), bias_of(layer)
    assert kernel.shape == (*kernel_size, 8 // groups, 4)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    axes = zip(x.shape[1:-1], strides, spans, lo, out, strict=True)
    pads = [(a, (n - 1) * s + span - a - size) for n, s, span, a, size in axes]
    wanted = bias + oracle.input_grad(
        x, kernel, (2, *out, 8), stride=strides, padding=pads, dilation=dilation, groups=groups
    )
    assert_close(layer(jnp.asarray(x)), wanted, contraction=24)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
@pytest.mark.parametrize(("kernel_size", "strides"), [((4, 3), (2, 1)), ((6, 2), (3, 2))])
def test_transpose_is_flaxs_with_transpose_kernel(kernel_size, strides, padding, rng):
    x = jnp.asarray(rng.normal(size=(2, 5, 4, 3)), jnp.float32)
    options = {"padding": padding, "bias_init": NORMAL}
    ours = ConvTranspose(3, 5, kernel_size, strides, rngs=nnx.Rngs(4), **options)
    theirs = nnx.ConvTranspose(3, 5, kernel_size, strides, transpose_kernel=True, rngs=nnx.Rngs(4), **options)
    assert ours.kernel.shape == theirs.kernel.shape
    np.testing.assert_array_equal(bias_of(ours), bias_of(theirs))
    theirs.kernel[...] = ours.kernel[...]
    assert_close(ours(x), theirs(x), contraction=36)


@calm
def test_transpose_draws_flaxs_default_kernel(rng):
    """Flax's default layout is ours with the channels exchanged: one draw, one fan-in."""
    ours = ConvTranspose(3, 5, (3, 2), 2, rngs=nnx.Rngs(4))
    theirs = nnx.ConvTranspose(3, 5, (3, 2), (2, 2), rngs=nnx.Rngs(4))
    np.testing.assert_array_equal(ours.kernel[...], theirs.kernel[...].swapaxes(-1, -2))
    ours.kernel[...] = interop.conv_transpose_kernel(theirs.kernel[...])
    x = jnp.asarray(rng.normal(size=(2, 5, 4, 3)), jnp.float32)
    assert_close(ours(x), theirs(x), contraction=24)


@calm
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
def test_circular_transpose_is_the_adjoint_of_the_circular_convolution(dilation, rng):
    conv = Conv(
        3, 5, (4, 3), (2, 3), padding="CIRCULAR", kernel_dilation=dilation, use_bias=False, rngs=nnx.Rngs(0)
    )
    back = ConvTranspose(
        5, 3, (4, 3), (2, 3), padding="CIRCULAR", kernel_dilation=dilation, use_bias=False, rngs=nnx.Rngs(0)
    )
    back.kernel[...] = conv.kernel[...]
    x = jnp.asarray(rng.normal(size=(2, 8, 12, 3)), jnp.float32)
    g = jnp.asarray(rng.normal(size=(2, 4, 4, 5)), jnp.float32)
    assert_close(back(g), jax.linear_transpose(conv, x)(g)[0], contraction=5 * 12)


def test_output_shape_of_the_layer_and_of_the_call(rng):
    x = jnp.asarray(rng.normal(size=(2, 5, 4, 3)), jnp.float32)
    layer = ConvTranspose(3, 2, (4, 4), 2, padding=1, output_shape=(11, 8), rngs=nnx.Rngs(0))
    plain = ConvTranspose(3, 2, (4, 4), 2, padding=1, rngs=nnx.Rngs(0))
    wanted = jaxconv.conv_transpose(x, plain.kernel[...], stride=2, padding=1, output_padding=(1, 0))
    assert_close(layer(x), wanted, contraction=12)
    assert_close(plain(x, output_shape=(11, 8)), wanted, contraction=12)
    assert layer(x, output_shape=(10, 9)).shape == (2, 10, 9, 2)
    with pytest.raises(ValueError, match=r"of 13 is impossible .* possible sizes are 10, 11"):
        plain(x, output_shape=(13, 8))


@calm
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transpose_is_pytorchs(rank, rng):
    torch = pytest.importorskip("torch")
    kernel_size, strides, dilation = (3, 2, 4)[:rank], (2, 3, 1)[:rank], (1, 2, 2)[:rank]
    theirs = getattr(torch.nn, f"ConvTranspose{rank}d")(
        4, 6, kernel_size, strides, padding=1, output_padding=1, groups=2, dilation=dilation
    )
    ours = ConvTranspose(
        4,
        6,
        kernel_size,
        strides,
        padding=1,
        output_padding=1,
        feature_group_count=2,
        kernel_dilation=dilation,
        rngs=nnx.Rngs(0),
    )
    ours.kernel[...] = jnp.asarray(np.moveaxis(theirs.weight.detach().numpy(), (1, 0), (-2, -1)))
    ours.bias = nnx.Param(jnp.asarray(theirs.bias.detach().numpy()))
    x = rng.normal(size=(2, *(5, 4, 3)[:rank], 4)).astype(np.float32)
    wanted = np.moveaxis(theirs(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).detach().numpy(), 1, -1)
    assert_close(ours(jnp.asarray(x)), wanted, contraction=48)


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_transpose_takes_any_number_of_batch_axes(batch, rng):
    layer = ConvTranspose(3, 5, (4, 2), 2, rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.normal(size=(*batch, 5, 4, 3)), jnp.float32)
    wanted = jaxconv.conv_transpose(
        x.reshape(-1, 5, 4, 3), layer.kernel[...], bias_of(layer), stride=2, padding="SAME"
    )
    assert_close(layer(x), wanted.reshape(*batch, 10, 8, 5), contraction=24)


def test_transpose_mask_and_dtypes(rng):
    mask = jnp.asarray(rng.integers(0, 2, size=(4, 2, 5, 3)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(2, 5, 4, 3)), jnp.float32)
    layer = ConvTranspose(3, 5, (4, 2), 2, mask=mask, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    wanted = jaxconv.conv_transpose(x, layer.kernel[...] * mask, stride=2, padding="SAME")
    assert layer.kernel[...].dtype == jnp.float32
    y = layer(x)
    assert y.dtype == jnp.bfloat16
    assert_close(y, wanted, contraction=24, eps=2.0**-8)
    grads = nnx.grad(lambda layer: layer(x).astype(jnp.float32).sum())(layer)
    assert grads["kernel"][...].dtype == jnp.float32
    assert not np.any(np.asarray(grads["kernel"][...])[np.asarray(mask) == 0])

    low = ConvTranspose(
        3, 5, (4, 2), 2, param_dtype=jnp.bfloat16, preferred_element_type=jnp.float32, rngs=nnx.Rngs(0)
    )
    assert low(x.astype(jnp.bfloat16)).dtype == jnp.float32
    assert low(jnp.ones((2, 5, 4, 3), jnp.int32)).dtype == jnp.float32
    assert low.kernel[...].dtype == bias_of(low).dtype == jnp.bfloat16


def test_transpose_carries_sharding_metadata():
    names = (None, None, "model", None)
    draw = nnx.with_metadata(NORMAL, out_sharding=names, mark=7)
    with jax.set_mesh(jax.make_mesh((8,), ("model",), axis_types=(AxisType.Auto,))):
        by_init = ConvTranspose(3, 8, (4, 2), 2, kernel_init=draw, rngs=nnx.Rngs(0))
        metadata = {"out_sharding": names}
        by_metadata = ConvTranspose(3, 8, (4, 2), 2, kernel_metadata=metadata, rngs=nnx.Rngs(0))
        assert by_init.kernel.get_metadata()["mark"] == 7
        for layer in (by_init, by_metadata):
            assert layer.kernel.shape == (4, 2, 8, 3)
            assert layer.kernel.sharding.spec == PartitionSpec(*names)
            spec = nnx.to_pure_dict(nnx.get_partition_spec(nnx.state(layer)))
            assert spec["kernel"] == PartitionSpec(*names)


@pytest.mark.parametrize(("kernel_size", "strides", "dilation"), [(4, 2, 1), (2, 3, 1), (3, 2, 3)])
@calm
def test_causal_transpose_sees_the_past_only(kernel_size, strides, dilation, rng):
    layer = CausalConvTranspose(
        2, 3, (kernel_size, 3), (strides, 2), kernel_dilation=(dilation, 1), rngs=nnx.Rngs(0)
    )
    x = jnp.asarray(rng.normal(size=(1, 6, 5, 2)), jnp.float32)
    y = layer(x)
    assert y.shape == (1, 6 * strides, 10, 3)
    changed = np.flatnonzero(np.abs(layer(x.at[:, 3].add(1.0)) - y).max(axis=(0, 2, 3)) > 1e-3)
    reached = 3 * strides + dilation * np.arange(kernel_size)
    np.testing.assert_array_equal(changed, reached[reached < 6 * strides])


def test_causal_layers_undo_each_others_rate(rng):
    x = jnp.asarray(rng.normal(size=(1, 12, 2)), jnp.float32)
    down, up = CausalConv(2, 4, 6, 3, rngs=nnx.Rngs(0)), CausalConvTranspose(4, 2, 6, 3, rngs=nnx.Rngs(0))
    assert up(down(x)).shape == x.shape


@pytest.mark.parametrize(("factor", "groups"), [(2, 1), ((3, 2), 2)])
def test_subpixel_is_a_convolution_and_a_shuffle(factor, groups, rng):
    layer = SubpixelConv(
        4, 6, (3, 2), factor, padding="VALID", feature_group_count=groups, bias_init=NORMAL, rngs=nnx.Rngs(0)
    )
    x = jnp.asarray(rng.normal(size=(2, 1, 5, 4, 4)), jnp.float32)
    block = 4 if factor == 2 else 6
    assert layer.kernel.shape == (3, 2, 4 // groups, 6 * block)
    flat = jaxconv.conv(x[:, 0], layer.kernel[...], bias_of(layer), groups=groups)
    wanted = jaxconv.pixel_shuffle(flat, (2, 2) if factor == 2 else factor)
    assert_close(layer(x), wanted[:, None], contraction=24)


def test_resize_by_nearest_is_repetition_and_a_convolution(rng):
    layer = ResizeConv(3, 5, (3, 2), (2, 3), bias_init=NORMAL, rngs=nnx.Rngs(0))
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    large = x.repeat(2, axis=1).repeat(3, axis=2)
    kernel, bias = np.asarray(layer.kernel[...]), bias_of(layer)
    wanted = bias + oracle.forward(large, kernel, stride=(1, 1), padding=((1, 1), (0, 1)), dilation=(1, 1))
    assert_close(layer(jnp.asarray(x)), wanted, contraction=18)
    assert_close(layer(jnp.asarray(x[0])), wanted[0], contraction=18)


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_resize_by_interpolation_keeps_a_ramp(method):
    """Output j stands at (j + 1/2)/3 - 1/2 of the input; away from the border both methods are exact."""
    layer = ResizeConv(1, 1, 1, 3, method=method, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0))
    y = layer(jnp.arange(8.0)[:, None])[:, 0]
    assert_close(y[6:-6], (np.arange(24) + 0.5)[6:-6] / 3 - 0.5, contraction=16)


@pytest.mark.parametrize(
    ("kernel_size", "strides", "dilation", "uneven"),
    [
        (4, 2, 1, False),
        (3, 2, 1, True),
        (3, 1, 1, False),
        (1, 2, 1, True),
        ((9, 4), (3, 2), 1, False),
        ((9, 4), (2, 3), 1, True),
        (4, 2, 3, False),
        (4, 2, 2, True),
        (3, None, None, False),
    ],
)
def test_warns_of_a_checkerboard_exactly_where_there_is_one(kernel_size, strides, dilation, uneven):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer = ConvTranspose(1, 1, kernel_size, strides, kernel_dilation=dilation, rngs=nnx.Rngs(0))
    assert [w.category for w in caught] == [CheckerboardWarning] * uneven
    assert all(w.filename == __file__ for w in caught)
    # By its definition: with a kernel and an input of ones, the inner outputs differ.
    layer = nnx.clone(layer)
    layer.kernel[...] = jnp.ones_like(layer.kernel[...])
    y = np.asarray(layer(jnp.ones((16,) * len(layer.kernel_size) + (1,))))[..., 0]
    inner = y[tuple(slice(n // 4, -n // 4) for n in y.shape)]
    assert (np.ptp(inner) > 0.5) == uneven


def test_checkerboard_warning_says_what_to_do():
    with pytest.warns(
        CheckerboardWarning, match=r"kernel_size=\(4, 6\), a multiple .*ResizeConv or SubpixelConv"
    ):
        ConvTranspose(1, 1, (3, 5), 2, rngs=nnx.Rngs(0))
    with pytest.warns(CheckerboardWarning, match="kernel_dilation that shares no divisor"):
        CausalConvTranspose(1, 1, 4, 2, kernel_dilation=2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("kind", "args", "options", "message"),
    [
        (
            ConvTranspose,
            (4, 6, 4),
            {"feature_group_count": 4},
            "4 must divide in_features=4 and out_features=6; .* 1, 2",
        ),
        (ConvTranspose, (4, 6, 4, (2, 2)), {}, r"strides=\(2, 2\) has 2 entries for 1 spatial"),
        (ConvTranspose, (4, 6, 4, 2), {"padding": "REFLECT"}, "padding='REFLECT' is not known.*CIRCULAR"),
        (ConvTranspose, (4, 6, 4, 2), {"padding": (1, 1)}, "has 2 entries for 1 spatial"),
        (
            ConvTranspose,
            (4, 6, 4, 2),
            {"padding": 1, "output_padding": 2},
            r"output_padding=2 .* below .*\[2\]",
        ),
        (ConvTranspose, (4, 6, 4, 2), {"output_padding": 1}, "padding='SAME' .* fixes"),
        (
            ConvTranspose,
            (4, 6, 4, 2),
            {"padding": 0, "output_padding": 1, "output_shape": 9},
            "output_shape=9 fixes",
        ),
        (ConvTranspose, (4, 6, (4, 4), 2), {"output_shape": (9,)}, r"output_shape=\(9,\) has 1 entries"),
        (ConvTranspose, (4, 6, 4), {"mask": jnp.ones((4, 4, 6))}, r"kernel's, \(4, 6, 4\)"),
        (CausalConvTranspose, (4, 6, 0), {}, "kernel_size=0 must be at least 1"),
        (SubpixelConv, (4, 6, 3, 0), {}, "factor=0 must be at least 1"),
        (SubpixelConv, (4, 6, (3, 3), (2, 2, 2)), {}, "factor=.* has 3 entries for 2 spatial"),
        (
            SubpixelConv,
            (4, 6, 3, 4),
            {"feature_group_count": 4},
            "must divide in_features=4 and out_features=6",
        ),
        (ResizeConv, (4, 6, 3, 2), {"method": "sinc"}, "method='sinc' is not known; .*nearest, linear"),
        (ResizeConv, (4, 6, 3, 2), {"method": "cubic_pytorch"}, "is not known; .*cubic-pytorch"),
        (ResizeConv, (4, 6, 3, 2), {"method": 1}, "method=1 is not known"),
        (ConvTranspose, (4, 6, 4, 2), {"preferred_element_type": jnp.bfloat16}, "bfloat16 would lose"),
        (ConvTranspose, (4, 6, 4), {"mask": [[1.0]]}, r"mask has shape \(1, 1\)"),
        (ResizeConv, (4, 6, 3, (2, 2)), {}, r"factor=\(2, 2\) has 2 entries for 1 spatial"),
    ],
)
def test_refuses_at_construction(kind, args, options, message):
    with pytest.raises(ValueError, match=message):
        kind(*args, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "cubic-pytorch", jax.image.ResizeMethod.LANCZOS3])
def test_resize_knows_what_jax_knows(method, rng):
    x = jnp.asarray(rng.normal(size=(2, 5, 1)), jnp.float32)
    layer = ResizeConv(1, 1, 1, 3, method=method, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0))
    assert_close(layer(x), jax.image.resize(x, (2, 15, 1), method), contraction=6)


@pytest.mark.parametrize("kind", [ConvTranspose, SubpixelConv, ResizeConv])
def test_takes_lists_and_numpys_integers(kind):
    plain = kind(1, 2, (4, 2), (2, 1), rngs=nnx.Rngs(0))
    other = kind(1, 2, np.array([4, 2]), np.array([2, 1]), rngs=nnx.Rngs(0))
    x = np.arange(12.0).reshape(4, 3, 1)
    np.testing.assert_array_equal(nnx.jit(lambda layer, x: layer(x))(other, x), plain(x.tolist()))


@pytest.mark.parametrize("kind", [ConvTranspose, SubpixelConv, ResizeConv])
def test_refuses_inputs(kind):
    layer = kind(4, 6, (4, 4), 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"have 3 features .* wanted in_features=4"):
        layer(jnp.zeros((1, 5, 5, 3)))
    with pytest.raises(ValueError, match="with 2 spatial axes"):
        layer(jnp.zeros((5, 4)))
