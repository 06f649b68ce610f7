"""docs/explain.md: its examples run, and its pictures are what the code draws."""

import doctest
from pathlib import Path

import pytest

from docs.pictures import explain as pictures

DOCS = Path(__file__).parent.parent / "docs"


def test_examples_run() -> None:
    options = doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(DOCS / "explain.md"), module_relative=False, optionflags=options)
    assert result.failed == 0
    assert result.attempted > 15


def test_pictures_are_what_the_code_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "IMAGES", tmp_path)
    pictures.main()
    drawn = {p.name for p in tmp_path.iterdir()}
    assert drawn == {p.name for p in (DOCS / "images").glob("explain_*")}
    text = (DOCS / "explain.md").read_text()
    for name in drawn:
        assert f"(images/{name})" in text
        assert (DOCS / "images" / name).stat().st_size <= 300_000
        if name.endswith(".svg"):  # fonts and matplotlib's version decide about the pixels of the others
            assert (tmp_path / name).read_bytes() == (DOCS / "images" / name).read_bytes()
