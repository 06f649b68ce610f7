"""The pages that people read: links inside the repository lead somewhere, examples print what they say."""

import doctest
import re
from pathlib import Path

import pytest

import jaxconv

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in ROOT.rglob("*.md") if not p.relative_to(ROOT).parts[0].startswith((".", "runs")))


def broken(text: str, folder: Path) -> list[str]:
    """The targets of relative links that do not exist; code is no link."""
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", re.sub(r"`[^`]*`", "", text))
    return [t for t in targets if "://" not in t and not (folder / t).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page.read_text(), page.parent) == []


@pytest.mark.parametrize("page", [p for p in PAGES if ">>> " in p.read_text()], ids=lambda p: p.name)
def test_examples_print_what_they_say(page: Path) -> None:
    assert doctest.testfile(str(page), module_relative=False).failed == 0


def programs(page: Path) -> list[str]:
    """The code on a page that is written without prompts."""
    found = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [program for program in found if not program.startswith(">>> ")]


def test_the_readmes_programs_run() -> None:
    found, names = programs(ROOT / "README.md"), {}
    assert len(found) > 1
    with jaxconv.installed():  # so that what the page installs ends here
        for program in found:
            exec(program, names)
        jaxconv.uninstall()


def test_another_pages_programs_have_a_test_of_their_own() -> None:
    pages = {str(page.relative_to(ROOT)) for page in PAGES if programs(page)}
    assert pages == {"README.md", "examples/fashion_mnist/README.md"}


def test_the_test_can_fail() -> None:
    text = "[a](no.md) ![b](gone.png) [c](README.md#limits) [d](https://jax.dev) `vjp(f)[1](g)`"
    assert broken(text, ROOT) == ["no.md", "gone.png"]
