"""A function's jaxpr as a graph: what calls other functions is opened, only loops and conditionals stay."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from .composed import composed
from .kinds import op_of
from .names import Place, closed_over, path_name
from .nodes import Call, Graph, Node, Parts, Value
from .origins import complete
from .windows import windows_of


def trace(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Graph:
    """The graph of `fn(*args, **kwargs)`; nothing runs.

    A node's layer is the path of its parameters in the pytree that holds them (an argument, `fn` itself if it
    is a pytree as the modules of NNX and Equinox are, or what `fn` closes over), without the last part; for
    nodes without parameters the named scopes around them. Linen, Haiku and Equinox set such scopes, NNX does
    not. Where there is neither, it is empty, and `source` has the line.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments, with arrays or `jax.ShapeDtypeStruct`s as leaves; other leaves are handed over as
        they are.
      **kwargs: likewise.

    Returns:
      The graph.

    Raises:
      ValueError: if `fn` is not callable.

    Example:
      >>> def f(x, params):
      ...     return jax.nn.relu(jax.lax.conv(x, params["conv"]["kernel"], (2, 1), "VALID"))
      >>> graph = trace(f, jnp.ones((1, 3, 8, 5)), {"conv": {"kernel": jnp.ones((4, 3, 3, 1))}})
      >>> print(graph)
      conv conv_general_dilated [1, 3, 8, 5], [4, 3, 3, 1] -> [1, 4, 3, 5]  conv
      elementwise max [1, 4, 3, 5], [] -> [1, 4, 3, 5]  ...
      >>> graph.nodes[0].conv.slot, graph.nodes[0].windows[0].taps
      ('forward', Taps(period=1, advance=2, taps=((0, 1, 2),)))
    """
    return traced(fn, args, kwargs)


def traced(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    kept: frozenset[str] = frozenset(),
    simple: bool = False,
) -> Graph:
    """The graph of `fn(*args, **kwargs)` as `trace` makes it.

    Args:
      fn: as in `trace`.
      args: by position.
      kwargs: by name.
      kept: names of primitives that call a function and are not opened: their nodes are opaque and have it
        as their body.
      simple: whether what is short for simpler primitives (see `composed`) is opened as well.

    Returns:
      The graph.

    Raises:
      ValueError: if `fn` is not callable.
    """
    if not callable(fn):
        raise ValueError(
            f"fn={fn!r} of type {type(fn).__name__} must be a function followed by its arguments."
        )
    leaves, tree = jax.tree_util.tree_flatten_with_path((fn, args, kwargs))
    arrays = [i for i, (_, leaf) in enumerate(leaves) if is_array(leaf)]

    def flat(*given: Any) -> Any:
        everything = [leaf for _, leaf in leaves]
        for i, array in zip(arrays, given, strict=True):
            everything[i] = array
        f, positional, named = jax.tree_util.tree_unflatten(tree, everything)
        return f(*positional, **named)

    abstract = [jax.ShapeDtypeStruct(leaves[i][1].shape, leaves[i][1].dtype) for i in arrays]
    closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*abstract)
    names = _parameter_names(fn)
    inputs = [_argument(leaves[i][0], leaves[i][1], names) for i in arrays]
    builder = _Builder(closed_over(fn), kept=kept, simple=simple)
    outputs = builder.run(closed.jaxpr, closed.consts, inputs, Place())
    graph = Graph(
        (*inputs, *builder.constants.values()),
        tuple(builder.nodes),
        tuple(outputs),
        jax.tree_util.tree_structure(shapes),
        tuple(builder.calls),
    )
    complete(graph)
    return graph


def is_array(leaf: Any) -> bool:
    """Whether a leaf is traced; all others are handed over as they are."""
    return isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)


def _parameter_names(fn: Any) -> list[str]:
    try:
        return list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return []


def _argument(path: tuple[Any, ...], leaf: Any, names: list[str]) -> Value:
    """The path starts with 0 for the function itself, 1 for arguments by position, 2 for those by name."""
    of, rest = path[0].idx, path[1:]
    if of != 1:
        name = path_name(rest)
        return Value(leaf.shape, leaf.dtype, "argument", name, argument=-1 if of == 0 else None)
    position, inner = rest[0].idx, rest[1:]
    own = names[position] if position < len(names) else ""
    name = path_name(inner) if inner else own
    return Value(leaf.shape, leaf.dtype, "argument", name, argument=position, bare=not inner)


class _Builder:
    """Collects the nodes of one graph; bodies share its constants."""

    def __init__(
        self,
        names: dict[int, str],
        constants: dict[int, Value] | None = None,
        kept: frozenset[str] = frozenset(),
        simple: bool = False,
    ) -> None:
        self.names, self.kept, self.simple = names, kept, simple
        self.nodes: list[Node] = []
        self.calls: list[Call] = []
        self.constants: dict[int, Value] = {} if constants is None else constants

    def run(self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[Value], place: Place) -> list[Value]:
        """Adds the nodes of a jaxpr that stands at a place; returns its results."""
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, map(self._constant, consts), strict=True))
        known |= zip(jaxpr.invars, operands, strict=True)

        def read(atom: Any) -> Value:
            return _literal(atom) if isinstance(atom, core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            results = self._add(equation, [read(atom) for atom in equation.invars], place)
            known |= zip(equation.outvars, results, strict=True)
        return [read(atom) for atom in jaxpr.outvars]

    def _constant(self, data: Any) -> Value:
        if id(data) not in self.constants:
            value = Value(
                np.shape(data), jnp.result_type(data), "constant", self.names.get(id(data), ""), data
            )
            self.constants[id(data)] = value
        return self.constants[id(data)]

    def _add(self, equation: Any, operands: list[Value], outer: Place) -> Sequence[Value]:
        if self.simple and (simpler := composed(equation)) is not None:
            return self.run(simpler.jaxpr, simpler.consts, operands, outer)
        place, op = outer.of(equation.source_info), op_of(equation.primitive.name)
        called = _called(equation)
        kept = equation.primitive.name in self.kept
        if op == "opaque" and called is not None and not kept:
            start = len(self.nodes)
            results = self.run(called.jaxpr, called.consts, operands, place)
            if equation.primitive.name in ("custom_jvp_call", "custom_vjp_call"):
                results = self._copied(results, equation, operands, outer)
                call = Call(equation, tuple(operands), tuple(results), start, len(self.nodes))
                self.calls.append(call)
            return results
        node = Node(
            op,
            equation,
            tuple(operands),
            tuple(
                Value(getattr(v.aval, "shape", ()), getattr(v.aval, "dtype", None), "result")
                for v in equation.outvars
            ),
            layer=place.scope,
            source=place.source,
            windows=windows_of(equation),
        )
        for result in node.results:
            result.node = node
        if op in ("loop", "branch"):
            node.length = equation.params.get("length") if op == "loop" else 1
            node.parts = _parts(equation) if op == "loop" else None
            node.bodies = tuple(
                self._body(closed, outers, place) for closed, outers in _bodies(equation, operands)
            )
        elif kept and called is not None:
            node.bodies = (self._body(called, operands, place),)
        self.nodes.append(node)
        return node.results

    def _copied(
        self, results: Sequence[Value], equation: Any, operands: Sequence[Value], outer: Place
    ) -> list[Value]:
        """Results that are values of their own: what hands on its operand may not hand back its cotangent."""
        found: list[Value] = []
        for value in results:
            if value.kind != "result" or value in operands or value in found:
                [copy] = jax.make_jaxpr(jnp.copy)(jax.ShapeDtypeStruct(value.shape, value.dtype)).eqns
                [value] = self._add(copy.replace(source_info=equation.source_info), [value], outer)
            found.append(value)
        return found

    def _body(self, closed: Any, outers: Sequence[Value], place: Place) -> Graph:
        inner = _Builder(self.names, self.constants, self.kept, self.simple)
        inputs = [
            Value(v.aval.shape, v.aval.dtype, "argument", outer.name, outer=outer)
            for v, outer in zip(closed.jaxpr.invars, outers, strict=True)
        ]
        outputs = inner.run(closed.jaxpr, closed.consts, inputs, place)
        return Graph(tuple(inputs), tuple(inner.nodes), tuple(outputs), calls=tuple(inner.calls))


def _literal(atom: Any) -> Value:
    return Value(atom.aval.shape, atom.aval.dtype, "literal", data=atom.val)


def _called(equation: Any) -> Any:
    """The jaxpr that an equation stands for: its only one, if it takes the same operands."""
    found = [p for p in equation.params.values() if isinstance(p, core.ClosedJaxpr | core.Jaxpr)]
    if len(found) != 1:
        return None
    closed = found[0] if isinstance(found[0], core.ClosedJaxpr) else core.ClosedJaxpr(found[0], ())
    same = len(closed.jaxpr.invars) == len(equation.invars) and len(closed.jaxpr.outvars) == len(
        equation.outvars
    )
    # A kernel's or a shard's jaxpr is of other shapes.
    fits = same and all(
        inner.aval.shape == outer.aval.shape
        for inner, outer in zip(closed.jaxpr.invars, equation.invars, strict=True)
    )
    return closed if fits else None


def _parts(equation: Any) -> Parts:
    params = equation.params
    if equation.primitive.name == "while":
        condition, constant = params["cond_nconsts"], params["body_nconsts"]
        return Parts(condition, constant, len(equation.outvars))
    if "num_consts" in params:
        return Parts(0, params["num_consts"], params["num_carry"])
    constant, carried, _ = params["ft_in"].unpack()  # as newer JAX has it
    return Parts(0, len(constant), len(carried))


def _bodies(equation: Any, operands: list[Value]) -> list[tuple[Any, list[Value]]]:
    """Each body, and the operands that its arguments are at first."""
    params = equation.params
    if equation.primitive.name == "scan":
        return [(params["jaxpr"], operands)]
    if equation.primitive.name == "while":
        return [(params["body_jaxpr"], operands[params["cond_nconsts"] :])]
    return [(branch, operands[1:]) for branch in params["branches"]]
