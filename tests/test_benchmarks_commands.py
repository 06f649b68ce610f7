"""The commands that measure other things than convolutions, on one tiny workload each."""

import numpy as np
import pytest
import skimage.filters

import jaxconv
from benchmarks import filtering, pooling, resizing, restoration_methods, results, session, streaming
from benchmarks.restoration_cases import Case
from benchmarks.stream_nets import Net

pytestmark = pytest.mark.usefixtures("small_roofs")

QUICK = ["--rounds", "1", "--budget-ms", "0.1"]
KERNEL = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 1, 2)


def causal():
    return lambda x: jaxconv.conv(x, KERNEL, padding="CAUSAL")


@pytest.mark.parametrize(
    ("command", "workloads", "tiny", "slots"),
    [
        (pooling, "WORKLOADS", pooling.Pooling("tiny", "", "max", 2, (7, 6), 3, 3, 2, 1), pooling.SLOTS),
        (
            resizing,
            "WORKLOADS",
            resizing.Resizing("tiny", "", 2, (5, 4), (9, 6), 3, "linear"),
            resizing.SLOTS,
        ),
        (streaming, "NETS", Net("tiny", causal, (1, 64, 1), 64, (8,)), ("forward",)),
    ],
)
def test_a_command_measures_once_and_writes_its_table(command, workloads, tiny, slots, tmp_path, monkeypatch):
    monkeypatch.setattr(command, workloads, (tiny,))
    file = tmp_path / "new" / "r.jsonl"
    with pytest.raises(SystemExit, match="nothing to measure"):
        command.main(["--out", str(file), "--only", "no such"])
    for _ in range(2):
        command.main(["--out", str(file), *QUICK])
    found = results.read(file)
    assert len(found.headers) == 2
    assert tuple(row.key[1] for row in found.rows) == slots
    for row in found.rows:
        assert (row.seconds("stock") or 0) > 0
        assert all("samples" in f or "refused" in f for f in row.data["contenders"].values())
    assert file.with_suffix(".md").read_text().count("\n| tiny") == len(slots)


def test_a_stopped_session_keeps_what_it_has(tmp_path):
    def measured():
        return results.row({"name": "a"}, "forward", {}, dtype="float32", tags=[], multiply_adds=1)

    def stop():
        raise KeyboardInterrupt

    file = tmp_path / "r.jsonl"
    jobs = [
        session.Job((name, "forward", "float32"), 1, do) for name, do in {"a": measured, "b": stop}.items()
    ]
    with pytest.raises(SystemExit, match="goes on from here"):
        session.measure_missing(file, "float32", jobs)
    assert [row.key[0] for row in results.read(file).rows] == ["a"]


def test_filters_are_compared_timed_and_not_measured_again(tmp_path, monkeypatch, capsys):
    same = (jaxconv.filters.sobel, {"skimage": skimage.filters.sobel})
    other = (jaxconv.filters.sobel, {"skimage": skimage.filters.scharr})
    monkeypatch.setattr(filtering, "cases", lambda _: {"sobel": same})
    command = ["--out", str(tmp_path / "new" / "f.jsonl"), "--size", "24", *QUICK]
    for _ in range(2):
        filtering.main(command)
    assert len(filtering.lines(tmp_path / "new" / "f.jsonl")) == 2
    capsys.readouterr()
    filtering.main([*command, "--table"])
    assert capsys.readouterr().out.count("| sobel |") == 1
    monkeypatch.setattr(filtering, "cases", lambda _: {"another": other})
    with pytest.raises(SystemExit, match="another: differs by"):
        filtering.main(command)


def test_the_best_balance_is_looked_for_once(rng, monkeypatch):
    tried = []

    def wiener(y, *_, **__):
        tried.append(1)
        return y

    monkeypatch.setattr(restoration_methods.skimage.restoration, "wiener", wiener)
    y = rng.random((9, 8)).astype(np.float32)
    case = Case("tiny", y, y, np.ones((3, 3), np.float32) / 9, 0.01)
    for library in ("skimage", "jaxconv", "alike"):
        restoration_methods.METHODS[library](case)
    assert len(tried) == len(restoration_methods.BALANCES)
