// Where we are: in the address, so that it can be kept, sent and gone back from.

export const VIEWS = ["invocations", "traces", "logs", "metrics", "sandboxes", "requests"];

let listener = () => {};
export const onMove = (call) => { listener = call; };

export function place() {
  const parts = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return { ...parts, view: VIEWS.includes(parts.view) ? parts.view : VIEWS[0] };
}

/** The address of a place. */
export function link(to) {
  const parts = Object.entries(to).filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return `#${new URLSearchParams(parts)}`;
}

/** Changes what is named and keeps the rest. With `replace` there is no way back to what was before. */
export function go(change, { replace = false } = {}) {
  move(link({ ...place(), ...change }), replace);
}

/** Goes to another place. */
export function open(to) {
  move(link(to), false);
}

function move(hash, replace) {
  if (hash === location.hash) return;
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
  listener();
}

window.addEventListener("popstate", () => listener());
