"""The pages that people read: links inside the repository lead somewhere, and every piece of code runs.

A block is a session (`>>>`), a program, commands (test_docs_commands.py), YAML, a script, or text.
"""

import doctest
import re
import subprocess
from pathlib import Path

import pytest

import jaxconv

from .pages import PAGES, ROOT, blocks, blocks_of, given

BLOCKS = [block for page in PAGES for block in blocks(page)]
LANGUAGES = {"pycon", "python", "console", "text", "yaml", "bash"}
# Programs that do not run here.
ELSEWHERE = {
    "examples/fashion_mnist/README.md": "test_fashion_mnist_train.py runs it, on a network that it trains",
    "docs/pieces_tiles.md": "its files are as large as a slide; test_tiles.py has each of the calls",
}


def anchors(page: Path) -> set[str]:
    """The places on a page that a link can name, as GitHub and MkDocs write them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


def broken(text: str, folder: Path) -> list[str]:
    """The relative links whose file, or whose place in it, does not exist; code is no link."""
    text = re.sub(r"^```.*?^```$|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    found = []
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", text):
        path, _, place = target.partition("#")
        if "://" in target or not path:
            continue
        if not (folder / path).exists() or (place and place not in anchors(folder / path)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert broken(text, page.parent) == []
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors(page)


def test_every_block_says_what_it_is() -> None:
    assert {str(block): block.language for block in BLOCKS if block.language not in LANGUAGES} == {}


@pytest.mark.parametrize("page", [p for p in PAGES if ">>> " in p.read_text()], ids=lambda p: p.name)
def test_sessions_print_what_they_say(page: Path) -> None:
    assert doctest.testfile(str(page), module_relative=False).failed == 0


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS if b.language == "python"} - set(ELSEWHERE)))
def test_programs_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = given(page)
    with jaxconv.installed():  # so that what the page installs ends here
        for block in BLOCKS:
            if (block.page, block.language) == (page, "python"):
                exec(compile(block.text, str(block), "exec"), names)
        jaxconv.uninstall()


def test_files_can_be_read() -> None:
    yaml = pytest.importorskip("yaml")
    for block in BLOCKS:
        if block.language == "yaml":
            assert all(yaml.safe_load_all(block.text)), block
        if block.language == "bash":
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_the_test_can_fail() -> None:
    text = "[a](no.md) ![b](gone.png) [c](README.md#limits) [d](https://jax.dev) `vjp(f)[1](g)`"
    assert broken(text + " [e](README.md#no)", ROOT) == ["no.md", "gone.png", "README.md#no"]
    fenced = "```\na\n```\n\n    >>> 1\n    1\n\nb\n\n    c = 1\n\n- d\n\n    e\n\nf\n\n"
    page = fenced + "    make g\n\n```pycon\n>>> h\n```\n"
    found = [(block.line, block.language) for block in blocks_of("a.md", page)]
    assert found == [(2, "none"), (5, "pycon"), (10, "python"), (18, "console"), (21, "pycon")]
