// A list of any length of which only what is seen is drawn. It has the focus as a whole; arrow keys move in it.

import { h, oncePerFrame } from "./dom.js";

let lists = 0;

export class List {
  /**
   * `height()` of a row in pixels; `row(item, index, chosen)` draws one; `key(item)` names it; `pick(item)` when it
   * was moved to, `open(item)` for Enter and a click, `press(event, item)` for other keys, true when it took one.
   */
  constructor({ label, height, row, key, pick, open, press, role = "listbox", rowRole = "option" }) {
    Object.assign(this, { height, row, key, pick, open, press, rowRole });
    this.none = h("p.none", { hidden: true }, "Nothing matches. Esc clears the search.");
    this.id = `list${(lists += 1)}`;
    this.items = [];
    this.chosen = null;
    this.inner = h("div.rows", { role: "presentation" });
    this.element = h("div.list", { role, tabindex: 0, "aria-label": label }, this.inner, this.none);
    this.draw = oncePerFrame(() => this.drawNow());
    this.element.addEventListener("scroll", this.draw, { passive: true });
    this.element.addEventListener("keydown", (event) => this.onkey(event));
    this.element.addEventListener("click", (event) => this.onclick(event));
    this.element.addEventListener("pointerdown", (event) => this.hold(event));
    this.sizes = new ResizeObserver(this.draw);
    this.sizes.observe(this.element);
  }

  /** `searched` says that others are passed over. */
  set(items, searched = false) {
    this.items = items;
    this.none.hidden = items.length > 0 || !searched;
    this.drawNow();
  }

  index() {
    return this.chosen === null ? -1 : this.items.findIndex((item) => this.key(item) === this.chosen);
  }

  /** Marks a row, and brings it into sight if asked. */
  choose(key, show) {
    this.chosen = key ?? null;
    if (show) this.show(this.index());
    this.drawNow();
  }

  show(index) {
    if (index < 0) return;
    const [top, height] = [index * this.height(), this.height()];
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + height > scrollTop + clientHeight) this.element.scrollTop = top + height - clientHeight;
  }

  /** A row that is pressed stays until it is let go: one that is drawn anew in between would not get the click. */
  hold(event) {
    if (!event.target.closest(".row")) return;
    const letGo = () => setTimeout(() => {
      if (this.held !== letGo) return;
      this.held = null;
      if (this.late) this.drawNow();
    });
    this.held = letGo;
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, letGo, { once: true });
    setTimeout(letGo, 1000);
  }

  drawNow() {
    this.late = Boolean(this.held);
    if (this.late) return;
    const height = this.height();
    const { scrollTop, clientHeight } = this.element;
    this.inner.style.height = `${this.items.length * height}px`;
    const from = Math.max(0, Math.floor(scrollTop / height) - 6);
    const to = Math.min(this.items.length, Math.ceil((scrollTop + (clientHeight || 800)) / height) + 6);
    const rows = [];
    for (let index = from; index < to; index++) {
      const item = this.items[index];
      const chosen = this.key(item) === this.chosen;
      const row = this.row(item, index, chosen);
      row.classList.add("row");
      row.id = `${this.id}-${index}`;
      row.style.top = `${index * height}px`;
      row.style.height = `${height}px`;
      row.item = item;
      for (const [name, value] of [["role", this.rowRole], ["aria-selected", chosen], ["aria-setsize", this.items.length], ["aria-posinset", index + 1]]) row.setAttribute(name, value);
      rows.push(row);
    }
    this.inner.replaceChildren(...rows);
    const index = this.index();
    if (index >= from && index < to) this.element.setAttribute("aria-activedescendant", `${this.id}-${index}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  onclick(event) {
    if (event.target.closest("a, input")) return;
    const row = event.target.closest(".row");
    if (!row || row.item === undefined) return;
    const { item } = row;
    if (event.target.closest("[data-twisty]") && this.press?.({ key: "twisty" }, item)) return;
    this.chosen = this.key(item);
    this.drawNow();
    this.open?.(item);
  }

  onkey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.element) return;
    const at = this.index();
    const item = this.items[at];
    if (item && this.press?.(event, item)) return event.preventDefault();
    if (event.key === "Enter" && item) {
      event.preventDefault();
      return this.open?.(item);
    }
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.height()) - 1);
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (!step || !this.items.length) return;
    event.preventDefault();
    const next = this.items[Math.max(0, Math.min(this.items.length - 1, (at < 0 ? (step > 0 ? -1 : 0) : at) + step))];
    this.choose(this.key(next), true);
    this.pick?.(next);
  }
}
