// Logs: every line, newest last, with the span that it belongs to.

import { data, fresh, onChange, sameTrace } from "./data.js";
import { finder, h, oncePerFrame, pairs } from "./dom.js";
import { howToBegin, nothing, tell } from "./empty.js";
import { item, matcher } from "./filter.js";
import { List } from "./list.js";
import { go, link, place } from "./place.js";
import { clock, count } from "./units.js";

const LAST = 5000;
const PLATFORM = /^(INIT_START|START RequestId|END RequestId|REPORT RequestId|INIT_REPORT|RESTORE_)/;
const LEVELS = ["", "error", "warn", "info", "debug"];

/** The text of a line: of a JSON object its message and its other fields. */
export function readLine(log) {
  if (log.read !== undefined) return log.read;
  log.read = log.message.trimEnd();
  try {
    const line = JSON.parse(log.message);
    if (line && typeof line === "object" && !Array.isArray(line)) {
      const fields = { ...(typeof line.fields === "object" ? line.fields : {}) };
      const text = line.message || line.msg || fields.message || "";
      delete fields.message;
      const more = Object.entries(fields).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
      log.read = [text, ...more].filter(Boolean).join("  ") || log.read;
    }
  } catch {
    // Not JSON: shown as it is.
  }
  return log.read;
}

/** A line with a name of its own. */
export function logItem(log) {
  return { ...log, key: `${log.time_ns} ${log.request} ${log.request_id} ${log.message}` };
}

export function logRow(log, { here = false } = {}) {
  const tied = Boolean(log.span_id && log.trace_id);
  return h(`div.log${here ? ".here" : ""}${PLATFORM.test(log.message) ? ".platform" : ""}`, { title: readLine(log) },
    h("time", { title: log.time }, clock(log.time)), h("span", null, h(`span.tag.${log.status}`, null, log.status)),
    h("span.who.cut.soft", { title: log.arn }, log.function || log.service), h("span.message.cut", null, readLine(log)), h("span.tie.soft", tied ? { title: "belongs to a span" } : null, tied ? "⌁ span" : ""));
}

export function mount(root) {
  const all = fresh(`/local/logs?last=${LAST}`);
  const q = finder("Search lines: words, -without, key:value", place().q || "", (text) => go({ q: text }, { replace: true }));
  const level = h("select", { "aria-label": "Level", onchange: () => go({ level: level.value }, { replace: true }) }, LEVELS.map((one) => h("option", { value: one }, one || "every level")));
  const platform = h("input", { type: "checkbox", onchange: () => go({ platform: platform.checked ? null : "no" }, { replace: true }) });
  const told = h("span.soft.hits", { role: "status" });
  const list = new List({ label: "Log lines", height: () => (matchMedia("(max-width: 720px)").matches ? 46 : 28), key: (log) => log.key, row: (log) => logRow(log), pick: choose, open: choose });
  const side = h("section.side", { "aria-label": "Log line", tabindex: -1, hidden: true });
  const empty = nothing();
  const table = h("div.card.grow.stage", null, list.element);
  root.append(h("section.middle", { "aria-label": "Logs" }, h("div.tools", null, q, level, h("label", null, platform, "lines of the platform"), told), table, empty), side);
  let shown = [];

  function choose(log) {
    go({ line: log.key }, { replace: true });
  }
  function drawSide(log) {
    side.hidden = !log;
    if (!log) return side.replaceChildren();
    const trace = log.trace_id && data.overview?.traces.find((one) => sameTrace(log.trace_id, one.trace_id));
    let body = null;
    try { body = JSON.stringify(JSON.parse(log.message), null, 2); } catch { body = log.message; }
    const facts = [["time", log.time], ["status", log.status], ["function", log.function], ["service", log.service], ["request id", log.request_id ? h("a", { href: link({ view: "invocations", q: log.request_id }) }, log.request_id) : "–"], ["arn", log.arn]];
    if (log.request) facts.push(["came with", h("a", { href: link({ view: "requests", n: log.request }) }, `request #${log.request}`)]);
    side.replaceChildren(
      h("div.sidehead", null, h("h2", null, "Log line"), h("button.tool.close", { type: "button", "aria-label": "Close the line", onclick: () => go({ line: null }, { replace: true }) }, "×")),
      trace ? h("a.jump.strong", { href: link({ view: "traces", trace: trace.trace_id, span: log.span_id }) }, "⌁ show its span") : h("p.soft", null, "It names no span that is here."),
      h("pre.block", null, body), h("h3", null, "About it"), pairs(facts),
      h("h3", null, "Tags"), h("div.chips", null, log.tags.map((tag) => h("span.tag", null, tag))));
  }

  async function updateNow() {
    const at = place();
    const lines = (await all().catch(() => [])).map(logItem);
    if (place().view !== "logs" || !data.run) return;
    tell(empty, lines.length > 0, data.run.endpoint, () => [
      "No log line has arrived yet",
      "What a function prints becomes log lines, beside those of Lambda itself (START, END, REPORT). The extension sends them when an invocation is over. A line that names its trace and span is shown beside that span.",
      ...howToBegin(data.run),
    ]);
    table.hidden = !lines.length;
    const wanted = matcher(at.q);
    const ranks = { error: ["error", "critical", "alert", "emergency"] }[at.level] || [at.level];
    shown = lines.filter((log) => (at.platform !== "no" || !PLATFORM.test(log.message)) && (!at.level || ranks.includes(log.status)) && (!wanted || wanted(fieldsOf(log)))).sort((a, b) => a.time_ns - b.time_ns);
    if (document.activeElement !== q) q.value = at.q || "";
    level.value = LEVELS.includes(at.level) ? at.level : "";
    platform.checked = at.platform !== "no";
    told.textContent = `${count(shown.length, "line")}${lines.length >= LAST ? ` of the newest ${LAST}` : ""}`;
    const follows = list.element.scrollTop + list.element.clientHeight > list.element.scrollHeight - 40;
    list.set(shown, true);
    list.choose(at.line || null, false);
    if (follows && !at.line) list.element.scrollTop = list.element.scrollHeight;
    drawSide(at.line && lines.find((log) => log.key === at.line));
    root.dataset.painted = `logs ${shown.length}`;
  }
  const update = oncePerFrame(updateNow);
  const stop = onChange((what) => what === "store" && update());
  const escape = () => {
    const at = place();
    if (at.line) go({ line: null }, { replace: true });
    else if (at.q) { q.value = ""; go({ q: null }, { replace: true }); } else return false;
    return true;
  };
  return { update, escape, unmount: stop };
}

function fieldsOf(log) {
  return item({ message: log.message, function: log.function, service: log.service, status: log.status, request_id: log.request_id, trace_id: log.trace_id, span_id: log.span_id });
}
