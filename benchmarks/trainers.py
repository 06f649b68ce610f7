"""One training step of a net, for each contender: an object that is called, and returns the loss."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

import jaxconv

from .contenders_torch import memory_formats, on_all_cores
from .measure import interleave
from .net_tasks import LEARNING_RATE, Task, build, count, make_objective

HAS_TORCH = importlib.util.find_spec("torch") is not None


class JaxTrainer:
    """Adam steps of one library's version, compiled as one program that gives its state's memory back.

    `installed` compiles it as it is under `jaxconv.install()`.
    """

    def __init__(self, task: Task, library: str, *, installed: bool = False):
        model = build(task, library)
        self.parameters = count(model)
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        optimiser, objective = optax.adam(LEARNING_RATE), make_objective(task, graph)

        def step(state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
            params, rest, moments = state
            (loss, rest), gradient = jax.value_and_grad(objective, has_aux=True)(params, rest, x, y)
            updates, moments = optimiser.update(gradient, moments, params)
            return (optax.apply_updates(params, updates), rest, moments), loss

        self._state = (params, rest, optimiser.init(params))
        self._data = jax.device_put(task.arrays())
        start = time.perf_counter()
        with jaxconv.installed() if installed else contextlib.nullcontext():
            self._program = jax.jit(step, donate_argnums=0).lower(self._state, *self._data).compile()
        self.facts = {"compile_s": time.perf_counter() - start}

    def __call__(self) -> float:
        self._state, loss = jax.block_until_ready(self._program(self._state, *self._data))
        return float(loss)


class TorchTrainer:
    """The same steps by PyTorch, on all cores; `memory_format` is "contiguous" or "channels_last"."""

    def __init__(self, task: Task, weights: dict[str, np.ndarray], memory_format: str):
        from . import nets_torch

        torch = on_all_cores()
        layers = nets_torch.Layers(task.rank)
        model = getattr(nets_torch, task.module.__name__)(layers, **task.options)
        self.parameters = nets_torch.load(model, weights)
        memory = memory_formats(torch, task.rank)[memory_format]
        self.facts: dict[str, Any] = {"memory_format": memory_format, "threads": torch.get_num_threads()}
        x, y = (torch.from_numpy(array) for array in task.arrays())
        self._x = x.movedim(-1, 1).contiguous(memory_format=memory)
        self._y = y.long() if "classes" in task.options else y.movedim(-1, 1).contiguous(memory_format=memory)
        self._loss = torch.nn.CrossEntropyLoss() if "classes" in task.options else torch.nn.MSELoss()
        self.model = model.to(memory_format=memory)
        self._optimiser = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True)

    def __call__(self) -> float:
        self._optimiser.zero_grad()
        loss = self._loss(self.model(self._x), self._y)
        loss.backward()
        self._optimiser.step()
        return loss.item()


def torch_trainer(task: Task, weights: dict[str, np.ndarray]) -> TorchTrainer:
    """In the memory format that is faster for this net."""
    formats = memory_formats(on_all_cores(), task.rank)
    tried = {name: TorchTrainer(task, weights, name) for name in formats}
    samples = interleave(tried, rounds=3, budget_s=0.2)
    best = min(formats, key=lambda name: min(map(min, samples[name])))
    trainer = TorchTrainer(task, weights, best)
    trainer.facts |= {"memory_format_samples": samples}
    return trainer
