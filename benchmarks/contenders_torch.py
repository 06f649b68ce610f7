"""PyTorch on all cores, and its program for one slot of one workload.

PyTorch pads both sides alike. Where a workload does not, what its users write is timed too: `pad` in front of
a convolution, a slice behind a transposed one, and their adjoints in the gradients.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxconv.geometry import Axis, Slot

from .contenders import Arrays, Contender, Refused
from .workload import Workload

_TRIAL_S = 0.03


def on_all_cores() -> Any:
    """The module `torch`.

    Raises:
      Refused: where it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise Refused("PyTorch is not installed.")
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    return torch


def memory_formats(torch: Any, rank: int) -> dict[str, Any]:
    """By name, those that it has for arrays of `rank` spatial dimensions."""
    last = {2: torch.channels_last, 3: torch.channels_last_3d}
    formats = {"contiguous": torch.contiguous_format}
    return formats | ({"channels_last": last[rank]} if rank in last else {})


def torch_contender(workload: Workload, slot: Slot, given: Arrays, dtype: str) -> Contender:
    """The better of PyTorch's memory formats, found by a short trial.

    Raises:
      Refused: without PyTorch, or where it has no such operator.
    """
    torch = on_all_cores()
    if workload.spec.rank > 3:
        raise Refused("PyTorch has no convolution of more than three dimensions.")
    gaps = any(a.kernel < a.stride for a in workload.spec.axes)
    if workload.transposed and slot == "weight_grad" and gaps:
        raise Refused("PyTorch's weight gradient of some transposed layers with gaps does not return.")
    formats = memory_formats(torch, workload.spec.rank)
    calls = {name: _call(torch, workload, slot, given, dtype, form) for name, form in formats.items()}
    best = min(calls, key=lambda name: _trial(calls[name]))

    def read(result: Any) -> np.ndarray:
        values = result.float().numpy()
        if slot == "weight_grad":
            return np.moveaxis(values, (0, 1), (-1, -2))
        return np.moveaxis(values, 1, -1)

    return Contender(calls[best], read, {"format": best})


def _call(
    torch: Any, workload: Workload, slot: Slot, given: Arrays, dtype: str, form: Any
) -> Callable[[], Any]:
    x, g = (_tensor(torch, np.moveaxis(given[name], -1, 1), dtype, form) for name in ("x", "g"))
    weight = _tensor(torch, np.moveaxis(given["kernel"], (-1, -2), (0, 1)), dtype, form)
    axes, rank = workload.spec.axes, workload.spec.rank
    plain = _output_padding(axes) if workload.transposed else _same_on_both_sides(axes)
    # What PyTorch's operator is told: its own padding where it has one that does it, else none.
    padding = [0] * rank if plain is None else [a.lo for a in axes]
    output_padding = plain if plain and workload.transposed else [0] * rank
    options = ([a.stride for a in axes], padding, [a.dilation for a in axes], workload.transposed)
    outer = [n for a in reversed(axes) for n in (a.lo, a.hi)]
    inner = [-n for n in outer]
    by_hand = plain is None
    pad = torch.nn.functional.pad

    def forward() -> Any:
        own = pad(x, outer) if by_hand and not workload.transposed else x
        y = torch.ops.aten.convolution(own, weight, None, *options, output_padding, workload.groups)
        return pad(y, inner) if by_hand and workload.transposed else y

    mask = [slot == "input_grad", slot == "weight_grad", False]

    def gradient() -> Any:
        own, cotangent = x, g
        if by_hand and workload.transposed:
            cotangent = pad(g, outer)
        elif by_hand:
            own = pad(x, outer) if slot == "weight_grad" else shaped
        found = torch.ops.aten.convolution_backward(
            cotangent, own, weight, None, *options, output_padding, workload.groups, mask
        )
        result = found[mask.index(True)]
        return pad(result, inner) if by_hand and slot == "input_grad" and not workload.transposed else result

    # The input gradient needs the padded input's shape only, which costs a framework nothing.
    shaped = pad(x, outer) if by_hand and not workload.transposed else x
    return torch.inference_mode()(forward if slot == "forward" else gradient)


def _tensor(torch: Any, array: np.ndarray, dtype: str, form: Any) -> Any:
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(getattr(torch, dtype))
    return tensor.contiguous(memory_format=form)


def _same_on_both_sides(axes: tuple[Axis, ...]) -> list[int] | None:
    """Zeros where padding by `lo` on both sides gives the same outputs."""
    alike = all(a.lo >= 0 and (a.size + 2 * a.lo - a.span) // a.stride + 1 == a.out for a in axes)
    return [0] * len(axes) if alike else None


def _output_padding(axes: tuple[Axis, ...]) -> list[int] | None:
    """PyTorch's `output_padding` that makes `lo` crop both sides and adds what is missing behind."""
    extra = [a.lo - a.hi for a in axes]
    possible = all(a.lo >= 0 and 0 <= n < max(a.stride, a.dilation) for a, n in zip(axes, extra, strict=True))
    return extra if possible else None


def _trial(call: Callable[[], Any]) -> float:
    """Best of the calls that fit in a moment, after one that does not count."""
    call()
    times: list[float] = []
    while not times or (sum(times) < _TRIAL_S and len(times) < 20):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
