"""The one table of kernel layouts, the two functions that read it, and orders that no table can hold.

A layout is a word with one letter per axis: ``*`` stands for all window axes, ``o`` and ``i`` for the
channels of the layer's output and input (the one that groups divide is known from the operator), ``m`` for a
depthwise layer's channel multiplier. ``~`` in place of ``*`` says that the window is stored reversed. A
conversion moves letters to their new places, and reverses the window when exactly one of the two words has
``~``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import jax
import numpy as np

Array = TypeVar("Array", np.ndarray, jax.Array)

JAXCONV = "jaxconv"

TABLE: dict[str, dict[str, str]] = {
    "conv": {
        JAXCONV: "*io",
        "torch/onnx": "oi*",
        "keras/tensorflow": "*io",
        "flax": "*io",
        "equinox": "oi*",
        "haiku": "*io",
    },
    # jaxconv stores the kernel of the convolution that is transposed, whose output is this layer's input.
    "conv_transpose": {
        JAXCONV: "*oi",
        "torch/onnx": "io*",
        "keras/tensorflow": "*oi",
        "flax": "~io",
        "flax with transpose_kernel=True": "*oi",
        "equinox": "oi~",  # with groups `regroup` follows: there they divide the input's channels
        "haiku": "~oi",
    },
    # jaxconv folds the last two into one axis, input channel major: (*k, 1, i*m).
    "depthwise": {
        JAXCONV: "*im",
        "keras/tensorflow": "*im",
    },
    "linear": {
        JAXCONV: "io",
        "torch/onnx": "oi",
        "keras/tensorflow": "io",
        "flax": "io",
        "equinox": "oi",
        "haiku": "io",
    },
}

# A grouped kernel holds one group's share of the channels that each tap sums over; a transposed one is the
# kernel of the convolution, so there it is the result's channels.
_NAMES = {
    "conv": {"o": "out", "i": "in/groups"},
    "conv_transpose": {"o": "out/groups", "i": "in"},
    "depthwise": {"i": "in", "m": "multiplier"},
    "linear": {"o": "out", "i": "in"},
}


def convert(
    array: Array,
    operator: str,
    *,
    source: str = JAXCONV,
    target: str = JAXCONV,
    shape: Sequence[int] | None = None,
) -> Array:
    """The kernel of `operator`, stored as library `source` stores it, as library `target` stores it.

    Args:
      array: the kernel; a NumPy array gives a NumPy array (a view), a JAX array a JAX array.
      operator: a key of `TABLE`.
      source: the library that the kernel comes from.
      target: the library that it goes to.
      shape: the shape that the result must have; None accepts any.

    Returns:
      The converted kernel.

    Raises:
      ValueError: for something that is no array, a rank no kernel has, or a result of another shape.
    """
    words = TABLE[operator]
    _check_array(array, f"{source} {operator} kernel", wanted=_describe(operator, words[source]))
    if operator != "linear" and array.ndim < 3:
        raise ValueError(
            f"{source} {operator} kernel: got rank {array.ndim}, shape {array.shape}; "
            f"wanted {_describe(operator, words[source])} with at least one window axis."
        )
    result = _reorder(array, words[source], words[target])
    if shape is not None and _tuple(shape) != result.shape:
        raise ValueError(_mismatch(array, operator, source, target, _tuple(shape), result.shape))
    return result


def regroup(kernel: Array, groups: int) -> Array:
    """Moves the groups from the last axis but one to the last: (*k, g·out, in) -> (*k, out, g·in)."""
    *window, out, inputs = kernel.shape
    kernel = kernel.reshape(*window, groups, out // groups, inputs).swapaxes(-3, -2)
    return kernel.reshape(*window, out // groups, groups * inputs)


def fold(kernel: Array) -> Array:
    """A depthwise kernel as that of a convolution with as many groups: (*k, in, m) -> (*k, 1, in·m)."""
    *window, channels, multiplier = kernel.shape
    return kernel.reshape(*window, 1, channels * multiplier)


def channels_last(array: Array, axis: int, channels: int) -> Array:
    """An axis that lists flattened maps (channels, *spatial), in the order (*spatial, channels).

    With the number of positions in place of `channels` it is the inverse.
    """
    shape = array.shape
    array = array.reshape(*shape[:axis], channels, -1, *shape[axis + 1 :])
    return array.swapaxes(axis, axis + 1).reshape(shape)


def convert_bias(array: Array, *, source: str, shape: Sequence[int] | None = None) -> Array:
    """The bias after a check of its rank and shape; every library stores one number per output channel."""
    _check_array(array, f"{source} bias", wanted="(out,)")
    if array.ndim != 1 or (shape is not None and _tuple(shape) != array.shape):
        wanted = "(out,)" if shape is None else _tuple(shape)
        raise ValueError(
            f"{source} bias: got shape {array.shape}, wanted {wanted}; pass the bias, not the kernel."
        )
    return array


def _tuple(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(shape)
    except TypeError:
        raise ValueError(f"shape={shape!r} must be a tuple of ints, the whole shape of the result.") from None


def _check_array(array: object, what: str, *, wanted: str) -> None:
    """Refuses lists, tensors and parameters: their `transpose` means other things, or they have none."""
    if not isinstance(array, np.ndarray | jax.Array):
        raise ValueError(
            f"{what}: got {type(array).__module__}.{type(array).__name__}, wanted a NumPy or JAX array "
            f"{wanted}; pass tensor.detach().cpu().numpy(), parameter[...] or numpy.asarray(value)."
        )


def _axes(word: str, window: int) -> list[str | int]:
    """The axes that a word names: its letters, the window's axes as numbers."""
    return [axis for letter in word for axis in (range(window) if letter in "*~" else letter)]


def _reorder(array: Array, source: str, target: str) -> Array:
    given, wanted = _axes(source, array.ndim - 2), _axes(target, array.ndim - 2)
    array = array.transpose([given.index(axis) for axis in wanted])
    if ("~" in source) != ("~" in target):
        array = array[tuple(slice(None, None, -1 if isinstance(axis, int) else None) for axis in wanted)]
    return array


def _describe(operator: str, word: str) -> str:
    return "(" + ", ".join(_NAMES[operator].get(letter, "*window") for letter in word) + ")"


def _mismatch(array: Array, operator: str, source: str, target: str, wanted: tuple, got: tuple) -> str:
    """What was received and wanted, and the layouts under which the same array would have fitted."""
    words = TABLE[operator]
    fitting = [
        f"{library}'s {_describe(operator, word)}"
        for library, word in words.items()
        if _reorder(array, word, words[target]).shape == wanted
    ]
    return (
        f"{source} {operator} kernel: got shape {array.shape}, which read as "
        f"{_describe(operator, words[source])} gives {got}, wanted {wanted}; "
        + (f"it would fit as {', '.join(fitting)}." if fitting else "no known layout of it fits.")
    )
