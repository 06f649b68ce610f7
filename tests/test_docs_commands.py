"""The commands on the pages: those of jaxconv run, those of the examples and benchmarks are understood."""

import argparse
import contextlib
import functools
import importlib.util
import re
import runpy
import shlex
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro

from jaxconv import cli

from .pages import PAGES, ROOT, Block, blocks

# What is not ours, and why it is not tried.
FOREIGN = {
    "apt": "installs",
    "gcloud": "wants a pod",
    "kubectl": "wants a cluster",
    "python train.py": "is the reader's",
    "python -m build": "`make dist` does it",
    "python -m twine": "publishes",
    "python -m pytest": "runs tests",
}
UNDERSTOOD = {
    "deblur": "takes ten seconds; test_restore_cli.py has it",
    "see": "wants a trained network; test_see_cli.py has one",
    "targets": "wants compilers of .venv-targets; test_targets.py has them",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODEL = "import jax.numpy as jnp, jaxconv\ndef net(x):\n    return jaxconv.conv(x, jnp.ones((3, 3, 3, 2)))\n"


class Parsed(Exception):
    """The arguments were understood; nothing is to happen."""


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each; what they print is left out, and so is what the reader fills in (...)."""
    lines = block.text.split("\n")
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    waiting = ""
    for line in lines:
        waiting += line.removesuffix("\\")
        with contextlib.suppress(ValueError):  # a quotation goes on in the next line
            words = [w for w in shlex.split(waiting, comments=True) if w != "..."]
            if not line.endswith("\\"):
                waiting = ""
                yield words[next((i for i, w in enumerate(words) if "=" not in w), 0) :]
    assert not waiting, block


COMMANDS = {
    " ".join(words): words
    for page in PAGES
    for block in blocks(page)
    if block.language == "console"
    for words in commands(block)
    if words
}


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the files that the pages' commands read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "runs" / "x4").mkdir(parents=True)
    (tmp_path / "runs" / "x4" / "config.yaml").write_text("{}")


@pytest.fixture
def _parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs end where their arguments are understood."""
    parse, choose = argparse.ArgumentParser.parse_args, tyro.extras.subcommand_cli_from_dict

    def parsed(parser: argparse.ArgumentParser, *args: Any) -> None:
        parse(parser, *args)
        raise Parsed

    def chosen(functions: dict[str, Any], **options: Any) -> None:
        choose({name: stub(function) for name, function in functions.items()}, **options)
        raise Parsed

    def stub(function: Any) -> Any:
        return functools.wraps(function)(lambda *_args, **_options: None)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", chosen)


def understood(words: list[str]) -> Any:
    """What is to be raised."""
    return pytest.raises(SystemExit, match=r"^0$") if words[-1] == "--help" else pytest.raises(Parsed)


def of(*first: str) -> list[Any]:
    """Commands that begin so."""
    found = [pytest.param(words, id=text) for text, words in COMMANDS.items() if text.startswith(first)]
    assert found
    return found


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("words", [p for p in of("jaxconv ") if p.values[0][1] not in UNDERSTOOD])
def test_jaxconv_runs(words: list[str]) -> None:
    if words[-1] == "--help":
        with understood(words):
            cli.main(words[1:])
    else:
        assert cli.main(words[1:]) == 0


@pytest.mark.usefixtures("_folder", "_parsing")
@pytest.mark.parametrize("words", [p for p in of("jaxconv ") if p.values[0][1] in UNDERSTOOD])
def test_jaxconv_understands(words: list[str]) -> None:
    with understood(words):
        cli.main(words[1:])


@pytest.mark.usefixtures("_folder", "_parsing")
@pytest.mark.parametrize("words", of("python -m examples.", "python -m benchmarks."))
def test_modules_understand(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", words[2:])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)
        with understood(words):
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)


def test_the_rest_exists() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = PROJECT["optional-dependencies"].keys()
    for text, words in COMMANDS.items():
        if words[0] == "make":
            assert set(words[1:]) <= set(targets), text
        elif text.startswith("pip install"):
            assert set(re.findall(r"jaxconv\[(\w+)\]", text)) <= extras, text
        else:
            ours = ("jaxconv ", "python -m examples.", "python -m benchmarks.")
            assert text.startswith((*FOREIGN, *ours)), text


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_that_a_sentence_names_exist(page: Path) -> None:
    named = re.findall(r"python -m ((?:examples|benchmarks|docs|tests)\.[\w.]*\w)", page.read_text())
    assert [name for name in set(named) if importlib.util.find_spec(name) is None] == []


def test_the_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block("a.md", 1, "console", "A=1 jaxconv 'b c\n d' # e\nmake \\\n  f")
    assert list(commands(block)) == [["jaxconv", "b c d"], ["make", "f"]]
    monkeypatch.setattr(sys, "argv", ["benchmarks.compare", "--no-such-option"])
    monkeypatch.delitem(sys.modules, "benchmarks.compare", raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_module("benchmarks.compare", run_name="__main__", alter_sys=True)
    assert end.value.code == 2
