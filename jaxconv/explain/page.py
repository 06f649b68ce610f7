"""A page to play with: one HTML file with everything in it."""

from __future__ import annotations

from importlib import resources

from .scene import COLOURS


def page() -> str:
    """The page as one HTML document that needs no network: sliders, picture, sizes, cost, coverage and code.

    Returns:
      The document; write it to a file and open it.

    Raises:
      ValueError: never.

    Example:
      >>> html = page()
      >>> html.startswith("<!doctype html>"), html.count("<script>"), "src=" in html
      (True, 2, False)
    """
    parts = {"STYLE": "page.css", "LOGIC": "logic.js", "VIEW": "view.js"}
    text = _file("page.html")
    for mark, name in parts.items():
        text = text.replace(f"/*{mark}*/", _file(name))
    for theme, colours in COLOURS.items():
        variables = "".join(f"--{name}: {value}; " for name, value in colours.items())
        text = text.replace(f"/*{theme.upper()}*/", variables)
    return text


def _file(name: str) -> str:
    return (resources.files(__name__.rpartition(".")[0]) / "html" / name).read_text(encoding="utf-8")
