"""Derivatives of any order and in both modes against differences of the function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._numeric import FACTOR, largest, norm, spacing, widest
from .close import compare


def check_grads(
    fn: Callable[..., Any],
    args: Sequence[Any],
    *,
    order: int = 1,
    modes: Sequence[str] = ("fwd", "rev"),
    multilinear: bool = False,
    contraction: int | None = None,
    step: float | None = None,
    seed: int = 0,
) -> None:
    """Assert that derivatives of `fn` in forward and reverse mode are the differences of `fn`.

    One argument at a time is moved along a random direction v. Forward mode must give the difference,
    elementwise; in reverse mode <vjp(ct), v> must be <ct, difference> for a random cotangent ct. For order n
    the same is asked of the functions (args, tangents) -> jvp and (args, ct) -> vjp with order n - 1, so that
    every mixture of the modes is visited: 2ⁿ of them at order n.

    With `multilinear=True` the difference is f(x + v) - f(x), a step of one. Where f is affine in each
    argument, as convolutions, matrix products and einsums are, it is the derivative exactly and only rounding
    is tolerated; the jvp and vjp of such an f are again affine in each argument, so that this holds at any
    order. Otherwise it is the central difference D(h) = (f(x + h·v) - f(x - h·v)) / 2h, extrapolated to h = 0
    from h and 2h. What is tolerated is the distance of those two, three times the error of the nearer before
    extrapolation, and the rounding of f divided by h. Both fall as eps^(2/3) at the default h = eps^(1/3).

    Args:
        fn: A function of arrays or pytrees of arrays, with any pytree of arrays as result. Integer arguments
            are held fixed and integer results are ignored. Complex numbers follow JAX: v and ct move in the
            whole plane.
        args: Where to differentiate. For central differences f should be smooth from x - 2h·v to x + 2h·v.
        order: The highest derivative to check.
        modes: "fwd", "rev" or both.
        multilinear: Whether `fn` is affine in each array of `args` alone.
        contraction: How many products are summed for one element of the result; None takes the size of the
            largest argument, an upper bound for multilinear functions.
        step: The h of central differences, in units of v, whose elements lie between 0.5 and 1.5; None is
            eps^(1/3).
        seed: Seeds the directions.

    Raises:
        AssertionError: A derivative is wrong. The message names the mode, for higher orders as in "rev of
            fwd", and the argument.
        ValueError: `order` is less than one, a mode is unknown, there is no mode, or there is nothing to
            differentiate: no floating-point or complex number among the arguments or the results.

    Example:
        >>> x, y = np.array([0.3, -1.2], np.float32), np.array([[2.0, 0.5]], np.float32)
        >>> check_grads(lambda x, y: y @ x, (x, y), order=2, multilinear=True)
        >>> check_grads(lambda x: jnp.exp(jnp.sin(x)), (x,))

        A custom derivative that forgot a factor of 2:

        >>> @jax.custom_jvp
        ... def square(x):
        ...     return x * x
        >>> _ = square.defjvp(lambda primals, tangents: (primals[0] ** 2, primals[0] * tangents[0]))
        >>> check_grads(square, (x,), modes=("fwd",))
        Traceback (most recent call last):
        ...
        AssertionError: fwd with respect to args[0]: 2 of 2 elements differ by more than the tolerance.
        ...
    """
    if order < 1:
        raise ValueError(f"order={order}; derivatives start at order=1.")
    if unknown := set(modes) - {"fwd", "rev"}:
        raise ValueError(f'modes={tuple(modes)} with unknown {sorted(unknown)}; use "fwd", "rev" or both.')
    if not modes:
        raise ValueError('modes=() checks nothing; use "fwd", "rev" or both.')
    flat_fn, leaves, names = _inexact_leaves(fn, tuple(args))
    if not leaves:
        raise ValueError("args hold no floating-point or complex array to differentiate with respect to.")
    contraction = contraction or max(1, *(leaf.size for leaf in leaves))
    checker = _Checker(tuple(modes), multilinear, contraction, step, np.random.default_rng(seed))
    checker.check(flat_fn, leaves, names, order)


_Function = Callable[..., list[jax.Array]]  # of arrays, one positional argument each


def _inexact_leaves(
    fn: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[_Function, list[jax.Array], list[str]]:
    """`fn` as a function of its floating-point and complex arrays alone, those arrays, and their names."""
    paths, structure = jax.tree_util.tree_flatten_with_path(args)
    leaves = [jnp.asarray(leaf) for _, leaf in paths]
    moving = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]

    def flat_fn(*arrays: jax.Array) -> list[jax.Array]:
        every = list(leaves)
        for i, array in zip(moving, arrays, strict=True):
            every[i] = array
        results = jax.tree.leaves(fn(*structure.unflatten(every)))
        return [r for r in results if jnp.issubdtype(jnp.result_type(r), jnp.inexact)]

    names = [f"args{jax.tree_util.keystr(paths[i][0])}" for i in moving]
    return flat_fn, [leaves[i] for i in moving], names


def _jvp_of(fn: _Function, n: int) -> _Function:
    return lambda *a: jax.jvp(fn, a[:n], a[n:])[1]


def _vjp_of(fn: _Function, n: int) -> _Function:
    return lambda *a: list(jax.vjp(fn, *a[:n])[1](list(a[n:])))


@dataclass(frozen=True)
class _Move:
    """What one argument's step along v does to each result, and how far off any element may be."""

    v: jax.Array
    differences: list[np.ndarray]
    rounding: list[float]
    truncation: list[float]


@dataclass(frozen=True)
class _Checker:
    """The options of one `check_grads`, and the recursion over orders."""

    modes: tuple[str, ...]
    multilinear: bool
    contraction: int
    step: float | None
    rng: np.random.Generator

    def check(
        self, fn: _Function, args: list[jax.Array], names: list[str], order: int, outer: str = ""
    ) -> None:
        """Check the derivatives of `fn`, then theirs; `outer` says of what `fn` is a derivative itself."""
        results, n = fn(*args), len(args)
        if not results:
            raise ValueError("fn has no floating-point or complex result to differentiate.")
        eps = max(spacing(a.dtype) for a in (*args, *results))
        tangents, cotangents = self._directions(args), self._directions(results)
        moves = [self._move(fn, args, i, tangents[i], results, eps) for i in range(n)]
        if "fwd" in self.modes:
            for i, name in enumerate(names):
                self._check_fwd(fn, args, i, moves[i], f"fwd{outer} with respect to {name}")
            if order > 1:
                more = [f"the tangent of {name}" for name in names]
                self.check(_jvp_of(fn, n), args + tangents, names + more, order - 1, f" of fwd{outer}")
        if "rev" in self.modes:
            gradients = jax.vjp(fn, *args)[1](cotangents)
            for i, name in enumerate(names):
                label = f"rev{outer} with respect to {name}, <vjp(ct), v> against <ct, difference>"
                self._check_rev(gradients[i], cotangents, moves[i], eps, label)
            if order > 1:
                more = [f"cotangent {j}" for j in range(len(cotangents))]
                self.check(_vjp_of(fn, n), args + cotangents, names + more, order - 1, f" of rev{outer}")

    def _directions(self, arrays: list[jax.Array]) -> list[jax.Array]:
        """Like the arrays, elements of size 0.5 to 1.5 and random sign or phase: none too small to see."""
        directions = []
        for array in arrays:
            size, turn = self.rng.uniform(0.5, 1.5, array.shape), self.rng.uniform(0, 2 * np.pi, array.shape)
            phase = np.exp(1j * turn) if jnp.iscomplexobj(array) else np.sign(np.cos(turn))
            directions.append(jnp.asarray(size * phase, array.dtype))
        return directions

    def _move(
        self, fn: _Function, args: list[jax.Array], i: int, v: jax.Array, results: list[jax.Array], eps: float
    ) -> _Move:
        def at(t: float) -> list[np.ndarray]:
            return [widest(a) for a in fn(*args[:i], args[i] + t * v, *args[i + 1 :])]

        if self.multilinear:
            h = 1.0
            differences = [end - widest(start) for end, start in zip(at(h), results, strict=True)]
            truncation = [0.0 for _ in results]
        else:
            h = self.step or eps ** (1 / 3)
            wide = [(a - b) / (4 * h) for a, b in zip(at(2 * h), at(-2 * h), strict=True)]
            narrow = [(a - b) / (2 * h) for a, b in zip(at(h), at(-h), strict=True)]
            differences = [(4 * n - w) / 3 for n, w in zip(narrow, wide, strict=True)]
            truncation = [largest(n - w) for n, w in zip(narrow, wide, strict=True)]
        # fn rounds its value, the step rounds the argument, and both errors are divided by h.
        relative, argument = self._relative(eps), eps * largest(args[i])
        sizes = [(largest(r), largest(d)) for r, d in zip(results, differences, strict=True)]
        rounding = [(relative * (value + h * slope) + argument * slope) / h for value, slope in sizes]
        return _Move(v, differences, rounding, truncation)

    def _relative(self, eps: float) -> float:
        return FACTOR * eps * math.sqrt(self.contraction)

    def _check_fwd(self, fn: _Function, args: list[jax.Array], i: int, move: _Move, label: str) -> None:
        _, tangents = jax.jvp(lambda a: fn(*args[:i], a, *args[i + 1 :]), (args[i],), (move.v,))
        for j, tangent in enumerate(tangents):
            _compare(tangent, move.differences[j], move.rounding[j], move.truncation[j], label)

    def _check_rev(
        self, gradient: jax.Array, cotangents: list[jax.Array], move: _Move, eps: float, label: str
    ) -> None:
        # JAX's vjp is the transpose without conjugation; the real part is linear for any f.
        got = np.sum(widest(gradient) * widest(move.v)).real
        wanted = sum(np.sum(widest(ct) * d).real for ct, d in zip(cotangents, move.differences, strict=True))
        # Errors of elements are independent, so those of a product with a vector grow with its norm.
        rounding = self._relative(eps) * largest(gradient) * norm(move.v)
        rounding += sum(norm(ct) * error for ct, error in zip(cotangents, move.rounding, strict=True))
        truncation = sum(norm(ct) * error for ct, error in zip(cotangents, move.truncation, strict=True))
        _compare(got, wanted, rounding, truncation, label)


def _compare(got: Any, wanted: Any, rounding: float, truncation: float, label: str) -> None:
    tolerance = np.full(np.shape(wanted), rounding + truncation)
    compare(got, wanted, tolerance, lambda _: f"rounding {rounding:.4g} + truncation {truncation:.4g}", label)
