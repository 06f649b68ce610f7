"""Kernels, biases and paddings of Flax's Conv and ConvTranspose (NNX and Linen), as arrays.

Conv stores (*window, in/groups, out), which is what jaxconv stores. ConvTranspose correlates the
stride-dilated input with a kernel (*window, in, out). jaxconv's is the adjoint of a convolution, which reads
the window from the other end and stores (*window, out, in): so the window is reversed and the channels change
places. With `transpose_kernel=True` Flax does both itself, and the stored kernel is jaxconv's.
`jax.lax.conv_transpose` is the same in both cases.

Conv's "SAME", "VALID", "CAUSAL", integers and pairs are jaxconv's; "CIRCULAR" and "REFLECT" are
`padding_mode` "circular" and "reflect" with pairs ((span - 1)//2, span//2), span = dilation·(kernel - 1) + 1.
ConvTranspose's go through `conv_transpose_padding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import nnx

from ..geometry.padding import Padding, pairs
from ._files import restored
from ._layers import FLAX, FLAX_TRANSPOSED
from ._layout import Array, convert, convert_bias
from ._load import Report, load_layers
from ._match import Rename
from ._models import layers_of, of_params
from ._padding import Ints, Pairs, crop, window_axes


def conv_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The kernel of a Flax Conv for `jaxconv.conv`: (*window, in/groups, out), the same array.

    Args:
      kernel: the value of the layer's `kernel`, such as `layer.kernel[...]`.
      shape: the shape that the result must have, such as `other_layer.kernel.shape`; None, the default,
        accepts any.

    Returns:
      The kernel.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> conv_kernel(np.array([[[1.0, 2.0]]])).tolist()
      [[[1.0, 2.0]]]
    """
    return convert(kernel, "conv", source=FLAX, shape=shape)


def to_conv_kernel(kernel: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The inverse of `conv_kernel`; arguments and errors are the same.

    Example:
      >>> import numpy as np
      >>> to_conv_kernel(np.zeros((3, 5, 2, 4)), shape=(3, 5, 2, 4)).shape
      (3, 5, 2, 4)
    """
    return convert(kernel, "conv", target=FLAX, shape=shape)


def conv_transpose_kernel(
    kernel: Array, *, transpose_kernel: bool = False, shape: Sequence[int] | None = None
) -> Array:
    """The kernel of a Flax ConvTranspose, or of `jax.lax.conv_transpose`, for `jaxconv.conv_transpose`.

    Args:
      kernel: (*window, in, out), or (*window, out, in) with `transpose_kernel`; a NumPy or JAX array.
      transpose_kernel: the layer's option; False is Flax's default.
      shape: the shape that the result must have; None accepts any.

    Returns:
      (*window, out, in), an array of the same kind and type.

    Raises:
      ValueError: for something that is no array, a rank below 3, or a result of another shape.

    Example:
      >>> import numpy as np
      >>> kernel = np.arange(6).reshape(3, 1, 2)  # window, in, out
      >>> conv_transpose_kernel(kernel)[..., 0].tolist()
      [[4, 5], [2, 3], [0, 1]]
      >>> conv_transpose_kernel(kernel, transpose_kernel=True)[..., 0].tolist()
      [[0], [2], [4]]
    """
    return convert(kernel, "conv_transpose", source=_stored(transpose_kernel), shape=shape)


def to_conv_transpose_kernel(
    kernel: Array, *, transpose_kernel: bool = False, shape: Sequence[int] | None = None
) -> Array:
    """The inverse of `conv_transpose_kernel`; arguments and errors are the same.

    Example:
      >>> import numpy as np
      >>> to_conv_transpose_kernel(np.array([[[4], [5]], [[2], [3]], [[0], [1]]])).ravel().tolist()
      [0, 1, 2, 3, 4, 5]
    """
    return convert(kernel, "conv_transpose", target=_stored(transpose_kernel), shape=shape)


def bias(array: Array, *, shape: Sequence[int] | None = None) -> Array:
    """The `bias` of a Flax convolution for jaxconv, and back: the same numbers, checked.

    Args:
      array: one number per output channel, a NumPy or JAX array.
      shape: the shape that it must have; None accepts any length.

    Returns:
      `array` itself.

    Raises:
      ValueError: for something that is no array, a rank other than 1, or another shape.

    Example:
      >>> import numpy as np
      >>> bias(np.array([0.5, -1.5]), shape=(2,)).tolist()
      [0.5, -1.5]
    """
    return convert_bias(array, source=FLAX, shape=shape)


def conv_transpose_padding(
    padding: str | Padding,
    kernel_size: Ints,
    *,
    strides: Ints | None = None,
    kernel_dilation: Ints | None = None,
    transpose_kernel: bool = False,
) -> Pairs:
    """The padding of a Flax ConvTranspose as `padding` of `jaxconv.conv_transpose`.

    That crops the full result: with span = dilation·(kernel - 1) + 1 the result of `jaxconv.conv_transpose`
    has (in - 1)·stride + span - lo - hi positions, a negative hi adding zeros:

        (before, after)  Flax pads the stride-dilated input: lo = span - 1 - before, hi = span - 1 - after
        "VALID"          in·stride + max(span - stride, 0) positions: lo = 0, hi = min(span - stride, 0)
        "SAME"           in·stride positions: half is cropped at each end, the odd position at the end
        "CIRCULAR"       as "SAME", wrapped (`padding_mode="circular"`); `transpose_kernel` has the odd
        position in front

    Args:
      padding: the layer's: a name, an integer, or for each window axis an integer or (before, after).
      kernel_size: the window.
      strides: of the layer; None means 1.
      kernel_dilation: of the layer; None means 1.
      transpose_kernel: of the layer; matters for "CIRCULAR" only.

    Returns:
      One (lo, hi) for each window axis.

    Raises:
      ValueError: for another name ("CAUSAL" included: Flax refuses it too), or options of another length than
        the window.

    Example:
      >>> conv_transpose_padding("SAME", (3, 2, 5), strides=(2, 3, 2))
      ((0, 1), (0, -1), (1, 2))
      >>> conv_transpose_padding(((1, 0), (2, 2)), (3, 3), strides=(2, 2))
      ((1, 2), (0, 0))
    """
    axes = window_axes(
        kernel_size,
        strides=1 if strides is None else strides,
        dilation=1 if kernel_dilation is None else kernel_dilation,
        dilation_name="kernel_dilation",
    )
    if isinstance(padding, str):
        totals = [_cropped(padding, axis.span - axis.stride) for axis in axes]
        return tuple(crop(total, odd_first=transpose_kernel and padding == "CIRCULAR") for total in totals)
    return tuple(
        (axis.span - 1 - before, axis.span - 1 - after)
        for axis, (before, after) in zip(axes, pairs(padding, len(axes)), strict=True)
    )


def load(
    model: Any,
    source: Any,
    *,
    rename: Rename | None = None,
    strict: bool = True,
    dtype: Any = None,
    transposed: Sequence[str] | None = None,
    transpose_kernel: bool = False,
) -> Report:
    """Loads the weights of a Flax network, NNX or Linen, into a model with the same layers.

    Layers are matched as in `jaxconv.interop.torch.load`, and so are `rename`, `strict` and `dtype`.
    `jaxconv.nn` names its parameters as Flax does, so what differs is the kernel of a ConvTranspose.

    Args:
      model: an NNX module, which is changed in place, or the variables of a Linen one, which are not.
      source: an NNX module or its state, parameters in nested mappings (Linen's variables), or the folder of
        an Orbax checkpoint of one of them.
      rename: names of layers in the source -> names in the model, None for a layer that is not wanted.
      strict: whether every array on both sides must find its place.
      dtype: of the arrays; None keeps the source's, "model" is that of the model's own parameters.
      transposed: the paths of the source's ConvTranspose layers. None goes by Linen's own names and by
        shapes, and says so where these leave it open; an NNX module needs neither.
      transpose_kernel: the option of these layers; an NNX module has its own.

    Returns:
      A report, which prints as a table; its `model` has the weights.

    Raises:
      ValueError: for layers that do not match, or a folder that is no checkpoint.

    Example:
      >>> import numpy as np
      >>> from flax import nnx
      >>> from jaxconv import nn
      >>> kernel = np.arange(6.0, dtype=np.float32).reshape(3, 1, 2)  # window, in, out
      >>> model = nn.ConvTranspose(1, 2, 3, use_bias=False, rngs=nnx.Rngs(0))
      >>> print(load(model, {"kernel": kernel}, transposed=("",)))
      source  shape      model   shape      done
      kernel  (3, 1, 2)  kernel  (3, 2, 1)  ~io -> *oi, by name
      >>> model.kernel[..., 0].tolist()
      [[4.0, 5.0], [2.0, 3.0], [0.0, 1.0]]
    """
    if isinstance(source, str | Path):
        source = restored(Path(source))
    if isinstance(source, nnx.State):
        source = nnx.to_pure_dict(source)
    if isinstance(source, nnx.Pytree):
        layers, ordered = layers_of(source), True
    elif isinstance(source, Mapping):
        layers, ordered = of_params(source, library=_stored(transpose_kernel), transposed=transposed), None
    else:
        raise ValueError(
            f"{type(source).__module__}.{type(source).__name__} is no source of Flax's weights; give an NNX "
            "module or state, nested mappings of arrays, or the folder of an Orbax checkpoint."
        )
    return load_layers(model, layers, rename=rename, strict=strict, dtype=dtype, ordered=ordered)


def _cropped(padding: str, total: int) -> int:
    """What is cropped off the full result, given how much longer than in·stride that is."""
    cropped = {"SAME": total, "VALID": min(total, 0), "CIRCULAR": total}
    if padding not in cropped:
        raise ValueError(
            f"padding={padding!r} is none of ConvTranspose's: use {', '.join(cropped)}, an int, "
            "or (before, after) pairs."
        )
    return cropped[padding]


def _stored(transpose_kernel: bool) -> str:
    return FLAX_TRANSPOSED if transpose_kernel else FLAX
