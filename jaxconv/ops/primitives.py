"""The three operators of one trilinear form as JAX primitives.

T(x, w, g) adds up x * w * g over all index triples that touch. Each primitive leaves one argument open:

    conv_forward(x, w) -> y        conv_input_grad(g, w) -> x        conv_weight_grad(x, g) -> w

In letters, with N batch, G group, I and O channels of a group and spatial positions s, k, o:

    x: N s (G I)        w: k I (G O)        y, g: N o (G O)

Parameters of all three: `spec` (ConvSpec), `dtype` (of the result), `precision`, `algorithm`, and
`out_sharding` (of the result under explicit mesh axes, or None). Their rules are in rules.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import NamedSharding, PartitionSpec

from ..geometry import ConvSpec, Slot
from ..lowerings import KINDS, PLATFORMS, Kind, Target
from ..planner import execute


def bind(slot: Slot, a: jax.Array, b: jax.Array, **params: Any) -> jax.Array:
    """Applies one operator to arrays that fit `spec`; inside shard_map, both vary over the same mesh axes."""
    varying = _varying(a) | _varying(b)
    return PRIMITIVES[slot].bind(_vary(a, varying), _vary(b, varying), **params)


def _varying(array: jax.Array) -> frozenset[Any]:
    """The manual mesh axes over which an array differs, inside shard_map."""
    return jax.typeof(array).mat.varying


def _vary(array: jax.Array, axes: frozenset[Any]) -> jax.Array:
    """Mark an array as varying; the mark's transpose is the psum a replicated kernel's gradient needs."""
    missing = tuple(axes - _varying(array))
    return lax.pcast(array, missing, to="varying") if missing else array


def _abstract_eval(
    slot: Slot, a: ShapedArray, b: ShapedArray, *, spec: ConvSpec, dtype: Any, out_sharding: Any, **_
):
    wanted = spec.operand_shapes(slot)
    if (a.shape, b.shape) != wanted:
        raise ValueError(f"{slot} got operands of shape {a.shape} and {b.shape}; its spec wants {wanted}.")
    new: dict[str, Any] = {"shape": spec.result_shape(slot), "dtype": jnp.dtype(dtype), "weak_type": False}
    mesh = a.sharding.mesh if not a.sharding.mesh.empty else b.sharding.mesh
    if not mesh.empty:
        new["sharding"] = out_sharding or NamedSharding(mesh, _partition(slot, spec, a, b))
    return a.update(**new)


def _partition(slot: Slot, spec: ConvSpec, a: ShapedArray, b: ShapedArray) -> PartitionSpec:
    """Under explicit mesh axes a result dimension is sharded as the operand dimension it comes from.

    Contracted dimensions are summed over their shards. A sharded spatial dimension would need its neighbours'
    borders.
    """
    parts: dict[str, Any] = {}
    *operands, result = KINDS[slot]
    for kind, aval in zip(operands, (a, b), strict=True):
        names = [*aval.sharding.spec, *(None,) * (aval.ndim - len(aval.sharding.spec))]
        last, first = names.pop(), names.pop(_FIRST[kind])
        if any(names) or (spec.groups > 1 and last is not None):
            raise ValueError(
                f"the {kind} of a convolution is sharded as {aval.sharding.spec}; explicit mesh axes may "
                "shard the batch and, without groups, channels. Reshard it, or use Auto axes."
            )
        for role, name in zip(_ROLES[kind], (first, last), strict=True):
            parts.setdefault(role, name)
    first, last = (parts[role] for role in _ROLES[result])
    if twice := _mesh_axes(first) & _mesh_axes(last):
        raise ValueError(
            f"mesh axis {min(twice)!r} would shard two dimensions of the {result} that {slot} returns; "
            "reshard one of the operands."
        )
    names = [*(None,) * spec.rank, last]
    names.insert(len(names) - 1 if result == "kernel" else 0, first)
    return PartitionSpec(*names)


def _mesh_axes(entry: str | tuple[str, ...] | None) -> set[str]:
    """The names in one entry of a PartitionSpec."""
    return set() if entry is None else {entry} if isinstance(entry, str) else set(entry)


# The roles of the dimensions that are not spatial, and where the first stands once the last is taken off.
_ROLES: dict[Kind, str] = {"input": "NI", "kernel": "IO", "output": "NO"}
_FIRST: dict[Kind, int] = {"input": 0, "kernel": -1, "output": 0}


# What becomes of lax's convolutions as they are lowered: "stock" ones are lax's, "planned" ones the planner's
# (dropin.py), "emitted" ones are part of an algorithm and lax's too. All of jit's caches see it.
LAX: Any = jax.make_user_context("stock")


def target_of(ctx: mlir.LoweringRuleContext, platform: str, dtype: Any, precision: Any) -> Target:
    """What a primitive's rule lowers for."""
    return Target(platform, dtype, precision, divided=_divided(ctx))


def lower_in(ctx: mlir.LoweringRuleContext, compute: Callable[..., jax.Array], *operands: Any) -> Any:
    """What a primitive's rule returns if a function of its operands is to compute the result."""
    # What is sharded or varies was settled by the abstract evaluation; inside, only shapes and dtypes matter.
    plain = [ShapedArray(aval.shape, aval.dtype) for aval in ctx.avals_in]  # pyright: ignore[reportAttributeAccessIssue]
    # JAX keeps what it lowered, and an emitted convolution may be equal to one of the program's.
    module = ctx.module_context.replace(lowering_cache={})
    with LAX("emitted"):
        rule = mlir.lower_fun(compute, multiple_results=False)
        return rule(ctx.replace(avals_in=plain, module_context=module), *operands)


def _lower(slot: Slot, platform: str, ctx: mlir.LoweringRuleContext, a: Any, b: Any, **params: Any):
    """The algorithm is chosen here, where the platform of the program is known."""
    target = target_of(ctx, platform, params["dtype"], params["precision"])

    def compute(x: jax.Array, y: jax.Array) -> jax.Array:
        return execute(slot, params["spec"], target, params["algorithm"], x, y)

    return lower_in(ctx, compute, a, b)


def _divided(ctx: mlir.LoweringRuleContext) -> bool:
    """Whether the compiler partitions this program; inside shard_map the arrays are one device's already."""
    context = ctx.module_context.axis_context
    if isinstance(context, mlir.SPMDAxisContext):
        return context.manual_axes != frozenset(context.mesh.axis_names)
    return getattr(context, "num_devices", 1) > 1


def _primitive(slot: Slot) -> Primitive:
    primitive = Primitive(f"conv_{slot}")
    static = ("spec", "dtype", "precision", "algorithm", "out_sharding")
    compiled = jax.jit(primitive.bind, static_argnames=static)

    def impl(a: jax.Array, b: jax.Array, **params: Any) -> jax.Array:
        # Also under jax.disable_jit(): an operator is the smallest step there is.
        with jax.disable_jit(False):
            return compiled(a, b, **params)

    primitive.def_impl(impl)
    primitive.def_abstract_eval(functools.partial(_abstract_eval, slot))
    for platform in PLATFORMS:
        mlir.register_lowering(primitive, functools.partial(_lower, slot, platform), platform=platform)
    return primitive


SLOT_OF: dict[Kind, Slot] = {kinds[2]: slot for slot, kinds in KINDS.items()}
PRIMITIVES: dict[Slot, Primitive] = {slot: _primitive(slot) for slot in KINDS}
