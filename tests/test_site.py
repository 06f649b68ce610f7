"""The site's reference has every public name. Its pages are held by test_docs, its build by `make docs`."""

import importlib
import re
from pathlib import Path

import pytest

import jaxconv

from .test_public_surface import CLASSES, FUNCTIONS, MODULES

ROOT = Path(__file__).parent.parent
REFERENCE = {
    name
    for page in (ROOT / "docs" / "api").glob("*.md")
    for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
}
AS_ELSEWHERE = {"linen"}  # its layers have the names and arguments of NNX's


def offered(module: str) -> set[str]:
    """What a package re-exports, functions and classes."""
    found = vars(importlib.import_module(module)).items()
    ours = {name for name, value in found if "jaxconv" in (getattr(value, "__module__", None) or "")}
    return {f"{module}.{name}" for name in ours if name[0] != "_"}


def unlisted(names: set[str], listed: set[str]) -> list[str]:
    """Those that are on no page, nor is their module as a whole."""
    listed = listed | {f"jaxconv.graph.{name}" for name in FUNCTIONS}  # offered at the top as well
    return sorted(name for name in names if not {name, name.rpartition(".")[0]} & listed)


def test_every_public_name_is_in_the_reference() -> None:
    assert unlisted({f"jaxconv.{name}" for name in FUNCTIONS | CLASSES}, REFERENCE) == []


@pytest.mark.parametrize("name", sorted(MODULES - AS_ELSEWHERE))
def test_every_name_of_a_module_is_in_the_reference(name: str) -> None:
    assert unlisted(offered(f"jaxconv.{name}"), REFERENCE) == []


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_what_is_listed_exists(name: str) -> None:
    home, _, last = name.rpartition(".")
    module = importlib.import_module(home) if home != "jaxconv" else jaxconv
    assert hasattr(module, last) or importlib.import_module(name)


def test_the_check_can_fail() -> None:
    assert "jaxconv.filters.gaussian" in offered("jaxconv.filters")
    assert unlisted({"a.b", "a.c.d"}, {"a.c"}) == ["a.b"]
