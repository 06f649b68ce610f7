"""Compile functions of images that are divided in space for a TPU pod that is not there.

`python -m benchmarks.shards --out DIR` compiles each function twice for the 256 chips of a v5e 16x16: as
`jaxconv.partition.spatially_sharded` divides it, and as XLA's own partitioner does, which gets the same
function of arrays with the same shardings. `DIR/shards_v5e.jsonl` has what the compiler says of one chip's
program, `DIR/shards_v5e.md` the same as a table. Nothing runs, so nothing here is a measurement.

The exact halo is counted apart, from the windows of the traced function alone: with what a window sees beyond
its blocks on both sides, all rows first and then the columns of what is there, which holds the corners.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Whoever compiles for a device wants none to be started; before the first `import jax`.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv import targets
from jaxconv.graph import trace
from jaxconv.partition import spatially_sharded

from .tables import table

SIDE = 16
Shapes = dict[str, tuple[int, ...]]
Params = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Case:
    """A function of an image and of kernels; or a training step, of labels too.

    Attributes:
      name: for the table.
      fn: of x and kernels.
      x: shape of the image; its first two spatial dimensions are divided.
      kernels: shapes by name.
      classes: of each voxel, in a training step; 0 for the function alone.
    """

    name: str
    fn: Callable[[jax.Array, Params], jax.Array]
    x: tuple[int, ...]
    kernels: Shapes
    classes: int = 0


def conv(x: jax.Array, kernel: jax.Array, *, dilation: int = 1, groups: int = 1, up: int = 1) -> jax.Array:
    """lax's, as a Flax model has it: XLA's partitioner is to see what it sees elsewhere."""
    space = "DHW"[-(x.ndim - 2) :]
    names, dilated = (f"N{space}C", f"{space}IO", f"N{space}C"), (dilation,) * len(space)
    if up > 1:
        return lax.conv_transpose(x, kernel, (up,) * len(space), "SAME", dimension_numbers=names)
    return lax.conv_general_dilated(
        x, kernel, (1,) * len(space), "SAME", None, dilated, names, feature_group_count=groups
    )


def halved(x: jax.Array) -> jax.Array:
    """Maxima of 2."""
    window = (1, *(2,) * (x.ndim - 2), 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def unet(levels: int, rank: int, first: int, width: int, out: int) -> tuple[Callable[..., jax.Array], Shapes]:
    """Two convolutions a level, maxima of 2 down, transposed convolutions of 2 up, skips; and its kernels."""
    three, two, one = (3,) * rank, (2,) * rank, (1,) * rank
    shapes: Shapes = {}
    for level in range(levels):
        inside, here = (first if level == 0 else width << (level - 1)), width << level
        shapes |= {f"down{level}a": (*three, inside, here), f"down{level}b": (*three, here, here)}
    for level in range(levels - 1):
        here = width << level
        shapes |= {f"up{level}": (*two, 2 * here, here), f"up{level}a": (*three, 2 * here, here)}
    shapes["head"] = (*one, width, out)

    def block(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.nn.relu(conv(x, kernel))

    def fn(x: jax.Array, p: Params) -> jax.Array:
        skips = []
        for level in range(levels):
            x = block(block(x, p[f"down{level}a"]), p[f"down{level}b"])
            if level < levels - 1:
                skips.append(x)
                x = halved(x)
        for level in reversed(range(levels - 1)):
            x = conv(x, p[f"up{level}"], up=2)
            x = block(jnp.concatenate([skips[level], x], -1), p[f"up{level}a"])
        return conv(x, p["head"])

    return fn, shapes


def grouped(x: jax.Array, p: Params) -> jax.Array:
    """Two blocks of a ResNeXt: eight groups for themselves, then all channels; and scores."""
    for i in range(2):
        x = conv(jax.nn.relu(conv(x, p[f"group{i}"], groups=8)), p[f"all{i}"])
    return conv(x, p["head"])


def dilated(x: jax.Array, p: Params) -> jax.Array:
    """Ever wider."""
    for i in range(4):
        x = jax.nn.relu(conv(x, p[f"kernel{i}"], dilation=2**i))
    return x


def enlarged(x: jax.Array, p: Params) -> jax.Array:
    """As FSRCNN enlarges: a convolution, and a transposed one of 9 x 9 with stride 2."""
    return conv(jax.nn.relu(conv(x, p["in"])), p["out"], up=2)


def _cases() -> tuple[Case, ...]:
    image = (1, 4096, 4096)
    flat, flat_shapes = unet(4, 2, 3, 32, 8)
    deep, deep_shapes = unet(4, 3, 1, 16, 4)
    groups = {f"group{i}": (3, 3, 8, 64) for i in range(2)} | {f"all{i}": (1, 1, 64, 64) for i in range(2)}
    wide = {f"kernel{i}": (3, 3, 32, 32) for i in range(4)}
    return (
        Case(
            "groups of 8, training step, 2048 x 2048",
            grouped,
            (1, 2048, 2048, 64),
            groups | {"head": (1, 1, 64, 4)},
            4,
        ),
        Case("dilations 1 to 8, 4096 x 4096", dilated, (*image, 32), wide),
        Case(
            "enlargement x2, 4096 x 4096",
            enlarged,
            (*image, 16),
            {"in": (5, 5, 16, 56), "out": (9, 9, 56, 1)},
        ),
        Case("U-Net of 4 levels, 4096 x 4096", flat, (*image, 3), flat_shapes),
        Case(
            "3-D U-Net, training step, 512 x 512 x 512", deep, (1, 512, 512, 512, 1), deep_shapes, classes=4
        ),
    )


CASES = _cases()


def pod() -> Mesh:
    """16 x 16 chips."""
    devices = np.array(targets.topology("v5e", SIDE**2)).reshape(SIDE, SIDE)
    return Mesh(devices, ("row", "col"), axis_types=(AxisType.Auto,) * 2)


def program(case: Case, mesh: Mesh, ours: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What is compiled, and its abstract arguments."""
    spec = P(None, "row", "col")

    def abstract(shape: tuple[int, ...], dtype: Any, spec: P) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

    dtype = jnp.float32 if case.classes else jnp.bfloat16
    x, p = abstract(case.x, jnp.bfloat16, spec), {k: abstract(s, dtype, P()) for k, s in case.kernels.items()}
    if not case.classes:
        return (spatially_sharded(case.fn, mesh, spec) if ours else case.fn), (x, p)

    def loss(p: Params, x: jax.Array, label: jax.Array) -> jax.Array:
        scores = case.fn(x, jax.tree.map(lambda k: k.astype(jnp.bfloat16), p)).astype(jnp.float32)
        chosen = jnp.where(label[..., None] == jnp.arange(case.classes), scores, 0).sum(-1)
        return jnp.mean(jax.nn.logsumexp(scores, -1) - chosen)

    divided = spatially_sharded(loss, mesh, {1: spec, 2: spec}) if ours else loss

    def step(p: Params, momentum: Params, x: jax.Array, label: jax.Array) -> Any:
        value, slope = jax.value_and_grad(divided)(p, x, label)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, slope)
        return jax.tree.map(lambda k, m: k - 0.01 * m, p, momentum), momentum, value

    return step, (p, p, x, abstract(case.x[:-1], jnp.uint8, spec))


def halo_bytes(case: Case) -> int:
    """That a chip with four neighbours sends; in a training step again for gradients but the image's."""
    x = jax.ShapeDtypeStruct(case.x, jnp.bfloat16)
    p = {k: jax.ShapeDtypeStruct(s, jnp.bfloat16) for k, s in case.kernels.items()}
    total = 0
    for node in trace(case.fn, x, p).nodes:
        if node.op != "conv":
            continue
        value, halos = node.operands[0], {w.operand_dim: sum(w.taps.halo) for w in node.windows if w.taps}
        rows, cols = value.shape[1] // SIDE, value.shape[2] // SIDE
        rest = math.prod(value.shape[3:]) * value.dtype.itemsize
        times = 2 if case.classes and value.kind == "result" else 1
        total += times * rest * (halos[1] * cols + halos[2] * (rows + halos[1]))
    return total


def compiled(case: Case, mesh: Mesh, ours: bool) -> dict[str, Any]:
    """One line: what the compiler made of it."""
    fn, args = program(case, mesh, ours)
    start = time.perf_counter()
    row: dict[str, Any] = {
        "case": case.name,
        "by": "jaxconv" if ours else "XLA",
        "halo_bytes": halo_bytes(case),
    }
    try:
        report = targets.compile_for(fn, *args, device="v5e")
    except jax.errors.JaxRuntimeError as failure:
        return row | {"failed": str(failure).splitlines()[0]}
    return row | {
        "compile_s": round(time.perf_counter() - start, 1),
        "memory": dataclasses.asdict(report.memory),
        "multiply_adds": report.multiply_adds,
        "collectives": [dataclasses.asdict(c) for c in report.collectives],
        "bytes": bytes_by_kind(report.collectives),
    }


def bytes_by_kind(collectives: Sequence[targets.Collective]) -> dict[str, int]:
    """What a chip receives."""
    found: dict[str, int] = {}
    for c in collectives:
        found[c.kind] = found.get(c.kind, 0) + c.bytes * c.times
    return found


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The table of docs/scaling.md."""
    head = (
        "function",
        "divided by",
        "exact halo, KiB",
        "exchanged with neighbours, KiB",
        "gathered, KiB",
        "summed over chips, KiB",
        "multiply-adds of a chip, 10⁹",
        "temporaries, MiB",
    )
    return "\n".join(table(head, [_cells(row) for row in rows]))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    start = (row["case"], row["by"], f"{row['halo_bytes'] / 2**10:,.0f}")
    if "failed" in row:
        return (*start, row["failed"], *[""] * 4)
    sent = row["bytes"]
    gathered = sum(sent.get(kind, 0) for kind in ("all-gather", "all-to-all"))
    summed = sum(sent.get(kind, 0) for kind in ("all-reduce", "reduce-scatter"))
    return (
        *start,
        *(f"{n / 2**10:,.0f}" for n in (sent.get("collective-permute", 0), gathered, summed)),
        f"{row['multiply_adds'] / 1e9:.2f}",
        f"{row['memory']['temporaries'] / 2**20:,.0f}",
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument("--only", type=int, metavar="N", help="the case of this number, from 0")
    options = parser.parse_args(argv)
    if reason := targets.missing("v5e"):
        print(reason, file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    rows, mesh = [], pod()
    with (options.out / "shards_v5e.jsonl").open("w", buffering=1) as file:
        for case in CASES if options.only is None else CASES[options.only :][:1]:
            for ours in (True, False):
                print(f"compiling {case.name}, {'ours' if ours else 'stock'}", file=sys.stderr)
                rows.append(compiled(case, mesh, ours))
                file.write(json.dumps(rows[-1]) + "\n")
    (options.out / "shards_v5e.md").write_text(page(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
