"""What jaxconv.targets reads from compiled programs, on short recorded texts; nothing is compiled."""

import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import pytest

from jaxconv import cli, targets
from jaxconv.targets.findings import findings
from jaxconv.targets.hlo import Collective, collectives, cycles, parse
from jaxconv.targets.products import Product, products
from jaxconv.targets.shapes import parse_shapes


def recorded(name: str) -> str:
    return (Path(__file__).parent / "data" / "targets" / f"{name}.txt").read_text()


# lax.conv_transpose(stride 2, 3x3) of x (8, 28, 28, 64), stuffed with zeros, and its weight gradient.
STOCK_CUDA = recorded("stock_cuda")

# The same of jaxconv: x (8, 56, 56, 32) and g (8, 28, 28, 64).
JAXCONV_CUDA = recorded("jaxconv_cuda")
WORK = 8 * 28 * 28 * 9 * 64 * 32

# A loop of nine products, a library call, collectives, and a TPU's native depthwise convolution.
MIXED = recorded("mixed")


def found(text, platform="cuda", **options):
    return [f.kind for f in findings(products(parse(text)), platform, **options)]


def test_products_of_a_stuffed_convolution():
    stuffed, map_as_window = products(parse(STOCK_CUDA))
    assert (stuffed.kind, stuffed.window, stuffed.channels) == ("forward", (3, 3), (64, 32))
    assert stuffed.multiply_adds == 8 * 56 * 56 * 9 * 64 * 32 == 4 * WORK
    assert stuffed.stuffed == (True, False)
    assert (map_as_window.window, map_as_window.result) == ((55, 55), (4, 4))
    assert map_as_window.stuffed == (False, True)
    assert map_as_window.multiply_adds == 32 * 4 * 4 * 64 * 55 * 55 * 8


def test_products_of_cudnn_gradients_are_those_of_the_convolution():
    data, kernel = products(parse(JAXCONV_CUDA))
    assert [data.kind, kernel.kind] == ["input gradient", "weight gradient"]
    assert data.multiply_adds == kernel.multiply_adds == WORK
    assert (data.result, kernel.result, data.places, kernel.places) == ((56, 56), (3, 3), (28, 28), (28, 28))
    assert data.padded


def test_findings():
    assert found(STOCK_CUDA) == ["zero-stuffed-input", "oversized-window", "dilated-kernel"]
    assert found(JAXCONV_CUDA) == []


def test_a_known_kernel_makes_the_judgement_strict():
    text = STOCK_CUDA.replace("size=55x55", "size=4x4")
    assert "oversized-window" not in found(text)
    assert found(text, kernel=(3, 3)).count("oversized-window") == 1


def test_loops_multiply_and_unused_computations_do_not_count():
    dot, gemm, depthwise = products(parse(MIXED))
    assert dot.multiply_adds == 9 * 16 * 20 * 32
    assert gemm.multiply_adds == 16 * 20 * 32
    assert depthwise.multiply_adds == 4 * 56 * 56 * 9 * 128
    assert depthwise.groups == 128


def test_collectives_and_cycles():
    program = parse(MIXED)
    assert collectives(program) == (Collective("all-reduce", ((4,), (2, 3)), 4 * 2 + 6 * 4, 1),)
    assert cycles(program) == 38676
    assert collectives(parse(JAXCONV_CUDA)) == ()


def test_a_collective_in_several_fusions_is_one():
    gather = "f32[8]{0} all-gather(%p), dimensions={0}, channel_id="
    program = parse(f"""
%started (p: f32[2]) -> f32[8] {{
  %p = f32[2]{{0}} parameter(0)
  ROOT %gather = {gather}1
}}

%done (p.1: f32[2]) -> f32[8] {{
  %p.1 = f32[2]{{0}} parameter(0)
  ROOT %gather.1 = {gather}1
}}

ENTRY %main (x: f32[2]) -> f32[8] {{
  %x = f32[2]{{0}} parameter(0)
  %a = f32[8]{{0}} fusion(%x), kind=kCustom, calls=%started
  %b = f32[8]{{0}} fusion(%x), kind=kCustom, calls=%done
  ROOT %c = {gather}2
}}""")
    assert collectives(program) == 2 * (Collective("all-gather", ((8,),), 32, 1),)
    assert cycles(parse(JAXCONV_CUDA)) is None


def test_findings_of_a_tpu():
    assert found(MIXED, "tpu") == ["native-depthwise"]


@pytest.mark.parametrize(
    ("product", "kinds"),
    [
        (Product("c", "forward", "bf16", (3, 3), (9, 9), channels=(3, 64)), ["odd-channels"]),
        (Product("c", "forward", "f32", (3, 3), (9, 9), channels=(3, 64)), []),
        (Product("c", "convolution", "f32", (3,) * 4, (9,) * 4), ["loop-emitter"]),
        (Product("c", "forward", "f32", (7, 7), (1, 1)), []),  # a kernel that covers the map
        (Product("c", "forward", "f32", (7, 7), (1, 1), padded=True), ["oversized-window"]),
        (Product("c", "forward", "f32", (3,), (9,), base_dilation=(2,)), ["zero-stuffed-input"]),
        (Product("c", "dot", "bf16", channels=(3, 3)), []),
    ],
)
def test_single_findings(product, kinds):
    assert [f.kind for f in findings([product], "cuda")] == kinds


def test_every_finding_has_a_problem_and_a_remedy_of_one_sentence():
    for f in findings(products(parse(STOCK_CUDA)), "cuda"):
        assert f.problem.endswith(".")
        assert f.remedy.endswith(".")
        assert f.where in STOCK_CUDA


def test_text_without_a_program():
    with pytest.raises(ValueError, match="ENTRY"):
        parse("HloModule jit_f")


def test_report_is_readable():
    found = products(parse(STOCK_CUDA))
    report = targets.Report(
        device="TPU v5e",
        platform="tpu",
        memory=targets.Memory(1536, 4, 0, 0),
        bytes_accessed=2048,
        seconds=None,
        cycles=12,
        multiply_adds=WORK,
        products=tuple(found),
        collectives=(
            Collective("all-reduce", ((3, 4), (5,)), 68, 2),
            Collective("all-gather", ((8,),), 32, 1),
        ),
        findings=tuple(findings(found, "cuda")),
        text="",
    )
    text = str(report)
    assert "not measured" in text
    assert "arguments 1.5 KiB" in text
    assert "collectives: 2 all-reduce (136 B), 1 all-gather (32 B)" in text
    assert "window 55x55" in text
    assert "findings: 3" in text


# Shapes and the command line.


def test_shapes():
    a, b = parse_shapes(["f32[8, 56]", "pred[]"], "h100")
    assert (a.shape, a.dtype, b.shape, b.dtype) == ((8, 56), "float32", (), "bool")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8,56", "no shape"),
        ("f33[8]", "'f33'.*no dtype; use one of f64"),
        ("f32[8,-1]", "no shape"),
        ("f32[8,@2]", "no size"),
        ("f32[8@3]", "3 devices do not divide 8"),
        ("f32[8@2,4@2]", "more than one dimension"),
    ],
)
def test_what_is_no_shape(text, message):
    with pytest.raises(ValueError, match=message):
        parse_shapes([text], "h100")


def test_one_number_of_devices():
    with pytest.raises(ValueError, match="over 2, 4 devices"):
        parse_shapes(["f32[8@2]", "f32[8@4]"], "v5e")


def test_unknown_device():
    with pytest.raises(ValueError, match="use one of h100, v5e"):
        targets.compile_for(lambda x: x, jax.ShapeDtypeStruct((1,), "float32"), device="h200")


@pytest.mark.parametrize("device", [d for d in targets.DEVICES if targets.missing(d)])
def test_missing_compiler_is_named(device):
    with pytest.raises(targets.Missing, match=r"pip install .*==") as error:
        targets.topology(device)
    assert all(module in str(error.value) for module in targets.DEVICES[device].modules)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model_of_a_test.py"
    path.write_text(textwrap.dedent("def double(x):\n    return 2 * x\n\nsize = 3\n"))
    yield path
    sys.modules.pop("model_of_a_test", None)


def test_loading_a_function(file, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert cli.load(f"{file}:double")(4) == 8


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("double", "names no function"),
        ("no_such_file.py:f", "there is no file no_such_file.py"),
        ("FILE:size", "has no function size; it has double"),
    ],
)
def test_what_is_no_function(file, path, message, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(cli.Refused, match=message):
        cli.load(path.replace("FILE", str(file)))


def test_file_that_fails_to_import(file, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    file.write_text("import a_module_that_is_not_there\n")
    with pytest.raises(
        cli.Refused, match=r"fails to import: ModuleNotFoundError: .*a_module_that_is_not_there"
    ):
        cli.load(f"{file}:double")


def test_command_line_says_what_is_wrong(file, capsys):
    assert cli.main(["targets", f"{file}:double", "f32[2]", "--device", "a100"]) == 1
    assert "use one of h100, v5e" in capsys.readouterr().err


def test_import_jaxconv_does_not_load_it():
    code = "import sys, jaxconv; print([m for m in sys.modules if m in ('jaxconv.targets', 'jaxconv.cli')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
