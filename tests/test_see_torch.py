"""captum on the same network: the same definitions, and what its hooks miss."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.explain import see
from tests.see_nets import NETS, image
from tests.see_oracle import FIRST, SECOND, Network, Weights

torch = pytest.importorskip("torch", reason="compares with captum; test_see.py compares with NumPy")
attr = pytest.importorskip("captum.attr")
functional = torch.nn.functional


def make(weights: Weights, form: str):
    """Rectifiers as one module for each call, one for all, or functions."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(2, 4, (3, 2)), torch.nn.Conv2d(4, 4, 3)
            self.rectifiers = torch.nn.ModuleList([torch.nn.ReLU() for _ in range(3)])

        def rectify(self, x, call: int):
            return (
                functional.relu(x)
                if form == "functions"
                else self.rectifiers[0 if form == "one" else call](x)
            )

        def forward(self, x):
            (top, bottom), (left, right) = FIRST
            x = functional.pad(x, (left, right, top, bottom))
            x = functional.max_pool2d(self.rectify(self.first(x), 0), 2)
            (top, bottom), (left, right) = SECOND
            for call in (1, 2):
                x = self.rectify(self.second(functional.pad(x, (left, right, top, bottom))), call)
            return x.mean((2, 3)) @ torch.tensor(weights.dense)

    net = Net()
    with torch.no_grad():
        for layer, kernel, bias in (
            (net.first, weights.first, weights.first_bias),
            (net.second, weights.second, weights.second_bias),
        ):
            layer.weight.copy_(torch.tensor(np.transpose(kernel, (3, 2, 0, 1)).copy()))
            layer.bias.copy_(torch.tensor(bias))
    return net


def captum(name: str, net, x: np.ndarray, **options) -> np.ndarray:
    given = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it sets hooks
        found = getattr(attr, name)(net).attribute(given, target=1, **options)
    return np.moveaxis(found.detach().numpy(), 1, -1)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() < 1e-5 * np.abs(b).max())


OURS = {
    "Saliency": ("gradient", see.gradient, {"abs": False}),
    "Deconvolution": ("deconvnet", see.deconvnet, {}),
    "GuidedBackprop": ("guided", see.guided_backprop, {}),
}


@pytest.mark.parametrize("method", OURS)
def test_captum_agrees_where_each_rectifier_is_a_module(method: str, rng: np.random.Generator) -> None:
    weights, x = Weights.drawn(rng), image(rng)
    rule, ours, options = OURS[method]
    case = NETS["nnx"](weights, x)
    theirs = captum(method, make(weights, "modules"), x, **options)
    assert same(np.asarray(ours(case.fn, *case.args, target=1)), theirs)
    assert same(Network(weights, x).back(rule, 1), theirs)


@pytest.mark.parametrize("method", ["Deconvolution", "GuidedBackprop"])
def test_captum_misses_functions(method: str, rng: np.random.Generator) -> None:
    """Hooks are on modules: where the rectifier is a function, captum gives the plain gradient."""
    weights, x = Weights.drawn(rng), image(rng)
    theirs, by_hand = captum(method, make(weights, "functions"), x), Network(weights, x)
    assert same(theirs, by_hand.back("gradient", 1))
    assert not same(theirs, by_hand.back(OURS[method][0], 1))


def test_integrated_gradients_and_grad_cam(rng: np.random.Generator) -> None:
    weights, x = Weights.drawn(rng), image(rng)
    net, case = make(weights, "modules"), NETS["nnx"](weights, x)
    theirs = captum("IntegratedGradients", net, x, n_steps=16, method="gausslegendre")
    assert same(np.asarray(see.integrated_gradients(case.fn, *case.args, target=1, steps=16).values), theirs)
    given = torch.tensor(np.moveaxis(x, -1, 1).copy())
    cam = attr.LayerGradCam(net, net.rectifiers[2]).attribute(given, target=1).detach().numpy()[:, 0]
    ours = see.grad_cam(case.fn, jnp.asarray(x), layer="second#1+relu", target=1, signed=True, enlarge=False)
    assert same(np.asarray(ours), cam)
