"""The NNX layers: Conv against Flax's own, the layers built on it against the functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv.nn import CausalConv, Conv, DepthwiseConv, SeparableConv
from jaxconv.testing import assert_close
from tests import oracle

NORMAL = nnx.initializers.normal(1.0)
MASK = np.random.default_rng(0).integers(0, 2, size=(3, 2, 4, 6)).astype(np.float32)

# Input shape, kernel_size, and the options of a Conv from the input's last axis to six features.
CONVS = {
    "same": ((2, 8, 7, 4), (3, 2), {"strides": (2, 1)}),
    "same, int window, int stride": ((2, 9, 4), 4, {"strides": 2}),
    "no strides": ((2, 9, 4), 3, {"strides": None, "kernel_dilation": None, "input_dilation": None}),
    "valid": ((2, 8, 7, 4), (3, 2), {"padding": "VALID", "strides": (1, 3)}),
    "lower": ((2, 8, 7, 4), (4, 2), {"padding": "SAME_LOWER"}),
    "circular": ((2, 8, 7, 4), (4, 3), {"padding": "CIRCULAR", "kernel_dilation": (1, 2), "strides": (1, 2)}),
    "reflect": ((2, 8, 7, 4), (4, 3), {"padding": "REFLECT", "kernel_dilation": (2, 1)}),
    "causal": ((2, 9, 4), (3,), {"padding": "CAUSAL", "kernel_dilation": 2, "strides": 2}),
    "int": ((2, 8, 7, 4), (3, 2), {"padding": 2}),
    "ints": ((2, 8, 7, 4), (3, 2), {"padding": (0, 2)}),
    "pairs": ((2, 8, 7, 4), (3, 2), {"padding": ((2, 0), (1, 3)), "strides": 2}),
    "mixed": ((2, 8, 7, 4), (3, 2), {"padding": [(0, 3), 1]}),
    "groups": ((2, 8, 7, 4), (3, 2), {"feature_group_count": 2}),
    "input dilation": ((2, 5, 4, 4), (3, 2), {"input_dilation": (2, 3), "padding": ((2, 0), (1, 3))}),
    "both dilations": ((2, 5, 4, 4), (3, 2), {"input_dilation": (2, 1), "strides": (1, 2), "padding": 1}),
    "mask, no bias": ((2, 8, 7, 4), (3, 2), {"mask": jnp.asarray(MASK), "use_bias": False}),
    "three axes": ((1, 4, 5, 3, 4), (2, 3, 1), {"strides": (1, 2, 1)}),
}


def params(layer: nnx.Module) -> dict:
    return nnx.to_pure_dict(nnx.state(layer, nnx.Param))


def results(layer: nnx.Module, x: jax.Array, g: jax.Array) -> dict:
    """The output, and the gradients with respect to the parameters and the input."""
    graph, state, rest = nnx.split(layer, nnx.Param, ...)

    @jax.jit
    def run(state, x):
        y, vjp = jax.vjp(lambda s, x: nnx.merge(graph, s, rest)(x), state, x)
        return y, vjp(g.astype(y.dtype))

    y, (grads, gx) = run(state, x)
    return {"y": y, "x": gx, **nnx.to_pure_dict(grads)}


@pytest.mark.parametrize("case", CONVS)
def test_conv_is_flaxs_conv(case, rng):
    shape, kernel_size, options = CONVS[case]
    theirs = nnx.Conv(shape[-1], 6, kernel_size, bias_init=NORMAL, rngs=nnx.Rngs(5), **options)
    ours = Conv(shape[-1], 6, kernel_size, bias_init=NORMAL, rngs=nnx.Rngs(5), **options)
    assert isinstance(ours, nnx.Conv)
    jax.tree.map(np.testing.assert_array_equal, params(ours), params(theirs))
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    g = jnp.asarray(rng.normal(size=jax.eval_shape(theirs, x).shape), jnp.float32)
    got, wanted = results(ours, x, g), results(theirs, x, g)
    assert got.keys() == wanted.keys()
    for name in wanted:
        # The longest sum of all: a kernel's gradient runs over batch and positions.
        assert_close(got[name], wanted[name], contraction=max(g.size // 6, 24 * 6), label=name)


def test_full_padding_is_all_that_touches(rng):
    layer = Conv(1, 1, (3, 2), padding="FULL", kernel_dilation=(1, 2), use_bias=False, rngs=nnx.Rngs(0))
    x = rng.normal(size=(1, 4, 5, 1)).astype(np.float32)
    kernel = np.asarray(layer.kernel[...])
    wanted = oracle.forward(x, kernel, stride=(1, 1), padding=((2, 2), (2, 2)), dilation=(1, 2))
    assert_close(layer(jnp.asarray(x)), wanted, contraction=6)


@pytest.mark.parametrize("batch", [(), (0,), (3,), (2, 3), (2, 1, 3)])
def test_any_number_of_batch_axes(batch, rng):
    x = jnp.asarray(rng.normal(size=(*batch, 6, 5, 4)), jnp.float32)
    ours, theirs = (kind(4, 6, (3, 2), padding="CIRCULAR", rngs=nnx.Rngs(1)) for kind in (Conv, nnx.Conv))
    assert_close(ours(x), theirs(x), contraction=24)


DTYPES = {
    "mixed": (jnp.float32, {"dtype": jnp.bfloat16}),
    "low parameters": (jnp.float32, {"param_dtype": jnp.bfloat16}),
    "low everything, wide sums": (
        jnp.bfloat16,
        {"param_dtype": jnp.bfloat16, "preferred_element_type": jnp.float32},
    ),
    "integers": (jnp.int32, {}),
    "own promotion": (
        jnp.float32,
        {"promote_dtype": lambda arrays, dtype: tuple(a.astype(dtype or jnp.float16) for a in arrays)},
    ),
}


@pytest.mark.parametrize("case", DTYPES)
def test_dtypes_are_flaxs(case, rng):
    dtype, options = DTYPES[case]
    x = jnp.asarray(rng.normal(size=(2, 7, 5, 4)) * 4).astype(dtype)
    ours, theirs = (kind(4, 6, (3, 2), rngs=nnx.Rngs(2), **options) for kind in (Conv, nnx.Conv))
    jax.tree.map(np.testing.assert_array_equal, params(ours), params(theirs))
    got, wanted = ours(x), theirs(x)
    assert got.dtype == wanted.dtype
    assert_close(got, wanted, contraction=24)


def test_bfloat16_compute_keeps_float32_parameters_and_gradients(rng):
    x = jnp.asarray(rng.normal(size=(2, 7, 5, 4)), jnp.float32)
    g = jnp.asarray(rng.normal(size=(2, 7, 5, 6)), jnp.float32)
    mixed, full = (Conv(4, 6, (3, 3), dtype=dtype, rngs=nnx.Rngs(2)) for dtype in (jnp.bfloat16, None))
    low, high = results(mixed, x, g), results(full, x, g)
    assert low["y"].dtype == jnp.bfloat16
    assert low["kernel"].dtype == low["bias"].dtype == low["x"].dtype == jnp.float32
    for name in high:
        assert_close(low[name], high[name], contraction=g.size // 6, eps=2.0**-8, label=name)


@pytest.mark.parametrize("how", ["metadata", "initialiser"])
def test_sharding_metadata_is_flaxs(how):
    names = (None, None, None, "model")
    if how == "metadata":
        options = {"kernel_metadata": {"out_sharding": names}, "bias_metadata": {"out_sharding": ("model",)}}
    else:
        options = {"kernel_init": nnx.with_partitioning(NORMAL, names)}
    mesh = jax.make_mesh((8,), ("model",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        ours, theirs = (kind(4, 16, (3, 2), rngs=nnx.Rngs(0), **options) for kind in (Conv, nnx.Conv))
        specs = [nnx.get_partition_spec(nnx.state(layer)) for layer in (ours, theirs)]
        assert nnx.to_pure_dict(specs[0]) == nnx.to_pure_dict(specs[1])
        assert ours.kernel.sharding.spec == PartitionSpec(*names)
        x = jnp.arange(2 * 5 * 4 * 4, dtype=jnp.float32).reshape(2, 5, 4, 4)
        assert_close(nnx.jit(lambda layer, x: layer(x))(ours, x), theirs(x), contraction=24)


def test_output_sharding_under_explicit_axes(rng):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    x = jnp.asarray(rng.normal(size=(8, 5, 4)), jnp.float32)
    layer = Conv(4, 6, 3, rngs=nnx.Rngs(0))
    wanted = layer(x)
    with jax.set_mesh(mesh):
        spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        got = jax.jit(lambda x: layer(x, out_sharding=PartitionSpec("data")))(spread)
    assert got.sharding.spec[0] == "data"
    assert_close(got, wanted, contraction=12)


def test_computes_with_the_given_function(rng):
    seen = []

    def spy(*args, **kwargs):
        seen.append(kwargs["feature_group_count"])
        return jax.lax.conv_general_dilated(*args, **kwargs)

    x = jnp.asarray(rng.normal(size=(2, 7, 4)), jnp.float32)
    Conv(4, 6, 3, feature_group_count=2, conv_general_dilated=spy, rngs=nnx.Rngs(0))(x)
    assert seen == [2]
    # And with ours by default: lax's own convolution is not in the program before it is lowered.
    text = str(jax.make_jaxpr(Conv(4, 6, 3, rngs=nnx.Rngs(0)))(x))
    assert "conv_forward" in text
    assert "conv_general_dilated" not in text


def test_depthwise_sees_one_channel_at_a_time(rng):
    layer = DepthwiseConv(
        3, (3, 2), (1, 2), channel_multiplier=2, kernel_dilation=(2, 1), bias_init=NORMAL, rngs=nnx.Rngs(0)
    )
    x = rng.normal(size=(2, 6, 7, 3)).astype(np.float32)
    kernel, bias = (np.asarray(params(layer)[name]) for name in ("kernel", "bias"))
    assert kernel.shape == (3, 2, 1, 6)
    options = {"stride": (1, 2), "padding": ((2, 2), (0, 1)), "dilation": (2, 1)}
    wanted = np.concatenate(
        [oracle.forward(x[..., i : i + 1], kernel[..., 2 * i : 2 * i + 2], **options) for i in range(3)], -1
    )
    assert_close(layer(jnp.asarray(x)), wanted + bias, contraction=6)


def test_separable_is_depthwise_then_pointwise(rng):
    mask = jnp.asarray(MASK[:, :, :1])
    options = {"channel_multiplier": 2, "padding": ((1, 0), 2), "bias_init": NORMAL}
    layer = SeparableConv(3, 5, (3, 2), 2, mask=mask, rngs=nnx.Rngs(0), **options)
    assert params(layer).keys() == {"depthwise", "pointwise"}
    assert params(layer)["depthwise"].keys() == {"kernel"}
    x = jnp.asarray(rng.normal(size=(2, 6, 7, 3)), jnp.float32)
    between = jaxconv.conv(
        x, layer.depthwise.kernel[...] * mask, stride=2, padding=((1, 0), (2, 2)), groups=3
    )
    wanted = between @ layer.pointwise.kernel[0, 0] + params(layer)["pointwise"]["bias"]
    assert_close(layer(x), wanted, contraction=6 * 6)


def test_causal_in_one_dimension_is_flaxs_causal_padding(rng):
    x = jnp.asarray(rng.normal(size=(2, 9, 4)), jnp.float32)
    options = {"strides": 2, "kernel_dilation": 3, "feature_group_count": 2}
    ours = CausalConv(4, 6, 3, rngs=nnx.Rngs(3), **options)
    theirs = nnx.Conv(4, 6, 3, padding="CAUSAL", rngs=nnx.Rngs(3), **options)
    assert_close(ours(x), theirs(x), contraction=6)


def test_causal_in_three_dimensions_sees_the_past_only(rng):
    layer = CausalConv(2, 3, (3, 4, 2), (2, 1, 1), kernel_dilation=(2, 1, 1), rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.normal(size=(1, 7, 5, 6, 2)), jnp.float32)
    y = layer(x)
    assert y.shape == (1, 4, 5, 6, 3)
    changed = np.abs(layer(x.at[:, 3].add(1.0)) - y).max(axis=(0, 2, 3, 4)) > 1e-3
    # Output o stands at time 2o and sees 2o, 2o - 2 and 2o - 4: time 3 is odd, and nobody's.
    np.testing.assert_array_equal(changed, [False, False, False, False])
    changed = np.abs(layer(x.at[:, 2].add(1.0)) - y).max(axis=(0, 2, 3, 4)) > 1e-3
    np.testing.assert_array_equal(changed, [False, True, True, True])


def refuse(message: str, kind: type, *args, **options) -> None:
    with pytest.raises(ValueError, match=message):
        kind(*args, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    ("kind", "args", "options", "message"),
    [
        (
            Conv,
            (4, 6, 3),
            {"feature_group_count": 3},
            "3 must divide in_features=4 and out_features=6; use .* 1, 2",
        ),
        (Conv, (4, 6, 3), {"feature_group_count": 0}, "feature_group_count=0 must be a positive int"),
        (Conv, (0, 6, 3), {}, "in_features=0 must be a positive int"),
        (Conv, (4, 6.0, 3), {}, r"out_features=6\.0 must be a positive int"),
        (Conv, (4, 6, ()), {}, r"kernel_size=\(\) has no axis"),
        (Conv, (4, 6, (3, 0)), {}, r"kernel_size=\(3, 0\) must be at least 1"),
        (Conv, (4, 6, (3, "3")), {}, "kernel_size=.* must hold integers"),
        (Conv, (4, 6, 3, (2, 2)), {}, r"strides=\(2, 2\) has 2 entries for 1 spatial"),
        (Conv, (4, 6, 3, 0), {}, "strides=0 must be at least 1"),
        (Conv, (4, 6, (3, 3)), {"kernel_dilation": (1, -1)}, r"kernel_dilation=\(1, -1\) must be at least 1"),
        (Conv, (4, 6, (3, 3)), {"input_dilation": (1, 0)}, r"input_dilation=\(1, 0\) must be at least 1"),
        (Conv, (4, 6, 3), {"padding": "WRAP"}, "padding='WRAP' is not known.*CIRCULAR, REFLECT"),
        (Conv, (4, 6, (3, 3)), {"padding": ((1, 1),)}, "has 1 entries for 2 spatial dimensions"),
        (Conv, (4, 6, (3, 3)), {"padding": "CAUSAL"}, "use CausalConv"),
        (
            Conv,
            (4, 6, 3),
            {"mask": jnp.ones((3, 6, 4))},
            r"mask has shape \(3, 6, 4\).*kernel's, \(3, 4, 6\)",
        ),
        (Conv, (4, 6, 3), {"mask": [[1.0]]}, r"mask has shape \(1, 1\).*kernel's, \(3, 4, 6\)"),
        (Conv, (4, 6, 3), {"mask": [[1.0], []]}, "mask of type list is not an array"),
        (Conv, (4, 6, 3), {"preferred_element_type": jnp.bfloat16}, "bfloat16 would lose .* float32"),
        (Conv, (4, 6, 3), {"preferred_element_type": "floaty"}, "'floaty' is not a dtype"),
        (Conv, (4, 6, np.array([3.0, 2.0])), {}, "kernel_size=.* must hold integers"),
        (DepthwiseConv, (4, 3), {"channel_multiplier": 0}, "channel_multiplier=0 must be a positive int"),
        (SeparableConv, (4, -1, 3), {}, "out_features=-1 must be a positive int"),
        (CausalConv, (4, 6, 3), {"kernel_dilation": 0}, "kernel_dilation=0 must be at least 1"),
    ],
)
def test_refuses_at_construction(kind, args, options, message):
    refuse(message, kind, *args, **options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 8, 7, 3), "have 3 features .the last axis.; wanted in_features=4"),
        ((4, 4), r"inputs have shape \(4, 4\).*with 2 spatial axes"),
    ],
)
def test_refuses_inputs_under_jit(shape, message):
    layer = Conv(4, 6, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=message):
        nnx.jit(lambda layer, x: layer(x))(layer, jnp.zeros(shape))


@pytest.mark.parametrize("inputs", [None, "inputs", [[1.0], []], [[1.0]]])
def test_refuses_inputs_that_are_no_array(inputs):
    layer = Conv(1, 6, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="inputs"):
        layer(inputs)


def test_takes_lists_and_numpys_integers():
    mask = np.arange(12.0).reshape(3, 2, 1, 2)
    plain = Conv(1, 2, (3, 2), (2, 1), kernel_dilation=(1, 2), mask=jnp.asarray(mask), rngs=nnx.Rngs(0))
    size, strides, dilation = np.array([3, 2]), np.array([2, 1]), np.array([1, 2])
    other = Conv(1, 2, size, strides, kernel_dilation=dilation, mask=mask.tolist(), rngs=nnx.Rngs(0))
    x = np.arange(20.0).reshape(5, 4, 1)
    np.testing.assert_array_equal(nnx.jit(lambda layer, x: layer(x))(other, x), plain(x.tolist()))


def test_inputs_may_not_be_wider_than_the_preferred_type():
    layer = Conv(1, 2, 3, param_dtype=jnp.bfloat16, preferred_element_type=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert layer(jnp.ones((5, 1), jnp.bfloat16)).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match=r"bfloat16 would lose .* float32"):
        layer(jnp.ones((5, 1), jnp.float32))
