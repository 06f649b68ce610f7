"""Reading a model: its graph is checked as a whole before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from .files import PARAMETERS, number_type, package, read_model, reader
from .network import Input, Network
from .nodes import Node
from .table import FIRST, LAST, OPS

_DOMAINS = ("", "ai.onnx")
_DTYPES = {"to", "dtype"}  # attributes that are types
_SHAPES = ("Shape", "Size")  # their results do not depend on their operands' numbers


def load(source: str | os.PathLike[str] | bytes, *, outputs: Sequence[str] | None = None) -> Network:
    """Reads a convolutional network from a file of ONNX.

    Nothing in the file is executed. Data outside of the file is read from the model's folder only.

    Args:
      source: the path of a model, or its bytes.
      outputs: names of the values to return, any in the graph; nodes that they do not need are left out.
        None, the default, returns what the file says.

    Returns:
      The network; `network.params` holds its weights.

    Raises:
      ValueError: if the file is damaged or contradicts itself, or a node is not supported; the message lists
        all of those with their names.
      ImportError: if the package `onnx` is not installed.

    References:
      https://onnx.ai/onnx/operators/

    Example:
      >>> import onnx
      >>> from onnx import TensorProto, helper
      >>> floats = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
      >>> weight = helper.make_tensor("weight", TensorProto.FLOAT, [1, 1, 2], [1.0, -0.5])
      >>> node = helper.make_node("Conv", ["x", "weight"], ["y"], strides=[2])
      >>> graph = helper.make_graph([node], "g", [floats("x", [1, 1, 4])], [floats("y", [1, 1, 2])], [weight])
      >>> network = load(helper.make_model(graph).SerializeToString())
      >>> network(network.params, jnp.array([[[4.0, 2.0, 8.0, 4.0]]])).ravel().tolist()
      [3.0, 6.0]
      >>> network.params["weight"].shape, network.inputs[0].name, network.outputs
      ((1, 1, 2), 'x', ('y',))
    """
    model, folder = read_model(source)
    graph, array = model.graph, reader(folder)
    opset = _opset(model)
    if model.functions:
        raise ValueError(
            "the model has functions of its own, which are not supported; write them out first with "
            "onnx.inliner.inline_local_functions."
        )
    if graph.sparse_initializer:
        raise ValueError("the model has sparse initialisers, which are not supported.")
    arrays = {tensor.name: array(tensor) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in arrays]
    named = [*(t.name for t in graph.initializer), *(v.name for v in inputs)]
    nodes = [_node(proto, opset, array) for proto in graph.node]
    _check_names(named + [name for node in nodes for name in node.outputs if name])
    wanted = [value.name for value in graph.output] if outputs is None else list(outputs)
    ordered = _ordered(nodes, wanted, set(named))
    _check_supported(ordered, {id(n): p for n, p in zip(nodes, graph.node, strict=True)})
    constants = {node.outputs[0]: _constant(node) for node in ordered if node.op == "Constant"}
    ordered = [node for node in ordered if node.op != "Constant"]
    static, everything = _static(ordered), arrays | constants
    learned = _listed(model) or {n for n, a in everything.items() if n in arrays or a.size > 1}
    learned = {
        n for n in learned - static if n in everything and jnp.issubdtype(everything[n].dtype, jnp.floating)
    }
    return _network(ordered, inputs, wanted, everything, learned, static)


def _listed(model: Any) -> set[str]:
    """The parameters' names in a model that `save` wrote."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    return set(properties.get(PARAMETERS, "").split("\n")) if PARAMETERS in properties else set()


def _network(
    nodes: list[Node],
    inputs: Iterable[Any],
    outputs: list[str],
    arrays: dict[str, np.ndarray],
    learned: set[str],
    static: set[str],
) -> Network:
    used = {name for node in nodes for name in node.inputs} | set(outputs)
    statistics = {n for node in nodes if node.op == "BatchNormalization" for n in node.inputs[3:5]}
    learned = learned & used
    return Network(
        params={name: jnp.asarray(a) for name, a in arrays.items() if name in learned},
        inputs=tuple(_input(value, value.name in static) for value in inputs),
        outputs=tuple(outputs),
        statistics=frozenset(statistics & learned),
        nodes=tuple(nodes),
        constants={name: a for name, a in arrays.items() if name in used - learned},
    )


def _opset(model: Any) -> int:
    found = [entry.version for entry in model.opset_import if entry.domain in _DOMAINS]
    if len(found) != 1 or not FIRST <= found[0] <= LAST:
        raise ValueError(
            f"the model is of opset {found or 'none'}; wanted one from {FIRST} to {LAST}. "
            "onnx.version_converter.convert_version can change it."
        )
    return found[0]


def _input(value: Any, static: bool) -> Input:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ValueError(f"input {value.name!r} is a {kind}; wanted a tensor.")
    tensor = value.type.tensor_type
    dtype = number_type(tensor.elem_type)
    if dtype is None:
        raise ValueError(f"input {value.name!r} is of type {tensor.elem_type}, which is not supported.")
    if not tensor.HasField("shape"):
        return Input(value.name, None, dtype, static)
    sizes = (d.dim_value if d.WhichOneof("value") == "dim_value" else -1 for d in tensor.shape.dim)
    return Input(value.name, tuple(n if n >= 0 else None for n in sizes), dtype, static)


def _node(proto: Any, opset: int, array: Callable[[Any], np.ndarray]) -> Node:
    name = proto.name or next((o for o in proto.output if o), "")
    attributes = {a.name: _attribute(a, array) for a in proto.attribute}
    for key in _DTYPES & attributes.keys():
        attributes[key] = number_type(attributes[key])
    return Node(proto.op_type, name, tuple(proto.input), tuple(proto.output), attributes, opset)


def _attribute(proto: Any, array: Callable[[Any], np.ndarray]) -> Any:
    kinds = package().AttributeProto
    readings: dict[int, Callable[[], Any]] = {
        kinds.INT: lambda: int(proto.i),
        kinds.FLOAT: lambda: float(proto.f),
        kinds.STRING: lambda: proto.s.decode(errors="replace"),
        kinds.INTS: lambda: tuple(proto.ints),
        kinds.FLOATS: lambda: tuple(proto.floats),
        kinds.STRINGS: lambda: tuple(s.decode(errors="replace") for s in proto.strings),
        kinds.TENSOR: lambda: array(proto.t),
    }
    return readings[proto.type]() if proto.type in readings else None


def _check_names(names: list[str]) -> None:
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})
    if twice:
        raise ValueError(f"two things have the same name in the graph: {', '.join(map(repr, twice))}.")


def _ordered(nodes: list[Node], outputs: list[str], given: set[str]) -> list[Node]:
    """The nodes that the outputs need, each after those that it needs."""
    makes = {name: node for node in nodes for name in node.outputs if name}
    for name in outputs:
        if name not in makes and name not in given:
            raise ValueError(f"the output {name!r} is made by no node.")
    found: list[Node] = []
    state: dict[int, bool] = {}  # whether a node is done; before that it is being looked at
    stack = [makes[name] for name in reversed(outputs) if name in makes]
    while stack:
        node = stack[-1]
        if id(node) in state:
            stack.pop()
            if not state[id(node)]:
                state[id(node)] = True
                found.append(node)
            continue
        state[id(node)] = False
        for name in reversed([n for n in node.inputs if n and n not in given]):
            if name not in makes:
                raise ValueError(f"{node} needs {name!r}, which is no input, initialiser or result.")
            before = makes[name]
            if not state.get(id(before), True):
                raise ValueError(f"the graph has a cycle through {before} and {node}.")
            if id(before) not in state:
                stack.append(before)
    return found


def _check_supported(nodes: list[Node], protos: dict[int, Any]) -> None:
    problems = [f"  {node}: {why}" for node in nodes if (why := _problem(node, protos[id(node)]))]
    if problems:
        raise ValueError(f"{len(problems)} of the nodes can't be read:\n" + "\n".join(problems))


def _problem(node: Node, proto: Any) -> str | None:
    """Why a node can't be computed, or None."""
    defs = package().defs
    if proto.domain not in _DOMAINS:
        return f"operators of {proto.domain!r} are not supported"
    if node.op not in OPS and node.op != "Constant":
        return "its operator is not supported"
    try:
        schema = defs.get_schema(node.op, node.opset)
    except defs.SchemaError:
        return f"opset {node.opset} has no such operator"
    least, most = schema.min_input, schema.max_input
    if not least <= len(node.inputs) <= most or not all(node.inputs[:least]):
        return f"it has {len([n for n in node.inputs if n])} operands; wanted {least} to {most}"
    for attribute in proto.attribute:
        wanted = schema.attributes.get(attribute.name)
        if wanted is None:
            return f"it has no attribute {attribute.name!r} in opset {node.opset}"
        if attribute.type != wanted.type.value or attribute.ref_attr_name:
            return f"its attribute {attribute.name!r} is not of the type {wanted.type.name}"
    lacking = [a.name for a in schema.attributes.values() if a.required and a.name not in node.attributes]
    if lacking:
        return f"it lacks {', '.join(lacking)}"
    return _refused(node)


def _refused(node: Node) -> str | None:
    if node.op == "Constant":
        names = " or ".join(_CONSTANTS)
        return (
            None
            if len(node.attributes) == 1 and set(node.attributes) <= set(_CONSTANTS)
            else f"wanted {names}"
        )
    op = OPS[node.op]
    if unknown := sorted(node.attributes.keys() - set(op.attributes.split())):
        return f"the attribute {', '.join(unknown)} is not supported"
    if op.results is not None and any(node.outputs[op.results :]):
        return f"it has more than {op.results} results"
    return op.refuses(node) if op.refuses else None


_CONSTANTS = {
    "value": None,
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_float": np.float32,
    "value_floats": np.float32,
}


def _constant(node: Node) -> np.ndarray:
    [(name, value)] = node.attributes.items()
    return np.asarray(value, _CONSTANTS[name])


def _static(nodes: list[Node]) -> set[str]:
    """The names of values on whose numbers shapes depend."""
    found: set[str] = set()
    for node in reversed(nodes):
        if node.op not in _SHAPES and found.intersection(node.outputs):
            found.update(node.inputs)
        found.update(node.inputs[i] for i in OPS[node.op].static if i < len(node.inputs))
    return found - {""}
