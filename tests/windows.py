"""Brute force for the geometry's tests: the windows of an axis, written out one by one."""

from hypothesis import strategies as st

from jaxconv.geometry import Axis

kernels = st.integers(1, 4)
strides = st.integers(1, 4)
dilations = st.integers(1, 3)
pads = st.integers(-3, 6)
axes = st.builds(
    Axis, size=st.integers(0, 9), kernel=kernels, stride=strides, dilation=dilations, lo=pads, hi=pads
)


def windows(axis: Axis) -> list[list[int]]:
    """The input element under each tap of each window, -1 where there is none (padding, or a hole of `base`).

    The padded line is laid out in full and the window moved along it until it no longer fits.
    """
    last = (axis.size - 1) * axis.base if axis.size else -1
    positions = range(-axis.lo, last + 1 + axis.hi)
    line = [p // axis.base if 0 <= p <= last and p % axis.base == 0 else -1 for p in positions]
    reach = axis.dilation * (axis.kernel - 1)
    starts = range(0, len(line) - reach, axis.stride)
    return [[line[start + k * axis.dilation] for k in range(axis.kernel)] for start in starts]


def triples(axis: Axis) -> set[tuple[int, int, int]]:
    """All (input element, tap, output position) that touch."""
    return {(i, k, o) for o, window in enumerate(windows(axis)) for k, i in enumerate(window) if i >= 0}
