// A trace as a waterfall: the tree of its spans, each with its time on a common scale.

import { at, h } from "./dom.js";
import { List } from "./list.js";
import { duration, ticks } from "./units.js";

const MOST_RAILS = 20;

export class Waterfall {
  constructor({ pick, zoom }) {
    this.zoom = zoom;
    this.closed = new Set();
    this.found = null;
    this.list = new List({
      label: "Spans, as a tree",
      role: "tree",
      rowRole: "treeitem",
      height: () => 27,
      key: (index) => this.ready.spans[index].span_id,
      row: (index) => this.row(index),
      pick: (index) => pick(this.ready.spans[index], false),
      open: (index) => pick(this.ready.spans[index], true),
      press: (event, index) => this.press(event, index),
    });
    this.list.element.classList.add("fall");
    this.ruler = h("div.ruler", { "aria-hidden": true });
    this.element = h("div.card.grow", null, this.ruler, this.list.element);
  }

  show(ready, { range, found, marks }) {
    if (this.ready?.trace.trace_id !== ready.trace.trace_id) this.closed.clear();
    Object.assign(this, { ready, range, found, marks });
    this.drawRuler();
    this.list.set(this.visible());
  }

  choose(index, show) {
    // What is chosen has to be there.
    for (let above = this.ready.parent[index]; above >= 0; above = this.ready.parent[above]) {
      if (this.closed.delete(above)) this.list.items = this.visible();
    }
    this.list.choose(this.ready.spans[index]?.span_id, show);
  }

  /** How high it would like to be. */
  wish() {
    return 30 + this.ready.spans.length * this.list.height();
  }

  visible() {
    const { spans, below } = this.ready;
    const all = [];
    for (let index = 0; index < spans.length; index++) {
      all.push(index);
      if (this.closed.has(index)) index += below[index];
    }
    return all;
  }

  press(event, index) {
    const { below, parent } = this.ready;
    const toggle = () => {
      if (!this.closed.delete(index)) this.closed.add(index);
      this.list.set(this.visible());
      return true;
    };
    if (event.key === "twisty" || event.key === " ") return below[index] > 0 && toggle();
    if (event.key === "ArrowLeft") {
      if (below[index] && !this.closed.has(index)) return toggle();
      if (parent[index] < 0) return true;
      this.list.choose(this.ready.spans[parent[index]].span_id, true);
      this.list.pick(parent[index]);
      return true;
    }
    if (event.key === "ArrowRight") {
      if (this.closed.has(index)) return toggle();
      if (!below[index]) return true;
      this.list.choose(this.ready.spans[index + 1].span_id, true);
      this.list.pick(index + 1);
      return true;
    }
    return false;
  }

  drawRuler() {
    const [from, to] = this.range;
    const axis = h("div.ticks");
    const lines = [];
    for (const tick of ticks(from, to, 5)) {
      const share = (tick - from) / (to - from);
      if (share < 0.94) axis.append(at(h("span", null, duration(tick)), share));
      const place = `${(share * 100).toFixed(3)}%`;
      if (share > 0) lines.push(`transparent ${place}, var(--grid-line) ${place}, var(--grid-line) calc(${place} + 1px), transparent calc(${place} + 1px)`);
    }
    this.list.element.style.setProperty("--grid", lines.length ? `linear-gradient(to right, ${lines.join(", ")})` : "none");
    this.ruler.replaceChildren(h("span", null, "Span"), axis, h("span"));
  }

  rails(index) {
    const { spans, parent, last } = this.ready;
    const rails = [];
    for (let above = index; above >= 0 && spans[above].depth > 0 && rails.length < MOST_RAILS; above = parent[above]) {
      const kind = above === index ? (last[above] ? "end" : "tee") : last[above] ? "" : "pass";
      rails.unshift(h(`i${kind ? `.${kind}` : ""}`));
    }
    return rails;
  }

  row(index) {
    const { spans, services, below, parent } = this.ready;
    const span = spans[index];
    const [from, to] = this.range;
    const share = (ns) => (ns - from) / (to - from);
    const tone = `c${services.get(span.service)}`;
    const what = span.resource && span.resource !== span.name ? span.resource : "";
    const lane = h("span.lane");
    const [start, end] = [Math.max(share(span.offset_ns), 0), Math.min(share(span.offset_ns + span.duration_ns), 1)];
    if (end >= 0 && start <= 1) {
      const bar = at(h(`span.bar.${tone}${span.error ? ".error" : ""}`), start, Math.max(end - start, 0));
      bar.style.left = `min(${(start * 100).toFixed(4)}%, 100% - 3px)`;
      lane.append(bar);
    }
    for (const offset of this.marks?.get(span.span_id) || []) {
      if (share(offset) >= 0 && share(offset) <= 1) lane.append(at(h("i.logmark", { title: "a log line" }), share(offset)));
    }
    const twisty = below[index] ? h("span.twisty", { "data-twisty": true, "aria-hidden": true }, this.closed.has(index) ? "▸" : "▾") : h("span.twisty");
    const missing = span.parent === "missing" ? h("span.tag.warn", { title: `its parent ${span.parent_id} did not arrive` }, "parent missing") : null;
    const hidden = this.closed.has(index) ? h("span.tag", null, `+${below[index]}`) : null;
    const dim = this.found && !this.found.has(index) ? ".dim" : "";
    const row = h(`div.span${dim}`, { "aria-level": span.depth + 1, "aria-label": `${span.name} ${what}, ${span.service}, ${duration(span.duration_ns)}${span.error ? ", error" : ""}`, title: `${span.service}: ${span.name} ${what}` },
      h("span.label", null, h("span.rails", null, this.rails(index)), twisty, h(`span.chip.${tone}`),
        h(`b.cut${span.error ? ".bad" : ""}`, null, span.name), span.error ? h("span.bad", { "aria-hidden": true }, "✗") : null, missing, hidden, h("span.what.cut", null, what)),
      lane, h("span.length.num", null, duration(span.duration_ns)));
    if (below[index]) row.setAttribute("aria-expanded", !this.closed.has(index));
    if (parent[index] < 0 && index > 0) row.classList.add("top");
    return row;
  }
}
