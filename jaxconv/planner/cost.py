"""A cost model: seconds of an algorithm on a device from the work it does.

    seconds = a . (calls, steps, multiply-adds, elements of the factors and the product of its dots, traffic)

with constants a >= 0 for each algorithm, slot and kind of convolution, fitted to measurements of random
convolutions (`benchmarks/fit.py` says how well). The elements of the factors price narrow products: an
(m, k) times (k, n) with n below a vector's length costs as m * k, whatever n is. Compilation is priced by the
number of operations, and paid back over `CALLS` calls.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
from typing import Any

from ..geometry import ConvSpec, Slot
from ..lowerings import REGISTRY, Target, Work
from .table import duration

CALLS = 1000
# A prediction is about this good, so what is known to be XLA's own is left only for a gain beyond it.
MARGIN = 0.85


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
    reverse = "reversed" if spec.groups == 1 and taps > maps else window
    return (f"{base} {groups} {spec.rank}-d {reverse}", f"{base} {groups} {spec.rank}-d", *general)


def predict(name: str, slot: Slot, spec: ConvSpec, target: Target) -> float | None:
    """Seconds that one call takes, with its share of the compilation; None where nothing is known."""
    constants = model(target.platform)
    for kind in kinds(name, slot, spec) if constants else ():
        if (a := constants["run"].get(kind)) is not None:
            work = REGISTRY[name].work(slot, spec)
            run = sum(map(math.prod, zip(a, features(work, slot, spec, target.dtype.itemsize), strict=True)))
            return run + constants["compile"].get(name, 0.0) * work.steps / CALLS
    return None


@functools.cache
def model(platform: str) -> dict[str, Any]:
    """The constants of a platform; empty where it was not measured."""
    file = importlib.resources.files(__package__ or "") / "models" / f"{platform}.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def cheapest(
    slot: Slot, spec: ConvSpec, target: Target, names: tuple[str, ...] = tuple(REGISTRY)
) -> tuple[str, str] | None:
    """The algorithm that the model prefers, and why; None where it knows nothing of `direct`.

    Args:
      slot: the array to compute.
      spec: core geometry.
      target: platform, dtype, precision.
      names: the algorithms to choose from.

    Returns:
      Name and reason.
    """
    direct = predict("direct", slot, spec, target)
    if direct is None:
        return None
    able = [n for n in names if REGISTRY[n].supports(slot, spec, target.dtype, target.precision) is None]
    seconds = {n: s for n in able if (s := predict(n, slot, spec, target)) is not None}
    name = min(seconds, key=lambda n: seconds[n])
    if name == "direct" or seconds[name] > MARGIN * direct:
        return "direct", f"cost model: {duration(direct)}"
    return name, f"cost model: {duration(seconds[name])}, direct {duration(direct)}"
