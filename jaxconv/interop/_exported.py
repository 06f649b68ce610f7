"""A network that torch.export has written down, run operator by operator by JAX."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._aten import OPERATORS, TRAINING
from ._files import to_numpy

_PYTHON = {operator.getitem, operator.add, operator.sub, operator.mul, operator.floordiv, operator.neg}


def from_program(program: Any) -> tuple[Callable[..., Any], dict[str, jax.Array]]:
    """What `jaxconv.interop.torch.from_exported` documents."""
    trained = _in_training(program.graph.nodes)
    if any(_writes(node) for node in program.graph.nodes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch's, of its own use of pytrees
            program = program.run_decompositions({})  # PyTorch knows what is a view of what was written
    nodes = list(program.graph.nodes)
    _refuse(trained | _unknown(nodes))
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names |= getattr(signature, "inputs_to_lifted_tensor_constants", {})
    held = {**program.constants, **program.state_dict}
    used = {node.name for node in nodes if node.op == "placeholder" and node.users}
    params = {name: jnp.asarray(_narrow(to_numpy(held[name]))) for key, name in names.items() if key in used}
    inputs = [node.name for node in nodes if node.op == "placeholder" and node.name not in names]
    tree = _outputs(program)

    def function(params: Mapping[str, Any], *args: Any) -> Any:
        if len(args) != len(inputs):
            raise ValueError(f"got {len(args)} inputs, wanted {len(inputs)}: {', '.join(inputs)}.")
        values: dict[str, Any] = dict(zip(inputs, map(jnp.asarray, args), strict=True))
        values |= {key: params[name] for key, name in names.items() if name in params}
        for node in nodes:
            if node.op == "call_function":
                values[node.name] = _call(node, values)
        return tree(tuple(_value(node, values) for node in nodes[-1].args[0]))

    return function, params


def _writes(node: Any) -> bool:
    """Whether an operator changes its argument, as relu_ does."""
    return node.op == "call_function" and getattr(getattr(node.target, "_schema", None), "is_mutable", False)


def _outputs(program: Any) -> Callable[[tuple[Any, ...]], Any]:
    """Results as the network returns them, without buffers that it writes, which evaluation has none of."""
    spec = program.call_spec.out_spec
    return lambda results: spec.unflatten(list(results[-spec.num_leaves :]))


def _narrow(array: np.ndarray) -> np.ndarray:
    """The array in the type that JAX has for it: 64 bits need jax_enable_x64."""
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))


def _names(node: Any) -> tuple[str, str]:
    """An operator's name with its overload, and without."""
    name = node.target._schema.name.partition("::")[2]
    return f"{name}.{node.target._overloadname}", name


def _in_training(nodes: Iterable[Any]) -> dict[str, str]:
    """The operators that would change with each call, with the first node of each."""
    found: dict[str, str] = {}
    for node in nodes:
        place = TRAINING.get(_names(node)[1]) if hasattr(node.target, "_schema") else None
        if place is not None and _arguments(node, {}, bind=False)[place] is True:
            found.setdefault(f"{node.target} in training mode (call model.eval() first)", node.name)
    return found


def _unknown(nodes: Iterable[Any]) -> dict[str, str]:
    """The operators that have no counterpart, with the first node of each."""
    found: dict[str, str] = {}
    for node in nodes:
        if node.op == "get_attr" or (node.op == "call_function" and not _known(node)):
            found.setdefault(str(node.target), node.name)
    return found


def _refuse(operators: Mapping[str, str]) -> None:
    if operators:
        told = "; ".join(f"{target}, first as {name}" for target, name in operators.items())
        raise ValueError(f"{len(operators)} operators of the program have no counterpart here: {told}.")


def _known(node: Any) -> bool:
    if not hasattr(node.target, "_schema"):
        return node.target in _PYTHON
    return node.target.namespace == "aten" and any(name in OPERATORS for name in _names(node))


def _call(node: Any, values: Mapping[str, Any]) -> Any:
    if node.target in _PYTHON:
        return node.target(*(_value(arg, values) for arg in node.args))
    long, short = _names(node)
    return OPERATORS.get(long, OPERATORS.get(short))(*_arguments(node, values))  # pyright: ignore[reportOptionalCall]


def _arguments(node: Any, values: Mapping[str, Any], *, bind: bool = True) -> list[Any]:
    """All arguments of the operator's schema in its order; what is about storage is left out."""
    given = list(node.args)
    arguments = []
    for i, argument in enumerate(node.target._schema.arguments):
        value = given[i] if i < len(given) else node.kwargs.get(argument.name, argument.default_value)
        if argument.name not in ("memory_format", "device", "layout", "pin_memory", "non_blocking"):
            arguments.append(_value(value, values) if bind else value)
    return arguments


def _value(value: Any, values: Mapping[str, Any]) -> Any:
    """An argument with values for nodes and JAX's dtypes for PyTorch's."""
    if isinstance(value, list | tuple):
        return tuple(_value(item, values) for item in value)
    if type(value).__name__ == "dtype" and str(value).startswith("torch."):
        name = str(value).removeprefix("torch.")
        return jax.dtypes.canonicalize_dtype({"float": "float32", "long": "int64"}.get(name, name))
    return values[value.name] if hasattr(value, "op") and hasattr(value, "users") else value
