"""What `jaxconv.summary` counts: against XLA's own count, against the gradients' jaxpr, and by hand."""

import builtins
import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

import jaxconv
from jaxconv import cli
from tests.test_dropin_models import MODELS

LAYOUT = ("NHWC", "HWIO", "NHWC")
X = jax.ShapeDtypeStruct((2, 9, 7, 4), jnp.float32)


def shaped(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def xla_multiply_adds(fn: Callable[..., Any], *args: Any) -> float:
    costs: Any = jax.jit(fn).lower(*args).cost_analysis()
    return costs["flops"] / 2


GEOMETRIES = {
    "plain": ({"padding": ((1, 1), (0, 2))}, "conv"),
    "cropped": ({"padding": ((-1, 2), (1, -1))}, "conv"),
    "strided": ({"window_strides": (2, 3), "padding": ((1, 0), (2, 1))}, "conv"),
    "dilated": ({"padding": ((1, 1), (0, 2)), "rhs_dilation": (2, 1)}, "conv"),
    "grouped": ({"window_strides": (2, 1), "padding": "SAME", "feature_group_count": 2}, "grouped conv"),
    "depthwise": ({"padding": "SAME", "feature_group_count": 4}, "depthwise conv"),
    "transposed": ({"padding": ((2, 1), (1, 2)), "lhs_dilation": (2, 3)}, "conv transpose"),
    "no slot": (
        {
            "window_strides": (3, 1),
            "lhs_dilation": (2, 2),
            "rhs_dilation": (1, 2),
            "padding": ((1, 0), (0, 2)),
        },
        "conv",
    ),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_equal_to_xlas_count(name: str) -> None:
    """Each slot of each geometry, as autodiff writes it: XLA too leaves out products with padding."""
    options, op = GEOMETRIES[name]
    kernel = shaped(3, 2, 4 // options.get("feature_group_count", 1), 8)
    options = {"window_strides": (1, 1), **options}

    def forward(kernel: Any, x: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, dimension_numbers=LAYOUT, **options)

    y = jax.eval_shape(forward, kernel, X)
    [row] = jaxconv.summary(forward, kernel, X, wrt=1)
    assert (row.op, row.output, row.parameters) == (op, y.shape, kernel.size)
    assert row.forward == xla_multiply_adds(forward, kernel, X) > 0
    slots = [
        (lambda k, y: jax.linear_transpose(lambda x: forward(k, x), X)(y)[0], kernel, y),
        (lambda x, y: jax.linear_transpose(lambda k: forward(k, x), kernel)(y)[0], X, y),
    ]
    for slot, a, b in slots:
        assert jaxconv.summary(slot, a, b, wrt=1).forward == xla_multiply_adds(slot, a, b) == row.forward


def test_matrix_products_equal_xlas_count() -> None:
    fn = lambda w, x: jnp.einsum("bhc,hcd->bhd", x, w)  # noqa: E731
    [row] = jaxconv.summary(fn, shaped(5, 6, 7), shaped(3, 5, 6), wrt=1)
    assert (row.op, row.parameters, row.forward) == ("matrix product", 210, 3 * 5 * 6 * 7)
    assert row.forward == xla_multiply_adds(fn, shaped(5, 6, 7), shaped(3, 5, 6))


@pytest.mark.parametrize("name", ["flax nnx", "flax linen", "equinox", "haiku"])
def test_models(name: str) -> None:
    """Parameters are those of the tree, work is that of all convolutions in the gradient's own jaxpr."""
    model = MODELS[name]()
    x, y = model.arrays()
    found = jaxconv.summary(model.predict, model.params, x)
    ops = ["conv", "conv", "depthwise conv" if name in ("flax linen", "haiku") else "grouped conv", "conv"]
    assert [row.op for row in found] == [*ops, "conv transpose"]
    assert found.parameters == sum(leaf.size for leaf in jax.tree.leaves(model.params))
    assert [row.parameters for row in found][:2] == [3 * 3 * 2 * 6 + 6, 6 * 3 * 3 * 8 + 8]
    plans = jaxconv.plan(jax.grad(model.loss), model.params, x, y)
    assert found.forward + found.backward == sum(p.count * p.plan.multiply_adds for p in plans)
    first, *rest = found
    assert first.backward == first.forward  # nobody needs the gradient of the input
    assert all(row.backward == 2 * row.forward for row in rest)
    assert {row.algorithm[0] for row in found} == {"("}


class Net(linen.Module):
    """A bit of everything."""

    @linen.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        x = linen.BatchNorm(use_running_average=not train)(linen.Conv(6, (3, 5), strides=(2, 1))(x))
        x = linen.relu(x) + linen.Conv(6, (3, 3), feature_group_count=6, use_bias=False)(x)
        x = linen.max_pool(x, (2, 2), (2, 2))
        x = linen.PReLU()(linen.ConvTranspose(4, (4, 4), strides=(2, 2))(x))
        return linen.Dense(10)(x.mean((1, 2)))


def summarized(**options: Any) -> jaxconv.graph.Summary:
    net, x = Net(), shaped(2, 16, 8, 3)
    return jaxconv.summary(net.apply, jax.eval_shape(net.init, jax.random.key(0), x), x, **options)


def test_layers_by_hand() -> None:
    found = summarized(platform="cuda")
    rows = {row.layer: row for row in found}
    assert list(rows) == ["Conv_0", "BatchNorm_0", "Conv_1", "Net", "ConvTranspose_0", "PReLU_0", "Dense_0"]
    first, norm, depthwise, pool, up, slope, dense = found
    assert (first.kernel, first.input, first.output) == ("3x5 s2x1", (2, 16, 8, 3), (2, 8, 8, 6))
    # Of 3 rows at 8 places one is padding once; of 5 columns at 8 places 2 + 1 on either side.
    assert first.forward == 2 * (24 - 1) * (40 - 6) * 3 * 6
    assert [row.parameters for row in found] == [3 * 5 * 3 * 6 + 6, 4 * 6, 9 * 6, 0, 4 * 4 * 6 * 4 + 4, 1, 50]
    assert (norm.op, norm.forward, norm.bytes) == ("scale and shift", 0, 4 * (2 * 2 * 8 * 8 * 6 + 24))
    assert (depthwise.op, depthwise.kernel) == ("depthwise conv", "3x3 g6")
    assert (pool.op, pool.kernel, pool.output) == ("max pool", "2x2 s2", (2, 4, 4, 6))
    assert (up.op, up.kernel, up.output) == ("conv transpose", "4x4 s2", (2, 8, 8, 4))
    assert up.bytes == 4 * (2 * 4 * 4 * 6 + 4 * 4 * 6 * 4 + 2 * 8 * 8 * 4)
    assert up.backward == 2 * up.forward
    assert (slope.parameters, dense.forward, dense.backward) == (1, 2 * 4 * 10, 2 * 2 * 4 * 10)
    assert [row.field.size for row in found] == [
        *[(3, 5)] * 2, (7, 7), (9, 8), (13, 10), (13, 10), (None, None),
    ]  # fmt: skip
    assert "reduce_sum" in dense.field[0].why
    assert found.platform == "cuda"
    assert first.algorithm == "(direct)"
    assert summarized(train=True, mutable=["batch_stats"])[1].field.size == (None, None)


def test_scans_count_their_rounds_and_shared_arrays_once() -> None:
    def fn(params: Any, x: Any) -> Any:
        step = lambda x, k: (jaxconv.conv(x, k, padding=1), None)  # noqa: E731
        x = lax.scan(step, x, params["stack"])[0]
        for _ in range(2):
            x = jaxconv.conv(x, params["shared"], padding=1)
        return x

    params = {"stack": shaped(5, 3, 3, 2, 2), "shared": shaped(3, 3, 2, 2)}
    scanned, first, second = jaxconv.summary(fn, params, shaped(1, 8, 8, 2))
    assert (scanned.count, scanned.parameters, scanned.forward) == (5, 5 * 36, 5 * first.forward)
    assert (first.parameters, second.parameters, first.forward) == (36, 0, second.forward)
    assert (scanned.field.size, second.field.size) == ((11, 11), (15, 15))


def test_plain_functions() -> None:
    """A kernel, a vector and a target by themselves, and arrays that are no parameters."""

    def loss(x: Any, kernel: Any, bias: Any, target: Any, ids: Any, table: Any) -> Any:
        y = jax.nn.sigmoid(jaxconv.conv(x, kernel, bias, stride=2, algorithm="im2col") * np.float32(2))
        return ((y - target) ** 2).sum() + table["t"][ids].sum()

    args = shaped(1, 9, 9, 3), shaped(3, 3, 3, 4), shaped(4), shaped(1, 4, 4, 4)
    ids = jax.ShapeDtypeStruct((2, 3), jnp.int32)
    [row] = jaxconv.summary(loss, *args, ids, {"t": shaped(7, 5)})
    assert (row.op, row.parameters, row.algorithm) == ("conv", 112, "im2col")
    assert row.layer.startswith("test_summary.py:")
    assert [r.op for r in jaxconv.summary(lambda x: jnp.fft.fft(x).real, shaped(2, 8))] == ["fft"]
    small = jax.image.resize
    [row] = [r for r in jaxconv.summary(lambda x: small(x, (1, 4, 8, 3), "linear"), shaped(1, 8, 8, 3))]
    assert (row.parameters, row.backward) == (0, 0)


def test_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = summarized(platform="cpu")
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["layer"] for row in rows] == [row.layer for row in found]
    assert [int(row["multiply-adds"]) for row in rows] == [row.forward for row in found]
    assert [(row["field"], row["jump"]) for row in rows][3:] == [
        ("9x8", "4x2"), ("13x10", "2x1"), ("13x10", "2x1"), ("all", "-"),
    ]  # fmt: skip
    lines = str(found).splitlines()
    work = f"{found.forward:,} multiply-adds forward, {found.backward:,} backward"
    assert lines[0] == f"{found.parameters:,} parameters, {work}"
    assert len(lines[1]) == len(lines[3]) >= len(lines[2])
    page = found.to_html()
    assert page.count("<tr>") == len(found) + 2
    assert f'<td class="n">{found[0].forward:,}</td>' in page
    assert "prefers" in page or "color-scheme: light dark" in page
    found.show()
    assert "━" in capsys.readouterr().out
    real = builtins.__import__

    def without_rich(name: str, *rest: Any) -> Any:
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    found.show()
    assert capsys.readouterr().out == f"{found}\n"


def test_html_is_escaped() -> None:
    x = {"<b>": {"kernel": shaped(3, 2, 2)}}
    page = jaxconv.summary(lambda x, p: jaxconv.conv(x, p["<b>"]["kernel"]), shaped(1, 9, 2), x).to_html()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


MODEL = """
import jax, jax.numpy as jnp, jaxconv
def net(x, kernel):
    return jaxconv.conv_transpose(x, kernel, stride=2)
"""


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny_model.py").write_text(MODEL)
    function = f"{tmp_path / 'tiny_model.py'}:net"
    files = ["--csv", str(tmp_path / "a.csv"), "--html", str(tmp_path / "a.html")]
    assert cli.main(["summary", function, "f32[1,8,8,4]", "f32[2,2,3,4]", "--platform", "tpu", *files]) == 0
    assert "48 parameters, 3,072 multiply-adds forward, 3,072 backward" in capsys.readouterr().out
    assert (tmp_path / "a.csv").read_text().splitlines()[1].split(",")[5:8] == ["48", "3072", "3072"]
    assert "on tpu" in (tmp_path / "a.html").read_text()
    for words, message in {
        ("f32[1,8,8,4]",): "missing 1 required positional argument: 'kernel'",
        ("f32[1,8,8,4]", "f32[2,2,3]"): "kernel",
        ("f32[1,8", ""): "is no shape",
        ("f32[1,8,8,4]", "f32[2,2,3,4]", "--wrt", "2"): "wrt=2 is no argument",
        ("f32[1,8,8,4]", "f32[2,2,3,4]", "--platform", "abacus"): "platform='abacus' is not known",
    }.items():
        assert cli.main(["summary", function, *words]) == 1
        assert message in capsys.readouterr().err


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="platform='abacus' is not known; use one of cpu"):
        jaxconv.summary(lambda x: x, X, platform="abacus")
    with pytest.raises(ValueError, match="name the input with wrt="):
        jaxconv.summary(lambda p: p["x"], {"x": X})


def test_pools_of_ours() -> None:
    x = shaped(2, 9, 8, 3)
    for pool, kernel, sizes in (
        (lambda x: jaxconv.avg_pool(x, (3, 2), stride=2), "3x2 s2", (3, 2)),
        (lambda x: jaxconv.adaptive_avg_pool(x, (4, 3)), "", (3, 4)),  # 0 to 2, 2 to 5 and 5 to 7 of 8
    ):
        [row] = jaxconv.summary(pool, x)
        assert (row.op, row.kernel, row.field.size) == ("sum pool", kernel, sizes)
