"""The same layer in other libraries: the exact call, or how to get along without one.

Each snippet turns `x` into `y`; where the library has functions rather than layers there is a `kernel` in
that library's layout (`jaxconv.interop` converts). Channels are last except in PyTorch.
"""

from __future__ import annotations

from .calls_tensorflow import keras, tensorflow
from .code import (
    Call,
    as_padding,
    as_pairs,
    as_tuple,
    common_options,
    cut_out,
    flat,
    for_each_group,
    full_size,
    spread,
    window,
)
from .layer import Layer


def calls(layer: Layer) -> tuple[Call, ...]:
    """The code that computes this layer in jaxconv, PyTorch, TensorFlow, Keras and Flax.

    Args:
      layer: what `explain.layer` returned.

    Returns:
      One `Call` for each library.

    Raises:
      ValueError: for what the other libraries do not have: an empty output, or four spatial dimensions.

    Example:
      >>> from jaxconv.explain import layer
      >>> for call in calls(layer(16, 3, stride=2, padding=1, transposed=True, output_padding=1))[:2]:
      ...     print(call.code)
      y = jaxconv.conv_transpose(x, kernel, stride=2, padding=1, output_padding=1)
      layer = torch.nn.ConvTranspose1d(1, 1, kernel_size=3, stride=2, padding=1, output_padding=1)
      y = layer(x)
    """
    if layer.rank > 3:
        raise ValueError(
            f"the layer has {layer.rank} spatial dimensions; other libraries have three at most."
        )
    if not all(layer.out):
        raise ValueError(f"the output {layer.out} is empty, which other libraries refuse.")
    return (_jaxconv(layer), _torch(layer), tensorflow(layer), keras(layer), _flax(layer))


def _jaxconv(layer: Layer) -> Call:
    function = "conv_transpose" if layer.transposed else "conv"
    options = common_options(
        layer, padding=as_padding(layer.padding), output_padding=spread(layer.output_padding)
    )
    return Call("jaxconv", f"y = jaxconv.{function}({', '.join(['x', 'kernel', *options])})")


def _torch(layer: Layer) -> Call:
    even = all(lo == hi for lo, hi in layer.padding)
    x, crop, extra, note = "x", "", layer.output_padding, ""
    padding = tuple(lo for lo, _ in layer.padding)
    if layer.transposed and not even:
        padding = tuple(map(min, layer.padding))
        more = [max(hi - lo, 0) for lo, hi in layer.padding]
        extra = tuple(max(e - m, 0) for e, m in zip(extra, more, strict=True))
        have = [f - 2 * p + e for f, p, e in zip(full_size(layer), padding, extra, strict=True)]
        crop = cut_out(
            layer, [lo - p for (lo, _), p in zip(layer.padding, padding, strict=True)], have, "..."
        )
        note = "PyTorch crops both ends alike; the rest is cut off." if crop else ""
    elif not even:
        padding = (0,) * layer.rank
        x = f"torch.nn.functional.pad(x, {flat(reversed(layer.padding))})"
        note = "PyTorch pads both sides alike, so the border is added before."
    options = common_options(layer, padding=spread(padding), output_padding=spread(extra))
    name = f"Conv{'Transpose' * layer.transposed}{layer.rank}d"
    arguments = [str(layer.in_channels), str(layer.out_channels), f"kernel_size={spread(window(layer))}"]
    return Call(
        "PyTorch", f"layer = torch.nn.{name}({', '.join([*arguments, *options])})\ny = layer({x}){crop}", note
    )


def _flax(layer: Layer) -> Call:
    features = [layer.in_channels, layer.out_channels]
    name, crop, notes, last = "Conv", "", [], []
    pads = layer.padding
    if layer.transposed:
        name, last = "ConvTranspose", ["transpose_kernel=True"]
        # Flax pads the stride-dilated input: span - 1 - crop.
        front = [a.span - 1 - lo for a, (lo, _) in zip(layer.axes, pads, strict=True)]
        back = [a.span - 1 - a.hi for a in layer.axes]
        pads = tuple((max(f, 0), max(b, 0)) for f, b in zip(front, back, strict=True))
        notes = ["Flax's numbers pad the stuffed input: span - 1 - padding."]
        if min(*front, *back) < 0:
            have = [
                n + f + max(-b, 0)
                for n, f, b in zip(layer.out, (max(-f, 0) for f in front), back, strict=True)
            ]
            crop = cut_out(layer, [max(-f, 0) for f in front], have)
        if layer.groups > 1:
            features = [c // layer.groups for c in features]
            notes.append("It has no groups here: one layer for each.")
    named = [
        ("strides", [a.stride for a in layer.axes]),
        ("kernel_dilation", [a.dilation for a in layer.axes]),
    ]
    options = [f"kernel_size={as_tuple(window(layer))}"]
    options += [f"{option}={as_tuple(v)}" for option, v in named if max(v) > 1]
    options += [f"padding={as_pairs(pads)}"]
    options += [f"feature_group_count={layer.groups}"] * (layer.groups > 1 and not layer.transposed)
    make = f"nnx.{name}({', '.join([*map(str, features), *options, *last, 'rngs=nnx.Rngs(0)'])})"
    if layer.groups > 1 and layer.transposed:
        return Call(
            "Flax", for_each_group(layer, make, "jnp.split", "jnp.concatenate", crop), " ".join(notes)
        )
    return Call("Flax", f"layer = {make}\ny = layer(x){crop}", " ".join(notes))
