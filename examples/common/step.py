"""One optimiser step as one compiled program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from .config import TrainConfig
from .layout import Layout
from .optimiser import make_optimiser
from .state import TrainState, Variables, abstract_state, graph_of, put_together, take_apart
from .task import Task

Values = dict[str, jax.Array]


def make_step(task: Task, config: TrainConfig, layout: Layout) -> Callable:
    """The compiled (state, average, batch) -> (state, average, values), which gives up its first two.

    The values are the means of `task.loss` and the gradient's norm before it is clipped.
    """
    optimiser = make_optimiser(config)
    gradient_of = _whole_batch(task, config)
    if config.accumulate > 1:
        gradient_of = _part_by_part(gradient_of, config.accumulate, layout)

    def step(
        state: TrainState, average: Variables, batch: dict[str, jax.Array]
    ) -> tuple[TrainState, Variables, Values]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        gradient, values, seen = gradient_of(layout.gathered(state.model), batch, key)
        gradient = layout.scattered(gradient)
        values["gradient_norm"] = optax.tree.norm(gradient)
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.model.params)
        model = seen._replace(params=optax.apply_updates(state.model.params, updates))
        average = _averaged(model, average, config.ema, state.step)
        return TrainState(model, optimiser_state, state.step + 1), average, values

    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(task, config, layout))
    return jax.jit(step, out_shardings=(*places, layout.everywhere), donate_argnums=(0, 1))


def _whole_batch(task: Task, config: TrainConfig) -> Callable:
    """(model, batch, key) -> (gradient, values, the model with what its batch normalisation has seen)."""
    graph = graph_of(task, config)

    def objective(
        params: Any, model: Variables, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, tuple[Values, Variables]]:
        network = put_together(graph, model._replace(params=params))
        network.train()
        loss, means = task.loss(network, batch, nnx.Rngs(key))
        return loss, ({"loss": loss, **means}, take_apart(network)[1])

    def gradient_of(
        model: Variables, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[Any, Values, Variables]:
        gradient, (values, seen) = jax.grad(objective, has_aux=True)(model.params, model, batch, key)
        return gradient, values, seen

    return gradient_of


def _part_by_part(gradient_of: Callable, parts: int, layout: Layout) -> Callable:
    """The same from one part of the batch after another, of which each device has its share."""

    def split(x: jax.Array) -> jax.Array:
        x = x.reshape(len(x) // parts, parts, *x.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(x, layout.parts)

    def mean(total: jax.Array) -> jax.Array:
        return total / parts

    def accumulated(
        model: Variables, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[Any, Values, Variables]:
        def add(carry: tuple, numbered: tuple) -> tuple[tuple, None]:
            (model, total), (number, part) = carry, numbered
            gradient, values, seen = gradient_of(model, part, jax.random.fold_in(key, number))
            return (seen, jax.tree.map(jnp.add, total, (gradient, values))), None

        split_batch = jax.tree.map(split, batch)
        first = jax.tree.map(lambda x: x[0], split_batch)
        shapes = jax.eval_shape(lambda: gradient_of(model, first, key)[:2])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (seen, total), _ = jax.lax.scan(add, (model, zeros), (jnp.arange(parts), split_batch))
        gradient, values = total
        return jax.tree.map(mean, gradient), jax.tree.map(mean, values), seen

    return accumulated


def _averaged(model: Variables, average: Variables, ema: float, step: jax.Array) -> Variables:
    # Shorter memory at first, or the average would still hold much of the random start.
    decay = jnp.minimum(ema, (1 + step) / (10 + step))
    params = optax.incremental_update(model.params, average.params, 1 - decay)
    stats = optax.incremental_update(model.stats, average.stats, 1 - decay)
    return Variables(params, stats, model.other)
