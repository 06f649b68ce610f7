"""Operations element by element: arithmetic, comparisons and activations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .nodes import Node, Op, Value, aligned, dtype_of, namespace, on_host


def _unary(function: Callable[[Any, Value], Value]) -> Op:
    return Op(lambda _, x: function(namespace(x), x))


def _named(name: str) -> Op:
    """A function that NumPy and JAX call the same."""
    return Op(lambda _, x: getattr(namespace(x), name)(x))


def _binary(function: Callable[[Any, Value, Value], Value]) -> Op:
    return Op(lambda _, a, b: function(namespace(a, b), *aligned(a, b)))


def _jax(function: Callable[[Value], Value]) -> Op:
    return Op(lambda _, x: function(jnp.asarray(x)))


def _many(function: Callable[[Any, Value, Value], Value]) -> Op:
    def run(_: Node, *operands: Value) -> Value:
        return functools.reduce(functools.partial(function, namespace(*operands)), aligned(*operands))

    return Op(run)


def _mean(_: Node, *operands: Value) -> Value:
    return functools.reduce(lambda a, b: a + b, aligned(*operands)) / len(operands)


def _div(xp: Any, a: Value, b: Value) -> Value:
    """Integers are rounded towards zero."""
    if not jnp.issubdtype(a.dtype, jnp.integer):
        return xp.true_divide(a, b)
    if xp is jnp:
        a, b = jnp.broadcast_arrays(a, b)
        return jax.lax.div(a, b.astype(a.dtype))
    return (np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)).astype(a.dtype)


def _mod(node: Node, a: Value, b: Value) -> Value:
    xp = namespace(a, b)
    return (xp.fmod if node.get("fmod", 0) else xp.mod)(*aligned(a, b))


def _pow(_: Node, x: Value, exponent: Value) -> Value:
    if on_host(exponent) and np.size(exponent) == 1 and np.ndim(exponent) <= np.ndim(x):
        number = np.asarray(exponent).item()
        if abs(number) < 2**31 and number == int(number):  # whose gradient is right below zero, too
            return x ** int(number) if number >= 0 else (1 / x ** int(-number)).astype(x.dtype)
    xp = namespace(x, exponent)
    return xp.power(*aligned(x, exponent)).astype(x.dtype)


def _shift(node: Node, a: Value, b: Value) -> Value:
    xp = namespace(a, b)
    return (xp.left_shift if node.get("direction") == "LEFT" else xp.right_shift)(*aligned(a, b))


def _clip(node: Node, x: Value, least: Value = None, most: Value = None) -> Value:
    least, most = (
        node.get(name) if given is None else given for name, given in (("min", least), ("max", most))
    )
    if on_host(x, least, most):
        x = x if least is None else np.maximum(x, np.asarray(least, x.dtype))
        return x if most is None else np.minimum(x, np.asarray(most, x.dtype))
    if least is not None:
        least = jnp.asarray(least, x.dtype).reshape((1,) * x.ndim)
        x = jnp.where(x < least, least, x)
    if most is not None:
        most = jnp.asarray(most, x.dtype).reshape((1,) * x.ndim)
        x = jnp.where(x > most, most, x)
    return x


def _where(_: Node, condition: Value, a: Value, b: Value) -> Value:
    return namespace(condition, a, b).where(*aligned(condition, a, b))


def _is_inf(node: Node, x: Value) -> Value:
    xp = namespace(x)
    found = xp.isinf(x)
    if not node.get("detect_negative", 1):
        found = found & (x > 0)
    return found if node.get("detect_positive", 1) else found & (x < 0)


def _cast(node: Node, x: Value) -> Value:
    return converted(x, node.get("to"))


def _refuses_cast(node: Node) -> str | None:
    return "its type is not supported" if node.get("to") is None else None


def _cast_like(_: Node, x: Value, like: Value) -> Value:
    return converted(x, like.dtype)


def converted(x: Value, dtype: Any) -> Value:
    """In another dtype."""
    if jnp.dtype(dtype) == jnp.bool_:
        return x != np.zeros((), x.dtype)
    return x.astype(dtype_of(dtype, namespace(x)))


def _hard_sigmoid(x: Value, alpha: float, beta: float) -> Value:
    return jnp.clip(alpha * x + beta, 0, 1)


def _elu(node: Node, x: Value) -> Value:
    return jax.nn.elu(jnp.asarray(x), node.get("alpha", 1.0))


def _selu(node: Node, x: Value) -> Value:
    alpha = node.get("alpha", 1.67326319217681884765625)
    return node.get("gamma", 1.05070102214813232421875) * jax.nn.elu(jnp.asarray(x), alpha)


def _prelu(_: Node, x: Value, slope: Value) -> Value:
    return jnp.where(x < 0, x * aligned(x, slope)[1], x)


def _shrink(node: Node, x: Value) -> Value:
    bias, limit = node.get("bias", 0.0), node.get("lambd", 0.5)
    zero = jnp.zeros_like(x)
    return jnp.where(x < -limit, x + bias, jnp.where(x > limit, x - bias, zero)).astype(x.dtype)


def _gelu(node: Node, x: Value) -> Value:
    return jax.nn.gelu(jnp.asarray(x), approximate=node.get("approximate", "none") == "tanh")


def _attribute(name: str, default: float, function: Callable[[Value, float], Value]) -> Op:
    return Op(lambda node, x: function(jnp.asarray(x), node.get(name, default)), name)


_ALIKE = {
    **{
        name: name.lower()
        for name in [
            "Abs",
            "Ceil",
            "Floor",
            "Sign",
            "Sqrt",
            "Exp",
            "Log",
            "Sin",
            "Cos",
            "Tan",
            "Sinh",
            "Cosh",
            "Tanh",
        ]
    },
    **{f"A{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "Neg": "negative",
    "Round": "round",
    "IsNaN": "isnan",
    "Not": "logical_not",
    "BitwiseNot": "bitwise_not",
}
_PAIRS = {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Equal": "equal",
    "Greater": "greater",
    "Less": "less",
    "GreaterOrEqual": "greater_equal",
    "LessOrEqual": "less_equal",
}


def _pair(name: str) -> Op:
    return _binary(lambda xp, a, b: getattr(xp, name)(a, b))


OPS = {
    **{op: _named(name) for op, name in _ALIKE.items()},
    **{op: _pair(name) for op, name in _PAIRS.items()},
    "Div": _binary(_div),
    "Mod": Op(_mod, "fmod"),
    "Pow": Op(_pow),
    "BitShift": Op(_shift, "direction"),
    "Max": _many(lambda xp, a, b: xp.maximum(a, b)),
    "Min": _many(lambda xp, a, b: xp.minimum(a, b)),
    "Sum": _many(lambda xp, a, b: xp.add(a, b)),
    "Mean": Op(_mean),
    "Clip": Op(_clip, "max min"),
    "Where": Op(_where),
    "IsInf": Op(_is_inf, "detect_negative detect_positive"),
    "Cast": Op(_cast, "to saturate round_mode", refuses=_refuses_cast),
    "CastLike": Op(_cast_like, "saturate round_mode"),
    "Reciprocal": _unary(lambda _, x: 1 / x),
    "Erf": _jax(jax.scipy.special.erf),
    "Relu": _jax(jax.nn.relu),
    "Sigmoid": _jax(jax.nn.sigmoid),
    "Softplus": _jax(jax.nn.softplus),
    "Softsign": _jax(jax.nn.soft_sign),
    "HardSwish": _jax(lambda x: x * _hard_sigmoid(x, 1 / 6, 0.5)),
    "Mish": _jax(lambda x: x * jnp.tanh(jax.nn.softplus(x))),
    "LeakyRelu": _attribute("alpha", 0.01, lambda x, alpha: jnp.where(x < 0, alpha * x, x)),
    "ThresholdedRelu": _attribute("alpha", 1.0, lambda x, alpha: jnp.where(x > alpha, x, jnp.zeros_like(x))),
    "Celu": _attribute("alpha", 1.0, jax.nn.celu),
    "Swish": _attribute("alpha", 1.0, lambda x, alpha: x * jax.nn.sigmoid(alpha * x)),
    "HardSigmoid": Op(
        lambda node, x: _hard_sigmoid(x, node.get("alpha", 0.2), node.get("beta", 0.5)), "alpha beta"
    ),
    "Elu": Op(_elu, "alpha"),
    "Selu": Op(_selu, "alpha gamma"),
    "PRelu": Op(_prelu),
    "Shrink": Op(_shrink, "bias lambd"),
    "Gelu": Op(_gelu, "approximate"),
}
