"""Time poolings against Flax's and PyTorch's: `python -m benchmarks.pooling --out FILE.jsonl`.

The lines are those of benchmarks.run, with Flax's function as `stock`: `lax.reduce_window`, whose gradient is
a select-and-scatter for maxima. There are three slots: `forward`; `gradient`, the cotangent of x from x and
that of y; and `both`, which returns y too, as a training step has it. PyTorch's `gradient` is its backward
pass alone: it has kept the indices of the maxima, which the others have to find. A table goes
beside the file.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

import jaxconv
from jaxconv.geometry import normalize

from . import results, session
from .contenders import Refused, ahead_of_time, relative_error
from .contenders_torch import memory_formats, on_all_cores
from .measure import interleave
from .session import Job, measure_missing
from .tables import NOISE, geometric_mean, milliseconds, number, table, write_beside

SLOTS = ("forward", "gradient", "both")
_DTYPE = "float32"
_SAME = 1e-5  # of the largest entry: sums of few numbers, in whatever order


@dataclasses.dataclass(frozen=True)
class Pooling:
    """A pooling of a real network; window, stride and padding are the same for every axis."""

    name: str
    source: str
    kind: Literal["max", "avg"]
    batch: int
    spatial: tuple[int, ...]
    features: int
    window: int
    stride: int
    padding: int = 0

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, *self.spatial, self.features)

    @property
    def y_shape(self) -> tuple[int, ...]:
        rank = len(self.spatial)
        axes = normalize(
            self.padding, size=self.spatial, kernel=(self.window,) * rank, stride=self.stride, dilation=1
        )
        return (self.batch, *(a.out for a in axes), self.features)

    @property
    def work(self) -> int:
        """Elements that all windows hold: as many comparisons or additions."""
        return math.prod(self.y_shape) * self.window ** len(self.spatial)


# The networks' own sizes; batches are small so that select-and-scatter needs less than a quarter of a second.
WORKLOADS = (
    Pooling("resnet-stem", "ResNet-50, behind its first convolution", "max", 4, (112, 112), 64, 3, 2, 1),
    Pooling("vgg", "VGG-16, second pooling", "max", 4, (112, 112), 128, 2, 2),
    Pooling("inception", "GoogLeNet, the pooling inside of a module", "max", 8, (28, 28), 192, 3, 1, 1),
    Pooling("squeezenet", "SqueezeNet, first pooling", "max", 4, (111, 111), 96, 3, 2),
    Pooling("unet", "U-Net, first pooling, of a smaller image", "max", 1, (256, 256), 64, 2, 2),
    Pooling("unet-3d", "3-D U-Net, first pooling, of a smaller volume", "max", 1, (48, 48, 48), 32, 2, 2),
    Pooling("fcn", "FCN on VGG, fourth pooling", "max", 4, (40, 52), 512, 2, 2),
    Pooling("audio", "M5 on waveforms, first pooling", "max", 8, (8000,), 64, 4, 4),
    Pooling("yolo-spp", "YOLOv5, SPPF", "max", 4, (20, 20), 256, 5, 1, 2),
    Pooling("densenet", "DenseNet-121, first transition", "avg", 8, (56, 56), 128, 2, 2),
    Pooling(
        "inception-avg", "Inception-v3, the pooling inside of a module", "avg", 8, (35, 35), 192, 3, 1, 1
    ),
    Pooling("resnet-head", "ResNet-50, in front of its dense layer", "avg", 32, (7, 7), 2048, 7, 7),
)

Call = Callable[[], Any]


def pool(contender: str, workload: Pooling) -> Callable[[jax.Array], jax.Array]:
    """What this library or Flax ("stock") offers for it."""
    window, stride = ((n,) * len(workload.spatial) for n in (workload.window, workload.stride))
    if contender == "jaxconv":
        ours = jaxconv.max_pool if workload.kind == "max" else jaxconv.avg_pool
        return lambda x: ours(x, window, stride=stride, padding=workload.padding)
    theirs: Any = linen.max_pool if workload.kind == "max" else linen.avg_pool
    pads = ((workload.padding, workload.padding),) * len(window)
    return lambda x: theirs(x, window, stride, pads)


def compiled(contender: str, workload: Pooling, slot: str, arrays: Sequence[np.ndarray]) -> tuple[Call, dict]:
    """A call that runs one slot to its end, and what is known of it before it is timed."""
    function = pool(contender, workload)

    def program(x: jax.Array, g: jax.Array) -> tuple[jax.Array, ...]:
        if slot == "forward":
            return (function(x),)
        y, pull = jax.vjp(function, x)
        return (y, *pull(g)) if slot == "both" else pull(g)

    return ahead_of_time(program, [jnp.asarray(array) for array in arrays])


def torch_calls(workload: Pooling, slot: str, arrays: Sequence[np.ndarray]) -> dict[str, Call]:
    """PyTorch's operator in each of its memory formats, or nothing where it is not installed."""
    try:
        torch = on_all_cores()
    except Refused:
        return {}
    rank = len(workload.spatial)
    function = getattr(torch.nn.functional, f"{workload.kind}_pool{rank}d")
    options = workload.window, workload.stride, workload.padding

    def call(form: Any) -> Call:
        x, g = (
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, -1, 1))).contiguous(memory_format=form)
            for a in arrays
        )
        if slot == "forward":
            return torch.inference_mode()(lambda: (function(x, *options),))
        x.requires_grad_()
        if slot == "gradient":
            y = function(x, *options)
            return lambda: torch.autograd.grad(y, x, g, retain_graph=True)

        def both() -> Any:
            y = function(x, *options)
            return y, *torch.autograd.grad(y, x, g)

        return both

    return {f"torch:{name}": call(form) for name, form in memory_formats(torch, rank).items()}


def measure(workload: Pooling, slot: str, rounds: int, budget_s: float) -> dict[str, Any]:
    """One row: builds and compares all programs, then times them in turns."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, np.float32) for shape in (workload.x_shape, workload.y_shape)]
    calls: dict[str, Call] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name in ("jaxconv", "stock"):
        calls[name], facts[name] = compiled(name, workload, slot, arrays)
    calls |= torch_calls(workload, slot, arrays)
    reference = [np.asarray(a) for a in calls["stock"]()]
    for name, call in calls.items():
        found = [a.detach().moveaxis(1, -1).numpy() if "torch" in name else np.asarray(a) for a in call()]
        error = max(relative_error(a, b) for a, b in zip(found, reference, strict=True))
        facts.setdefault(name, {})["error"] = error
        if error > _SAME:
            raise ValueError(f"{name} differs from stock by {error:.2g} in {workload.name} {slot}.")
    for name, samples in interleave(calls, rounds, budget_s).items():
        facts[name]["samples"] = samples
    arrays_moved = 2 if slot == "both" else 1  # of x's size and of y's each
    return results.row(
        dataclasses.asdict(workload),
        slot,
        facts,
        dtype=_DTYPE,
        tags=[workload.kind, f"{len(workload.spatial)}d"],
        multiply_adds=workload.work,
        bytes=4 * arrays_moved * (math.prod(workload.x_shape) + math.prod(workload.y_shape)),
    )


def torch_name(row: results.Row) -> str | None:
    """The better of PyTorch's memory formats in this row."""
    timed = {name: row.seconds(name) for name in row.data["contenders"] if name.startswith("torch:")}
    return min(timed, key=lambda name: timed[name] or math.inf) if timed else None


def write_table(path: Path) -> Path:
    """The table of a results file, beside it: all rows, and their geometric means."""
    head = (
        "workload", "slot", "jaxconv ms", "stock ms", "torch ms", "/ stock", "±", "/ torch", "compile s",
        "stock's",
    )  # fmt: skip
    rows = results.read(path).rows
    lines, means = [], []
    for row in rows:
        theirs = torch_name(row)
        lines.append(
            (
                *row.key[:2],
                *(milliseconds(row.seconds(name) if name else None) for name in ("jaxconv", "stock", theirs)),
                number(row.ratio("jaxconv", "stock")),
                number(row.spread("jaxconv", "stock")),
                number(row.ratio("jaxconv", theirs) if theirs else None),
                *(number(row.facts(name)["compile_s"]) for name in ("jaxconv", "stock")),
            )
        )
    for slot in SLOTS:
        ours = [row for row in rows if row.key[1] == slot]
        ratios = [row.ratio("jaxconv", "stock") for row in ours]
        torch = [row.ratio("jaxconv", name) for row in ours if (name := torch_name(row))]
        cells = [slot, str(len(ours))]
        for known in (ratios, torch):
            cells += [number(geometric_mean(known)), str(sum((r or 0) > 1 + NOISE for r in known))]
        means.append(cells)
    page = [
        "Geometric means of the ratios, and how many are above one by more than the noise:",
        "",
        *table(("slot", "workloads", "time / stock", "slower", "time / torch", "slower"), means),
        "",
        *table(head, lines),
    ]
    return write_beside(path, page)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what is not in the file yet, then writes the table."""
    args = session.parser("pooling", __doc__).parse_args(argv)
    options = args.rounds, args.budget_ms / 1e3
    jobs = [
        Job((w.name, slot, _DTYPE), w.work, functools.partial(measure, w, slot, *options))
        for w in WORKLOADS
        if args.only in w.name
        for slot in SLOTS
    ]
    measure_missing(args.out, _DTYPE, jobs)
    print(f"{args.out} and {write_table(args.out)}")


if __name__ == "__main__":
    main()
