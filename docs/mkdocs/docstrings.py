"""Docstrings as the API reference reads them."""

import re

import griffe


class Examples(griffe.Extension):
    """The section that this project calls `Example` is the reader's `Examples`, whose content is code."""

    def on_instance(self, *, obj, **_):
        """Of each object that has a docstring of its own."""
        if not obj.is_alias and obj.docstring:
            text = re.sub(r"^([ ]*)Example:[ ]*$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = text
