// A trace made ready to be drawn: who is above whom, what follows, which colour, and a place for every span in the
// flame graph.

import { item } from "./filter.js";

const COLOURS = 8;

/** Once per trace: several views share it. */
const known = new WeakMap();
export function layout(trace) {
  if (!known.has(trace)) known.set(trace, prepare(trace));
  return known.get(trace);
}

function prepare(trace) {
  const { spans } = trace;
  const total = spans.length;
  const parent = new Int32Array(total).fill(-1);
  const last = new Uint8Array(total).fill(1); // Nothing follows on its level.
  const below = new Uint32Array(total); // How many spans hang below it.
  const byId = new Map();
  const path = [];
  const before = []; // The last span seen on each level.
  for (let at = 0; at < total; at++) {
    const { depth, parent: kind } = spans[at];
    path.length = Math.min(path.length, depth);
    before.length = Math.min(before.length, depth + 1);
    const isTop = kind !== "present";
    parent[at] = isTop ? -1 : path[depth - 1] ?? -1;
    if (before[depth] !== undefined && parent[before[depth]] === parent[at] && !(isTop && spans[at].parent_id !== spans[before[depth]].parent_id)) last[before[depth]] = 0;
    before[depth] = at;
    path[depth] = at;
    byId.set(spans[at].span_id, at);
  }
  for (let at = total - 1; at >= 0; at--) if (parent[at] >= 0) below[parent[at]] += below[at] + 1;
  const services = new Map();
  for (const span of spans) if (!services.has(span.service)) services.set(span.service, services.size % COLOURS);
  const whole = Math.max(trace.duration_ns, 1);
  const ready = { trace, spans, parent, last, below, byId, services, whole, items: [], ...flame(spans, parent) };
  ready.item = (at) => (ready.items[at] ??= spanItem(spans[at]));
  return ready;
}

function spanItem(span) {
  const fields = { name: span.name, service: span.service, resource: span.resource, type: span.type, span_id: span.span_id, status: span.error ? "error" : "ok", ...span.meta };
  return item(fields, span.duration_ns);
}

/** A level for every span below that of its parent, such that none lies on another. */
function flame(spans, parent) {
  const total = spans.length;
  const level = new Uint32Array(total);
  const order = Uint32Array.from({ length: total }, (_, at) => at).sort((a, b) => spans[a].offset_ns - spans[b].offset_ns || spans[a].depth - spans[b].depth || a - b);
  const ends = []; // When each level is free again.
  const placed = new Uint8Array(total);
  for (const at of order) {
    const { offset_ns: start, duration_ns: length, depth } = spans[at];
    let on = parent[at] < 0 ? 0 : placed[parent[at]] ? level[parent[at]] + 1 : depth;
    while ((ends[on] ?? -1) > start) on += 1;
    ends[on] = start + length;
    level[at] = on;
    placed[at] = 1;
  }
  const levels = ends.length;
  const lanes = Array.from({ length: levels }, () => []);
  for (const at of order) lanes[level[at]].push(at);
  return { level, levels, lanes };
}

/** The invocation that a span should be opened with when none was chosen. */
export function firstSpan(ready) {
  const at = ready.spans.findIndex((span) => span.name === "aws.lambda");
  return at < 0 ? 0 : at;
}
