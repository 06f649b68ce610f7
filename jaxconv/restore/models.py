"""Forward models: from a scene x to what an instrument makes of it, y = H x, and the adjoint Hᵀ of that.

A model has `shape` (of y), `domain` (of x), `model(x)`, `model.adjoint(y)`, and `model.crop(x)`, which cuts
what lies in the frame of y out of x. One picture at a time: more of them go through `jax.vmap`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp
from jax import lax

from ..lowerings.fft import smooth
from ..ops import border
from ..ops.conv import conv
from . import psf as _psf
from .arrays import floating

Boundary = Literal["circular", "zeros", "reflect", "valid", "unknown"]

# Up to so many taps, the planner's direct path is quicker than two real transforms: measured on CPU, 7x7 on
# 512x512 takes 0.6 of their time, and 3x3x3 on 32x256x256 a sixth.
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


def otf(psf: jax.Array, grid: Sequence[int]) -> jax.Array:
    """The optical transfer function: the half spectrum of a PSF with its centre at the origin of a grid."""
    padded = jnp.pad(psf, [(0, n - k) for n, k in zip(grid, psf.shape, strict=True)])
    return jnp.fft.rfftn(jnp.roll(padded, [-(k // 2) for k in psf.shape], range(psf.ndim)))


@jax.tree_util.register_pytree_node_class
class Blur:
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
        self.shape, self.boundary = tuple(shape), boundary
        if boundary not in get_args(Boundary):
            raise ValueError(
                f"boundary={boundary!r} is not known; use one of {', '.join(get_args(Boundary))}."
            )
        _psf.check_size(self.psf.shape, self.shape)
        self.otf = None if self._direct else otf(self.psf, self._grid)

    def tree_flatten(self) -> tuple[Any, Any]:  # noqa: D102
        return (self.psf, self.otf), (self.shape, self.boundary)

    @classmethod
    def tree_unflatten(cls, aux: Any, leaves: Any) -> Blur:  # noqa: D102
        model = object.__new__(cls)
        model.psf, model.otf = leaves
        model.shape, model.boundary = aux
        return model

    @property
    def _direct(self) -> bool:
        return math.prod(self.psf.shape) <= _DIRECT

    @property
    def _ends(self) -> list[tuple[int, int]]:
        """How many positions before and after the frame a PSF reaches."""
        return [(k - 1 - k // 2, k // 2) for k in self.psf.shape]

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of x."""
        return self._extended if self.boundary in ("valid", "unknown") else self.shape

    @property
    def _extended(self) -> tuple[int, ...]:
        return tuple(n + k - 1 for n, k in zip(self.shape, self.psf.shape, strict=True))

    @property
    def _periodic(self) -> bool:
        """A transform of the frame itself does it."""
        return self.boundary == "circular" and all(smooth(n) == n for n in self.shape)

    @property
    def _grid(self) -> tuple[int, ...]:
        if self._periodic:
            return self.shape
        if self.boundary == "zeros":  # those behind the frame are before it too
            return tuple(smooth(n + max(e)) for n, e in zip(self.shape, self._ends, strict=True))
        return tuple(smooth(n) for n in self._extended)

    def _extend(self, x: jax.Array) -> jax.Array:
        """The scene as far as the PSF reaches."""
        if self.boundary in ("valid", "unknown"):
            return x
        if self.boundary == "zeros":
            return jnp.pad(x, self._ends)
        return jnp.pad(x, self._ends, mode=border.MODES[self.boundary])

    def _start(self) -> list[int]:
        """Where the frame begins on the grid."""
        inner = self._periodic or self.boundary == "zeros"
        return [0 if inner else lo for lo, _ in self._ends]

    def __call__(self, x: jax.Array) -> jax.Array:
        """The blurred scene."""
        if self.otf is None:
            return _slide(self._extend(x), jnp.flip(self.psf), "VALID")
        start = self._start()
        x = x if self._periodic or self.boundary == "zeros" else self._extend(x)
        y = _filter(x, self.otf, self._grid)
        return lax.slice(y, start, [s + n for s, n in zip(start, self.shape, strict=True)])

    def adjoint(self, y: jax.Array) -> jax.Array:
        """Σ_t y[t] ∂(Hx)[t]/∂x."""
        if self.otf is None:
            return self._unextend(_slide(y, self.psf, "FULL"))
        start = self._start()
        if any(start):
            y = jnp.pad(y, [(s, 0) for s in start])
        inner = self._periodic or self.boundary == "zeros"
        x = _filter(y, jnp.conj(self.otf), self._grid)
        x = lax.slice(x, [0] * x.ndim, self.shape if inner else self._extended)
        return x if inner else self._unextend(x)

    def _unextend(self, x: jax.Array) -> jax.Array:
        return x if self.domain == x.shape else border.adjoint(self._extend, self.domain, x)

    def crop(self, x: jax.Array) -> jax.Array:
        """What lies in the frame of y."""
        if self.boundary != "unknown":
            return x
        return lax.slice(
            x,
            [lo for lo, _ in self._ends],
            [lo + n for (lo, _), n in zip(self._ends, self.shape, strict=True)],
        )


def _slide(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
    return conv(x[..., None], kernel.astype(x.dtype)[..., None, None], padding=padding)[..., 0]


def _filter(x: jax.Array, transfer: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    axes = range(-len(grid), 0)
    return jnp.fft.irfftn(transfer * jnp.fft.rfftn(x, grid, axes), grid, axes)


def blur(x: Any, psf: Any, *, boundary: Boundary = "valid") -> jax.Array:
    """What an instrument with this PSF sees of a scene; see `Blur` for the boundaries.

    Args:
      x: scene, any number of pictures in front: (..., *spatial).
      psf: as many axes as space has.
      boundary: as in `Blur`. With "valid" or "unknown" the picture is smaller than the scene, by psf.shape - 1.

    Returns:
      The blurred scene, in floating point.

    Raises:
      ValueError: as `Blur`.

    Example:
      >>> blur([2.0, 4.0, 8.0], [0.5, 0.5]).tolist()
      [3.0, 6.0]
    """
    x, psf = floating(x, "x"), floating(psf, "psf")
    if x.ndim < psf.ndim:
        raise ValueError(f"x of shape {x.shape} has fewer axes than psf of shape {psf.shape}.")
    shape = x.shape[x.ndim - psf.ndim :]
    if boundary in ("valid", "unknown"):
        shape = tuple(n - k + 1 for n, k in zip(shape, psf.shape, strict=True))
    model: Callable[[jax.Array], jax.Array] = Blur(psf, shape, boundary=boundary)
    for _ in range(x.ndim - psf.ndim):
        model = jax.vmap(model)
    return model(x)
