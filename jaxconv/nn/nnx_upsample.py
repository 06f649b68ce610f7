"""Convolution layers for Flax NNX that enlarge their input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes
from flax.typing import Dtype, Initializer, PrecisionLike, PromoteDtypeFn

from ..ops.shuffle import pixel_shuffle
from ._checks import (
    Ints,
    Padding,
    as_array,
    check_features,
    check_inputs,
    check_mask,
    check_method,
    check_preferred,
    check_transpose,
    frozen,
    positive,
    warn_of_checkerboard,
    window,
)
from ._common import apply_transpose, causal_crop, upsample
from .init import transposed
from .nnx import LECUN_NORMAL, NOTHING, ZEROS, Conv, ConvOptions, ParamOptions


class ConvTranspose(nnx.Module):
    """A transposed convolution ("deconvolution"): the adjoint of `Conv` from `out_features` to `in_features`.

    The kernel is that convolution's, `(*kernel_size, out_features / groups, in_features)`, unflipped, as in
    PyTorch, TensorFlow and Keras up to the order of axes. This is `flax.nnx.ConvTranspose` with
    `transpose_kernel=True`; without, Flax stores the kernel flipped and with its channels exchanged, and
    `jaxconv.interop.flax` converts.

    Padding is the convolution's, so it crops the output:
    out = (in - 1) * stride - lo - hi + kernel_dilation * (kernel_size - 1) + 1 + output_padding.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: window of each spatial axis; an int is one axis.
      strides: upsampling factor: an int, one for each axis, or None for 1.
      padding: "SAME" (Flax's default: out = in * stride), "SAME_LOWER", "VALID", "FULL", "CAUSAL", "CIRCULAR"
        (out = in * stride, periodic), an int, one int for each axis or one pair (lo, hi) for each axis.
      output_padding: outputs added behind, where the stride leaves the size open; below max(strides,
        kernel_dilation).
      output_shape: spatial output shape, in place of output_padding; can also be given in the call.
      kernel_dilation: distance of the kernel's taps.
      feature_group_count: groups; must divide both numbers of features.
      use_bias: whether to add a bias.
      mask: multiplies the kernel; of its shape.
      dtype: dtype of the computation; None infers it from inputs and parameters.
      param_dtype: dtype of the parameters.
      precision: as in `jax.lax.Precision`.
      kernel_init: initialiser, called with the shape `(*kernel_size, in_features / groups, out_features)`,
        whose fan-in is the layer's; see `init.transposed`.
      bias_init: initialiser of the bias.
      promote_dtype: brings (inputs, kernel, bias) to one dtype.
      preferred_element_type: dtype of the accumulation and the output.
      rngs: where the keys of the parameters come from.
      kernel_metadata: metadata of the kernel's variable, such as the sharding of its axes as they are stored.
      bias_metadata: metadata of the bias's variable.

    Raises:
      ValueError: for arguments that fit no transposed convolution.

    Warns:
      CheckerboardWarning: if the stride does not divide the kernel.

    References:
      Dumoulin, Visin, A guide to convolution arithmetic for deep learning, 2016, arXiv:1603.07285.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = ConvTranspose(3, 4, kernel_size=(4, 4), strides=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 5, 6, 3))).shape, layer.kernel.shape
      ((1, 10, 12, 4), (4, 4, 4, 3))
      >>> layer(jnp.ones((1, 5, 6, 3)), output_shape=(9, 12)).shape  # a stride of 2 makes 5 of 9, too
      (1, 9, 12, 4)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Ints,
        strides: Ints | None = 1,
        *,
        padding: Padding = "SAME",
        output_padding: Ints = 0,
        output_shape: Ints | None = None,
        kernel_dilation: Ints | None = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        mask: jax.Array | None = None,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = LECUN_NORMAL,
        bias_init: Initializer = ZEROS,
        promote_dtype: PromoteDtypeFn = dtypes.promote_dtype,
        preferred_element_type: Dtype | None = None,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = NOTHING,
        bias_metadata: Mapping[str, Any] = NOTHING,
    ):
        check_features(feature_group_count, in_features=in_features, out_features=out_features)
        check_preferred(preferred_element_type, promote_dtype, dtype, param_dtype)
        mask = as_array(mask, "mask")
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size: tuple[int, ...] = window(kernel_size)
        self.strides: Any = frozen(strides)
        self.padding: Any = frozen(padding)
        self.output_padding: Any = frozen(output_padding)
        self.output_shape: Any = frozen(output_shape)
        self.kernel_dilation: Any = frozen(kernel_dilation)
        self.feature_group_count = feature_group_count
        self.use_bias = use_bias
        self.mask = mask
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.preferred_element_type = preferred_element_type
        check_transpose(self)
        warn_of_checkerboard(kernel_size, strides, kernel_dilation)
        self.kernel_shape: tuple[int, ...] = (
            *self.kernel_size,
            out_features // feature_group_count,
            in_features,
        )
        check_mask(mask, self.kernel_shape)
        draw = transposed(kernel_init, groups=feature_group_count)
        self.kernel: nnx.Variable[Any] = nnx.Param(
            draw(rngs.params(), self.kernel_shape, param_dtype), **kernel_metadata
        )
        self.bias: nnx.Param[jax.Array] | None
        if use_bias:
            self.bias = nnx.Param(bias_init(rngs.params(), (out_features,), param_dtype), **bias_metadata)
        else:
            self.bias = nnx.data(None)

    def __call__(self, inputs: jax.Array, output_shape: Ints | None = None) -> jax.Array:
        """Upsamples `(*batch, *spatial, in_features)`, with any number of batch axes.

        Args:
          inputs: the array.
          output_shape: spatial output shape of this call; None is the constructor's.

        Returns:
          `(*batch, *spatial_out, out_features)`.

        Raises:
          ValueError: for inputs of another shape, or an output shape that is impossible.
        """
        inputs = check_inputs(inputs, self.kernel_size, self.in_features)
        kernel = self.kernel[...] if self.mask is None else self.kernel[...] * self.mask
        bias = None if self.bias is None else self.bias[...]
        inputs, kernel, bias = self.promote_dtype((inputs, kernel, bias), dtype=self.dtype)
        return apply_transpose(self, inputs, kernel, bias, output_shape, self.padding)


class CausalConvTranspose(ConvTranspose):
    """A transposed convolution whose first axis is time: output t sees inputs up to t // stride only.

    The first axis is cropped at its end, the others as "SAME" does; each becomes its stride times as long. It
    is the upsampling counterpart of `CausalConv` in decoders that stream.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: window of each axis, time first; an int is time alone.
      strides: upsampling factor: an int, one for each axis, or None for 1.
      kernel_dilation: distance of the kernel's taps.
      feature_group_count: groups; must divide both numbers of features.
      **options: as in `ConvTranspose`.

    Warns:
      CheckerboardWarning: if the stride does not divide the kernel.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = CausalConvTranspose(1, 1, 4, 2, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0))
      >>> layer(jnp.array([[1.0], [10.0], [100.0]])).ravel()
      Array([  1.,   1.,  11.,  11., 110., 110.], dtype=float32)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Ints,
        strides: Ints | None = 1,
        *,
        kernel_dilation: Ints | None = 1,
        feature_group_count: int = 1,
        **options: Unpack[ParamOptions],
    ):
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            strides,
            padding=causal_crop(kernel_size, strides, kernel_dilation),
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            **options,
        )


class SubpixelConv(Conv):
    """Upsampling by a convolution to `out_features * prod(factor)` channels and `pixel_shuffle` (ESPCN).

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: window of each spatial axis of the low-resolution input; an int is one axis.
      factor: upsampling factor, one for all axes or one for each.
      padding: as in `Conv`; each axis becomes factor times what `Conv` gives.
      **options: as in `Conv`. `kernel_init=init.icnr(factor)` starts without a checkerboard.

    References:
      Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel convolutional
      neural network, 2016, doi:10.1109/CVPR.2016.207.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = SubpixelConv(3, 1, (3, 3), factor=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 8, 6, 3))).shape, layer.kernel.shape
      ((1, 16, 12, 1), (3, 3, 3, 4))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Ints,
        factor: Ints,
        *,
        padding: Padding = "SAME",
        feature_group_count: int = 1,
        **options: Unpack[ConvOptions],
    ):
        check_features(feature_group_count, in_features=in_features, out_features=out_features)
        self.factor: tuple[int, ...] = positive(factor, len(window(kernel_size)), "factor")
        features = out_features * math.prod(self.factor)
        super().__init__(
            in_features,
            features,
            kernel_size,
            padding=padding,
            feature_group_count=feature_group_count,
            **options,
        )

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        """Upsamples `(*batch, *spatial, in_features)`, with any number of batch axes."""
        return pixel_shuffle(super().__call__(inputs, out_sharding=out_sharding), self.factor)


class ResizeConv(Conv):
    """Upsampling by interpolation, then a convolution: no checkerboard, at prod(factor) times the arithmetic.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: window of each spatial axis of the upsampled input; an int is one axis.
      factor: upsampling factor, one for all axes or one for each.
      method: "nearest" (the paper's), "linear", "cubic" and what else `jax.image.resize` knows, its other
        names ("bilinear") and the members of `jax.image.ResizeMethod` included.
      padding: as in `Conv`.
      **options: as in `Conv`.

    References:
      Odena, Dumoulin, Olah, Deconvolution and checkerboard artifacts, 2016, doi:10.23915/distill.00003.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = ResizeConv(3, 4, (3, 3), factor=(2, 3), rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 8, 6, 3))).shape
      (1, 16, 18, 4)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Ints,
        factor: Ints,
        *,
        method: str | jax.image.ResizeMethod = "nearest",
        padding: Padding = "SAME",
        feature_group_count: int = 1,
        **options: Unpack[ConvOptions],
    ):
        check_method(method)
        self.factor: tuple[int, ...] = positive(factor, len(window(kernel_size)), "factor")
        self.method = method
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            padding=padding,
            feature_group_count=feature_group_count,
            **options,
        )

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        """Upsamples `(*batch, *spatial, in_features)`, with any number of batch axes."""
        inputs = check_inputs(inputs, self.kernel_size, self.in_features)
        return super().__call__(upsample(inputs, self.factor, self.method), out_sharding=out_sharding)
