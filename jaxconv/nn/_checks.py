"""What a layer refuses when it is constructed, and what it warns of."""

from __future__ import annotations

import math
import operator
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype as linen_promote
from flax.nnx.nn.dtypes import promote_dtype as nnx_promote

from ..geometry.padding import NAMES, pairs, per_axis
from ..ops.arguments import result_dtype

Ints = int | Sequence[int]
Padding = str | int | Sequence[int | tuple[int, int]]

CONV_PADDINGS = ("SAME", "SAME_LOWER", "VALID", "FULL", "CAUSAL", "CIRCULAR", "REFLECT")
TRANSPOSE_PADDINGS = (*NAMES, "CIRCULAR")


class CheckerboardWarning(UserWarning):
    """A transposed convolution's kernel covers some outputs more often than others.

    Its output shows a checkerboard that training can only reduce. To silence the warning where that is meant:
    `warnings.filterwarnings("ignore", category=jaxconv.nn.CheckerboardWarning)`.

    References:
      Odena, Dumoulin, Olah, Deconvolution and checkerboard artifacts, 2016, doi:10.23915/distill.00003.
    """


def window(kernel_size: Ints, name: str = "kernel_size") -> tuple[int, ...]:
    """The kernel's spatial shape, or that of the window of this name; an int is one dimension, as in Flax."""
    kernel_size = frozen(kernel_size)
    rank = len(kernel_size) if isinstance(kernel_size, Sequence) else 1
    if not rank:
        raise ValueError(f"{name}=() has no axis; give one int for each spatial dimension.")
    return positive(kernel_size, rank, name)


def positive(value: Ints | None, rank: int, name: str) -> tuple[int, ...]:
    """One int of at least 1 for each axis; None is 1, as in Flax."""
    values = per_axis(1 if value is None else value, rank, name)
    if min(values) < 1:
        raise ValueError(f"{name}={value!r} must be at least 1.")
    return values


def frozen(value: Any) -> Any:
    """Lists and NumPy's integers as Python's tuples and ints: what a layer holds besides arrays is hashed."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def padding_name(padding: Any, known: Sequence[str]) -> str | None:
    """The canonical name if `padding` is a string, else None."""
    if not isinstance(padding, str):
        return None
    if padding.upper() not in known:
        raise ValueError(
            f"padding={padding!r} is not known; use ints, (lo, hi) pairs, or one of {', '.join(known)}."
        )
    return padding.upper()


def check_features(feature_group_count: int, **features: int) -> None:
    """Refuses numbers of features that are not positive or that the groups do not divide."""
    for name, value in {"feature_group_count": feature_group_count, **features}.items():
        if not _is_positive(value):
            raise ValueError(f"{name}={value!r} must be a positive int.")
    common = math.gcd(*features.values())
    if common % feature_group_count:
        possible = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
        names = " and ".join(f"{name}={value}" for name, value in features.items())
        raise ValueError(
            f"feature_group_count={feature_group_count} must divide {names}; use one of {possible}."
        )


def as_array(value: Any, name: str) -> Any:
    """A list as an array; None and what has a shape stay what they are."""
    if value is None or hasattr(value, "shape"):
        return value
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of type {type(value).__name__} is not an array: {error}") from None


def check_inputs(
    inputs: Any, kernel_size: Ints, in_features: int | None = None, name: str = "kernel_size"
) -> jax.Array:
    """The inputs as an array; refuses those that are not `(*batch, *spatial, in_features)`."""
    if inputs is None:
        raise ValueError("inputs are None; wanted an array (*batch, *spatial, features).")
    inputs = as_array(inputs, "inputs")
    rank, shape = len(window(kernel_size, name)), inputs.shape
    if len(shape) < rank + 1:
        raise ValueError(
            f"inputs have shape {shape}; {name}={kernel_size} wants (*batch, *spatial, features) with "
            f"{rank} spatial axes."
        )
    if in_features not in (None, shape[-1]):
        raise ValueError(
            f"inputs of shape {shape} have {shape[-1]} features (the last axis); wanted "
            f"in_features={in_features}."
        )
    return inputs


def check_preferred(preferred: Any, promote: Any, dtype: Any, *operands: Any) -> None:
    """Refuses a result narrower than what is computed with: `dtype`, or what the operands promote to.

    A function of the user's for the promotion may make anything of the operands.
    """
    if preferred is not None and promote in (nnx_promote, linen_promote):
        result_dtype(jnp.result_type(*operands) if dtype is None else jnp.dtype(dtype), preferred)


def check_mask(mask: Any, kernel_shape: Sequence[int]) -> None:
    """Refuses a mask of another shape than the kernel's."""
    if mask is not None and tuple(mask.shape) != tuple(kernel_shape):
        raise ValueError(f"mask has shape {tuple(mask.shape)}; wanted the kernel's, {tuple(kernel_shape)}.")


def check_transpose(layer: Any) -> None:
    """Refuses a transposed convolution whose window is impossible."""
    kernel = window(layer.kernel_size)
    rank = len(kernel)
    strides = positive(layer.strides, rank, "strides")
    dilation = positive(layer.kernel_dilation, rank, "kernel_dilation")
    name = padding_name(layer.padding, TRANSPOSE_PADDINGS)
    if name is None:
        pairs(layer.padding, rank)
    extra = per_axis(layer.output_padding, rank, "output_padding")
    room = [max(both) for both in zip(strides, dilation, strict=True)]
    if not all(0 <= n < most for n, most in zip(extra, room, strict=True)):
        raise ValueError(
            f"output_padding={layer.output_padding} must be at least 0 and below "
            f"max(strides, kernel_dilation)={room}."
        )
    if layer.output_shape is not None:
        per_axis(layer.output_shape, rank, "output_shape")
    if any(extra) and (layer.output_shape is not None or name in ("SAME", "SAME_LOWER", "CIRCULAR")):
        raise ValueError(
            f"output_padding={layer.output_padding} adds to a size that padding={layer.padding!r} or "
            f"output_shape={layer.output_shape} fixes; give padding as numbers, or output_shape alone."
        )


def check_pool(layer: Any, paddings: Sequence[str] = NAMES) -> None:
    """Refuses a pooling whose window is impossible; its words become hashable."""
    layer.window, layer.strides, layer.padding = map(frozen, (layer.window, layer.strides, layer.padding))
    rank = len(window(layer.window, "window"))
    positive(layer.strides, rank, "strides")
    if not paddings or padding_name(layer.padding, paddings) is None:
        pairs(layer.padding, rank)


def warn_of_checkerboard(kernel_size: Ints, strides: Ints | None, kernel_dilation: Ints | None) -> None:
    """Warns if not every output of a transposed convolution meets the same number of taps.

    Tap k reaches the outputs of phase k * dilation mod stride. If the two have no common divisor, the taps
    fill the phases evenly exactly if stride divides kernel; otherwise some phases are never reached.
    """
    kernel = window(kernel_size)
    steps = positive(strides, len(kernel), "strides")
    dilation = positive(kernel_dilation, len(kernel), "kernel_dilation")
    if any(math.gcd(*both) > 1 for both in zip(steps, dilation, strict=True)):
        remedy = "a kernel_dilation that shares no divisor with strides"
    elif any(k % s for k, s in zip(kernel, steps, strict=True)):
        whole = tuple(-(-k // s) * s for k, s in zip(kernel, steps, strict=True))
        remedy = f"kernel_size={whole}, a multiple of strides"
    else:
        return
    warnings.warn(
        f"ConvTranspose with kernel_size={kernel}, strides={steps}, kernel_dilation={dilation} reaches some "
        f"outputs more often than others, which draws a checkerboard. Use {remedy}; or ResizeConv or "
        "SubpixelConv.",
        CheckerboardWarning,
        stacklevel=_callers_level(),
    )


def check_method(method: Any) -> None:
    """Refuses what jax.image.resize does not know."""
    if isinstance(method, jax.image.ResizeMethod):
        return
    try:
        jax.image.ResizeMethod.from_string(method)
    except ValueError:
        known = ", ".join(m.name.lower().replace("_", "-") for m in jax.image.ResizeMethod)
        raise ValueError(
            f"method={method!r} is not known; use a jax.image.ResizeMethod or a name: {known}."
        ) from None


def _is_positive(value: Any) -> bool:
    try:
        return operator.index(value) > 0
    except TypeError:
        return False


def _callers_level() -> int:
    """The stacklevel that names the line which constructs the layer.

    Between that line and this package each version of Flax has another number of frames of its own.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("flax", "jaxconv"):
        level, frame = level + 1, frame.f_back
    return level
