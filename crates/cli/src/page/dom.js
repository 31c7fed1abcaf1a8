// Elements. Whatever arrived from outside goes in as text, never as markup.

/** An element: `h("b.soft", {title: "x", onclick}, "text", child, null)`. */
export function h(kind, attributes, ...children) {
  const [name, ...classes] = kind.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.filter(Boolean).join(" ");
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith("aria-") && typeof value === "boolean") element.setAttribute(key, String(value));
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Where an element stands on a track, both as shares of 1. */
export function at(element, from, share) {
  element.style.left = `${(from * 100).toFixed(4)}%`;
  if (share !== undefined) element.style.width = `${(share * 100).toFixed(4)}%`;
  return element;
}

/** Names and values. */
export function pairs(entries) {
  return h("dl.pairs", null, entries.flatMap(([key, value]) => [h("dt", null, key), h("dd", null, value instanceof Node ? value : String(value))]));
}

/** Tells those who do not see. */
export function say(text) {
  const said = byId("said");
  if (said.textContent !== text) said.textContent = text;
}

/** Calls once per frame, however often it is asked. */
export function oncePerFrame(work) {
  let due = 0;
  return () => {
    if (!due) due = requestAnimationFrame(() => { due = 0; work(); });
  };
}

/** A colour of the style sheet, for canvases. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Colours as they are now: `light-dark()` is only worked out on a property that takes colours. */
export function colours(names) {
  const probe = h("i.unseen");
  document.body.append(probe);
  const found = names.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return found;
}

/** The field by which a view is searched; `onfind` gets the text. */
export function finder(label, value, onfind) {
  const input = h("input.find", { type: "search", placeholder: label, "aria-label": label, value, autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": "/" });
  input.addEventListener("input", () => onfind(input.value));
  return input;
}
