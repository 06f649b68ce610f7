"""One step of the common loop: optimisers, accumulation, averages, precision, and where arrays live."""

import functools
import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from examples.common.config import TrainConfig
from examples.common.layout import Layout
from examples.common.optimiser import make_optimiser, schedule
from examples.common.state import graph_of, initial_state, put_together
from examples.common.step import make_step
from examples.common.task import Shard

from .test_common_toy import Net, Points, Toy

CONFIG = TrainConfig(steps=10, learning_rate=0.01, ema=0.9)
WIDE = Toy(points=Points(batch_size=64))


@functools.cache
def steps(task, config, devices=1, *, fsdp=False, count=3) -> Any:
    """The state, average and values after some steps."""
    layout = Layout(jax.devices()[:devices], fsdp=fsdp)
    state, average = initial_state(task, config, layout)
    step, batches, values = make_step(task, config, layout), task.batches(seed=0, shard=Shard()), []
    for _ in range(count):
        state, average, last = step(state, average, layout.put(next(batches)))
        values.append(last)
    return state, average, values


@functools.cache
def start(task, config) -> Any:
    """The network and all its variables before the first step."""
    variables = initial_state(task, config, Layout(jax.devices()[:1]))[0].model
    return put_together(graph_of(task, config), variables), variables


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), a, b)


# Against the same written out with NumPy.


def test_a_step_follows_the_clipped_gradient_and_averages():
    config = replace(CONFIG, optimiser="sgd", momentum=0.8, learning_rate=0.05, clip=0.2, ema=0.15)
    task = Toy()
    network, variables = start(task, config)
    graph, other = nnx.graphdef(network), variables[1:]

    @jax.jit
    @jax.grad
    def gradient_of(params, batch):
        return task.loss(nnx.merge(graph, params, *other), batch, None)[0]

    params, tree = jax.tree.flatten(jax.tree.map(np.float64, variables.params))
    wanted, velocity, norms = params, [0.0] * len(params), []
    batches = task.batches(seed=0, shard=Shard())
    for number in range(3):
        gradient = gradient_of(jax.tree.unflatten(tree, [np.float32(p) for p in params]), next(batches))
        gradient = [np.float64(g) for g in jax.tree.leaves(gradient)]
        norms.append(math.sqrt(sum((g**2).sum() for g in gradient)))
        rate = 0.05 * (0.01 + 0.99 * (1 + math.cos(math.pi * number / config.steps)) / 2)
        velocity = [0.8 * v + 0.2 * g / norms[-1] for v, g in zip(velocity, gradient, strict=True)]
        params = [p - rate * v for p, v in zip(params, velocity, strict=True)]
        forget = min(0.15, (1 + number) / (10 + number))
        wanted = [forget * a + (1 - forget) * p for a, p in zip(wanted, params, strict=True)]
    assert min(norms) > config.clip
    state, average, values = steps(task, config)
    np.testing.assert_allclose([value["gradient_norm"] for value in values], norms, rtol=1e-4)
    for got, expected in ((state.model.params, params), (average.params, wanted)):
        for a, b in zip(jax.tree.leaves(got), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert int(state.step) == 3


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimisers_are_their_formulas(rng, name):
    """Weights of two axes decay, those of one do not."""
    decay = 0.0 if name == "adam" else 0.3
    config = TrainConfig(
        steps=10, schedule="constant", learning_rate=0.05, optimiser=name, weight_decay=decay
    )
    optimiser = make_optimiser(config)
    start = {"bias": rng.normal(size=3), "kernel": rng.normal(size=(2, 3))}
    got, state, update = jax.tree.map(np.float32, start), None, jax.jit(optimiser.update)
    state, params = optimiser.init(got), start
    first = second = {"bias": 0.0, "kernel": 0.0}
    for number in range(1, 4):
        gradient = jax.tree.map(lambda p: rng.normal(size=p.shape), start)
        updates, state = update(jax.tree.map(np.float32, gradient), state, got)
        got = jax.tree.map(np.add, got, updates)
        pull = {"bias": 0.0, "kernel": decay * params["kernel"]}
        if name == "sgd":
            first = jax.tree.map(lambda m, g, d: 0.9 * m + g + d, first, gradient, pull)
            direction = first
        else:
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
            direction = jax.tree.map(
                lambda m, v, d, n=number: m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8) + d,
                first,
                second,
                pull,
            )
        params = jax.tree.map(lambda p, d: p - 0.05 * d, params, direction)
    assert_close(got, params, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("cosine", [1, (0.01 + 0.99 * (1 + math.cos(math.pi / 4)) / 2), 0.505, None, 0.01]),
        ("poly", [1, 0.75**0.5, 0.5**0.5, 0.5, 0]),
        ("steps", [1, 1, 0.1, 0.01, 0.01]),
    ],
)
def test_schedules_after_the_warm_up(name, expected):
    config = TrainConfig(
        steps=100, schedule=name, warmup=20, learning_rate=2.0, power=0.5, milestones=(0.5, 0.75)
    )
    rate = schedule(config)
    # A tenth of the steps at most warm up; then there are 90.
    np.testing.assert_allclose([rate(0), rate(5)], [0.02, 1.01], rtol=1e-5)
    places = (10, 10 + 22.5, 55, 77.5, 100)
    for at, share in zip(places, expected, strict=True):
        if share is not None:
            assert float(rate(jnp.float32(at))) == pytest.approx(2 * share, abs=1e-5)


# Parts, devices, and both.


@pytest.mark.parametrize(("accumulate", "fsdp"), [(1, False), (1, True), (4, True)])
def test_devices_and_parts_change_nothing_but_rounding(accumulate, fsdp):
    """Eight devices, each with its share of every part, take the steps that one takes with all at once."""
    assert len(jax.devices()) == 8
    alone = steps(WIDE, CONFIG)
    together = steps(WIDE, replace(CONFIG, accumulate=accumulate), 8, fsdp=fsdp)
    assert_close(*map(jax.device_get, (together, alone)), rtol=1e-3, atol=1e-5)


def test_fully_sharded_arrays_are_split_along_their_longest_axis():
    state, average, _ = steps(WIDE, CONFIG, 8, fsdp=True)
    for params in (state.model.params, average.params, state.optimiser[1][0].mu):
        shards = jax.tree.map(lambda leaf: leaf.addressable_data(0).shape, params)
        assert shards["first"] == {"kernel": (6, 2), "bias": (2,)}  # of (6, 16)
        assert shards["last"] == {"kernel": (2, 3), "bias": (3,)}  # of (16, 3): three are not split by eight
    assert len(state.step.sharding.device_set) == 8
    whole = Layout(jax.devices(), fsdp=True).on_one_device(average.params)
    assert_close(whole, jax.device_get(average.params), rtol=0)
    assert {leaf.sharding.num_devices for leaf in jax.tree.leaves(whole)} == {1}


# What else a step carries.


def test_statistics_of_batch_normalisation_are_carried_and_averaged():
    task, config = Toy(Net(norm=True)), replace(CONFIG, learning_rate=1e-12)
    state, average, _ = steps(task, config, count=2)
    network, _ = start(task, config)
    batches, mean, wanted = task.batches(seed=0, shard=Shard()), np.zeros(16), np.zeros(16)
    for number in range(2):
        mean = 0.5 * mean + 0.5 * np.mean(network.first(next(batches)["x"]), axis=0)
        forget = min(0.9, (1 + number) / (10 + number))
        wanted = forget * wanted + (1 - forget) * mean
    np.testing.assert_allclose(state.model.stats["norm"]["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(average.stats["norm"]["mean"], wanted, atol=1e-5)
    assert float(average.other["scale"]) == 1.0


def test_dropout_depends_on_the_step():
    """And on nothing else: of one batch and parameters that stay, the losses are others in every step."""
    task, config = Toy(Net(dropout=0.5), Points(same=True)), replace(CONFIG, learning_rate=1e-12)
    losses = [[float(value["loss"]) for value in steps(task, config, devices)[2]] for devices in (1, 8)]
    assert len(set(losses[0])) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_mixed_precision_has_master_weights_in_float32():
    config = replace(CONFIG, learning_rate=1e-4)
    mixed, plain = replace(config, precision="bfloat16"), config
    assert start(Toy(), mixed)[0].first(jnp.ones((1, 6))).dtype == jnp.bfloat16
    state, average, values = steps(Toy(), mixed)
    assert {leaf.dtype for leaf in jax.tree.leaves((state.model, average, values))} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.optimiser)} <= {
        jnp.dtype("float32"),
        jnp.dtype("int32"),
    }
    before, after = start(Toy(), mixed)[1].params["last"]["kernel"], state.model.params["last"]["kernel"]
    # Three steps of a ten-thousandth are less than bfloat16 tells apart.
    assert 0 < np.abs(after - before).max() < 4e-4
    expected, _, expected_values = steps(Toy(), plain)
    assert_close(after, expected.model.params["last"]["kernel"], atol=3e-4)
    assert values[0]["loss"] == pytest.approx(float(expected_values[0]["loss"]), rel=0.02)
    assert values[0]["loss"] != expected_values[0]["loss"]
