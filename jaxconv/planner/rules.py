"""What is known for certain: shapes for which XLA's own convolution, `direct`, is always a bad program.

A fault is a function of the spec that returns what is wrong, or None. On a CPU it leaves the choice to the
cost model; for GPUs and TPUs there is none, so the tables name what takes `direct`'s place. They are facts of
compiled programs: what the compiler makes of the shape, and the multiply-adds or bytes that it then needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..geometry import ConvSpec, Slot
from ..lowerings import REGISTRY, Target
from ..lowerings.im2col import apart
from ..lowerings.merged_groups import merged
from ..lowerings.per_group import one_group
from ..lowerings.windows import UNROLL

Fault = Callable[[ConvSpec], str | None]
Faults = dict[Slot, tuple[tuple[Fault, tuple[str, ...]], ...]]

# Multiply-adds of a substitute over those of the form: more of them are another fault.
MOST_WORK = 1.05
# Taps of a depthwise convolution that a TPU is given as multiply-adds.
MOST_ADDED = 32
# As in the patches of a vision transformer and the frames of a spectrogram.
MANY_TAPS = 128
# Positions that a kernel may cover at once, as in the first layer of a generator.
SMALL_MAP = 64
# As many are a fraction of a millisecond in any program, and `direct` compiles fastest.
FEW_PRODUCTS = 2**18
# As in a large kernel that is not one of many channels.
LONG = 512


def fault(name: str, slot: Slot, spec: ConvSpec, platform: str) -> str | None:
    """What is wrong with an algorithm for a slot on a platform; None if nothing is known."""
    if name == "merged_groups":
        name, spec = "per_group", merged(spec)
    if name == "per_group":
        spec = one_group(spec)  # of each it takes the direct convolution
    elif name not in ("direct", "space_to_batch"):  # the second takes the direct one of the rearranged arrays
        return None
    return next((reason for find, _ in FAULTS[platform][slot] if (reason := find(spec))), None)


def substitute(slot: Slot, spec: ConvSpec, target: Target) -> str | None:
    """The algorithm to take where `direct` has a fault: of those that the tables name for it, the first.

    One that multiplies more than the form asks for comes after those that do not.
    """
    names = [
        name
        for find, instead in FAULTS[target.platform][slot]
        if find(spec)
        for name in instead
        if REGISTRY[name].supports(slot, spec, target.dtype, target.precision) is None
    ]
    if spec.symbolic_channels or type(spec.batch) is not int or spec.depthwise:
        return next(iter(names), None)
    return min(names, key=lambda name: _wasteful(name, slot, spec), default=None)


def _wasteful(name: str, slot: Slot, spec: ConvSpec) -> bool:
    form = spec.batch * _positions(spec, "out") * _taps(spec) * spec.in_channels // spec.groups
    return REGISTRY[name].work(slot, spec).multiply_adds > MOST_WORK * form * spec.out_channels


def _more_than_three(spec: ConvSpec) -> str | None:
    return "XLA has no fast convolution of more than three spatial dimensions" if spec.rank > 3 else None


def _dilated(spec: ConvSpec) -> str | None:
    dilated = any(a.dilation > 1 for a in spec.axes)
    return "a dilated kernel's gradient is no backward-filter convolution to XLA" if dilated else None


def _expanded(spec: ConvSpec) -> str | None:
    # The dense gradient of a few channels costs no more than a loop over many taps; and in three dimensions
    # the cost model compares products of one column with it.
    few = spec.depthwise and spec.groups <= 16 and _taps(spec) > UNROLL
    thin = spec.rank == 3 and spec.out_channels == spec.groups
    if spec.groups > 1 and not few and not thin:
        return "XLA expands a grouped weight gradient into a dense one"
    return None


def _reversed(window: str, over: str) -> Fault:
    """XLA's CPU backend exchanges operands if the window is the larger, and then reverses it."""

    def find(spec: ConvSpec) -> str | None:
        if spec.groups == 1 and _positions(spec, window) > _positions(spec, over):
            return "XLA runs a window with more positions than the map in reverse, as a scalar loop"
        return None

    return find


def _no_backward_data(spec: ConvSpec) -> str | None:
    if not _strided(spec):
        return None
    if spec.groups > 1:
        return "a grouped input gradient with a stride is no backward-data convolution to XLA"
    if any(a.dilation > 1 and a.kernel > 1 for a in spec.axes):
        return "a dilated input gradient with a stride is no backward-data convolution to XLA"
    return None


def _exchanged_data(spec: ConvSpec) -> str | None:
    # In one and three dimensions it remains a backward-data convolution.
    if spec.rank == 2 and _strided(spec) and _taps(spec) > _positions(spec, "out"):
        return (
            "XLA exchanges a kernel with a smaller map, and then multiplies the zeros between its positions"
        )
    return None


def _exchanged_filter(spec: ConvSpec) -> str | None:
    # At stride 1 `direct` exchanges them itself, to the same effect on the result but without a stride.
    if _strided(spec) and _positions(spec, "out") > _positions(spec, "size"):
        return "XLA exchanges a map with a smaller one, after which it is no backward-filter convolution"
    return None


def _single_tap(spec: ConvSpec) -> str | None:
    # Autodiff's gradient of a layer with a single position is read like this, too. On larger maps it is a
    # layer of 1 x 1 kernels, which XLA recognises.
    if _taps(spec) == spec.groups == 1 and not _strided(spec) and _positions(spec, "size") <= SMALL_MAP:
        return "a single tap's gradient is a matrix product, which XLA may take for another convolution"
    return None


def _native_depthwise(spec: ConvSpec) -> str | None:
    # With a stride, with more taps in half precision, and on small maps the multiply-adds move more bytes
    # than they save.
    if not spec.depthwise or spec.out_channels != spec.groups or _strided(spec):
        return None
    if _taps(spec) <= min(MOST_ADDED, _positions(spec, "out") // 16):
        return "XLA rearranges the arrays of a depthwise convolution for the matrix unit of a TPU"
    return None


def _blocks(spec: ConvSpec) -> str | None:
    if _strided(spec) and apart(spec):
        return "patches that do not overlap are blocks of the input, and their gradient is one matrix product"
    return None


def _patches(spec: ConvSpec) -> str | None:
    few = spec.rank == 1 or all(a.kernel == a.stride for a in spec.axes)  # each position is in few patches
    if _strided(spec) and few and _taps(spec) >= MANY_TAPS:
        return "XLA's TPU compiler takes minutes for so many taps with a stride"
    return None


def _long(slot: Slot) -> Fault:
    """Hundreds of taps over a single channel; the weight gradient of a depthwise one is no better."""

    def find(spec: ConvSpec) -> str | None:
        single = spec.depthwise if slot == "weight_grad" else spec.in_channels == spec.out_channels == 1
        if single and not _strided(spec) and _taps(spec) >= LONG:
            return "XLA's TPU compiler takes minutes for so many taps of one channel"
        return None

    return find


def _one_channel(spec: ConvSpec) -> str | None:
    if type(spec.batch) is not int or not spec.in_channels == spec.out_channels == 1:
        return None
    if spec.batch * _positions(spec, "out") * _taps(spec) <= FEW_PRODUCTS:
        return None
    return "XLA's convolution of one channel into one multiplies number by number"


def _strided(spec: ConvSpec) -> bool:
    return any(a.stride > 1 for a in spec.axes)


def _positions(spec: ConvSpec, name: str) -> int:
    return math.prod(getattr(a, name) for a in spec.axes)


def _taps(spec: ConvSpec) -> int:
    return _positions(spec, "kernel")


# Each with the algorithms that may take its place.
TAPS, MATMULS, PHASES = ("shifted_matmul",), ("shifted_matmul", "overlap_add"), ("subpixel", "overlap_add")
SPECTRA = ("fft",)
MULTIPLY_ADDS, UNFOLDED, BATCHES = ("depthwise_mac",), ("im2col",), ("space_to_batch", "shifted_matmul")

CPU: Faults = {
    "forward": (
        (_more_than_three, TAPS),
        (_reversed("kernel", "size"), TAPS),
        (_one_channel, MULTIPLY_ADDS),
    ),
    "input_grad": (
        (_more_than_three, TAPS),
        (_reversed("kernel", "out"), TAPS),
        (_one_channel, MULTIPLY_ADDS),
    ),
    "weight_grad": ((_more_than_three, TAPS), (_expanded, TAPS), (_reversed("out", "size"), TAPS)),
}
GPU: Faults = {
    "forward": ((_more_than_three, TAPS),),
    "input_grad": (
        (_more_than_three, MATMULS),
        (_no_backward_data, PHASES),
        (_exchanged_data, PHASES[::-1]),
    ),
    "weight_grad": (
        (_more_than_three, TAPS),
        (_dilated, BATCHES),
        (_exchanged_filter, TAPS),
        (_single_tap, TAPS),
    ),
}
TPU: Faults = {
    "forward": ((_native_depthwise, MULTIPLY_ADDS), (_long("forward"), SPECTRA)),
    "input_grad": ((_native_depthwise, MULTIPLY_ADDS), (_patches, PHASES), (_long("input_grad"), SPECTRA)),
    "weight_grad": (
        (_more_than_three, TAPS),
        (_blocks, UNFOLDED),
        (_patches, UNFOLDED),
        (_long("weight_grad"), SPECTRA),
    ),
}
FAULTS: dict[str, Faults] = {"cpu": CPU, "cuda": GPU, "rocm": GPU, "tpu": TPU}
