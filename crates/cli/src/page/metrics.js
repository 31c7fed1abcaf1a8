// Metrics: one small chart for each name, one line for each function or set of tags.

import { fresh, onChange } from "./data.js";
import { colours, finder, h, oncePerFrame } from "./dom.js";
import { item, matcher } from "./filter.js";
import { go, place } from "./place.js";
import { count, number } from "./units.js";

const MOST_LINES = 8;
const TONES = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--s6", "--s7"];
const Chart = () => window.uPlot;

export function mount(root) {
  const all = fresh("/local/metrics");
  const q = finder("Search names and tags: duration, cold_start:true", place().q || "", (text) => go({ q: text }, { replace: true }));
  const told = h("span.soft.hits", { role: "status" });
  const cards = h("div.cards");
  const empty = h("p.empty", { hidden: true }, "No metric has arrived yet.");
  const pane = h("section.middle.scroll", { "aria-label": "Metrics" }, h("div.tools", null, q, told), cards, empty);
  root.append(pane);
  const drawn = new Map();
  // A chart is made when it comes into sight.
  const sight = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach((one) => one.target.paint?.()), { root: pane, rootMargin: "200px" });

  async function updateNow() {
    const at = place();
    const metrics = await all().catch(() => []);
    if (place().view !== "metrics") return;
    const wanted = matcher(at.q);
    if (document.activeElement !== q) q.value = at.q || "";
    const names = new Map();
    for (const metric of metrics) {
      if (wanted && !wanted(fieldsOf(metric))) continue;
      if (!names.has(metric.name)) names.set(metric.name, []);
      names.get(metric.name).push(metric);
    }
    told.textContent = count(names.size, "metric");
    empty.hidden = metrics.length > 0;
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

/** By what the sets of tags of one metric differ, in few words. */
function labels(series) {
  const shared = series[0].tags.filter((tag) => series.every((one) => one.tags.includes(tag)));
  return series.map((one) => one.tags.filter((tag) => !shared.includes(tag)).map((tag) => tag.replace(/^functionname:/, "")).join(", ") || one.tags.find((tag) => tag.startsWith("functionname:"))?.slice(13) || "all");
}

const valueOf = (value) => (value.count === undefined ? value.value : value.avg);

class Card {
  constructor(name) {
    this.name = name;
    this.figure = h("b.big");
    this.kind = h("span.soft");
    this.plot = h("div.plot", { role: "img" });
    this.rows = h("tbody");
    const heads = ["", "values", "min", "average", "p95", "max"].map((head, index) => h(index ? "th.num" : "th", { scope: "col" }, head));
    const table = h("table", null, h("thead", null, h("tr", null, heads)), this.rows);
    this.element = h("article.card.metric", { "aria-label": name }, h("h3", null, name.split(/(?<=[._])/).flatMap((part) => [part, h("wbr")])), h("div.mhead", null, this.figure, this.kind), this.plot, h("details", null, h("summary", null, "figures and tags"), h("div.wide", { tabindex: 0, role: "region", "aria-label": `Figures of ${name}` }, table)));
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
    this.kind.textContent = `${type === "count" ? "sum" : type === "gauge" ? "last value" : "average"} · ${count(points, "point")} · ${count(series.length, "set")} of tags`;
    this.plot.setAttribute("aria-label", `${this.name} over time: ${this.names.slice(0, MOST_LINES).map((name, index) => `${name} ${number(valueOf(series[index].total))}`).join("; ")}`);
    const figure = (value) => h("td.num", null, number(value));
    this.rows.replaceChildren(...series.map((one, index) => {
      const all = one.total.count === undefined ? { avg: one.total.value, count: one.points.length } : one.total;
      return h("tr", null, h("td", null, h(`i.chip.c${index % TONES.length}`), ` ${this.names[index]}`, h("div.chips", null, one.tags.map((tag) => h("span.tag", null, tag)))), figure(all.count), figure(all.min), figure(all.avg), figure(all.p95), figure(all.max));
    }));
    if (this.chart) this.paint();
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
