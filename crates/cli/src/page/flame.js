// A trace as a flame graph across functions: time from left to right, callers above what they called. On a canvas, of
// which only what is seen is drawn.

import { colours, h, oncePerFrame, say } from "./dom.js";
import { duration, ticks } from "./units.js";

const ROW = 22;
const TOP = 24; // The axis.
const NAMES = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--s6", "--s7", "--text", "--soft", "--line", "--bad", "--accent", "--card", "--onbar"];

export class Flame {
  constructor({ pick, zoom }) {
    Object.assign(this, { pick, zoom, chosen: -1, hover: -1 });
    this.canvas = h("canvas", { "aria-hidden": true });
    this.space = h("div.space");
    this.scroller = h("div.flame", {
      tabindex: 0, role: "application", "aria-roledescription": "flame graph",
      "aria-label": "Flame graph: up to the caller, down to what it called, left and right among them, Enter zooms in, 0 shows all",
    }, this.canvas, this.space);
    this.tip = h("p.tip", null, "");
    this.element = h("div.card.grow", null, this.scroller, this.tip);
    this.draw = oncePerFrame(() => this.drawNow());
    this.scroller.addEventListener("scroll", this.draw, { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.onkey(event));
    this.scroller.addEventListener("pointermove", (event) => this.onmove(event));
    this.scroller.addEventListener("pointerleave", () => this.over(-1));
    this.scroller.addEventListener("click", (event) => { const hit = this.hit(event); if (hit >= 0) this.pick(this.ready.spans[hit], true); });
    this.scroller.addEventListener("dblclick", (event) => { const hit = this.hit(event); this.zoomTo(hit); });
    new ResizeObserver(this.draw).observe(this.scroller);
    this.recolour();
  }

  recolour() {
    const found = colours(NAMES);
    this.tones = Object.fromEntries(NAMES.map((name, index) => [name, found[index]]));
    this.draw();
  }

  show(ready, { range, found }) {
    Object.assign(this, { ready, range, found });
    this.space.style.height = `${TOP + ready.levels * ROW + 8}px`;
    this.draw();
  }

  /** How high it would like to be. */
  wish() {
    return Math.max(TOP + this.ready.levels * ROW + 46, 240);
  }

  choose(index, show) {
    this.chosen = index;
    if (show && index >= 0) {
      const top = this.ready.level[index] * ROW;
      const { scrollTop, clientHeight } = this.scroller;
      if (top < scrollTop || top + TOP + ROW > scrollTop + clientHeight) this.scroller.scrollTop = Math.max(0, top - clientHeight / 2);
    }
    this.describe(index);
    this.draw();
  }

  describe(index) {
    const span = this.ready?.spans[index];
    this.tip.textContent = span ? `${span.service}  ›  ${span.name}  ${span.resource !== span.name ? span.resource : ""}  ${duration(span.duration_ns)}${span.error ? "  error" : ""}` : "";
  }

  drawNow() {
    const { clientWidth: width, clientHeight: height, scrollTop } = this.scroller;
    if (!this.ready || !width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
      this.space.style.marginTop = `${-height}px`;
    }
    const draw = this.canvas.getContext("2d");
    draw.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw.clearRect(0, 0, width, height);
    draw.font = "12px Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
    draw.textBaseline = "middle";
    this.scale = width / (this.range[1] - this.range[0]);
    const first = Math.max(0, Math.floor(scrollTop / ROW));
    const last = Math.min(this.ready.levels - 1, Math.ceil((scrollTop + height - TOP) / ROW));
    for (let level = first; level <= last; level++) this.drawLevel(draw, level, TOP + level * ROW - scrollTop, width);
    this.drawAxis(draw, width);
  }

  drawLevel(draw, level, y, width) {
    const [from] = this.range;
    let painted = -1; // Up to here this level has narrow spans of the same pixel.
    for (const index of this.ready.lanes[level]) {
      const span = this.ready.spans[index];
      const x = (span.offset_ns - from) * this.scale;
      const wide = span.duration_ns * this.scale;
      const special = index === this.chosen || index === this.hover;
      if (x > width || x + wide < 0 || (!special && x + wide <= painted)) continue;
      const [left, right] = [Math.max(x, 0), Math.min(x + Math.max(wide, 1.5), width)];
      painted = right;
      draw.globalAlpha = this.found && !this.found.has(index) ? 0.25 : 1;
      draw.fillStyle = this.tones[`--s${this.ready.services.get(span.service)}`];
      draw.fillRect(left, y, Math.max(right - left - (wide > 3 ? 1 : 0), 1), ROW - 2);
      if (span.error) {
        draw.fillStyle = this.tones["--bad"];
        draw.fillRect(left, y + ROW - 5, Math.max(right - left - 1, 1), 3);
      }
      if (right - left > 36) this.drawText(draw, span, left, right, y);
      draw.globalAlpha = 1;
      if (special) {
        draw.strokeStyle = index === this.chosen ? this.tones["--text"] : this.tones["--soft"];
        draw.lineWidth = 2;
        draw.strokeRect(left + 1, y + 1, Math.max(right - left - 3, 1), ROW - 4);
      }
    }
  }

  drawText(draw, span, left, right, y) {
    const text = span.resource && span.resource !== span.name ? `${span.name}  ${span.resource}` : span.name;
    draw.fillStyle = this.tones["--onbar"];
    const room = Math.floor((right - left - 10) / 6.2);
    draw.fillText(text.length > room ? `${text.slice(0, Math.max(room - 1, 1))}…` : text, left + 5, y + ROW / 2 - 1, right - left - 8);
  }

  drawAxis(draw, width) {
    const [from, to] = this.range;
    draw.fillStyle = this.tones["--card"];
    draw.fillRect(0, 0, width, TOP - 3);
    draw.fillStyle = this.tones["--soft"];
    draw.font = "11px Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
    for (const tick of ticks(from, to, Math.max(2, Math.floor(width / 130)))) {
      const x = (tick - from) * this.scale;
      draw.fillRect(x, 0, 1, 6);
      if (x < width - 50) draw.fillText(duration(tick), x + 4, 11);
    }
  }

  hit(event) {
    const box = this.scroller.getBoundingClientRect();
    const y = event.clientY - box.top;
    if (!this.ready || y < TOP) return -1;
    const level = Math.floor((y - TOP + this.scroller.scrollTop) / ROW);
    const x = event.clientX - box.left;
    let best = -1;
    for (const index of this.ready.lanes[level] || []) {
      const span = this.ready.spans[index];
      const left = (span.offset_ns - this.range[0]) * this.scale;
      if (x >= left - 1 && x <= left + Math.max(span.duration_ns * this.scale, 2) + 1) best = index;
    }
    return best;
  }

  onmove(event) {
    this.over(this.hit(event));
  }

  over(index) {
    if (index === this.hover) return;
    this.hover = index;
    this.describe(index < 0 ? this.chosen : index);
    this.scroller.style.cursor = index < 0 ? "" : "pointer";
    this.draw();
  }

  zoomTo(index) {
    const span = this.ready.spans[index];
    if (span) this.zoom(span.offset_ns, span.offset_ns + Math.max(span.duration_ns, 1));
  }

  onkey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = this.neighbour(event.key);
    if (next === null) return;
    event.preventDefault();
    if (event.key === "Enter") return this.zoomTo(this.chosen);
    if (next >= 0) {
      const span = this.ready.spans[next];
      this.pick(span, false);
      this.choose(next, true);
      say(`${span.name}, ${span.service}, ${duration(span.duration_ns)}`);
    }
  }

  /** `null` for a key that means nothing here. */
  neighbour(key) {
    const { parent, spans, below } = this.ready;
    const at = this.chosen;
    if (key === "Enter") return at;
    if (key === "ArrowUp") return parent[at] ?? -1;
    if (key === "ArrowDown") return at < 0 ? 0 : below[at] ? at + 1 : -1;
    if (key !== "ArrowLeft" && key !== "ArrowRight") return null;
    const lane = this.ready.lanes[this.ready.level[at]] || [];
    const place = lane.indexOf(at) + (key === "ArrowRight" ? 1 : -1);
    return lane[place] !== undefined && spans[lane[place]] ? lane[place] : -1;
  }
}
