"""Resizing by interpolation, axis by axis."""

from __future__ import annotations

import math
import numbers
import typing
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp

from ..geometry.padding import is_int, per_axis, to_int
from ..geometry.resample import RADIUS, Resample, Scale, resized
from ..typing import Border, Layout, Method, Rounding
from .arguments import array, spatial_axes
from .resample import resample

_COPIES = ("nearest", "nearest-exact")


def resize(
    x: jax.Array,
    *,
    size: int | Sequence[int] | None = None,
    scale: Scale | Sequence[Scale] | None = None,
    method: Method = "linear",
    align_corners: bool = False,
    antialias: bool = False,
    cubic_a: float | None = None,
    border: Border | None = None,
    rounding: Rounding = "floor",
    layout: Layout = "channels_last",
) -> jax.Array:
    """Enlarges or shrinks the spatial axes by interpolation.

    Along each axis, with step = 1 / scale (or size before / size after), output o lies at
    u = (o + 1/2) * step - 1/2 and is

        y[o] = Σ_i weight((u - i) / stretch) * x[i],      weights scaled to sum 1,

    where stretch is step if `antialias` is set and step is above 1, else 1. The defaults are PyTorch's; which
    options are another library's resize is a table in docs/sampling.md.

    Args:
      x: channels-last `(*batch, *spatial, C)` or channels-first `(*batch, C, *spatial)`, floating or complex;
        the "nearest" methods copy elements of every dtype.
      size: positions of each spatial axis of the result. The length of a sequence is the number of spatial
        axes, and `x` then has any number of batch axes, none included. A single number counts for all axes
        between one batch axis and the channels.
      scale: in place of `size`: results for each position, one number for all axes or one for each. It sets
        step exactly, and the size to `size * scale`, rounded; `fractions.Fraction(1, 3)` is exact. An axis
        whose size stays is left alone, except by "cubic" without antialias, as in PyTorch.
      method: which pixels make an output.

        - "nearest": pixel floor(o * step). PyTorch's and OpenCV's, half a pixel off.
        - "nearest-exact": the pixel in which u lies.
        - "linear": the two pixels around u; "bilinear" and "trilinear" are this along every axis.
        - "cubic": the four pixels around u, by Keys's kernel.
        - "area": the mean of the pixels from floor(o * step) up to (o + 1) * step (adaptive pooling).
        - "lanczos3", "lanczos5": the six or ten pixels around u, by a windowed sinc.
      align_corners: u = o * (size before - 1) / (size after - 1) in place of the formula above, so that the
        first and last pixels stay where they are.
      antialias: stretches the kernel when shrinking, so that no pixel is passed over. It has no effect on
        "nearest" methods and "area" and is refused there.
      cubic_a: slope of the cubic kernel at distance 1. None is -0.75 without antialias and -0.5 with it, as
        in PyTorch; Keys's kernel, which MATLAB, Pillow and jax.image have, is -0.5.
      border: what a kernel sees past the ends: "replicate", the last pixel; "renormalize", nothing, the other
        weights are scaled up; "symmetric", the pixels mirrored, the last one repeated. None is "replicate"
        without antialias and "renormalize" with it, as in PyTorch.
      rounding: of sizes from `scale`, "floor" (PyTorch) or "ceil" (MATLAB).
      layout: "channels_last" or "channels_first".

    Returns:
      `x` with other spatial sizes, in the dtype of `x`; 16-bit types are summed in float32. Values are
      neither rounded nor clipped: "cubic" and the Lanczos kernels overshoot.

    Raises:
      ValueError: for an option that does not exist or does not go with another, a size or scale that leaves
        nothing, or integers where pixels are averaged.

    References:
      Keys, Cubic convolution interpolation for digital image processing, 1981,
      doi:10.1109/TASSP.1981.1163711.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.array([0.0, 4.0, 8.0])[:, None]
      >>> resize(x, scale=(2,))[:, 0]
      Array([0., 1., 3., 5., 7., 8.], dtype=float32)
      >>> resize(x, size=(5,), align_corners=True)[:, 0]
      Array([0., 2., 4., 6., 8.], dtype=float32)
      >>> resize(x, size=(2,))[:, 0], resize(x, size=(2,), antialias=True)[:, 0]  # from 2 pixels, and from 3
      (Array([1., 7.], dtype=float32), Array([1.5, 6.5], dtype=float32))
    """
    x = array(x, "x", any_dtype=True)
    check_options(size, scale, method, align_corners, antialias, border, rounding)
    if method not in _COPIES and not jnp.issubdtype(x.dtype, jnp.inexact):
        raise ValueError(
            f"x has dtype {x.dtype}, and method={method!r} averages pixels; cast it to a floating dtype, and "
            "round and clip the result if it is to be pixels again."
        )
    name, given = ("scale", scale) if size is None else ("size", size)
    rank, first = spatial_axes(x.shape, given, layout, name)
    sizes = tuple(to_int(n, "a spatial size of x") for n in x.shape[first : first + rank])
    if size is None:
        scales = _scales(scale, rank)
        sizes_after = [resized(n, s, rounding) for n, s in zip(sizes, scales, strict=True)]
        steps = [float(1 / s) for s in scales]
    else:
        sizes_after, steps = per_axis(size, rank, "size"), [None] * rank
    axes = {
        first + i: Resample(
            n,
            out,
            method,
            step,
            align_corners,
            antialias,
            cubic_a=(-0.5 if antialias else -0.75) if cubic_a is None else float(cubic_a),
            border=border or ("renormalize" if antialias else "replicate"),
        )
        for i, (n, out, step) in enumerate(zip(sizes, sizes_after, steps, strict=True))
    }
    for axis in _order(axes):
        x = resample(x, axis, axes[axis])
    return x


def _order(axes: dict[int, Resample]) -> list[int]:
    """The axes that change, those that shrink most first, so that little is left to do for the others.

    Of two that are alike, work along an axis further in front is cheaper for each element, and is done while
    there are more of them.
    """
    changed = {axis: by for axis, by in axes.items() if not by.unchanged}
    return sorted(changed, key=lambda a: (r := changed[a].out / changed[a].size, -a if r > 1 else a))


def _scales(scale: Any, rank: int) -> list[Scale]:
    """One positive number for each axis."""
    scales = list(scale) if hasattr(scale, "__len__") else [scale] * rank
    for s in scales:
        if isinstance(s, bool) or not isinstance(s, numbers.Real) or not 0 < float(s) < math.inf:
            raise ValueError(f"scale={scale!r} must be a positive number or one for each spatial axis.")
    return [s if isinstance(s, Fraction) else int(s) if is_int(s) else float(s) for s in scales]


def check_options(
    size: Any,
    scale: Any,
    method: str,
    align_corners: bool,
    antialias: bool,
    border: str | None,
    rounding: str = "floor",
) -> None:
    """Raises for options that do not exist or do not go together, whatever is resized."""
    if (size is None) == (scale is None):
        raise ValueError(f"size={size!r} and scale={scale!r}: give exactly one of the two.")
    known = {
        "method": (method, typing.get_args(Method)),
        "border": (border, (None, *typing.get_args(Border))),
        "rounding": (rounding, typing.get_args(Rounding)),
    }
    for name, (value, possible) in known.items():
        if value not in possible:
            raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(map(repr, possible))}.")
    if method not in RADIUS and (align_corners or antialias or border):
        raise ValueError(
            f"method={method!r} has no kernel, so it takes no align_corners, antialias or border; leave them "
            f"out, or use one of {', '.join(RADIUS)}."
        )
