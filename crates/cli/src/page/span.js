// One span: what it is, where its links and pointers lead, what was logged in it, its tags.

import { data, nameOf, summaryOf } from "./data.js";
import { h, pairs } from "./dom.js";
import { readLine } from "./logs.js";
import { link } from "./place.js";
import { clock, duration, number } from "./units.js";

const POINTER = "ptr.hash";

export function spanSide(trace, span, logs, close) {
  const section = (title, content) => (content.length ? [h("h3", null, title), ...content] : []);
  const sorted = (map) => Object.entries(map).sort(([a], [b]) => a.localeCompare(b));
  const inner = ([key]) => key.startsWith("_");
  const own = sorted(span.meta).filter((entry) => !inner(entry));
  const rest = [...sorted(span.meta).filter(inner), ...sorted(span.metrics).map(([key, value]) => [key, number(value)])];
  const figures = [["Service", span.service || "–"], ["Type", span.type || "–"], ["Begins at", `+${duration(span.offset_ns)}`], ["Takes", duration(span.duration_ns)]];
  const ids = [["trace id", trace.trace_id], ["span id", span.span_id], ["parent id", span.parent_id || "none"]];
  if (span.priority !== null) ids.push(["priority", span.priority]);
  if (span.origin) ids.push(["origin", span.origin]);
  if (span.copies > 1) ids.push(["arrived", `${span.copies} times`]);
  if (span.request) ids.push(["came with", h("a", { href: link({ view: "requests", n: span.request }) }, `request #${span.request}`)]);
  return [
    h("div.sidehead", null, h("h2", null, span.name), h("button.tool.close", { type: "button", "aria-label": "Close the span", onclick: close }, "×")),
    h("p.sub", null, span.resource),
    alarm(span),
    h("dl.figures", null, figures.map(([key, value]) => h("div", null, h("dt", null, key), h("dd", null, value)))),
    section("Links", [...span.links.map((one) => linkRow(trace, one)), ...pointersTo(trace, span)]),
    section(`Logs of this span`, logs.map(logLine)),
    section("Events", span.events.map((event) => h("div.jump", null, h("div", null, `+${duration(event.offset_ns)}  ${event.name}`), pairs(Object.entries(event.attributes))))),
    section("Tags", own.length ? [pairs(own.map(follow))] : []),
    section("Ids", [pairs(ids)]),
    section("Inner tags and numbers", rest.length ? [pairs(rest)] : []),
  ].flat(2).filter(Boolean);
}

function alarm(span) {
  if (!span.error) return null;
  const kind = span.meta["error.type"];
  const message = span.meta["error.message"] || span.meta["error.msg"] || "marked as an error";
  const stack = span.meta["error.stack"];
  return h("div.alarm", null, h("p", null, kind ? h("b", null, `${kind}: `) : null, message), stack ? h("details", null, h("summary", null, "stack"), h("pre", null, stack)) : null);
}

/** Tags that lead somewhere on this page. */
function follow([key, value]) {
  if (key !== "request_id") return [key, value];
  return [key, h("a", { href: link({ view: "invocations", q: value }) }, value)];
}

function linkRow(trace, one) {
  const ids = `trace …${(one.trace_id || "").slice(-12)}, span ${one.span_id}`;
  const attributes = Object.entries(one.attributes);
  if (one.attributes[POINTER]) {
    const way = one.attributes["ptr.dir"] === "u" ? "written here from upstream" : "read by what comes after";
    return h("div.jump", null, h("div", null, `◎ ${one.attributes["ptr.kind"] || "pointer"}: ${way}`), pairs(attributes));
  }
  const to = one.trace_id === trace.trace_id ? { resource: "this trace" } : summaryOf(one.trace_id);
  const inside = [h("div", null, `↪ ${to ? nameOf(to) : "not here"}`), h("code.soft", null, ids), attributes.length ? pairs(attributes) : null];
  return to ? h("a.jump", { href: link({ view: "traces", trace: one.trace_id, span: one.span_id }) }, inside) : h("div.jump", null, inside);
}

/** Other spans that point to the same thing: who wrote what this one read, and the other way round. */
function pointersTo(trace, span) {
  const hashes = new Set(span.links.map((one) => one.attributes[POINTER]).filter(Boolean));
  if (!hashes.size) return [];
  const others = (data.overview?.traces || []).flatMap((one) => (one.pointers || []).map((pointer) => ({ ...pointer, trace: one })));
  return others.filter((one) => hashes.has(one.hash) && one.span_id !== span.span_id).map((one) =>
    h("a.jump", { href: link({ view: "traces", trace: one.trace.trace_id, span: one.span_id }) }, h("div", null, `◎ the same ${one.kind || "thing"} in ${nameOf(one.trace)}`), h("code.soft", null, `span ${one.span_id}`)));
}

function logLine(log) {
  return h("div.logline", { "data-log": log.key }, h("p", null, h("time", { title: log.time }, clock(log.time)), " ", h(`span.tag.${log.status}`, null, log.status)), h("p.message", null, readLine(log)));
}
