// The page of dd-lambda: the frame around the views, their keys, and which of them is shown.

import { data, follow, onChange } from "./data.js";
import { byId, h } from "./dom.js";
import { help } from "./help.js";
import * as invocations from "./invocations.js";
import * as logs from "./logs.js";
import * as metrics from "./metrics.js";
import { VIEWS, link, onMove, open, place } from "./place.js";
import * as requests from "./requests.js";
import * as sandboxes from "./sandboxes.js";
import * as traces from "./traces.js";
import { count, duration, number } from "./units.js";

const MODULES = { invocations, traces, logs, metrics, sandboxes, requests };
const NAMES = { invocations: "Invocations", traces: "Traces", logs: "Logs", metrics: "Metrics", sandboxes: "Sandboxes", requests: "Requests" };
const THEMES = { system: "light dark", light: "light", dark: "dark" };
const SIGNS = { system: "◐", light: "☀", dark: "☾" };

let [shown, view] = [null, null];
// Where nothing is invoked, and no view was asked for, traces come first.
const asked = new URLSearchParams(location.hash.slice(1)).has("view");

function draw() {
  const at = place();
  if (shown !== at.view) {
    view?.unmount?.();
    const root = byId("view");
    root.replaceChildren();
    root.className = at.view;
    delete root.dataset.painted;
    [shown, view] = [at.view, MODULES[at.view].mount(root)];
    root.setAttribute("aria-label", NAMES[at.view]);
    drawViews(at.view);
    document.querySelector("nav [aria-current]").scrollIntoView({ block: "nearest", inline: "center" });
  }
  drawViews(at.view);
  view.update();
}

function drawViews(now) {
  const counts = data.overview?.counts;
  const sizes = { invocations: data.run?.invocations.length, traces: data.overview?.traces.length, logs: counts?.logs, requests: counts?.requests };
  byId("views").childNodes.forEach((one, index) => {
    const name = VIEWS[index];
    if (name === now) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
    one.lastChild.textContent = sizes[name] === undefined ? "" : number(sizes[name]);
  });
}

function drawHead() {
  const { run } = data;
  if (!run) return;
  if (!asked && !run.endpoint && !location.hash) return open({ view: "traces" });
  document.title = run.title ? `${run.title} · dd-lambda` : "dd-lambda";
  const verdict = byId("verdict");
  const missing = run.missing || [];
  const [kind, text] = run.missing ? (missing.length ? ["bad", `✗ ${missing.length} missing`] : ["good", "✓ everything arrived"]) : ["busy", run.ended ? "ended" : run.functions.length ? "running" : "listening"];
  verdict.className = kind;
  if (verdict.textContent !== text) verdict.textContent = text;
  verdict.title = run.functions.join(", ");
  drawRebuilt(run.rebuilt || []);
  const list = byId("missing");
  list.hidden = missing.length === 0;
  if (list.dataset.count !== String(missing.length)) {
    list.dataset.count = missing.length;
    list.replaceChildren(h("ul", null, missing.map((sentence) => h("li", null, sentence))));
  }
}

/** What is not as Datadog wants it, wherever one is. */
function drawBroken() {
  const broken = data.overview?.counts.violations || 0;
  const badge = byId("broken");
  badge.hidden = !broken;
  const text = `⚠ ${count(broken, "violation")}`;
  if (badge.textContent !== text) badge.replaceChildren(`⚠ ${number(broken)}`, h("span", null, broken === 1 ? " violation" : " violations"));
  badge.href = link({ view: "requests", rules: "yes" });
  badge.title = "Requests that Datadog would refuse, drop or change";
}

const SWAPPED_MS = 12000;

/** What `dev` builds because of an edit: as long as it matters. */
function drawRebuilt(all) {
  const shown = all.filter((one) => one.state !== "swapped" || Date.now() - one.end_ns / 1e6 < SWAPPED_MS);
  const place = byId("rebuilt");
  place.hidden = !shown.length;
  const key = JSON.stringify(shown);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  place.replaceChildren(...shown.map(rebuiltLine));
  if (shown.some((one) => one.state === "swapped")) setTimeout(() => drawRebuilt(data.run.rebuilt || []), SWAPPED_MS);
}

function rebuiltLine(one) {
  const because = h("span.soft", { title: one.changed }, `${one.changed.split("/").slice(-2).join("/")} changed`);
  const parts = {
    building: () => [h("p", null, h("span.spin", { "aria-hidden": true }, "◌"), " building ", h("b", null, one.function), " … ", because)],
    swapped: () => [h("p", null, "✓ ", h("b", null, one.function), one.took_ns === null ? " has another program" : ` was built anew in ${duration(one.took_ns)}`, ": the next invocation is answered by the new one ", because)],
    failed: () => [h("details", { open: true }, h("summary", null, h("b", null, one.function), " does not build, and serves on as it was ", because), h("pre.block", { tabindex: 0, role: "region", "aria-label": "What the compiler says" }, one.why))],
  };
  return h(`div.${one.state}`, null, parts[one.state]());
}

function theme(next) {
  let kept = "system";
  try {
    kept = localStorage.getItem("theme") || kept;
    if (next) localStorage.setItem("theme", next);
  } catch {
    // Kept for this page alone.
  }
  const now = next || (THEMES[kept] ? kept : "system");
  document.documentElement.style.colorScheme = THEMES[now];
  document.documentElement.dataset.theme = now;
  const button = byId("theme");
  button.textContent = SIGNS[now];
  button.title = `Colours: ${now === "system" ? "as the system" : now} (t)`;
  button.setAttribute("aria-label", `Colours: ${now === "system" ? "as the system" : now}`);
  view?.theme?.();
}
const nextTheme = () => theme({ system: "light", light: "dark", dark: "system" }[document.documentElement.dataset.theme]);

function onkey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("help").open) return;
  const typing = event.target.matches("input[type=search], select, textarea");
  if (event.key === "Escape") {
    if (view?.escape?.()) event.preventDefault();
    if (typing) focusContent();
    return;
  }
  if (typing) {
    if (event.key === "ArrowDown" && event.target.matches("input")) focusContent(event);
    return;
  }
  const to = VIEWS[Number(event.key) - 1];
  if (to) {
    open({ view: to });
    return focusContent(event);
  }
  const keys = { "/": () => focusFind(), "?": help, t: nextTheme };
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  } else if (view?.key?.(event)) event.preventDefault();
}

/** The search of what is looked at: of the trace when there is one. */
function focusFind() {
  const fields = [...document.querySelectorAll("main .find")].filter((one) => one.offsetParent);
  (fields.at(-1) || byId("view")).focus();
}

function focusContent(event) {
  event?.preventDefault();
  const seen = (selector) => [...byId("view").querySelectorAll(selector)].find((one) => one.offsetParent);
  (seen(".stage .list, .stage .flame") || seen(".list") || byId("view")).focus();
}

byId("views").append(...VIEWS.map((name, index) => h("a", { href: link({ view: name }), "aria-keyshortcuts": index + 1 }, NAMES[name], h("b"))));
byId("keys").addEventListener("click", help);
byId("skip").addEventListener("click", () => focusContent());
byId("theme").addEventListener("click", nextTheme);
document.addEventListener("keydown", onkey);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view?.theme?.());
onMove(draw);
onChange((what) => {
  drawHead();
  drawBroken();
  drawViews(shown);
  const live = byId("live");
  live.className = data.lost ? "lost" : "";
  live.setAttribute("aria-label", data.lost ? "dd-lambda has ended; this is what it had" : "Follows what arrives");
  live.title = live.getAttribute("aria-label");
  if (what !== "lost" && data.stores + data.runs === 2) draw();
});
theme();
draw();
follow();
