"""Convolution layers for Flax NNX that keep or reduce the size of their input."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Required, TypedDict, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes, initializers
from flax.typing import ConvGeneralDilatedT, Dtype, Initializer, PrecisionLike, PromoteDtypeFn

from ..ops.general import conv_general_dilated
from ._checks import (
    Ints,
    Padding,
    as_array,
    check_features,
    check_inputs,
    check_mask,
    check_preferred,
    frozen,
    window,
)
from ._common import causal_padding, conv_padding

LECUN_NORMAL: Any = initializers.lecun_normal()
ZEROS: Any = initializers.zeros_init()
NOTHING: Mapping[str, Any] = MappingProxyType({})


class SharedOptions(TypedDict, total=False):
    """What every layer hands on unread, to all of its kernels; the defaults are Flax's."""

    dtype: Dtype | None
    param_dtype: Dtype
    precision: PrecisionLike
    kernel_init: Initializer
    bias_init: Initializer
    promote_dtype: PromoteDtypeFn
    preferred_element_type: Dtype | None
    kernel_metadata: Mapping[str, Any]
    bias_metadata: Mapping[str, Any]
    rngs: Required[nnx.Rngs]


class ParamOptions(SharedOptions, total=False):
    """What a layer with one kernel hands on."""

    use_bias: bool
    mask: jax.Array | None


class ConvOptions(ParamOptions, total=False):
    """What the layers built on `Conv` hand on to it."""

    input_dilation: Ints | None
    kernel_dilation: Ints | None
    conv_general_dilated: ConvGeneralDilatedT


class Conv(nnx.Conv):
    """`flax.nnx.Conv`, computed by this library.

    A drop-in: same arguments, same parameters for the same `rngs`, same values. What differs: mistakes are
    ValueErrors, at construction unless only the inputs show them, and lists, the padding "FULL" and the names
    of paddings in lower case are accepted.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: window of each spatial axis; an int is one axis.
      strides: an int, one for each axis, or None for 1.
      padding: "SAME" (Flax's default), "SAME_LOWER", "VALID", "FULL", "CAUSAL" (one axis), "CIRCULAR",
        "REFLECT", an int, one int for each axis or one pair (lo, hi) for each axis.
      input_dilation: zeros between the input's elements, plus one.
      kernel_dilation: distance of the kernel's taps.
      feature_group_count: groups; must divide both numbers of features.
      use_bias: whether to add a bias.
      mask: multiplies the kernel; of its shape.
      dtype: dtype of the computation; None infers it from inputs and parameters.
      param_dtype: dtype of the parameters.
      precision: as in `jax.lax.Precision`.
      kernel_init: initialiser of the kernel, `(*kernel_size, in_features / groups, out_features)`.
      bias_init: initialiser of the bias, `(out_features,)`.
      conv_general_dilated: computes the convolution, with lax's signature; jaxconv's by default.
      promote_dtype: brings (inputs, kernel, bias) to one dtype.
      preferred_element_type: dtype of the accumulation and the output.
      rngs: where the keys of the parameters come from.
      kernel_metadata: metadata of the kernel's variable, such as its sharding.
      bias_metadata: metadata of the bias's variable.

    Raises:
      ValueError: for arguments that fit no convolution.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = Conv(3, 4, kernel_size=(3, 3), strides=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 8, 6, 3))).shape, layer.kernel.shape, layer.bias.shape
      ((1, 4, 3, 4), (3, 3, 3, 4), (4,))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Ints,
        strides: Ints | None = 1,
        *,
        padding: Padding = "SAME",
        input_dilation: Ints | None = 1,
        kernel_dilation: Ints | None = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        mask: jax.Array | None = None,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        precision: PrecisionLike = None,
        kernel_init: Initializer = LECUN_NORMAL,
        bias_init: Initializer = ZEROS,
        conv_general_dilated: ConvGeneralDilatedT = conv_general_dilated,
        promote_dtype: PromoteDtypeFn = dtypes.promote_dtype,
        preferred_element_type: Dtype | None = None,
        rngs: nnx.Rngs,
        kernel_metadata: Mapping[str, Any] = NOTHING,
        bias_metadata: Mapping[str, Any] = NOTHING,
    ):
        check_features(feature_group_count, in_features=in_features, out_features=out_features)
        check_preferred(preferred_element_type, promote_dtype, dtype, param_dtype)
        mask = as_array(mask, "mask")
        super().__init__(
            in_features,
            out_features,
            window(kernel_size),
            frozen(strides),
            padding=conv_padding(padding, kernel_size, strides, input_dilation, kernel_dilation),
            input_dilation=frozen(input_dilation),
            kernel_dilation=frozen(kernel_dilation),
            feature_group_count=feature_group_count,
            use_bias=use_bias,
            mask=mask,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            kernel_init=kernel_init,
            bias_init=bias_init,
            conv_general_dilated=conv_general_dilated,
            promote_dtype=promote_dtype,
            preferred_element_type=preferred_element_type,
            rngs=rngs,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )
        check_mask(mask, self.kernel_shape)

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        """Convolves `(*batch, *spatial, in_features)`, with any number of batch axes."""
        inputs = check_inputs(inputs, self.kernel_size, self.in_features)
        check_preferred(
            self.preferred_element_type, self.promote_dtype, self.dtype, inputs.dtype, self.kernel[...].dtype
        )
        return super().__call__(inputs, out_sharding=out_sharding)


class DepthwiseConv(Conv):
    """A convolution of each channel by itself.

    Args:
      in_features: channels of the input.
      kernel_size: window of each spatial axis; an int is one axis.
      strides: an int, one for each axis, or None for 1.
      channel_multiplier: outputs for each input channel; output i * channel_multiplier + j is the j-th of
        channel i.
      padding: as in `Conv`.
      **options: as in `Conv`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = DepthwiseConv(3, (5, 3), channel_multiplier=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 8, 6, 3))).shape, layer.kernel.shape
      ((1, 8, 6, 6), (5, 3, 1, 6))
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: Ints,
        strides: Ints | None = 1,
        *,
        channel_multiplier: int = 1,
        padding: Padding = "SAME",
        **options: Unpack[ConvOptions],
    ):
        check_features(1, in_features=in_features, channel_multiplier=channel_multiplier)
        super().__init__(
            in_features,
            in_features * channel_multiplier,
            kernel_size,
            strides,
            padding=padding,
            feature_group_count=in_features,
            **options,
        )


class SeparableConv(nnx.Module):
    """A depthwise convolution, then a pointwise one that mixes the channels.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: window of each spatial axis of the depthwise convolution; an int is one axis.
      strides: strides of the depthwise convolution.
      channel_multiplier: channels between the two for each input channel.
      padding: padding of the depthwise convolution.
      kernel_dilation: distance of the depthwise kernel's taps.
      use_bias: whether the pointwise convolution adds a bias; the depthwise one has none.
      mask: multiplies the depthwise kernel; of its shape.
      **options: as in `Conv`, for both kernels.

    References:
      Chollet, Xception: deep learning with depthwise separable convolutions, 2017, doi:10.1109/CVPR.2017.195.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = SeparableConv(3, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 8, 6, 3))).shape
      (1, 4, 3, 8)
      >>> layer.depthwise.kernel.shape, layer.pointwise.kernel.shape, layer.pointwise.bias.shape
      ((3, 3, 1, 3), (1, 1, 3, 8), (8,))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Ints,
        strides: Ints | None = 1,
        *,
        channel_multiplier: int = 1,
        padding: Padding = "SAME",
        kernel_dilation: Ints | None = 1,
        use_bias: bool = True,
        mask: jax.Array | None = None,
        **options: Unpack[SharedOptions],
    ):
        check_features(1, in_features=in_features, out_features=out_features)
        self.depthwise: DepthwiseConv = DepthwiseConv(
            in_features,
            kernel_size,
            strides,
            channel_multiplier=channel_multiplier,
            padding=padding,
            kernel_dilation=kernel_dilation,
            use_bias=False,
            mask=mask,
            **options,
        )
        ones = (1,) * len(window(kernel_size))
        self.pointwise: Conv = Conv(
            in_features * channel_multiplier, out_features, ones, use_bias=use_bias, **options
        )

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        """Convolves `(*batch, *spatial, in_features)`, with any number of batch axes."""
        return self.pointwise(self.depthwise(inputs), out_sharding=out_sharding)


class CausalConv(Conv):
    """A convolution whose first axis is time: no output sees an input later than itself.

    The other axes, if any, are padded as "SAME" does without strides. For one axis this is Conv with
    padding="CAUSAL", for two and three the causal convolution of spectrograms and videos.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: window of each axis, time first; an int is time alone.
      strides: an int, one for each axis, or None for 1. Each axis becomes ceil(size / stride).
      kernel_dilation: distance of the kernel's taps.
      feature_group_count: groups; must divide both numbers of features.
      **options: as in `Conv`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = CausalConv(1, 1, 3, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0))
      >>> layer(jnp.array([[1.0], [10.0], [100.0], [1000.0]])).ravel().tolist()
      [1.0, 11.0, 111.0, 1110.0]
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
            padding=causal_padding(kernel_size, kernel_dilation),
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            **options,
        )
