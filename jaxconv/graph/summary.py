"""What a model costs, layer by layer, from its jaxpr."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ..geometry import Axis
from ..planner import default_platform
from .costs import algorithm, traffic, work
from .field import Fields, ReceptiveField
from .nodes import Node, Value
from .rows import Layer, layers
from .table import Table
from .trace import trace

_SLOTS = {"forward": "conv", "input_grad": "conv transpose", "weight_grad": "weight gradient"}
_POOLS = {
    "reduce_window_max": "max pool",
    "reduce_window_min": "min pool",
    "reduce_window_sum": "sum pool",
    "pool_pick": "sum pool",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer. All numbers are of all its `count` computations together.

    Attributes:
      layer: its name.
      op: what it computes.
      input: shape of what it is applied to.
      output: shape of its result.
      kernel: taps for each axis, then stride, dilation and groups where they are not 1.
      parameters: elements of its floating arrays, running statistics included.
      forward: multiply-adds.
      backward: multiply-adds of the gradients that training needs: that of the parameters, and that of the
        input unless nothing before it has parameters.
      bytes: least traffic of a forward pass, operands and results.
      field: receptive field of its result; empty in a loop of unknown length.
      algorithm: that the planner chooses, for convolutions of lax under `jaxconv.install`.
      count: how often it is computed: the rounds of the `scan` it is in, else 1.
    """

    layer: str
    op: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: str
    parameters: int
    forward: int
    backward: int
    bytes: int
    field: ReceptiveField
    algorithm: str
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Summary(Sequence[Row]):
    """The layers of a function in order; print it, `show` it, or write it as HTML or CSV.

    Attributes:
      rows: the layers.
      platform: that the algorithms are for.
    """

    rows: tuple[Row, ...]
    platform: str

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """One of them."""
        return self.rows[index]

    @property
    def parameters(self) -> int:
        """Elements of all floating arrays, running statistics included; a shared one counts once."""
        return sum(row.parameters for row in self.rows)

    @property
    def forward(self) -> int:
        """Multiply-adds of a forward pass."""
        return sum(row.forward for row in self.rows)

    @property
    def backward(self) -> int:
        """Multiply-adds of the gradient of all parameters, without those of the forward pass."""
        return sum(row.backward for row in self.rows)

    @property
    def bytes(self) -> int:
        """Least traffic of the rows' operations."""
        return sum(row.bytes for row in self.rows)

    def __str__(self) -> str:
        """A plain table."""
        return self._table().plain()

    def show(self) -> None:
        """Prints the table, with rich where that is installed."""
        self._table().show()

    def to_csv(self) -> str:
        """The table with exact numbers."""
        return self._table().csv()

    def to_html(self) -> str:
        """A page of its own, light or dark as the reader's system is."""
        return self._table().html()

    def _table(self) -> Table:
        total = (
            f"{len(self)} layers",
            "",
            "",
            "",
            "",
            self.parameters,
            self.forward,
            self.backward,
            self.bytes,
        )
        work = f"{self.forward:,} multiply-adds forward, {self.backward:,} backward"
        title = f"{self.parameters:,} parameters, {work}"
        return Table(title, COLUMNS, [_cells(row) for row in self.rows], (*total, "", "", ""), self._notes())

    def _notes(self) -> list[str]:
        """What a column leaves open."""
        found = [f"algorithm: on {self.platform}; in parentheses under jaxconv.install() only"]
        whole = dict.fromkeys(why for row in self.rows for f in row.field if (why := f.why))
        return found + [f"receptive field: {why}" for why in list(whole)[:1]]


COLUMNS = (
    "layer", "op", "input", "output", "kernel", "parameters", "multiply-adds", "backward", "bytes", "field",
    "jump", "algorithm",
)  # fmt: skip


def _cells(row: Row) -> tuple[str | int, ...]:
    fields = row.field
    return (
        row.layer if row.count == 1 else f"{row.layer} ({row.count} times)",
        row.op,
        times(row.input),
        times(row.output),
        row.kernel,
        row.parameters,
        row.forward,
        row.backward,
        row.bytes,
        _sizes(["all" if f.size is None else f.size for f in fields]),
        _sizes(["-" if f.jump is None else f.jump for f in fields]),
        row.algorithm,
    )


def _sizes(values: list[Any]) -> str:
    """A word that holds for all axes is said once."""
    return values[0] if values and set(values) in ({"all"}, {"-"}) else times(values)


def summary(
    fn: Callable[..., Any], *args: Any, wrt: int | None = None, platform: str | None = None, **kwargs: Any
) -> Summary:
    """Counts a model: for each layer shapes, parameters, multiply-adds, bytes, receptive field, algorithm.

    Rows are convolutions, matrix products, pools, operations that jaxconv does not know, and layers that only
    have parameters, as norms. A bias belongs to its layer. Multiply-adds are those of convolutions and matrix
    products, products with padding not counted, which is XLA's own count; only that of shapes: no kernel's
    values are looked at. How layers are named: `jaxconv.graph.trace`.

    Args:
      fn: any function of arrays (NNX, Linen, Equinox, Haiku, plain), or a callable pytree; it is traced, not
        run.
      *args: its arguments; `jax.ShapeDtypeStruct`s will do, as will a model made by `nnx.eval_shape`.
      wrt: the position of the argument that is the input; by default the first that is one array of two or
        more dimensions.
      platform: "cpu", "cuda", "rocm" or "tpu", for the algorithms; by default that of JAX's default device.
      **kwargs: its keyword arguments.

    Returns:
      A `Summary`: print it, or read its rows and totals.

    Raises:
      ValueError: if `fn` is not callable, the input is not one array, or the platform is unknown.

    Example:
      >>> import jax, jax.numpy as jnp, jaxconv
      >>> def f(params, x):
      ...     x = jaxconv.conv(x, params["conv"]["kernel"], params["conv"]["bias"], stride=2, padding=1)
      ...     return jaxconv.conv_transpose(x, params["up"]["kernel"], stride=2)
      >>> array = lambda *shape: jax.ShapeDtypeStruct(shape, "f4")
      >>> params = {
      ...     "conv": {"kernel": array(3, 3, 3, 16), "bias": array(16)}, "up": {"kernel": array(2, 2, 8, 16)}
      ... }
      >>> found = summary(f, params, array(1, 32, 32, 3))
      >>> for row in found:
      ...     print(row.layer, row.op, row.kernel, row.parameters, row.forward, row.backward)
      conv conv 3x3 s2 448 106032 106032
      up conv transpose 2x2 s2 512 131072 262144
      >>> found.parameters, found[1].field.size, str(found[1].field.jump[0])
      (960, (3, 3), '1')
    """
    platform = default_platform(platform)
    graph = trace(fn, *args, **kwargs)
    x = graph.data(wrt)
    fields = Fields(graph, x)
    return Summary(tuple(_row(layer, fields, platform) for layer in layers(graph, x)), platform)


def _row(layer: Layer, fields: Fields, platform: str) -> Row:
    node, count = layer.node, layer.count
    adds, data = count * work(node), _data(node, fields)
    chosen = algorithm(node, platform)
    return Row(
        layer=layer.name,
        op=_op(layer),
        input=data.shape,
        output=node.results[0].shape,
        kernel=_kernel(node),
        parameters=sum(v.size for v in layer.weights),
        forward=adds,
        backward=adds * layer.gradients,
        bytes=count * (traffic(node) if layer.computes else _scaled(layer, data)),
        field=fields.of(node.results[0]) or ReceptiveField(()),
        algorithm=f"({chosen})" if chosen and node.conv and node.conv.by == "lax" else chosen,
        count=count,
    )


def _scaled(layer: Layer, data: Value) -> int:
    """Bytes of a layer that is arithmetic on each element, done at once."""
    return sum(v.bytes for v in (data, *layer.weights, *layer.node.results))


def _op(layer: Layer) -> str:
    node = layer.node
    if node.conv is not None:
        spec, name = node.conv.spec, _SLOTS[node.conv.slot]
        return f"depthwise {name}" if spec.depthwise else f"grouped {name}" if spec.groups > 1 else name
    if node.op in ("elementwise", "opaque", "window"):
        return _POOLS.get(node.name, "scale and shift" if node.op == "elementwise" else node.name)
    return {"dot": "matrix product"}.get(node.op, node.op)


def _data(node: Node, fields: Fields) -> Value:
    """The operand that carries the input: the largest of several."""
    seen = [v for v in node.operands if fields.of(v) is not None]
    return max(seen or node.operands, key=lambda v: v.size)


def _kernel(node: Node) -> str:
    axes = node.params.get("windows", ()) if node.conv is None else node.conv.spec.axes
    if axes and all(isinstance(a, Axis) for a in axes):  # those of an adaptive pool are of many sizes
        values = {
            "s": [a.stride for a in axes],
            "d": [a.dilation for a in axes],
            "g": [1 if node.conv is None else node.conv.spec.groups],
        }
        return " ".join([times(a.kernel for a in axes), *_not_one(values)])
    if "window_dimensions" in node.params:
        taken = [w.operand_dim for w in node.windows]
        p = node.params
        values = {"s": [p["window_strides"][d] for d in taken], "d": [p["window_dilation"][d] for d in taken]}
        return " ".join([times(p["window_dimensions"][d] for d in taken), *_not_one(values)])
    return ""


def _not_one(values: dict[str, list[int]]) -> list[str]:
    """s2 for a stride of 2 along all axes, s2x1 where they differ."""
    return [
        f"{name}{numbers[0] if len(set(numbers)) == 1 else times(numbers)}"
        for name, numbers in values.items()
        if any(n != 1 for n in numbers)
    ]


def times(numbers: Any) -> str:
    """As sizes are written.

    Example:
      >>> times((3, 5))
      '3x5'
    """
    return "x".join(map(str, numbers))
