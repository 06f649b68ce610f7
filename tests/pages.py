"""The code on the pages: which blocks there are, and what a program on a page takes for granted."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in ROOT.rglob("*.md") if not p.relative_to(ROOT).parts[0].startswith((".", "runs")))


@dataclass(frozen=True)
class Block:
    """A piece of code, or of output."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Those of a page, in order."""
    return blocks_of(str(page.relative_to(ROOT)), page.read_text())


def blocks_of(name: str, content: str) -> Iterator[Block]:
    """Fenced ones with the language that they name, indented ones with that which they can only be."""
    lines = content.split("\n")
    fence, start, indented = "", 0, False
    for number, line in enumerate([*lines, "end"]):
        mark = re.match(r" *```(\w*)$", line)
        if indented and line and not line.startswith("    "):
            text = "\n".join(one[4:] for one in lines[start:number]).strip("\n")
            yield Block(name, start + 1, _language(text), text)
            indented = False
        if fence and mark:
            text = "\n".join(lines[start:number])
            yield Block(name, start + 1, _language(text, fence), text)
            fence = ""
        elif mark:
            fence, start = mark[1] or "none", number + 1
        elif not (fence or indented or lines[number - 1]) and line.startswith("    "):
            indented, start = not _in_a_list(lines[:number]), number


def _in_a_list(above: list[str]) -> bool:
    """Whether what is indented there goes on with an item."""
    left = [line for line in above if line and not line.startswith("  ")]
    return bool(left) and re.match(r"([-*]|\d+\.) ", left[-1]) is not None


def _language(text: str, said: str = "") -> str:
    if text.startswith(">>> "):
        return "pycon"
    if said:
        return said
    try:
        ast.parse(text)
    except SyntaxError:
        return "console"
    return "python"


def given(page: str) -> dict[str, Any]:
    """The names that a page's programs use and do not define; the files that they read are made, too."""
    make = {
        "docs/explain.md": _explain,
        "docs/pieces_devices.md": _devices,
        "docs/porting.md": _porting,
        "docs/porting_onnx.md": _onnx,
        "docs/restoration.md": _restoration,
        "docs/sampling.md": _sampling,
    }.get(page)
    return make() if make else {}


def _explain() -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    import jaxconv

    kernel = jnp.arange(1.0, 10.0).reshape(3, 3, 1, 1)
    x = jax.ShapeDtypeStruct((1, 9, 10, 1), jnp.float32)
    return {"jaxconv": jaxconv, "net": lambda x: jaxconv.conv(x, kernel), "x": x}


def _devices() -> dict[str, Any]:
    import jax

    from jaxconv.partition import spatially_sharded

    mesh = jax.make_mesh((2, 1), ("row", "col"))
    return {"spatially_sharded": spatially_sharded, "fn": abs, "mesh": mesh, "axes": (None, "row", "col")}


def _porting() -> dict[str, Any]:
    import equinox
    import jax
    import numpy as np
    import orbax.checkpoint
    from flax import nnx
    from safetensors.numpy import save_file

    import jaxconv

    from .test_dropin_models import import_keras

    keras = import_keras()
    model = jaxconv.nn.Conv(3, 4, (3, 2), rngs=nnx.Rngs(0))
    weight, bias = np.ones((4, 3, 3, 2), "f4"), np.ones(4, "f4")
    ours = {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
    save_file({"conv.weight": weight, "conv.bias": bias}, "resnet.safetensors")
    theirs = keras.Sequential([keras.Input((5, 6, 3)), keras.layers.Conv2D(4, (3, 2))])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # Keras's
        theirs.save("mobilenet.keras")
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path("checkpoint").resolve(), ours)
    return {
        "jaxconv": jaxconv,
        "model": model,
        "equinox_model": equinox.nn.Conv2d(3, 4, (3, 2), key=jax.random.key(0)),
        "params": {"conv2_d": {"w": ours["kernel"], "b": bias}},
        "state": None,
    }


def _onnx() -> dict[str, Any]:
    import flax.linen
    import jax
    import jax.numpy as jnp
    from flax import nnx

    import jaxconv

    x = jnp.ones((1, 5, 6, 3))
    model, linen_model = jaxconv.nn.Conv(3, 4, (3, 2), rngs=nnx.Rngs(0)), flax.linen.Conv(4, (3, 2))
    jaxconv.interop.onnx.save(model, "detector.onnx", x)
    variables = linen_model.init(jax.random.key(0), x)
    names = {"linen_model": linen_model, "variables": variables, "loss": jnp.sum}
    return {"jax": jax, "jaxconv": jaxconv, "x": x, "model": model, **names}


def _restoration() -> dict[str, Any]:
    import jax

    return {"y": jax.random.uniform(jax.random.key(0), (36, 40))}


def _sampling() -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    import jaxconv

    def noise(*shape: int) -> jax.Array:
        return jax.random.uniform(jax.random.key(0), shape)

    pictures = {"image": noise(20, 24), "photo": noise(20, 24, 3), "batch": noise(2, 9, 10, 3)}
    names = {"x": noise(1, 12, 14, 3), "volumes": noise(2, 6, 7, 8), "kernel": noise(3, 3), "loss": jnp.sum}
    return {"jax": jax, "jaxconv": jaxconv, **pictures, **names}
