"""The benchmarks' nets at tiny size: all versions of one are the same function with the same parameters."""

import functools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from benchmarks import results
from benchmarks.net_tasks import build, count, make_objective, tasks, torch_weights
from benchmarks.train import check, geometric_mean, measure, missing, table

TINY = {task.name: task for task in tasks(tiny=True)}
each_net = pytest.mark.parametrize("name", TINY)


@functools.cache
def net(name: str, library: str) -> nnx.Module:
    return build(TINY[name], library)


@functools.cache
def loss_and_gradient(name: str, library: str) -> tuple[float, list[np.ndarray]]:
    task = TINY[name]
    graph, params, rest = nnx.split(net(name, library), nnx.Param, ...)
    step = jax.jit(jax.value_and_grad(make_objective(task, graph), has_aux=True))
    (loss, _), gradient = step(params, rest, *task.arrays())
    return float(loss), [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]


def sizes(gradient: Iterable[Any]) -> list[float]:
    """Lengths of the parameters' gradients: libraries name, order and flip parameters in their own ways."""
    return sorted(float(np.linalg.norm(np.ravel(leaf))) for leaf in gradient)


@each_net
def test_flax_agrees(name: str) -> None:
    assert count(net(name, "jaxconv")) == count(net(name, "flax")) > 100
    loss, gradient = loss_and_gradient(name, "jaxconv")
    flax_loss, flax_gradient = loss_and_gradient(name, "flax")
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in gradient)
    np.testing.assert_allclose(loss, flax_loss, rtol=1e-4)
    np.testing.assert_allclose(sizes(gradient), sizes(flax_gradient), rtol=1e-3, atol=1e-5)


@each_net
def test_torch_agrees(name: str) -> None:
    pytest.importorskip("torch")
    from benchmarks.trainers import TorchTrainer

    task, ours = TINY[name], net(name, "jaxconv")
    loss, gradient = loss_and_gradient(name, "jaxconv")
    for memory_format in ("contiguous", "channels_last")[: min(task.rank, 2)]:
        theirs = TorchTrainer(task, torch_weights(ours), memory_format)
        assert count(ours) == theirs.parameters
        np.testing.assert_allclose(loss, theirs(), rtol=1e-4)
        np.testing.assert_allclose(
            sizes(gradient), sizes(p.grad for p in theirs.model.parameters()), rtol=1e-3, atol=1e-5
        )


def test_measured_row_is_read_back(tmp_path: Path) -> None:
    task, path, phases = TINY["FSRCNN"], tmp_path / "steps.jsonl", []
    results.append(path, {"kind": "header"})
    results.append(path, measure(task, rounds=2, budget_s=0, say=phases.append))
    (row,) = results.read(path).rows
    assert phases[-1] == "timing"
    np.testing.assert_allclose(row.facts("jaxconv")["losses"], row.facts("flax")["losses"], rtol=1e-4)
    assert [len(block) for block in row.facts("flax")["samples"]] == [1, 1]
    ratio = row.ratio("jaxconv", "flax")
    assert ratio is not None
    (column,) = (c for c in table([row]).columns if c.header == "jaxconv / flax")
    assert [f"{ratio:.2f}"] * 2 == list(column.cells)
    assert row.facts("flax installed")["losses"] == pytest.approx(row.facts("flax")["losses"], rel=1e-4)
    assert missing({row.key: row}, list(TINY.values())) == list(TINY.values())[1:]
    with pytest.raises(ValueError, match="another size"):
        missing({row.key: row}, tasks())


@pytest.mark.parametrize(
    ("ours", "parameters", "message"),
    [
        ([1.0, 0.9], 8, "parameters differ"),
        ([1.1, 0.9], 7, "first loss"),
        ([1.0, 1.0], 7, "jaxconv does not learn"),
        ([1.0, math.nan], 7, "jaxconv does not learn"),
    ],
)
def test_check_can_fail(ours: list[float], parameters: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check({"jaxconv": ours, "flax": [1.0, 0.9]}, {"jaxconv": parameters, "flax": 7})


def test_geometric_mean_leaves_out_what_was_not_measured() -> None:
    assert geometric_mean([2.0, None, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([None]) is None


def test_full_size_has_the_same_nets() -> None:
    assert [(t.name, t.module, t.rank) for t in tasks()] == [
        (t.name, t.module, t.rank) for t in TINY.values()
    ]
