// The timeline of a sandbox, cycle by cycle: who worked when, who had to wait for whom, what was billed, and how long
// all of it was frozen between.

import { ask, data, onChange } from "./data.js";
import { at as put, h, oncePerFrame } from "./dom.js";
import { command, howToInvoke, nothing, tell } from "./empty.js";
import { List } from "./list.js";
import { go, link, place } from "./place.js";
import { clockOf, count, duration, millis, ticks } from "./units.js";

const KINDS = { init: "Initialisation", invoke: "Invocation", serve: "Invocations beside each other", shutdown: "Shutdown", thawed: "Thawed" };
const WORDS = { init: "initialises", work: "works", flush: "sends what it has", shutdown: "shuts down" };

export function mount(root) {
  const list = new List({
    label: "Sandboxes", height: () => 52, key: (one) => one.id, row: sandboxRow,
    pick: (one) => go({ id: one.id, cycle: null }, { replace: true }), open: (one) => go({ id: one.id, cycle: null }),
  });
  const head = h("div.head");
  const legend = h("div.legend", { "aria-label": "Colours" }, [["init", "initialises"], ["work", "works on the invocation"], ["flush", "goes on after the function is done"], ["shutdown", "shuts down"], ["wait", "waits for the others"], ["frozen", "frozen"], ["billed", "billed"]].map(([kind, text]) => h("span", null, h(`i.k-${kind}`), text)));
  const cycles = h("div.cycles");
  const empty = nothing();
  const life = h("div.life", { "aria-hidden": true });
  const middle = h("section.middle.scroll", { "aria-label": "Timeline of the sandbox", tabindex: 0 }, head, life, legend, cycles);
  const aside = h("aside", { "aria-label": "Sandboxes" }, h("h2", null, "Sandboxes"), list.element);
  root.append(aside, middle, empty);
  let [all, drawn, shown] = [[], null, null];
  // What is drawn of each cycle: it stays as it is, opened parts included, while nothing of it changes.
  let cards = new Map();

  async function updateNow() {
    if (!data.run) return;
    const wanted = data.runs;
    if (drawn !== wanted) {
      all = await ask("/local/sandboxes").catch(() => all);
      drawn = wanted;
    }
    const at = place();
    if (at.view !== "sandboxes") return;
    list.set([...all].reverse());
    const id = at.id || all.at(-1)?.id;
    list.choose(id, false);
    tell(empty, all.length > 0, data.run.endpoint, () => [
      "No sandbox has been started yet",
      "Lambda starts one for the first invocation, freezes it between invocations, and ends it when nothing comes for long. Here you will see how long each part took, who was waiting for whom, and what of it is billed.",
      ...(data.run.functions.length ? howToInvoke(data.run) : ["There is no local Lambda here. This starts one:", command("dd-lambda dev --function orders=target/debug/orders")]),
    ]);
    aside.hidden = !all.length;
    middle.hidden = !id;
    if (!id) return void (root.dataset.painted = "sandboxes");
    const one = await ask(`/local/sandboxes/${encodeURIComponent(id)}`).catch(() => null);
    if (place().view !== "sandboxes") return;
    if (!one) {
      root.dataset.painted = "sandboxes";
      cycles.replaceChildren();
      return head.replaceChildren(h("h2", null, "This sandbox is not remembered"));
    }
    head.replaceChildren(h("h2", null, one.function), h(`span.tag.${one.state}`, null, one.state), h("span.soft", null, count(one.invocations, "invocation")), h("span.soft", null, `began ${clockOf(one.start_ns)}`), h("code.soft.cut", { title: "the environment's id" }, one.id));
    legend.hidden = isManaged(one);
    drawLife(life, one, (index) => cards.get(`${id} ${one.forgotten + index}`)?.nodes[0].scrollIntoView({ block: "center" }));
    const wide = cycles.clientWidth > 520;
    const before = cards;
    cards = new Map(one.cycles.map((cycle, index) => {
      const [key, next] = [`${id} ${one.forgotten + index}`, one.cycles[index + 1]];
      const sign = JSON.stringify([cycle, next?.kind, next?.init_ms, next?.duration_ms, next?.to, at.cycle === cycle.request_id, cycle.flights.length && at.cycle, wide, cycle.to === null && one.last, cycle.thawed === null && one.state]);
      const kept = before.get(key);
      return [key, kept?.sign === sign ? kept : { sign, nodes: [(cycle.kind === "serve" ? serveCard : cycleCard)(one, cycle, at.cycle, wide), freeze(one, cycle)].filter(Boolean) }];
    }));
    cycles.replaceChildren(...(one.forgotten ? [h("p.soft", null, `${count(one.forgotten, "older cycle")} not shown`)] : []), ...[...cards.values()].flatMap((card) => card.nodes));
    if (at.cycle && shown !== `${id} ${at.cycle}`) cycles.querySelector(".cycle.chosen")?.scrollIntoView({ block: "center" });
    shown = `${id} ${at.cycle}`;
    root.dataset.painted = `sandboxes ${one.cycles.length}`;
  }
  const update = oncePerFrame(updateNow);
  const stop = onChange((what) => what === "run" && update());
  return { update, unmount: stop };
}

function sandboxRow(one, _, chosen) {
  return h(`div.item${chosen ? ".chosen" : ""}`, { title: one.id }, h(`span.dot.${one.state}`, { role: "img", "aria-label": one.state }), h("span.name.cut", null, one.function), h("span.num.soft", null, one.state),
    h("span.more.cut", null, `${clockOf(one.start_ns).slice(0, 8)} · ${count(one.invocations, "invocation")}`));
}

/** Nothing freezes managed instances: they run on, idle or not. */
const isManaged = (one) => one.cycles.some((cycle) => cycle.kind === "serve");

function freeze(one, cycle) {
  if (isManaged(one)) {
    const next = one.cycles[one.cycles.indexOf(cycle) + 1];
    const length = (next?.from ?? one.last) - (cycle.to ?? one.last);
    return next && length > 1e6 ? h("p.freeze.idle", null, `idle for ${duration(length)}: it runs on, ready for the next`) : null;
  }
  if (!cycle.frozen) return null;
  const length = cycle.thawed === null ? null : cycle.thawed - cycle.to;
  return h("p.freeze", null, length === null ? (one.state === "gone" ? "❄ frozen until its end" : "❄ frozen until the next event") : `❄ frozen for ${duration(length)}: nothing runs, nothing is billed`);
}

/** What an extension does after the runtime is done is sending. */
function split(lane, cycle) {
  if (!lane.extension || cycle.kind !== "invoke" || cycle.runtime_done === null) return lane.bars;
  return lane.bars.flatMap((bar) => {
    const [done, to] = [cycle.runtime_done, bar.to ?? Infinity];
    if (bar.what !== "work" || to <= done) return [bar];
    if (bar.from >= done) return [{ ...bar, what: "flush" }];
    return [{ ...bar, to: done }, { ...bar, what: "flush", from: done }];
  });
}

/**
 * All of its life on one line. Long freezes are drawn shorter than they were: otherwise nothing else could be seen.
 */
function drawLife(life, one, show) {
  const end = (cycle) => cycle.to ?? one.last;
  const parts = one.cycles.flatMap((cycle, index) => {
    const done = cycle.kind === "invoke" ? Math.min(Math.max(cycle.runtime_done ?? end(cycle), cycle.from), end(cycle)) : end(cycle);
    const kind = cycle.kind === "invoke" || cycle.kind === "serve" ? "work" : cycle.kind === "shutdown" ? "shutdown" : "init";
    const idle = Math.max((one.cycles[index + 1]?.from ?? (one.state === "gone" ? end(cycle) : one.last)) - end(cycle), 0);
    const managed = isManaged(one);
    const after = managed ? idle : cycle.frozen ? (cycle.thawed ?? one.last) - end(cycle) : 0;
    return [
      { index, kind, length: done - cycle.from, text: `${KINDS[cycle.kind]} ${cycle.request_id || ""}` },
      { index, kind: "flush", length: end(cycle) - done, text: "goes on after the function is done" },
      managed ? { index, kind: "idle", length: after, text: "idle" } : { index, kind: "frozen", length: after, text: "frozen" },
    ].filter((part) => part.length > 0);
  });
  const asleep = (part) => part.kind === "frozen" || part.kind === "idle";
  const awake = parts.filter((part) => !asleep(part)).reduce((sum, part) => sum + part.length, 0);
  const most = awake / Math.max(parts.filter(asleep).length, 1);
  const shown = (part) => (asleep(part) ? Math.min(part.length, most) : part.length);
  const whole = Math.max(parts.reduce((sum, part) => sum + shown(part), 0), 1);
  let from = 0;
  const bars = parts.map((part) => {
    const cut = shown(part) < part.length;
    const bar = put(h(`span.bar.k-${part.kind}${cut ? ".cut" : ""}`, { title: `${part.text}, ${duration(part.length)}${cut ? ", drawn shorter" : ""}`, onclick: () => show(part.index) }), from / whole, shown(part) / whole);
    from += shown(part);
    return bar;
  });
  life.hidden = parts.length < 2;
  life.replaceChildren(h("div.track", null, bars));
}

function cycleCard(one, cycle, wanted, wide) {
  const end = cycle.to ?? one.last;
  const length = Math.max(end - cycle.from, 1);
  const share = (ns) => Math.min(Math.max((ns - cycle.from) / length, 0), 1);
  const bar = (kind, from, to, title) => put(h(`span.bar.k-${kind}`, { title }), share(from), Math.max(share(to) - share(from), 0));
  const lanes = cycle.lanes.filter((lane) => lane.bars.length || cycle.marks.some((mark) => mark.process === lane.process));
  const rows = lanes.map((lane) => {
    const track = h("div.track");
    const bars = split(lane, cycle);
    const busy = bars.at(-1)?.to ?? end;
    if (bars.length && cycle.kind !== "shutdown" && busy < end && !hasEnded(cycle, lane)) track.append(bar("wait", busy, end, `${lane.process} waits ${duration(end - busy)} for the others`));
    for (const each of bars) track.append(bar(each.what, each.from, each.to ?? end, `${lane.process} ${WORDS[each.what]} for ${duration((each.to ?? end) - each.from)}`));
    for (const mark of cycle.marks) if (mark.process === lane.process) track.append(put(h("i.mark", { title: `+${duration(mark.at - cycle.from)} ${mark.text}` }), share(mark.at)));
    return h("div.lane", null, h("span.cut", { title: lane.process }, lane.process), track, h("span.num.soft", null, bars.length ? duration(bars.reduce((sum, each) => sum + (each.to ?? end) - each.from, 0)) : ""));
  });
  const platform = h("div.track");
  if (cycle.answered !== null) platform.append(put(h("i.mark.answer", { title: `the caller has its answer at +${duration(cycle.answered - cycle.from)}` }), share(cycle.answered)));
  for (const mark of cycle.marks) if (mark.process === null) platform.append(put(h("i.mark", { title: mark.text }), share(mark.at)));
  const billed = billedOf(one, cycle);
  if (billed) platform.append(bar("billed", billed.from, billed.from + billed.ms * 1e6, `billed: ${millis(billed.ms)}`));
  if (!isManaged(one)) rows.push(h("div.lane", null, h("span.cut", null, "billed"), platform, h("span.num.soft", null, billed ? millis(billed.ms) : "")));
  const axis = h("div.track.axis", { "aria-hidden": true });
  for (const tick of ticks(0, length, wide ? 5 : 2)) if (tick / length < 0.95) axis.append(put(h("span", null, duration(tick)), tick / length));
  const chosen = wanted && cycle.request_id === wanted;
  const title = [h("b", null, KINDS[cycle.kind]), cycle.request_id ? h("a", { href: link({ view: "invocations", id: cycle.request_id }) }, h("code.cut", null, cycle.request_id)) : null];
  const status = cycle.status && cycle.kind !== "shutdown" ? h(`span.tag.${cycle.status}`, null, cycle.status) : null;
  return h(`article.card.cycle${chosen ? ".chosen" : ""}`, { "aria-label": `${KINDS[cycle.kind]} ${cycle.request_id || ""}` },
    h("div.chead", null, title, status, cycle.error_type ? h("span.bad", null, cycle.error_type) : null, h("b.big", null, duration(length)), cycle.billed_ms !== null ? h("span.soft", null, `billed ${cycle.billed_ms} ms${cycle.init_ms ? `, of which ${millis(cycle.init_ms)} to initialise` : ""}`) : null),
    h("div.lanes", { "aria-hidden": true }, h("div.lane", null, h("span"), axis, h("span")), rows), h("p.story", null, story(one, cycle, end)),
    cycle.marks.length ? h("details", null, h("summary", null, count(cycle.marks.length, "event")), h("ul.marks", null, cycle.marks.map((mark) => h("li", null, h("time", null, `+${duration(mark.at - cycle.from)}`), ` ${mark.process || "Lambda"}: ${mark.text}`)))) : null);
}

const MOST_FLIGHTS = 60;

/** Invocations beside each other: a line for each, from its start to its report, its answer marked. */
function serveCard(one, cycle, wanted, wide) {
  const end = cycle.to ?? one.last;
  const length = Math.max(end - cycle.from, 1);
  const share = (ns) => Math.min(Math.max((ns - cycle.from) / length, 0), 1);
  const axis = h("div.track.axis", { "aria-hidden": true });
  for (const tick of ticks(0, length, wide ? 5 : 2)) if (tick / length < 0.95) axis.append(put(h("span", null, duration(tick)), tick / length));
  const shown = cycle.flights.slice(-MOST_FLIGHTS);
  const rows = shown.map((flight) => {
    const to = flight.to ?? end;
    const took = flight.duration_ms === null ? duration(to - flight.from) : millis(flight.duration_ms);
    const kind = ["success", "running"].includes(flight.status) ? "work" : "failed";
    const track = h("div.track", null, put(h(`span.bar.k-${kind}`, { title: `${flight.status}, from +${duration(flight.from - cycle.from)}, ${took}` }), share(flight.from), Math.max(share(to) - share(flight.from), 0)));
    if (flight.answered !== null) track.append(put(h("i.mark.answer", { title: `the caller has its answer at +${duration(flight.answered - cycle.from)}` }), share(flight.answered)));
    return h(`div.lane.flight${wanted === flight.request_id ? ".here" : ""}`, null, h("a.cut", { href: link({ view: "invocations", id: flight.request_id }), title: flight.request_id }, h("code", null, flight.request_id.slice(0, 8)), " ", h(`span.tag.${flight.status}`, null, flight.error_type || flight.status)), track, h("span.num.soft", null, took));
  });
  const all = cycle.flights.length + cycle.more_flights;
  const most = busiest(cycle.flights, end);
  const hidden = all - shown.length;
  const failed = cycle.flights.filter((flight) => !["success", "running"].includes(flight.status)).length;
  const chosen = cycle.flights.some((flight) => flight.request_id === wanted);
  return h(`article.card.cycle.many${chosen ? ".chosen" : ""}`, { "aria-label": KINDS.serve },
    h("div.chead", null, h("b", null, count(all, "invocation")), h("span.soft", null, most > 1 ? `up to ${most} at a time` : "one at a time"), failed ? h("span.bad", null, `${failed} failed`) : null, h("b.big", null, duration(length))),
    hidden ? h("p.soft", null, `the last ${shown.length} of them`) : null,
    h("div.lanes", null, h("div.lane", { "aria-hidden": true }, h("span"), axis, h("span")), rows),
    cycle.marks.length ? h("details", null, h("summary", null, count(cycle.marks.length, "event")), h("ul.marks", null, cycle.marks.map((mark) => h("li", null, h("time", null, `+${duration(mark.at - cycle.from)}`), ` ${mark.process || "Lambda"}: ${mark.text}`)))) : null);
}

/** How many there were at once. */
function busiest(flights, end) {
  const steps = flights.flatMap((flight) => [[flight.from, 1], [flight.to ?? end, -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let [now, most] = [0, 0];
  for (const [, step] of steps) most = Math.max(most, (now += step));
  return most;
}

/** A process that is no more waits for nobody. */
const hasEnded = (cycle, lane) => cycle.marks.some((mark) => mark.process === lane.process && mark.text.startsWith("ended"));

/**
 * The first initialisation is billed beside the first invocation; one that was made again, as a part of the duration
 * of the next.
 */
function billedOf(one, cycle) {
  const end = (of) => of.to ?? one.last;
  if (cycle.kind === "invoke" && cycle.billed_ms !== null) {
    const from = Math.max(Math.min(cycle.started ?? cycle.from, end(cycle) - cycle.duration_ms * 1e6), cycle.from);
    return { from, ms: Math.min(cycle.duration_ms, (end(cycle) - from) / 1e6) };
  }
  if (cycle.kind !== "init") return null;
  const after = one.cycles.slice(one.cycles.indexOf(cycle) + 1).find((other) => other.kind === "invoke" || other.kind === "init");
  const next = after?.kind === "invoke" ? after : null;
  if (next?.init_ms) return { from: cycle.from, ms: next.init_ms };
  const rest = Math.min((next?.duration_ms ?? 0) * 1e6 - (next ? end(next) - next.from : 0), end(cycle) - cycle.from);
  return rest > 1e6 ? { from: end(cycle) - rest, ms: rest / 1e6 } : null;
}

/** Who was waiting for whom, in words: what the picture shows. */
function story(one, cycle, end) {
  const ends = cycle.lanes.filter((lane) => lane.bars.length).map((lane) => ({ name: lane.extension ? lane.process : "the function", extension: lane.extension, to: lane.bars.at(-1).to, gone: hasEnded(cycle, lane) }));
  const since = (ns) => duration(ns - cycle.from);
  if (!ends.length) return "";
  const late = ends.reduce((a, b) => ((a.to ?? Infinity) >= (b.to ?? Infinity) ? a : b));
  const others = ends.filter((other) => other !== late && other.to !== null && !other.gone && end - other.to > 1e5).map((other) => `${other.name} waited ${duration((late.to ?? end) - other.to)}`);
  if (cycle.kind === "shutdown") return sentence(`the end took ${since(end)}; ${late.name} was the last to go.`);
  if (late.to === null && cycle.to === null) return sentence(`${late.name} is still at work.`);
  const waited = others.length ? ` ${sentence(others.join(", "))} for it.` : "";
  if (cycle.kind === "init" && cycle.status && cycle.status !== "success") return sentence(`it failed after ${since(late.to ?? end)}: ${cycle.error_type || cycle.status}.`);
  if (cycle.kind !== "invoke") return `Ready after ${since(late.to ?? end)}: ${late.name} was the last.${waited}`;
  const answered = cycle.answered === null ? "" : `The caller had its answer after ${since(cycle.answered)}. `;
  if (!late.extension || cycle.runtime_done === null) return `${answered}${sentence(late.name)} was the last to be done, after ${since(late.to ?? end)}.${waited}`;
  return `${answered}The function was done after ${since(cycle.runtime_done)}; ${late.name} went on for ${duration((late.to ?? end) - cycle.runtime_done)}, and Lambda could not freeze before.${waited}`;
}

const sentence = (text) => text.replace(/^(the|it) /, (word) => word[0].toUpperCase() + word.slice(1));
