"""The Linen layers: equal to the NNX ones with the same parameters, and Conv equal to Flax's."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from flax.core import meta

import jaxconv.linen
from jaxconv import nn
from jaxconv.linen import CheckerboardWarning, Conv, ConvTranspose
from jaxconv.testing import assert_close

KEY = jax.random.key(0)
NORMAL = nnx.initializers.normal(1.0)
calm = pytest.mark.filterwarnings("ignore::jaxconv.nn.CheckerboardWarning")
MASK = jnp.asarray(np.random.default_rng(0).integers(0, 2, size=(3, 2, 1, 8)), jnp.float32)

# A layer's name, its arguments without the input's four features, and its options; for NNX and Linen alike.
LAYERS = [
    ("Conv", (6, (3, 2), (2, 1)), {"padding": ((2, 0), 1), "feature_group_count": 2}),
    ("Conv", (6, (3, 2)), {"padding": "CIRCULAR", "kernel_dilation": 2, "use_bias": False}),
    ("Conv", (6, (3, 2)), {"padding": "FULL", "dtype": jnp.bfloat16}),
    ("DepthwiseConv", ((3, 2), (1, 2)), {"channel_multiplier": 2, "mask": MASK, "padding": "VALID"}),
    ("SeparableConv", (5, (3, 2), 2), {"channel_multiplier": 2, "padding": 1, "mask": MASK}),
    ("CausalConv", (6, (3, 2), 2), {"kernel_dilation": (2, 1)}),
    ("ConvTranspose", (6, (4, 3), (2, 1)), {"feature_group_count": 2, "param_dtype": jnp.bfloat16}),
    ("ConvTranspose", (6, (3, 2), 2), {"padding": (1, 0), "output_padding": 1, "dtype": jnp.bfloat16}),
    ("ConvTranspose", (6, (4, 2), 2), {"padding": "CIRCULAR", "preferred_element_type": jnp.float32}),
    ("ConvTranspose", (6, (4, 2), 2), {"output_shape": (13, 12), "mask": jnp.ones((4, 2, 6, 4)) / 2}),
    ("CausalConvTranspose", (6, (4, 3), (2, 1)), {"kernel_dilation": (1, 2), "use_bias": False}),
    ("SubpixelConv", (2, (3, 2), (2, 3)), {"padding": "REFLECT", "feature_group_count": 2}),
    ("ResizeConv", (6, (3, 2), 2), {"method": "linear", "kernel_dilation": (1, 2)}),
]


def twin(name: str, args: tuple, options: dict) -> Any:
    """The Linen layer for an NNX layer's arguments; only the factor has to be named."""
    kind = getattr(jaxconv.linen, name)
    if name in ("SubpixelConv", "ResizeConv"):
        return kind(*args[:-1], factor=args[-1], **options)
    return kind(*args, **options)


@calm
@pytest.mark.parametrize(("name", "args", "options"), LAYERS)
def test_linen_equals_nnx(name, args, options, rng):
    options = {**options, "bias_init": NORMAL}
    x = jnp.asarray(rng.normal(size=(2, 7, 6, 4)), jnp.float32)
    other = getattr(nn, name)(4, *args, rngs=nnx.Rngs(1), **options)
    params = nnx.to_pure_dict(nnx.state(other, nnx.Param))
    layer = twin(name, args, options)
    y = layer.apply({"params": params}, x)
    assert y.dtype == other(x).dtype
    np.testing.assert_array_equal(y, other(x))
    own = jax.eval_shape(layer.init, KEY, x)["params"]
    assert jax.tree.map(lambda p: (p.shape, p.dtype), own) == jax.tree.map(
        lambda p: (p.shape, p.dtype), params
    )


CONVS = [
    ((3, 2), {"strides": (2, 1), "feature_group_count": 2}),
    ((4, 3), {"padding": "CIRCULAR", "kernel_dilation": (1, 2), "strides": (1, 2)}),
    ((4, 3), {"padding": "REFLECT"}),
    ((3, 2), {"padding": [(0, 3), 1], "param_dtype": jnp.bfloat16}),
    ((3,), {"padding": "CAUSAL", "strides": 2}),
    (3, {"padding": "VALID", "dtype": jnp.bfloat16, "use_bias": False}),
]


@pytest.mark.parametrize(("kernel_size", "options"), CONVS)
def test_conv_is_flaxs_conv(kernel_size, options, rng):
    x = jnp.asarray(rng.normal(size=(2, 7, 6, 4)), jnp.float32)
    layers = [kind(6, kernel_size, bias_init=NORMAL, **options) for kind in (Conv, linen.Conv)]
    assert isinstance(layers[0], linen.Conv)

    def run(layer):
        variables = layer.init(KEY, x)
        loss = lambda v: jnp.sum(layer.apply(v, x).astype(jnp.float32) ** 2)  # noqa: E731
        return variables, layer.apply(variables, x), jax.grad(loss)(variables)

    (ours, y, grads), (theirs, wanted, wanted_grads) = map(run, layers)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert y.dtype == wanted.dtype
    assert_close(y, wanted, contraction=48)
    jax.tree.map(lambda a, b: assert_close(a, b, contraction=84), grads, wanted_grads)


def test_conv_computes_with_our_operators_unless_told_otherwise():
    x = jnp.ones((1, 5, 4))
    variables = jax.eval_shape(Conv(6, 3).init, KEY, x)
    assert "conv_forward" in str(jax.make_jaxpr(Conv(6, 3).apply)(variables, x))
    theirs = Conv(6, 3, conv_general_dilated=jax.lax.conv_general_dilated)
    assert "conv_forward" not in str(jax.make_jaxpr(theirs.apply)(variables, x))


@pytest.mark.parametrize("batch", [(), (2, 3)])
@pytest.mark.parametrize(("name", "args", "options"), [LAYERS[0], LAYERS[3], LAYERS[8], LAYERS[11]])
def test_any_number_of_batch_axes(name, args, options, batch, rng):
    x = jnp.asarray(rng.normal(size=(*batch, 7, 6, 4)), jnp.float32)
    layer = twin(name, args, options)
    y, variables = layer.init_with_output(KEY, x)
    wanted = layer.apply(variables, x.reshape(-1, 7, 6, 4))
    assert_close(y, wanted.reshape(*batch, *wanted.shape[1:]), contraction=48)


def test_layers_inside_modules_have_flat_parameters():
    class Net(linen.Module):
        def setup(self):
            self.enlarge = jaxconv.linen.SubpixelConv(2, (3,), factor=2)

        @linen.compact
        def __call__(self, x):
            x = self.enlarge(jaxconv.linen.DepthwiseConv(3)(x))
            x = jaxconv.linen.SeparableConv(5, 3, name="mix")(x)
            return jaxconv.linen.CausalConvTranspose(3, 4, 2)(x)

    params = Net().init(KEY, jnp.ones((1, 6, 4)))["params"]
    assert jax.tree.map(jnp.shape, params) == {
        "DepthwiseConv_0": {"kernel": (3, 1, 4), "bias": (4,)},
        "enlarge": {"kernel": (3, 4, 4), "bias": (4,)},
        "mix": {"depthwise": {"kernel": (3, 1, 2)}, "pointwise": {"kernel": (1, 2, 5), "bias": (5,)}},
        "CausalConvTranspose_0": {"kernel": (4, 3, 5), "bias": (3,)},
    }


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose", "SubpixelConv", "SeparableConv"])
def test_scan_over_rematerialised_layers(name, rng):
    args = (4, 3, 1) if name == "SubpixelConv" else (4, 3)
    x = jnp.asarray(rng.normal(size=(2, 7, 4)), jnp.float32)

    class Step(linen.Module):
        @linen.compact
        def __call__(self, x, _):
            options = {"factor": 1} if name == "SubpixelConv" else {}
            layer = linen.remat(getattr(jaxconv.linen, name))(4, 3, name="layer", **options)
            return jnp.tanh(layer(x)), None

    scanned = linen.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()
    variables = scanned.init(KEY, x, None)

    def loop(variables):
        y = x
        for i in range(3):
            layer = jax.tree.map(lambda p: p[i], variables["params"]["layer"])  # noqa: B023
            y = jnp.tanh(twin(name, args, {}).apply({"params": layer}, y))
        return y

    got = jax.value_and_grad(lambda v: jnp.sum(scanned.apply(v, x, None)[0] ** 3))(variables)
    wanted = jax.value_and_grad(lambda v: jnp.sum(loop(v) ** 3))(variables)
    jax.tree.map(lambda a, b: assert_close(a, b, contraction=1000), got, wanted)


def test_vmap_makes_an_ensemble(rng):
    x = jnp.asarray(rng.normal(size=(2, 7, 4)), jnp.float32)
    many = linen.vmap(
        ConvTranspose, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=3
    )(5, 4, 2)
    y, variables = many.init_with_output(KEY, x)
    for i in range(3):
        one = ConvTranspose(5, 4, 2).apply(jax.tree.map(lambda p, i=i: p[i], variables), x)
        assert_close(y[i], one, contraction=16)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(Conv(8, (3, 2)), (3, 2, 4, 8)), (ConvTranspose(8, (4, 2), 2), (4, 2, 8, 4))],
    ids=["Conv", "ConvTranspose"],
)
def test_partitioning_metadata(layer, shape, rng):
    names = (None, None, "a", "b")
    boxed = layer.clone(kernel_init=linen.with_partitioning(layer.kernel_init, names))
    x = jnp.asarray(rng.normal(size=(2, 7, 6, 4)), jnp.float32)
    variables = boxed.init(KEY, x)
    kernel = variables["params"]["kernel"]
    assert isinstance(kernel, meta.Partitioned)
    assert (kernel.names, kernel.value.shape) == (names, shape)
    spec = linen.get_partition_spec(variables)["params"]["kernel"]
    assert spec == jax.sharding.PartitionSpec(*names)
    plain = layer.init(KEY, x)
    np.testing.assert_array_equal(kernel.value, plain["params"]["kernel"])
    np.testing.assert_array_equal(boxed.apply(variables, x), layer.apply(plain, x))


def test_warns_of_a_checkerboard_when_constructed_and_not_again():
    with pytest.warns(CheckerboardWarning, match=r"kernel_size=\(4,\), a multiple") as caught:
        layer = ConvTranspose(2, 3, 2)
    assert [w.filename for w in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        variables = layer.init(KEY, jnp.ones((1, 4, 3)))
        layer.bind(variables)(jnp.ones((1, 4, 3)))
        ConvTranspose(2, 4, 2)


def test_call_can_name_the_output_shape():
    layer: Any = ConvTranspose(2, 4, 2, padding=1)
    y, variables = layer.init_with_output(KEY, jnp.ones((1, 5, 3)))
    assert y.shape == (1, 10, 2)
    assert layer.apply(variables, jnp.ones((1, 5, 3)), output_shape=11).shape == (1, 11, 2)


def test_tabulate_lists_each_parameter_once():
    table = jaxconv.linen.SubpixelConv(2, (3,), factor=2).tabulate(KEY, jnp.ones((1, 5, 3)))
    assert "Total Parameters: 40" in table  # 3 * 3 * 4 + 4


@pytest.mark.parametrize(
    ("name", "args", "options", "message"),
    [
        (
            "Conv",
            (6, 3),
            {"feature_group_count": 4},
            "feature_group_count=4 must divide features=6; use .* 1, 2, 3, 6",
        ),
        ("Conv", (0, 3), {}, "features=0 must be a positive int"),
        ("Conv", (6, (3, 3), (1, 2, 3)), {}, "strides=.* has 3 entries for 2"),
        ("Conv", (6, 3), {"padding": "WRAP"}, "padding='WRAP' is not known"),
        ("CausalConv", (6, 3), {"padding": "SAME"}, "a causal layer computes its padding"),
        ("CausalConvTranspose", (6, 4), {"padding": 1}, "a causal layer computes its padding"),
        ("DepthwiseConv", (3,), {"channel_multiplier": 0}, "channel_multiplier=0 must be a positive int"),
        ("SeparableConv", (6, 3), {"padding": "CAUSE"}, "padding='CAUSE' is not known"),
        ("ConvTranspose", (6, 4, 2), {"output_padding": 1}, "padding='SAME' .* fixes"),
        ("SubpixelConv", (6, 3, 0), {}, "factor=0 must be at least 1"),
        ("ResizeConv", (6, 3, 2), {"method": "sinc"}, "method='sinc' is not known"),
        ("ConvTranspose", (6, 4, 2), {"preferred_element_type": jnp.bfloat16}, "would lose"),
    ],
)
def test_refuses_at_construction(name, args, options, message):
    with pytest.raises(ValueError, match=message):
        twin(name, args, options)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            Conv(6, (3, 3), feature_group_count=3),
            (1, 5, 5, 4),
            "3 must divide in_features=4 and features=6; use .* 1, 2",
        ),
        (Conv(6, (3, 3)), (5, 4), "with 2 spatial axes"),
        (
            ConvTranspose(6, 4, 2, feature_group_count=3),
            (1, 5, 4),
            "3 must divide in_features=4 and features=6",
        ),
        (ConvTranspose(6, 4, 2, mask=jnp.ones((4, 4, 6))), (1, 5, 4), r"kernel's, \(4, 6, 4\)"),
        (Conv(6, 3, mask=jnp.ones((3, 6, 4))), (1, 5, 4), "[mM]ask"),
    ],
)
def test_refuses_inputs_under_jit(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        jax.jit(layer.init)(KEY, jnp.zeros(shape))


def test_layers_can_be_copied_with_another_window(rng):
    x = jnp.asarray(rng.normal(size=(1, 7, 6, 4)), jnp.float32)
    cases: list[tuple[Any, Any]] = [
        (
            jaxconv.linen.CausalConv(6, (3, 2)).clone(kernel_size=(5, 3)),
            jaxconv.linen.CausalConv(6, (5, 3)),
        ),
        (
            jaxconv.linen.CausalConvTranspose(6, (4, 4), 2).copy(strides=4),
            jaxconv.linen.CausalConvTranspose(6, (4, 4), 4),
        ),
        (Conv(6, (2, 3), padding="FULL").clone(kernel_size=(3, 1)), Conv(6, (3, 1), padding="FULL")),
    ]
    for copied, built in cases:
        y, variables = copied.init_with_output(KEY, x)
        np.testing.assert_array_equal(y, built.apply(variables, x))
        np.testing.assert_array_equal(y, built.init_with_output(KEY, x)[0])


@pytest.mark.parametrize("kind", [Conv, ConvTranspose])
def test_takes_lists_and_numpys_integers(kind):
    mask = np.arange(8.0).reshape(4, 2, 1, 1)
    plain = kind(1, (4, 2), (2, 1), mask=jnp.asarray(mask))
    other = kind(1, np.array([4, 2]), np.array([2, 1]), mask=mask.tolist())
    x = np.arange(12.0).reshape(4, 3, 1)
    np.testing.assert_array_equal(
        other.init_with_output(KEY, x.tolist())[0], plain.init_with_output(KEY, x)[0]
    )
