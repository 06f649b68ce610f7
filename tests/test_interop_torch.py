"""PyTorch's networks here: their weights in NNX models and back, and exported programs as functions."""

import os
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import nn
from jaxconv.interop import torch as interop
from jaxconv.testing import assert_close
from tests.torch_cases import QUICKLY

torch = pytest.importorskip("torch", reason="compares with PyTorch")
tn, F = torch.nn, torch.nn.functional


class Block(tn.Module):
    """A residual block, with a projection where the size changes."""

    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1, self.bn1 = tn.Conv2d(a, b, 3, stride, 1, bias=False), tn.BatchNorm2d(b)
        self.conv2, self.bn2 = tn.Conv2d(b, b, 3, 1, 1, bias=False), tn.BatchNorm2d(b)
        self.down = (
            tn.Sequential(tn.Conv2d(a, b, 1, stride), tn.BatchNorm2d(b)) if stride > 1 else tn.Identity()
        )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.down(x))


class ResNet(tn.Sequential):
    def __init__(self):
        stem = [tn.Conv2d(3, 4, 5, 2, 2), tn.BatchNorm2d(4), tn.ReLU(inplace=True), tn.MaxPool2d(3, 2, 1)]
        blocks = [Block(4, 4, 1), Block(4, 6, 2), Block(6, 6, 1)]
        super().__init__(
            *stem, *blocks, tn.AdaptiveAvgPool2d(1), tn.Flatten(), tn.Dropout(0.3), tn.Linear(6, 5)
        )


class UNet(tn.Module):
    """Two levels, the first joined by indices, the second by features."""

    def __init__(self):
        super().__init__()
        self.enc1, self.enc2, self.mid = (
            tn.Conv2d(3, 4, 3, 1, 1),
            tn.Conv2d(4, 6, 3, 1, 1),
            tn.Conv2d(6, 8, 3, 1, 1),
        )
        self.up2, self.dec2 = tn.ConvTranspose2d(8, 6, 2, 2), tn.Conv2d(12, 4, 3, 1, 1)
        self.up1 = tn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1, groups=2)
        self.out = tn.Conv2d(8, 2, 1)
        self.norm, self.act = tn.GroupNorm(2, 4), tn.PReLU(4)

    def forward(self, x):
        a = self.act(self.enc1(x))
        b, where = F.max_pool2d(F.leaky_relu(self.enc2(F.avg_pool2d(a, 2)), 0.1), 2, return_indices=True)
        c = torch.cat([F.max_unpool2d(b, where, 2), self.up2(F.silu(self.mid(b)))], 1)
        return self.out(torch.cat([self.norm(self.up1(self.dec2(c))), a], dim=1))


class MobileNet(tn.Module):
    """Inverted residuals with squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.stem = tn.Sequential(tn.Conv2d(3, 4, 3, 2, 1, bias=False), tn.BatchNorm2d(4), tn.Hardswish())
        self.wide = tn.Sequential(
            tn.Conv2d(4, 8, 1), tn.ReLU6(), tn.Conv2d(8, 8, 3, 1, 2, 2, groups=8), tn.ReLU6()
        )
        self.squeeze = tn.Sequential(
            tn.AdaptiveAvgPool2d(1), tn.Conv2d(8, 2, 1), tn.ReLU(), tn.Conv2d(2, 8, 1)
        )
        self.thin = tn.Conv2d(8, 4, 1)
        self.head = tn.Sequential(tn.Linear(4, 6), tn.Hardswish(), tn.Linear(6, 3))

    def forward(self, x):
        x = self.stem(x)
        y = self.wide(x)
        x = x + self.thin(y * F.hardsigmoid(self.squeeze(y)))
        return F.log_softmax(self.head(x.mean([2, 3])), dim=1)


class Generator(tn.Module):
    """DCGAN's: a dense layer whose outputs are reshaped to maps, then transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm = tn.Linear(5, 6 * 2 * 3), tn.BatchNorm1d(6 * 2 * 3)
        self.up1, self.bn1 = tn.ConvTranspose2d(6, 4, 4, 2, 1, bias=False), tn.BatchNorm2d(4)
        self.up2 = tn.ConvTranspose2d(4, 3, 4, 2, 1)

    def forward(self, z):
        x = F.relu(self.norm(self.fc(z))).view(z.shape[0], 6, 2, 3)
        return torch.tanh(self.up2(F.relu(self.bn1(self.up1(x)))))


NETS = {ResNet: (2, 3, 33, 25), UNet: (2, 3, 8, 12), MobileNet: (2, 3, 12, 9), Generator: (3, 5)}


def made(cls):
    """A network with random weights and statistics, in evaluation mode, an input, and what it makes of it."""
    torch.manual_seed(0)
    net = cls().eval()
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(
                torch.rand_like(tensor) + 0.5 if name.endswith("var") else torch.randn_like(tensor) / 3
            )
    x = torch.randn(NETS[cls])
    with torch.no_grad():
        return net, x.numpy(), net(x).numpy()


def exported(net, *inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's, of its own use of pytrees
        return torch.export.export(net, tuple(map(torch.as_tensor, inputs)))


@pytest.mark.parametrize("cls", NETS)
def test_exported(cls):
    """Values, and gradients of all parameters, of the program as it was exported and in core operators."""
    net, x, y = made(cls)
    program = exported(net, x)
    function, params = interop.from_exported(program)
    assert params.keys() == {name for name in net.state_dict() if not name.endswith("tracked")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        core = program.run_decompositions()
    # Unpooling becomes an assignment by index there, which has no counterpart.
    functions = [function] + [interop.from_exported(core)[0]] * (cls is not UNet)

    def loss(params):
        results = [run(params, x) for run in functions]
        return (results[0] ** 2).sum(), results

    grads, results = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICKLY)(params)
    for out in results:
        assert_close(out, y, contraction=4096)
    (net(torch.as_tensor(x)) ** 2).sum().backward()
    for name, tensor in net.named_parameters():
        assert_close(grads[name], tensor.grad.numpy(), contraction=2**16, label=name)


class Everything(tn.Module):
    """Operators that no network above has, one result each."""

    def forward(self, x, line, volume):
        n = torch.arange(3, dtype=torch.float32)
        for name in [
            "relu",
            "relu6",
            "elu",
            "selu",
            "celu",
            "gelu",
            "silu",
            "mish",
            "softplus",
            "hardtanh",
            "logsigmoid",
            "hardsigmoid",
        ]:
            yield getattr(F, name)(x * 3)
        yield F.gelu(x, approximate="tanh")
        for name in [
            "exp",
            "abs",
            "sin",
            "cos",
            "floor",
            "ceil",
            "neg",
            "sign",
            "erf",
            "square",
            "sigmoid",
            "tanh",
            "expm1",
            "reciprocal",
        ]:
            yield getattr(torch, name)(x)
        yield from (
            torch.sqrt(x.abs()),
            torch.rsqrt(x.abs() + 1),
            torch.log(x.abs() + 1),
            torch.log1p(x.abs()),
        )
        yield from (torch.add(x, x, alpha=2), torch.sub(x, 1, alpha=3), 2 - x, x / (x.abs() + 1), x**2, 2 * x)
        yield from (
            torch.maximum(x, -x),
            torch.minimum(x, -x),
            torch.where(x > 0, x, x * 2),
            x.clamp(-1, 0.5),
        )
        yield from (
            x.clamp(min=0),
            torch.div(x, 2, rounding_mode="floor"),
            torch.div(x, 2, rounding_mode="trunc"),
        )
        yield from (x.sum(), x.mean(), x.sum((1, 2)), x.mean(-1, keepdim=True), x.amax((2, 3)), x.amin(1))
        yield from (
            x.var((1, 2)),
            x.std(3, correction=0),
            x.max(2)[0],
            x.max(2)[1],
            x.min(1).values,
            x.argmax(1),
        )
        yield from (
            x.softmax(1),
            x.log_softmax(2),
            x.flatten(1, 2),
            x.unflatten(1, (2, 2)),
            x[:, 1:, ::2, 3],
            x[1],
        )
        yield from (
            x.unsqueeze(1),
            x[:, :1].squeeze(1),
            x.permute(0, 2, 3, 1),
            x.transpose(1, 3),
            x.flip([2]),
        )
        yield from (
            x.roll((1, 2), (2, 3)),
            torch.stack([x, -x], 1),
            x[:1].expand(3, -1, -1, -1),
            x.repeat(1, 2, 1, 1),
        )
        yield from (
            *x.chunk(2, 1),
            *x.split(3, 3),
            *x.split([1, 4], 2),
            torch.ones_like(x),
            torch.zeros_like(x),
        )
        yield from (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x[:, :, :4], 2), F.channel_shuffle(x, 2))
        for mode in ("constant", "reflect", "replicate", "circular"):
            yield F.pad(x, (1, 2, 0, 3), mode=mode)
        yield from (
            F.pad(x, (-1, 2, 1, -2), value=3.0),
            F.pad(line, (2, 1), mode="reflect"),
            F.pad(volume, (1,) * 6),
        )
        yield from (F.max_pool1d(line, 3, 2, 1), F.max_pool3d(volume, 2, 1), F.avg_pool1d(line, 3, 2, 1))
        yield from (F.max_pool2d(x, 3, 2, 1, ceil_mode=True), F.max_pool2d(x, 2, 1, dilation=(2, 1)))
        yield F.avg_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True, count_include_pad=False)
        yield from (F.avg_pool3d(volume, 2, divisor_override=3), F.adaptive_avg_pool2d(x, (2, 3)))
        yield from (
            F.adaptive_max_pool2d(x, 2),
            F.adaptive_avg_pool1d(line, 4),
            F.adaptive_avg_pool3d(volume, 2),
        )
        for options in ({"size": (7, 9)}, {"scale_factor": (2.0, 1.7)}, {"scale_factor": 0.6}):
            for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
                yield F.interpolate(x, mode=mode, **options)
            yield F.interpolate(x, mode="bilinear", align_corners=True, **options)
        yield F.interpolate(x, size=(3, 4), mode="bicubic", antialias=True)
        yield from (
            F.interpolate(line, size=11, mode="linear"),
            F.interpolate(volume, scale_factor=2, mode="trilinear"),
        )
        yield from (F.interpolate(line, scale_factor=2), F.interpolate(volume, size=(2, 5, 3)))
        yield from (F.layer_norm(x, (5, 6)), F.instance_norm(x), F.group_norm(x, 2))
        yield from (x @ x.transpose(2, 3), torch.addmm(n, line[0, :, :3], torch.ones(3, 3), alpha=2, beta=3))
        yield from (
            F.conv1d(line, line[:, :, :3], padding="same"),
            F.conv3d(volume, volume[:, :, :2, :1, :2], padding=1),
        )
        yield from (
            F.conv_transpose1d(line, line[:1].transpose(0, 1), stride=3),
            F.conv2d(x, x[:, :2], groups=2),
        )


class Wrapped(tn.Module):
    def forward(self, *inputs):
        return tuple(Everything().forward(*inputs))


def test_every_operator():
    rng = np.random.default_rng(0)
    shapes = (2, 4, 5, 6), (2, 3, 7), (2, 2, 4, 3, 5)
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    wanted = Wrapped()(*map(torch.as_tensor, inputs))
    function, params = interop.from_exported(exported(Wrapped(), *inputs))
    assert not [name for name in params if "lifted" not in name and "constant" not in name]
    got = jax.jit(function, compiler_options=QUICKLY)(params, *inputs)
    assert len(got) == len(wanted) > 100
    for i, (ours, theirs) in enumerate(zip(got, wanted, strict=True)):
        if theirs.is_floating_point():
            assert_close(ours, theirs.numpy(), contraction=1024, label=f"result {i}")
        else:
            np.testing.assert_array_equal(ours, theirs.numpy(), err_msg=f"result {i}")


def test_what_has_no_counterpart_is_listed_first():
    class Odd(tn.Module):
        def forward(self, x):
            return torch.linalg.det(torch.fft.fft(F.dropout(x)).real)

    with pytest.raises(ValueError, match=r"^[34] operators") as error:
        interop.from_exported(exported(Odd(), np.zeros((3, 3), np.float32)))
    for part in (
        "dropout.default in training mode (call model.eval() first)",
        "aten.fft_fft",
        "aten.linalg_det",
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match=r"batch_norm\.default in training mode"):
        interop.from_exported(exported(tn.BatchNorm2d(3), np.zeros((2, 3, 4, 5), np.float32)))
    function, params = interop.from_exported(exported(tn.ReLU(), np.zeros(3, np.float32)))
    with pytest.raises(ValueError, match="got 2 inputs, wanted 1"):
        function(params, 1.0, 2.0)


# Weights in models of NNX, and back


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
