"""The import arrows of the design, read from the sources with `ast`; nothing has to be importable for it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxconv"

# Lowest first. A file may import its own member and the layers before it, not its siblings.
LAYERS = (
    {"geometry"},
    {"typing"},
    {"lowerings"},
    {"planner"},
    {"ops"},
    {"dropin", "nn", "testing", "graph", "filters"},
    {"interop"},
    {
        "linen",
        "partition",
        "restore",
        "prune",
        "explain",
        "targets",
    },  # linen is nn.linen under its public name
    {"cli"},
)
LEVEL = {member: level for level, members in enumerate(LAYERS) for member in members}
ARRAYS = {"jax", "jaxlib", "numpy"}
FLAX = {"nn", "linen", "dropin", "interop"}
MAX_FILE, MAX_FUNCTION = 450, 60  # lines; a function's are counted without its docstring


def imports(source: str, module: str) -> Iterator[tuple[str, bool]]:
    """Absolute names that the source of `module` imports, and whether that happens as the module loads."""
    tree = ast.parse(source)
    deferred = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", node not in deferred) for alias in node.names)


def allowed(member: str, target: str, loads: bool) -> bool:
    """Whether a file of jaxconv's `member` may import the absolute name `target`."""
    top, _, rest = target.partition(".")
    if top == "jaxconv":
        other = rest.partition(".")[0]
        return other == member or LEVEL.get(other, len(LAYERS)) < LEVEL[member]
    if top in sys.stdlib_module_names:
        return True
    if member == "geometry" or top in {"examples", "tests", "benchmarks"}:
        return False
    if top in {"flax", "optax"}:
        return member in FLAX
    # Anything that a plain installation lacks may be imported only inside the function that needs it.
    return top in ARRAYS or not loads


def violations(source: str, module: str) -> list[str]:
    """Each import of `module` (`jaxconv.ops.conv`, `jaxconv.ops.__init__`) that goes against the arrows."""
    member = module.split(".")[1]
    if member not in LEVEL:
        return [f"{module} has no layer; give it one in {__name__}.LAYERS"]
    found = imports(source, module)
    return [f"{module} imports {name}" for name, loads in found if not allowed(member, name, loads)]


def sources() -> dict[str, str]:
    paths = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts): p.read_text() for p in paths}


def test_arrows() -> None:
    assert len(files := sources()) > 5
    assert [v for module, source in files.items() for v in violations(source, module)] == []


def test_front_door_only_reexports() -> None:
    body = ast.parse((PACKAGE / "__init__.py").read_text()).body
    for node in body[1:]:  # body[0] is the docstring
        is_name = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("__")
        assert is_name or (isinstance(node, ast.ImportFrom) and node.level == 1), ast.unparse(node)


def too_long(source: str, path: str) -> list[str]:
    """The file and the functions in it that are longer than the style allows."""
    lengths = [(path, len(source.splitlines()), MAX_FILE)]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            lengths.append((f"{path}:{node.name}", (node.end_lineno or 0) - first.lineno + 1, MAX_FUNCTION))
    return [f"{name} has {lines} lines" for name, lines, most in lengths if lines > most]


@pytest.mark.parametrize("folder", ["jaxconv", "tests", "examples", "benchmarks"])
def test_files_and_functions_stay_short(folder: str) -> None:
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    assert [long for p in paths for long in too_long(p.read_text(), str(p.relative_to(ROOT)))] == []


def test_length_check_can_fail() -> None:
    body = "    x = 1\n"
    assert too_long(f'def f():\n    """One.\n\n    Two.\n    """\n{body * 60}', "a.py") == []
    assert too_long(f"def f():\n{body * 61}", "a.py") == ["a.py:f has 61 lines"]
    assert too_long(f"def f():\n{body * 61}\n\ndef f():\n{body}", "a.py") == ["a.py:f has 61 lines"]
    assert too_long("x = 1\n" * 451, "a.py") == ["a.py has 451 lines"]


@pytest.mark.parametrize(
    ("module", "source", "ok"),
    [
        ("jaxconv.geometry.axis", "import dataclasses\nfrom .padding import normalize", True),
        ("jaxconv.geometry.axis", "import numpy as np", False),
        ("jaxconv.geometry.axis", "def f():\n    import jax.numpy", False),
        ("jaxconv.geometry.__init__", "from .axis import Axis as Axis", True),
        ("jaxconv.geometry.__init__", "from ..ops import conv", False),
        ("jaxconv.lowerings.direct", "from ..geometry.spec import ConvSpec\nimport jax", True),
        ("jaxconv.lowerings.direct", "from ..planner.plan import plan", False),
        ("jaxconv.lowerings.direct", "from .. import ops", False),
        ("jaxconv.ops.conv", "from jaxconv import conv", False),
        ("jaxconv.ops.conv", "from flax import nnx", False),
        ("jaxconv.nn.nnx", "from flax import nnx\nfrom ..ops.conv import conv", True),
        ("jaxconv.nn.nnx", "from ..interop import torch", False),
        ("jaxconv.interop.torch", "def f():\n    import torch", True),
        ("jaxconv.interop.torch", "import torch", False),
        ("jaxconv.ops.conv", "from examples import data", False),
        ("jaxconv.newcomer", "", False),
    ],
)
def test_the_test_can_fail(module: str, source: str, ok: bool) -> None:
    assert (violations(source, module) == []) is ok
