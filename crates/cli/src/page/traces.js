// Traces: those there are; the chosen one as a waterfall or a flame graph with its logs under it; one span of it.

import { ask, data, nameOf, onChange, sameTrace, summaryOf, trace as load } from "./data.js";
import { finder, h, oncePerFrame } from "./dom.js";
import { howToBegin, nothing, tell } from "./empty.js";
import { item, matcher } from "./filter.js";
import { Flame } from "./flame.js";
import { firstSpan, layout } from "./layout.js";
import { List } from "./list.js";
import { logRow, logItem } from "./logs.js";
import { go, open, place } from "./place.js";
import { spanSide } from "./span.js";
import { clockOf, count, duration } from "./units.js";
import { Waterfall } from "./waterfall.js";

const MOST_REQUESTS = 12;

export function mount(root) {
  const view = new Traces(root);
  const stop = onChange((what) => what === "store" && view.update());
  return { update: () => view.update(), key: (event) => view.key(event), escape: () => view.escape(), theme: () => view.flame.recolour(), unmount: () => { view.gone = true; stop(); } };
}

class Traces {
  constructor(root) {
    this.main = root;
    this.gone = false; // Another view is shown; what is still on its way is for nobody.
    const pick = (span, clicked) => go({ span: span.span_id }, { replace: !clicked });
    const zoom = (from, to) => go({ zoom: `${Math.round(from)}-${Math.round(to)}` });
    this.fall = new Waterfall({ pick, zoom });
    this.flame = new Flame({ pick, zoom });
    this.list = new List({
      label: "Traces", height: () => 52, key: (one) => one.trace_id, row: traceRow,
      pick: (one) => this.goTo(one, true), open: (one) => this.goTo(one, false),
    });
    this.logs = new List({
      label: "Logs of this trace", height: () => 26, key: (log) => log.key,
      row: (log) => logRow(log, { here: log.span_id && log.span_id === this.span?.span_id }),
      pick: (log) => this.pickLog(log), open: (log) => this.pickLog(log),
    });
    this.find = finder("Search traces", place().q || "", (q) => go({ q }, { replace: true }));
    this.inside = finder("Find spans: key:value, >10ms", place().in || "", (text) => go({ in: text }, { replace: true }));
    this.inside.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); this.step(event.shiftKey ? -1 : 1); }
    });
    const mode = (as, name, key) => h("button.mode", { type: "button", "data-as": as, "aria-keyshortcuts": key, title: `${name} (${key})`, onclick: () => go({ as: as === "fall" ? null : as }) }, name);
    this.modes = h("div.modes", { role: "group", "aria-label": "Show the trace as" }, mode("fall", "Waterfall", "w"), mode("flame", "Flame graph", "f"));
    this.hits = h("span.soft.hits", { role: "status" });
    this.whole = h("button.tool", { type: "button", hidden: true, title: "Show the whole trace (0)", onclick: () => go({ zoom: null }) }, "⤢ whole trace");
    this.head = h("div.head");
    this.legend = h("div.legend", { "aria-label": "Services" });
    this.stage = h("div.stage");
    this.logsHead = h("h3");
    this.under = h("section.under", { "aria-label": "Logs of this trace" }, this.logsHead, h("div.card.grow", null, this.logs.element));
    this.middle = h("section.middle", { "aria-label": "Trace" }, this.head, h("div.tools", null, this.modes, this.inside, this.hits, this.whole, this.legend), this.stage, this.under);
    this.side = h("section.side", { "aria-label": "Span", tabindex: -1 });
    this.aside = h("aside", { "aria-label": "Traces" }, h("div.tools", null, this.find), this.list.element);
    this.empty = nothing();
    root.append(this.aside, this.middle, this.side, this.empty);
    this.middle.hidden = this.side.hidden = true;
    this.update = oncePerFrame(() => this.updateNow());
    this.lines = [];
  }

  goTo(summary, replace) {
    const here = place();
    go({ trace: summary.trace_id, span: null, zoom: null, in: here.in }, { replace });
  }

  chosen() {
    const { trace } = place();
    if (trace) return trace;
    // The one with most to see, when nothing was chosen.
    const most = data.overview.traces.reduce((best, one) => (best && best.spans >= one.spans ? best : one), null);
    return matchMedia("(max-width: 720px)").matches ? null : most?.trace_id;
  }

  async updateNow() {
    if (this.gone || !data.overview || !data.run) return;
    const { q, span } = place();
    const wanted = matcher(q);
    const all = data.overview.traces.filter((one) => !wanted || wanted(traceItem(one))).sort((a, b) => b.start_ns - a.start_ns);
    const id = this.chosen();
    if (this.find.value !== (q || "") && document.activeElement !== this.find) this.find.value = q || "";
    this.list.set(all, Boolean(wanted));
    if (this.list.chosen !== id) this.list.choose(id, true);
    const some = data.overview.traces.length > 0;
    tell(this.empty, some, data.run.endpoint, () => [
      "No trace has arrived yet",
      data.run.functions.length
        ? "A trace comes when an invocation is over, if the function is traced: by datadog-lambda-rs, or by Datadog's library for its language."
        : "Traces come from the tracing libraries of functions, over their agent.",
      ...howToBegin(data.run),
    ]);
    this.aside.hidden = !some;
    this.middle.hidden = this.side.hidden = !id;
    this.main.classList.toggle("one", Boolean(place().trace));
    this.side.classList.toggle("asked", Boolean(span));
    if (!id) return void (this.main.dataset.painted = "traces");
    const asked = (this.asked = {});
    let trace;
    try {
      trace = await load(id);
    } catch {
      if (this.gone || this.asked !== asked) return;
      this.head.replaceChildren(h("h2", null, "This trace is not here"), h("p.soft", null, "It may have been dropped: the local Datadog keeps the newest."));
      this.stage.replaceChildren();
      this.side.hidden = this.under.hidden = true;
      this.main.dataset.painted = "traces";
      return;
    }
    if (!this.gone && this.asked === asked) this.show(trace);
  }

  show(trace) {
    const { as, span, zoom, in: inside } = place();
    const ready = layout(trace);
    const renewed = this.ready !== ready;
    this.ready = ready;
    const flaming = as === "flame";
    const index = ready.byId.get(span) ?? firstSpan(ready);
    this.span = ready.spans[index];
    this.range = range(zoom, ready.whole);
    this.found = this.search(inside);
    this.drawHead(trace);
    for (const button of this.modes.children) button.setAttribute("aria-pressed", (button.dataset.as === "flame") === flaming);
    this.whole.hidden = !zoom;
    if (this.inside.value !== (inside || "") && document.activeElement !== this.inside) this.inside.value = inside || "";
    const shown = flaming ? this.flame : this.fall;
    if (this.stage.firstChild !== shown.element) this.stage.replaceChildren(shown.element);
    const logs = `${trace.trace_id} ${data.overview.counts.logs}`;
    if (renewed || this.logsOf !== logs) this.loadLogs(trace);
    this.logsOf = logs;
    shown.show(ready, { range: this.range, found: this.found, marks: this.marks });
    this.stage.style.flexBasis = `${shown.wish()}px`;
    const moved = this.drawn !== this.span.span_id || renewed || this.shown !== shown;
    shown.choose(index, moved);
    if (moved) this.drawSide();
    this.shown = shown;
    if (this.focusing) (flaming ? this.flame.scroller : this.fall.list.element).focus();
    this.focusing = false;
    this.main.dataset.painted = `${trace.trace_id} ${flaming ? "flame" : "fall"} ${this.span.span_id}`;
  }

  drawSide() {
    const { trace } = this.ready;
    this.side.hidden = false;
    const own = this.lines.filter((log) => log.span_id === this.span.span_id && sameTrace(log.trace_id, trace.trace_id));
    // Whoever reads in it is not disturbed by what it does not concern.
    const state = [trace.trace_id, this.span.span_id, trace.spans.length, own.length].join();
    const top = this.drawn === this.span.span_id ? this.side.scrollTop : 0;
    this.drawn = this.span.span_id;
    if (this.state === state) return this.logs.drawNow();
    this.state = state;
    const close = () => go({ span: null }, { replace: true });
    this.side.replaceChildren(...spanSide(trace, this.span, own, close));
    this.side.scrollTop = top;
    this.logs.drawNow();
  }

  drawHead(trace) {
    const summary = summaryOf(trace.trace_id) || { resource: trace.spans[0]?.resource, name: trace.spans[0]?.name };
    const title = nameOf(summary) || trace.trace_id;
    const back = h("button.tool.back", { type: "button", onclick: () => open({ view: "traces", q: place().q }) }, "‹ traces");
    this.head.replaceChildren(...[back, h("h2.cut", { title }, title), h("b.big", null, duration(trace.duration_ns)), h("span.soft", null, count(trace.spans.length, "span")),
      trace.errors ? h("span.bad", null, `${trace.errors} with an error`) : null,
      trace.missing_parents.length ? h("span.warn", null, `${count(trace.missing_parents.length, "parent")} missing`) : null,
      h("span.soft", null, clockOf(trace.start_ns)), h("code.soft.cut", { title: "trace id" }, trace.trace_id)].filter(Boolean));
    this.legend.replaceChildren(...[...this.ready.services].slice(0, 12).map(([service, tone]) => h("span", null, h(`i.c${tone}`), service || "(no service)")));
  }

  /** The spans that are looked for; `null` when none are. */
  search(text) {
    const wanted = matcher(text);
    this.order = [];
    this.hits.textContent = "";
    if (!wanted) return null;
    for (let index = 0; index < this.ready.spans.length; index++) if (wanted(this.ready.item(index))) this.order.push(index);
    this.hits.textContent = this.order.length ? `${count(this.order.length, "span")} · Enter: next` : "no span";
    return new Set(this.order);
  }

  step(by) {
    if (!this.order?.length) return;
    const now = this.ready.byId.get(this.span.span_id);
    const after = by > 0 ? this.order.find((index) => index > now) ?? this.order[0] : this.order.findLast((index) => index < now) ?? this.order.at(-1);
    go({ span: this.ready.spans[after].span_id }, { replace: true });
  }

  async loadLogs(trace) {
    const requests = [...new Set(trace.spans.map((span) => span.meta.request_id).filter(Boolean))].slice(0, MOST_REQUESTS);
    const questions = [`trace_id=${trace.trace_id}`, ...requests.map((id) => `request_id=${encodeURIComponent(id)}`)];
    const parts = await Promise.all(questions.map((question) => ask(`/local/logs?last=2000&${question}`).catch(() => [])));
    if (this.gone || this.ready.trace !== trace) return;
    const seen = new Set();
    this.lines = parts.flat().map(logItem).filter((log) => !seen.has(log.key) && seen.add(log.key)).sort((a, b) => a.time_ns - b.time_ns);
    this.marks = new Map();
    for (const log of this.lines) {
      if (!log.span_id) continue;
      if (!this.marks.has(log.span_id)) this.marks.set(log.span_id, []);
      this.marks.get(log.span_id).push(log.time_ns - trace.start_ns);
    }
    this.under.hidden = !this.lines.length;
    this.logsHead.textContent = `Logs of this trace · ${this.lines.length}`;
    this.logs.set(this.lines);
    this.shown.show(this.ready, { range: this.range, found: this.found, marks: this.marks });
    this.drawSide();
  }

  pickLog(log) {
    if (log.span_id && this.ready.byId.has(log.span_id)) go({ span: log.span_id }, { replace: true });
  }

  key(event) {
    if (!this.ready) return false;
    const whole = this.ready.whole;
    const zoomBy = (factor) => {
      const [from, to] = this.range;
      const centre = Math.min(Math.max(this.span.offset_ns + this.span.duration_ns / 2, from), to);
      const length = Math.min(Math.max((to - from) * factor, 100), whole);
      const start = Math.min(Math.max(centre - length / 2, 0), whole - length);
      go({ zoom: length >= whole ? null : `${Math.round(start)}-${Math.round(start + length)}` }, { replace: true });
    };
    const keys = {
      w: () => go({ as: null }),
      f: () => go({ as: "flame" }),
      n: () => this.step(1),
      p: () => this.step(-1),
      "+": () => zoomBy(0.5),
      "=": () => zoomBy(0.5),
      "-": () => zoomBy(2),
      0: () => go({ zoom: null }),
    };
    if (!keys[event.key]) return false;
    this.focusing = ["w", "f"].includes(event.key);
    keys[event.key]();
    this.update();
    return true;
  }

  escape() {
    const { in: inside, zoom, span } = place();
    if (inside) this.inside.value = "";
    if (inside || zoom) go({ in: null, zoom: null }, { replace: true });
    else if (span && matchMedia("(max-width: 720px)").matches) go({ span: null }, { replace: true });
    else return false;
    return true;
  }
}

function range(zoom, whole) {
  const [from, to] = (zoom || "").split("-").map(Number);
  return to > from && from >= 0 ? [from, to] : [0, whole];
}

function traceItem(one) {
  const fields = {
    name: one.name, resource: one.resource, service: [...one.services].join(" "), trace_id: one.trace_id,
    status: one.errors ? "error" : "ok", request_id: one.invocations.map((two) => two.request_id).join(" "),
    function: one.invocations.map((two) => two.function).join(" "),
  };
  return item(fields, one.duration_ns);
}

function traceRow(one, _, chosen) {
  const services = one.services.length > 2 ? count(one.services.length, "service") : one.services.join(", ");
  return h(`div.item${chosen ? ".chosen" : ""}`, { title: one.trace_id },
    h(`span.dot.${one.errors ? "error" : "success"}`, { role: "img", "aria-label": one.errors ? "with an error" : "ok" }), h("span.name.cut", null, nameOf(one)), h("span.num", null, duration(one.duration_ns)),
    h("span.more.cut", null, `${clockOf(one.start_ns).slice(0, 8)} · ${count(one.spans, "span")} · ${services}`));
}
