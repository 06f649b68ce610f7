"""Algorithms run in pieces of the batch: the same results, in less memory."""

from __future__ import annotations

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxconv
from jaxconv.geometry import Axis, ConvSpec
from jaxconv.lowerings import REGISTRY, Target, core_spec, run_in_pieces, work_in_pieces
from jaxconv.testing import assert_close
from tests.cases import FEW, SLOTS
from tests.test_lowerings import spec_of

PIECES = sys.modules[run_in_pieces.__module__]
CPU = Target("cpu", jnp.dtype("float32"))
WIDE = ConvSpec(6, 8, 8, 1, (Axis(40, 3, lo=1, hi=1), Axis(33, 3, lo=1, hi=1)))


@pytest.fixture
def smallest(monkeypatch):
    monkeypatch.setattr(PIECES, "LARGEST", 1)


def both(lowering, slot, spec, a, b):
    return lowering.run(slot, spec, CPU, a, b), run_in_pieces(lowering, slot, spec, CPU, a, b)


@pytest.mark.usefixtures("smallest")
@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("case", FEW, ids=lambda c: c.name)
def test_pieces_make_up_the_whole(case, slot, rng):
    found = core_spec(spec_of(case))
    assert found is not None
    spec = dataclasses.replace(found[0], batch=3)
    a, b = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in spec.operand_shapes(slot))
    for name, lowering in REGISTRY.items():
        if lowering.supports(slot, spec, CPU.dtype, None) is None:
            whole, parts = jax.jit(functools.partial(both, lowering, slot, spec))(a, b)
            assert parts.dtype == whole.dtype
            assert_close(parts, whole, contraction=1000, scale=float(jnp.abs(whole).max()), label=name)


@pytest.mark.parametrize("slot", SLOTS)
def test_as_few_pieces_as_fit(slot, monkeypatch):
    im2col = REGISTRY["im2col"]
    whole = 4 * im2col.work(slot, WIDE).workspace
    for limit, pieces in ((whole, 1), (whole - 1, 2), (whole // 3, 3), (whole // 4, 6), (whole // 6, 6)):
        monkeypatch.setattr(PIECES, "LARGEST", limit)
        assert work_in_pieces(im2col, slot, WIDE, CPU).workspace == whole // 4 // pieces


@pytest.mark.parametrize("slot", ["forward", "weight_grad"])
def test_one_image_is_cut_into_slabs(slot, monkeypatch):
    im2col, image = REGISTRY["im2col"], dataclasses.replace(WIDE, batch=1)
    whole = 4 * im2col.work(slot, image).workspace
    for limit, slabs in ((whole, 1), (whole // 2, 2), (whole // 4, 4), (whole // 8, 8)):
        monkeypatch.setattr(PIECES, "LARGEST", limit)
        assert PIECES.cuts(im2col, slot, image, CPU) == (1, slabs)
        assert work_in_pieces(im2col, slot, image, CPU).workspace == whole // 4 // slabs


@pytest.mark.usefixtures("smallest")
@pytest.mark.parametrize("slot", SLOTS)
def test_the_program_needs_less_memory(slot, monkeypatch):
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in WIDE.operand_shapes(slot)]

    def bytes_needed() -> int:
        run = functools.partial(run_in_pieces, REGISTRY["im2col"], slot, WIDE, CPU)
        analysis = jax.jit(run).lower(*shapes).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    parts = bytes_needed()
    monkeypatch.setattr(PIECES, "LARGEST", 2**40)
    assert parts < bytes_needed() / 2


@pytest.mark.usefixtures("smallest")
def test_half_precision_is_added_in_single(rng):
    spec = dataclasses.replace(WIDE, batch=64)
    a, b = (
        jnp.asarray(rng.uniform(size=shape), jnp.bfloat16) for shape in spec.operand_shapes("weight_grad")
    )
    target = Target("cpu", jnp.dtype("bfloat16"))
    parts = run_in_pieces(REGISTRY["im2col"], "weight_grad", spec, target, a, b)
    whole = REGISTRY["direct"].run("weight_grad", spec, CPU, a.astype("float32"), b.astype("float32"))
    assert parts.dtype == jnp.bfloat16
    np.testing.assert_allclose(parts.astype("float32"), whole, rtol=2.0**-8)


@pytest.mark.usefixtures("smallest")
def test_a_batch_that_is_divided_over_devices_stays_in_one_piece():
    """A loop over it would gather the batch on every device."""
    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    spread = NamedSharding(mesh, PartitionSpec("batch"))
    x = jax.device_put(jnp.ones(WIDE.input_shape), spread)
    kernel = jax.device_put(jnp.ones(WIDE.kernel_shape), NamedSharding(mesh, PartitionSpec()))

    def text(x: jax.Array, kernel: jax.Array) -> str:
        conv = jax.jit(functools.partial(jaxconv.conv, padding=1, algorithm="im2col"))
        return conv.lower(x, kernel).compile().as_text() or ""

    divided = text(x, kernel)
    assert "while" not in divided
    assert "all-gather" not in divided
    assert "while" in text(jnp.ones(WIDE.input_shape), jnp.ones(WIDE.kernel_shape))
