"""The operators as compiled for an H100 and a TPU v5e that are not there: what the programs execute.

They need the devices' compilers, which live in an environment of their own: `make targets`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxconv
from benchmarks.target_cases import CASES
from benchmarks.target_tables import MOST_TIME, MOST_WORK, speed, work
from benchmarks.targets import compile_row
from benchmarks.workloads import SLOTS, WORKLOADS, Workload
from jaxconv import cli, targets

ALL = (*WORKLOADS, *CASES)
BY_NAME = {w.name: w for w in ALL}
# Read from lax's equations, these are not what they seem.
READ = ("dcgan-first", "scipy-64x64")
HARD = (*(w for w in WORKLOADS if w.quick or w.name in READ), *CASES)
DEPTHWISE = ("mobilenet-depthwise", "conformer-depthwise", "mamba-depthwise")


def needs(device: str) -> pytest.MarkDecorator:
    reason = targets.missing(device)
    return pytest.mark.skipif(reason is not None, reason=f"{reason} `make targets` does all of that.")


h100, v5e = needs("h100"), needs("v5e")
slow = pytest.mark.slow
every = pytest.mark.parametrize(
    "workload", [w if w in HARD else pytest.param(w, marks=slow) for w in ALL], ids=lambda w: w.name
)
hard = pytest.mark.parametrize("workload", HARD, ids=lambda w: w.name)


def kinds(row: dict[str, Any]) -> set[str]:
    """Of the products, without their windows."""
    return {product.rpartition(" ")[0] or product for product in row["products"]}


def expected(workload: Workload, form_slot: str) -> set[str] | None:
    """cuDNN's operator for a slot, where there is only one right one."""
    axes = workload.spec.axes
    taps, places = (math.prod(getattr(a, name) for a in axes) for name in ("kernel", "out"))
    if workload.groups > 1 or any(a.dilation > 1 for a in axes) or len(axes) > 3 or taps > places:
        return None
    if form_slot == "weight_grad" and taps < places:
        product = taps == 1 and math.prod(a.size for a in axes) <= 64 and all(a.stride == 1 for a in axes)
        return {"dot" if product else "weight gradient"}
    return {"input gradient"} if form_slot == "input_grad" and any(a.stride > 1 for a in axes) else None


def rounding(workload: Workload) -> float:
    """What XLA may add to float16 channels of its own accord, so that tensor cores take them."""
    channels = (workload.in_features // workload.groups, workload.out_features)
    return math.prod(8 * -(-c // 8) / c for c in channels) if workload.groups == 1 else 1


def check_cuda(workload: Workload, dtype: str) -> None:
    for slot in SLOTS:
        row = compile_row(workload, slot, "jaxconv", "h100", dtype)
        assert "failed" not in row, row
        assert work(row) <= MOST_WORK * (rounding(workload) if dtype == "float16" else 1), row
        # What the user's channels are is not the operator's to change.
        assert set(row["findings"]) <= {"odd-channels"}, row
        assert kinds(row) <= {"forward", "input gradient", "weight gradient", "dot"}, row
        assert kinds(row) == (expected(workload, row["form_slot"]) or kinds(row)), row


def own_border(workload: Workload) -> float:
    """What Flax's layer adds to a causal convolution's input beforehand; its gradient is computed too."""
    pads = [a.size + a.lo for a in workload.spec.axes] if workload.padding == "CAUSAL" else []
    return math.prod(p / a.size for p, a in zip(pads, workload.spec.axes, strict=False))


@h100
@every
def test_cuda_installed(workload):
    """Stock's convolutions under install() are as free of faults as jaxconv's operators."""
    for slot in SLOTS:
        row = compile_row(workload, slot, "installed", "h100", "float32")
        assert "failed" not in row, row
        assert work(row) <= MOST_WORK * (own_border(workload) if slot == "input_grad" else 1), row
        assert row["findings"] == [], row


@h100
@every
def test_cuda_float32(workload):
    check_cuda(workload, "float32")


@h100
@slow
@hard
def test_cuda_bfloat16(workload):
    check_cuda(workload, "bfloat16")


@h100
@slow
@pytest.mark.parametrize("workload", CASES, ids=lambda w: w.name)
def test_cuda_float16(workload):
    check_cuda(workload, "float16")


@h100
@pytest.mark.parametrize(
    ("name", "slot", "violation"),
    [
        ("unet-up-3x3", "forward", "zero-stuffed-input"),
        ("unet-up-3x3", "weight_grad", "oversized-window"),
        ("strided-grouped", "input_grad", "zero-stuffed-input"),
        ("causal-dilated", "forward", "dilated-kernel"),
        ("lightfield-4d", "forward", "loop-emitter"),
    ],
)
def test_the_checks_can_fail(name, slot, violation):
    """Stock's own programs have each of the faults that jaxconv's are free of."""
    row = compile_row(BY_NAME[name], slot, "stock", "h100", "float32")
    assert violation in row["findings"]
    assert work(row) > MOST_WORK or violation == "loop-emitter"


def form(x, kernel_shape, out) -> int:
    """Multiply-adds of a convolution without groups, by its shapes."""
    return x.shape[0] * math.prod(out) * math.prod(kernel_shape)


@h100
def test_cuda_transformed():
    """Both gradients of a mapped kernel, of a composition, and of a scan over layers."""
    x = jax.ShapeDtypeStruct((2, 30, 32, 16), "float32")
    kernels = jax.ShapeDtypeStruct((3, 3, 3, 16, 32), "float32")

    def loss(x, kernels):
        return jnp.sum(jax.vmap(lambda k: jaxconv.conv(x, k, stride=2, padding=1))(kernels) ** 2)

    report = targets.compile_for(jax.grad(loss, (0, 1)), x, kernels, device="h100", kernel=(3, 3))
    once = 3 * form(x, kernels.shape[1:], (15, 16))
    assert [f.kind for f in report.findings] == []
    assert 0 < report.multiply_adds <= MOST_WORK * 3 * once

    def upsample(x, kernels):
        y = jax.vmap(lambda x, k: jaxconv.conv_transpose(x, k, stride=2, output_padding=1))(x, kernels)
        return jnp.sum(y**2)

    xs = jax.ShapeDtypeStruct((3, 2, 14, 15, 16), "float32")
    up = jax.ShapeDtypeStruct((3, 3, 3, 8, 16), "float32")
    report = targets.compile_for(jax.grad(upsample, (0, 1)), xs, up, device="h100", kernel=(3, 3))
    assert [f.kind for f in report.findings] == []
    assert 0 < report.multiply_adds <= MOST_WORK * 3 * 3 * 2 * 14 * 15 * 9 * 8 * 16


@v5e
@pytest.mark.parametrize("name", [w.name for w in ALL if w.name in DEPTHWISE])
@pytest.mark.parametrize("slot", ["forward", "input_grad"])
def test_tpu_depthwise(name, slot):
    stock, ours = (compile_row(BY_NAME[name], slot, c, "v5e", "bfloat16") for c in ("stock", "jaxconv"))
    assert ours["algorithm"] == "depthwise_mac"
    assert (speed((stock, ours)) or 0) > 3


@v5e
@slow
@pytest.mark.parametrize("workload", [*CASES[:4], *CASES[-4:]], ids=lambda w: w.name)
def test_tpu_is_no_worse_than_stock(workload):
    for slot in SLOTS:
        stock, ours = (compile_row(workload, slot, c, "v5e", "bfloat16") for c in ("stock", "jaxconv"))
        assert "failed" not in ours
        ratio = speed((stock, ours))
        assert ratio is None or ratio * MOST_TIME >= 1, (stock, ours)
        assert ours["bytes_accessed"] > 0


@v5e
def test_collectives_are_counted():
    """The gradient of a kernel over a divided batch is summed once."""
    mesh = Mesh(np.array(targets.topology("v5e", 4)), ("batch",))
    x = jax.ShapeDtypeStruct((8, 28, 28, 16), "float32", sharding=NamedSharding(mesh, PartitionSpec("batch")))
    kernel = jax.ShapeDtypeStruct((3, 3, 16, 32), "float32")
    grad = jax.grad(lambda k, x: jnp.sum(jaxconv.conv(x, k) ** 2))
    report = targets.compile_for(grad, kernel, x, device="v5e")
    assert report.collectives == (
        targets.Collective("all-reduce", ((3, 3, 16, 32),), 3 * 3 * 16 * 32 * 4, 1),
    )
    assert "1 all-reduce (18.0 KiB)" in str(report)


@h100
def test_arrays_trees_and_jitted_functions_are_taken():
    params = {"kernel": jnp.ones((3, 3, 8, 16)), "bias": jnp.ones(16)}
    fn = jax.jit(lambda p, x: jaxconv.conv(x, p["kernel"], p["bias"]))
    report = targets.compile_for(fn, params, np.ones((2, 9, 9, 8), np.float32), device="h100")
    assert [p.kind for p in report.products] == ["forward"]
    assert report.seconds is None
    assert report.memory.arguments > 4 * 2 * 9 * 9 * 8


@h100
def test_findings_of_a_plain_function():
    """Without a word on its kernels: jax.grad of a library's transposed convolution."""
    x, kernel = jax.ShapeDtypeStruct((8, 28, 28, 64), "f4"), jax.ShapeDtypeStruct((3, 3, 64, 32), "f4")

    def up(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jnp.sum(lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=numbers) ** 2)

    report = targets.compile_for(jax.grad(up, (0, 1)), x, kernel, device="h100")
    assert {"zero-stuffed-input", "oversized-window"} <= {f.kind for f in report.findings}
    assert "window 55x55" in str(report)


@h100
@pytest.mark.parametrize(("words", "told"), [([], "zero-stuffed-input"), (["--install"], "findings: none")])
def test_command_line(words, told, tmp_path, capsys):
    """An unchanged function, and the same under install()."""
    file = tmp_path / "up.py"
    file.write_text(
        "import jax, jax.numpy as jnp\n"
        "def up(x, kernel):\n"
        "    layout = ('NHWC', 'HWIO', 'NHWC')\n"
        "    y = jax.lax.conv_transpose(x, kernel, (2, 2), 'SAME', dimension_numbers=layout)\n"
        "    return jnp.sum(y**2)\n"
        "grads = jax.grad(up, (0, 1))\n"
    )
    assert cli.main(["targets", f"{file}:grads", "f32[8,28,28,64]", "f32[3,3,64,32]", *words]) == 0
    assert told in capsys.readouterr().out
