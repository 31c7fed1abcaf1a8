// The page of dd-lambda: asks /local/… of where it came from, draws what it gets, and asks again when there is
// more. Everything that arrived from outside goes in as text, never as markup.
"use strict";

const TABS = ["traces", "logs", "metrics", "requests"];
const MOST_ROWS = 2000;
const PLATFORM = /^(INIT_START|START RequestId|END RequestId|REPORT RequestId|INIT_REPORT|RESTORE_)/;

let state = null; // The last answer of /local/state.
let run = null; // The last answer of /local/run.
let filter = { logs: "", metrics: "", requests: "", platform: true };

const byId = (id) => document.getElementById(id);

/** An element: `h("b.soft", {title: "x"}, "text", child, null)`. */
function h(kind, attributes, ...children) {
  const [name, ...classes] = kind.split(".");
  const element = document.createElement(name || "div");
  element.classList.add(...classes.filter(Boolean));
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Units.
function duration(ns) {
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${Math.round(ns / 1e3)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(ns < 1e7 ? 2 : 1)} ms`;
  return `${(ns / 1e9).toFixed(2)} s`;
}
function number(value) {
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (Math.abs(value) < 1e-4) return value.toExponential(2);
  return value.toLocaleString("en", { maximumSignificantDigits: 5 });
}
function bytes(count) {
  if (count === null || count === undefined) return "–";
  if (count < 1024) return `${count} B`;
  return count < 1048576 ? `${(count / 1024).toFixed(1)} kB` : `${(count / 1048576).toFixed(1)} MB`;
}
const clock = (time) => time.slice(11, 23);
const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

// Where we are: in the address, so that it can be kept and gone back from.
function place() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const tab = parts.get("tab");
  return { tab: TABS.includes(tab) ? tab : "traces", trace: parts.get("trace"), span: parts.get("span") };
}
function go(to, replace) {
  const next = { ...place(), ...to };
  const parts = new URLSearchParams(Object.entries(next).filter(([, value]) => value));
  if (replace) history.replaceState(null, "", `#${parts}`);
  else history.pushState(null, "", `#${parts}`);
  draw();
}

// What the data says.
const traceName = (trace) => {
  const first = trace.spans[0];
  return first ? first.resource || first.name : trace.trace_id;
};
function colours(trace) {
  const seen = new Map();
  for (const span of trace.spans) if (!seen.has(span.service)) seen.set(span.service, `c${seen.size % 8}`);
  return seen;
}
function chosenTrace() {
  const { trace } = place();
  const found = state.traces.find((one) => one.trace_id === trace);
  if (found) return found;
  // The one with most to see, when nothing was chosen.
  return state.traces.reduce((best, one) => (best && best.spans.length >= one.spans.length ? best : one), null);
}
function spanOfRequest(id) {
  for (const trace of state.traces) {
    const span = trace.spans.find((one) => one.name === "aws.lambda" && one.meta.request_id === id);
    if (span) return { trace, span };
  }
  return null;
}
const isError = (span) => (span.error ? true : undefined);
function readLine(log) {
  try {
    const line = JSON.parse(log.message);
    if (line && typeof line === "object" && !Array.isArray(line)) {
      const fields = { ...(line.fields || {}) };
      const text = line.message || line.msg || fields.message || "";
      delete fields.message;
      const more = Object.entries(fields).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
      return [text, ...more].filter(Boolean).join("  ") || log.message;
    }
  } catch {
    // Not JSON: shown as it is.
  }
  return log.message.trimEnd();
}

// Drawing. Each time all of it: what is open, focused or scrolled is found again by its key.
const keyed = (key) => document.querySelector(`[data-key="${CSS.escape(key)}"]`);

function draw() {
  if (!state) return;
  const { tab } = place();
  const held = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : null;
  drawHeader(tab);
  const views = { traces: drawTraces, logs: drawLogs, metrics: drawMetrics, requests: drawRequests };
  const view = byId("view");
  const opened = [...view.querySelectorAll("details[open]")].map((one) => one.dataset.key);
  const scrolls = [...view.children].map((child) => child.scrollTop);
  view.className = tab;
  view.setAttribute("aria-labelledby", `tab-${tab}`);
  view.replaceChildren(...views[tab]());
  if (view.dataset.tab === tab) [...view.children].forEach((child, at) => (child.scrollTop = scrolls[at] || 0));
  view.dataset.tab = tab;
  for (const key of opened) keyed(key)?.setAttribute("open", "");
  if (held) {
    const again = keyed(held);
    if (again) again.focus({ preventScroll: true });
  }
}

function drawHeader(tab) {
  byId("title").textContent = run ? `${run.title} · ${run.functions.join(" · ")}` : "";
  document.title = run && run.title ? `dd-lambda ${run.title}` : "dd-lambda";
  const sizes = {
    traces: state.traces.length, logs: state.logs.length, metrics: state.metrics.length, requests: state.requests.length,
  };
  for (const name of TABS) {
    const button = byId(`tab-${name}`);
    button.setAttribute("aria-selected", name === tab);
    button.tabIndex = name === tab ? 0 : -1;
    button.querySelector("b").textContent = sizes[name];
  }
  const verdict = byId("verdict");
  const missing = (run && run.missing) || [];
  if (run && run.missing) {
    verdict.className = missing.length ? "bad" : "good";
    verdict.textContent = missing.length ? `✗ ${missing.length} missing` : "✓ everything arrived";
  } else {
    verdict.className = "busy";
    verdict.textContent = run && run.ended ? "ended" : "running";
  }
  const list = byId("missing");
  list.hidden = missing.length === 0;
  list.replaceChildren(h("ul", null, missing.map((sentence) => h("li", null, sentence))));
}

function drawTraces() {
  const trace = chosenTrace();
  const left = h("aside", { "aria-label": "Invocations and traces" }, invocationList(), traceList(trace));
  if (!trace) return [left, h("p.empty", null, "No trace has arrived yet.")];
  const wanted = place().span;
  const span = trace.spans.find((one) => one.span_id === wanted) || trace.spans.find((one) => one.name === "aws.lambda") || trace.spans[0];
  return [left, h("section.middle", { "aria-label": "Trace" }, traceHead(trace), waterfall(trace, span), traceLogs(trace, span)), spanSide(trace, span)];
}

function invocationList() {
  const invocations = (run && run.invocations) || [];
  if (!invocations.length) return null;
  const items = invocations.map((one) => {
    const found = spanOfRequest(one.request_id);
    const open = () => found && go({ trace: found.trace.trace_id, span: found.span.span_id });
    const cold = one.init_ms !== null ? h("span.tag.cold", { title: `initialised in ${one.init_ms.toFixed(1)} ms` }, "cold") : null;
    const length = one.duration_ms === null ? "" : duration(one.duration_ms * 1e6);
    return h("li", null, h("button.item", { onclick: open, "data-key": `i${one.request_id}`, title: `request ${one.request_id}: ${one.status}`, disabled: found ? null : true },
      h(`span.dot.${one.status}`, { "aria-label": one.status }), h("span.name.cut", null, one.function), h("span.num", null, length),
      h("span.more", null, clock(one.time), " ", cold, one.status === "success" || one.status === "running" ? null : h("span.tag.error", null, one.status))));
  });
  return [h("h2", null, "Invocations"), h("ul", null, items)].reduce((all, one) => (all.append(one), all), h("section"));
}

function traceList(chosen) {
  const items = [...state.traces].sort((a, b) => a.start_ns - b.start_ns).map((trace) =>
    h("li", null, h("button.item", { onclick: () => go({ trace: trace.trace_id, span: null }), "aria-current": trace === chosen, "data-key": `t${trace.trace_id}`, title: trace.trace_id },
      h(`span.dot.${trace.errors ? "error" : trace.spans.length > 1 ? "success" : "plain"}`), h("span.name.cut", null, traceName(trace)), h("span.num", null, duration(trace.duration_ns)),
      h("span.more.cut", null, `${count(trace.spans.length, "span")} · ${trace.services.length > 2 ? count(trace.services.length, "service") : trace.services.join(", ")}`))));
  return h("section", null, h("h2", null, "Traces"), h("ul", null, items));
}

function traceHead(trace) {
  const legend = [...colours(trace)].map(([service, colour]) => h("span", null, h(`i.${colour}`), service || "(no service)"));
  return h("div", null,
    h("div.head", null, h("h2", null, traceName(trace)), h("span.big", null, duration(trace.duration_ns)),
      h("span.soft", null, count(trace.spans.length, "span")), trace.errors ? h("span.bad", null, `${trace.errors} with an error`) : null,
      h("code.soft", { title: "trace id" }, trace.trace_id)),
    h("div.legend", null, legend));
}

/** Under which top each span hangs, counted: a root, or a parent that did not arrive. */
function tops(spans) {
  let [top, missing] = [0, null];
  return spans.map((span) => {
    if (span.parent === "none" || span.parent === "loop" || (span.parent === "missing" && span.parent_id !== missing)) top += 1;
    if (span.parent === "missing") missing = span.parent_id;
    return top;
  });
}

/** The rails before a span's name: for each level whether something follows on it. */
function rails(spans, top, at) {
  const follows = (depth) => {
    for (let next = at + 1; next < spans.length && spans[next].depth >= depth && top[next] === top[at]; next++) {
      if (spans[next].depth === depth) return true;
    }
    return false;
  };
  const depth = Math.min(spans[at].depth, 24);
  return Array.from({ length: depth }, (_, level) => {
    if (level + 1 < depth) return h(`i${follows(level + 1) ? ".pass" : ""}`);
    return h(follows(depth) ? "i.tee" : "i.end");
  });
}

function waterfall(trace, chosen) {
  const whole = Math.max(trace.duration_ns, 1);
  const seen = colours(trace);
  const top = tops(trace.spans);
  const ticks = [0, 0.25, 0.5, 0.75].map((share) => {
    const tick = h("span", null, share ? duration(whole * share) : "0");
    tick.style.left = `${share * 100}%`;
    return tick;
  });
  const rows = [h("div.ruler", { "aria-hidden": true }, h("span", null, "Span"), h("div.ticks", null, ticks), h("span"))];
  let ghost = null;
  trace.spans.slice(0, MOST_ROWS).forEach((span, at) => {
    if (span.parent === "missing" && span.parent_id !== ghost) {
      ghost = span.parent_id;
      rows.push(h("p.ghost", null, `◌ a span that did not arrive: ${ghost}`));
    }
    const bar = h(`span.bar.${seen.get(span.service)}${span.error ? ".error" : ""}`);
    bar.style.left = `min(${(span.offset_ns / whole) * 100}%, 100% - 3px)`;
    bar.style.width = `${(span.duration_ns / whole) * 100}%`;
    const what = span.resource && span.resource !== span.name ? span.resource : "";
    rows.push(h("button.row", {
      role: "option", "aria-selected": span === chosen, tabindex: span === chosen ? 0 : -1, "data-key": `s${span.span_id}`,
      title: `${span.service}: ${span.name} ${what}`, onclick: () => go({ trace: trace.trace_id, span: span.span_id }),
    },
      h("span.label", null, h("span.rails", null, rails(trace.spans, top, at)), h(`span.chip.${seen.get(span.service)}`),
        h(`b.cut${span.error ? ".bad" : ""}`, null, span.name, span.error ? " ✗" : ""), h("span.what.cut", null, what)),
      h("span.lane", null, bar), h("span.length.num", null, duration(span.duration_ns))));
  });
  if (trace.spans.length > MOST_ROWS) rows.push(h("p.ghost", null, `… and ${trace.spans.length - MOST_ROWS} more`));
  return h("div.card.fall", { role: "listbox", "aria-label": "Spans; arrow keys move", onkeydown: moveSpan }, rows);
}

function moveSpan(event) {
  const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
  if (!step) return;
  event.preventDefault();
  const rows = [...event.currentTarget.querySelectorAll(".row")];
  const at = rows.indexOf(document.activeElement);
  const next = rows[Math.max(0, Math.min(rows.length - 1, at + step))];
  if (!next) return;
  next.focus();
  go({ trace: chosenTrace().trace_id, span: next.dataset.key.slice(1) }, true);
  const again = document.activeElement;
  if (again && again.scrollIntoView) again.scrollIntoView({ block: "nearest" });
}

function sameTrace(log, trace) {
  if (!log.trace_id) return false;
  const [a, b] = [log.trace_id, trace.trace_id];
  return a === b || (a.slice(16) === b.slice(16) && (/^0{16}/.test(a) || /^0{16}/.test(b)));
}

function traceLogs(trace, chosen) {
  const requests = new Set(trace.spans.map((span) => span.name === "aws.lambda" && span.meta.request_id).filter(Boolean));
  const lines = state.logs.filter((log) => sameTrace(log, trace) || requests.has(log.request_id)).sort((a, b) => a.time_ns - b.time_ns);
  if (!lines.length) return null;
  const rows = lines.slice(0, MOST_ROWS).map((log) => logRow(log, log.span_id && log.span_id === chosen.span_id));
  return h("div.under", null, h("h3", null, `Logs of this trace`), h("div.card", null, rows));
}

function logRow(log, here) {
  const parts = [h("time", { title: log.time }, clock(log.time)), h("span", null, h(`span.tag.${log.status}`, null, log.status)),
    h("span.who.cut.soft", { title: log.arn }, log.function), h("span.message", null, readLine(log))];
  const classes = `${here ? ".here" : ""}${PLATFORM.test(log.message) ? ".platform" : ""}`;
  const trace = log.trace_id && state.traces.find((one) => sameTrace(log, one));
  if (!trace) return h(`div.log${classes}`, null, parts);
  const open = () => go({ tab: "traces", trace: trace.trace_id, span: log.span_id });
  return h(`button.log${classes}`, { onclick: open, title: "show its span" }, parts);
}

function pairs(entries) {
  return h("dl.pairs", null, entries.flatMap(([key, value]) => [h("dt", null, key), h("dd", null, String(value))]));
}

function spanSide(trace, span) {
  const logs = state.logs.filter((log) => log.span_id === span.span_id && sameTrace(log, trace));
  const message = span.meta["error.message"] || span.meta["error.msg"];
  const kind = span.meta["error.type"];
  const figures = [["Service", span.service], ["Type", span.type || "–"], ["Begins at", `+${duration(span.offset_ns)}`], ["Takes", duration(span.duration_ns)]];
  const links = span.links.map((link) => {
    const to = state.traces.find((one) => one.trace_id === link.trace_id);
    const text = `trace …${(link.trace_id || "").slice(-12)}, span ${link.span_id}`;
    const name = to ? `${traceName(to)} of ${to.spans[0].service}` : "not here";
    const open = () => to && go({ trace: link.trace_id, span: link.span_id });
    return h("button.jump", { onclick: open, disabled: to ? null : true }, h("div", null, `↪ ${name}`), h("code.soft", null, text));
  });
  const events = span.events.map((event) => h("div.jump", null, h("div", null, `+${duration(event.offset_ns)}  ${event.name}`), pairs(Object.entries(event.attributes))));
  const section = (title, content) => (content.length ? [h("h3", null, title), ...content] : []);
  const sorted = (map) => Object.entries(map).sort(([a], [b]) => a.localeCompare(b));
  const own = sorted(span.meta).filter(([key]) => !key.startsWith("_"));
  const inner = [...sorted(span.meta).filter(([key]) => key.startsWith("_")), ...sorted(span.metrics).map(([key, value]) => [key, number(value)])];
  const ids = [["trace id", trace.trace_id], ["span id", span.span_id], ["parent id", span.parent_id || "none"]];
  if (span.priority !== null) ids.push(["priority", span.priority]);
  if (span.copies > 1) ids.push(["arrived", `${span.copies} times`]);
  if (span.request) ids.push(["request", `#${span.request}`]);
  return h("section.side", { "aria-label": "Span" },
    h("h2", null, span.name), h("p.sub", null, span.resource),
    isError(span) ? h("p.alarm", null, h("b", null, kind ? `${kind}: ` : ""), message || "marked as an error") : null,
    h("dl.figures", null, figures.map(([key, value]) => h("div", null, h("dt", null, key), h("dd", null, value)))),
    section("Links", links), section("Events", events),
    section("Logs of this span", logs.map((log) => logRow(log, false))),
    section("Tags", own.length ? [pairs(own)] : []), section("Ids", [pairs(ids)]), section("Inner tags and numbers", inner.length ? [pairs(inner)] : []));
}

function search(name, placeholder, more) {
  const input = h("input", { type: "search", placeholder, value: filter[name], "aria-label": placeholder, "data-key": `f${name}` });
  input.addEventListener("input", () => {
    filter[name] = input.value;
    const at = input.selectionStart;
    draw();
    const again = keyed(`f${name}`);
    if (again) again.setSelectionRange(at, at);
  });
  return h("div.bar-of-tools", null, input, more);
}
const holds = (text, part) => text.toLowerCase().includes(part.trim().toLowerCase());

function drawLogs() {
  const box = h("input", { type: "checkbox", checked: filter.platform || null, "data-key": "fplatform", onchange: () => { filter.platform = !filter.platform; draw(); } });
  const found = state.logs.filter((log) => (filter.platform || !PLATFORM.test(log.message)) && holds(`${log.message} ${log.function} ${log.status} ${log.request_id}`, filter.logs));
  const rows = found.slice(-MOST_ROWS).sort((a, b) => a.time_ns - b.time_ns).map((log) => logRow(log, false));
  const list = rows.length ? h("div.card", null, rows) : h("p.empty", null, "No log line.");
  return [h("section.wide", null, search("logs", "Search in lines, functions, request ids", h("label", null, box, "lines of the platform")), list)];
}

function drawMetrics() {
  const tag = (metric, key) => (metric.tags.find((one) => one.startsWith(`${key}:`)) || "").slice(key.length + 1);
  const order = (metric) => [metric.name, tag(metric, "functionname"), tag(metric, "cold_start") === "true" ? 0 : 1].join("\n");
  const found = state.metrics.filter((metric) => holds(`${metric.name} ${metric.tags.join(" ")}`, filter.metrics));
  found.sort((a, b) => order(a).localeCompare(order(b)));
  const row = (metric, at) => {
    const again = at > 0 && found[at - 1].name === metric.name;
    const all = metric.total.count === undefined ? { avg: metric.total.value } : metric.total;
    const figure = (value) => h("td.num", null, value === undefined ? "–" : number(value));
    return h(again ? "tr.again" : "tr", null, h("td", null, h("b", null, metric.name)), h("td", null, tag(metric, "functionname")),
      h("td", null, tag(metric, "cold_start") === "true" ? h("span.tag.cold", null, "cold") : null), h("td.soft", null, metric.type),
      figure(all.count === undefined ? metric.points.length : all.count), figure(all.min), figure(all.avg), figure(all.p95), figure(all.max),
      h("td", null, h("details", { "data-key": `m${metric.name} ${metric.tags}` }, h("summary", null, count(metric.tags.length, "tag")), h("div.chips", null, metric.tags.map((one) => h("span.tag", null, one))))));
  };
  const heads = [["Metric"], ["Function"], [""], ["Type"], ["Values", 1], ["Min", 1], ["Average", 1], ["p95", 1], ["Max", 1], ["Tags"]];
  const table = h("table", null, h("thead", null, h("tr", null, heads.map(([name, right]) => h(right ? "th.num" : "th", null, name)))), h("tbody", null, found.slice(0, MOST_ROWS).map(row)));
  return [h("section.wide", null, search("metrics", "Search in names and tags"), found.length ? h("div.card", null, table) : h("p.empty", null, "No metric."))];
}

function drawRequests() {
  const found = state.requests.filter((one) => holds(`${one.path} ${one.error || ""} ${JSON.stringify(one.headers)}`, filter.requests));
  const row = (one) => h(one.error ? "tr.failed" : "tr", null, h("td.num.soft", null, one.number), h("td", null, clock(one.time)),
    h("td", null, h("code", null, `${one.method} ${one.path}`), one.error ? h("div.bad", null, one.error) : null), h("td.num", null, one.items),
    h("td.num", null, bytes(one.encoded_bytes)), h("td.num", null, bytes(one.decoded_bytes)), h("td.num", null, one.status === null ? "none" : one.status),
    h("td", null, h("details", { "data-key": `r${one.number}` }, h("summary", null, count(one.headers.length, "header")), pairs(one.headers), one.preview ? h("pre", null, one.preview) : null)));
  const heads = [["#", 1], ["Time"], ["Request"], ["Items", 1], ["Sent", 1], ["Unpacked", 1], ["Answer", 1], ["Headers"]];
  const table = h("table", null, h("thead", null, h("tr", null, heads.map(([name, right]) => h(right ? "th.num" : "th", null, name)))), h("tbody", null, found.slice(-MOST_ROWS).reverse().map(row)));
  return [h("section.wide", null, search("requests", "Search in paths, errors, headers"), found.length ? h("div.card", null, table) : h("p.empty", null, "No request has arrived yet."))];
}

// Following what arrives.
async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
async function follow() {
  for (;;) {
    try {
      const before = `${state && state.version} ${JSON.stringify(run)}`;
      run = await ask("/local/run");
      if (!state || (await ask(`/local/wait?after=${state.version}&timeout_ms=1500`)).satisfied) state = await ask("/local/state");
      byId("live").className = "";
      if (before !== `${state.version} ${JSON.stringify(run)}`) draw();
    } catch {
      byId("live").className = "lost";
      byId("live").title = "dd-lambda has ended; this is what it had";
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
}

for (const name of TABS) byId(`tab-${name}`).addEventListener("click", () => go({ tab: name }));
document.querySelector("nav").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = TABS[(TABS.indexOf(place().tab) + step + TABS.length) % TABS.length];
  go({ tab: next });
  byId(`tab-${next}`).focus();
});
window.addEventListener("popstate", draw);
follow();
