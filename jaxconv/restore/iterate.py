"""The one loop of the iterative methods: steps, a rule that stops them, a callback, and how to differentiate.

A step is a function of a state that gives the next state and what it saw. Without a rule the number of
iterations is fixed and reverse-mode differentiation goes through them; with one, only forward mode does, or
the implicit one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.sparse.linalg import gmres

from .stopping import Rule, Seen

Gradient = Literal["unrolled", "checkpoint", "implicit"]
Step = Callable[[Any], tuple[Any, Seen]]
Callback = Callable[[int, np.ndarray], Any]


class Options(NamedTuple):
    """What of a loop is known when it is compiled."""

    iterations: int
    gradient: Gradient = "unrolled"
    callback: Callback | None = None


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["iterations", "history", "rule", "chosen"],
    meta_fields=["method", "limit", "why"],
)
@dataclasses.dataclass(frozen=True)
class Report:
    """What a method did, and why; as text it says so in sentences.

    Attributes:
      method: its name.
      iterations: how many were done; for several pictures, an array.
      limit: how many were allowed.
      rule: what could stop them before.
      history: the rule's measure of each iteration, infinite for those not done.
      chosen: what the method had to choose, by name.
      why: by what it was chosen.
    """

    method: str
    limit: int = 0
    iterations: Any = 0
    history: Any = ()
    rule: Any = None
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)
    why: str = ""

    def __str__(self) -> str:
        """In sentences."""
        lines = [f"{name} = {_text(value)}" for name, value in self.chosen.items()]
        lines += [f"chosen by {self.why}"] if self.why else []
        if self.limit:
            why = "a fixed number"
            if self.rule is not None:
                early = np.asarray(self.iterations) < self.limit
                why = f"stopped by {self.rule}" if np.all(early) else f"the limit came before {self.rule}"
            lines.append(f"{_text(self.iterations)} of {self.limit} iterations: {why}")
        return f"{self.method}: " + "; ".join(lines or ["nothing to choose"]) + "."


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    values = np.asarray(value)
    if values.size and np.all(values == values.flat[0]):  # the same for all pictures
        return f"{values.flat[0]:.4g}"
    return np.array2string(values, precision=4, threshold=8)


class Restored(NamedTuple):
    """A restored picture, and the report of how it came about."""

    x: jax.Array
    report: Report


def check_options(iterations: Any, gradient: str, stop: Any) -> None:
    """Raises for options of the loop that can't be meant."""
    if not isinstance(iterations, int | np.integer) or iterations < 1:
        raise ValueError(f"iterations={iterations!r} must be a positive integer.")
    if gradient not in get_args(Gradient):
        raise ValueError(f"gradient={gradient!r} is not known; use one of {', '.join(get_args(Gradient))}.")
    if stop is not None and not hasattr(stop, "measure"):
        raise ValueError(f"stop={stop!r} is no rule; use RelativeChange, Discrepancy or Whiteness, or None.")
    if stop is not None and gradient == "checkpoint":
        raise ValueError("gradient='checkpoint' wants a fixed number of iterations; leave stop out.")


def iterate(
    step: Step, state: Any, options: Options, rule: Rule | None = None
) -> tuple[Any, jax.Array, jax.Array]:
    """Runs a step until the rule stops it, or for all iterations.

    Args:
      step: from a state to the next, and what it saw. A fixed point of it has to depend on nothing else, if
        the gradient is to be implicit.
      state: to start with.
      options: of the loop.
      rule: when to stop before.

    Returns:
      The last state, how many iterations were done, and the measures of the rule.
    """
    if options.gradient == "implicit":
        return _implicit(step, state, options, rule)
    return _loop(step, state, options, rule)


def _loop(step: Step, state: Any, options: Options, rule: Rule | None) -> tuple[Any, jax.Array, jax.Array]:
    if rule is None:
        state = _fixed(step, state, options)
        return state, jnp.asarray(options.iterations), jnp.zeros(0)

    def body(
        carry: tuple[Any, jax.Array, jax.Array, jax.Array],
    ) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        state, k, history, _ = carry
        state, seen = step(state)
        _tell(options.callback, k, seen)
        history = history.at[k].set(rule.measure(seen))
        return state, k + 1, history, rule.done(history, k)

    history = jnp.full(options.iterations, jnp.inf)
    start = (state, jnp.asarray(0), history, jnp.asarray(False))
    state, k, history, _ = lax.while_loop(lambda c: (c[1] < options.iterations) & ~c[3], body, start)
    return state, k, history


def _fixed(step: Step, state: Any, options: Options) -> Any:
    def once(state: Any, k: jax.Array) -> tuple[Any, None]:
        state, seen = step(state)
        _tell(options.callback, k, seen)
        return state, None

    n = options.iterations
    if options.gradient != "checkpoint":
        return lax.scan(once, state, jnp.arange(n))[0]
    # Two levels of √n steps: the backward pass keeps the states between blocks, and redoes one at a time.
    inner = math.isqrt(n)
    block = jax.checkpoint(lambda state, ks: lax.scan(jax.checkpoint(once), state, ks))
    state, _ = lax.scan(block, state, jnp.arange(n // inner * inner).reshape(-1, inner))
    return lax.scan(jax.checkpoint(once), state, jnp.arange(n // inner * inner, n))[0]


def _tell(callback: Callback | None, k: jax.Array, seen: Seen) -> None:
    if callback is not None:
        jax.debug.callback(lambda k, x: callback(int(k), np.asarray(x)), k, seen.after)


def _implicit(
    step: Step, state: Any, options: Options, rule: Rule | None
) -> tuple[Any, jax.Array, jax.Array]:
    """At a fixed point s = step(s; θ): ds = (I - ∂step/∂s)⁻¹ ∂step/∂θ dθ, whatever led there."""
    converted, thetas = jax.closure_convert(step, state)
    still = lax.stop_gradient((state, thetas))
    found, k, history = lax.stop_gradient(_loop(lambda s: converted(s, *still[1]), still[0], options, rule))

    def moved(s: Any) -> Any:
        return converted(s, *still[1])[0]

    def linear(ds: Any) -> Any:
        return jax.tree.map(jnp.subtract, ds, jax.jvp(moved, (found,), (ds,))[1])

    # Zero, with the derivative that is wanted; and what solves for zero does not iterate.
    ahead = converted(found, *thetas)[0]
    zero = jax.tree.map(lambda a: a - lax.stop_gradient(a), ahead)
    change, _ = gmres(linear, zero, tol=1e-5, restart=20, maxiter=10)
    return jax.tree.map(jnp.add, found, change), k, history
