"""A cost model: seconds of an algorithm on a device from the work it does.

    seconds = a . (1, steps, multiply-adds, elements of the factors and product of its dots, traffic, paging)

with constants a >= 0 for each algorithm, slot and kind of convolution, fitted to measurements of random
convolutions, then corrected by what it missed for the measured ones nearby (`neighbours`). The elements of
the factors price narrow products: an (m, k) times (k, n) with n below a vector's length costs as m * k,
whatever n is. Compilation is priced by the number of operations, and paid back over `CALLS` calls.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import math
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..geometry import ConvSpec, Slot
from ..lowerings import REGISTRY, Target, Work, work_in_pieces
from ..lowerings.windows import UNROLL
from .neighbours import corrections
from .table import duration

# The constants by kind of program, seconds to compile an operation, and what was measured.
Model = dict[str, Any]

CALLS = 1000
# A prediction may be wrong by this much, so XLA's own convolution is left only for a larger gain.
MARGIN = 0.8
# That of a single tap is a matrix product: of 19 layers where 0.8 decides, 16 are faster so, 3 equal (1.03).
MARGIN_OF_ONE_TAP = 1.0
# In another dtype than the measured one, single precision, more may be wrong.
MARGIN_ELSEWHERE = 0.5
# A call takes about as long as this anyway.
LEAST_GAIN = 5e-6
# A larger workspace, in units of single precision, comes from the system anew at every call.
KEPT = 2**23
# Workspace, as a multiple of operands and result, and in elements that always may be.
MOST_WORKSPACE, SMALL = 16, 2**22
# Of a vector of single precision.
LANES = 8
# A network repeats its layers, and an algorithm's work is asked for several times in a plan.
_work = functools.lru_cache(maxsize=8192)(work_in_pieces)
# All but the one that is there to be compared with; and those whose error is bounded in norm only.
CANDIDATES = tuple(name for name in REGISTRY if name != "zero_insertion")
NORMWISE = ("winograd", "fft")
# Digits are given up for a larger gain only.
WORTH = 0.7
# Stands for a batch that jax.export leaves open.
USUAL_BATCH = 8


def features(work: Work, slot: Slot, spec: ConvSpec, itemsize: int) -> tuple[float, ...]:
    """What the constants are multiplied with; elements count in units of single precision."""
    size = itemsize / 4
    shapes = (*spec.operand_shapes(slot), spec.result_shape(slot))
    return (
        1.0,
        float(work.steps),
        size * work.multiply_adds,
        size * sum(count * m * k for count, m, k, _ in work.dots),
        size * sum(count * k * n for count, _, k, n in work.dots),
        size * sum(count * m * n for count, m, _, n in work.dots),
        size * work.moved,
        size * sum(map(math.prod, shapes)),
        max(0.0, size * work.workspace - KEPT),
    )


def kinds(name: str, slot: Slot, spec: ConvSpec) -> tuple[str, ...]:
    """The names under which constants may be found, the most special first."""
    groups = "depthwise" if spec.depthwise else "grouped" if spec.groups > 1 else "dense"
    base = f"{name} {slot}"
    general = (f"{base} {groups}", base)
    if name != "direct":
        return general
    # XLA has several programs for a convolution, and takes them by these.
    strided = any(a.stride > 1 for a in spec.axes)
    dilated = any(a.dilation > 1 for a in spec.axes)
    window = "strided" if strided else "dilated" if dilated else "plain"
    taps, maps = (math.prod(getattr(a, n) for a in spec.axes) for n in ("kernel", "size"))
    if spec.groups == 1 and taps > maps:
        window = "reversed"
    results = spec.in_channels if slot == "input_grad" else spec.out_channels
    wide = max(spec.in_channels, spec.out_channels) > 16
    width = "thin" if results <= LANES else "wide" if wide else "narrow"
    rank = f"{base} {groups} {spec.rank}-d"
    return (f"{rank} {width} {window}", f"{rank} {width}", rank, *general)


def predict(
    names: Iterable[str], slot: Slot, spec: ConvSpec, target: Target, known: Model | None = None
) -> dict[str, float]:
    """Seconds of one call of each algorithm that the model knows, without compilation."""
    known, spec = model(target.platform) if known is None else known, usual(spec)
    seconds: dict[str, float] = {}
    for name in names if known else ():
        a = next((a for kind in kinds(name, slot, spec) if (a := known["run"].get(kind))), None)
        if a is not None:
            work = _work(REGISTRY[name], slot, spec, target)
            f = features(work, slot, spec, target.dtype.itemsize)
            seconds[name] = sum(map(math.prod, zip(a, f, strict=True)))
    if nearby := known.get("measured", {}).get(slot):
        for name, factor in corrections(nearby, list(seconds), spec).items():
            seconds[name] *= factor
    return seconds


def cheapest(
    slot: Slot,
    spec: ConvSpec,
    target: Target,
    names: Iterable[str] = CANDIDATES,
    known: Model | None = None,
) -> tuple[str, str] | None:
    """The algorithm that the model prefers, and why; None where it knows none of them.

    Args:
      slot: the array to compute.
      spec: core geometry.
      target: platform, dtype, precision.
      names: the algorithms to choose from.
      known: the model; by default the platform's.

    Returns:
      Name and reason.
    """
    if spec.symbolic_channels:
        return None
    known = model(target.platform) if known is None else known
    seconds = predict(_acceptable(slot, spec, target, names), slot, spec, target, known)
    if not seconds:
        return None
    compiled, spec = known["compile"], usual(spec)
    total = {
        name: run + compiled.get(name, 0.0) * REGISTRY[name].work(slot, spec).steps / CALLS
        for name, run in seconds.items()
    }
    name = min(total, key=lambda n: total[n] / (WORTH if n in NORMWISE else 1.0))
    if "direct" not in total:
        return name, f"cost model: {duration(seconds[name])}"
    direct = seconds["direct"]
    one_tap = all(a.kernel == a.stride == 1 for a in spec.axes)
    margin = MARGIN_OF_ONE_TAP if one_tap else MARGIN
    if target.dtype != jnp.float32:
        margin = MARGIN_ELSEWHERE
    if name == "direct" or total[name] > margin * total["direct"] - LEAST_GAIN:
        return "direct", f"cost model: {duration(direct)}"
    return name, f"cost model: {duration(seconds[name])}, direct {duration(direct)}"


def _acceptable(slot: Slot, spec: ConvSpec, target: Target, names: Iterable[str]) -> list[str]:
    """The algorithms that can compute a slot, and that nobody would be surprised to find chosen."""
    sized = usual(spec)
    data = sum(map(math.prod, (*sized.operand_shapes(slot), sized.result_shape(slot))))
    double = target.dtype.itemsize > (8 if jnp.issubdtype(target.dtype, jnp.complexfloating) else 4)
    able: list[str] = []
    for name in names:
        lowering = REGISTRY[name]
        # Who computes in double precision wants the digits of each element.
        if lowering.supports(slot, spec, target.dtype, target.precision) or (double and name in NORMWISE):
            continue
        workspace = _work(lowering, slot, sized, target).workspace
        if name == "direct" or workspace <= MOST_WORKSPACE * data + SMALL:
            able.append(name)
    # A loop over rows of taps of one channel takes up to 60 times what the model says, and more than FFT.
    taps = math.prod(a.kernel for a in spec.axes)
    if spec.groups == spec.in_channels == 1 and taps > UNROLL and {"fft", "depthwise_mac"} <= set(able):
        able.remove("depthwise_mac")
    return able


def usual(spec: ConvSpec) -> ConvSpec:
    """The spec with a batch of a usual size for one that jax.export leaves open."""
    return spec if type(spec.batch) is int else dataclasses.replace(spec, batch=USUAL_BATCH)


@functools.cache
def model(platform: str) -> Model:
    """The constants of a platform; empty where it was not measured."""
    file = importlib.resources.files(__package__ or "") / "models" / f"{platform}.json"
    known: Model = json.loads(file.read_text()) if file.is_file() else {}
    for nearby in known.get("measured", {}).values():  # lists become arrays once, not at every prediction
        nearby["positions"] = np.asarray(nearby["positions"])
        nearby["residuals"] = {name: np.asarray(pairs) for name, pairs in nearby["residuals"].items()}
    return known
