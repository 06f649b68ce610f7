"""Weights find their layers: by name, by order, or not at all, with a list of what is wrong.

Sources are state_dicts made here by hand; values are checked by what they mean, element by element.
"""

# pyright: reportOptionalSubscript=false, reportAttributeAccessIssue=false, reportIndexIssue=false

import itertools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import linen, nn
from jaxconv.interop import torch

RNGS = nnx.Rngs(0)


def plain(_key, shape, dtype=jnp.float32, **_):
    """An initialiser that compiles nothing."""
    return jnp.asarray(np.zeros(shape, dtype))


def conv(i, o, window=(3, 2), cls=nn.Conv, **options):
    return cls(i, o, window, kernel_init=plain, bias_init=plain, rngs=RNGS, **options)


def dense(i, o):
    return nnx.Linear(i, o, kernel_init=plain, bias_init=plain, rngs=RNGS)


def norm(n):
    return nnx.BatchNorm(n, use_running_average=True, rngs=RNGS)


class Net(nnx.Module):
    """Two blocks whose convolutions have one shape."""

    def __init__(self):
        self.first = conv(3, 4)
        self.blocks = nnx.List([conv(4, 4), norm(4), conv(4, 4), norm(4)])
        self.up = conv(4, 5, (2, 2), nn.ConvTranspose, strides=2)


def draw(rng, **shapes):
    """Random arrays by names with _ for dots."""
    return {name.replace("_", "."): rng.standard_normal(s).astype(np.float32) for name, s in shapes.items()}


def layer(rng, name, *shape):
    return {f"{name}.weight": _new(rng, shape), f"{name}.bias": _new(rng, shape[:1])}


def transposed(rng, name, *shape):
    return {f"{name}.weight": _new(rng, shape), f"{name}.bias": _new(rng, shape[1:2])}


def bn(rng, name, n):
    stats = {f"{name}.running_mean": _new(rng, (n,)), f"{name}.running_var": _new(rng, (n,))}
    return layer(rng, name, n) | stats | {f"{name}.num_batches_tracked": np.array(7)}


def _new(rng, shape):
    return rng.standard_normal(shape).astype(np.float32)


def weights(rng, a="first", b="blocks.0", c="blocks.1", d="blocks.2", e="blocks.3", f="up"):
    """The state_dict of a network like Net, under these names."""
    return {
        **layer(rng, a, 4, 3, 3, 2),
        **layer(rng, b, 4, 4, 3, 2),
        **bn(rng, c, 4),
        **layer(rng, d, 4, 4, 3, 2),
        **bn(rng, e, 4),
        **transposed(rng, f, 4, 5, 2, 2),
    }


def check(model, state, a="first", b="blocks.0", c="blocks.1", d="blocks.2", e="blocks.3", f="up"):
    """Every array is where PyTorch's documentation says that it belongs."""
    pairs = {a: model.first, b: model.blocks[0], d: model.blocks[2]}
    for name, module in pairs.items():
        kernel, weight = np.asarray(module.kernel[...]), state[f"{name}.weight"]
        for h, w, i, o in np.ndindex(*kernel.shape):
            assert kernel[h, w, i, o] == weight[o, i, h, w]
        np.testing.assert_array_equal(module.bias[...], state[f"{name}.bias"])
    kernel, weight = np.asarray(model.up.kernel[...]), state[f"{f}.weight"]
    for h, w, o, i in np.ndindex(*kernel.shape):
        assert kernel[h, w, o, i] == weight[i, o, h, w]
    for name, module in {c: model.blocks[1], e: model.blocks[3]}.items():
        words = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
        for word, theirs in words.items():
            np.testing.assert_array_equal(getattr(module, word)[...], state[f"{name}.{theirs}"])


def snapshot(model):
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))


def unchanged(model, before):
    jax.tree.map(np.testing.assert_array_equal, snapshot(model), before)


def test_by_name_in_any_order(rng):
    state = dict(reversed(weights(rng).items()))
    report = torch.load(model := Net(), state)
    check(model, state)
    assert {row[4].rpartition(", ")[2] for row in report.rows} == {"by name"}
    assert report.model is model
    assert report.problems == ()
    prefixed = {f"module.{name}": array for name, array in state.items()}
    torch.load(other := Net(), prefixed)
    check(other, state)


def test_by_order_where_names_differ(rng):
    names = dict(a="stem", b="x.conv", c="x.norm", d="y.conv", e="y.norm", f="head")
    state = weights(rng, **names)
    report = torch.load(model := Net(), state)
    check(model, state, **names)
    assert "by order" in str(report)


def test_numbers_that_differ_are_no_names(rng):
    """A Sequential counts its rectifiers: its second convolution is 2, and a list's third is."""
    model = nnx.List([conv(4, 4) for _ in range(3)])
    state = layer(rng, "0", 4, 4, 3, 2) | layer(rng, "2", 4, 4, 3, 2) | layer(rng, "4", 4, 4, 3, 2)
    torch.load(model, state)
    for module, name in zip(model, "024", strict=True):
        np.testing.assert_array_equal(module.bias[...], state[f"{name}.bias"])


def test_a_source_in_alphabetical_order_is_not_matched_by_order(rng):
    state = weights(rng, a="stem", b="y.conv", c="y.norm", d="x.conv", e="x.norm", f="head")
    before = snapshot(model := Net())
    with pytest.raises(ValueError, match="the source does not keep the order of layers") as error:
        torch.load(model, dict(sorted(state.items())))
    unchanged(model, before)
    assert "rename={'x.conv': 'blocks.0', 'y.conv': 'blocks.2'}" in str(error.value)
    right = {"y.conv": "blocks.0", "x.conv": "blocks.2", "y.norm": "blocks.1", "x.norm": "blocks.3"}
    torch.load(model, dict(sorted(state.items())), rename=right)
    check(model, state, a="stem", b="y.conv", c="y.norm", d="x.conv", e="x.norm", f="head")


def test_numbered_names_keep_their_order_in_a_sorted_file(rng):
    model = nnx.List([conv(4, 4) for _ in range(12)])
    state = {}
    for i in range(12):
        state |= layer(rng, f"body.{3 * i}.conv", 4, 4, 3, 2)
    torch.load(model, dict(sorted(state.items())))
    for i, module in enumerate(model):
        np.testing.assert_array_equal(module.bias[...], state[f"body.{3 * i}.conv.bias"])


def test_another_order_of_layers_is_told(rng):
    """The decoder stands first there: what lies between the equal layers shows it."""
    state = layer(rng, "dec", 4, 4, 3, 2) | layer(rng, "mid", 7, 4, 3, 2) | layer(rng, "enc", 4, 4, 3, 2)
    model = nnx.Dict(down=conv(4, 4), middle=conv(4, 7), up=conv(4, 4))
    torch.load(model, state)  # cannot be told from a network in this order
    state = {
        name: state[name] for name in sorted(state, key=lambda n: ("mid" in n, n[0] == "e", n[-1] == "s"))
    }
    with pytest.raises(
        ValueError, match=r"2 layers have the same arrays, and the layers between them have ano"
    ):
        torch.load(model, state)


def test_everything_that_does_not_match_is_listed(rng):
    state = weights(rng)
    state["up.weight"] = state["up.weight"][:, :4]
    state["up.bias"] = state["up.bias"][:4]
    del state["first.bias"]
    state |= layer(rng, "head", 10, 5)
    before = snapshot(model := Net())
    with pytest.raises(ValueError, match="cannot load: 4 layers match") as error:
        torch.load(model, state)
    told = str(error.value)
    assert "first has no bias" in told
    assert "kernel (4, 4, 2, 2) is (2, 2, 4, 4) here, not (2, 2, 5, 4)" in told
    assert "no place in the model for head (weight (10, 5), bias (10,))" in told
    assert "rename=" in told
    assert "strict=False" in told
    unchanged(model, before)


def test_strict_false_leaves_what_does_not_match(rng):
    state = weights(rng)
    state |= layer(rng, "up", 9, 9, 9) | layer(rng, "head", 10, 5)
    before = snapshot(model := Net())
    report = torch.load(model, state, strict=False)
    np.testing.assert_array_equal(model.up.kernel[...], before["up"]["kernel"])
    np.testing.assert_array_equal(model.first.bias[...], state["first.bias"])
    assert len(report.problems) == 2
    assert "head" in str(report)
    with pytest.raises(ValueError, match="0 layers match"):
        torch.load(model, layer(rng, "head", 10, 5), strict=False)


def test_nearest_candidates_are_named(rng):
    state = layer(rng, "fc", 10, 6)
    with pytest.raises(ValueError, match=r"nothing in the source for head .*nearest: fc \(weight \(10, 6\)"):
        torch.load(nnx.Dict(head=dense(6, 7)), state)


def test_rename(rng):
    state = weights(rng, f="old") | layer(rng, "classifier", 10, 5)
    torch.load(model := Net(), state, rename={"old": "up", "classifier": None})
    check(model, state, f="old")
    state = {f"net/{name}": array for name, array in weights(rng).items()}
    torch.load(model, state, rename=lambda name: name.removeprefix("net/"))
    check(model, {name[4:]: array for name, array in state.items()})
    with pytest.raises(ValueError, match=r"rename=\['olt'\] are no layers of the source; it has \['old'\]"):
        torch.load(model, weights(rng, f="old"), rename={"olt": "up"})
    with pytest.raises(ValueError, match="'down', no layer of the model"):
        torch.load(model, weights(rng, f="old"), rename={"old": "down"})


@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed):
    """Whatever is loaded is right, and whole networks in one order always are."""
    rng = np.random.default_rng(seed)
    channels = [int(n) for n in rng.integers(1, 4, int(rng.integers(2, 7)))]
    state, layers = {}, []
    for i, (a, b) in enumerate(itertools.pairwise(channels)):
        if rng.integers(0, 2):
            state |= layer(rng, f"n{i * i}", b, a, 2, 1)
            layers.append(conv(a, b, (2, 1)))
        else:
            state |= transposed(rng, f"n{i * i}", a, b, 2, 1)
            layers.append(conv(a, b, (2, 1), nn.ConvTranspose))
        if rng.integers(0, 2):
            state |= bn(rng, f"b{i * i}", b)
            layers.append(norm(b))
    torch.load(model := nnx.List(layers), state)
    vectors = [a for name, a in state.items() if name.endswith(".bias")]
    for module, bias in zip(model, vectors, strict=True):
        np.testing.assert_array_equal(module.bias[...], bias)


# dtypes


def test_dtypes_are_kept_or_cast(rng):
    state = {name: a.astype(np.float16) for name, a in layer(rng, "0", 4, 3, 3, 2).items()}
    model = nnx.List([conv(3, 4)])
    torch.load(model, state)
    assert model[0].kernel[...].dtype == np.float16
    report = torch.load(model := nnx.List([conv(3, 4)]), state, dtype="model")
    assert model[0].kernel[...].dtype == np.float32
    assert "float16 to float32" in str(report)
    torch.load(model, state, dtype=jnp.bfloat16)
    assert model[0].bias[...].dtype == jnp.bfloat16
    wide = {name: a.astype(np.float64) for name, a in state.items()}
    with pytest.raises(
        ValueError, match=r"would be float64, which JAX has with jax_enable_x64 only; give dtype="
    ):
        torch.load(model, wide)
    torch.load(model, wide, dtype="model")
    with pytest.raises(ValueError, match="complex64 cannot become float32"):
        torch.load(model, {name: a.astype(np.complex64) for name, a in state.items()}, dtype="float32")


# Other layers, other models


def test_other_layers(rng):
    model = nnx.Dict(
        embed=nnx.Embed(7, 4, rngs=RNGS),
        layer=nnx.LayerNorm(4, rngs=RNGS),
        group=nnx.GroupNorm(6, 2, rngs=RNGS),
        slope=nnx.PReLU(),
        depth=nn.DepthwiseConv(3, (2, 2), channel_multiplier=2, kernel_init=plain, rngs=RNGS),
        token=nnx.Param(jnp.zeros((1, 5))),
    )
    state = {"embed.weight": _new(rng, (7, 4)), **layer(rng, "layer", 4), **layer(rng, "group", 6)}
    state |= {"slope.weight": _new(rng, (1,)), "token": _new(rng, (1, 5)), **layer(rng, "depth", 6, 1, 2, 2)}
    torch.load(model, state)
    np.testing.assert_array_equal(model.embed.embedding[...], state["embed.weight"])
    np.testing.assert_array_equal(model.group.scale[...], state["group.weight"])
    np.testing.assert_array_equal(model.slope.negative_slope[...], state["slope.weight"][0])
    np.testing.assert_array_equal(model.token[...], state["token"])
    np.testing.assert_array_equal(model.depth.kernel[1, 0, 0], state["depth.weight"][:, 0, 1, 0])
    back = torch.to_state_dict(model, like=state)
    assert list(back) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)


def test_shared_layers_are_loaded_once(rng):
    model = nnx.Dict(a=conv(3, 4))
    model.b = model.a
    assert len(torch.load(model, layer(rng, "a", 4, 3, 3, 2)).rows) == 2


def test_round_trip_under_our_own_names():
    rng = np.random.default_rng(3)
    torch.load(model := Net(), state := weights(rng))
    back = torch.to_state_dict(model)
    counters = {name for name in state if name.endswith("tracked")}
    assert back.keys() == state.keys() - counters
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name])
    back = torch.to_state_dict(model, like=state)
    assert list(back) == list(state)
    assert back["blocks.1.num_batches_tracked"] == 7


class LinenNet(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        x = linen.ConvTranspose(4, (2, 2), strides=2)(linen.Conv(4, (3, 2))(x))
        return flax.linen.BatchNorm(use_running_average=True)(linen.ConvTranspose(4, (2, 2), strides=2)(x))


@pytest.mark.parametrize("sort", [False, True], ids=["as made", "sorted"])
def test_linen_variables(rng, sort):
    variables = jax.eval_shape(LinenNet().init, jax.random.key(0), jnp.zeros((1, 5, 4, 3)))
    variables = jax.tree.map(lambda a: a, variables) if sort else variables
    state = layer(rng, "a", 4, 3, 3, 2) | transposed(rng, "b", 4, 4, 2, 2) | transposed(rng, "c", 4, 4, 2, 2)
    state |= bn(rng, "d", 4)
    loaded = torch.load(variables, state).model
    np.testing.assert_array_equal(
        loaded["params"]["ConvTranspose_1"]["kernel"][1, 0], state["c.weight"][..., 1, 0].T
    )
    np.testing.assert_array_equal(loaded["batch_stats"]["BatchNorm_0"]["var"], state["d.running_var"])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))


@pytest.mark.parametrize(
    ("model", "source", "words"),
    [
        (3, {}, "the model is a builtins.int; give an NNX module"),
        (nnx.Dict(), {}, "the model holds no arrays"),
        (None, {"a": 3.0}, r"has \['a'\], none of them an array"),
        (None, {"a": {"b": np.zeros(3)}}, r"has \['a'\], none of them an array"),
        (None, {"a": np.zeros(3), "epoch": 3}, r"\['epoch'\] are no arrays"),
    ],
    ids=str,
)
def test_bad_arguments(model, source, words):
    model = conv(3, 4) if model is None else model
    source = source or {"weight": np.zeros((4, 3, 3, 2), np.float32)}
    with pytest.raises(ValueError, match=words):
        torch.load(model, source)


def test_checkpoints_have_their_weights_in_an_entry(rng):
    state = layer(rng, "a", 4, 3, 3, 2)
    assert len(torch.load(nnx.Dict(a=conv(3, 4)), {"epoch": 3, "state_dict": state}).rows) == 2
