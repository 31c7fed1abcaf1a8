// Invocations as Lambda saw them, newest first: live.

import { ask, data, onChange, spanOfRequest } from "./data.js";
import { finder, h, oncePerFrame, pairs, say } from "./dom.js";
import { command, howToInvoke, howToSend, nothing, tell } from "./empty.js";
import { item, matcher } from "./filter.js";
import { List } from "./list.js";
import { logItem, readLine } from "./logs.js";
import { go, link, open, place } from "./place.js";
import { tree } from "./requests.js";
import { bytes, clock, count, millis, number } from "./units.js";

const MOST_LOGS = 50;

const narrow = () => matchMedia("(max-width: 720px)").matches;

export function mount(root) {
  const q = finder("Search invocations: words, status:error, >100ms", place().q || "", (text) => go({ q: text }, { replace: true }));
  const only = h("select", { "aria-label": "Function", onchange: () => go({ f: only.value }, { replace: true }) });
  const told = h("span.soft.hits", { role: "status" });
  const list = new List({
    label: "Invocations, newest first", height: () => (narrow() ? 64 : 36), key: (one) => one.request_id, row: invocationRow,
    pick: (one) => go({ id: one.request_id }, { replace: true }), open: (one) => (place().id === one.request_id && opened === one.request_id ? follow(one) : choose(one)),
    press: (event, one) => event.key === "Enter" && follow(one),
  });
  let opened = null;
  const head = h("div.ihead", { "aria-hidden": true }, ["", "Time", "Function", "Status", "Start", "Duration", "Billed", "Memory", "Request"].map((name) => h("span", null, name)));
  const side = h("section.side", { "aria-label": "Invocation", tabindex: -1, hidden: true });
  const empty = nothing();
  const sums = h("dl.sums", { "aria-label": "All of them together" });
  const table = h("div.card.grow.stage.itable", null, head, list.element);
  const tools = h("div.tools", null, q, only, told);
  root.append(h("section.middle", { "aria-label": "Invocations" }, sums, tools, table, empty), side);

  function choose(one) {
    opened = one.request_id;
    go({ id: one.request_id }, { replace: true });
  }
  function follow(one) {
    const found = spanOfRequest(one.request_id);
    if (found) open({ view: "traces", ...found });
    else say("No trace of it has arrived yet");
    return true;
  }

  function updateNow() {
    if (!data.run) return;
    const at = place();
    const all = data.run.invocations;
    const wanted = matcher(at.q);
    const shown = all.filter((one) => (!at.f || one.function === at.f) && (!wanted || wanted(fieldsOf(one)))).reverse();
    if (document.activeElement !== q) q.value = at.q || "";
    const names = ["", ...data.run.functions];
    if (only.options.length !== names.length) only.replaceChildren(...names.map((name) => h("option", { value: name }, name || "every function")));
    only.value = names.includes(at.f) ? at.f : "";
    drawSums(sums, all);
    told.textContent = shown.length === all.length ? count(all.length, "invocation") : `${shown.length} of ${count(all.length, "invocation")}`;
    list.set(shown, true);
    list.choose(at.id || null, false);
    drawSide(side, all.find((one) => one.request_id === at.id));
    table.hidden = sums.hidden = tools.hidden = !all.length;
    tell(empty, all.length > 0, data.run.endpoint, () => (data.run.functions.length ? [
      "Nothing has been invoked yet",
      h("p", null, "Here ", count(data.run.functions.length, "function"), " can be invoked: ", data.run.functions.map((name, index) => [index ? ", " : "", h("code", null, name)]), ". Each invocation appears here at once: how it went, whether its sandbox was cold, how long it took, what Lambda would bill, how much memory it used, and its trace."),
      ...howToInvoke(data.run),
    ] : [
      "No local Lambda runs here",
      h("p", null, "This is the local Datadog alone: what agents send is under ", h("a", { href: link({ view: "traces" }) }, "Traces"), ", Logs, Metrics and Requests."),
      ...howToSend(data.run),
      "With functions of your own beside it:",
      command("dd-lambda dev --function orders=target/debug/orders"),
    ]));
    root.dataset.painted = `invocations ${shown.length}`;
  }
  const update = oncePerFrame(updateNow);
  const stop = onChange(update);
  const escape = () => {
    const at = place();
    if (at.id) go({ id: null }, { replace: true });
    else if (at.q) { q.value = ""; go({ q: null }, { replace: true }); } else return false;
    return true;
  };
  return { update, escape, unmount: stop };
}

function drawSums(sums, all) {
  const done = all.filter((one) => one.duration_ms !== null).map((one) => one.duration_ms).sort((a, b) => a - b);
  const share = (part) => done[Math.min(done.length - 1, Math.floor(done.length * part))];
  const add = (of) => all.reduce((sum, one) => sum + (of(one) || 0), 0);
  const figures = [
    ["Invocations", number(all.length)], ["Failed", add((one) => !["success", "running"].includes(one.status))],
    ["Cold starts", add((one) => one.cold)], ["Median", done.length ? millis(share(0.5)) : "–"], ["p95", done.length ? millis(share(0.95)) : "–"],
    ["Billed", millis(add((one) => one.billed_ms))],
  ];
  sums.replaceChildren(...figures.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, String(value)))));
}

function fieldsOf(one) {
  const fields = { function: one.function, status: one.status, request_id: one.request_id, sandbox: one.sandbox, start: one.cold ? "cold" : "warm", error: one.error_type || one.function_error || "" };
  return item(fields, one.duration_ms === null ? undefined : one.duration_ms * 1e6);
}

const memory = (one) => (one.memory_mb === null ? "–" : `${one.memory_mb}${one.memory_size_mb ? ` / ${one.memory_size_mb}` : ""} MB`);
const startTag = (one) => (one.cold ? h("span.tag.cold", { title: one.init_ms === null ? "a new environment" : `initialised in ${millis(one.init_ms)}` }, one.init_ms === null ? "cold" : `cold ${millis(one.init_ms)}`) : h("span.tag", null, "warm"));
const statusTag = (one) => h(`span.tag.${one.status}`, null, one.status);

function invocationRow(one, _, chosen) {
  const duration = millis(one.duration_ms);
  return h(`div.invocation${chosen ? ".chosen" : ""}`, { "aria-label": `${one.function}, ${one.status}, ${one.cold ? "cold" : "warm"}, ${duration}`, title: `request ${one.request_id}` },
    h(`span.dot.${one.status}`, { "aria-hidden": true }), h("span.num.when", null, clock(one.time)), h("b.cut.fn", null, one.function), h("span.st", null, statusTag(one)), h("span.cw", null, startTag(one)),
    h("span.num.du", null, duration), h("span.num.bi", null, one.billed_ms === null ? "–" : `${one.billed_ms} ms`), h("span.num.me", null, memory(one)), h("code.cut.soft.id", null, one.request_id));
}

function drawSide(side, one) {
  side.hidden = !one;
  // What it shows of the invocation is asked for once, and its log lines again when some have come.
  const state = one ? JSON.stringify([one, spanOfRequest(one.request_id), data.overview?.counts.logs]) : "";
  if (side.dataset.state === state) return;
  side.dataset.state = state;
  if (!one) return side.replaceChildren();
  const found = spanOfRequest(one.request_id);
  const logs = link({ view: "logs", q: `request_id:${one.request_id}` });
  const facts = [["status", statusTag(one)], ["start", startTag(one)], ["duration", millis(one.duration_ms)], ["billed", one.billed_ms === null ? "–" : `${one.billed_ms} ms`], ["memory", memory(one)], ["at", one.time], ["request id", one.request_id], ["environment", one.sandbox]];
  const error = one.error_type || one.function_error;
  side.replaceChildren(
    h("div.sidehead", null, h("h2", null, one.function), h("button.tool.close", { type: "button", "aria-label": "Close the invocation", onclick: () => go({ id: null }, { replace: true }) }, "×")),
    h("p.sub", null, `invocation ${clock(one.time)}`), error ? h("div.alarm", null, h("p", null, error)) : "",
    h("h3", null, "Go to"),
    found ? h("a.jump.strong", { href: link({ view: "traces", ...found }) }, "⌁ its trace") : h("p.soft", null, "No trace of it has arrived."),
    h("a.jump", { href: logs }, "≡ its log lines"), h("a.jump", { href: link({ view: "sandboxes", id: one.sandbox, cycle: one.request_id }) }, "▭ its place on the timeline of the sandbox"),
    h("h3", null, "Figures"), pairs(facts), ...insides(side, one.request_id));
}

/** Its event and its log lines. They come later, and stand empty until then. */
function insides(side, id) {
  const [event, answer, logs] = side.dataset.of === id ? side.inside : [h("div"), h("div"), h("div")];
  [side.dataset.of, side.inside] = [id, [event, answer, logs]];
  if (!event.childElementCount || !answer.childElementCount) {
    ask(`/local/invocations/${encodeURIComponent(id)}`).then((told) => {
      if (told.answer) answer.replaceChildren(...answerOf(told.answer));
      if (!event.childElementCount) event.replaceChildren(h("h3", null, "Event"), h("div.json", { role: "group", "aria-label": "Event" }, tree(null, told.event, 3)), told.client_context ? h("div.json", null, tree("client context", told.client_context, 3)) : "");
    }, () => {});
  }
  ask(`/local/logs?last=${MOST_LOGS}&request_id=${encodeURIComponent(id)}`).then((lines) => {
    const line = (log) => h("div.logline", null, h("p", null, h("time", { title: log.time }, clock(log.time)), " ", h(`span.tag.${log.status}`, null, log.status)), h("a.message", { href: link({ view: "logs", q: `request_id:${id}`, line: log.key }) }, readLine(log)));
    logs.replaceChildren(...(lines.length ? [h("h3", null, "Log lines"), ...lines.map(logItem).sort((a, b) => a.time_ns - b.time_ns).map(line)] : []));
  }, () => {});
  return [answer, logs, event];
}

/** What the caller was answered: JSON as a tree, the rest as text; of an error its words and its stack. */
function answerOf(answer) {
  const { payload, function_error: error } = answer;
  const told = [bytes(answer.bytes), answer.streamed ? "streamed" : "", answer.is_cut ? "only its beginning is kept" : ""].filter(Boolean).join(", ");
  const head = h("h3", null, error ? "Error" : "Answer", h("span.soft.aside", null, told));
  const body = typeof payload === "string" ? h("pre.block", { tabindex: 0, role: "region", "aria-label": "Answer" }, payload || "(empty)") : h("div.json", { role: "group", "aria-label": "Answer" }, tree(null, payload, 3));
  if (!error || payload === null || typeof payload !== "object" || !payload.errorMessage) return [head, body];
  const trace = payload.stackTrace || payload.trace || [];
  return [head, h("div.alarm", null, h("p", null, h("b", null, payload.errorType || error)), h("p", null, payload.errorMessage), trace.length ? h("details", null, h("summary", null, "stack"), h("pre", null, trace.join("\n"))) : ""), h("details", null, h("summary", null, "as it was answered"), h("div.json", { role: "group", "aria-label": "Answer" }, tree(null, payload, 3)))];
}
