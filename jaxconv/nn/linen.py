"""Convolution layers for Flax Linen: the layers of `jaxconv.nn` with Linen's words.

A Linen layer learns its input's features from its first input. Otherwise words and meaning are those of the
NNX layer of the same name, where they are explained.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import Scope
from flax.linen import initializers
from flax.linen.dtypes import promote_dtype
from flax.typing import ConvGeneralDilatedT, Dtype, Initializer, PrecisionLike

from ..ops.general import conv_general_dilated
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
from ._common import apply_transpose, causal_crop, causal_padding, conv_padding, upsample
from .init import transposed


class Conv(nn.Conv):
    """`flax.linen.Conv`, computed by this library.

    A drop-in: same fields, same parameters for the same keys, same values.

    Args:
      features: channels of the output.
      kernel_size: window of each spatial axis; an int is one axis.
      strides: as in `jaxconv.nn.Conv`, and so are all others.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = Conv(4, kernel_size=(3, 3), strides=2)
      >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 6, 3)))
      >>> y.shape, variables["params"]["kernel"].shape
      ((1, 4, 3, 4), (3, 3, 3, 4))
    """

    conv_general_dilated: ConvGeneralDilatedT | None = conv_general_dilated

    def __post_init__(self) -> None:
        """Checks the fields; a padding that Flax does not know becomes numbers."""
        self.kernel_size, self.strides = frozen(self.kernel_size), frozen(self.strides)
        self.input_dilation, self.kernel_dilation = frozen(self.input_dilation), frozen(self.kernel_dilation)
        self.mask = as_array(self.mask, "mask")
        check_features(self.feature_group_count, features=self.features)
        self._given_padding = self.padding
        self.padding = conv_padding(
            self.padding, self.kernel_size, self.strides, self.input_dilation, self.kernel_dilation
        )
        super().__post_init__()

    @nn.nowrap
    def clone(self, **updates: Any) -> Any:
        """As Flax's; the padding is computed anew, since the copy's window may be another."""
        updates.setdefault("padding", self._given_padding)
        return super().clone(**updates)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Convolves `(*batch, *spatial, features)`, with any number of batch axes."""
        inputs = check_inputs(inputs, self.kernel_size)
        check_features(self.feature_group_count, in_features=inputs.shape[-1], features=self.features)
        return super().__call__(inputs)


class CausalConv(Conv):
    """A convolution whose first axis is time: no output sees an input later than itself.

    Args:
      features: channels of the output.
      kernel_size: window of each axis, time first; an int is time alone.
      strides: as in `jaxconv.nn.CausalConv`, and so are all others; the padding is computed.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = CausalConv(1, 3, kernel_init=jax.nn.initializers.ones)
      >>> x = jnp.array([[1.0], [10.0], [100.0], [1000.0]])
      >>> layer.init_with_output(jax.random.key(0), x)[0].ravel().tolist()
      [1.0, 11.0, 111.0, 1110.0]
    """

    padding: Padding = "CAUSAL"

    def __post_init__(self) -> None:
        """Checks the fields; the padding stays a word, since numbers would be wrong in a copy."""
        _check_causal(self.padding)
        self._given_padding = self.padding
        self._conv(parent=None)  # refuses what is wrong
        super(Conv, self).__post_init__()

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Convolves `(*batch, *spatial, features)`, with any number of batch axes."""
        conv = self._conv()
        nn.share_scope(self, conv)
        return conv(inputs)

    @nn.nowrap
    def _conv(self, **changes: Any) -> Conv:
        padding = causal_padding(self.kernel_size, self.kernel_dilation)
        return Conv(**_conv_fields(self, padding=padding, **changes))


class SubpixelConv(Conv):
    """Upsampling by a convolution to `features * prod(factor)` channels and `pixel_shuffle` (ESPCN).

    Args:
      features: channels of the output.
      kernel_size: window of each spatial axis of the low-resolution input; an int is one axis.
      factor: upsampling factor, one for all axes or one for each; the others as in `jaxconv.nn.SubpixelConv`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = SubpixelConv(1, (3, 3), factor=2)
      >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 6, 3)))
      >>> y.shape, variables["params"]["kernel"].shape
      ((1, 16, 12, 1), (3, 3, 3, 4))
    """

    factor: Ints = dataclasses.field(kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields."""
        positive(self.factor, len(window(self.kernel_size)), "factor")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Upsamples `(*batch, *spatial, features)`, with any number of batch axes."""
        factor = positive(self.factor, len(window(self.kernel_size)), "factor")
        conv = Conv(**_conv_fields(self, features=self.features * math.prod(factor)))
        nn.share_scope(self, conv)
        return pixel_shuffle(conv(inputs), factor)


class ResizeConv(Conv):
    """Upsampling by interpolation, then a convolution: no checkerboard, at prod(factor) times the arithmetic.

    Args:
      features: channels of the output.
      kernel_size: window of each spatial axis of the upsampled input; an int is one axis.
      factor: upsampling factor, one for all axes or one for each.
      method: what `jax.image.resize` knows; the others as in `jaxconv.nn.ResizeConv`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = ResizeConv(4, (3, 3), factor=(2, 3))
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 6, 3)))[0].shape
      (1, 16, 18, 4)
    """

    factor: Ints = dataclasses.field(kw_only=True)
    method: str | jax.image.ResizeMethod = dataclasses.field(default="nearest", kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_method(self.method)
        positive(self.factor, len(window(self.kernel_size)), "factor")
        super().__post_init__()

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Upsamples `(*batch, *spatial, features)`, with any number of batch axes."""
        inputs = check_inputs(inputs, self.kernel_size)
        factor = positive(self.factor, len(window(self.kernel_size)), "factor")
        return super().__call__(upsample(inputs, factor, self.method))


class _Layer(nn.Module, kw_only=True):
    """The fields of the layers that are no Conv of Flax's; the defaults are Flax's."""

    padding: Padding = "SAME"
    kernel_dilation: Ints | None = 1
    use_bias: bool = True
    mask: jax.Array | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = initializers.lecun_normal()
    bias_init: Initializer = initializers.zeros_init()
    promote_dtype: Any = promote_dtype


class DepthwiseConv(_Layer):
    """A convolution of each channel by itself.

    Args:
      kernel_size: window of each spatial axis; an int is one axis.
      strides: an int, one for each axis, or None for 1.
      channel_multiplier: outputs for each input channel; the others as in `jaxconv.nn.DepthwiseConv`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = DepthwiseConv((5, 3), channel_multiplier=2)
      >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 6, 3)))
      >>> y.shape, variables["params"]["kernel"].shape
      ((1, 8, 6, 6), (5, 3, 1, 6))
    """

    kernel_size: Ints
    strides: Ints | None = 1
    channel_multiplier: int = dataclasses.field(default=1, kw_only=True)
    input_dilation: Ints | None = dataclasses.field(default=1, kw_only=True)
    conv_general_dilated: ConvGeneralDilatedT = dataclasses.field(default=conv_general_dilated, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_features(1, channel_multiplier=self.channel_multiplier)
        conv_padding(self.padding, self.kernel_size, self.strides, self.input_dilation, self.kernel_dilation)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Convolves `(*batch, *spatial, features)`, with any number of batch axes."""
        inputs = check_inputs(inputs, self.kernel_size)
        n = inputs.shape[-1]
        conv = Conv(**_conv_fields(self, features=n * self.channel_multiplier, feature_group_count=n))
        nn.share_scope(self, conv)
        return conv(inputs)


class SeparableConv(_Layer):
    """A depthwise convolution, then a pointwise one that mixes the channels.

    Args:
      features: channels of the output.
      kernel_size: window of each spatial axis of the depthwise convolution; an int is one axis.
      strides: strides of the depthwise convolution.
      channel_multiplier: channels between the two for each input channel; the others as in
        `jaxconv.nn.SeparableConv`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = SeparableConv(8, (3, 3), strides=2)
      >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 6, 3)))
      >>> y.shape, jax.tree.map(jnp.shape, variables["params"]["pointwise"])
      ((1, 4, 3, 8), {'bias': (8,), 'kernel': (1, 1, 3, 8)})
    """

    features: int
    kernel_size: Ints
    strides: Ints | None = 1
    channel_multiplier: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields."""
        check_features(1, features=self.features, channel_multiplier=self.channel_multiplier)
        conv_padding(self.padding, self.kernel_size, self.strides, 1, self.kernel_dilation)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Convolves `(*batch, *spatial, features)`, with any number of batch axes."""
        depthwise = _conv_fields(self, use_bias=False, name="depthwise")
        del depthwise["features"]
        pointwise = _conv_fields(self, kernel_size=(1,) * len(window(self.kernel_size)), name="pointwise")
        pointwise |= {"strides": 1, "padding": "SAME", "kernel_dilation": 1, "mask": None}
        inputs = DepthwiseConv(channel_multiplier=self.channel_multiplier, **depthwise)(inputs)
        return Conv(**pointwise)(inputs)


class ConvTranspose(_Layer):
    """A transposed convolution ("deconvolution"): the adjoint of `Conv` from `features` to the input.

    Args:
      features: channels of the output.
      kernel_size: window of each spatial axis; an int is one axis.
      strides: upsampling factor: an int, one for each axis, or None for 1.
      output_padding: outputs added behind, where the stride leaves the size open.
      output_shape: spatial output shape; can also be given in the call.
      feature_group_count: groups; must divide both numbers of features.
      preferred_element_type: dtype of the accumulation and the output; the others as in
        `jaxconv.nn.ConvTranspose`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = ConvTranspose(4, kernel_size=(4, 4), strides=2)
      >>> x = jnp.ones((1, 5, 6, 3))
      >>> y, variables = layer.init_with_output(jax.random.key(0), x)
      >>> y.shape, variables["params"]["kernel"].shape, layer.apply(variables, x, output_shape=(9, 12)).shape
      ((1, 10, 12, 4), (4, 4, 4, 3), (1, 9, 12, 4))
    """

    features: int
    kernel_size: Ints
    strides: Ints | None = 1
    output_padding: Ints = dataclasses.field(default=0, kw_only=True)
    output_shape: Ints | None = dataclasses.field(default=None, kw_only=True)
    feature_group_count: int = dataclasses.field(default=1, kw_only=True)
    preferred_element_type: Dtype | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields, and warns of a checkerboard."""
        self.kernel_size, self.strides = frozen(self.kernel_size), frozen(self.strides)
        self.mask = as_array(self.mask, "mask")
        check_features(self.feature_group_count, features=self.features)
        check_preferred(self.preferred_element_type, self.promote_dtype, self.dtype, self.param_dtype)
        check_transpose(self)
        if not isinstance(self.parent, Scope):  # With a Scope it is Flax's copy of a layer that has warned.
            warn_of_checkerboard(self.kernel_size, self.strides, self.kernel_dilation)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: jax.Array, output_shape: Ints | None = None) -> jax.Array:
        """Upsamples `(*batch, *spatial, features)`; `output_shape` takes the place of the field."""
        inputs = check_inputs(inputs, self.kernel_size)
        groups, n = self.feature_group_count, inputs.shape[-1]
        check_features(groups, in_features=n, features=self.features)
        shape = (*window(self.kernel_size), self.features // groups, n)
        check_mask(self.mask, shape)
        kernel = self.param("kernel", transposed(self.kernel_init, groups=groups), shape, self.param_dtype)
        if self.mask is not None:
            kernel = kernel * self.mask
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        inputs, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        return apply_transpose(self, inputs, kernel, bias, output_shape, self._crop())

    @nn.nowrap
    def _crop(self) -> Padding:
        return self.padding


class CausalConvTranspose(ConvTranspose):
    """A transposed convolution whose first axis is time: output t sees inputs up to t // stride only.

    Args:
      features: channels of the output.
      kernel_size: window of each axis, time first; an int is time alone.
      strides: as in `jaxconv.nn.CausalConvTranspose`, and so are all others; the padding is computed.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> layer = CausalConvTranspose(1, 4, 2, kernel_init=jax.nn.initializers.ones)
      >>> x = jnp.array([[1.0], [10.0], [100.0]])
      >>> layer.init_with_output(jax.random.key(0), x)[0].ravel().tolist()
      [1.0, 1.0, 11.0, 11.0, 110.0, 110.0]
    """

    padding: Padding = dataclasses.field(default="CAUSAL", kw_only=True)

    def __post_init__(self) -> None:
        """Checks the fields, and warns of a checkerboard."""
        _check_causal(self.padding)
        super().__post_init__()

    @nn.nowrap
    def _crop(self) -> Padding:
        return causal_crop(self.kernel_size, self.strides, self.kernel_dilation)


def _conv_fields(layer: nn.Module, **changes: Any) -> dict[str, Any]:
    """What `layer` hands on to a Conv of its own, with some fields changed."""
    names = {f.name for f in dataclasses.fields(Conv)} - {"parent", "name"}
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)} | changes


def _check_causal(padding: Padding) -> None:
    if padding != "CAUSAL":
        raise ValueError(f"padding={padding!r} is not possible here; a causal layer computes its padding.")
