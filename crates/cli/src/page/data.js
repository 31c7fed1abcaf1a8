// What the page knows. Asks /local/… of where the page came from, and waits there for what is newer.

export const data = { run: null, overview: null, lost: false, /** Grow with every change. */ runs: 0, stores: 0 };

const listeners = new Set();
/** Calls with what changed: "run", "store" or "lost". Gives what ends that. */
export function onChange(call) {
  listeners.add(call);
  return () => listeners.delete(call);
}
const tell = (what) => listeners.forEach((call) => call(what));

export async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** Follows what happens, for as long as the page is open. */
export async function follow() {
  let seen = { run: 0, store: 0 };
  for (;;) {
    try {
      const now = data.overview ? await ask(`/local/changes?run=${seen.run}&store=${seen.store}`) : await ask("/local/changes?run=0&store=0");
      const first = !data.overview;
      if (first || now.run !== seen.run) [data.run, data.runs] = [await ask("/local/run"), data.runs + 1];
      if (first || now.store !== seen.store) [data.overview, data.stores] = [await ask("/local/overview"), data.stores + 1];
      const was = { ...seen, lost: data.lost };
      [seen, data.lost] = [now, false];
      if (was.lost) tell("lost");
      if (first || was.run !== now.run) tell("run");
      if (first || was.store !== now.store) tell("store");
      // What comes together is drawn together.
      await pause(150);
    } catch {
      if (!data.lost) {
        data.lost = true;
        tell("lost");
      }
      await pause(2000);
    }
  }
}
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** An answer that is asked for again only when something arrived since. */
export function fresh(path) {
  let [answer, at, going] = [null, -1, null];
  return () => {
    if (answer && at === data.stores) return Promise.resolve(answer);
    const wanted = data.stores;
    going ||= ask(path).then((got) => { [answer, at] = [got, wanted]; return got; }).finally(() => { going = null; });
    return going;
  };
}

const traces = new Map();
const MOST_TRACES = 8;

export const summaryOf = (id) => data.overview?.traces.find((one) => one.trace_id === id);

/** A whole trace; kept until more of it arrives. */
export async function trace(id) {
  const arrived = summaryOf(id)?.arrived ?? -1;
  const kept = traces.get(id);
  if (kept && kept.arrived === arrived) return kept.trace;
  const got = await ask(`/local/traces/${encodeURIComponent(id)}`);
  traces.delete(id);
  traces.set(id, { arrived, trace: got });
  if (traces.size > MOST_TRACES) traces.delete(traces.keys().next().value);
  return got;
}

/** The trace and the span of an invocation. */
export function spanOfRequest(request) {
  for (const summary of data.overview?.traces || []) {
    const found = summary.invocations.find((one) => one.request_id === request);
    if (found) return { trace: summary.trace_id, span: found.span_id };
  }
  return null;
}

export const nameOf = (summary) => summary.resource || summary.name || summary.trace_id;

/** Both halves of the id, or the low half where only that is known. */
export function sameTrace(a, b) {
  if (!a || !b) return false;
  return a === b || (a.slice(16) === b.slice(16) && (/^0{16}/.test(a) || /^0{16}/.test(b)));
}
