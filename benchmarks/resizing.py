"""Time `resize` against JAX's and PyTorch's: `python -m benchmarks.resizing --out FILE.jsonl`.

The lines are those of benchmarks.run, with `jax.image` as `stock`. Two slots: `forward`, and `gradient`, the
cotangent of x from that of y, which needs no x. Beside the file goes a table, FILE.md.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxconv
from jaxconv.geometry.resample import Method

from . import results, session
from .contenders import Contender, Refused, ahead_of_time, relative_error
from .contenders_torch import memory_formats, on_all_cores
from .measure import interleave
from .session import Job, measure_missing
from .tables import geometric_mean, milliseconds, number, table, write_beside

SLOTS = ("forward", "gradient")
CONTENDERS = ("jaxconv", "stock", "torch")
_DTYPE = "float32"
_SAME = 1e-4  # of the largest entry
_TORCH_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclasses.dataclass(frozen=True)
class Resizing:
    """A resize of a real program, as all three libraries have it."""

    name: str
    source: str
    batch: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    features: int
    method: Method
    antialias: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            name: (self.batch, *sizes, self.features)
            for name, sizes in (("x", self.before), ("g", self.after))
        }

    @property
    def products(self) -> int:
        """Multiply-adds, axis by axis in the order given; taps of a kernel that is stretched included."""
        radius = {"nearest-exact": 0.5, "linear": 1, "cubic": 2, "lanczos3": 3}[self.method]
        total, sizes = 0, list(self.before)
        for i, (n, m) in enumerate(zip(self.before, self.after, strict=True)):
            sizes[i] = m
            stretch = max(1.0, n / m) if self.antialias else 1.0
            total += round(math.prod(sizes) * 2 * radius * stretch)
        return self.batch * self.features * total


WORKLOADS = (
    Resizing("unet-up", "U-Net, a decoder's enlargement", 4, (32, 32), (64, 64), 64, "linear"),
    Resizing("fcn-scores", "scores of 21 classes to the picture", 1, (64, 64), (256, 256), 21, "linear"),
    Resizing("fpn-nearest", "feature pyramid, top-down path", 4, (32, 32), (64, 64), 128, "nearest-exact"),
    Resizing("sr-skip", "bicubic skip of super-resolution", 16, (24, 24), (72, 72), 1, "cubic"),
    Resizing("photo-x4", "a photograph enlarged", 1, (128, 128), (512, 512), 3, "cubic"),
    Resizing("imagenet", "a photograph to a network's input", 4, (300, 400), (224, 224), 3, "linear", True),
    Resizing("sr-reduce", "low-resolution pictures of luma", 1, (510, 510), (170, 170), 1, "cubic", True),
    Resizing("thumbnail", "a photograph, small", 1, (600, 800), (120, 160), 3, "lanczos3", True),
    Resizing("vit-positions", "position embeddings of another size", 1, (14, 14), (24, 24), 768, "cubic"),
    Resizing("volume", "3-D U-Net, a decoder's enlargement", 1, (24, 24, 24), (48, 48, 48), 16, "linear"),
    Resizing("audio", "features resampled 48 kHz to 44.1", 8, (960,), (882,), 32, "linear", True),
    Resizing("masks", "masks to half their size", 8, (256, 256), (128, 128), 1, "nearest-exact"),
    Resizing("gan-up", "StyleGAN2's skip, twice the size", 8, (128, 128), (256, 256), 3, "linear"),
)


def arrays(workload: Resizing) -> dict[str, np.ndarray]:
    """Random numbers for x and the cotangent of y."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in workload.shapes.items()}


def resizer(contender: str, workload: Resizing) -> Callable[[jax.Array], jax.Array]:
    """What this library or jax.image ("stock") offers for it."""
    method: Any = workload.method
    if contender == "jaxconv":
        # The kernel and the border of jax.image, so that the results can be compared everywhere.
        alike: Any = {"cubic_a": -0.5, "border": "renormalize"} if method == "cubic" else {}
        return lambda x: jaxconv.resize(
            x, size=workload.after, method=method, antialias=workload.antialias, **alike
        )
    method = "nearest" if method == "nearest-exact" else method
    shape = workload.shapes["g"]
    return lambda x: jax.image.resize(x, shape, method, antialias=workload.antialias)


def build(contender: str, workload: Resizing, slot: str) -> Contender:
    """A contender that is ready to run.

    Raises:
      Refused: where PyTorch is not there or has no such resize.
    """
    given = arrays(workload)
    if contender == "torch":
        return _torch(workload, slot, given)
    function, x = resizer(contender, workload), jnp.asarray(given["x"])

    def gradient(g: jax.Array) -> jax.Array:
        return jax.linear_transpose(function, x)(g)[0]

    program, operand = (function, x) if slot == "forward" else (gradient, jnp.asarray(given["g"]))
    call, facts = ahead_of_time(program, (operand,))
    return Contender(call, np.asarray, facts)


def _torch(workload: Resizing, slot: str, given: dict[str, np.ndarray]) -> Contender:
    """PyTorch's, channels last in memory, which is its faster format for most of these."""
    torch, rank = on_all_cores(), len(workload.before)
    if workload.antialias and rank != 2:
        raise Refused("PyTorch's antialias is for two dimensions.")
    modes = {"linear": _TORCH_LINEAR[rank], "cubic": "bicubic", "lanczos3": "lanczos"}
    options: Any = {"size": workload.after, "mode": modes.get(workload.method, workload.method)}
    if workload.antialias:
        options["antialias"] = True
    *_, last = memory_formats(torch, rank).values()

    def tensor(array: np.ndarray) -> Any:
        return torch.from_numpy(np.moveaxis(array, -1, 1).copy()).contiguous(memory_format=last)

    x, g = tensor(given["x"]).requires_grad_(slot == "gradient"), tensor(given["g"])
    y = torch.nn.functional.interpolate(x, **options)

    def call() -> Any:
        if slot == "forward":
            return torch.nn.functional.interpolate(x, **options)
        return torch.autograd.grad(y, x, g, retain_graph=True)[0]

    return Contender(call, lambda result: np.moveaxis(result.detach().numpy(), 1, -1), {})


def comparable(contender: str, workload: Resizing) -> bool:
    """PyTorch's cubic kernel without antialias is another one, and its border too."""
    return not (contender == "torch" and workload.method == "cubic" and not workload.antialias)


def measure(workload: Resizing, slot: str, rounds: int, budget_s: float) -> dict[str, Any]:
    """One row: every contender compared with stock, then all timed in turns."""
    ready: dict[str, Contender] = {}
    facts: dict[str, dict[str, Any]] = {}
    reference = None
    for name in ("stock", *(c for c in CONTENDERS if c != "stock")):
        try:
            contender = build(name, workload, slot)
        except Refused as refusal:
            facts[name] = {"refused": str(refusal)}
            continue
        result = contender.read(contender.call())
        reference = result if reference is None else reference
        facts[name] = dict(contender.facts)
        if comparable(name, workload):
            facts[name]["error"] = error = relative_error(result, reference)
            if error > _SAME:
                raise ValueError(f"{name} differs from stock in {workload.name} {slot} by {error:.1e}")
        ready[name] = contender
    samples = interleave({name: contender.call for name, contender in ready.items()}, rounds, budget_s)
    for name, blocks in samples.items():
        facts[name]["samples"] = blocks
    return results.row(
        dataclasses.asdict(workload),
        slot,
        facts,
        dtype=_DTYPE,
        tags=[workload.method],
        multiply_adds=workload.products,
        bytes=4 * sum(map(math.prod, workload.shapes.values())),
    )


def write_table(path: Path) -> Path:
    """The table of a results file, beside it."""
    found = results.read(path)
    loads = [row.data["load"] for row in found.rows]
    lines = [
        f"# Resizing, {found.headers[0]['processor']}, {found.headers[0]['cores']} cores",
        "",
        f"- load {min(loads):.1f} to {max(loads):.1f}; with more than there are cores PyTorch's threads lose "
        "time slices, and its times here say little",
    ]
    for slot in SLOTS:
        rows = [row for row in found.rows if row.key[1] == slot]
        stock, torch = (geometric_mean(row.ratio("jaxconv", c) for row in rows) for c in ("stock", "torch"))
        lines.append(
            f"- {slot}: {number(stock)} of stock's time, {number(torch)} of PyTorch's (geometric means)"
        )
    cells = (
        (
            *row.key[:2],
            *(milliseconds(row.seconds(c)) for c in CONTENDERS),
            number(row.ratio("jaxconv", "stock")),
            number(row.ratio("jaxconv", "torch")),
        )
        for row in found.rows
    )
    head = ("workload", "slot", "jaxconv ms", "stock ms", "torch ms", "/ stock", "/ torch")
    return write_beside(path, [*lines, "", *table(head, cells)])


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what is not in the file yet."""
    args = session.parser("resizing", __doc__).parse_args(argv)
    options = args.rounds, args.budget_ms / 1e3
    jobs = [
        Job((w.name, slot, _DTYPE), w.products, functools.partial(measure, w, slot, *options))
        for w in WORKLOADS
        if args.only in w.name
        for slot in SLOTS
    ]
    measure_missing(args.out, _DTYPE, jobs)
    print(f"{args.out} and {write_table(args.out)}")


if __name__ == "__main__":
    main()
