"""Dense layers next to convolutions: the same numbers in another order, in the one that was told."""

import numpy as np
import pytest
from flax import nnx

from jaxconv.interop import torch

from .test_interop_load import _new, bn, conv, dense, layer, norm, snapshot, unchanged


def flat_net(rng):
    state = layer(rng, "conv", 3, 2, 1, 1) | layer(rng, "fc", 5, 3 * 4 * 2)
    return nnx.Dict(conv=conv(2, 3, (1, 1)), fc=dense(3 * 4 * 2, 5)), state


@pytest.mark.parametrize("flatten", [(3, 4, 2), {"fc": (3, 4, 2)}], ids=str)
def test_flatten(rng, flatten):
    model, state = flat_net(rng)
    torch.load(model, state, flatten=flatten)
    maps = _new(rng, (3, 4, 2))
    theirs = state["fc.weight"] @ maps.ravel()
    ours = np.moveaxis(maps, 0, -1).ravel() @ np.asarray(model.fc.kernel[...])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=24 * np.finfo(np.float32).eps * 24)
    back = torch.to_state_dict(model, like=state, flatten=flatten)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)


def test_flatten_must_be_told(rng):
    model, state = flat_net(rng)
    before = snapshot(model)
    with pytest.raises(
        ValueError, match=r"fc takes 24 features, after .* 3 channels.*flatten=\(3, H, W\) with H·W = 8"
    ):
        torch.load(model, state)
    unchanged(model, before)
    with pytest.raises(ValueError, match=r"flatten=\(3, 4, 3\) has 36 elements; fc has 24 features"):
        torch.load(model, state, flatten=(3, 4, 3))
    torch.load(model, state, flatten=False)
    np.testing.assert_array_equal(model.fc.kernel[...], state["fc.weight"].T)


@pytest.mark.parametrize("flatten", [(3, 4, 2), {"mean": (3, 4, 2), "spread": (3, 4, 2)}], ids=str)
def test_flatten_of_two_heads(rng, flatten):
    """As a variational autoencoder has them: both take the same maps; the layer behind takes features."""
    state = layer(rng, "conv", 3, 2, 1, 1) | layer(rng, "mean", 5, 24) | layer(rng, "spread", 5, 24)
    state |= layer(rng, "last", 6, 5)
    model = nnx.Dict(conv=conv(2, 3, (1, 1)), mean=dense(24, 5), spread=dense(24, 5), last=dense(5, 6))
    with pytest.raises(ValueError, match="spread takes 24 features, after a convolution with 3 channels"):
        torch.load(model, state, flatten={"mean": (3, 4, 2)})
    torch.load(model, state, flatten=flatten)
    maps = _new(rng, (3, 4, 2))
    for head, ours in (("mean", model.mean), ("spread", model.spread)):
        theirs = state[f"{head}.weight"] @ maps.ravel()
        result = np.moveaxis(maps, 0, -1).ravel() @ np.asarray(ours.kernel[...])
        np.testing.assert_allclose(result, theirs, rtol=0, atol=24 * np.finfo(np.float32).eps * 24)
    np.testing.assert_array_equal(model.last.kernel[...], state["last.weight"].T)
    back = torch.to_state_dict(model, like=state, flatten=flatten)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)


def test_flatten_names_dense_layers(rng):
    model, state = flat_net(rng)
    for options in ({"flatten": {"fc1": (3, 4, 2)}}, {"unflatten": {"conv": (3, 4, 2)}}):
        with pytest.raises(ValueError, match=r"flatten names \['\w+'\]; the source's dense layers are"):
            torch.load(model, state, **options)


def test_flatten_without_an_order_of_layers(rng):
    """By the alphabet the dense layers come before the convolutions that they follow and precede."""
    state = layer(rng, "a", 5, 24) | layer(rng, "b", 24, 5) | layer(rng, "conv", 3, 3, 1, 1)
    state = {name: state[name] for name in sorted(state)}

    def variables(*sizes):
        return {"bias": np.zeros(sizes[-1], np.float32), "kernel": np.zeros(sizes, np.float32)}

    model = {"a": variables(24, 5), "b": variables(5, 24), "conv": variables(1, 1, 3, 3)}
    for options in ({}, {"flatten": (3, 4, 2)}):
        with pytest.raises(ValueError, match=r"whether a takes flattened maps .*flatten={'a': \(C, H, W\)}"):
            torch.load(model, state, **options)
    told = {"flatten": {"a": (3, 4, 2)}}
    with pytest.raises(ValueError, match=r"whether b gives flattened maps .*unflatten={'b': \(C, H, W\)}"):
        torch.load(model, state, **told)
    loaded = torch.load(model, state, **told, unflatten={"b": (3, 4, 2)}).model
    order = np.arange(24).reshape(3, 8).T.ravel()
    np.testing.assert_array_equal(loaded["a"]["kernel"], state["a.weight"].T[order])
    np.testing.assert_array_equal(loaded["b"]["kernel"], state["b.weight"].T[:, order])
    np.testing.assert_array_equal(loaded["b"]["bias"], state["b.bias"][order])


def test_pooled_features_have_one_order(rng):
    state = layer(rng, "conv", 3, 2, 1, 1) | layer(rng, "fc", 5, 3)
    torch.load(model := nnx.Dict(conv=conv(2, 3, (1, 1)), fc=dense(3, 5)), state)
    np.testing.assert_array_equal(model.fc.kernel[...], state["fc.weight"].T)


def test_unflatten_reaches_the_normalisation_between(rng):
    state = layer(rng, "fc", 3 * 4 * 2, 5) | bn(rng, "norm", 24) | layer(rng, "conv", 7, 3, 2, 2)
    normalisation = norm(24)
    model = nnx.Dict(fc=dense(5, 24), norm=normalisation, conv=conv(3, 7, (2, 2)))
    with pytest.raises(ValueError, match="fc gives 24 features, before a convolution with 3 channels"):
        torch.load(model, state)
    torch.load(model, state, unflatten=(3, 4, 2))
    for theirs, ours in {"fc.bias": model.fc.bias, "norm.running_var": normalisation.var}.items():
        wanted = np.moveaxis(state[theirs].reshape(3, 4, 2), 0, -1).ravel()
        np.testing.assert_array_equal(ours[...], wanted)
    back = torch.to_state_dict(model, like=state, unflatten=(3, 4, 2))
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)


def test_a_dense_layer_may_be_a_convolution_here(rng):
    """VGG's fc6 over the whole map, as fully convolutional networks have it."""
    state = layer(rng, "conv", 3, 2, 1, 1) | layer(rng, "fc", 5, 3 * 4 * 2)
    torch.load(model := nnx.Dict(conv=conv(2, 3, (1, 1)), fc=conv(3, 5, (4, 2))), state)
    weight = state["fc.weight"].reshape(5, 3, 4, 2)
    for h, w, i, o in np.ndindex(4, 2, 3, 5):
        assert model.fc.kernel[h, w, i, o] == weight[o, i, h, w]
    np.testing.assert_array_equal(torch.to_state_dict(model, like=state)["fc.weight"], state["fc.weight"])
