"""What a node costs: multiply-adds, bytes, the algorithm that would compute it."""

from __future__ import annotations

import math

import jax.numpy as jnp

from ..geometry import multiply_adds
from ..lowerings import Target, core_spec
from ..planner import best_reading, choose, normalize_precision
from .nodes import Node


def work(node: Node) -> int:
    """Multiply-adds of a convolution (not those with padding) or of a matrix product; 0 for anything else."""
    if node.conv is not None:
        return multiply_adds(node.conv.spec)
    if node.op == "conv":
        return _touches(node)
    if node.name == "dot_general":
        (contracted, _), _ = node.params["dimension_numbers"]
        return node.results[0].size * math.prod(node.operands[0].shape[d] for d in contracted)
    return 0


def _touches(node: Node) -> int:
    """Of a convolution that is no slot of ours, as one that is dilated on both sides and strided."""
    operand, kernel, result = (*node.operands, *node.results)
    _, (out, *_), _ = node.params["dimension_numbers"]
    taps = math.prod(n for d, n in enumerate(kernel.shape) if d in node.params["dimension_numbers"][1][2:])
    meeting = kernel.size // (kernel.shape[out] * taps)
    places = result.size
    for w in node.windows:
        assert w.taps is not None
        size, n = operand.shape[w.operand_dim], result.shape[w.result_dim]
        places = places // n * sum(0 <= i < size for o in range(n) for i in w.taps(o))
    return places * meeting


def traffic(node: Node) -> int:
    """Least bytes: each operand read once, each result written once."""
    return sum(value.bytes for value in (*node.operands, *node.results))


def algorithm(node: Node, platform: str) -> str:
    """Of a convolution, what the planner takes; for one of lax under `jaxconv.install`. Else empty."""
    if node.conv is None:
        return ""
    dtype = jnp.dtype(node.params.get("dtype") or node.results[0].dtype)
    target = Target(platform, dtype, normalize_precision(node.params["precision"]))
    if node.conv.by == "lax":
        lhs, rhs = node.operands
        best = best_reading(lhs.shape, rhs.shape, node.params, target)
        return (best and best[1]) or ""
    core = core_spec(node.conv.spec)
    return "" if core is None else choose(node.conv.slot, core[0], target, node.conv.algorithm)[0].name
