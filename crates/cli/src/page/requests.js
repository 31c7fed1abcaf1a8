// Requests as they came in, and what is in their bodies: decoded, and byte by byte.

import { ask, data, fresh, onChange } from "./data.js";
import { finder, h, oncePerFrame, pairs } from "./dom.js";
import { howToBegin, nothing, tell } from "./empty.js";
import { item, matcher } from "./filter.js";
import { List } from "./list.js";
import { go, place } from "./place.js";
import { bytes, clock, count } from "./units.js";

const LAST = 1000;
const MOST_BYTES = 65536;
const MOST_ENTRIES = 200;

export function mount(root) {
  const all = fresh(`/local/requests?last=${LAST}`);
  const q = finder("Search: path, signal:logs, rule:span-name", place().q || "", (text) => go({ q: text }, { replace: true }));
  const failed = h("input", { type: "checkbox", onchange: () => go({ failed: failed.checked ? "yes" : null }, { replace: true }) });
  const rules = h("input", { type: "checkbox", onchange: () => go({ rules: rules.checked ? "yes" : null }, { replace: true }) });
  const told = h("span.soft.hits", { role: "status" });
  const list = new List({
    label: "Requests, newest first", height: () => (matchMedia("(max-width: 720px)").matches ? 50 : 32), key: (one) => String(one.number), row: requestRow,
    pick: (one) => go({ n: one.number }, { replace: true }), open: (one) => go({ n: one.number }, { replace: true }),
  });
  const head = h("div.rhead", { "aria-hidden": true }, ["#", "Time", "Request", "Items", "Sent", "Unpacked", "Rules", "Answer"].map((name) => h("span", null, name)));
  const side = h("section.side.wideside", { "aria-label": "Request", tabindex: -1, hidden: true });
  const empty = nothing();
  const table = h("div.card.grow.stage", null, head, list.element);
  root.append(h("section.middle", { "aria-label": "Requests" }, h("div.tools", null, q, h("label", null, failed, "only what failed"), h("label", { title: "What Datadog would refuse, drop or change" }, rules, "only what breaks a rule"), told), table, empty), side);
  let drawn = null;

  async function updateNow() {
    const at = place();
    const requests = await all().catch(() => []);
    if (place().view !== "requests" || !data.run) return;
    tell(empty, requests.length > 0, data.run.endpoint, () => [
      "Nobody has sent anything yet",
      "Every request to the local Datadog is listed here, taken or refused and why, with its body decoded and byte by byte.",
      ...howToBegin(data.run),
    ]);
    table.hidden = !requests.length;
    const wanted = matcher(at.q);
    const shown = requests.filter((one) => (!at.failed || one.error) && (!at.rules || one.violations.length) && (!wanted || wanted(fieldsOf(one)))).reverse();
    if (document.activeElement !== q) q.value = at.q || "";
    failed.checked = Boolean(at.failed);
    rules.checked = Boolean(at.rules);
    told.textContent = count(shown.length, "request");
    list.set(shown, true);
    list.choose(at.n || null, false);
    const key = `${at.n} ${at.raw}`;
    if (drawn !== key) {
      drawn = key;
      side.hidden = !at.n;
      if (at.n) await drawSide(side, at.n, at.raw, () => drawn === key);
    }
    root.dataset.painted = `requests ${shown.length} ${at.n || ""} ${at.raw || ""}`;
  }
  const update = oncePerFrame(updateNow);
  const stop = onChange((what) => what === "store" && update());
  const escape = () => {
    const at = place();
    if (at.n) go({ n: null, raw: null }, { replace: true });
    else if (at.q) { q.value = ""; go({ q: null }, { replace: true }); } else return false;
    return true;
  };
  return { update, escape, unmount: stop };
}

function fieldsOf(one) {
  return item({ path: `${one.method} ${one.path}`, signal: one.signal || "", status: one.status ?? "none", error: one.error || "", rule: one.violations.join(" "), headers: one.headers.map((pair) => pair.join(": ")).join("\n") });
}

function requestRow(one, _, chosen) {
  return h(`div.request${one.error ? ".failed" : ""}${chosen ? ".chosen" : ""}`, { title: one.error || `${one.method} ${one.path}` },
    h("span.num.soft", null, one.number), h("span.num.when", null, clock(one.time)), h("code.cut.path", null, `${one.method} ${one.path}`), h("span.num.it", null, one.items), h("span.num.by", null, bytes(one.encoded_bytes)), h("span.num.un", null, bytes(one.decoded_bytes)),
    h("span.num.ru", null, one.violations.length ? h("span.tag.warn", { title: one.violations.join(", ") }, `⚠ ${one.violations.length}`) : ""),
    h("span.num.an", null, h(`span.tag.${one.error ? "error" : "success"}`, null, one.status === null ? "none" : one.status)));
}

async function drawSide(side, number, raw, wanted) {
  const found = await ask(`/local/requests/${encodeURIComponent(number)}`).catch(() => null);
  if (!wanted()) return;
  const close = h("button.tool.close", { type: "button", "aria-label": "Close the request", onclick: () => go({ n: null, raw: null }, { replace: true }) }, "×");
  if (!found) return side.replaceChildren(h("div.sidehead", null, h("h2", null, `Request #${number}`), close), h("p.soft", null, "It is not held any more."));
  const { request, body, violations } = found;
  const mode = (name, value) => h("button.mode", { type: "button", "aria-pressed": Boolean(raw) === Boolean(value), onclick: () => go({ raw: value }, { replace: true }) }, name);
  const shown = h("div.body");
  side.replaceChildren(
    h("div.sidehead", null, h("h2", null, `Request #${request.number}`), close), h("p.sub", null, h("code", null, `${request.method} ${request.path}${request.query ? `?${request.query}` : ""}`)),
    request.error ? h("div.alarm", null, h("p", null, request.error)) : "",
    violations.length ? h("section", { "aria-label": "Not as Datadog wants it" }, h("h3", null, "Not as Datadog wants it"), h("ul.rules", null, violations.map(brokenRule))) : "",
    h("div.tools.over", null, h("div.modes", { role: "group", "aria-label": "Show the body" }, mode("Decoded", null), mode("Raw", "yes")), h("a.tool", { href: `/local/requests/${request.number}/body`, download: `request-${request.number}.bin` }, "↓ body")),
    shown, h("h3", null, "Headers"), pairs(request.headers));
  if (!body) return shown.replaceChildren(h("p.soft", null, "Its body is not held."));
  if (raw) shown.replaceChildren(await rawBody(request.number));
  else if (body.decoded !== undefined && body.decoded !== null) shown.replaceChildren(h("div.json", { role: "group", "aria-label": "Decoded body" }, tree(null, body.decoded, 0)));
  else if (body.text) shown.replaceChildren(h("pre.block", null, body.text));
  else shown.replaceChildren(h("p.soft", null, body.why || "It is empty, or bytes that nothing is known of: see Raw."));
}

/** One rule: where it is broken, what should be there, and what becomes of it. */
function brokenRule(one) {
  return h("li", null, h("p", null, h("span.tag.warn", null, one.rule), one.times > 1 ? h("span.soft", null, ` ${one.times} times, first `) : " ", h("code", null, one.field), " is ", h("code", null, one.value)), h("p.soft", null, `wanted: ${one.wants}`), h("p", null, `→ ${one.effect}`));
}

/** A value as lines that open; what is inside is made when it is opened. */
export function tree(key, value, depth) {
  const name = key === null ? null : h("span.jkey", null, `${key}: `);
  if (value === null || typeof value !== "object") {
    return h("div.jline", null, name, h(`span.j${value === null ? "null" : typeof value}`, null, value === "" ? '""' : String(value)));
  }
  const list = Array.isArray(value);
  const entries = list ? value.map((one, index) => [index, one]) : Object.entries(value);
  if (!entries.length) return h("div.jline", null, name, list ? "[]" : "{}");
  const hint = list ? count(entries.length, "entry").replace("entrys", "entries") : ["name", "metric", "resource", "message", "status"].map((one) => value[one]).find((one) => typeof one === "string") || "";
  const inside = h("div.jinside");
  const details = h("details", null, h("summary", null, name, h("span.soft", null, hint || "{…}")), inside);
  const fill = () => {
    if (inside.childElementCount) return;
    inside.append(...entries.slice(0, MOST_ENTRIES).map(([inner, one]) => tree(inner, one, depth + 1)));
    if (entries.length > MOST_ENTRIES) inside.append(h("p.soft", null, `… and ${entries.length - MOST_ENTRIES} more`));
  };
  details.addEventListener("toggle", () => details.open && fill());
  if (depth < 6 && entries.length <= 12) {
    details.open = true;
    fill();
  }
  return details;
}

async function rawBody(number) {
  const answer = await fetch(`/local/requests/${number}/body`);
  if (!answer.ok) return h("p.soft", null, "It cannot be unpacked.");
  const body = new Uint8Array(await answer.arrayBuffer());
  const lines = [];
  for (let at = 0; at < Math.min(body.length, MOST_BYTES); at += 16) {
    const part = [...body.subarray(at, at + 16)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex}  ${part.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("")}`);
  }
  if (body.length > MOST_BYTES) lines.push(`… ${bytes(body.length - MOST_BYTES)} more`);
  return h("pre.block.hex", { tabindex: 0, role: "region", "aria-label": "Bytes" }, lines.join("\n") || "(empty)");
}
