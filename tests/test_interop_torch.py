"""Weights of PyTorch's networks in NNX models of other names, and back; files that PyTorch wrote."""
# pyright: reportOptionalCall=false, reportAttributeAccessIssue=false

import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import nn
from jaxconv.interop import torch as interop
from jaxconv.testing import assert_close
from tests.torch_cases import QUICKLY
from tests.torch_nets import Generator, ResNet, made, tn, torch


def zeros(_key, shape, dtype=jnp.float32, **_):
    return jnp.asarray(np.zeros(shape, dtype))


OPTIONS = {"kernel_init": zeros, "bias_init": zeros}


class OurGenerator(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.fc = nnx.Linear(5, 36, rngs=rngs, **OPTIONS)
        self.norm = nnx.BatchNorm(36, use_running_average=True, rngs=rngs)
        self.up1 = nn.ConvTranspose(6, 4, (4, 4), 2, padding=1, use_bias=False, rngs=rngs, **OPTIONS)
        self.bn = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.up2 = nn.ConvTranspose(4, 3, (4, 4), 2, padding=1, rngs=rngs, **OPTIONS)

    def __call__(self, z):
        x = nnx.relu(self.norm(self.fc(z))).reshape(-1, 2, 3, 6)
        return jnp.tanh(self.up2(nnx.relu(self.bn(self.up1(x)))))


class OurBlock(nnx.Module):
    def __init__(self, a, b, stride, rngs):
        conv = {"use_bias": False, "padding": 1, "rngs": rngs, **OPTIONS}
        self.first = nn.Conv(a, b, (3, 3), stride, **conv)
        self.norm = nnx.BatchNorm(b, use_running_average=True, rngs=rngs)
        self.second = nn.Conv(b, b, (3, 3), **conv)
        self.again = nnx.BatchNorm(b, use_running_average=True, rngs=rngs)
        self.short, self.short_norm = nnx.data(None), nnx.data(None)
        if stride > 1:
            self.short = nn.Conv(a, b, (1, 1), stride, padding=0, rngs=rngs, **OPTIONS)
            self.short_norm = nnx.BatchNorm(b, use_running_average=True, rngs=rngs)

    def __call__(self, x):
        y = self.again(self.second(nnx.relu(self.norm(self.first(x)))))
        return nnx.relu(y + (x if self.short is None else self.short_norm(self.short(x))))


class OurResNet(nnx.Module):
    """Other names throughout: everything is found by order and shape."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.stem = nn.Conv(3, 4, (5, 5), 2, padding=2, rngs=rngs, **OPTIONS)
        self.stem_norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.pool = nn.MaxPool((3, 3), 2, padding=1)
        self.stages = nnx.List([OurBlock(4, 4, 1, rngs), OurBlock(4, 6, 2, rngs), OurBlock(6, 6, 1, rngs)])
        self.head = nnx.Linear(6, 5, rngs=rngs, **OPTIONS)

    def __call__(self, x):
        x = self.pool(nnx.relu(self.stem_norm(self.stem(x))))
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((1, 2)))


@pytest.mark.parametrize("source", ["state_dict", "pt", "checkpoint.pth", "safetensors"])
@pytest.mark.parametrize(
    ("theirs", "ours", "options"),
    [(ResNet, OurResNet, {}), (Generator, OurGenerator, {"unflatten": (6, 2, 3)})],
    ids=["resnet", "generator"],
)
def test_weights(theirs, ours, options, source, tmp_path):
    net, x, y = made(theirs)
    state = net.state_dict()
    interop.load(model := ours(), state, **options)
    if source == "state_dict":
        inputs = np.moveaxis(x, 1, -1)
        run = jax.jit(lambda x: model(x), compiler_options=QUICKLY)
        assert_close(run(inputs), np.moveaxis(y, 1, -1), contraction=4096)
        check_back(model, theirs, state, options)
        return
    path = tmp_path / f"net.{source}"
    if source == "safetensors":
        interop.save(model, path, like=state, **options)
        back = interop.to_state_dict(
            model, like=path, rename=None if theirs is Generator else names(state), **options
        )
        assert all(np.array_equal(back[name], state[name].numpy()) for name in back)
        return
    torch.save({"epoch": 3, "state_dict": state} if "checkpoint" in source else state, path)
    interop.load(other := ours(), path, **options)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(other), nnx.state(model))


def names(state):
    """The layers of the ResNet, which a sorted file does not tell apart, by those of ours."""
    words = {"conv1": "first", "bn1": "norm", "conv2": "second", "bn2": "again"}
    words |= {"down.0": "short", "down.1": "short_norm"}
    layers = {name.rpartition(".")[0] for name in state}
    inner = {name: f"stages.{int(name[0]) - 4}.{words[name[2:]]}" for name in layers if name[2:]}
    return inner | {"0": "stem", "1": "stem_norm", "10": "head"}


def check_back(model, cls, state, options):
    """Bit for bit, and PyTorch takes it."""
    back = interop.to_state_dict(model, like=state, **options)
    assert list(back) == list(state)
    for name, tensor in state.items():
        assert back[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(back[name], tensor.numpy())
    cls().load_state_dict({name: torch.from_numpy(array.copy()) for name, array in back.items()}, strict=True)


def test_bfloat16(tmp_path):
    layer = tn.Conv2d(3, 4, (3, 2)).to(torch.bfloat16)
    torch.save(layer.state_dict(), tmp_path / "net.pt")
    interop.load(model := nn.Conv(3, 4, (3, 2), rngs=nnx.Rngs(0), **OPTIONS), tmp_path / "net.pt")
    assert model.kernel[...].dtype == jnp.bfloat16
    wanted = layer.weight.detach().float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(np.asarray(model.kernel[...], np.float32), wanted)


class Exploit:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_file_is_not_run(write, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "net.pt"
    write({"weight": Exploit(trace)}, path)
    with pytest.raises(
        ValueError, match=r"may be code and was not run: .*save model.state_dict\(\) as .safetensors"
    ):
        interop.load(nn.Conv(3, 4, (3, 2), rngs=nnx.Rngs(0), **OPTIONS), path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert trace.exists()  # the file is what it is meant to be


@pytest.mark.parametrize("keep", [0, 0.1, 0.6, 0.99])
def test_truncated(keep, tmp_path):
    path = tmp_path / "net.pt"
    torch.save(tn.Conv2d(3, 4, 3).state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match="is damaged, or holds more than tensors"):
        interop.load(nn.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0), **OPTIONS), path)
