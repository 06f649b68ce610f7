// What is on the screen: sliders in, picture, numbers and code out. All arithmetic is in logic.js.
"use strict";

const NAMES = {
  rank: "dimensions", size: "size", kernel: "kernel", stride: "stride", lo: "padding in front", hi: "padding behind",
  dilation: "dilation", outputPadding: "output_padding", groups: "groups", inChannels: "in channels",
  outChannels: "out channels",
};
const START = {
  rank: 2, size: 5, kernel: 3, stride: 1, lo: 1, hi: 1, dilation: 1, outputPadding: 0, groups: 1, inChannels: 1,
  outChannels: 1, transposed: false, method: "overlap_add",
};
const PRESETS = {
  "3×3, same size": {},
  "strided": { size: 7, stride: 2 },
  "dilated": { size: 7, dilation: 2, lo: 2, hi: 2 },
  "grouped": { size: 4, groups: 2, inChannels: 4, outChannels: 4 },
  "depthwise": { size: 4, groups: 3, inChannels: 3, outChannels: 3 },
  "causal, one dimension": { rank: 1, size: 8, dilation: 2, lo: 4, hi: 0 },
  "three dimensions": { rank: 3, size: 3, kernel: 2, lo: 0, hi: 0 },
  "transposed, kernel 3: checkerboard": { size: 3, stride: 2, outputPadding: 1, transposed: true },
  "transposed, kernel 4: even": { size: 3, kernel: 4, stride: 2, transposed: true },
  "transposed, one dimension": { rank: 1, size: 4, stride: 2, outputPadding: 1, transposed: true },
};
const TINTS = ["blue", "green", "purple", "brown", "sky", "orange"];
const CELL = 30, GAP = 12, MOST = 1200;
const $ = (id) => document.getElementById(id);
const state = { ...START };
let now = null, scene = null, timer = null;

function slider(name) {
  const [min, max] = LIMITS[name];
  const row = document.createElement("div");
  row.className = "slider";
  row.innerHTML = `<label for="${name}">${NAMES[name]}</label>` +
    `<input type="range" id="${name}" min="${min}" max="${max}" step="1"><output for="${name}" id="${name}-value"></output>`;
  row.querySelector("input").addEventListener("input", (event) => {
    state[name] = Number(event.target.value);
    $("preset").value = "";
    update();
  });
  return row;
}

function controls() {
  $("sliders").append(...Object.keys(NAMES).map(slider));
  $("preset").append(new Option("your own", ""), ...Object.keys(PRESETS).map((name) => new Option(name, name)));
  $("preset").addEventListener("change", (event) => {
    if (event.target.value) Object.assign(state, START, PRESETS[event.target.value]);
    update();
    centre();
  });
  for (const radio of document.querySelectorAll('[name="kind"]')) {
    radio.addEventListener("change", () => { state.transposed = radio.value === "transposed"; update(); });
  }
  for (const radio of document.querySelectorAll('[name="method"]')) {
    radio.addEventListener("change", () => { state.method = radio.value; update(); });
  }
  $("step").addEventListener("input", () => { run(false); paint(); });
  $("back").addEventListener("click", () => { run(false); move(-1); });
  $("next").addEventListener("click", () => { run(false); move(1); });
  $("play").addEventListener("click", () => run(!timer));
  $("theme").addEventListener("click", () => theme(!dark()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(null));
  $("preset").value = Object.keys(PRESETS)[0];
}

const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function theme(wanted) {
  if (wanted !== null) document.documentElement.dataset.theme = wanted ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", dark());
}

function sync() {
  for (const name of Object.keys(NAMES)) {
    $(name).value = state[name];
    $(`${name}-value`).textContent = state[name];
  }
  document.querySelector(`[name="kind"][value="${state.transposed ? "transposed" : "conv"}"]`).checked = true;
  document.querySelector(`[name="method"][value="${state.method}"]`).checked = true;
  $("methods").disabled = !state.transposed;
  $("outputPadding").disabled = !state.transposed;
  $("outputPadding").parentElement.classList.toggle("off", !state.transposed);
}

function update() {
  run(false);
  sync();
  now = compute(state);
  const by = (n) => Array(state.rank).fill(n).join(" × ");
  $("summary").classList.toggle("error", Boolean(now.error));
  for (const section of document.querySelectorAll("#result > section:not(:first-child)")) section.hidden = Boolean(now.error);
  $("facts").hidden = Boolean(now.error);
  if (now.error) {
    $("summary").textContent = now.error;
    return;
  }
  $("summary").textContent = `${by(state.size)} → ${by(now.out)}, ${state.inChannels} → ${state.outChannels} channels`;
  const facts = [
    ["multiply-adds", now.multiplyAdds.toLocaleString("en")],
    ["parameters", `${now.parameters.toLocaleString("en")}, kernel (${now.kernelShape.join(", ")})`],
    ["an output sees", `${by(now.field)} inputs`],
    ["neighbouring outputs", `are ${now.jump} ${now.jump.includes("/") ? "of an input" : now.jump === "1" ? "input" : "inputs"} apart`],
  ];
  $("facts").innerHTML = now.formula.map((line) => `<p class="formula">${line}</p>`).join("") +
    `<dl>${facts.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join("")}</dl>`;
  lay();
  paint();
  chart();
  code();
}

function lay() {
  const told = story(state);
  const cells = (side, channels) => channels * side.range.length ** state.rank;
  const all = cells(told.source, state.inChannels) + cells(told.target, state.outChannels) <= MOST;
  const channels = all ? [state.inChannels, state.outChannels] : [1, 1];
  const rank = !all && state.rank === 3 && cells(told.source, 1) + cells(told.target, 1) > MOST ? 2 : state.rank;
  const across = rank === 2 || (rank === 1 && channels[0] * channels[1] > 1);
  const boards = [told.source, told.target].map((side, which) => {
    const n = side.range.length;
    const tall = rank === 1 ? 1 : n;
    const board = { ...side, which, rank, channels: channels[which], x: 0, y: 0 };
    board.width = (rank === 3 ? n : 1) * (n * CELL + GAP) - GAP;
    board.height = board.channels * (tall * CELL + GAP) - GAP;
    board.place = (c, at) => {
      const [d, r, q] = [0, 0, ...at.map((i) => i - side.range[0])].slice(-3);
      return [board.x + (rank === 3 ? d : 0) * (n * CELL + GAP) + q * CELL, board.y + c * (tall * CELL + GAP) + r * CELL];
    };
    board.holds = (at) => at.every((i) => side.real.has(i));
    board.shows = (at) => at.every((i) => i >= side.range[0] && i <= side.range[side.range.length - 1]);
    board.tint = (c, at) => {
      if (all && state.groups > 1) return Math.floor(c / (channels[which] / state.groups));
      if (which && told.phases) return at.reduce((sum, i) => sum * told.phases + modulo(i, told.phases), 0);
      return which;
    };
    return board;
  });
  const [source, target] = boards;
  const middle = 70, top = 26;
  let width, height;
  if (across) {
    height = Math.max(source.height, target.height);
    width = source.width + middle + target.width;
    [source.x, target.x] = [4, source.width + middle + 4];
    [source.y, target.y] = [top + (height - source.height) / 2, top + (height - target.height) / 2];
  } else {
    width = Math.max(source.width, target.width);
    height = source.height + middle + target.height + 20;
    [source.x, target.x] = [4 + (width - source.width) / 2, 4 + (width - target.width) / 2];
    [source.y, target.y] = [top, top + source.height + middle];
  }
  const loop = told.gather ? target : source;
  const data = [...loop.real];
  scene = { told, source, target, across, loop, data, all, rank, width: width + 8, height: height + top + 8,
    linked: rank === 1 && channels[0] * channels[1] === 1, count: loop.channels * data.length ** rank };
  $("step").max = scene.count - 1;
  $("step").value = Math.min(Number($("step").value), scene.count - 1);
  scene.base = boards.map((board) => resting(board)).join("");
}

const product = (ranges) => ranges.reduce((all, next) => all.flatMap((head) => next.map((i) => [...head, i])), [[]]);
const box = (x, y, w, h, look) => `<rect x="${x}" y="${y}" width="${w}" height="${h}" ${look}/>`;
const words = (x, y, text, look = "", size = 12) =>
  `<text x="${x}" y="${y + 0.35 * size}" font-size="${size}" text-anchor="middle" fill="var(--ink)" ${look}>${text}</text>`;

function resting(board) {
  const name = board.which ? "output" : state.transposed && state.method === "zero_insertion" ? "input, zeros inserted" : "input";
  const below = board.which && !scene.across;
  const title = words(board.x + board.width / 2, below ? board.y + board.height + 14 : board.y - 13, name, 'style="fill:var(--muted)"');
  const cells = range(0, board.channels).flatMap((c) => product(Array(board.rank).fill(board.range)).map((at) => {
    const [x, y] = board.place(c, at);
    if (!board.holds(at)) return box(x + 1.5, y + 1.5, CELL - 3, CELL - 3, 'fill="none" stroke="var(--line)" stroke-dasharray="4 3"');
    const colour = TINTS[board.tint(c, at) % TINTS.length];
    const number = board.rank === 1 ? words(x + CELL / 2, y + CELL / 2, [...board.real].indexOf(at[0])) : "";
    return box(x + 1.5, y + 1.5, CELL - 3, CELL - 3, `fill="var(--${colour}-fill)" stroke="var(--${colour})"`) + number;
  }));
  return title + cells.join("");
}

// The cells that step n touches on the side that it does not go through, as [channel, position, tap].
function touched(n) {
  const { told, source, target, loop, data, rank } = scene;
  const inner = data.length ** rank;
  const channel = Math.floor(n / inner);
  const at = range(0, rank).map((axis) => data[Math.floor((n % inner) / data.length ** (rank - 1 - axis)) % data.length]);
  const other = told.gather ? source : target;
  const index = told.gather ? at : at.map((i) => data.indexOf(i));
  const each = index.map((i) => (told.gather ? told.reads(i) : told.writes(i)));
  const groups = scene.all ? state.groups : 1;
  const own = loop.channels / groups, share = other.channels / groups;
  const partners = range(0, share).map((i) => Math.floor(channel / own) * share + i);
  const cells = partners.flatMap((c) => product(each).map((pairs) => [c, pairs.map(([, i]) => i), pairs.map(([k]) => k)]));
  return { channel, at, other, cells: cells.filter(([, place]) => other.shows(place)) };
}

function paint() {
  const n = Number($("step").value);
  const { told, source, target, loop, rank } = scene;
  const { channel, at, other, cells } = touched(n);
  const [x, y] = loop.place(channel, at);
  const hot = [box(x + 1.5, y + 1.5, CELL - 3, CELL - 3, 'fill="none" stroke="var(--orange)" stroke-width="2.6"')];
  if (!told.gather) hot[0] = box(x + 1.5, y + 1.5, CELL - 3, CELL - 3, 'fill="var(--orange-fill)" stroke="var(--orange)" stroke-width="2.6"');
  const links = [];
  for (const [c, place, tap] of cells) {
    const [u, v] = other.place(c, place);
    const real = other.holds(place);
    const dash = real ? "" : 'stroke-dasharray="4 3"';
    const name = rank === 1 && real ? [...other.real].indexOf(place[0]) : rank > 1 ? (real || !told.gather ? tap.join("") : "0") : "";
    hot.push(box(u + 1.5, v + 1.5, CELL - 3, CELL - 3, `fill="${real ? "var(--orange-fill)" : "none"}" stroke="var(--orange)" stroke-width="2.2" ${dash}`),
      words(u + CELL / 2, v + CELL / 2, name, "", rank === 3 ? 10 : 12));
    if (scene.linked) {
      const [a, b] = [u + CELL / 2, other === source ? v + CELL - 2 : v + 2];
      const [p, q] = [x + CELL / 2, other === source ? y + 2 : y + CELL - 2];
      links.push(`<line x1="${a}" y1="${b}" x2="${p}" y2="${q}" stroke="var(--orange)" stroke-width="2" ${dash}/>`,
        box(a + 0.22 * (p - a) - 10, b + 0.22 * (q - b) - 8, 20, 16, 'fill="var(--paper)"'),
        words(a + 0.22 * (p - a), b + 0.22 * (q - b), `w${tap[0]}`, 'style="fill:var(--orange);font-weight:600"', 11));
    }
  }
  if (rank === 1) hot.push(words(x + CELL / 2, y + CELL / 2, [...loop.real].indexOf(at[0]), 'font-weight="600"'));
  if (!scene.linked && cells.length) links.push(beams(cells.map(([c, place]) => other.place(c, place)), [x, y], other === source));
  const label = caption(channel, at, other, cells);
  $("picture").innerHTML = `<svg viewBox="0 0 ${scene.width} ${scene.height}" width="${scene.width}" role="img" aria-label="${label}">` +
    `${scene.base}${links.join("")}${hot.join("")}</svg>`;
  $("caption").textContent = label;
  $("step").setAttribute("aria-valuetext", `${n + 1} of ${scene.count}: ${label}`);
}

function beams(places, [x, y], first) {
  const xs = places.map((p) => p[0]), ys = places.map((p) => p[1]);
  const window = [Math.min(...xs), Math.min(...ys), Math.max(...xs) + CELL, Math.max(...ys) + CELL];
  const one = [x, y, x + CELL, y + CELL];
  const [a, b] = first ? [window, one] : [one, window];
  const pairs = scene.across ? [[a[2], a[1], b[0], b[1]], [a[2], a[3], b[0], b[3]]] : [[a[0], a[3], b[0], b[1]], [a[2], a[3], b[2], b[1]]];
  return pairs.map(([p, q, u, v]) => `<line x1="${p}" y1="${q}" x2="${u}" y2="${v}" stroke="var(--orange)" stroke-width="1.2"/>`).join("");
}

function caption(channel, at, other, cells) {
  const where = scene.rank === 1 ? [...scene.loop.real].indexOf(at[0]) : `(${at.map((i) => [...scene.loop.real].indexOf(i)).join(", ")})`;
  const of = scene.loop.channels > 1 ? ` of channel ${channel}` : "";
  const part = scene.all ? "" : " (one channel is drawn)";
  if (!scene.told.gather) return `input ${where}${of} times the whole kernel, added to the outputs${part}`;
  const real = cells.filter(([, place]) => other.holds(place)).length;
  const zeros = cells.length - real;
  return `output ${where}${of}: ${real} product${real === 1 ? "" : "s"}${zeros ? `, ${zeros} more with zeros` : ""}${part}`;
}

function chart() {
  const what = state.transposed ? "output" : "input";
  $("verdict").textContent = now.checkerboard
    ? `Uneven: away from the borders some ${what}s are touched by more taps than others.`
    : `Even: away from the borders every ${what} is touched by as many taps.`;
  const columns = now.coverage;
  const rows = state.rank === 1 ? [1] : columns;
  const side = columns.length > 24 ? 14 : 26;
  const most = Math.max(1, ...rows) * Math.max(1, ...columns);
  const cells = rows.flatMap((a, i) => columns.map((b, j) => {
    const share = (a * b) / most;
    const look = `fill="var(--blue)" fill-opacity="${(0.05 + 0.5 * share).toFixed(3)}" stroke="var(--line)"`;
    return box(j * side + 1, i * side + 1, side - 1, side - 1, look) +
      (side > 20 ? words(j * side + side / 2, i * side + side / 2 + 0.5, a * b, "", 11) : "");
  }));
  const label = `products for each ${what}, from ${Math.min(...rows) * Math.min(...columns)} to ${most}`;
  $("coverage").innerHTML = `<svg viewBox="0 0 ${columns.length * side + 2} ${rows.length * side + 2}" ` +
    `width="${columns.length * side + 2}" role="img" aria-label="${label}">${cells.join("")}</svg>`;
}

function code() {
  $("code").replaceChildren(...Object.entries(now.calls).map(([library, call]) => {
    const part = document.createElement("div");
    part.className = "call";
    part.innerHTML = `<h3>${library}</h3><pre tabindex="0" aria-label="${library}"></pre><p class="muted"></p>`;
    part.querySelector("pre").textContent = call.code || "not possible with one layer";
    part.querySelector("p").textContent = call.note;
    if (call.code) {
      const copy = document.createElement("button");
      copy.type = "button";
      copy.textContent = "Copy";
      copy.setAttribute("aria-label", `Copy the ${library} code`);
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(call.code);
        copy.textContent = "Copied";
      });
      part.querySelector("h3").append(copy);
    }
    return part;
  }));
}

function move(by) {
  $("step").value = (Number($("step").value) + by + scene.count) % scene.count;
  paint();
}

function centre() {
  const n = scene.data.length, middle = Math.floor(n / 2);
  const within = range(0, scene.rank).reduce((sum) => sum * n + middle, 0);
  $("step").value = Math.floor(scene.loop.channels / 2) * n ** scene.rank + within;
  paint();
}

function run(on) {
  clearInterval(timer);
  timer = on && scene ? setInterval(() => move(1), 700) : null;
  $("play").textContent = timer ? "Pause" : "Play";
  $("caption").setAttribute("aria-live", timer ? "off" : "polite");
}

controls();
theme(null);
update();
centre();
