// The arithmetic of the page, for layers that are the same along every axis. The library's own is
// jaxconv/explain/layer.py, shape.py, calls.py and story.py; tests/test_explain_page.py holds the two together.
"use strict";

const LIMITS = {
  rank: [1, 3], size: [1, 16], kernel: [1, 7], stride: [1, 4], lo: [0, 6], hi: [0, 6], dilation: [1, 4],
  outputPadding: [0, 3], groups: [1, 6], inChannels: [1, 8], outChannels: [1, 8],
};

const range = (start, stop, step = 1) => {
  const result = [];
  for (let i = start; i < stop; i += step) result.push(i);
  return result;
};
const modulo = (a, b) => ((a % b) + b) % b;

// One spatial axis of the convolution: p.size and p.out are the layer's, axis.size and axis.out the convolution's.
function axisOf(p) {
  const span = p.dilation * (p.kernel - 1) + 1;
  const extra = p.transposed ? p.outputPadding : 0;
  const axis = { kernel: p.kernel, stride: p.stride, dilation: p.dilation, span, lo: p.lo };
  if (p.transposed) {
    axis.out = p.size;
    axis.size = (p.size - 1) * p.stride + span - p.lo - p.hi + extra;
    axis.hi = p.hi - extra;
  } else {
    const room = p.size + p.lo + p.hi - span;
    axis.size = p.size;
    axis.out = room < 0 ? 0 : Math.floor(room / p.stride) + 1;
    axis.hi = p.hi;
  }
  axis.position = (o, k) => o * p.stride + k * p.dilation - p.lo;
  return axis;
}

function refusal(p) {
  for (const [name, channels] of [["in channels", p.inChannels], ["out channels", p.outChannels]]) {
    if (channels % p.groups) return `groups = ${p.groups} must divide ${name} = ${channels}.`;
  }
  const room = Math.max(p.stride, p.dilation);
  if (p.transposed && p.outputPadding >= room) {
    return `output_padding = ${p.outputPadding} must be below max(stride, dilation) = ${room}.`;
  }
  const axis = axisOf(p);
  if (p.transposed && axis.size < 1) return "Padding crops everything; choose less of it.";
  if (!p.transposed && axis.out < 1) {
    return `The kernel spans ${axis.span} positions and does not fit into ${p.size + p.lo + p.hi}.`;
  }
  return "";
}

// Everything that the page says about a layer, or {error}.
function compute(p) {
  const error = refusal(p);
  if (error) return { error };
  const axis = axisOf(p);
  const coverage = Array(axis.size).fill(0);
  for (const o of range(0, axis.out)) {
    for (const k of range(0, axis.kernel)) {
      const i = axis.position(o, k);
      if (i >= 0 && i < axis.size) coverage[i] += 1;
    }
  }
  const touching = coverage.reduce((a, b) => a + b, 0);
  const [inner, outer] = p.transposed ? [p.outChannels, p.inChannels] : [p.inChannels, p.outChannels];
  const phases = range(0, p.stride).map((r) =>
    range(0, p.kernel).filter((k) => modulo(axis.position(0, k) - r, p.stride) === 0).map((k) => axis.position(0, k)));
  const seen = phases.filter((q) => q.length).map((q) => (q[q.length - 1] - q[0]) / p.stride + 1);
  return {
    error: "",
    out: p.transposed ? axis.size : axis.out,
    formula: formula(p, axis),
    kernelShape: [...Array(p.rank).fill(p.kernel), inner / p.groups, outer],
    parameters: p.kernel ** p.rank * (inner / p.groups) * outer,
    multiplyAdds: touching ** p.rank * (inner / p.groups) * outer,
    field: p.transposed ? Math.max(...seen) : axis.span,
    jump: p.transposed ? (p.stride === 1 ? "1" : `1/${p.stride}`) : String(p.stride),
    coverage,
    checkerboard: new Set(phases.map((q) => q.length)).size > 1,
    calls: calls(p, axis),
  };
}

function formula(p, axis) {
  const span = `span = dilation * (kernel - 1) + 1 = ${p.dilation} * (${p.kernel} - 1) + 1 = ${axis.span}`;
  const out = p.transposed
    ? `out = (size - 1) * stride + span - lo - hi + output_padding = (${p.size} - 1) * ${p.stride} + ${axis.span} - ` +
      `${p.lo} - ${p.hi} + ${p.outputPadding} = ${axis.size}`
    : `out = (size + lo + hi - span) // stride + 1 = (${p.size} + ${p.lo} + ${p.hi} - ${axis.span}) // ${p.stride} + 1 = ` +
      `${axis.out}`;
  return [span, out];
}

// The code for each library: the same cases, in the same order, as in calls.py.
function calls(p, axis) {
  const all = (v) => Array(p.rank).fill(v);
  const list = (v) => `[${all(v).join(", ")}]`;
  const tuple = (v) => (p.rank === 1 ? `(${v},)` : `(${all(v).join(", ")})`);
  const pairs = (lo, hi) => tuple(`(${lo}, ${hi})`);
  const option = (name, value, usual) => (value === usual ? [] : [`${name}=${value}`]);
  const extra = p.transposed ? p.outputPadding : 0;
  const out = p.transposed ? axis.size : axis.out;
  const full = (p.size - 1) * p.stride + axis.span;
  const crop = (start, have, before = ":") =>
    have === out ? "" : `[${[before, ...all(`${start}:${start + out}`)].join(", ")}]`;
  const options = (padding, output) => [
    ...option("stride", p.stride, 1), ...option("padding", padding, 0), ...option("output_padding", output, 0),
    ...option("dilation", p.dilation, 1), ...option("groups", p.groups, 1),
  ];
  const result = {};
  const say = (library, code, ...notes) => { result[library] = { code, note: notes.filter(Boolean).join(" ") }; };
  const forGroups = (make, split, concatenate, cut) =>
    `layers = [${make} for _ in range(${p.groups})]\n` +
    `y = ${concatenate}([layer(part) for layer, part in zip(layers, ${split}(x, ${p.groups}, axis=-1))], axis=-1)${cut}`;

  const pads = p.lo === p.hi ? p.lo : pairs(p.lo, p.hi);
  const ours = ["x", "kernel", ...options(pads, extra)].join(", ");
  say("jaxconv", `y = jaxconv.${p.transposed ? "conv_transpose" : "conv"}(${ours})`);

  {
    let [x, cut, padding, output, note] = ["x", "", p.lo, extra, ""];
    if (p.transposed && p.lo !== p.hi) {
      padding = Math.min(p.lo, p.hi);
      output = Math.max(extra - Math.max(p.hi - p.lo, 0), 0);
      cut = crop(p.lo - padding, full - 2 * padding + output, "...");
      note = cut && "PyTorch crops both ends alike; the rest is cut off.";
    } else if (p.lo !== p.hi) {
      padding = 0;
      x = `torch.nn.functional.pad(x, (${all(`${p.lo}, ${p.hi}`).join(", ")}))`;
      note = "PyTorch pads both sides alike, so the border is added before.";
    }
    const name = `Conv${p.transposed ? "Transpose" : ""}${p.rank}d`;
    const words = [p.inChannels, p.outChannels, `kernel_size=${p.kernel}`, ...options(padding, output)];
    say("PyTorch", `layer = torch.nn.${name}(${words.join(", ")})\ny = layer(${x})${cut}`, note);
  }

  const stepped = !p.transposed && p.stride > 1 && p.dilation > 1;
  const steps = stepped ? `[${[":", ...all(`::${p.stride}`)].join(", ")}]` : "";
  const remark = (library) =>
    stepped ? `${library} has no strides together with dilation; every stride-th output is taken instead.` : "";
  const stride = stepped ? 1 : p.stride;
  const total = Math.max((Math.ceil(p.size / stride) - 1) * stride + axis.span - p.size, 0);
  const same = p.lo === Math.floor(total / 2) && p.hi === total - Math.floor(total / 2);
  const none = p.lo === 0 && p.hi === 0;
  const named = none ? "valid" : same ? "same" : "valid";
  const outside = !none && !same;

  if (!p.transposed) {
    const x = outside ? `tf.pad(x, [[0, 0], ${all(`[${p.lo}, ${p.hi}]`).join(", ")}, [0, 0]])` : "x";
    const words = [`strides=${list(stride)}`, `padding="${named.toUpperCase()}"`];
    if (p.dilation > 1) words.push(`dilations=${list(p.dilation)}`);
    if (p.rank === 3 && p.groups > 1) {
      const parts = `zip(tf.split(${x}, ${p.groups}, -1), tf.split(kernel, ${p.groups}, -1))`;
      const each = `tf.nn.convolution(part, k, ${words.join(", ")})`;
      say("TensorFlow", `y = tf.concat([${each} for part, k in ${parts}], -1)${steps}`,
        "TensorFlow has no groups in three dimensions.", remark("TensorFlow"));
    } else {
      say("TensorFlow", `y = tf.nn.convolution(${x}, kernel, ${words.join(", ")})${steps}`, remark("TensorFlow"));
    }
  } else {
    const back = Math.max(p.size * p.stride, 0);
    const crops = Math.max((p.size - 1) * p.stride + axis.span - back, 0);
    const isSame = axis.size === back && p.lo === Math.floor(crops / 2);
    const most = full + p.stride - 1;
    const end = p.lo + out;
    const shape = isSame ? out : Math.min(Math.max(full, end), most);
    const short = isSame ? 0 : Math.max(end - most, 0);
    const cut = isSame ? "" : crop(p.lo, shape + short);
    const words = [`output_shape=[x.shape[0], ${all(shape).join(", ")}, ${p.outChannels / p.groups}]`,
      `strides=${list(p.stride)}`, `padding="${isSame ? "SAME" : "VALID"}"`];
    if (p.dilation > 1) words.push(`dilations=${list(p.dilation)}`);
    let code = `tf.nn.conv_transpose(x, kernel, ${words.join(", ")})`;
    if (p.groups > 1) {
      const parts = `zip(tf.split(x, ${p.groups}, -1), tf.split(kernel, ${p.groups}, -1))`;
      code = `tf.concat([tf.nn.conv_transpose(part, k, ${words.join(", ")}) for part, k in ${parts}], -1)`;
    }
    if (short) code = `tf.pad(${code}, [[0, 0], ${all(`[0, ${short}]`).join(", ")}, [0, 0]])`;
    say("TensorFlow", `y = ${code}${cut}`, cut && "TensorFlow crops nothing by numbers; what is too much is cut off.",
      p.groups > 1 && "TensorFlow documents no groups here: one call for each.",
      short && "Output padding of the stride or more is added as zeros.");
  }

  if (!p.transposed) {
    const causal = p.rank === 1 && p.lo === axis.span - 1 && p.hi === 0 && p.lo > 0;
    const inner = p.rank === 1 ? `(${p.lo}, ${p.hi})` : tuple(`(${p.lo}, ${p.hi})`);
    const x = outside && !causal ? `keras.layers.ZeroPadding${p.rank}D(${inner})(x)` : "x";
    const padding = causal ? "causal" : named;
    const strides = p.rank === 1 ? stride : tuple(stride);
    const words = [p.outChannels, p.kernel];
    if (stride > 1) words.push(`strides=${strides}`);
    words.push(...option("padding", `"${padding}"`, '"valid"'), ...option("dilation_rate", p.dilation, 1),
      ...option("groups", p.groups, 1));
    say("Keras", `layer = keras.layers.Conv${p.rank}D(${words.join(", ")})\ny = layer(${x})${steps}`, remark("Keras"));
  } else {
    kerasTransposed(p, axis, { extra, full, crop, option, say, forGroups });
  }

  {
    let [name, before, after, cut, last] = ["Conv", p.lo, p.hi, "", []];
    const notes = [];
    let features = [p.inChannels, p.outChannels];
    if (p.transposed) {
      const front = axis.span - 1 - p.lo;
      const back = axis.span - 1 - axis.hi;
      [name, last, before, after] = ["ConvTranspose", ["transpose_kernel=True"], Math.max(front, 0), Math.max(back, 0)];
      notes.push("Flax's numbers pad the stuffed input: span - 1 - padding.");
      if (Math.min(front, back) < 0) cut = crop(Math.max(-front, 0), out + Math.max(-front, 0) + Math.max(-back, 0));
      if (p.groups > 1) {
        features = features.map((c) => c / p.groups);
        notes.push("It has no groups here: one layer for each.");
      }
    }
    const words = [...features, `kernel_size=${tuple(p.kernel)}`];
    if (p.stride > 1) words.push(`strides=${tuple(p.stride)}`);
    if (p.dilation > 1) words.push(`kernel_dilation=${tuple(p.dilation)}`);
    words.push(`padding=${pairs(before, after)}`);
    if (p.groups > 1 && !p.transposed) words.push(`feature_group_count=${p.groups}`);
    const make = `nnx.${name}(${[...words, ...last, "rngs=nnx.Rngs(0)"].join(", ")})`;
    const split = p.groups > 1 && p.transposed;
    say("Flax", split ? forGroups(make, "jnp.split", "jnp.concatenate", cut) : `layer = ${make}\ny = layer(x)${cut}`, ...notes);
  }
  return result;
}

function kerasTransposed(p, axis, { extra, full, crop, option, say, forGroups }) {
  if (p.stride > 1 && p.dilation > 1) {
    say("Keras", "", "Keras has no transposed convolution with strides and dilation. Put stride - 1 zeros between the " +
      "inputs by hand, then use strides=1.");
    return;
  }
  const more = Math.max(extra - p.hi, 0);
  if (more && more >= p.stride) {
    say("Keras", "", "Keras has no output_padding of the stride or more. Pad y, and add the bias after that.");
    return;
  }
  const fits = (total) => p.lo === Math.max(Math.floor(total / 2), 0) && axis.hi === total - p.lo;
  const words = [p.outChannels / p.groups, p.kernel, ...option("strides", p.stride, 1),
    ...option("dilation_rate", p.dilation, 1)];
  let cut = "";
  if (fits(axis.span - p.stride)) {
    words.push('padding="same"');
  } else if (fits(axis.span - (axis.span % 2) - extra)) {
    words.push('padding="same"', `output_padding=${extra}`);
  } else {
    if (more) words.push(`output_padding=${more}`);
    cut = crop(p.lo, full - (more ? -more : Math.min(axis.span - p.stride, 0)));
  }
  const make = `keras.layers.Conv${p.rank}DTranspose(${words.join(", ")})`;
  const notes = [cut && "Keras crops nothing by numbers; what is too much is cut off.",
    p.groups > 1 && "It has no groups here: one layer for each."];
  say("Keras", p.groups > 1 ? forGroups(make, "keras.ops.split", "keras.ops.concatenate", cut)
    : `layer = ${make}\ny = layer(x)${cut}`, ...notes);
}

// The two sides as they are drawn, and `step(n)`: what is read, what is written. Positions are along one axis; in
// more dimensions the picture takes products.
function story(p) {
  const axis = axisOf(p);
  const data = (ranges, real) => ({ range: ranges, real: new Set(real) });
  const plain = { gather: true, source: null, target: null };
  if (!p.transposed) {
    plain.source = data(range(-p.lo, p.size + p.hi), range(0, p.size));
    plain.target = data(range(0, axis.out), range(0, axis.out));
    plain.reads = (o) => range(0, p.kernel).map((k) => [k, axis.position(o, k)]);
  } else if (p.method === "zero_insertion") {
    const front = axis.span - 1 - p.lo;
    const extent = (p.size - 1) * p.stride + 1;
    plain.source = data(range(-front, axis.size - 1 + axis.span - front), range(0, extent, p.stride));
    plain.target = data(range(0, axis.size), range(0, axis.size));
    plain.reads = (o) => range(0, p.kernel).map((k) => [p.kernel - 1 - k, o + k * p.dilation - front]);
  } else if (p.method === "subpixel") {
    plain.reads = (o) => range(0, p.kernel).map((k) => [k, (o - axis.position(0, k)) / p.stride])
      .filter(([, i]) => Number.isInteger(i));
    const seen = range(0, axis.size).flatMap((o) => plain.reads(o).map(([, i]) => i));
    plain.source = data(range(Math.min(...seen), Math.max(...seen) + 1), range(0, p.size));
    plain.target = data(range(0, axis.size), range(0, axis.size));
    plain.phases = p.stride;
  } else {
    plain.gather = false;
    plain.source = data(range(0, p.size), range(0, p.size));
    plain.target = data(range(-p.lo, axis.size + Math.max(axis.hi, 0)), range(0, axis.size));
    plain.writes = (i) => range(0, p.kernel).map((k) => [k, axis.position(i, k)]);
  }
  return plain;
}

if (typeof module !== "undefined") module.exports = { LIMITS, compute, story };
