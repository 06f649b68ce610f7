"""Primitives element by element as nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...graph import Node, Value
from .emit import Emitter, Held
from .files import package

_SAME = {
    **{
        name: name.capitalize()
        for name in [
            "add",
            "sub",
            "mul",
            "div",
            "max",
            "min",
            "pow",
            "neg",
            "exp",
            "log",
            "abs",
            "sign",
            "floor",
            "ceil",
        ]
    },
    **{
        name: name.capitalize()
        for name in [
            "sqrt",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "erf",
            "and",
            "or",
            "xor",
            "not",
        ]
    },
    **{name: name.capitalize() for name in ["asinh", "acosh", "atanh"]},
    **{"logistic": "Sigmoid", "eq": "Equal", "lt": "Less", "gt": "Greater", "add_any": "Add"},
    **{"le": "LessOrEqual", "ge": "GreaterOrEqual"},
}
_BITWISE = {"And": "BitwiseAnd", "Or": "BitwiseOr", "Xor": "BitwiseXor", "Not": "BitwiseNot"}


def order_of(helds: list[Held]) -> tuple[int, ...]:
    """The order to compute in: that of the first operand that is no constant and is not repeated."""
    ranked = [h for h in helds if h.order]
    if not ranked:
        return ()
    return max(ranked, key=lambda h: (h.array is None, np.prod(h.shape))).order


def elementwise(
    emit: Emitter, node: Node, make: Callable[..., str], operands: tuple[Value, ...] | None = None
) -> None:
    """Writes `make(*names)` of the operands in one order."""
    helds = [emit.of(v) for v in (node.operands if operands is None else operands)]
    order = order_of(helds)
    helds = [emit.ordered(h, order) for h in helds]
    name = make(*(emit.name(h) for h in helds))
    shape = np.broadcast_shapes(*(h.shape for h in helds))
    emit.make(node.results[0], order, name, shape)


def same(emit: Emitter, node: Node) -> None:
    """An operator of the same meaning."""
    op = _SAME[node.name]
    if op in _BITWISE and node.operands[0].dtype != bool:
        op = _BITWISE[op]
    elementwise(emit, node, lambda *names: emit.node(op, *names))


def _add(emit: Emitter, node: Node) -> None:
    """One number for each channel of a convolution, used once, becomes its bias."""
    for value, other in (node.operands, node.operands[::-1]):
        held, bias = emit.of(value), emit.of(other)
        made = next((n for n in emit.nodes[-1:] if held.name and list(n.output) == [held.name]), None)
        if made is None or made.op_type not in ("Conv", "ConvTranspose") or len(made.input) != 2:
            continue
        if not _alone(emit, value):
            continue
        bias = emit.ordered(bias, held.order)
        if bias.array is not None and bias.shape == (1, held.shape[1], *(1 for _ in held.shape[2:])):
            made.input.append(emit.name(bias.again((0,), bias.array.reshape(-1))))
            emit.held[node.results[0]] = held
            return
    same(emit, node)


def _alone(emit: Emitter, value: Value) -> bool:
    """Whether the convolution that a value is, in whatever form, is used for nothing else."""
    while emit.uses[value] == 1 and value.node is not None and value.node.op != "conv":
        if len(value.node.operands) != 1:
            return False
        [value] = value.node.operands
    return emit.uses[value] == 1


def _formula(function: Callable[..., str]) -> Callable[[Emitter, Node], None]:
    """`function(emit, dtype, *names)`."""

    def rule(emit: Emitter, node: Node) -> None:
        dtype = node.operands[0].dtype
        elementwise(emit, node, lambda *names: function(emit, dtype, *names))

    return rule


def _integer_pow(emit: Emitter, node: Node) -> None:
    power = node.params["y"]
    if power == 2:
        return elementwise(emit, node, lambda x: emit.node("Mul", x, x))
    dtype = node.operands[0].dtype
    return elementwise(emit, node, lambda x: emit.node("Pow", x, emit.number(power, dtype)))


def _round(emit: Emitter, node: Node) -> None:
    if int(node.params["rounding_method"]) != 1:
        raise ValueError("rounding halves away from zero has no operator; use jnp.round.")
    elementwise(emit, node, lambda x: emit.node("Round", x))


def cast(emit: Emitter, name: str, dtype: Any) -> str:
    """A value in another dtype."""
    return emit.node("Cast", name, to=package().helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _convert(emit: Emitter, node: Node) -> None:
    new = node.params["new_dtype"]
    if node.operands[0].dtype == new:
        return passed(emit, node)
    return elementwise(emit, node, lambda x: cast(emit, x, new))


def passed(emit: Emitter, node: Node) -> None:
    """Results that are the operands."""
    for value, result in zip(node.operands, node.results, strict=True):
        emit.held[result] = emit.of(value)


def _select(emit: Emitter, node: Node) -> None:
    which, *cases = node.operands
    if which.dtype != bool or len(cases) != 2:
        raise ValueError("a choice of more than two has no operator; use jnp.where.")
    make = lambda which, yes, no: emit.node("Where", which, yes, no)  # noqa: E731
    elementwise(emit, node, make, (which, cases[1], cases[0]))


def _clamp(emit: Emitter, node: Node) -> None:
    least, x, most = node.operands
    make = lambda x, least, most: emit.node("Min", emit.node("Max", x, least), most)  # noqa: E731
    elementwise(emit, node, make, (x, least, most))


def _remainder(emit: Emitter, node: Node) -> None:
    elementwise(emit, node, lambda a, b: emit.node("Mod", a, b, fmod=1))


def _finite(emit: Emitter, _: Any, x: str) -> str:
    return emit.node("Not", emit.node("Or", emit.node("IsNaN", x), emit.node("IsInf", x)))


def _one(emit: Emitter, dtype: Any) -> str:
    return emit.number(1, dtype)


_FORMULAS: dict[str, Callable[..., str]] = {
    "square": lambda emit, _, x: emit.node("Mul", x, x),
    "rsqrt": lambda emit, _, x: emit.node("Reciprocal", emit.node("Sqrt", x)),
    "log1p": lambda emit, dtype, x: emit.node("Log", emit.node("Add", x, _one(emit, dtype))),
    "expm1": lambda emit, dtype, x: emit.node("Sub", emit.node("Exp", x), _one(emit, dtype)),
    "erfc": lambda emit, dtype, x: emit.node("Sub", _one(emit, dtype), emit.node("Erf", x)),
    "exp2": lambda emit, dtype, x: emit.node("Pow", emit.number(2, dtype), x),
    "ne": lambda emit, _, a, b: emit.node("Not", emit.node("Equal", a, b)),
    "is_finite": _finite,
}
_PASSED = """
    copy copy_p stop_gradient optimization_barrier reduce_precision sharding_constraint pvary name device_put
"""
RULES: dict[str, Callable[[Emitter, Node], None]] = {
    **dict.fromkeys(_SAME, same),
    **{name: _formula(function) for name, function in _FORMULAS.items()},
    **dict.fromkeys(_PASSED.split(), passed),
    "add": _add,
    "integer_pow": _integer_pow,
    "round": _round,
    "convert_element_type": _convert,
    "select_n": _select,
    "clamp": _clamp,
    "rem": _remainder,
}


def least(dtype: Any) -> Any:
    """What is smaller than any element."""
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else np.iinfo(dtype).min
