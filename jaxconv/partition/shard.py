"""A function of images that are divided in space among devices, as if they were whole."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..graph.nodes import Graph, Value
from ..graph.trace import is_array
from .halo import AxisName, Split
from .shard_plan import Plan, opened, planned
from .shard_values import Array, Change, Context, Dims, Exchange, Misaligned, relay, splits

Axes = P | Sequence[str | tuple[str, ...] | None]


@dataclasses.dataclass(frozen=True)
class Exchanges:
    """What devices send each other in one call of a function; print it.

    Attributes:
      sent: one entry for each operation and dimension for which something is sent.
    """

    sent: tuple[Exchange, ...]

    @property
    def bytes(self) -> int:
        """That a device sends, of one that is not at an end."""
        return sum(e.bytes for e in self.sent)

    def __str__(self) -> str:
        """A line for each."""
        lines = [
            f"{e.layer}: dimension {e.dim}, {e.rows} rows along {e.axis!r}, {e.bytes} bytes"
            for e in self.sent
        ]
        return "\n".join([*lines, f"together {self.bytes} bytes"])


class Sharded:
    """What `spatially_sharded` returns: the function, and what its devices exchange."""

    def __init__(self, fn: Callable[..., Any], mesh: Mesh, axes: Mapping[int | None, P]) -> None:
        self.fn, self.mesh, self.axes = fn, mesh, axes
        self._compiled: dict[Any, Any] = {}
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's results."""
        leaves, tree = jax.tree.flatten((self.fn, args, kwargs))
        key = (tree, tuple(_key(leaf) for leaf in leaves))
        if key not in self._compiled:
            graph = opened(self.fn, args, kwargs)
            program = _program(_Laid(self, graph))
            constants = [v.data for v in graph.inputs if v.kind == "constant"]
            if any(isinstance(c, Tracer) for c in constants):
                return program(*_arrays(leaves), *constants)
            self._compiled[key] = (program, constants)
        program, constants = self._compiled[key]
        return program(*_arrays(leaves), *constants)

    def exchanges(self, *args: Any, **kwargs: Any) -> Exchanges:
        """What one call sends, of arrays or of `jax.ShapeDtypeStruct`s; nothing runs.

        Gradients send at most as much again.
        """
        return Exchanges(tuple(_Laid(self, opened(self.fn, args, kwargs)).context.exchanges))


def spatially_sharded(fn: Callable[..., Any], mesh: Mesh, axes: Axes | Mapping[int, Axes]) -> Sharded:
    """The same function, its images divided in space among the devices of a mesh.

    Each device computes its blocks of all intermediate results, and before a window moves over one it gets
    from its neighbours what the window sees beyond the block: that, and no more. Whatever the sizes are, the
    results are those of one device up to rounding, and so are gradients: with respect to images, which are
    divided, and to everything else, which is whole on each device and whose gradient is summed over them.

    Convolutions (strided, dilated, grouped, transposed), pools, resizes, padding of any mode, pixel shuffles,
    skips and loops of known length run on blocks. Sums, means and extrema over space, as in batch
    normalisation or a loss, are also taken over devices. What needs a whole row otherwise is refused with its
    layer's name.

    Args:
      fn: any function of arrays, or a callable pytree.
      mesh: the devices.
      axes: which mesh axis divides each dimension of the image, as a `PartitionSpec` or a sequence of names:
        `(None, "rows", "cols")` for `(N, H, W, C)`; "batch" axes are of the same kind. It is of the first
        argument that is one array of two or more dimensions; `{0: ..., 2: ...}` names arguments by position.

    Returns:
      A function of the same arguments, to be called, jitted and differentiated like `fn`. Its results are
      divided as their dimensions come from those of the image. `.exchanges(*args)` says what is sent.

    Raises:
      ValueError: for an axis that the mesh does not have or that is named twice; in a call, for arguments
        that are not there, and for what can't be divided.

    References:
      Dryden et al.: Improving strong-scaling of CNN training by exploiting finer-grained parallelism. IPDPS
      2019, doi:10.1109/IPDPS.2019.00031.

    Example:
      >>> import jax, jax.numpy as jnp, jaxconv
      >>> from jaxconv.partition import spatially_sharded
      >>> mesh = jax.make_mesh((jax.device_count(),), ("rows",))
      >>> kernel = jnp.ones((3, 3, 1, 1)) / 9
      >>> blur = lambda x: jaxconv.conv(x, kernel, padding="SAME")
      >>> x = jnp.arange(1.0, 49).reshape(1, 8, 6, 1)
      >>> y = spatially_sharded(blur, mesh, (None, "rows"))(x)
      >>> bool(abs(y - blur(x)).max() < 1e-5), round(float(y.max()), 3)
      (True, 41.0)
    """
    if not callable(fn):
        raise ValueError(f"fn={fn!r} of type {type(fn).__name__} must be a function.")
    given: Mapping[Any, Axes] = axes if isinstance(axes, Mapping) else {None: axes}
    if not given:
        raise ValueError(
            "axes={} names no argument; say which mesh axis divides each dimension of the image."
        )
    return Sharded(fn, mesh, {position: _checked(mesh, spec) for position, spec in given.items()})


def _checked(mesh: Mesh, spec: Axes) -> P:
    if isinstance(spec, str) or not isinstance(spec, Sequence | P):
        raise ValueError(f"axes={spec!r} must be a sequence with a mesh axis or None for each dimension.")
    names = [n for entry in spec for n in ((entry,) if isinstance(entry, str) else entry or ())]
    unknown = [n for n in names if n not in mesh.axis_names]
    if unknown:
        raise ValueError(
            f"axes={tuple(spec)} names {unknown[0]!r}; the mesh has {', '.join(mesh.axis_names)}."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"axes={tuple(spec)} names a mesh axis twice; each divides one dimension.")
    if not names:
        raise ValueError(f"axes={tuple(spec)} divides nothing; name one of {', '.join(mesh.axis_names)}.")
    return P(*spec)


def _key(leaf: Any) -> Any:
    if is_array(leaf):
        return leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)
    return leaf


def _arrays(leaves: Sequence[Any]) -> list[Any]:
    return [leaf for leaf in leaves if is_array(leaf)]


class _Laid:
    """A graph whose inputs lie on devices, with the least blocks that all its layers can divide evenly."""

    def __init__(self, of: Sharded, graph: Graph) -> None:
        self.mesh, self.graph = of.mesh, graph
        self.specs: dict[Value, P] = {graph.data(position): spec for position, spec in of.axes.items()}
        for value, spec in self.specs.items():
            if len(spec) > len(value.shape):
                raise ValueError(
                    f"axes={tuple(spec)} has more entries than the argument of shape {value.shape}."
                )
        multiples: dict[AxisName, int] = {}
        while True:
            try:
                self.context, self.inputs, self.plan = self._planned(multiples)
                break
            except Misaligned as why:
                multiples[why.axis] = math.lcm(multiples.get(why.axis, 1), why.multiple)
        self.outputs: list[Dims] = [
            self._even(v, d) for v, d in zip(graph.outputs, self.plan.dims, strict=True)
        ]
        self.context.node = None
        self.leave = [
            relay(self.context, v, have, want)
            for v, have, want in zip(graph.outputs, self.plan.dims, self.outputs, strict=True)
        ]

    def _planned(self, multiples: Mapping[AxisName, int]) -> tuple[Context, list[Dims], Plan]:
        context = Context({})
        inputs = [self._entered(context, v, multiples) for v in self.graph.inputs]
        self.enter = [self._entrance(context, v, d) for v, d in zip(self.graph.inputs, inputs, strict=True)]
        return context, inputs, planned(context, self.graph, inputs)

    def _entered(self, context: Context, value: Value, multiples: Mapping[AxisName, int]) -> Dims:
        """Blocks of the first argument along a mesh axis are a multiple; those of others keep its scale."""
        found: list[Any] = [None] * len(value.shape)
        for dim, axis in enumerate(self.specs.get(value, ())):
            if axis is None:
                continue
            size, n = value.shape[dim], self._devices(axis)
            if axis not in context.steps:
                multiple = multiples.get(axis, 1)
                context.steps[axis] = max(-(-size // (n * multiple)), 1) * multiple
                context.sizes[axis] = size
            step = context.steps[axis] * size
            if step % context.sizes[axis]:
                raise Misaligned(axis, context.sizes[axis] // math.gcd(context.sizes[axis], size))
            found[dim] = Split.even(size, axis, n, step // context.sizes[axis])
        return tuple(found)

    def _devices(self, axis: AxisName) -> int:
        return math.prod(self.mesh.shape[name] for name in ((axis,) if isinstance(axis, str) else axis))

    def _even(self, value: Value, dims: Dims) -> Dims:
        """The blocks that JAX makes of an array at a border of a program; ours, where it can make none."""
        found: list[Any] = []
        for n, s in zip(value.shape, dims, strict=True):
            even = isinstance(s, Split) and (n % s.devices == 0 or s.step * s.devices < n)
            step = None if even else s.step if isinstance(s, Split) else 0
            found.append(Split.even(n, s.axis, s.devices, step) if isinstance(s, Split) else None)
        return tuple(found)

    def _entrance(self, context: Context, value: Value, dims: Dims) -> tuple[Dims, Change]:
        """How an argument comes in: in JAX's blocks where there are any, else already in ours."""
        comes = self._even(value, dims)
        return comes, relay(context, value, comes, dims)


def _program(laid: _Laid) -> Callable[..., Any]:
    mesh, plan = laid.mesh, laid.plan

    def on_device(*blocks: Array) -> tuple[Array, ...]:
        given = [enter(x) for (_, enter), x in zip(laid.enter, blocks, strict=True)]
        found = zip(laid.leave, plan.run(given), strict=True)
        return tuple(leave(jnp.asarray(y)) for leave, y in found)

    comes = [dims for dims, _ in laid.enter]
    mapped = jax.shard_map(
        on_device, mesh=mesh, in_specs=tuple(map(_spec, comes)), out_specs=tuple(map(_spec, laid.outputs))
    )

    @jax.jit
    def run(*arrays: Array) -> Any:
        padded = [_placed(mesh, _padded(x, dims), dims) for x, dims in zip(arrays, comes, strict=True)]
        results = [_cut(mesh, y, v.shape) for y, v in zip(mapped(*padded), laid.graph.outputs, strict=True)]
        return jax.tree.unflatten(laid.graph.tree, results)

    return run


def _spec(dims: Dims) -> P:
    return P(*(s.axis if isinstance(s, Split) else None for s in dims))


def _padded(x: Array, dims: Dims) -> Array:
    """With something behind its end, up to whole blocks."""
    ends = [(0, s.devices * s.step - s.size if isinstance(s, Split) else 0) for s in dims]
    return jnp.pad(x, ends) if any(hi for _, hi in ends) else x


def _placed(mesh: Mesh, x: Array, dims: Dims) -> Array:
    sharding = NamedSharding(mesh, _spec(dims))
    if AxisType.Explicit in mesh.axis_types:
        return jax.sharding.reshard(x, sharding)
    return jax.lax.with_sharding_constraint(x, sharding) if splits(dims) else x


def _cut(mesh: Mesh, y: Array, shape: tuple[int, ...]) -> Array:
    """Without what blocks hold beyond the end; then JAX decides where it lies."""
    if y.shape == shape:
        return y
    if AxisType.Explicit in mesh.axis_types:
        y = jax.sharding.reshard(y, NamedSharding(mesh, P()))
    return jax.lax.slice(y, [0] * y.ndim, shape)
