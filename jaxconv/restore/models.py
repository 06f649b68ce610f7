"""Forward models: from a scene x to what an instrument makes of it, y = H x, and the adjoint Hᵀ of that.

A model has `shape` (of y), `domain` (of x), `model(x)`, `model.adjoint(y)`, and `model.crop(x)`, which cuts
what lies in the frame of y out of x. One picture at a time: more of them go through `jax.vmap`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..lowerings.fft import smooth
from ..ops import border
from ..ops.conv import conv
from .arrays import check_size, floating, known
from .spectrum import otf
from .taps import bordered, convolve, passes, spread

Boundary = Literal["circular", "zeros", "reflect", "valid", "unknown"]

# Up to so many taps of a PSF that is not known while tracing, the planner's direct path is quicker than two
# real transforms: measured on CPU, 7x7 on 512x512 takes 0.6 of their time, and 3x3x3 on 32x256x256 a sixth.
_DIRECT = 49


class Model(Protocol):
    """What the restoring functions ask of a forward model."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def domain(self) -> tuple[int, ...]: ...  # noqa: D102

    def __call__(self, x: jax.Array) -> jax.Array: ...  # noqa: D102

    def adjoint(self, y: jax.Array) -> jax.Array: ...  # noqa: D102

    def crop(self, x: jax.Array) -> jax.Array: ...  # noqa: D102


class Framed:
    """What models have in common: the frame of y, and what the scene is outside of it."""

    shape: tuple[int, ...]
    boundary: Boundary
    size: tuple[int, ...]  # of the PSF

    def _frame(self, size: tuple[int, ...], shape: Sequence[int], boundary: Boundary) -> None:
        self.size, self.shape, self.boundary = size, tuple(shape), boundary
        if boundary not in get_args(Boundary):
            raise ValueError(
                f"boundary={boundary!r} is not known; use one of {', '.join(get_args(Boundary))}."
            )
        if boundary != "valid":
            check_size(self.size, self.shape)

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of x."""
        return self._reach if self.boundary in ("valid", "unknown") else self.shape

    @property
    def _ends(self) -> list[tuple[int, int]]:
        """How many positions before and after the frame a PSF reaches."""
        return [(k - 1 - k // 2, k // 2) for k in self.size]

    @property
    def _reach(self) -> tuple[int, ...]:
        return tuple(n + k - 1 for n, k in zip(self.shape, self.size, strict=True))

    def _extend(self, x: jax.Array) -> jax.Array:
        """The scene as far as the PSF reaches."""
        if self.boundary in ("valid", "unknown"):
            return x
        if self.boundary == "zeros":
            return bordered(x, self._ends)
        return jnp.pad(x, self._ends, mode=border.MODES[self.boundary])

    def _unextend(self, x: jax.Array) -> jax.Array:
        return x if self.domain == x.shape else border.adjoint(self._extend, self.domain, x)

    def crop(self, x: jax.Array) -> jax.Array:
        """What lies in the frame of y."""
        if self.boundary != "unknown":
            return x
        return cut(x, [lo for lo, _ in self._ends], self.shape)


def cut(x: jax.Array, start: Sequence[int], shape: Sequence[int]) -> jax.Array:
    """The part of this shape that begins there."""
    return lax.slice(x, start, [s + n for s, n in zip(start, shape, strict=True)])


@jax.tree_util.register_pytree_node_class
class Blur(Framed):
    """Convolution by a PSF, y[t] = Σ_j psf[j] x[t - j + k // 2].

    What x is outside of the frame is the boundary:

    - "circular": x again, as if it were periodic. Right for simulations only.
    - "zeros": dark.
    - "reflect": x mirrored at its outermost pixels, each of which is there once.
    - "valid": the scene goes on, and x is larger than y by psf.shape - 1: all that y saw.
    - "unknown": as "valid" for the model; restoring functions return what lies in the frame only.

    Args:
      psf: as many axes as space has.
      shape: spatial shape of y.
      boundary: one of the above.

    Raises:
      ValueError: for a PSF larger than the data, or an unknown boundary.

    Example:
      >>> model = Blur(jnp.array([0.5, 0.5, 0.0]), (3,), boundary="circular")
      >>> model(jnp.array([2.0, 4.0, 8.0])).tolist()
      [3.0, 6.0, 5.0]
      >>> model.adjoint(jnp.array([2.0, 4.0, 8.0])).tolist()
      [5.0, 3.0, 6.0]
    """

    def __init__(self, psf: Any, shape: Sequence[int], *, boundary: Boundary = "unknown") -> None:
        self.psf = floating(psf, "psf")
        self._frame(self.psf.shape, shape, boundary)
        found = passes(np.asarray(self.psf)) if known(self.psf) else None
        self.steps, self.lines = found or ((), ())
        self.otf = None if self.steps or self._direct else otf(self.psf, self._grid)

    def tree_flatten(self) -> tuple[Any, Any]:  # noqa: D102
        return (self.psf, self.otf, self.lines), (self.size, self.shape, self.boundary, self.steps)

    @classmethod
    def tree_unflatten(cls, aux: Any, leaves: Any) -> Blur:  # noqa: D102
        model = object.__new__(cls)
        model.psf, model.otf, model.lines = leaves
        model.size, model.shape, model.boundary, model.steps = aux
        return model

    @property
    def _direct(self) -> bool:
        return math.prod(self.size) <= _DIRECT

    @property
    def _inside(self) -> bool:
        """Whether the frame is at the beginning of the grid, which wraps round to what is before it."""
        return self.boundary == "zeros" or (
            self.boundary == "circular" and all(smooth(n) == n for n in self.shape)
        )

    @property
    def _grid(self) -> tuple[int, ...]:
        if not self._inside:
            return tuple(smooth(n) for n in self._reach)
        room = [max(e) if self.boundary == "zeros" else 0 for e in self._ends]
        return tuple(smooth(n + m) for n, m in zip(self.shape, room, strict=True))

    @property
    def _start(self) -> list[int]:
        """Where the frame is on the grid."""
        return [0 if self._inside else lo for lo, _ in self._ends]

    def __call__(self, x: jax.Array) -> jax.Array:
        """The blurred scene."""
        if self.steps:
            return convolve(self._extend(x), self.steps, self.lines)
        if self.otf is None:
            return _slide(self._extend(x), jnp.flip(self.psf), "VALID")
        y = _filter(x if self._inside else self._extend(x), self.otf, self._grid)
        return cut(y, self._start, self.shape)

    def adjoint(self, y: jax.Array) -> jax.Array:
        """Σ_t y[t] ∂(Hx)[t]/∂x."""
        if self.steps:
            return self._unextend(spread(y, self.steps, self.lines))
        if self.otf is None:
            return self._unextend(_slide(y, self.psf, "FULL"))
        y = jnp.pad(y, [(lo, 0) for lo in self._start])
        x = _filter(y, jnp.conj(self.otf), self._grid)
        origin = [0] * x.ndim
        return cut(x, origin, self.shape) if self._inside else self._unextend(cut(x, origin, self._reach))


def _slide(x: jax.Array, kernel: jax.Array, padding: Literal["VALID", "FULL"]) -> jax.Array:
    return conv(x[..., None], kernel.astype(x.dtype)[..., None, None], padding=padding)[..., 0]


def _filter(x: jax.Array, transfer: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    axes = range(-len(grid), 0)
    return jnp.fft.irfftn(transfer * jnp.fft.rfftn(x, grid, axes), grid, axes)
