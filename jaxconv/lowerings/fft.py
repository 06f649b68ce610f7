"""Convolution by the fast Fourier transform, in tiles that overlap by a kernel (overlap-save).

    y = F^-1[F(x) conj(F(w))]  for each tile;    w = F^-1[sum over n and tiles of F(x) conj(F(g))]

with a product over channels at each frequency. An n-point tile has n - span + 1 outputs that do not wrap
around; a tile that takes the whole axis wraps its two borders of zeros onto one another, so n is the size and
the longer border only. The input gradient is the forward operator with the flipped kernel. Where strides are
above 1 every position is computed, a dilation is split as in `space_to_batch`, and what can't be split
is transformed with its zeros. Axes along which the kernel is 1 are not transformed.

Wins for long kernels with few channels in a group: depthwise ones from about 64 taps in one dimension and
13 x 13 in two. Dense ones of 9 x 9 and more are level with XLA's convolution. It loses where the batch is too
small to pay for the spectra of a wide kernel. Multiply-adds: 2 C O / g for each point of each tile, 5/4
log2(n) for each element transformed. Workspace: the spectra of all three arrays. Error: norm-wise
O(eps log n), relative to the norms of a tile and of the kernel, so a result that is small next to its
neighbours has fewer digits than a dot product gives it, and an infinity makes NaNs of its whole tile. It
declines at precision HIGHEST, whatever the dtype: who asks for it wants each element's digits.

References:
  Higham: Accuracy and stability of numerical algorithms. 2002, chapter 24 (the error).
  Oppenheim, Schafer: Discrete-time signal processing. 2010, section 8.7.3 (overlap-save).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..geometry import Axis, ConvSpec, Slot
from ._base import Lowering, Target, Work, product_operands
from .kernels import adjoint_spec, by_slot
from .space_to_batch import in_parts, split_spec, splittable

# Tiles are tried at these multiples of the kernel's span.
_MULTIPLES = (2, 3, 4, 6, 8, 12)
# Matrix products that add up, or give, no more elements than this are written out.
_FEW = 4


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Along one axis, `count` transforms of `length` points, each good for `step` positions."""

    length: int
    step: int
    count: int


def smooth(n: int) -> int:
    """The smallest 2^a 3^b 5^c that is at least n; transforms of other lengths are slower."""
    bits = range(n.bit_length())
    odd = [3**b * 5**c for b in bits for c in bits]
    return min(m << (-(-n // m) - 1).bit_length() for m in odd)


def tile(spec: ConvSpec) -> tuple[Tiling, ...]:
    """The tilings of the axes of a dense convolution that need the fewest multiply-adds."""
    return min(itertools.product(*map(_tilings, spec.axes)), key=lambda t: _multiply_adds(spec, t))


def _tilings(axis: Axis) -> list[Tiling]:
    """The whole axis, or tiles that overlap the next one only."""
    if axis.span == 1:
        return [Tiling(1, 1, axis.out)]
    whole = smooth(max(axis.size + max(axis.lo, axis.hi), axis.span))
    lengths = [n for n in (smooth(m * axis.span) for m in _MULTIPLES) if n < whole]
    tiles = [(n, n - axis.span + 1) for n in lengths]
    return [Tiling(whole, axis.out, 1), *(Tiling(n, m, -(-axis.out // m)) for n, m in tiles)]


def _multiply_adds(spec: ConvSpec, tilings: tuple[Tiling, ...]) -> float:
    """A real transform of n points has 5/2 n log2(n) operations, two of which make a multiply-add."""
    count, m, k, n = _products(spec, tilings)
    return 1.25 * _elements(spec, tilings) * math.log2(_points(tilings)) + count * m * k * n


def _points(tilings: tuple[Tiling, ...]) -> int:
    return math.prod(t.length for t in tilings)


def _elements(spec: ConvSpec, tilings: tuple[Tiling, ...]) -> int:
    """How many go through a transform: in every slot two arrays into one and one array out of it."""
    tiles = spec.batch * math.prod(t.count for t in tilings)
    kernels = spec.in_channels // spec.groups * spec.out_channels
    return _points(tilings) * (tiles * (spec.in_channels + spec.out_channels) + kernels)


def _products(spec: ConvSpec, tilings: tuple[Tiling, ...]) -> tuple[int, int, int, int]:
    """A complex product is four real ones; one half of a real array's frequencies says it all."""
    frequencies = _points(tilings) // 2 + 1
    tiles = spec.batch * math.prod(t.count for t in tilings)
    i, o = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    return 4 * spec.groups * frequencies, tiles, i, o


def _dense(axis: Axis) -> Axis:
    """All positions by the kernel with its zeros, of the input with its zeros, without its unreached end."""
    out = (axis.out - 1) * axis.stride + 1
    reach = out + axis.span - 1 - axis.lo
    size = min(axis.extent, reach)
    return Axis(size, axis.span, lo=axis.lo, hi=reach - size)


def _dense_spec(spec: ConvSpec) -> ConvSpec:
    return dataclasses.replace(spec, axes=tuple(_dense(a) for a in spec.axes))


def forward(spec: ConvSpec, target: Target, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """From x (N, *s, C) and w (*k, C/g, O), y (N, *o, O); an axis may have a base."""
    x, kernel, dtype = product_operands(x, kernel, target)
    dense = _dense_spec(spec)
    tilings = tile(dense)
    x = _channels_first(x.astype(dtype), [a.base for a in spec.axes])
    kernel = _channels_first(jnp.moveaxis(kernel.astype(dtype), -2, 0), [a.dilation for a in spec.axes])
    a = _spectrum(_overlapping(x, dense, tilings), tilings, spec.groups)  # (G, M, I, F)
    b = jnp.conj(_spectrum(jnp.conj(kernel), tilings, spec.groups))  # (G, I, O, F)
    y = _values(_matmuls(a, b, target), dtype, tilings, [t.step for t in tilings])
    y = _joined(y, spec, tilings)
    strides = (1, *(a.stride for a in spec.axes), 1)
    return lax.slice(y, (0,) * y.ndim, dense.output_shape, strides).astype(target.dtype)


def weight_grad(spec: ConvSpec, target: Target, x: jax.Array, g: jax.Array) -> jax.Array:
    """From x (N, *s, C) and g (N, *o, O), w (*k, C/g, O)."""
    x, g, dtype = product_operands(x, g, target)
    dense = _dense_spec(spec)
    tilings = tile(dense)
    x = _channels_first(x.astype(dtype), [a.base for a in spec.axes])
    g = _channels_first(g.astype(dtype), [a.stride for a in spec.axes])
    a = _spectrum(_overlapping(x, dense, tilings), tilings, spec.groups)  # (G, M, I, F)
    b = jnp.conj(_spectrum(_disjoint(jnp.conj(g), tilings), tilings, spec.groups))  # (G, M, O, F)
    product = _matmuls(jnp.swapaxes(a, 1, 2), b, target)
    w = _values(product, dtype, tilings, [a.span for a in spec.axes])  # (I, O, *span)
    w = lax.slice(w, (0,) * w.ndim, w.shape, (1, 1, *(a.dilation for a in spec.axes)))
    return jnp.moveaxis(w, (0, 1), (-2, -1)).astype(target.dtype)


def _channels_first(x: jax.Array, steps: list[int]) -> jax.Array:
    """(M, *s, C) -> (M, C, *s), with zeros between the positions."""
    gaps = [(0, 0, 0), (0, 0, 0), *((0, 0, step - 1) for step in steps)]
    return lax.pad(jnp.moveaxis(x, -1, 1), lax.full((), 0, x.dtype), gaps)


def _overlapping(x: jax.Array, spec: ConvSpec, tilings: tuple[Tiling, ...]) -> jax.Array:
    """(N, C, *s) -> (N tiles, C, *length): each tile continues into the next one."""
    x = lax.slice(x, (0,) * x.ndim, (*x.shape[:2], *(a.size for a in spec.axes)))
    for axis, (a, t) in enumerate(zip(spec.axes, tilings, strict=True)):
        blocks = [(0, 0)] * x.ndim
        at = 2 + 2 * axis
        single = t.count == 1
        end = t.length if single else (t.count + 1) * t.step
        blocks[at] = (a.lo, end - a.lo - a.size)
        x = jnp.pad(x, blocks)
        x = x.reshape(*x.shape[:at], -1, t.length if single else t.step, *x.shape[at + 1 :])
        if not single:
            tail = lax.slice_in_dim(x, 1, None, axis=at)
            tail = lax.slice_in_dim(tail, 0, a.span - 1, axis=at + 1)
            x = jnp.concatenate([lax.slice_in_dim(x, 0, t.count, axis=at), tail], at + 1)
    return _in_batch(x)


def _disjoint(g: jax.Array, tilings: tuple[Tiling, ...]) -> jax.Array:
    """(N, O, *s) -> (N tiles, O, *step)."""
    sizes = g.shape[2:]
    ends = [(0, t.count * t.step - n) for t, n in zip(tilings, sizes, strict=True)]
    g = jnp.pad(g, [(0, 0), (0, 0), *ends])
    return _in_batch(g.reshape(*g.shape[:2], *(m for t in tilings for m in (t.count, t.step))))


def _in_batch(x: jax.Array) -> jax.Array:
    """(N, C, t1, n1, t2, n2, ...) -> (N t1 t2 ..., C, n1, n2, ...)."""
    tiles, points = range(2, x.ndim, 2), range(3, x.ndim, 2)
    x = jnp.transpose(x, (0, *tiles, 1, *points))
    return x.reshape(-1, *x.shape[1 + len(tiles) :])


def _joined(y: jax.Array, spec: ConvSpec, tilings: tuple[Tiling, ...]) -> jax.Array:
    """(N tiles, O, *step) -> (N, *(tiles step), O)."""
    rank = spec.rank
    y = y.reshape(spec.batch, *(t.count for t in tilings), *y.shape[1:])
    order = (0, *(axis for i in range(1, rank + 1) for axis in (i, i + rank + 1)), rank + 1)
    sizes = (t.count * t.step for t in tilings)
    return jnp.transpose(y, order).reshape(spec.batch, *sizes, spec.out_channels)


def _transformed(tilings: tuple[Tiling, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lengths and (negative) axes of the transform; an axis of one point is its own."""
    pairs = [(t.length, i - len(tilings)) for i, t in enumerate(tilings) if t.length > 1]
    lengths, axes = zip(*pairs, strict=True)
    return lengths, axes


def _spectrum(x: jax.Array, tilings: tuple[Tiling, ...], groups: int) -> jax.Array:
    """(M, G C, *s) -> (G, M, C, F): each axis is filled up with zeros and transformed."""
    transform = jnp.fft.fftn if jnp.iscomplexobj(x) else jnp.fft.rfftn
    lengths, axes = _transformed(tilings)
    m, c = x.shape[:2]
    return jnp.swapaxes(transform(x, lengths, axes).reshape(m, groups, c // groups, -1), 0, 1)


def _matmuls(a: jax.Array, b: jax.Array, target: Target) -> jax.Array:
    """A matrix product for each frequency, (G, m, k, F) (G, k, n, F) -> (G, m, n, F)."""
    _, m, k, _ = a.shape
    if k <= _FEW:
        terms = [a[:, :, i, None] * b[:, i, None] for i in range(k)]
        return sum(terms[1:], terms[0])
    if m * b.shape[2] <= _FEW:
        return jnp.sum(a[:, :, :, None] * b[:, None], axis=2)
    # XLA's CPU backend has a matrix product for a batch in front only.
    a, b = jnp.moveaxis(a, -1, 1), jnp.moveaxis(b, -1, 1)
    return jnp.moveaxis(lax.batch_matmul(a, b, precision=target.precision), 1, -1)


def _values(spectrum: jax.Array, dtype: Any, tilings: tuple[Tiling, ...], keep: list[int]) -> jax.Array:
    """(G, M, C, F) -> (M, G C, *keep)."""
    lengths, axes = _transformed(tilings)
    shape = [t.length for t in tilings]
    g, m, c, _ = spectrum.shape
    spectrum = jnp.swapaxes(spectrum, 0, 1)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        x = jnp.fft.ifftn(spectrum.reshape(m, g * c, *shape), lengths, axes)
    else:
        shape[axes[-1]] = lengths[-1] // 2 + 1
        x = jnp.fft.irfftn(spectrum.reshape(m, g * c, *shape), lengths, axes)
    return lax.slice(x, (0,) * x.ndim, (m, g * c, *keep))


def _splits(spec: ConvSpec) -> bool:
    return any(a.dilation > 1 for a in spec.axes) and all(splittable(a) for a in spec.axes)


def _supports(slot: Slot, spec: ConvSpec, dtype: Any, precision: Any) -> str | None:
    del slot
    if spec.rank > 3:
        return f"fft transforms one, two or three axes; here are {spec.rank}."
    if type(spec.batch) is not int:
        return "fft chooses its tiles by the batch, which is symbolic here."
    positions = math.prod(
        a.stride // (math.gcd(a.stride, a.dilation) if _splits(spec) else 1) for a in spec.axes
    )
    if math.prod(a.kernel for a in spec.axes) <= 2 * positions:
        return (
            f"fft computes {positions} positions for each output, with two products in the place of each "
            "kernel; they alone would be no fewer than the kernel's own."
        )
    if not jnp.issubdtype(dtype, jnp.inexact):
        return f"fft's result is rounded, which {jnp.dtype(dtype)} does not allow."
    wanted = precision if isinstance(precision, tuple) else (precision,)
    if any(p not in (None, lax.Precision.DEFAULT, lax.Precision.HIGH) for p in wanted):
        return f"fft's error is bounded in norm, not for each element; precision {precision} forbids it."
    return None


_dense_slot = by_slot(forward, weight_grad)


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    if _splits(spec):
        return in_parts(_run, slot, spec, target, a, b)
    return _dense_slot(slot, spec, target, a, b)


def _work(slot: Slot, spec: ConvSpec) -> Work:
    if _splits(spec):
        spec, _ = split_spec(spec)
    dense = _dense_spec(adjoint_spec(spec) if slot == "input_grad" else spec)
    tilings = tile(dense)
    elements = _elements(dense, tilings)
    # Butterflies wait for memory, not for the multiplier: two levels of them are one reading and writing of
    # each element. The tiles, the two orders of the axes, and the product take two of each besides.
    moved = elements * (math.ceil(math.log2(_points(tilings))) + 4)
    return Work((_products(dense, tilings),), moved=moved, workspace=2 * elements, steps=12)


LOWERING = Lowering("fft", _supports, _run, _work)
