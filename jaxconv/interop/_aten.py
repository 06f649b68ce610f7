"""PyTorch's operators as JAX functions: element by element, of shapes, and reductions.

Each function takes what the operator's schema lists, in its order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ._aten_layers import LAYERS


def _first(x, *_):
    return x


def _added(a, b, alpha=1):
    return a + (b if alpha == 1 else b * alpha)


def _clamp(x, low=None, high=None):
    x = x if low is None else jnp.maximum(x, low)
    return x if high is None else jnp.minimum(x, high)


def _gelu(x, approximate="none"):
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def _prelu(x, weight):
    if weight.size > 1:
        weight = weight.reshape((1, -1) + (1,) * (x.ndim - 2))
    return jnp.where(x > 0, x, x * weight.reshape(weight.shape if weight.size > 1 else (1,) * x.ndim))


def _softplus(x, beta=1, threshold=20):
    return jnp.where(x * beta > threshold, x, jax.nn.softplus(x * beta) / beta)


def _elu(x, alpha=1.0, scale=1.0, input_scale=1.0):
    return scale * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(x, 0) * input_scale))


def _divided(a, b, rounding_mode=None):
    if rounding_mode == "floor":
        return jnp.floor_divide(a, b)
    return jnp.trunc(a / b) if rounding_mode == "trunc" else a / b


def _linear(x, weight, bias=None):
    y = x @ weight.T
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def _addmm(bias, a, b, beta=1, alpha=1):
    return _added(beta * bias.reshape((1,) * (2 - bias.ndim) + bias.shape), a @ b, alpha)


def _axes(dim: Any) -> Any:
    """PyTorch's empty list of axes means all."""
    return tuple(dim) or None if isinstance(dim, list | tuple) else dim


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=None, keepdim=False, *_: function(x, axis=_axes(dim), keepdims=keepdim)


def _extreme(function: Callable[..., Any], where: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim, keepdim=False: (
        function(x, axis=dim, keepdims=keepdim),
        where(x, axis=dim, keepdims=keepdim),
    )


def _variance(x, dim=None, correction=1, keepdim=False):
    return jnp.var(x, axis=_axes(dim), ddof=1 if correction is None else correction, keepdims=keepdim)


def _shaped(x, shape):
    return x.reshape(tuple(shape))


def _flatten(x, start, end):
    start, end = start % max(x.ndim, 1), end % max(x.ndim, 1)
    return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def _unflatten(x, dim, sizes):
    dim %= x.ndim
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def _squeeze(x, dim=None):
    dims = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    return jnp.squeeze(x, tuple(d % x.ndim for d in dims if x.shape[d] == 1))


def _expand(x, sizes, *_):
    shape = (1,) * (len(sizes) - x.ndim) + x.shape
    return jnp.broadcast_to(
        x.reshape(shape), tuple(b if n == -1 else n for b, n in zip(shape, sizes, strict=True))
    )


def _repeat(x, repeats):
    return jnp.tile(x.reshape((1,) * (len(repeats) - x.ndim) + x.shape), tuple(repeats))


def _slice(x, dim=0, start=None, end=None, step=1):
    at: list[Any] = [slice(None)] * x.ndim
    at[dim] = slice(start, end, step)
    return x[tuple(at)]


def _split(x, size, dim=0):
    points = range(size, x.shape[dim], size)
    return tuple(jnp.split(x, list(points), axis=dim))


def _split_sizes(x, sizes, dim=0):
    points = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return tuple(jnp.split(x, points, axis=dim))


def _chunk(x, chunks, dim=0):
    return _split(x, max(-(-x.shape[dim] // chunks), 1), dim)


def _transpose(x, a, b):
    return jnp.swapaxes(x, a, b)


def _to(x, dtype=None, *_):
    return x if not isinstance(dtype, jnp.dtype) else x.astype(dtype)


def _at(where):
    return tuple(slice(None) if i is None else i for i in where)


def _put(x, where, values, accumulate=False):
    place = x.at[_at(where)]
    return place.add(values) if accumulate else place.set(values)


UNARY: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(jnp, name)
        for name in ("tanh", "exp", "log", "sqrt", "abs", "sin", "cos", "floor", "ceil")
    },
    **{name: getattr(jnp, name) for name in ("square", "reciprocal", "sign", "log1p", "expm1", "round")},
    **{name: getattr(jax.nn, name) for name in ("relu", "sigmoid", "relu6", "silu", "mish", "selu")},
    "neg": jnp.negative,
    "rsqrt": jax.lax.rsqrt,
    "erf": jax.scipy.special.erf,
    "hardsigmoid": lambda x: _clamp(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * (_clamp(x + 3, 0, 6) / 6),
    "log_sigmoid": jax.nn.log_sigmoid,
    "hardtanh": lambda x, low=-1, high=1: _clamp(x, low, high),
    "leaky_relu": lambda x, slope=0.01: jnp.where(x > 0, x, x * slope),
    "elu": _elu,
    "celu": lambda x, alpha=1: _elu(x, alpha, 1, 1 / alpha),
    "gelu": _gelu,
    "softplus": _softplus,
    "prelu": _prelu,
    "_prelu_kernel": lambda x, weight: jnp.where(x > 0, x, x * weight),
    "clamp": _clamp,
    "clamp_min": jnp.maximum,
    "clamp_max": jnp.minimum,
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "clone", "contiguous", "alias"), _first),
    **dict.fromkeys(("detach", "lift_fresh_copy", "detach_copy"), _first),
    "native_dropout": lambda x, *_: (x, None),
    "to.dtype": _to,
    "_to_copy": _to,
    "_assert_tensor_metadata": lambda *_: None,
}
BINARY: dict[str, Callable[..., Any]] = {
    "add": _added,
    "sub": lambda a, b, alpha=1: a - (b if alpha == 1 else b * alpha),
    "rsub": lambda a, b, alpha=1: b - (a if alpha == 1 else a * alpha),
    "mul": lambda a, b: a * b,
    "div": _divided,
    "pow": jnp.power,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "where": jnp.where,
    **{name: getattr(jnp, long) for name, long in {"eq": "equal", "ne": "not_equal", "lt": "less"}.items()},
    **{
        name: getattr(jnp, long)
        for name, long in {"gt": "greater", "ge": "greater_equal", "le": "less_equal"}.items()
    },
    "matmul": jnp.matmul,
    "mm": jnp.matmul,
    "bmm": jnp.matmul,
    "linear": _linear,
    "addmm": _addmm,
    "embedding": lambda weight, indices, *_: weight[indices],
}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "mean": _reduced(jnp.mean),
    "mean.default": lambda x, *_: jnp.mean(x),
    "sum": _reduced(jnp.sum),
    "sum.default": lambda x, *_: jnp.sum(x),
    "amax": _reduced(jnp.max),
    "amin": _reduced(jnp.min),
    "argmax": lambda x, dim=None, keepdim=False: jnp.argmax(x, axis=dim, keepdims=keepdim),
    "max.dim": _extreme(jnp.max, jnp.argmax),
    "min.dim": _extreme(jnp.min, jnp.argmin),
    "var.correction": _variance,
    "var.dim": _variance,  # unbiased is a correction of 1
    "std.correction": lambda *args: jnp.sqrt(_variance(*args)),
    **dict.fromkeys(("softmax", "_softmax"), lambda x, dim, *_: jax.nn.softmax(x, axis=dim)),
    **dict.fromkeys(("log_softmax", "_log_softmax"), lambda x, dim, *_: jax.nn.log_softmax(x, axis=dim)),
}
SHAPES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_copy"), _shaped),
    "flatten": _flatten,
    "unflatten": _unflatten,
    "squeeze": _squeeze,
    "unsqueeze": lambda x, dim: jnp.expand_dims(x, dim),
    "permute": lambda x, dims: jnp.transpose(x, dims),
    "transpose": _transpose,
    "t": lambda x: x.T,
    "expand": _expand,
    "repeat": _repeat,
    "cat": lambda xs, dim=0: jnp.concatenate(xs, axis=dim),
    "stack": lambda xs, dim=0: jnp.stack(xs, axis=dim),
    "split": _split,
    **dict.fromkeys(("split_with_sizes", "split.sizes"), _split_sizes),
    "chunk": _chunk,
    "slice": _slice,
    "select": lambda x, dim, index: jnp.take(x, index, axis=dim),
    "flip": lambda x, dims: jnp.flip(x, tuple(dims)),
    "roll": lambda x, shifts, dims: jnp.roll(x, tuple(shifts), tuple(dims) or None),
    "index_select": lambda x, dim, index: jnp.take(x, index, axis=dim),
    "index": lambda x, where: x[_at(where)],
    "index_put": _put,
    "ones": lambda shape, dtype=None: jnp.ones(tuple(shape), dtype),
    "zeros": lambda shape, dtype=None: jnp.zeros(tuple(shape), dtype),
    "full": lambda shape, value, dtype=None: jnp.full(tuple(shape), value, dtype),
    "arange": lambda end, dtype=None: jnp.arange(end, dtype=dtype),
    "arange.start": lambda start, end, dtype=None: jnp.arange(start, end, dtype=dtype),
    "arange.start_step": lambda start, end, step=1, dtype=None: jnp.arange(start, end, step, dtype=dtype),
    "sym_size": lambda x, dim: x.shape[dim],
    "zeros_like": lambda x, *_: jnp.zeros_like(x),
    "ones_like": lambda x, *_: jnp.ones_like(x),
}
OPERATORS = LAYERS | UNARY | BINARY | REDUCTIONS | SHAPES

# Of these an argument, by its place, says that they are in training mode, where each call changes them.
TRAINING = {"batch_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2, "native_dropout": 2}
