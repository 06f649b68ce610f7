"""Every spelling of padding, normalised once to one `Axis` for each spatial dimension.

The strings, with span = dilation * (kernel - 1) + 1:

| string       | convolution                                      | transposed convolution, n inputs     |
|--------------|--------------------------------------------------|--------------------------------------|
| "VALID"      | no padding                                       | out = (n-1)*stride + max(span,stride)|
| "SAME"       | out = ceil(size/stride), odd zero behind         | out = n*stride                       |
| "SAME_LOWER" | the same, odd zero in front                      | out = n*stride                       |
| "FULL"       | span - 1 on both sides                           | crops span - 1 on both sides         |
| "CAUSAL"     | span - 1 in front                                | out = n*stride, the end is cropped   |

"VALID" and "SAME" are TensorFlow's. A transposed "CAUSAL" is causal itself (output t sees inputs up to
t / stride), so it crops behind; the adjoint of a causal convolution would look into the future.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, Literal, get_args

from .axis import Axis

Name = Literal["VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL"]
Padding = int | Sequence[int] | Sequence[tuple[int, int]] | Name
NAMES: tuple[str, ...] = get_args(Name)


def per_axis(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """One integer for each axis from an integer or a sequence of `rank` of them."""
    if is_int(value):
        return (to_int(value, name),) * rank
    values = _sequence(value, rank, name, "an int or one int for each spatial dimension")
    if not all(is_int(v) for v in values):
        raise ValueError(f"{name}={value!r} must hold integers.")
    return tuple(to_int(v, name) for v in values)


def to_int(value: Any, name: str) -> int:
    """A value as a Python int; geometry is decided while tracing, so it can't be traced itself."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ValueError(
            f"{name}={value!r} of type {type(value).__name__} must be an int, known while tracing "
            "(under jit: a static argument, or one bound outside)."
        ) from None


def pairs(padding: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """`((lo, hi), ...)` from an int, one int for each axis, or one pair for each axis."""
    if is_int(padding):
        padding = (padding,) * rank
    entries = _sequence(
        padding, rank, "padding", f"an int, {rank} ints, {rank} (lo, hi) pairs, or one of {NAMES}"
    )
    return tuple(_pair(entry, padding) for entry in entries)


def _pair(entry: Any, padding: Any) -> tuple[int, int]:
    if is_int(entry):
        return to_int(entry, "padding"), to_int(entry, "padding")
    try:
        lo, hi = entry
        return to_int(lo, "padding"), to_int(hi, "padding")
    except (TypeError, ValueError):
        raise ValueError(
            f"padding={padding!r} holds {entry!r}; wanted an int or a pair (lo, hi) of ints."
        ) from None


def name_of(padding: Any) -> str | None:
    """The canonical name if `padding` is a string, else None."""
    if not isinstance(padding, str):
        return None
    if padding.upper() not in NAMES:
        raise ValueError(
            f"padding={padding!r} is not known; use ints, (lo, hi) pairs, or one of {', '.join(NAMES)}."
        )
    return padding.upper()


def normalize(
    padding: Padding,
    *,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
) -> tuple[Axis, ...]:
    """The axes of a convolution.

    Args:
      padding: int, one int for each axis, one `(lo, hi)` for each axis, or a string of the table above.
      size: input positions for each axis.
      kernel: taps for each axis.
      stride: stride, one for all axes or one for each.
      dilation: dilation, one for all axes or one for each.

    Returns:
      One `Axis` for each spatial dimension.

    Raises:
      ValueError: for padding of another form, length or name.

    Example:
      >>> normalize("SAME", size=[7], kernel=[4], stride=[2], dilation=[1])
      (Axis(size=7, kernel=4, stride=2, dilation=1, lo=1, hi=2, base=1),)
    """
    strides, dilations = per_axis(stride, len(size), "stride"), per_axis(dilation, len(size), "dilation")
    bare = [Axis(*args) for args in zip(size, kernel, strides, dilations, strict=True)]
    name = name_of(padding)
    pads = pairs(padding, len(bare)) if name is None else tuple(_named(name, axis) for axis in bare)
    return tuple(dataclasses.replace(axis, lo=lo, hi=hi) for axis, (lo, hi) in zip(bare, pads, strict=True))


def normalize_transposed(
    padding: Padding,
    *,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    output_padding: int | Sequence[int] | None = None,
    output_shape: int | Sequence[int] | None = None,
) -> tuple[Axis, ...]:
    """The axes of the convolution whose adjoint is the wanted transposed convolution.

    Args:
      padding: padding of that convolution (it crops the output), or a string of the table above.
      size: positions of the transposed convolution's own input for each axis.
      kernel: taps for each axis.
      stride: stride, one for all axes or one for each.
      dilation: dilation, one for all axes or one for each.
      output_padding: positions added behind the output for each axis, below max(stride, dilation).
      output_shape: wanted output positions for each axis; padding or output_padding follow from it.

    Returns:
      One `Axis` for each spatial dimension, with `axis.out == size` and `axis.size` the output size.

    Raises:
      ValueError: if no convolution has these sizes; the message lists the sizes that are possible.

    Example:
      >>> [axis] = normalize_transposed(1, size=[4], kernel=[3], stride=[2], dilation=[1], output_shape=[8])
      >>> axis.size, axis.lo, axis.hi, axis.out
      (8, 1, 0, 4)
    """
    rank = len(size)
    name = name_of(padding)
    pads = [None] * rank if name else list(pairs(padding, rank))
    strides, dilations = per_axis(stride, rank, "stride"), per_axis(dilation, rank, "dilation")
    extra = per_axis(0 if output_padding is None else output_padding, rank, "output_padding")
    wanted = [None] * rank if output_shape is None else per_axis(output_shape, rank, "output_shape")
    if output_shape is not None and any(extra):
        raise ValueError(
            f"output_padding={output_padding} and output_shape={output_shape} both name the size; give "
            "one of them."
        )
    # A bare axis is used for its span, stride and dilation; its size is the transposed convolution's input.
    bare = [Axis(*args) for args in zip(size, kernel, strides, dilations, strict=True)]
    return tuple(_transposed_axis(name, pads[i], bare[i], extra[i], wanted[i], i) for i in range(rank))


def _transposed_axis(
    name: str | None, pads: tuple[int, int] | None, own: Axis, extra: int, wanted: int | None, index: int
) -> Axis:
    where = f"spatial dimension {index} (size {own.size}, kernel {own.kernel}, stride {own.stride})"
    room = max(own.stride, own.dilation)
    if not 0 <= extra < room:
        raise ValueError(
            f"output_padding={extra} in {where} must be at least 0 and below max(stride, dilation)={room}."
        )
    if own.size == 0 and not wanted:
        return Axis(0, own.kernel, own.stride, own.dilation)  # nothing in, nothing out, however it is padded
    full = (own.size - 1) * own.stride + own.span if own.size else 0
    lo: int | None = None  # "SAME" has a front that depends on the output's size
    if name in ("SAME", "SAME_LOWER"):
        if extra:
            raise ValueError(
                f"output_padding={extra} does not go with padding={name!r}, which fixes the size to size * "
                "stride; use output_shape, or padding as numbers."
            )
        largest = usual = own.size * own.stride
        smallest = max(largest - own.stride + 1, 0)
    else:
        lo, hi = _crop(name, own) if pads is None else pads
        smallest = full - lo - hi
        largest = smallest + room - 1
        keras = max(own.stride - own.span, 0) if name == "VALID" else 0
        usual = smallest + (extra or keras)
    out = usual if wanted is None else wanted
    if out < 0 or (wanted is not None and not smallest <= wanted <= largest):
        raise ValueError(
            f"{'an output' if wanted is None else 'output_shape'} of {out} is impossible in {where} with "
            f"padding={name or pads!r}; possible sizes are {_range(max(smallest, 0), largest)}."
        )
    front = _named(name or "", dataclasses.replace(own, size=out))[0] if lo is None else lo
    return Axis(out, own.kernel, own.stride, own.dilation, front, full - front - out)


def _crop(name: str | None, own: Axis) -> tuple[int, int]:
    """What a named transposed padding crops in front and behind."""
    if name == "CAUSAL":
        return 0, own.span - own.stride
    if name == "FULL":
        return own.span - 1, own.span - 1
    return 0, 0


def _named(name: str, axis: Axis) -> tuple[int, int]:
    """Front and back padding of a convolution for a named padding."""
    if name == "VALID":
        return 0, 0
    if name == "FULL":
        return axis.span - 1, axis.span - 1
    if name == "CAUSAL":
        return axis.span - 1, 0
    out = -(-axis.size // axis.stride)
    total = max((out - 1) * axis.stride + axis.span - axis.size, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if name == "SAME" else (large, small)


def _range(smallest: int, largest: int) -> str:
    if largest < smallest:
        return "none"
    return ", ".join(str(n) for n in range(smallest, largest + 1)[:16]) + (
        ", ..." if largest - smallest >= 16 else ""
    )


def is_int(value: Any) -> bool:
    """Whether a value counts as an integer: Python's, NumPy's, but no boolean."""
    return not isinstance(value, bool) and hasattr(value, "__index__") and not getattr(value, "ndim", 0)


def _sequence(value: Any, rank: int, name: str, wanted: str) -> Sequence[Any]:
    try:
        values = tuple(value)
    except TypeError:
        raise ValueError(f"{name}={value!r} is of type {type(value).__name__}; wanted {wanted}.") from None
    if isinstance(value, str) or len(values) != rank:
        hint = ""
        if name == "padding" and rank == 1 and len(values) == 2:
            hint = f" For {values[0]} in front and {values[1]} behind write (({values[0]}, {values[1]}),)."
        raise ValueError(
            f"{name}={value!r} has {len(values)} entries for {rank} spatial dimensions; wanted {wanted}."
            f"{hint}"
        )
    return values
