"""The calls of TensorFlow and Keras, which crop by name only."""

from __future__ import annotations

from ..geometry import normalize_transposed
from ..interop.keras import conv_transpose_padding
from .code import (
    Call,
    as_list,
    cut_out,
    dilations,
    for_each_group,
    full_size,
    own_arguments,
    padded_input,
    spread,
    stride_or_steps,
    window,
)
from .layer import Layer


def tensorflow(layer: Layer) -> Call:
    """Functions: `tf.nn.convolution` and `tf.nn.conv_transpose`."""
    return _tensorflow_transposed(layer) if layer.transposed else _tensorflow_conv(layer)


def _tensorflow_conv(layer: Layer) -> Call:
    x, padding = padded_input(layer, "tf.pad(x, [[0, 0], {}, [0, 0]])", "[{}, {}]")
    strided, note, steps = stride_or_steps(layer, "TensorFlow")
    options = [f"strides={strided}", f'padding="{padding.upper()}"', *dilations(layer, "dilations")]
    if layer.rank == 3 and layer.groups > 1:
        parts = f"zip(tf.split({x}, {layer.groups}, -1), tf.split(kernel, {layer.groups}, -1))"
        code = f"tf.nn.convolution(part, k, {', '.join(options)})"
        note = " ".join(filter(None, ["TensorFlow has no groups in three dimensions.", note]))
        return Call("TensorFlow", f"y = tf.concat([{code} for part, k in {parts}], -1){steps}", note)
    return Call("TensorFlow", f"y = tf.nn.convolution({x}, kernel, {', '.join(options)}){steps}", note)


def _tensorflow_transposed(layer: Layer) -> Call:
    same = normalize_transposed("SAME", **own_arguments(layer)) == layer.axes
    if same:
        padding, shape, crop, short = "SAME", layer.out, "", [0] * layer.rank
    else:
        # With "VALID" the size may be up to stride - 1 above the full one.
        most = [f + a.stride - 1 for f, a in zip(full_size(layer), layer.axes, strict=True)]
        ends = [lo + n for (lo, _), n in zip(layer.padding, layer.out, strict=True)]
        short = [max(e - m, 0) for e, m in zip(ends, most, strict=True)]
        shape = [min(max(f, e), m) for f, e, m in zip(full_size(layer), ends, most, strict=True)]
        have = [n + more for n, more in zip(shape, short, strict=True)]
        padding, crop = "VALID", cut_out(layer, [lo for lo, _ in layer.padding], have)
    sizes = ", ".join(map(str, shape))
    options = [
        f"output_shape=[x.shape[0], {sizes}, {layer.out_channels}]",
        f"strides={as_list([a.stride for a in layer.axes])}",
        f'padding="{padding}"',
        *dilations(layer, "dilations"),
    ]
    notes = ["TensorFlow crops nothing by numbers; what is too much is cut off."] * bool(crop)
    code = f"tf.nn.conv_transpose(x, kernel, {', '.join(options)})"
    if layer.groups > 1:
        notes.append("TensorFlow documents no groups here: one call for each.")
        parts = f"zip(tf.split(x, {layer.groups}, -1), tf.split(kernel, {layer.groups}, -1))"
        options[0] = f"output_shape=[x.shape[0], {sizes}, {layer.out_channels // layer.groups}]"
        each = f"tf.nn.conv_transpose(part, k, {', '.join(options)})"
        code = f"tf.concat([{each} for part, k in {parts}], -1)"
    if any(short):
        notes.append("Output padding of the stride or more is added as zeros.")
        code = f"tf.pad({code}, [[0, 0], {', '.join(f'[0, {s}]' for s in short)}, [0, 0]])"
    return Call("TensorFlow", f"y = {code}{crop}", " ".join(notes))


def keras(layer: Layer) -> Call:
    """Layers: `ConvND` and `ConvNDTranspose`."""
    return _keras_transposed(layer) if layer.transposed else _keras_conv(layer)


def _keras_conv(layer: Layer) -> Call:
    inner = f"keras.layers.ZeroPadding{layer.rank}D({{}})(x)"
    x, padding = padded_input(layer, inner, "({}, {})")
    if layer.rank == 1 and layer.padding[0] == (layer.axes[0].span - 1, 0) and layer.padding[0][0]:
        x, padding = "x", "causal"
    strided, note, steps = stride_or_steps(layer, "Keras")
    options = [f"strides={strided[1:-1]}" if layer.rank == 1 else f"strides=({strided[1:-1]})"]
    options = [] if set(strided) <= set("[1, ]") else options
    options += [f'padding="{padding}"'] * (padding != "valid")
    options += [f"dilation_rate={spread(d)}" for d in [[a.dilation for a in layer.axes]] if max(d) > 1]
    options += [f"groups={layer.groups}"] * (layer.groups > 1)
    arguments = ", ".join([str(layer.out_channels), spread(window(layer)), *options])
    return Call("Keras", f"layer = keras.layers.Conv{layer.rank}D({arguments})\ny = layer({x}){steps}", note)


def _keras_transposed(layer: Layer) -> Call:
    strides, dilations = [a.stride for a in layer.axes], [a.dilation for a in layer.axes]
    if max(strides) > 1 and max(dilations) > 1:
        note = (
            "Keras has no transposed convolution with strides and dilation. Put stride - 1 zeros between the "
            "inputs by hand, then use strides=1."
        )
        return Call("Keras", "", note)
    spacing = {"strides": strides, "dilation_rate": dilations}
    wanted = tuple((a.lo, a.hi) for a in layer.axes)
    extra = [max(e - hi, 0) for (_, hi), e in zip(layer.padding, layer.output_padding, strict=True)]
    if any(e >= s for e, s in zip(extra, strides, strict=True) if e):
        return Call(
            "Keras",
            "",
            "Keras has no output_padding of the stride or more. Pad y, and add the bias after that.",
        )
    options, crop = [], ""
    if conv_transpose_padding("same", window(layer), **spacing) == wanted:
        options = ['padding="same"']
    elif (
        conv_transpose_padding("same", window(layer), **spacing, output_padding=layer.output_padding)
        == wanted
    ):
        options = ['padding="same"', f"output_padding={spread(layer.output_padding)}"]
    else:
        given = {"output_padding": extra} if any(extra) else {}
        have = conv_transpose_padding("valid", window(layer), **spacing, **given)
        sizes = [f - lo - hi for f, (lo, hi) in zip(full_size(layer), have, strict=True)]
        options = [f"output_padding={spread(extra)}"] * any(extra)
        crop = cut_out(layer, [lo for lo, _ in layer.padding], sizes)
    named = [("strides", strides), ("dilation_rate", dilations)]
    options = [*(f"{name}={spread(v)}" for name, v in named if max(v) > 1), *options]
    arguments = [str(layer.out_channels // layer.groups), spread(window(layer)), *options]
    make = f"keras.layers.Conv{layer.rank}DTranspose({', '.join(arguments)})"
    notes = ["Keras crops nothing by numbers; what is too much is cut off."] * bool(crop)
    if layer.groups == 1:
        return Call("Keras", f"layer = {make}\ny = layer(x){crop}", " ".join(notes))
    notes.append("It has no groups here: one layer for each.")
    return Call(
        "Keras",
        for_each_group(layer, make, "keras.ops.split", "keras.ops.concatenate", crop),
        " ".join(notes),
    )
