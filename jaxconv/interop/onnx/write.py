"""Writing a function of JAX as a model: its primitives one by one as nodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...graph import Graph, Node, Value, trace
from ...graph.known import Known
from ...graph.trace import is_array
from . import write_elements, write_shapes, write_windows
from .emit import Emitter, Held
from .files import PARAMETERS, package

RULES = {**write_elements.RULES, **write_shapes.RULES, **write_windows.RULES}
OPSET, _FORMAT = 19, 9
"""What is written: the operators' version, and the file's."""


def save(fn: Callable[..., Any], path: str | os.PathLike[str], *args: Any) -> None:
    """Writes `fn(*args)` as a model of ONNX, for inputs of the arguments' shapes.

    Arguments that are one array are the model's inputs. Other arrays are its initialisers and keep their
    names: those in arguments that are pytrees (`save(model.apply, path, variables, x)`), in `fn` if it is a
    pytree itself (`save(model, path, x)` for NNX and Equinox), and what `fn` closes over. Convolutions are
    written with channels first; Transposes that cancel each other are not written.

    Args:
      fn: a function of arrays, or a module that can be called; its results are the outputs.
      path: of the file, at most 2 GB.
      *args: example arguments; an input may be a `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: if a primitive has no operator; the message lists all of those with their layers.
      ImportError: if the package `onnx` is not installed.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> from jaxconv.interop import onnx
      >>> def double(x, params):
      ...     return jax.nn.relu(x * params["scale"])
      >>> path = f"{tempfile.mkdtemp()}/double.onnx"
      >>> save(double, path, jnp.ones((2, 3)), {"scale": jnp.full((3,), 2.0)})
      >>> network = onnx.load(path)
      >>> network.params, network(network.params, jnp.array([[1.0, -2.0, 3.0]] * 2))[0].tolist()
      ({'scale': Array([[2., 2., 2.]], dtype=float32)}, [2.0, 0.0, 6.0])
    """
    onnx = package()
    graph = trace(fn, *args)
    _check(graph)
    emit = Emitter(graph)
    inputs = [_input(emit, value) for value in _arguments(emit, graph, fn, args)]
    known, folded = Known(), set[Value]()
    for node in graph.nodes:
        _write(emit, node, known, folded)
    outputs = [
        _output(emit, value, f"output_{i}" if i else "output") for i, value in enumerate(graph.outputs)
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            _needed(emit.nodes, [o.name for o in outputs]),
            getattr(fn, "__name__", type(fn).__name__),
            inputs,
            outputs,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=_FORMAT,
        producer_name="jaxconv",
    )
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        for name, array in emit.arrays.items()
        if name in used
    )
    parameters = [name for name in emit.parameters if name in used]
    onnx.helper.set_model_props(model, {PARAMETERS: "\n".join(parameters)})
    Path(path).write_bytes(model.SerializeToString())


def _check(graph: Graph) -> None:
    """All primitives must have an operator."""
    problems = [f"  {node}" for node in graph.nodes if node.name not in RULES and node.op != "constant"]
    if problems:
        raise ValueError(f"{len(problems)} operations have none in ONNX:\n" + "\n".join(problems))


def _arguments(emit: Emitter, graph: Graph, fn: Any, args: tuple[Any, ...]) -> list[Value]:
    """The values that are inputs; the others become initialisers."""
    arrays = [leaf for leaf in jax.tree.leaves((fn, args)) if is_array(leaf)]
    found = []
    for value, array in zip(graph.inputs, arrays, strict=False):
        if value.bare:
            found.append(value)
            continue
        if isinstance(array, jax.ShapeDtypeStruct):
            raise ValueError(f"the parameter {value.name!r} has no numbers; hand over arrays.")
        numbers = np.asarray(array)
        emit.held[value] = Held(
            tuple(range(numbers.ndim)), numbers.shape, numbers.dtype, numbers, value.name, learned=True
        )
    return found


def _input(emit: Emitter, value: Value) -> Any:
    name = emit.unique(value.name or "x")
    emit.make(value, range(len(value.shape)), name)
    return _info(name, value)


def _info(name: str, value: Value) -> Any:
    helper = package().helper
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype)), value.shape
    )


def _write(emit: Emitter, node: Node, known: Known, folded: set[Value]) -> None:
    emit.layer = node.layer
    [first, *others] = node.results
    fixed = all(v in folded or v.kind == "literal" or isinstance(v.data, np.ndarray) for v in node.operands)
    if fixed and not others and node.name != "broadcast_in_dim" and (array := known(first)) is not None:
        folded.add(first)
        emit.held[first] = Held(tuple(range(array.ndim)), array.shape, array.dtype, array)
        return
    if node.name not in RULES:
        raise ValueError(f"{node}: random numbers have no operator.")
    try:
        RULES[node.name](emit, node)
    except ValueError as error:
        raise ValueError(f"{node}: {error}") from None
    if fixed:
        folded.update(node.results)


def _output(emit: Emitter, value: Value, name: str) -> Any:
    """An output, under a name of its own."""
    made = emit.plain(value)
    own = emit.unique(name)
    emit.nodes.append(package().helper.make_node("Identity", [made], [own], name=own))
    return _info(own, value)


def _needed(nodes: list[Any], outputs: list[str]) -> list[Any]:
    """Those that lead to the outputs."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]
