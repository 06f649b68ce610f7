"""Programs of torch.export as functions of JAX: values and gradients of whole networks, and each operator."""

import warnings

import jax
import numpy as np
import pytest

from jaxconv.interop import torch as interop
from jaxconv.testing import assert_close
from tests.torch_cases import QUICKLY
from tests.torch_nets import NETS, F, made, tn, torch


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
    functions = [function, interop.from_exported(core)[0]]

    def loss(params):
        results = [run(params, x) for run in functions]
        return (results[0] ** 2).sum(), results

    grads, results = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICKLY)(params)
    for out in results:
        assert_close(out, y, contraction=4096)
    (net(torch.as_tensor(x)) ** 2).sum().backward()
    for name, tensor in net.named_parameters():
        assert_close(grads[name], tensor.grad.numpy(), contraction=2**16, label=name)


ACTIVATIONS = (
    "relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
    "hardtanh", "logsigmoid", "hardsigmoid",
)  # fmt: skip
ELEMENTWISE = (
    "exp", "abs", "sin", "cos", "floor", "ceil", "neg", "sign", "erf",
    "square", "sigmoid", "tanh", "expm1", "reciprocal",
)  # fmt: skip


def pointwise(x):
    for name in ACTIVATIONS:
        yield getattr(F, name)(x * 3)
    yield F.gelu(x, approximate="tanh")
    for name in ELEMENTWISE:
        yield getattr(torch, name)(x)
    size = x.abs()
    yield from (torch.sqrt(size), torch.rsqrt(size + 1), torch.log(size + 1), torch.log1p(size))
    yield from (torch.add(x, x, alpha=2), torch.sub(x, 1, alpha=3), 2 - x, x / (x.abs() + 1), x**2, 2 * x)
    yield from (torch.maximum(x, -x), torch.minimum(x, -x), torch.where(x > 0, x, x * 2))
    yield from (x.clamp(-1, 0.5), x.clamp(min=0))
    yield from (torch.div(x, 2, rounding_mode=mode) for mode in ("floor", "trunc"))


def reductions_and_shapes(x):
    yield from (x.sum(), x.mean(), x.sum((1, 2)), x.mean(-1, keepdim=True), x.amax((2, 3)), x.amin(1))
    yield from (x.var((1, 2)), x.std(3, correction=0), x.argmax(1), x.softmax(1), x.log_softmax(2))
    yield from (x.max(2)[0], x.max(2)[1], x.min(1).values)
    yield from (x.flatten(1, 2), x.unflatten(1, (2, 2)), x[:, 1:, ::2, 3], x[1])
    yield from (x.unsqueeze(1), x[:, :1].squeeze(1), x.permute(0, 2, 3, 1), x.transpose(1, 3), x.flip([2]))
    yield from (x.roll((1, 2), (2, 3)), torch.stack([x, -x], 1))
    yield from (x[:1].expand(3, -1, -1, -1), x.repeat(1, 2, 1, 1))
    yield from (*x.chunk(2, 1), *x.split(3, 3), *x.split([1, 4], 2))
    yield from (torch.ones_like(x), torch.zeros_like(x))
    yield from (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x[:, :, :4], 2), F.channel_shuffle(x, 2))


def windows(x, line, volume):
    n = torch.arange(3, dtype=torch.float32)
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


class Everything(tn.Module):
    """Operators that no network above has, one result each."""

    def forward(self, x, line, volume):
        return (*pointwise(x), *reductions_and_shapes(x), *windows(x, line, volume))


def test_every_operator():
    rng = np.random.default_rng(0)
    shapes = (2, 4, 5, 6), (2, 3, 7), (2, 2, 4, 3, 5)
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    wanted = Everything()(*map(torch.as_tensor, inputs))
    function, params = interop.from_exported(exported(Everything(), *inputs))
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
