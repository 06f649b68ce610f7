"""docs/explain.md: its examples run, and its pictures are what the code draws."""

import doctest
from pathlib import Path

from docs.pictures.explain import METHODS, pictures

DOCS = Path(__file__).parent.parent / "docs"


def test_examples_run() -> None:
    options = doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(DOCS / "explain.md"), module_relative=False, optionflags=options)
    assert result.failed == 0
    assert result.attempted > 15


def test_pictures_are_what_the_code_draws() -> None:
    """Of the animations fonts and matplotlib's version decide about the pixels."""
    drawn = {f"explain_{name}.svg": picture.svg() for name, picture in pictures().items()}
    animated = {f"explain_{name}.gif" for name in METHODS}
    assert drawn.keys() | animated == {p.name for p in (DOCS / "images").glob("explain_*")}
    text = (DOCS / "explain.md").read_text()
    for name in drawn.keys() | animated:
        assert f"(images/{name})" in text
        assert (DOCS / "images" / name).stat().st_size <= 300_000
    for name, svg in drawn.items():
        assert (DOCS / "images" / name).read_text(encoding="utf-8") == svg
