"""A function whose rectifiers have another backward rule; everything else is differentiated as ever.

That takes `jax.custom_vjp`, which jaxconv's operators do without since it loses forward mode: here the rules
are not linear in the signal, so that there is no forward mode to lose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from .net import Net, Rectify

Rule = Callable[[jax.Array, jax.Array], jax.Array]
Name = Literal["gradient", "deconvnet", "guided"]

RULES: dict[str, Rule] = {
    "gradient": lambda x, g: jnp.where(x > 0, g, 0),
    "deconvnet": lambda _, g: jnp.maximum(g, 0),
    "guided": lambda x, g: jnp.where(x > 0, jnp.maximum(g, 0), 0),
}


def with_rule(fn: Callable[..., Any], rule: Name | Rule) -> Callable[..., Any]:
    """`fn` with the backward rule of its rectifiers replaced; its values stay.

    A rectifier is max(x, 0) in any form: `jax.nn.relu`, `jnp.maximum(x, 0)`, `x * (x > 0)`, `jnp.where`,
    the lower end of a clip; of a module, of a function, called once or often, inside `jit`, `scan`, `cond`
    and `remat`. What only keeps a variance from being negative, gates (hard sigmoid) and softplus are none.
    A function with a derivative of its own that holds rectifiers beside convolutions or matrix products is
    differentiated as it is written.

    Args:
      fn: any function of arrays, or a callable pytree.
      rule: for a rectifier's input x and the signal g that comes back to its output what goes on to x:
        "gradient" g where x > 0, "deconvnet" max(g, 0), "guided" max(g, 0) where x > 0, or a function (x, g).

    Returns:
      A function with the arguments of `fn`; `jax.grad`, `jit` and `vmap` as you like. No forward mode.

    Raises:
      ValueError: for an unknown rule; when called, if `fn` has no rectifier, or a leaky one.

    Example:
      >>> fn = lambda x: (jnp.array([1.0, -2.0, 3.0]) * jax.nn.relu(x)).sum()
      >>> x = jnp.array([-1.0, 2.0, 5.0])
      >>> for rule in ("gradient", "deconvnet", "guided"):
      ...     print(rule, jax.grad(with_rule(fn, rule))(x).tolist())
      gradient [0.0, -2.0, 3.0]
      deconvnet [1.0, 0.0, 3.0]
      guided [0.0, 0.0, 3.0]
    """
    if not callable(rule) and rule not in RULES:
        raise ValueError(f"rule={rule!r} must be one of {', '.join(RULES)}, or a function (x, g).")
    rectify = _rectifier(rule if callable(rule) else RULES[rule])

    def changed(*args: Any, **kwargs: Any) -> Any:
        return Net(fn, args, kwargs).compute(rectify=rectify)

    return changed


def _rectifier(rule: Rule) -> Rectify:
    @jax.custom_vjp
    def rectify(x: jax.Array) -> jax.Array:
        return jnp.maximum(x, 0)

    def forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.maximum(x, 0), x

    def backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
        return (rule(x, g),)

    rectify.defvjp(forward, backward)
    return rectify
