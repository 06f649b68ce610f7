"""The values that training changes, as trees of arrays that can be compiled over, split and saved."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from .config import TrainConfig
from .layout import Layout
from .optimiser import make_optimiser
from .task import Task


class Variables(NamedTuple):
    """Everything in a model: what the optimiser changes, what batch normalisation has seen, all else."""

    params: Any
    stats: Any
    other: Any


class TrainState(NamedTuple):
    model: Variables
    optimiser: optax.OptState
    step: jax.Array


def take_apart(model: nnx.Module) -> tuple[nnx.GraphDef, Variables]:
    graph, *states = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    return graph, Variables(*map(nnx.to_pure_dict, states))


def put_together(graph: nnx.GraphDef, variables: Variables) -> nnx.Module:
    return nnx.merge(graph, *variables)


def abstract_model(make: Callable[[], nnx.Module]) -> tuple[nnx.GraphDef, Variables]:
    """What `make` would make, with shapes in place of arrays."""
    return take_apart(nnx.eval_shape(make))


def graph_of(task: Task, config: TrainConfig) -> nnx.GraphDef:
    return abstract_model(lambda: task.model(dtype=config.dtype, rngs=nnx.Rngs(0)))[0]


def _initial(task: Task, config: TrainConfig) -> tuple[TrainState, Variables]:
    _, variables = take_apart(task.model(dtype=config.dtype, rngs=nnx.Rngs(config.seed)))
    optimiser = make_optimiser(config).init(variables.params)
    average = jax.tree.map(jnp.copy, variables)  # of its own: the step gives both buffers up
    return TrainState(variables, optimiser, jnp.int32(0)), average


def abstract_state(task: Task, config: TrainConfig, layout: Layout) -> tuple[TrainState, Variables]:
    """Shapes, types and places of the state and of the averaged variables."""
    shapes = jax.eval_shape(lambda: _initial(task, config))
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.state(shapes),
    )


def initial_state(task: Task, config: TrainConfig, layout: Layout) -> tuple[TrainState, Variables]:
    """The state before the first step, and the averaged variables."""
    places = layout.state(jax.eval_shape(lambda: _initial(task, config)))
    # It runs once: optimising it takes seconds, running it none.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(lambda: _initial(task, config), out_shardings=places, compiler_options=options)()
