"""Names for a reader: of arrays in pytrees, and of places in the user's code."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import jax

# Parts of a path that say nothing of the layer: at its start Linen's collections, at its end NNX's variables.
_FIRST, _LAST = {"params", "batch_stats"}, {"value", "raw_value"}
# "transpose(jvp(Net))/conv" is the layer Net/conv.
_TRANSFORM = re.compile(r"\b\w+\(([^()]*)\)")
_NO_LAYERS = {"checkpoint", "rematted_computation", "while", "body", "cond", "closed_call"}


def path_name(path: tuple[Any, ...]) -> str:
    """A pytree's path, as a reader writes it.

    Example:
      >>> tree = {"params": {"Block_0": [{"kernel": 1.0}]}}
      >>> [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
      ['Block_0/0/kernel']
    """
    parts = [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path]
    start = 1 if len(parts) > 1 and parts[0] in _FIRST else 0
    stop = -1 if len(parts) > 1 and parts[-1] in _LAST else None
    return "/".join(parts[start:stop])


def layer_of(name: str) -> str:
    """The layer of a parameter: its path less the last part."""
    return name.rpartition("/")[0]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an equation stands.

    Attributes:
      scope: the named scopes around it.
      source: file, line and function of the user's code.
    """

    scope: str = ""
    source: str = ""

    def of(self, source_info: Any) -> Place:
        """Of an equation of a function that is called here; a compiled one may have lost its source."""
        scope = _scope(self.scope, source_info.name_stack)
        return Place(scope, _source(source_info) or self.source)


def _scope(outer: str, name_stack: Any) -> str:
    """Without what transformations and control flow add."""
    text = str(name_stack)
    while (plain := _TRANSFORM.sub(r"\1", text)) != text:
        text = plain
    inner = "/".join(part for part in text.split("/") if part and part not in _NO_LAYERS)
    if not outer or not inner or inner == outer or inner.startswith(f"{outer}/"):
        return inner or outer
    return f"{outer}/{inner}"


def _source(source_info: Any) -> str:
    """The innermost frame that no installed library owns."""
    traceback = getattr(source_info, "traceback", None)
    for frame in traceback.frames if traceback is not None else ():
        if "site-packages" not in frame.file_name and "/jaxconv/" not in frame.file_name:
            file = frame.file_name.replace("\\", "/").rpartition("/")[2]
            return f"{file}:{frame.line_num} {frame.function_name}"
    return ""


def closed_over(fn: Callable[..., Any]) -> dict[int, str]:
    """The names of arrays that a function closes over, by the arrays' ids."""
    found: dict[int, str] = {}
    while (inner := getattr(fn, "__wrapped__", None)) is not None:  # of jit, vmap, functools.wraps
        found |= _leaves(fn)
        fn = inner
    if isinstance(fn, functools.partial):
        return found | _leaves([fn.args, fn.keywords]) | closed_over(fn.func)
    found |= _leaves(getattr(fn, "__self__", None))
    try:
        variables = inspect.getclosurevars(fn)
    except (TypeError, ValueError):  # no function; a variable that has no value yet
        return found | _leaves(fn)
    for name, value in (*variables.globals.items(), *variables.nonlocals.items()):
        if not inspect.ismodule(value):
            found |= _leaves({name: value})
    return found


def _leaves(tree: Any) -> dict[int, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {id(leaf): path_name(path) for path, leaf in leaves if isinstance(leaf, jax.Array)}
