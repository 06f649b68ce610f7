"""What users see, by reflection: names, keyword-only options, vocabulary, docstrings, what import loads."""

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import jax
import pytest
from flax import linen, nnx

import jaxconv
from jaxconv.restore import metrics

FUNCTIONS = {
    "accelerate",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "conv",
    "conv_general_dilated",
    "conv_input_grad",
    "conv_matrix",
    "conv_transpose",
    "conv_weight_grad",
    "convolve",
    "correlate",
    "effective_receptive_field",
    "fold",
    "from_subpixel",
    "install",
    "installed",
    "lp_pool",
    "max_pool",
    "max_unpool",
    "pixel_shuffle",
    "pixel_unshuffle",
    "plan",
    "resize",
    "to_subpixel",
    "receptive_field",
    "summary",
    "tune",
    "unfold",
    "uninstall",
}
CLASSES = {"Axis", "ConvSpec", "Table"}
MODULES = {"explain", "filters", "graph", "interop", "linen", "nn", "partition", "restore", "testing"}
MODULES = {"explain", "filters", "graph", "interop", "linen", "nn", "prune", "restore", "testing"}
LAYERS = {
    "AvgPool",
    "CausalConv",
    "CausalConvTranspose",
    "Conv",
    "ConvTranspose",
    "DepthwiseConv",
    "MaxPool",
    "MaxUnpool",
    "PixelShuffle",
    "PixelUnshuffle",
    "ResizeConv",
    "SeparableConv",
    "SubpixelConv",
    "Upsample",
}
# lax's own signature, in lax's words.
OURS = sorted(FUNCTIONS - {"conv_general_dilated"})

# Words of other libraries, and ours. jaxconv.interop, which translates theirs, may say them.
FOREIGN = {
    **dict.fromkeys(["lhs", "input", "inputs", "image", "data"], "x"),
    **dict.fromkeys(["rhs", "weight", "weights", "w", "filter", "filters"], "kernel"),
    **dict.fromkeys(["out", "output"], "y"),
    **dict.fromkeys(["cotangent", "ct", "grad", "dy"], "g"),
    **dict.fromkeys(["strides", "window_strides"], "stride"),
    **dict.fromkeys(["dilations", "kernel_dilation", "rhs_dilation", "dilation_rate"], "dilation"),
    **dict.fromkeys(["feature_group_count", "feature_groups", "num_groups"], "groups"),
    **dict.fromkeys(["pad", "pads", "paddings"], "padding"),
    **dict.fromkeys(["data_format", "dimension_numbers"], "layout"),
    **dict.fromkeys(["method", "implementation", "backend"], "algorithm"),
}
# What is interpolated how is no choice of an algorithm.
OWN_MEANING = {"resize": {"method"}}
ARRAYS_MAY_BE_LEFT_OUT = {"bias"}
# Windows that are pooled touch each other where nothing else is said, as in PyTorch.
OWN_DEFAULTS = {("stride", name) for name in ("avg_pool", "lp_pool", "max_pool", "max_unpool")}


def public(module: ModuleType) -> Iterator[tuple[str, Callable]]:
    """The functions that a module offers: its own, and for a package what it re-exports."""
    for name, value in inspect.getmembers(module, inspect.isfunction):
        home = value.__module__
        if name[0] != "_" and (
            home == module.__name__ or (hasattr(module, "__path__") and "jaxconv" in home)
        ):
            yield f"{module.__name__}.{name}", value


def foreign_words(function: Callable) -> list[str]:
    names = inspect.signature(function).parameters.keys() - OWN_MEANING.get(function.__name__, set())
    return [f"{name}: say {FOREIGN[name]}" for name in sorted(names) if name in FOREIGN]


def positional_options(function: Callable) -> list[str]:
    """Parameters with a default that may be given by position."""
    parameters = inspect.signature(function).parameters.values()
    optional = [p for p in parameters if p.default is not p.empty and p.name not in ARRAYS_MAY_BE_LEFT_OUT]
    return [p.name for p in optional if p.kind is not p.KEYWORD_ONLY]


def undocumented(function: Callable) -> list[str]:
    """What a docstring lacks: a section, a parameter in Args, a doctest with numbers in it."""
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    sections = dict(re.findall(r"^(\w+):\n((?:[ ]+.*\n|\n)+)", text + "\n", flags=re.MULTILINE))
    wanted = {"Args", "Raises", "Example"} if signature.parameters else {"Example"}
    if signature.return_annotation not in (None, "None"):
        wanted.add("Returns")
    described = re.findall(r"^ +([\w*, ]+):", sections.get("Args", ""), re.MULTILINE)
    missing = wanted - sections.keys() | signature.parameters.keys() - re.findall(r"\w+", " ".join(described))
    if re.search(r"[Aa]rguments and errors are (the same|those of `\w+`)", text):  # said once, by a sibling
        missing &= {"Example"}
    examples = doctest.DocTestParser().get_examples(text)
    if not any(e.want and re.search(r"\d", e.want + e.source) for e in examples):
        missing.add("a number in a doctest")
    return sorted(missing)


INTEROP = [module for name, module in inspect.getmembers(jaxconv.interop, inspect.ismodule) if name[0] != "_"]
RESTORE = [jaxconv.restore, jaxconv.restore.psf, jaxconv.restore.noise, metrics]
SHOWN = (jaxconv, jaxconv.explain, jaxconv.filters, jaxconv.testing, *INTEROP, *RESTORE)
SHOWN = (jaxconv, jaxconv.explain.see, jaxconv.testing, *INTEROP, *RESTORE)
SHOWN = (jaxconv, jaxconv.prune, jaxconv.testing, *INTEROP, *RESTORE)
DOCUMENTED = dict(pair for module in SHOWN for pair in public(module))


def test_names() -> None:
    visible = {name: value for name, value in vars(jaxconv).items() if not name.startswith("_")}
    assert {name for name, value in visible.items() if callable(value)} == FUNCTIONS | CLASSES
    assert {name for name, value in visible.items() if isinstance(value, ModuleType)} >= MODULES
    assert set(dir(jaxconv.nn)) >= LAYERS
    assert set(dir(jaxconv.linen)) >= LAYERS


@pytest.mark.parametrize("name", OURS)
def test_options_are_keyword_only_and_in_our_words(name: str) -> None:
    function = getattr(jaxconv, name)
    assert positional_options(function) == []
    assert foreign_words(function) == []


def test_an_option_has_one_default() -> None:
    defaults: dict[str, dict[str, object]] = {}
    for name in OURS:
        for p in inspect.signature(getattr(jaxconv, name)).parameters.values():
            if p.default is not p.empty and (p.name, name) not in OWN_DEFAULTS:
                defaults.setdefault(p.name, {})[name] = p.default
    assert {"stride", "padding", "layout", "algorithm"} <= defaults.keys()
    assert {option: by for option, by in defaults.items() if len(set(map(repr, by.values()))) > 1} == {}


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_documented(name: str) -> None:
    assert undocumented(DOCUMENTED[name]) == []


def test_conv_general_dilated_has_laxs_signature() -> None:
    def plain(function: Callable) -> list[tuple]:
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    assert plain(jaxconv.conv_general_dilated) == plain(jax.lax.conv_general_dilated)


def constructor(layer: type) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(layer.__init__).parameters
    return {name: p for name, p in parameters.items() if name not in {"self", "parent", "name"}}


@pytest.mark.parametrize("flavour", ["nn", "linen"])
def test_conv_takes_what_flaxs_takes_with_the_same_defaults(flavour: str) -> None:
    theirs = constructor({"nn": nnx, "linen": linen}[flavour].Conv)
    ours = constructor(getattr(jaxconv, flavour).Conv)
    assert list(ours)[: len(theirs)] == list(theirs)  # in this order, so that positional calls mean the same
    for name in theirs.keys() - {"conv_general_dilated"}:  # ours is the point of it
        wanted, got = theirs[name].default, ours[name].default
        # An initialiser is a closure: two calls of one factory are equal in name only.
        assert getattr(got, "__qualname__", got) == getattr(wanted, "__qualname__", wanted), name


@pytest.mark.parametrize("flavour", ["nn", "linen"])
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_are_documented(flavour: str, name: str) -> None:
    text = inspect.getdoc(getattr(getattr(jaxconv, flavour), name)) or ""
    assert "Args:" in text
    assert re.search(r"^Examples?:", text, re.MULTILINE)


def test_import_loads_nothing_that_flax_has_not_loaded() -> None:
    code = (
        "import sys, jax, flax.linen, flax.nnx\n"
        "before = set(sys.modules)\n"
        "import jaxconv\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(tops - {n.partition('.')[0] for n in before} - sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["jaxconv"]


def test_the_checks_can_fail() -> None:
    def good(x: int, *, stride: int = 1) -> int:
        """Counts.

        Args:
          x: how many.
          stride: by how much.

        Returns:
          The count.

        Raises:
          ValueError: never.

        Example:
          >>> 1 + 1
          2
        """
        raise NotImplementedError

    def bad(lhs: int, strides: int = 1) -> int:
        """Counts.

        Args:
          lhs: how many.

        Example:
          >>> None
        """
        raise NotImplementedError

    assert (undocumented(good), positional_options(good), foreign_words(good)) == ([], [], [])
    assert undocumented(bad) == ["Raises", "Returns", "a number in a doctest", "strides"]
    assert positional_options(bad) == ["strides"]
    assert foreign_words(bad) == ["lhs: say x", "strides: say stride"]
