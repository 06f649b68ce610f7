"""vmap and shardings on a mesh whose axes are Explicit."""

from __future__ import annotations

import dataclasses

import jax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv.testing import assert_close
from tests.cases import SLOTS, Case
from tests.test_corner_cases import apply
from tests.test_vmap import B, expected, one_by_one, operands

CHANNELS = P(None, None, None, "model")
MESHED = Case("meshed", (6, 5), (3, 2), (2, 4), stride=(2, 1), padding=((1, 0), (0, 2)))
# Slot, mapped axes, how the operands are sharded, and the result, whose first dimension is the mapped one.
SHARDED = {
    "x": ("forward", (0, None), (P("data"), P()), P("data")),
    "x, whose batch is sharded": ("forward", (0, None), (P("data", "model"), P()), P("data", "model")),
    "x, and output channels": ("forward", (0, None), (P("data"), CHANNELS), P("data", *CHANNELS)),
    "kernel": ("forward", (None, 0), (P(), P("data")), P("data")),
    "kernel, and the batch": ("forward", (None, 0), (P("model"), P("data")), P("data", "model")),
    "g": ("input_grad", (0, None), (P("data"), P()), P("data")),
    "transposed kernel": ("input_grad", (None, 0), (P("model"), P("data")), P("data", "model")),
    "x of the weight gradient": ("weight_grad", (0, None), (P("data"), P()), P("data")),
    "g of the weight gradient": ("weight_grad", (None, 0), (P(), P("data")), P("data")),
}


def explicit_mesh():
    """B devices along "data", so that they share the elements of a mapped axis."""
    devices, kinds = jax.devices()[: 2 * B], (AxisType.Explicit,) * 2
    return jax.make_mesh((B, 2), ("data", "model"), axis_types=kinds, devices=devices)


def put(mesh, arrays, specs):
    return [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(arrays, specs, strict=True)]


def test_vmap_over_an_axis_sharded_on_an_explicit_mesh(rng):
    mesh, inputs, want = explicit_mesh(), {}, {}
    for name, (slot, axes, specs, _) in SHARDED.items():
        stacked = operands(MESHED, slot, (B,), rng)
        args = [a if axis == 0 else a[0] for a, axis in zip(stacked, axes, strict=True)]
        inputs[name], want[name] = put(mesh, args, specs), one_by_one(expected(MESHED, slot), args, axes)

    def run(inputs):
        return {n: jax.vmap(apply(MESHED, slot), axes)(*inputs[n]) for n, (slot, axes, *_) in SHARDED.items()}

    with jax.set_mesh(mesh):
        results = jax.jit(run)(inputs)
    for name, (slot, *_, spec) in SHARDED.items():
        got = results[name]
        assert got.sharding.is_equivalent_to(NamedSharding(mesh, spec), got.ndim), (name, got.sharding)
        assert_close(got, want[name], contraction=MESHED.contraction(slot), label=name)


@pytest.mark.parametrize(
    ("slot", "specs", "result"),
    [
        ("forward", (P("model"), CHANNELS), "output"),
        ("forward", (P(("data", "model")), CHANNELS), "output"),
        ("input_grad", (P("model"), P(None, None, "model")), "input"),
        ("weight_grad", (CHANNELS, CHANNELS), "kernel"),
    ],
)
def test_a_mesh_axis_shards_one_dimension_of_a_result(slot, specs, result, rng):
    mesh, case = explicit_mesh(), dataclasses.replace(MESHED, batch=2 * B)
    with jax.set_mesh(mesh):
        args = put(mesh, operands(case, slot, (), rng), specs)
        with pytest.raises(ValueError, match=f"'model' would shard two dimensions of the {result} that"):
            apply(case, slot)(*args)


@pytest.mark.parametrize("slot", SLOTS)
def test_vmap_of_both_over_a_sharded_axis_is_refused(slot, rng):
    """It would be the group dimension."""
    mesh = explicit_mesh()
    with jax.set_mesh(mesh):
        args = put(mesh, operands(MESHED, slot, (B,), rng), (P("data"), P("data")))
        with pytest.raises(ValueError, match="explicit mesh axes may shard the batch and, without groups"):
            jax.vmap(apply(MESHED, slot))(*args)
