"""Resize and Upsample: axis by axis, as the library's own resize where it has one that is equal."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ...geometry.resample import RADIUS, Resample
from ...ops.resample import resample
from .nodes import Node, Op, Value, axis_of, bounded, host, ints


@dataclasses.dataclass(frozen=True)
class _Along:
    """One axis of a resize; `transform` is ONNX's coordinate_transformation_mode."""

    size: int
    out: int
    scale: float
    mode: str
    transform: str
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude: bool = False
    antialias: bool = False
    start: float = 0.0
    end: float = 1.0

    @property
    def length(self) -> float:
        """Positions after, before rounding."""
        return self.scale * self.size

    def positions(self) -> np.ndarray:
        """Where each output lies; in float32, as onnxruntime finds them."""
        o, scale = np.arange(self.out, dtype=np.float32), np.float32(self.scale)
        half = (o + np.float32(0.5)) / scale - np.float32(0.5)
        if self.transform == "asymmetric":
            return o / scale
        if self.transform == "align_corners":
            return o * np.float32(0 if self.length == 1 else (self.size - 1) / (self.length - 1))
        if self.transform == "tf_crop_and_resize":
            width = (self.end - self.start) * (self.size - 1)
            step = width / (self.out - 1) if self.out > 1 else 0.0
            first = self.start * (self.size - 1) + (0 if self.out > 1 else width / 2)
            return (first + o * step).astype(np.float32)
        if self.transform == "tf_half_pixel_for_nn":
            return (o + np.float32(0.5)) / scale
        if self.transform == "half_pixel_symmetric":
            return np.float32(self.size / 2 * (1 - self.out / self.length)) + half
        return half * (self.transform != "pytorch_half_pixel" or self.out > 1)

    def pixels(self) -> np.ndarray:
        """The one that each output of "nearest" copies."""
        u = self.positions()
        found = {
            "round_prefer_floor": np.ceil(u - 0.5),
            "round_prefer_ceil": np.floor(u + 0.5),
            "floor": np.floor(u),
            "ceil": np.ceil(u),
            "simple": np.ceil(u) if self.scale < 1 else np.floor(u),
        }[self.nearest]
        return np.clip(found, 0, self.size - 1).astype(np.int32)

    def matrix(self) -> np.ndarray:
        """Weights `(out, size)` of the kernel."""
        u = self.positions().astype(float)[:, None]
        narrow = min(self.scale, 1.0) if self.antialias else 1.0
        reach = RADIUS[self.mode] / narrow
        index = np.floor(u - reach).astype(int) + np.arange(int(2 * reach) + 3)
        weight = _kernel(self.mode, np.abs(u - index) * narrow, self.cubic_a)
        if self.exclude:
            weight = np.where((index < 0) | (index >= self.size), 0, weight)
        weight = weight / weight.sum(1, keepdims=True)
        found = np.zeros((self.out, self.size))
        rows = np.broadcast_to(np.arange(self.out)[:, None], index.shape)
        np.add.at(found, (rows, np.clip(index, 0, self.size - 1)), weight)
        return found

    def own(self) -> Resample | None:
        """The library's resize of the same weights, if there is one."""
        corners = self.transform == "align_corners" and self.length == self.out and not self.antialias
        half = self.transform == "half_pixel" or (self.transform == "pytorch_half_pixel" and self.out > 1)
        if self.mode == "nearest" or not (corners or half) or self.out == self.size:
            return None
        return Resample(
            self.size,
            self.out,
            self.mode,  # pyright: ignore[reportArgumentType]
            None if corners else 1 / self.scale,
            corners,
            self.antialias,
            self.cubic_a,
            "renormalize" if self.exclude else "replicate",
        )

    def outside(self) -> np.ndarray:
        """Which outputs lie outside of the input."""
        u = self.positions()
        return (u < 0) | (u > self.size - 1)

    def apply(self, x: Value, axis: int) -> Value:
        """Resizes one axis."""
        if self.mode == "nearest":
            return _copied(x, axis, self.pixels())
        if by := self.own():
            return resample(x, axis, by)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        y = lax.dot_general(
            x.astype(wide),
            jnp.asarray(self.matrix(), wide),
            (((axis,), (1,)), ((), ())),
            precision=lax.Precision.HIGHEST,
        )
        return jnp.moveaxis(y, -1, axis).astype(x.dtype)


def _kernel(mode: str, t: np.ndarray, a: float) -> np.ndarray:
    if mode == "linear":
        return np.maximum(1 - t, 0)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = (((t - 5) * t + 8) * t - 4) * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _copied(x: Value, axis: int, index: np.ndarray) -> Value:
    times, rest = divmod(len(index), x.shape[axis])
    if not rest and (index == np.arange(len(index)) // times).all():
        return jnp.repeat(x, times, axis=axis)
    return jnp.take(x, index, axis=axis, mode="clip")


def _resize(node: Node, x: Value, *given: Value) -> Value:
    """Operands are x, scales in opset 10, then x, roi, scales, sizes."""
    given = (None, *given) if node.opset < 11 else given
    roi, scales, sizes = (v if v is not None and np.size(v) else None for v in (*given, None, None, None)[:3])
    axes = [axis_of(a, x.ndim) for a in node.get("axes", range(x.ndim))]
    before = [x.shape[a] for a in axes]
    if (scales is None) == (sizes is None):
        raise ValueError("it needs either scales or sizes.")
    if sizes is not None:
        after = list(ints(sizes, "sizes"))
        factors = [float(np.float32(m / n)) for n, m in zip(before, after, strict=True)]
        factors, after = _kept_aspect(node.get("keep_aspect_ratio_policy", "stretch"), before, factors, after)
    else:
        factors = [float(s) for s in host(scales, "scales").reshape(-1)]
        if not all(0 < s < math.inf for s in factors):
            raise ValueError(f"scales={factors} must be positive.")
        after = [math.floor(np.float32(n) * np.float32(s)) for n, s in zip(before, factors, strict=True)]
    bounded([*after, *(n for i, n in enumerate(x.shape) if i not in axes)])
    corners = np.array([0.0] * len(axes) + [1.0] * len(axes)) if roi is None else host(roi, "roi")
    starts, ends = (map(float, part) for part in np.split(corners.reshape(-1), 2))
    options = _options(node)
    chosen = {
        axis: _Along(n, m, s, start=start, end=end, **options)
        for axis, n, m, s, start, end in zip(axes, before, after, factors, starts, ends, strict=True)
    }
    y = jnp.asarray(x)
    for axis, along in sorted(chosen.items(), key=lambda item: item[1].scale):
        if along.scale != 1 or along.out != along.size or along.transform == "tf_crop_and_resize":
            y = along.apply(y, axis)
    return _extrapolated(node, y, chosen)


def _options(node: Node) -> dict[str, Any]:
    old = node.opset < 11  # opset 10 has neither coordinates nor roundings
    return {
        "mode": {"bilinear": "linear"}.get(node.get("mode", "nearest"), node.get("mode", "nearest")),
        "transform": "asymmetric" if old else node.get("coordinate_transformation_mode", "half_pixel"),
        "nearest": "simple" if old else node.get("nearest_mode", "round_prefer_floor"),
        "cubic_a": node.get("cubic_coeff_a", -0.75),
        "exclude": bool(node.get("exclude_outside", 0)),
        "antialias": bool(node.get("antialias", 0)),
    }


def _kept_aspect(
    policy: str, before: list[int], factors: list[float], after: list[int]
) -> tuple[list[float], list[int]]:
    if policy == "stretch":
        return factors, after
    scale = (min if policy == "not_larger" else max)(factors)
    return [scale] * len(factors), [math.floor(scale * n + 0.5) for n in before]


def _extrapolated(node: Node, y: Value, chosen: dict[int, _Along]) -> Value:
    if node.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        return y
    outside = np.zeros(y.shape, bool)
    for axis, along in chosen.items():
        outside |= along.outside().reshape([-1 if i == axis else 1 for i in range(y.ndim)])
    fill = jnp.asarray(node.get("extrapolation_value", 0.0), y.dtype)
    return jnp.where(outside, fill, y)


def _upsample(node: Node, x: Value, scales: Value = None) -> Value:
    scales = np.array(node.get("scales"), np.float32) if scales is None else scales
    old = dataclasses.replace(node, opset=10)
    return _resize(old, x, scales)


def _refuses(node: Node) -> str | None:
    known = {
        "mode": ("nearest", "linear", "bilinear", "cubic"),
        "coordinate_transformation_mode": (
            *("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"),
            *("tf_crop_and_resize", "tf_half_pixel_for_nn"),
        ),
        "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
        "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    }
    for name, values in known.items():
        if node.get(name, values[0]) not in values:
            return f"{name}={node.get(name)!r} is none of {', '.join(values)}"
    return None


OPS = {
    "Resize": Op(
        _resize,
        "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value "
        "keep_aspect_ratio_policy mode nearest_mode",
        static=(1, 2, 3),
        refuses=_refuses,
    ),
    "Upsample": Op(_upsample, "mode scales", static=(1,), refuses=_refuses),
}
