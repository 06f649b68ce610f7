"""A layer's output in a graph: found by the layer's name, read, and its axes told apart."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...graph import Fields, Graph, Node, ReceptiveField, Value
from ...graph.origins import origins, parameters
from .net import Net
from .relu import rectifiers

_RECTIFIED = "+relu"
# Operations of which a layer has one, unless it has layers inside.
_HEADS = ("conv", "dot", "resize", "opaque")


def layer_names(fn: Callable[..., Any], *args: Any, wrt: int | None = None) -> list[str]:
    """The layers that can be looked at, in the order in which they are first computed.

    They are those of `jaxconv.summary`, and more: a layer is named by its parameters, by its scope, or by the
    line of its source; "name#0" and "name#1" are the calls of one that is called twice. Beside these,
    "block" is what all layers "block/..." give together, and "name+relu" what the rectifier behind a layer
    gives.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments; `jax.ShapeDtypeStruct`s will do.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.

    Returns:
      The names.

    Raises:
      ValueError: if `fn` is not callable, or the input is not one array.

    Example:
      >>> def fn(params, x):
      ...     for _ in range(2):
      ...         x = jax.nn.relu(x @ params["dense"]["kernel"] + params["dense"]["bias"])
      ...     return x
      >>> params = {"dense": {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}}
      >>> layer_names(fn, params, jnp.ones((1, 3)))[:2]
      ['dense#0', 'dense#1']
    """
    graph = Net(fn, args).graph
    return list(_outputs(graph, graph.data(wrt)))


def at_layer(fn: Callable[..., Any], layer: str, *, wrt: int | None = None) -> Callable[..., Any]:
    """The function that ends at a layer: its result is what the layer gives.

    Args:
      fn: any function of arrays, or a callable pytree.
      layer: one of `layer_names`.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.

    Returns:
      A function with the arguments of `fn`.

    Raises:
      ValueError: when called, if there is no such layer, or it is called several times and the name does not
        say which call is meant.

    Example:
      >>> net = {"dense": {"kernel": 3 * jnp.eye(2)}}
      >>> fn = lambda x: jax.nn.relu(x @ net["dense"]["kernel"]) @ net["dense"]["kernel"]
      >>> at_layer(fn, "net/dense")(jnp.array([[1.0, -2.0]])).tolist()
      Traceback (most recent call last):
      ValueError: layer='net/dense' is called 2 times; name one of them: 'net/dense#0' to 'net/dense#1'.
      >>> at_layer(fn, "net/dense#0")(jnp.array([[1.0, -2.0]])).tolist()
      [[3.0, -6.0]]
    """

    def ends_there(*args: Any, **kwargs: Any) -> Any:
        net = Net(fn, args, kwargs)
        return net.compute([find_layer(net.graph, net.graph.data(wrt), layer)])[0]

    return ends_there


def find_layer(graph: Graph, x: Value, layer: str) -> Value:
    """What a layer gives.

    Raises:
      ValueError: if the name is none, or that of several calls.
    """
    if layer.endswith(_RECTIFIED):
        return _rectified(graph, find_layer(graph, x, layer.removesuffix(_RECTIFIED)), layer)
    found = _outputs(graph, x)
    if layer in found:
        return found[layer]
    name = layer.rpartition("#")[0] or layer
    calls = [other for other in found if other.rpartition("#")[0] == layer]
    if calls:
        raise ValueError(
            f"layer={layer!r} is called {len(calls)} times; name one of them: {calls[0]!r} to {calls[-1]!r}."
        )
    within = _calls(_Marks(graph, x), lambda node: f"{_name(node)}/".startswith(f"{name}/"), ())
    numbers = {f"{name}#{i}" if len(within) > 1 else name: value for i, value in enumerate(within)}
    if layer in numbers:
        return numbers[layer]
    if any(_name(node) == layer for node, _ in graph.walk()):
        raise ValueError(
            f"layer={layer!r} is inside a loop or a conditional, where it has no single result; write the "
            "loop out to look at it."
        )
    near = difflib.get_close_matches(layer, found, n=1, cutoff=0)
    raise ValueError(
        f"layer={layer!r} is no layer that the input passes; the nearest is {near[0]!r}, and layer_names "
        "lists them."
        if near
        else f"layer={layer!r} is not there; the input passes no layer at all."
    )


def _rectified(graph: Graph, value: Value, layer: str) -> Value:
    behind = [node.results[0] for node, data in rectifiers(graph).items() if data is value]
    if not behind:
        raise ValueError(f"layer={layer!r}: no rectifier max(x, 0) follows; leave out {_RECTIFIED!r}.")
    return behind[0]


def _name(node: Node) -> str:
    return node.layer or node.source


class _Marks:
    """What each value of a graph depends on: the input, and which parameters without more between."""

    def __init__(self, graph: Graph, x: Value) -> None:
        self.graph, self._seen, self._near = graph, origins(graph), parameters(graph)
        self._mask = self._seen.of([x])

    def see_input(self, values: Iterable[Value]) -> bool:
        return bool(self._seen.of(values) & self._mask)

    def parameters(self, node: Node) -> int:
        """As bits."""
        return self._near.of(v for v in node.operands if not self.see_input([v]))


def _outputs(graph: Graph, x: Value) -> dict[str, Value]:
    """By name, with the number of the call where there are several."""
    marks = _Marks(graph, x)
    names = dict.fromkeys(_name(node) for node in graph.nodes if marks.see_input(node.operands))
    found: dict[str, Value] = {}
    for name in filter(None, names):
        calls = _calls(marks, lambda node, name=name: _name(node) == name)
        found |= {f"{name}#{i}" if len(calls) > 1 else name: value for i, value in enumerate(calls)}
    return found


def _calls(marks: _Marks, belongs: Callable[[Node], bool], heads: Sequence[str] = _HEADS) -> list[Value]:
    """What each call gives.

    The next call begins where a parameter is used again, at the next of the `heads`, or, without any
    parameters, where other nodes came between.
    """
    ends: list[Value] = []
    used, last, headed = 0, -1, False
    for i, node in enumerate(marks.graph.nodes):
        if not belongs(node) or not node.results or not marks.see_input(node.operands):
            continue
        now, head = marks.parameters(node), node.op in heads
        apart = used & now if used or now else i > last + 1
        if not ends or apart or (head and headed):
            ends.append(node.results[0])
            used, headed = now, head
        else:
            ends[-1] = node.results[0]
            used, headed = used | now, headed or head
        last = i
    return ends


@dataclasses.dataclass(frozen=True)
class Axes:
    """Which axes of a layer's output are which.

    Attributes:
      batch: its axis, or None.
      spatial: those along which receptive fields move, in the order of the input's.
      channel: the one that is left.
      fields: the receptive field along each spatial axis.
    """

    batch: int | None
    spatial: tuple[int, ...]
    channel: int
    fields: ReceptiveField

    def to_last(self, a: jax.Array) -> jax.Array:
        """`(n, *spatial, channels)`, without n if there is no batch."""
        front = () if self.batch is None else (self.batch,)
        return jnp.transpose(a, (*front, *self.spatial, self.channel))


def axes_of(graph: Graph, x: Value, value: Value) -> Axes:
    """The axes of a value.

    Raises:
      ValueError: if they cannot be told apart.
    """
    fields = Fields(graph, x).of(value)
    found = tuple(field.output_dim for field in fields or () if field.output_dim is not None)
    left = [d for d in range(len(value.shape)) if d not in found]
    batched = len(left) == 2 and bool(x.shape) and value.shape[left[0]] == x.shape[0]
    if fields is None or len({*found}) != len(found) or len(left) != 1 + batched:
        raise ValueError(
            f"the layer gives an array of shape {value.shape}, in which the axes {found} are spatial and "
            f"{tuple(left)} are left; wanted are at most a batch and the channels."
        )
    return Axes(left[0] if batched else None, found, left[-1], fields)


def activations(fn: Callable[..., Any], *args: Any, layer: str, wrt: int | None = None) -> jax.Array:
    """The feature maps of a layer.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments.
      layer: one of `layer_names`.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.

    Returns:
      `(n, *spatial, channels)`, whatever the layout of the network; without n if its input has none.

    Raises:
      ValueError: if there is no such layer, or its axes cannot be told apart.

    Example:
      >>> import jaxconv
      >>> kernel = {"conv": {"kernel": jnp.array([1.0, -1.0]).reshape(2, 1, 1)}}
      >>> fn = lambda x: jax.nn.relu(jaxconv.conv(x, kernel["conv"]["kernel"]))
      >>> activations(fn, jnp.array([0.0, 1.0, 3.0]).reshape(1, 3, 1), layer="kernel/conv").ravel().tolist()
      [-1.0, -2.0]
    """
    net = Net(fn, args)
    x = net.graph.data(wrt)
    value = find_layer(net.graph, x, layer)
    return axes_of(net.graph, x, value).to_last(net.compute([value])[0])


def first_kernels(fn: Callable[..., Any], *args: Any, wrt: int | None = None) -> jax.Array:
    """The kernel of the first convolution that the input passes.

    Args:
      fn: any function of arrays, or a callable pytree.
      *args: its arguments; the kernel among them has to be an array.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.

    Returns:
      `(*taps, in_channels / groups, out_channels)`, whatever the layout of the network.

    Raises:
      ValueError: if there is no convolution of the input with a kernel.

    Example:
      >>> fn = lambda x: jax.lax.conv(x, jnp.arange(6.0).reshape(2, 1, 3, 1), (1, 1), "SAME")
      >>> first_kernels(fn, jnp.ones((1, 1, 8, 5))).shape
      (3, 1, 1, 2)
    """
    net = Net(fn, args)
    marks = _Marks(net.graph, net.graph.data(wrt))
    convolutions = (node for node in net.graph.nodes if node.op == "conv")
    node = next((n for n in convolutions if marks.see_input(n.operands[:1])), None)
    if node is None:
        raise ValueError("the input passes no convolution with a kernel; is it the argument that wrt names?")
    kernel = net.compute([node.operands[1]])[0]
    if "dimension_numbers" in node.params:
        out, into, *taps = node.params["dimension_numbers"].rhs_spec
        kernel = jnp.transpose(kernel, (*taps, into, out))
    return kernel
