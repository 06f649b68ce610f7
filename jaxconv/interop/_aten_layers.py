"""PyTorch's operators that have windows, maps or statistics, by jaxconv's: data is channels first.

Each function takes what the operator's schema lists, in its order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..ops.conv import conv, conv_transpose
from ..ops.pool import adaptive_max_pool, max_pool, max_unpool
from ..ops.pool_mean import adaptive_avg_pool, avg_pool
from ..ops.resize import resize
from ..ops.shuffle import pixel_shuffle, pixel_unshuffle
from ._layers import TORCH
from ._layout import convert

FIRST: dict[str, Any] = {"layout": "channels_first"}
_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _each(value: Any, rank: int) -> Any:
    """One for each spatial axis; PyTorch lets one stand for all."""
    return tuple(value) * (rank if len(value) == 1 else 1) if isinstance(value, Sequence) else (value,) * rank


def _conv(x, weight, bias, stride, padding, dilation, groups):
    kernel, rank = convert(weight, "conv", source=TORCH), weight.ndim - 2
    pads: Any = padding.upper() if isinstance(padding, str) else _each(padding, rank)
    stride, dilation = _each(stride, rank), _each(dilation, rank)
    return conv(x, kernel, bias, stride=stride, padding=pads, dilation=dilation, groups=groups, **FIRST)


def _conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation):
    kernel, rank = convert(weight, "conv_transpose", source=TORCH), weight.ndim - 2
    words = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    options = {word: _each(value, rank) for word, value in words.items()}
    return conv_transpose(x, kernel, bias, groups=groups, **options, **FIRST)


def _convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    if transposed:
        return _conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _conv(x, weight, bias, stride, padding, dilation, groups)


def _max_pool(rank: int, indices: bool) -> Callable[..., Any]:
    def run(x, kernel_size, stride, padding, dilation, ceil_mode):
        window = _each(kernel_size, rank)
        return max_pool(
            x,
            window,
            stride=_each(stride, rank) or window,
            padding=_each(padding, rank),
            dilation=_each(dilation, rank),
            ceil_mode=ceil_mode,
            return_indices=indices,
            **FIRST,
        )

    return run


def _avg_pool(rank: int) -> Callable[..., Any]:
    def run(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None):
        window = _each(kernel_size, rank)
        return avg_pool(
            x,
            window,
            stride=_each(stride, rank) or window,
            padding=_each(padding, rank),
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor_override=divisor_override,
            **FIRST,
        )

    return run


def _max_unpool(rank: int) -> Callable[..., Any]:
    def run(x, indices, output_size, *_windows):
        return max_unpool(x, indices, (1,) * rank, output_size=_each(output_size, rank), **FIRST)

    return run


def _adaptive(rank: int, pool: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda x, output_size: pool(x, _each(output_size, rank), **options, **FIRST)


def _upsample(method: Any, *, antialias: bool = False) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The overload with `scale_factors`, and the one with the size and a scale for each axis."""
    aligns = method in ("linear", "cubic")

    def resized(x, size, scales, align_corners):
        scaled = bool(scales) and all(scale is not None for scale in scales)
        if scaled and size is not None:  # a scale that does not lead to this size is not the one meant
            scaled = all(
                math.floor(n * s) == out for n, s, out in zip(x.shape[2:], scales, size, strict=True)
            )
        aim = {"scale": tuple(scales)} if scaled else {"size": size}
        return resize(x, method=method, align_corners=align_corners, antialias=antialias, **aim, **FIRST)

    def vec(x, output_size, *rest):
        *align, scale_factors = rest
        return resized(x, output_size, scale_factors, bool(align and align[0]))

    def default(x, output_size, *rest):
        align, scales = (rest[0], rest[1:]) if aligns else (False, rest)
        return resized(x, output_size, scales, align)

    return vec, default


def _channel_wise(x: jax.Array, vector: jax.Array | None, otherwise: float) -> Any:
    """A vector of channels, or what stands for none, to go with channels-first data."""
    return otherwise if vector is None else vector.reshape((1, -1) + (1,) * (x.ndim - 2))


def _batch_norm(x, weight, bias, mean, var, *options):
    eps = options[2] if len(options) == 4 else options[-1]
    centred = x - _channel_wise(x, mean, 0.0)
    scale = jax.lax.rsqrt(var + eps) * (1 if weight is None else weight)
    return centred * _channel_wise(x, scale, 1.0) + _channel_wise(x, bias, 0.0)


def _standardised(x: jax.Array, axes: tuple[int, ...], eps: float) -> jax.Array:
    centred = x - x.mean(axes, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(axes, keepdims=True) + eps)


def _group_norm(x, groups, weight, bias, eps, *_):
    parts = x.reshape(x.shape[0], groups, -1)
    y = _standardised(parts, (2,), eps).reshape(x.shape)
    return y * _channel_wise(x, weight, 1.0) + _channel_wise(x, bias, 0.0)


def _layer_norm(x, shape, weight, bias, eps, *_):
    y = _standardised(x, tuple(range(x.ndim - len(shape), x.ndim)), eps)
    y = y if weight is None else y * weight.reshape((1,) * (x.ndim - weight.ndim) + weight.shape)
    return y if bias is None else y + bias.reshape((1,) * (x.ndim - bias.ndim) + bias.shape)


def _instance_norm(x, weight, bias, mean, var, use_input_stats, momentum, eps, *_):
    if not use_input_stats:
        return _batch_norm(x, weight, bias, mean, var, momentum, eps)
    return _group_norm(x, x.shape[1], weight, bias, eps)


def _batch_statistics(x, weight, bias, _training, _momentum, eps):
    y = _standardised(x, (0, *range(2, x.ndim)), eps)
    return y * _channel_wise(x, weight, 1.0) + _channel_wise(x, bias, 0.0), None, None


def pad(x: jax.Array, widths: Sequence[int], mode: str = "constant", value: float | None = None) -> jax.Array:
    """PyTorch's `pad`: (lo, hi) of the last axis first; negative widths crop."""
    pairs = [(0, 0)] * (x.ndim - len(widths) // 2)
    pairs += [(widths[i], widths[i + 1]) for i in range(len(widths) - 2, -1, -2)]
    cropped = tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(x.shape, pairs, strict=True))
    options = {"constant_values": value or 0} if mode == "constant" else {}
    added = [(max(lo, 0), max(hi, 0)) for lo, hi in pairs]
    return jnp.pad(x[cropped], added, mode=_MODES[mode], **options)  # pyright: ignore[reportArgumentType]


def _channel_shuffle(x, groups):
    n, channels, *size = x.shape
    return x.reshape(n, groups, channels // groups, *size).swapaxes(1, 2).reshape(x.shape)


LAYERS: dict[str, Callable[..., Any]] = {
    "convolution": _convolution,
    "_convolution": lambda *args: _convolution(*args[:9]),
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": lambda *args: (_batch_norm(*args), None, None),
    "_native_batch_norm_legit.no_stats": _batch_statistics,
    "group_norm": _group_norm,
    "native_group_norm": lambda x, w, b, _n, _c, _size, groups, eps: (
        _group_norm(x, groups, w, b, eps),
        None,
        None,
    ),
    "layer_norm": _layer_norm,
    "native_layer_norm": lambda *args: (_layer_norm(*args), None, None),
    "instance_norm": _instance_norm,
    "pixel_shuffle": lambda x, r: pixel_shuffle(x, (r, r), **FIRST),
    "pixel_unshuffle": lambda x, r: pixel_unshuffle(x, (r, r), **FIRST),
    "channel_shuffle": _channel_shuffle,
    "native_channel_shuffle": _channel_shuffle,
    "pad": pad,
    "constant_pad_nd": lambda x, widths, value: pad(x, widths, value=value),
}
for _n in (1, 2, 3):
    LAYERS |= {
        f"conv{_n}d": _conv,
        f"conv_transpose{_n}d": _conv_transpose,
        f"max_pool{_n}d": _max_pool(_n, False),
        f"max_pool{_n}d_with_indices": _max_pool(_n, True),
        f"avg_pool{_n}d": _avg_pool(_n),
        f"max_unpool{_n}d": _max_unpool(_n),
        f"adaptive_avg_pool{_n}d": _adaptive(_n, adaptive_avg_pool),
        f"_adaptive_avg_pool{_n}d": _adaptive(_n, adaptive_avg_pool),
        f"adaptive_max_pool{_n}d": _adaptive(_n, adaptive_max_pool, return_indices=True),
        f"reflection_pad{_n}d": lambda x, widths: pad(x, widths, "reflect"),
        f"replication_pad{_n}d": lambda x, widths: pad(x, widths, "replicate"),
    }
    for _name, _method in {
        f"nearest{_n}d": "nearest",
        f"nearest_exact{_n}d": "nearest-exact",
        ("linear1d", "bilinear2d", "trilinear3d")[_n - 1]: "linear",
        "bicubic2d": "cubic",
    }.items():
        _vec, _default = _upsample(_method)
        _op = f"{'_' * _name.startswith('nearest_exact')}upsample_{_name}"
        LAYERS |= {f"{_op}.vec": _vec, _op: _default}
for _name, _method in {"bilinear2d": "linear", "bicubic2d": "cubic"}.items():
    _vec, _default = _upsample(_method, antialias=True)
    LAYERS |= {f"_upsample_{_name}_aa.vec": _vec, f"_upsample_{_name}_aa": _default}
