// Metrics: one small chart for each name, one line for each function or set of tags.

import { data, fresh, onChange } from "./data.js";
import { colours, finder, h, oncePerFrame } from "./dom.js";
import { command, howToBegin, nothing, tell } from "./empty.js";
import { item, matcher } from "./filter.js";
import { go, place } from "./place.js";
import { count, number } from "./units.js";

const MOST_LINES = 8;
const MOST_NAMED = 4;
const FUNCTION = "functionname";
const TONES = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--s6", "--s7"];
const Chart = () => window.uPlot;

export function mount(root) {
  const all = fresh("/local/metrics");
  const q = finder("Search names and tags: duration, cold_start:true", place().q || "", (text) => go({ q: text }, { replace: true }));
  const told = h("span.soft.hits", { role: "status" });
  const cards = h("div.cards");
  const empty = nothing();
  const none = h("p.none", { hidden: true }, "Nothing matches. Esc clears the search.");
  const pane = h("section.middle.scroll", { "aria-label": "Metrics" }, h("div.tools", null, q, told), cards, none, empty);
  root.append(pane);
  const drawn = new Map();
  // A chart is made when it comes into sight.
  const sight = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach((one) => one.target.paint?.()), { root: pane, rootMargin: "200px" });

  async function updateNow() {
    const at = place();
    const metrics = await all().catch(() => []);
    if (place().view !== "metrics" || !data.run) return;
    const wanted = matcher(at.q);
    if (document.activeElement !== q) q.value = at.q || "";
    const names = new Map();
    for (const metric of metrics) {
      if (wanted && !wanted(fieldsOf(metric))) continue;
      if (!names.has(metric.name)) names.set(metric.name, []);
      names.get(metric.name).push(metric);
    }
    told.textContent = count(names.size, "metric");
    tell(empty, metrics.length > 0, data.run.endpoint, () => [
      "No metric has arrived yet",
      "The extension makes aws.lambda.enhanced.* of every invocation. A metric of your own is a datagram to port 8125 inside the function, which any DogStatsD client sends, or with datadog-lambda-rs:",
      command('datadog_lambda_rs::metric("orders.received", 1.0).tag("channel", "web").send();'),
      ...howToBegin(data.run),
    ]);
    none.hidden = !metrics.length || names.size > 0;
    for (const [name, card] of drawn) {
      if (names.has(name)) continue;
      sight.unobserve(card.element);
      card.drop();
      drawn.delete(name);
    }
    for (const [name, series] of names) {
      if (!drawn.has(name)) drawn.set(name, new Card(name));
      const card = drawn.get(name);
      card.set(series);
      sight.observe(card.element);
    }
    const order = [...names.keys()].sort();
    order.forEach((name, index) => { if (cards.children[index] !== drawn.get(name).element) cards.insertBefore(drawn.get(name).element, cards.children[index] || null); });
    root.dataset.painted = `metrics ${names.size}`;
  }
  const update = oncePerFrame(updateNow);
  const stop = onChange((what) => what === "store" && update());
  const sizes = new ResizeObserver(oncePerFrame(() => drawn.forEach((card) => card.resize())));
  sizes.observe(cards);
  const unmount = () => { stop(); sizes.disconnect(); sight.disconnect(); drawn.forEach((card) => card.drop()); };
  const escape = () => {
    if (!place().q) return false;
    q.value = "";
    go({ q: null }, { replace: true });
    return true;
  };
  return { update, escape, unmount, theme: () => drawn.forEach((card) => card.again()) };
}

function fieldsOf(metric) {
  const tags = Object.fromEntries(metric.tags.map((tag) => [tag.slice(0, tag.indexOf(":")), tag.slice(tag.indexOf(":") + 1)]));
  return item({ name: metric.name, type: metric.type, ...tags, all: metric.tags.join(" ") });
}

const split = (tag) => (tag.includes(":") ? [tag.slice(0, tag.indexOf(":")), tag.slice(tag.indexOf(":") + 1)] : [tag, ""]);

/** By what the sets of tags of one metric differ, in few words: as few tags as tell them apart, short ones first. */
function labels(series) {
  const sets = series.map((one) => new Map(one.tags.map(split)));
  const longest = (key) => Math.max(...sets.map((set) => set.get(key)?.length ?? 0));
  const keys = [...new Set(sets.flatMap((set) => [...set.keys()]))].filter((key) => key !== FUNCTION).sort((a, b) => longest(a) - longest(b));
  const name = (set, chosen) => chosen.filter((key) => set.has(key)).map((key) => (key === FUNCTION ? set.get(key) : `${key}:${set.get(key)}`)).join(", ");
  const apart = (chosen) => new Set(sets.map((set) => name(set, chosen))).size;
  let chosen = [FUNCTION];
  for (const key of keys) {
    if (apart(chosen) === series.length) break;
    if (apart([...chosen, key]) > apart(chosen)) chosen = [...chosen, key];
  }
  return sets.map((set) => name(set, chosen) || "all");
}

const valueOf = (value) => (value.count === undefined ? value.value : value.avg);

class Card {
  constructor(name) {
    this.name = name;
    this.figure = h("b.big");
    this.kind = h("span.soft");
    this.plot = h("div.plot", { role: "img" });
    this.legend = h("div.mlegend");
    this.rows = h("tbody");
    const heads = ["", "values", "min", "average", "p95", "max"].map((head, index) => h(index ? "th.num" : "th", { scope: "col" }, head));
    const table = h("table", null, h("thead", null, h("tr", null, heads)), this.rows);
    this.element = h("article.card.metric", { "aria-label": name }, h("h3", { title: name }, h("span.soft.cut", null, name.slice(0, name.lastIndexOf(".") + 1)), h("span.cut", null, name.slice(name.lastIndexOf(".") + 1))), h("div.mhead", null, this.figure, this.kind), this.plot, this.legend, h("details", null, h("summary", null, "figures and tags"), h("div.wide", { tabindex: 0, role: "region", "aria-label": `Figures of ${name}` }, table)));
    this.element.paint = () => this.paint();
  }

  set(series) {
    const points = series.reduce((sum, one) => sum + one.points.length, 0);
    const version = `${series.length} ${points} ${series.map((one) => one.total.count ?? one.total.value).join(" ")}`;
    if (this.version === version) return;
    Object.assign(this, { version, series, names: labels(series), stale: true });
    const { type } = series[0];
    const counts = series.map((one) => one.total.count ?? 1);
    const sum = (of) => series.reduce((total, one, index) => total + of(one, index), 0);
    const values = type === "count" ? sum((one) => one.total.value) : type === "gauge" ? series.at(-1).total.value : sum((one, index) => one.total.avg * counts[index]) / Math.max(sum((_, index) => counts[index]), 1);
    this.figure.textContent = number(values);
    const of = type === "count" ? `sum of ${count(points, "point")}` : type === "gauge" ? `last of ${count(points, "point")}` : `average of ${count(sum((_, index) => counts[index]), "value")}`;
    this.kind.textContent = series.length > 1 ? `${of} · ${count(series.length, "set")} of tags` : of;
    this.point(null);
    this.plot.setAttribute("aria-label", `${this.name} over time: ${this.names.slice(0, MOST_LINES).map((name, index) => `${name} ${number(valueOf(series[index].total))}`).join("; ")}`);
    const figure = (value) => h("td.num", null, number(value));
    this.rows.replaceChildren(...series.map((one, index) => {
      const all = one.total.count === undefined ? { avg: one.total.value, count: one.points.length } : one.total;
      return h("tr", null, h("td", null, h(`i.chip.c${index % TONES.length}`), ` ${this.names[index]}`, h("div.chips", null, one.tags.map((tag) => h("span.tag", null, tag)))), figure(all.count), figure(all.min), figure(all.avg), figure(all.p95), figure(all.max));
    }));
    if (this.chart) this.paint();
  }

  /** What the lines are, with their values at a time, or with those of the whole. */
  point(index) {
    const shown = this.series.slice(0, MOST_NAMED);
    const value = (one, at) => (index === null || index === undefined ? valueOf(one.total) : this.chart.data[at + 1]?.[index]);
    const more = this.series.length - shown.length;
    this.legend.replaceChildren(...shown.map((one, at) => h("span", { title: this.names[at] }, h(`i.chip.c${at}`), h("span.cut", null, this.names[at]), h("b", null, number(value(one, at))))), more > 0 ? h("span.soft", null, `and ${more} more`) : "");
  }

  paint() {
    if (!this.stale || !Chart()) return;
    this.stale = false;
    const shown = this.series.slice(0, MOST_LINES);
    const times = [...new Set(shown.flatMap((one) => one.points.map((point) => Date.parse(point.time) / 1000)))].sort((a, b) => a - b);
    const place = new Map(times.map((time, index) => [time, index]));
    const lines = shown.map((one) => {
      const values = new Array(times.length).fill(null);
      for (const point of one.points) values[place.get(Date.parse(point.time) / 1000)] = valueOf(point);
      return values;
    });
    if (times.length === 1) { // A line of one point needs some room around it.
      times.unshift(times[0] - 5);
      times.push(times[1] + 5);
      lines.forEach((line) => { line.unshift(null); line.push(null); });
    }
    const same = this.chart && this.chart.series.length === lines.length + 1;
    if (same) this.chart.setData([times, ...lines]);
    else this.make([times, ...lines]);
  }

  make(values) {
    this.chart?.destroy();
    const tones = colours([...TONES, "--soft", "--line"]);
    const axis = { stroke: tones[8], grid: { stroke: tones[9], width: 1 }, ticks: { show: false }, font: "10px system-ui, sans-serif" };
    const line = (_, index) => ({ label: this.names[index], stroke: tones[index % 8], width: 1.5, spanGaps: true, points: { show: true, size: 5, fill: tones[index % 8] } });
    this.chart = new (Chart())({
      ...this.size(), legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } }, padding: [8, 26, 0, 0],
      hooks: { setCursor: [(chart) => this.chart === chart && this.point(chart.cursor.idx)] },
      scales: { y: { range: (_, low, high) => (low === high ? [Math.min(0, low), high || 1] : [Math.min(0, low), high * 1.05]) } },
      axes: [{ ...axis, size: 22, space: 64, values: (_, all) => all.map((one) => new Date(one * 1000).toISOString().slice(11, 19)) }, { ...axis, size: 46, space: 26, values: (_, all) => all.map((one) => short(one)) }],
      series: [{}, ...values.slice(1).map(line)],
    }, values, this.plot);
  }

  size() {
    return { width: Math.max(this.plot.clientWidth, 120), height: 118 };
  }

  resize() {
    if (this.chart && Math.abs(this.chart.width - this.plot.clientWidth) > 1) this.chart.setSize(this.size());
  }

  again() {
    this.chart?.destroy();
    [this.chart, this.stale] = [null, true];
    this.paint();
  }

  drop() {
    this.chart?.destroy();
    this.element.remove();
  }
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${+(value / 1e9).toPrecision(3)}G`;
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return String(+value.toPrecision(3));
}
