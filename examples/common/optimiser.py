"""Optimisers and learning rates, all of them optax's."""

from typing import Any

import jax
import optax

from .config import TrainConfig


def schedule(config: TrainConfig) -> optax.Schedule:
    """The learning rate of each step: a linear warm-up from a hundredth, then the rest of the way."""
    peak, warmup = config.learning_rate, min(config.warmup, config.steps // 10)
    after = config.steps - warmup
    rest = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, after, alpha=0.01),
        "constant": lambda: optax.constant_schedule(peak),
        "poly": lambda: optax.polynomial_schedule(peak, 0.0, config.power, after),
        "steps": lambda: optax.piecewise_constant_schedule(
            peak, {round(share * config.steps) - warmup: 0.1 for share in config.milestones}
        ),
    }[config.schedule]()
    if not warmup:
        return rest
    return optax.join_schedules([optax.linear_schedule(peak / 100, peak, warmup), rest], [warmup])


def make_optimiser(config: TrainConfig) -> optax.GradientTransformation:
    rate = schedule(config)
    clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
    if config.optimiser == "adam":
        return optax.chain(clip, optax.adam(rate))
    if config.optimiser == "adamw":
        return optax.chain(clip, optax.adamw(rate, weight_decay=config.weight_decay, mask=_kernels))
    decay = optax.add_decayed_weights(config.weight_decay, _kernels)
    return optax.chain(clip, decay, optax.sgd(rate, momentum=config.momentum))


def _kernels(params: Any) -> Any:
    """Biases and scales, which have one axis, are not pulled to zero."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
