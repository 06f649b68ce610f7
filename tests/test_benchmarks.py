"""The benchmarks' workloads and harness; no test here measures anything."""

import dataclasses
import json
import math
import re
import types

import jax
import numpy as np
import pytest
from flax import nnx

import jaxconv
from benchmarks import compare, floors, layers, measure, report, results, run, tradeoffs
from benchmarks.contenders import Refused, arrays, build, relative_error, swap_kernel, tolerance
from benchmarks.measure import MOST_CALLS, interleave
from benchmarks.random_workloads import MOST_MULTIPLY_ADDS
from benchmarks.workloads import SLOTS, WORKLOADS, Workload, random_workloads
from jaxconv.geometry import multiply_adds
from jaxconv.lowerings import REGISTRY

from . import oracle

RANDOM = random_workloads(30, seed=11)

# Small, and each with something of its own: sides padded unlike, crops, groups both ways, dilation.
SMALL = (
    Workload("even-same", "", 2, (9, 6), 3, 5, (4, 3), stride=(2, 1)),
    Workload("same-remainder", "", 1, (8, 7), 2, 3, (2, 3), stride=3, padding=1),
    Workload("causal", "", 2, (11,), 4, 6, (3,), dilation=2, padding="CAUSAL"),
    Workload("groups", "", 2, (5, 6), 4, 6, (3, 2), groups=2, padding="VALID"),
    Workload("multiplier", "", 1, (6,), 3, 6, (3,), stride=2, groups=3),
    Workload("deep", "", 1, (3, 4, 5), 2, 3, (2, 1, 3)),
    Workload("up-same", "", 2, (4, 3), 5, 3, (3, 4), stride=2, transposed=True),
    Workload("up-extra", "", 1, (4, 3), 2, 3, (3, 3), stride=2, padding=1, output_padding=1, transposed=True),
    Workload("up-groups", "", 2, (5,), 6, 4, (3,), stride=3, groups=2, transposed=True),
    Workload("up-causal", "", 1, (6,), 3, 2, (5,), stride=2, padding="CAUSAL", transposed=True),
    Workload("up-gaps", "", 1, (3, 4), 2, 2, (1, 2), stride=(2, 3), padding="VALID", transposed=True),
)


def test_names_are_unique_kebab_case():
    names = [w.name for w in WORKLOADS]
    assert len(names) >= 55
    assert len(set(names)) == len(names)
    assert [n for n in names if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", n)] == []
    assert all(w.source for w in WORKLOADS)


def test_every_kind_of_layer_is_there():
    kinds = "depthwise grouped transposed 1d 2d 3d 4d pointwise dilated strided large-kernel tiny-map quick"
    counts = {tag: sum(tag in w.tags for w in WORKLOADS) for tag in kinds.split()}
    assert min(counts.values()) >= 1, counts
    assert sum(len(w.tags & {"depthwise", "grouped", "transposed"}) for w in WORKLOADS) >= 30


@pytest.mark.parametrize("workload", [*WORKLOADS, *RANDOM], ids=lambda w: w.name)
def test_sizes_are_those_of_the_layer_and_small(workload: Workload):
    shapes = workload.shapes
    assert shapes["x"] == (workload.batch, *workload.spatial, workload.in_features)
    assert (shapes["g"][0], shapes["g"][-1]) == (workload.batch, workload.out_features)
    assert shapes["kernel"][:-2] == workload.kernel
    assert 0 < multiply_adds(workload.spec) < 4e9
    assert max(math.prod(shape) for shape in shapes.values()) < 2e7


@pytest.mark.parametrize("workload", [*WORKLOADS, *SMALL], ids=lambda w: w.name)
def test_a_layers_slots_are_slots_of_the_form(workload: Workload):
    results_of = {"forward": "g", "input_grad": "x", "weight_grad": "kernel"}
    for slot in SLOTS:
        form_slot, operands = workload.form(slot)
        given = tuple(workload.shapes[name] for name in operands)
        assert workload.spec.operand_shapes(form_slot) == given
        assert workload.spec.result_shape(form_slot) == workload.shapes[results_of[slot]]
        assert results_of[slot] not in operands


def test_random_workloads_are_a_reproducible_stream():
    assert random_workloads(30, seed=11) == RANDOM
    assert random_workloads(7, seed=11) == RANDOM[:7]
    assert [dataclasses.replace(w, name="", source="") for w in random_workloads(30, seed=12)] != [
        dataclasses.replace(w, name="", source="") for w in RANDOM
    ]
    many = random_workloads(300, seed=1)
    assert max(multiply_adds(w.spec) for w in many) <= MOST_MULTIPLY_ADDS
    tags = set().union(*(w.tags for w in many))
    assert tags >= {"1d", "2d", "3d", "depthwise", "grouped", "transposed", "strided", "dilated", "pointwise"}


def test_swapping_a_kernel_twice_gives_it_back(rng):
    kernel = rng.standard_normal((3, 2, 4, 6))
    swapped = swap_kernel(kernel, groups=2)
    assert swapped.shape == (3, 2, 3, 8)
    assert swapped[2, 1, 1, 5] == kernel[0, 0, 1, 4]  # group 1, output 1 of it, input 1 of it
    np.testing.assert_array_equal(swap_kernel(swapped, groups=2), kernel)


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_contenders_compute_the_layer(workload: Workload, slot):
    given = arrays(workload)
    form_slot, operands = workload.form(slot)
    expected = _oracle(workload, form_slot, *(given[name] for name in operands))
    bound = tolerance(workload, slot, "float32")
    for name in ("stock", "jaxconv", "jaxconv:direct", "torch"):
        try:
            contender = build(name, workload, slot, given, "float32")
        except Refused:
            assert name == "torch"  # not installed
            continue
        assert relative_error(contender.read(contender.call()), expected) < bound, name


def _oracle(workload: Workload, form_slot, a, b):
    axes = workload.spec.axes
    options = {
        "stride": [axis.stride for axis in axes],
        "padding": [(axis.lo, axis.hi) for axis in axes],
        "dilation": [axis.dilation for axis in axes],
        "groups": workload.groups,
    }
    shape = () if form_slot == "forward" else (workload.spec.result_shape(form_slot),)
    return getattr(oracle, form_slot)(a, b, *shape, **options).astype(np.float32)


def test_unknown_contenders_and_impossible_algorithms_say_so():
    given = arrays(SMALL[0])
    with pytest.raises(ValueError, match="use stock, torch, jaxconv or jaxconv:ALGORITHM"):
        build("jaxconv:magic", SMALL[0], "forward", given, "float32")
    with pytest.raises(Refused, match=r"^winograd wants"):
        build("jaxconv:winograd", SMALL[0], "forward", given, "float32")


def test_a_run_of_unknown_contenders_does_not_start(tmp_path):
    with pytest.raises(SystemExit, match="contender 'magic' is not known"):
        run.main(["--out", str(tmp_path / "r.jsonl"), "--contenders", "jaxconv", "magic"])
    assert not list(tmp_path.iterdir())


def test_relative_error_sees_wrong_shapes_and_nan():
    reference = np.array([1.0, -4.0], np.float32)
    assert relative_error(reference + np.float32([0.5, 0]), reference) == pytest.approx(0.125)
    assert relative_error(reference[:1], reference) == math.inf
    assert relative_error(np.float32([1, np.nan]), reference) == math.inf
    assert tolerance(WORKLOADS[0], "weight_grad", "bfloat16") < 0.1


def test_a_wrong_program_is_not_timed(monkeypatch):
    right = jaxconv.conv
    monkeypatch.setattr(jaxconv, "conv", lambda *args, **options: 1.01 * right(*args, **options))
    row = run.measure(SMALL[0], "forward", ["jaxconv", "stock"], "float32", rounds=1, budget_s=1e-4)
    wrong, stock = row["contenders"]["jaxconv"], row["contenders"]["stock"]
    assert "differs from stock by 0.01" in wrong["failed"]
    assert "samples" not in wrong
    assert len(stock["samples"]) == 1


def test_a_program_that_does_not_compile_ends_no_run(monkeypatch):
    def broken(*_, **__):
        raise TypeError("no such thing")

    monkeypatch.setattr(jaxconv, "conv", broken)
    row = run.measure(SMALL[0], "forward", ["jaxconv"], "float32", rounds=1, budget_s=1e-4)
    assert row["contenders"]["jaxconv"] == {"failed": "TypeError: no such thing"}


def test_contenders_take_turns(monkeypatch):
    """By a clock that goes on while they run, and only then."""
    calls: list[str] = []
    now = 0.0
    monkeypatch.setattr(measure, "time", types.SimpleNamespace(perf_counter=lambda: now))

    def taking(name: str, seconds: float):
        def call():
            nonlocal now
            now += seconds
            calls.append(name)

        return call

    programs = {"quick": taking("quick", 1e-6), "slow": taking("slow", 0.012)}
    samples = interleave(programs, rounds=3, budget_s=1e-3)
    assert [len(block) for block in samples["quick"]] == [MOST_CALLS] * 3
    # Longer than ten budgets: one call to know that, then one in each round, which counts.
    assert [len(block) for block in samples["slow"]] == [1] * 3
    assert calls.count("slow") == 4
    turns = [name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name]
    assert turns == ["quick", "slow"] * 3


QUICK = ["--rounds", "1", "--budget-ms", "0.1"]


@pytest.mark.usefixtures("small_roofs")
def test_a_run_is_resumed_reported_and_compared(tmp_path, capsys):
    file = tmp_path / "new" / "results.jsonl"
    command = ["--out", str(file), "--only", "lightfield-4d", *QUICK, "--contenders"]
    command += ["jaxconv", "jaxconv:*", "stock", "torch"]
    run.main([*command, "--slots", "forward"])
    run.main(command)
    found = results.read(file)
    assert [row.key for row in found.rows] == [("lightfield-4d", slot, "float32") for slot in SLOTS]
    assert len(found.headers) == 2
    row = found.rows[0]
    assert (row.seconds("jaxconv") or 0) > 0
    assert row.facts("jaxconv")["algorithm"] in REGISTRY
    assert row.facts("jaxconv:direct")["algorithm"] == "direct"
    assert "refused" in row.facts("torch")
    assert row.limit(found.roofs("float32"))[0] > 0

    report.main([str(file), "--out", str(tmp_path / "report")])
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| lightfield-4d | weight_grad |" in text
    pictures = re.findall(r"\]\((.*\.png)\)", text)
    assert len(pictures) == 5
    assert all((tmp_path / "report" / name).stat().st_size > 1000 for name in pictures)

    capsys.readouterr()
    compare.main([str(file), str(file)])
    assert "3 rows, geometric mean of the change 1.00; 0 faster and 0 slower" in capsys.readouterr().out


@pytest.mark.usefixtures("small_roofs")
def test_layers_have_the_same_format(tmp_path):
    file = tmp_path / "layers.jsonl"
    layers.main(["--out", str(file), "--only", "squeeze-excite", *QUICK])
    assert [row.key[1] for row in results.read(file).rows] == ["forward", "gradient"]
    report.main([str(file), "--out", str(tmp_path)])
    assert "| squeeze-excite | gradient |" in (tmp_path / "report.md").read_text()


def test_every_layer_that_both_libraries_have_can_be_built():
    chosen = [w for w in WORKLOADS if layers.comparable(w)]
    assert len(chosen) > 0.8 * len(WORKLOADS)
    for w in chosen:
        x = jax.ShapeDtypeStruct(w.shapes["x"], np.float32)
        for contender in ("stock", "jaxconv"):
            module = nnx.eval_shape(lambda w=w, contender=contender: layers.layer(contender, w))
            assert nnx.eval_shape(lambda m, x: m(x), module, x).shape == w.shapes["g"]


def test_selection_by_name_and_tags():
    def chosen(*arguments):
        return run.selected(run._parser().parse_args(["--out", "x", *arguments]))

    assert chosen() == list(WORKLOADS)
    assert [w.name for w in chosen("--only", "dcgan", "--tags", "tiny-map")] == ["dcgan-first", "dcgan-up-4"]
    assert 10 < len(chosen("--quick")) < len(WORKLOADS) / 3
    assert chosen("--random", "3", "--seed", "11") == list(RANDOM[:3])


def _header(**changes):
    identity = {"processor": "p", "cores": 2, "platform": "cpu", "versions": {"jax": "1"}}
    return {**identity, "roofs": {"float32": {"multiply_adds_per_s": 1e9, "bytes_per_s": 1e9}}, **changes}


def _row(name: str, times: dict[str, float], multiply_adds: int = 10) -> dict:
    return {
        "kind": "row",
        "workload": {"name": name},
        "tags": ["1d"],
        "slot": "forward",
        "dtype": "float32",
        "multiply_adds": multiply_adds,
        "bytes": 40,
        "contenders": {c: {"samples": [[2 * t, t], [t]]} for c, t in times.items()},
    }


def test_another_machine_or_size_is_refused_and_a_cut_line_is_measured_again(tmp_path):
    file = tmp_path / "r.jsonl"
    assert results.resume(file, _header()) == {}
    results.append(file, _row("a", {"jaxconv": 1.0}))
    with file.open("a") as cut:
        cut.write(json.dumps(_row("b", {"jaxconv": 1.0}))[:-9])
    done = results.resume(file, _header())
    assert list(done) == [("a", "forward", "float32")]
    assert results.measured(done, ("a", "forward", "float32"), 10)
    assert not results.measured(done, ("b", "forward", "float32"), 10)
    with pytest.raises(ValueError, match="10 multiply-adds and has 11 now"):
        results.measured(done, ("a", "forward", "float32"), 11)
    with pytest.raises(ValueError, match="with cores=2, now it is 4"):
        results.resume(file, _header(cores=4))


def test_a_file_without_header_is_refused(tmp_path):
    file = tmp_path / "r.jsonl"
    results.append(file, _row("a", {}))
    with pytest.raises(ValueError, match="does not start with a header"):
        results.read(file)


def test_comparison_takes_times_relative_to_stock():
    old = [_row("same", {"jaxconv": 1.0, "stock": 4.0}), _row("faster", {"jaxconv": 1.0, "stock": 2.0})]
    new = [_row("same", {"jaxconv": 2.0, "stock": 8.0}), _row("faster", {"jaxconv": 0.5, "stock": 4.0})]
    old.append(_row("resized", {"jaxconv": 1.0, "stock": 1.0}))
    new.append(_row("resized", {"jaxconv": 9.0, "stock": 1.0}, multiply_adds=99))
    files = [results.Results([_header()], [results.Row(data) for data in rows]) for rows in (old, new)]
    text = "\n".join(compare.compare(*files, "jaxconv", "stock"))
    assert "2 rows, geometric mean of the change 0.50; 1 faster and 0 slower" in text
    assert "| faster forward |  | 0.25 | 0.50 | 0.12 |" in text
    assert "of another size now: resized forward" in text
    assert "| same" not in text


def test_floors_are_timed_for_the_slow_rows_only(tmp_path):
    """A row that PyTorch wins by a factor of two, one that it loses, and one without matrix products."""

    def row(name: str, torch_s: float):
        workload = next(w for w in WORKLOADS if w.name == name)
        contenders = {
            "jaxconv": {"algorithm": "direct", "samples": [[2e-3]]},
            "torch": {"samples": [[torch_s]]},
        }
        return {
            "kind": "row",
            "workload": dataclasses.asdict(workload),
            "tags": sorted(workload.tags),
            "slot": "forward",
            "dtype": "float32",
            "contenders": contenders,
        }

    file, out = tmp_path / "results.jsonl", tmp_path / "floors.md"
    for entry in (
        {"kind": "header"},
        row("map-1x1", 1e-3),
        row("map-2x2", 1e-2),
        row("mobilenet-depthwise", 1e-3),
    ):
        results.append(file, entry)
    floors.main([str(file), "--out", str(out), "--rounds", "1"])
    measured = json.loads(out.with_suffix(".json").read_text())
    assert [entry["row"] for entry in measured] == ["map-1x1 forward"]
    assert {"direct", "im2col"} <= set(measured[0]["seconds"])
    assert all(0 < seconds < 1 for seconds in measured[0]["seconds"].values())
    assert [line.split(" | ")[0] for line in out.read_text().splitlines()[2:]] == ["| map-1x1"]


def test_tradeoffs_leave_out_what_breaks_a_limit(tmp_path, capsys):
    """im2col is the fastest, but compiles for long and needs workspace; nothing else beats direct."""
    key = "forward n2 g1 c8>8 16k3s1d1p1,1 float32 default"
    file = tmp_path / "sweep.jsonl"
    algorithms = {"direct": (4e-3, 1e-2), "im2col": (1e-3, 5e-2), "shifted_matmul": (2e-3, 3e-2)}
    for entry in ({}, {"key": key, "algorithms": algorithms}):
        results.append(file, entry)
    tradeoffs.main([str(file)])
    found = {
        cells[1].strip(): float(cells[3])
        for line in capsys.readouterr().out.splitlines()[2:]
        if (cells := line.split("|"))
    }
    assert found["none"] == 0.25
    assert found["compile time at most 4 times that of direct"] == 0.5
    assert found["compile time at most 2 times that of direct"] == found["no workspace"] == 1
