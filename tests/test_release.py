"""What a release says of itself is the same everywhere, and GitHub's workflow runs targets that exist."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import jaxconv

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
yaml = pytest.importorskip("yaml", reason="the extra `examples` has it")
JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]


def commands(job: dict[str, Any]) -> list[str]:
    """What a job runs, once for each row of its matrix."""
    rows = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
    lines = [step["run"] for step in job["steps"] if "run" in step]
    return [line.replace("${{ matrix.run }}", row.get("run", "")) for line in lines for row in rows]


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert jaxconv.__version__ == PROJECT["version"] == citation["version"]
    assert citation["license"] == PROJECT["license"]


def test_the_changelog_has_what_is_next() -> None:
    """Versions descend, and the first is this one, or follows it and is not released yet."""
    found = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = [tuple(map(int, v.split("."))) for v in found if v != "Unreleased"]
    assert found[0] in ("Unreleased", PROJECT["version"])
    assert "Unreleased" not in found[1:]
    assert versions == sorted(versions, reverse=True)


def test_the_workflow_runs_what_there_is() -> None:
    everything = [line for job in JOBS.values() for line in commands(job)]
    assert ".ci/run" in everything
    for line in everything:
        if line.startswith("make "):
            targets = re.match(r"make ((?:[a-z-]+ ?)+)", line)
            assert targets
            for target in targets[1].split():
                assert re.search(rf"^{target}:.*##", MAKEFILE, re.MULTILINE), line


def test_the_matrix_begins_with_the_oldest_and_has_every_python() -> None:
    rows = JOBS["check"]["strategy"]["matrix"]["include"]
    (oldest,) = [d for d in PROJECT["dependencies"] if d.startswith("jax>=")]
    assert rows[0]["jax"] == oldest.replace(">=", "==")
    assert rows[0]["python"] == PROJECT["requires-python"].removeprefix(">=")
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d", c)]
    assert [row["python"] for row in rows] == named


def test_ci_runs_here_what_it_runs_there() -> None:
    steps = re.findall(r"^step make (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    newest = commands(JOBS["check"])[-1].removeprefix("make ").split()
    assert set(newest) == set(steps) - {"lint"}
