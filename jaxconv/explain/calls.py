"""The same layer in other libraries: the exact call, or how to get along without one.

Each snippet turns `x` into `y`; where the library has functions rather than layers there is a `kernel` in
that library's layout (`jaxconv.interop` converts). Channels are last except in PyTorch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from ..geometry import normalize, normalize_transposed
from ..interop.keras import conv_transpose_padding
from .layer import Layer


@dataclasses.dataclass(frozen=True)
class Call:
    """The code of one library, "" where it has none, and a remark, "" where there is nothing to remark."""

    library: str
    code: str
    note: str = ""


def calls(layer: Layer) -> tuple[Call, ...]:
    """The code that computes this layer in jaxconv, PyTorch, TensorFlow, Keras and Flax.

    Args:
      layer: what `explain.layer` returned.

    Returns:
      One `Call` for each library.

    Raises:
      ValueError: for more than three spatial dimensions, which the other libraries do not have.

    Example:
      >>> from jaxconv.explain import layer
      >>> for call in calls(layer(16, 3, stride=2, padding=1, transposed=True, output_padding=1))[:2]:
      ...     print(call.code)
      y = jaxconv.conv_transpose(x, kernel, stride=2, padding=1, output_padding=1)
      layer = torch.nn.ConvTranspose1d(1, 1, kernel_size=3, stride=2, padding=1, output_padding=1)
      y = layer(x)
    """
    if layer.rank > 3:
        raise ValueError(f"the layer has {layer.rank} spatial dimensions; other libraries have three at most.")
    return (_jaxconv(layer), _torch(layer), _tensorflow(layer), _keras(layer), _flax(layer))


def _jaxconv(layer: Layer) -> Call:
    function = "conv_transpose" if layer.transposed else "conv"
    options = _options(layer, padding=_pads(layer.padding), output_padding=_spread(layer.output_padding))
    return Call("jaxconv", f"y = jaxconv.{function}({', '.join(['x', 'kernel', *options])})")


def _torch(layer: Layer) -> Call:
    even = all(lo == hi for lo, hi in layer.padding)
    x, crop, extra, note = "x", "", layer.output_padding, ""
    padding = tuple(lo for lo, _ in layer.padding)
    if layer.transposed and not even:
        padding = tuple(map(min, layer.padding))
        more = [max(hi - lo, 0) for lo, hi in layer.padding]
        extra = tuple(max(e - m, 0) for e, m in zip(extra, more, strict=True))
        have = [f - 2 * p + e for f, p, e in zip(_full(layer), padding, extra, strict=True)]
        crop = _crop(layer, [lo - p for (lo, _), p in zip(layer.padding, padding, strict=True)], have, "...")
        note = "PyTorch crops both ends alike; the rest is cut off." if crop else ""
    elif not even:
        padding = (0,) * layer.rank
        x = f"torch.nn.functional.pad(x, {_flat(reversed(layer.padding))})"
        note = "PyTorch pads both sides alike, so the border is added before."
    options = _options(layer, padding=_spread(padding), output_padding=_spread(extra))
    name = f"Conv{'Transpose' * layer.transposed}{layer.rank}d"
    arguments = [str(layer.in_channels), str(layer.out_channels), f"kernel_size={_spread(_taps(layer))}"]
    return Call("PyTorch", f"layer = torch.nn.{name}({', '.join([*arguments, *options])})\ny = layer({x}){crop}", note)


def _tensorflow(layer: Layer) -> Call:
    return _tensorflow_transposed(layer) if layer.transposed else _tensorflow_conv(layer)


def _tensorflow_conv(layer: Layer) -> Call:
    x, padding = _padded(layer, "tf.pad(x, [[0, 0], {}, [0, 0]])", "[{}, {}]")
    strided, note, steps = _stride_or_steps(layer, "TensorFlow")
    options = [f"strides={strided}", f'padding="{padding.upper()}"', *_dilations(layer, "dilations")]
    if layer.rank == 3 and layer.groups > 1:
        parts = "zip(tf.split({}, {g}, -1), tf.split(kernel, {g}, -1))".format(x, g=layer.groups)
        code = f"tf.nn.convolution(part, k, {', '.join(options)})"
        note = " ".join(filter(None, ["TensorFlow has no groups in three dimensions.", note]))
        return Call("TensorFlow", f"y = tf.concat([{code} for part, k in {parts}], -1){steps}", note)
    return Call("TensorFlow", f"y = tf.nn.convolution({x}, kernel, {', '.join(options)}){steps}", note)


def _tensorflow_transposed(layer: Layer) -> Call:
    same = normalize_transposed("SAME", **_own(layer)) == layer.axes
    if same:
        padding, shape, crop, short = "SAME", layer.out, "", [0] * layer.rank
    else:
        # With "VALID" the size may be up to stride - 1 above the full one.
        most = [f + a.stride - 1 for f, a in zip(_full(layer), layer.axes, strict=True)]
        ends = [lo + n for (lo, _), n in zip(layer.padding, layer.out, strict=True)]
        short = [max(e - m, 0) for e, m in zip(ends, most, strict=True)]
        shape = [min(max(f, e), m) for f, e, m in zip(_full(layer), ends, most, strict=True)]
        have = [n + more for n, more in zip(shape, short, strict=True)]
        padding, crop = "VALID", _crop(layer, [lo for lo, _ in layer.padding], have)
    sizes = ", ".join(map(str, shape))
    options = [
        f"output_shape=[x.shape[0], {sizes}, {layer.out_channels}]",
        f"strides={_list([a.stride for a in layer.axes])}",
        f'padding="{padding}"',
        *_dilations(layer, "dilations"),
    ]
    notes = ["TensorFlow crops nothing by numbers; what is too much is cut off."] * bool(crop)
    code = f"tf.nn.conv_transpose(x, kernel, {', '.join(options)})"
    if layer.groups > 1:
        notes.append("It has no groups here: one call for each.")
        parts = f"zip(tf.split(x, {layer.groups}, -1), tf.split(kernel, {layer.groups}, -1))"
        options[0] = f"output_shape=[x.shape[0], {sizes}, {layer.out_channels // layer.groups}]"
        each = f"tf.nn.conv_transpose(part, k, {', '.join(options)})"
        code = f"tf.concat([{each} for part, k in {parts}], -1)"
    if any(short):
        notes.append("Output padding of the stride or more is added as zeros.")
        code = f"tf.pad({code}, [[0, 0], {', '.join(f'[0, {s}]' for s in short)}, [0, 0]])"
    return Call("TensorFlow", f"y = {code}{crop}", " ".join(notes))


def _keras(layer: Layer) -> Call:
    return _keras_transposed(layer) if layer.transposed else _keras_conv(layer)


def _keras_conv(layer: Layer) -> Call:
    inner = f"keras.layers.ZeroPadding{layer.rank}D({{}})(x)"
    x, padding = _padded(layer, inner, "({}, {})")
    if layer.rank == 1 and layer.padding[0] == (layer.axes[0].span - 1, 0) and layer.padding[0][0]:
        x, padding = "x", "causal"
    strided, note, steps = _stride_or_steps(layer, "Keras")
    options = [f"strides={strided[1:-1]}" if layer.rank == 1 else f"strides=({strided[1:-1]})"]
    options = [] if set(strided) <= set("[1, ]") else options
    options += [f'padding="{padding}"'] * (padding != "valid")
    options += [f"dilation_rate={_spread(d)}" for d in [[a.dilation for a in layer.axes]] if max(d) > 1]
    options += [f"groups={layer.groups}"] * (layer.groups > 1)
    arguments = ", ".join([str(layer.out_channels), _spread(_taps(layer)), *options])
    return Call("Keras", f"layer = keras.layers.Conv{layer.rank}D({arguments})\ny = layer({x}){steps}", note)


def _keras_transposed(layer: Layer) -> Call:
    strides, dilations = [a.stride for a in layer.axes], [a.dilation for a in layer.axes]
    if max(strides) > 1 and max(dilations) > 1:
        note = (
            "Keras has no transposed convolution with strides and dilation. Put stride - 1 zeros between the "
            "inputs by hand, then use strides=1."
        )
        return Call("Keras", "", note)
    window = {"strides": strides, "dilation_rate": dilations}
    wanted = tuple((a.lo, a.hi) for a in layer.axes)
    extra = [max(e - hi, 0) for (_, hi), e in zip(layer.padding, layer.output_padding, strict=True)]
    if any(e >= s for e, s in zip(extra, strides, strict=True) if e):
        return Call("Keras", "", "Keras has no output_padding of the stride or more. Pad y, and add the bias after that.")
    options, crop = [], ""
    if conv_transpose_padding("same", _taps(layer), **window) == wanted:
        options = ['padding="same"']
    elif conv_transpose_padding("same", _taps(layer), **window, output_padding=layer.output_padding) == wanted:
        options = ['padding="same"', f"output_padding={_spread(layer.output_padding)}"]
    else:
        given = {"output_padding": extra} if any(extra) else {}
        have = conv_transpose_padding("valid", _taps(layer), **window, **given)
        sizes = [f - lo - hi for f, (lo, hi) in zip(_full(layer), have, strict=True)]
        options = [f"output_padding={_spread(extra)}"] * any(extra)
        crop = _crop(layer, [lo for lo, _ in layer.padding], sizes)
    named = [("strides", strides), ("dilation_rate", dilations)]
    options = [*(f"{name}={_spread(v)}" for name, v in named if max(v) > 1), *options]
    make = f"keras.layers.Conv{layer.rank}DTranspose({', '.join([str(layer.out_channels // layer.groups), _spread(_taps(layer)), *options])})"
    notes = ["Keras crops nothing by numbers; what is too much is cut off."] * bool(crop)
    if layer.groups == 1:
        return Call("Keras", f"layer = {make}\ny = layer(x){crop}", " ".join(notes))
    notes.append("It has no groups here: one layer for each.")
    return Call("Keras", _for_each_group(layer, make, "keras.ops.split", "keras.ops.concatenate", crop), " ".join(notes))


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
            have = [n + f + max(-b, 0) for n, f, b in zip(layer.out, (max(-f, 0) for f in front), back, strict=True)]
            crop = _crop(layer, [max(-f, 0) for f in front], have)
        if layer.groups > 1:
            features = [c // layer.groups for c in features]
            notes.append("It has no groups here: one layer for each.")
    named = [("strides", [a.stride for a in layer.axes]), ("kernel_dilation", [a.dilation for a in layer.axes])]
    options = [f"kernel_size={_tuple(_taps(layer))}"]
    options += [f"{option}={_tuple(v)}" for option, v in named if max(v) > 1]
    options += [f"padding={_pair_tuple(pads)}"]
    options += [f"feature_group_count={layer.groups}"] * (layer.groups > 1 and not layer.transposed)
    make = f"nnx.{name}({', '.join([*map(str, features), *options, *last, 'rngs=nnx.Rngs(0)'])})"
    if layer.groups > 1 and layer.transposed:
        return Call("Flax", _for_each_group(layer, make, "jnp.split", "jnp.concatenate", crop), " ".join(notes))
    return Call("Flax", f"layer = {make}\ny = layer(x){crop}", " ".join(notes))


def _for_each_group(layer: Layer, make: str, split: str, concatenate: str, crop: str) -> str:
    parts = f"zip(layers, {split}(x, {layer.groups}, axis=-1))"
    return (
        f"layers = [{make} for _ in range({layer.groups})]\n"
        f"y = {concatenate}([layer(part) for layer, part in {parts}], axis=-1){crop}"
    )


def _padded(layer: Layer, pad: str, pair: str) -> tuple[str, str]:
    """The x of a convolution that pads by name only, and that name."""
    if not any(map(any, layer.padding)):
        return "x", "valid"
    own = _own(layer)
    if _stride_or_steps(layer, "")[2]:
        own["stride"] = [1] * layer.rank
    if tuple((a.lo, a.hi) for a in normalize("SAME", **own)) == layer.padding:
        return "x", "same"
    pads = ", ".join(pair.format(lo, hi) for lo, hi in layer.padding)
    if "keras" in pad:
        pads = pads if layer.rank == 1 else f"({pads})"
    return pad.format(pads), "valid"


def _stride_or_steps(layer: Layer, library: str) -> tuple[str, str, str]:
    """The strides, a remark and what follows the call: who strides and dilates must stride by slicing."""
    strides = [a.stride for a in layer.axes]
    if max(strides) == 1 or max(a.dilation for a in layer.axes) == 1:
        return _list(strides), "", ""
    steps = ", ".join([":", *(f"::{s}" for s in strides)])
    note = f"{library} has no strides together with dilation; every stride-th output is taken instead."
    return _list([1] * layer.rank), note, f"[{steps}]"


def _crop(layer: Layer, starts: Sequence[int], have: Sequence[int], before: str = ":") -> str:
    """The slice of the layer's output out of a larger one of the sizes `have`."""
    if tuple(have) == layer.out:
        return ""
    cuts = (f"{start}:{start + n}" for start, n in zip(starts, layer.out, strict=True))
    return f"[{', '.join([before, *cuts])}]"


def _own(layer: Layer) -> dict[str, list[int]]:
    """The arguments of `normalize` and `normalize_transposed` but padding."""
    axes = layer.axes
    return {
        "size": list(layer.size),
        "kernel": [a.kernel for a in axes],
        "stride": [a.stride for a in axes],
        "dilation": [a.dilation for a in axes],
    }


def _full(layer: Layer) -> list[int]:
    """The size of the transposed convolution before anything is cropped."""
    return [a.size + a.lo + a.hi for a in layer.axes]


def _options(layer: Layer, *, padding: str, output_padding: str) -> list[str]:
    """The options that jaxconv and PyTorch have in common."""
    values = {
        "stride": _spread([a.stride for a in layer.axes]),
        "padding": padding,
        "output_padding": output_padding,
        "dilation": _spread([a.dilation for a in layer.axes]),
        "groups": str(layer.groups),
    }
    usual = {"padding": "0", "output_padding": "0"}
    return [f"{name}={value}" for name, value in values.items() if value != usual.get(name, "1")]


def _taps(layer: Layer) -> tuple[int, ...]:
    return tuple(a.kernel for a in layer.axes)


def _dilations(layer: Layer, name: str) -> list[str]:
    values = [a.dilation for a in layer.axes]
    return [f"{name}={_list(values)}"] * (max(values) > 1)


def _spread(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else _tuple(values)


def _tuple(values: Iterable[int]) -> str:
    return str(tuple(values))


def _list(values: Iterable[int]) -> str:
    return str(list(values))


def _flat(pads: Iterable[tuple[int, int]]) -> str:
    return _tuple(n for pair in pads for n in pair)


def _pair_tuple(pads: Sequence[tuple[int, int]]) -> str:
    return str(tuple(tuple(p) for p in pads))


def _pads(pads: Sequence[tuple[int, int]]) -> str:
    if all(lo == hi for lo, hi in pads):
        return _spread([lo for lo, _ in pads])
    return _pair_tuple(pads)
