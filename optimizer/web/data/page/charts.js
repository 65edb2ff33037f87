// Charts as SVG, drawn from the points of an answer. To draw them elsewhere, replace the three exported functions.
import { el, svg, table } from "./dom.js";
import { num, word } from "./words.js";

const SIZE = { width: 460, height: 250 }, L = 58, R = 14, T = 14, B = 40;

function scale(values, { log, from, to, zero }) {
  let low = Math.min(...values), high = Math.max(...values);
  if (zero) low = 0;
  if (low === high) { high = high * 1.1 + (high === 0); low *= zero ? 1 : 0.9; }
  if (!log) high += (high - low) * 0.06;
  const f = log ? Math.log : (x) => x;
  const at = (x) => from + ((f(x) - f(low)) / (f(high) - f(low))) * (to - from);
  return Object.assign(at, { low, high, log });
}

function ticks({ low, high, log }) {
  if (log) {
    const all = [];
    for (let p = Math.floor(Math.log2(low)); p <= Math.ceil(Math.log2(high)); p += 1) if (2 ** p >= low * 0.999 && 2 ** p <= high * 1.001) all.push(2 ** p);
    const step = Math.ceil(all.length / 6);
    const kept = all.filter((_, index) => index % step === 0);
    return kept.length > 1 ? kept : [low, high];
  }
  const rough = (high - low) / 4, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= rough);
  const found = [];
  for (let x = Math.ceil(low / step) * step; x <= high * 1.0001; x += step) found.push(x);
  return found;
}

function axes(x, y, xName, xText, yText, { width: W, height: H } = SIZE) {
  return [
    ...ticks(y).map((v) => [svg("line", { class: "tick", x1: L, x2: W - R, y1: y(v), y2: y(v) }),
      svg("text", { class: "soft", x: L - 6, y: y(v) + 4, "text-anchor": "end" }, yText(v))]),
    ...ticks(x).map((v) => svg("text", { class: "soft", x: x(v), y: H - B + 17, "text-anchor": "middle" }, xText(v))),
    svg("line", { class: "axis", x1: L, x2: W - R, y1: H - B, y2: H - B }),
    svg("text", { class: "soft", x: (L + W - R) / 2, y: H - 5, "text-anchor": "middle" }, xName),
  ];
}

const short = (v) => num(v, { notation: "compact", maximumSignificantDigits: 3 });

function figure(caption, label, drawing, headings, rows, extra = null, { width: W, height: H } = SIZE) {
  return el("figure", {}, el("figcaption", {}, caption),
    svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label }, drawing), extra,
    el("details", {}, el("summary", {}, word("asTable")), table(headings, rows, { caption })));
}

// series: [{ name, points: [[x, y, low?, high?]], kind: "a" | "b" | "c" }]; limits: [{ y, text }]; mark: x of the choice
export function lines({ caption, xName, series, limits = [], mark = null, log = true, yText = short, tickText = yText, xText = short }) {
  const { width: W, height: H } = SIZE;
  const points = series.flatMap((one) => one.points);
  const ys = [...points.flatMap((p) => p.slice(1).filter((v) => Number.isFinite(v))), ...limits.map((l) => l.y)];
  const x = scale(points.map((p) => p[0]), { log, from: L, to: W - R });
  const y = scale(ys, { from: H - B, to: T, zero: true });
  const drawing = [
    ...axes(x, y, xName, xText, tickText),
    ...series.map((one) => {
      const band = one.points.filter((p) => p.length > 3);
      const path = one.points.map((p, i) => `${i ? "L" : "M"}${x(p[0])},${y(p[1])}`).join("");
      const outline = band.length > 1 && `M${band.map((p) => `${x(p[0])},${y(p[3])}`).join("L")}L${[...band].reverse().map((p) => `${x(p[0])},${y(p[2])}`).join("L")}Z`;
      return [outline && svg("path", { class: `band f-${one.kind}`, d: outline }), svg("path", { class: `line s-${one.kind}`, d: path })];
    }),
    ...limits.map((l) => [svg("line", { class: "limit", x1: L, x2: W - R, y1: y(l.y), y2: y(l.y) }),
      svg("text", { class: "limit-text", x: L + 5, y: y(l.y) - 5 }, l.text)]),
    mark !== null && series.map((one) => one.points.filter((p) => p[0] === mark).map((p) => svg("circle", { class: "ring", cx: x(p[0]), cy: y(p[1]), r: 5 }))),
  ];
  const rows = series[0].points.map((p, i) => [xText(p[0]), ...series.map((one) => (one.points[i] ? yText(one.points[i][1]) : null))]);
  const key = series.length > 1 && el("ul", { class: "key" }, series.map((one) => el("li", {}, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { class: `f-${one.kind}`, width: 10, height: 10 })), one.name)));
  return figure(caption, `${caption}: ${series.map((one) => `${one.name} ${yText(one.points[0][1])} – ${yText(one.points.at(-1)[1])}`).join("; ")}`,
    drawing, [{ text: xName }, ...series.map((one) => ({ text: one.name, n: true }))], rows, key);
}

// x: lengths; parts: [{ name, kind, values }] stacked; lines: [{ name, values }] and limits above them; nothing is drawn above the cap
export function areas({ caption, xName, x: places, parts, lines: over, limits, cap, mark, xText, yText }) {
  const { width: W, height: H } = SIZE;
  const x = scale(places, { log: true, from: L, to: W - R });
  const y = scale([0, cap], { from: H - B, to: T, zero: true }), at = (value) => y(Math.min(value, cap));
  let floor = places.map(() => 0);
  const layers = parts.map((part) => {
    const top = floor.map((low, i) => low + part.values[i]);
    const up = places.map((place, i) => `${x(place)},${at(top[i])}`), down = places.map((place, i) => `${x(place)},${at(floor[i])}`).reverse();
    floor = top;
    return svg("path", { class: `f-${part.kind}`, d: `M${[...up, ...down].join("L")}Z` }, svg("title", {}, part.name));
  });
  const drawing = [...layers, ...axes(x, y, xName, xText, yText),
    ...over.map((one) => svg("path", { class: "line s-ink", d: places.map((place, i) => `${i ? "L" : "M"}${x(place)},${at(one.values[i])}`).join("") })),
    ...limits.map((one, i) => [svg("line", { class: "limit", x1: L, x2: W - R, y1: y(one.y), y2: y(one.y) }), svg("text", { class: "limit-text", x: L + 5, y: y(one.y) + (i ? 13 : -4) }, one.text)]),
    places.includes(mark) && svg("line", { class: "mark", x1: x(mark), x2: x(mark), y1: T, y2: H - B })];
  const shownParts = [...parts.map((part) => [part.name, part.kind, part.values]), ...over.map((one) => [one.name, "ink", one.values])];
  const key = el("ul", { class: "key" }, shownParts.map(([name, kind]) => el("li", {}, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, kind === "ink" ? svg("line", { class: "line s-ink", x1: 0, x2: 10, y1: 5, y2: 5 }) : svg("rect", { class: `f-${kind}`, width: 10, height: 10 })), name)));
  return figure(caption, `${caption}: ${shownParts.map(([name, , values]) => `${name} ${yText(values[0])} – ${yText(values.at(-1))}`).join("; ")}`, drawing.filter(Boolean),
    [{ text: xName }, ...shownParts.map(([name]) => ({ text: name, n: true }))], places.map((place, i) => [xText(place), ...shownParts.map(([, , values]) => yText(values[i]))]), key);
}

// points: [{ x, y, name, chosen }]; those that nothing beats are joined and named first
export function scatter({ caption, xName, yName, points, xText, yText = short }) {
  const size = matchMedia("(max-width: 860px)").matches ? { width: 440, height: 320 } : { width: 900, height: 320 };
  const x = scale(points.map((p) => p.x), { log: points.every((p) => p.x > 0), from: L + 10, to: size.width - R - 60 });
  const y = scale(points.map((p) => p.y), { from: size.height - B, to: T + 8, zero: true });
  const best = [...points].sort((a, b) => a.x - b.x || b.y - a.y).reduce((kept, p) => (kept.length && kept.at(-1).y >= p.y ? kept : [...kept, p]), []);
  const taken = points.map((p) => [x(p.x) - 5, y(p.y) + 4, 10]);
  const free = (px, py, width) => !taken.some((t) => Math.abs(t[1] - py) < 12 && px < t[0] + t[2] && t[0] < px + width);
  const rank = (p) => (p.chosen ? 0 : best.includes(p) ? 1 : 2);
  const labels = [...points].sort((a, b) => rank(a) - rank(b)).map((p) => {
    const width = p.name.length * 6.6, right = x(p.x) + 9, left = x(p.x) - 9 - width;
    const places = [[right, 4], [left, 4], [right, -9], [right, 16], [left, -9], [left, 16]].map(([px, d]) => [px, y(p.y) + d]);
    const place = places.find(([px, py]) => px > L && px + width < size.width && free(px, py, width)) ?? (p.chosen ? places[0] : null);
    if (!place) return null;
    taken.push([...place, width]);
    return svg("text", { x: place[0], y: place[1], class: rank(p) < 2 ? "" : "soft" }, p.name);
  });
  const dots = points.map((p) => [svg("circle", { class: best.includes(p) ? "f-b" : "f-e", cx: x(p.x), cy: y(p.y), r: 4.5 }, svg("title", {}, `${p.name}: ${xText(p.x)}, ${yText(p.y)}`)),
    p.chosen && svg("circle", { class: "ring", cx: x(p.x), cy: y(p.y), r: 8.5 })]);
  const front = svg("path", { class: "front", d: best.map((p, i) => `${i ? "L" : "M"}${x(p.x)},${y(p.y)}`).join("") });
  return figure(caption, `${xName}, ${yName}: ${best.map((p) => `${p.name} ${xText(p.x)} ${yText(p.y)}`).join("; ")}`, [...axes(x, y, xName, xText, yText, size), front, dots, labels],
    [{ text: "SKU" }, { text: xName, n: true }, { text: yName, n: true }], points.map((p) => [p.name, { text: xText(p.x), by: p.x }, { text: yText(p.y), by: p.y }]), null, size);
}

// parts: [{ name, value, kind }] of a whole; values in bytes
export function bar({ label, parts, whole, text, line = null, keyed = parts }) {
  const width = 720, height = 46;
  let from = 0;
  const pieces = parts.filter((p) => p.value > 0).map((p) => {
    const piece = svg("rect", { class: `f-${p.kind}`, x: (from / whole) * width, y: 6, width: Math.max(1, (p.value / whole) * width), height: 30 }, svg("title", {}, `${p.name}: ${text(p.value)}`));
    from += p.value;
    return piece;
  });
  return el("div", {}, svg("svg", { class: "bar-of", preserveAspectRatio: "none", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label}: ${parts.map((p) => `${p.name} ${text(p.value)}`).join(", ")}` },
    svg("rect", { class: "tick", x: 0, y: 6, width, height: 30 }), pieces,
    line && svg("line", { class: "limit", x1: (line / whole) * width, x2: (line / whole) * width, y1: 0, y2: 44 })),
  keyed && el("ul", { class: "key" }, keyed.map((p) => el("li", {}, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { class: `f-${p.kind}`, width: 10, height: 10 })), `${p.name} ${text(p.value)}`))));
}

// one prediction with its interval against a limit
export function gauge({ name, value, interval, limit, text, higherIsBetter = false, limitName = word("limit") }) {
  const width = 420, high = Math.max(value, limit ?? 0, interval?.[1] ?? 0) * 1.08 || 1;
  const at = (v) => (v / high) * width;
  const worst = higherIsBetter ? interval?.[0] ?? value : interval?.[1] ?? value;
  const met = limit === null || limit === undefined ? null : higherIsBetter ? worst >= limit : worst <= limit;
  const words = [text(value), interval && `${text(interval[0])} – ${text(interval[1])}`, limit && `${limitName} ${text(limit)}`].filter(Boolean).join(" · ");
  return el("div", { class: "named" }, el("span", {}, el("b", {}, name), el("span", { class: met === false ? "care" : "" }, words)),
    svg("svg", { viewBox: `0 0 ${width} 26`, role: "img", "aria-label": `${name}: ${words}` },
      svg("line", { class: "tick", x1: 0, x2: width, y1: 13, y2: 13 }),
      interval && svg("rect", { class: "f-b band", x: at(interval[0]), y: 7, width: Math.max(2, at(interval[1]) - at(interval[0])), height: 12 }),
      svg("circle", { class: "f-b", cx: at(value), cy: 13, r: 5 }),
      limit && svg("line", { class: "limit", x1: at(limit), x2: at(limit), y1: 1, y2: 25 })));
}

// swings: [{ name, less, more }]: what a figure becomes with a fifth less and a fifth more of one thing, the widest first
export function tornado({ caption, now, swings, text }) {
  const width = 460, row = 40, top = 26, far = (one) => Math.max(...[one.less, one.more].filter(Number.isFinite).map((end) => Math.abs(end - now)));
  const ordered = [...swings].sort((a, b) => far(b) - far(a)), ends = [now, ...ordered.flatMap((one) => [one.less, one.more]).filter(Number.isFinite)];
  const low = Math.min(...ends), high = Math.max(...ends), room = 70, at = (value) => room + ((value - low) / (high - low || 1)) * (width - 2 * room);
  const bars = ordered.map((one, index) => [svg("text", { x: 0, y: top + index * row + 12 }, one.name), [["less", "b", "−20 %"], ["more", "c", "+20 %"]].filter(([end]) => Number.isFinite(one[end])).map(([end, kind, said]) => {
    const x = at(one[end]), left = x < at(now) || (x === at(now) && end === "less");
    return [svg("rect", { class: `f-${kind}`, x: Math.min(x, at(now)), y: top + index * row + 17, width: Math.max(1.5, Math.abs(x - at(now))), height: 14 }, svg("title", {}, `${one.name} ${said}: ${text(one[end])}`)),
      svg("text", { class: "soft", x: left ? x - 4 : x + 4, y: top + index * row + 29, "text-anchor": left ? "end" : "start" }, text(one[end]))];
  })]);
  const height = top + row * ordered.length + 4;
  return figure(caption, `${caption}: ${ordered.map((one) => `${one.name} ${text(one.less)} – ${text(one.more)}`).join("; ")}`,
    [svg("text", { x: at(now), y: 12, "text-anchor": "middle" }, word("nowIs", { v: text(now) })), svg("line", { class: "mark", x1: at(now), x2: at(now), y1: 18, y2: height }), ...bars],
    [{ text: "" }, { text: "−20 %", n: true }, { text: "+20 %", n: true }], ordered.map((one) => [one.name, text(one.less), text(one.more)]), null, { width, height });
}
