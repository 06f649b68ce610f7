"""The pages that people read: every link that stays inside the repository leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in ROOT.rglob("*.md") if not p.relative_to(ROOT).parts[0].startswith((".", "runs")))


def broken(text: str, folder: Path) -> list[str]:
    """The targets of relative links that do not exist; code is no link."""
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", re.sub(r"`[^`]*`", "", text))
    return [t for t in targets if "://" not in t and not (folder / t).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page.read_text(), page.parent) == []


def test_the_test_can_fail() -> None:
    text = "[a](no.md) ![b](gone.png) [c](README.md#limits) [d](https://jax.dev) `vjp(f)[1](g)`"
    assert broken(text, ROOT) == ["no.md", "gone.png"]
