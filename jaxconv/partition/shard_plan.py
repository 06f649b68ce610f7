"""A function's graph on pieces: a rule for each node, then the functions with derivatives of their own."""

# Parameters of equations are not typed.
# pyright: standard

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from ..graph.nodes import Graph, Node, Value
from ..graph.trace import traced
from . import shard_resizes, shard_rules, shard_windows
from .regions import live
from .shard_rules import Planned, Rule, undivided, vary, varying
from .shard_values import ONCE, Array, Context, Dims, Refused, full, relay, splits, whole

_KEPT = frozenset({"custom_jvp_call"})
_ROUNDS = 4  # until a loop's carry lies as it did the round before


def opened(fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Graph:
    """The graph of `fn(*args, **kwargs)`, functions with a derivative of their own kept.

    It is of whole arrays: what mesh is around says nothing of them.
    """
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
        return traced(fn, args, kwargs, kept=_KEPT, simple=True)


@dataclasses.dataclass
class Plan:
    """A graph whose nodes have been planned.

    Attributes:
      graph: of the function.
      steps: the nodes that results depend on, and how each is computed.
      dims: how results lie.
    """

    graph: Graph
    steps: list[tuple[Node, Planned]]
    dims: list[Dims]

    def run(self, operands: Sequence[Array]) -> list[Array]:
        """The results' blocks, of blocks of the graph's inputs."""
        found: dict[Value, Any] = dict(zip(self.graph.inputs, operands, strict=True))

        def read(value: Value) -> Any:
            return found.get(value, value.data)

        for node, planned in self.steps:
            given = [read(v) if _used(node, i) else None for i, v in enumerate(node.operands)]
            found |= zip(node.results, planned.run(*given), strict=True)
        return [read(v) for v in self.graph.outputs]


def _used(node: Node, operand: int) -> bool:
    """Parts without elements of what is put together, and known indices, need not be computed."""
    if node.op == "concatenate":
        return node.operands[operand].shape[node.params["dimension"]] > 0
    return not (node.op == "gather" and node.windows and operand > 0)


def planned(context: Context, graph: Graph, inputs: Sequence[Dims]) -> Plan:
    """Plans a graph.

    Args:
      context: what rules share.
      graph: of the function.
      inputs: how each of its inputs lies.

    Returns:
      The plan.

    Raises:
      ValueError: if an operation can't run on pieces; its layer is named.
    """
    lies: dict[Value, Dims] = dict(zip(graph.inputs, inputs, strict=True))
    steps: list[tuple[Node, Planned]] = []
    for node in live(graph, _used):
        dims = [lies.get(v, whole(v)) for v in node.operands]
        context.node = node
        try:
            step = _rule(node, dims)(context, node, dims)
        except Refused as why:
            where = f"layer {node.layer!r}" if node.layer else node.source or "a function"
            raise ValueError(f"{where}: {node.name} can't be divided among devices: {why}.") from None
        steps.append((node, step))
        lies |= zip(node.results, step.dims, strict=True)
    return Plan(graph, steps, [lies.get(v, whole(v)) for v in graph.outputs])


def _rule(node: Node, dims: Sequence[Dims]) -> Rule:
    if node.name == "custom_jvp_call" and node.bodies:
        return custom
    if not any(splits(d) for d in dims) and (
        node.op not in _RULES or ONCE not in {s for d in dims for s in d}
    ):
        return undivided if node.op not in ("broadcast", "gather") else _RULES[node.op]
    return _RULES.get(node.op, undivided)


def custom(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """A function with a rule for its derivative: both run on pieces, the rule if it is asked for."""
    body = planned(context, node.bodies[0], dims)
    derivative = functools.cache(lambda: _Derivative(context, node, dims, body.dims))

    @jax.custom_jvp
    def local(*xs: Array) -> tuple[Array, ...]:
        return tuple(body.run(xs))

    @functools.partial(local.defjvp, symbolic_zeros=True)  # the only ones that integers may have here
    def _(primals: Sequence[Array], tangents: Sequence[Array]) -> Any:
        return derivative().run(primals, tangents)

    return Planned(body.dims, local)


class _Derivative:
    """Results and tangents of a function with a rule of its own, as a graph of operands and tangents."""

    def __init__(self, context: Context, node: Node, dims: Sequence[Dims], results: Sequence[Dims]) -> None:
        self.able = [jnp.issubdtype(v.dtype, jnp.inexact) for v in node.operands]
        self.moving = [jnp.issubdtype(v.dtype, jnp.inexact) for v in node.results]
        graph = self._traced(node)
        mine = [d for d, ok in zip(dims, self.able, strict=True) if ok]
        constants = graph.inputs[len(dims) + len(mine) :]
        self.data = [v.data for v in constants]
        quiet = Context(context.steps, context.sizes)  # what it sends is the derivative's
        self.plan = planned(quiet, graph, [*dims, *mine, *map(whole, constants)])
        want = [*results, *(d for d, ok in zip(results, self.moving, strict=True) if ok)]
        self.laid = [
            relay(quiet, v, have, to) for v, have, to in zip(graph.outputs, self.plan.dims, want, strict=True)
        ]

    def _traced(self, node: Node) -> Graph:
        fn = _alone(node.equation)

        def derivative(primals: Sequence[Array], tangents: Sequence[Array]) -> Any:
            zeros = (np.zeros(x.shape, jax.dtypes.float0) for x in primals)
            ys, moved = jax.jvp(fn, tuple(primals), _merged(self.able, tangents, zeros))
            return [*ys, *(t for t, ok in zip(moved, self.moving, strict=True) if ok)]

        abstract = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in node.operands]
        tangents = [a for a, ok in zip(abstract, self.able, strict=True) if ok]
        return opened(derivative, (abstract, tangents), {})

    def run(self, primals: Sequence[Array], tangents: Sequence[Array]) -> tuple[tuple[Array, ...], Any]:
        """What a rule of `custom_jvp` returns."""
        pairs = zip(primals, tangents, self.able, strict=True)
        given = [_instantiated(x, t) for x, t, ok in pairs if ok]
        found = self.plan.run([*primals, *given, *self.data])
        found = [lay(y) for lay, y in zip(self.laid, found, strict=True)]
        ys, moved = found[: len(self.moving)], found[len(self.moving) :]
        zeros = (SymbolicZero(jax.typeof(y).to_tangent_aval()) for y in ys)
        return tuple(ys), _merged(self.moving, moved, zeros)


def _instantiated(x: Any, tangent: Any) -> Any:
    zero = isinstance(tangent, SymbolicZero)
    return vary(jnp.zeros_like(x), varying(x)) if zero else tangent


def _merged(able: Sequence[bool], tangents: Sequence[Array], zeros: Iterable[Any]) -> tuple[Any, ...]:
    """The tangents of what has some, and in place of integers' these zeros."""
    given = iter(tangents)
    return tuple(next(given) if ok else zero for ok, zero in zip(able, zeros, strict=True))


def _alone(equation: Any) -> Callable[..., Any]:
    """An equation as a function of its operands."""

    def fn(*operands: Array) -> Any:
        found = equation.primitive.get_bind_params(equation.params)
        functions, params = found if isinstance(found, tuple) else ((), found)  # as older JAX has it
        return equation.primitive.bind(*functions, *operands, **params)

    return fn


def loop(context: Context, node: Node, dims: list[Dims]) -> Planned:
    """A scan whose body runs on pieces; its carry lies alike in each round."""
    if node.name != "scan" or node.parts is None:
        raise Refused("it is a loop of unknown length; lax.scan and fori_loop of known length are possible")
    first, [body] = node.parts.constant, node.bodies
    count, stop = node.parts.carried, first + node.parts.carried
    dims = [full(d) for d in dims]
    if any(d[0] is not None for d in dims[stop:]):
        raise Refused("it goes through a divided dimension step by step")
    slices = [d[1:] for d in dims[stop:]]
    carried = _carried(context, body, dims[:first], dims[first:stop], slices)
    inner = planned(context, body, [*dims[:first], *carried, *slices])
    ys = [full(d) for d in inner.dims[count:]]
    want = [*dims[:first], *carried, *dims[stop:]]
    begin = [relay(context, v, have, to) for v, have, to in zip(node.operands, dims, want, strict=True)]
    settle = [
        relay(context, v, have, to)
        for v, have, to in zip(body.outputs, inner.dims, [*carried, *ys], strict=True)
    ]

    def run(*operands: Array) -> list[Array]:
        given = [lay(x) for lay, x in zip(begin, operands, strict=True)]

        def step(carry: list[Array], x: list[Array]) -> tuple[list[Array], list[Array]]:
            found = [lay(y) for lay, y in zip(settle, inner.run([*given[:first], *carry, *x]), strict=True)]
            return [vary(y, varying(c)) for y, c in zip(found[:count], carry, strict=True)], found[count:]

        start = _steady(step, given[first:stop], given[stop:])
        carry, stacked = lax.scan(step, start, given[stop:], node.length, reverse=node.params["reverse"])
        return [*carry, *stacked]

    return Planned([*carried, *((None, *d) for d in ys)], run)


def _carried(
    context: Context, body: Graph, fixed: list[Dims], carried: list[Dims], slices: list[Dims]
) -> list[Dims]:
    """How what rounds hand over lies, once it lies alike before and after a round."""
    for _ in range(_ROUNDS):
        inner = planned(Context(context.steps), body, [*fixed, *carried, *slices])
        after = [full(d) for d in inner.dims[: len(carried)]]
        wider = [b if splits(b) and not splits(a) else a for a, b in zip(carried, after, strict=True)]
        if wider == carried:
            break
        carried = wider
    return carried


def _steady(step: Callable[..., Any], carry: list[Array], xs: list[Array]) -> list[Array]:
    """The first carry, varying over whatever the carry does after rounds."""
    for _ in range(_ROUNDS):
        after = jax.eval_shape(lambda c, o: step(c, o)[0], carry, [x[0] for x in xs])
        carry = [vary(x, varying(y)) for x, y in zip(carry, after, strict=True)]
    return carry


_RULES: dict[str, Rule] = {
    **shard_rules.RULES,
    **shard_windows.RULES,
    **shard_resizes.RULES,
    "loop": loop,
}
