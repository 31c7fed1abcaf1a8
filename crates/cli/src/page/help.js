// What the keys do.

import { byId, h } from "./dom.js";

const KEYS = [
  ["Everywhere", [["1 … 6", "go to a view"], ["/", "search"], ["Esc", "clear the search, close what is open"], ["t", "colours: system, light, dark"], ["?", "this list"]]],
  ["Lists and trees", [["↑ ↓, k j", "move"], ["PgUp … End", "move far"], ["→ ←", "open and close a branch, go in and out"], ["Space", "open or close a branch"], ["Enter", "go to what is chosen"]]],
  ["A trace", [["w", "waterfall"], ["f", "flame graph"], ["n p", "next and last span that was found"], ["+ −", "zoom on the chosen span"], ["0", "the whole trace"]]],
  ["Search", [["word", "is somewhere in it"], ["key:value", "a field or a tag has it"], ["-word", "is not in it"], [">10ms <1s", "takes longer, or less"]]],
];

export function help() {
  const dialog = byId("help");
  if (dialog.open) return dialog.close();
  const part = ([title, keys]) => h("section", null, h("h3", null, title), h("dl.keys", null, keys.flatMap(([key, text]) => [h("dt", null, h("kbd", null, key)), h("dd", null, text)])));
  dialog.replaceChildren(h("div.sidehead", null, h("h2", { id: "help-title" }, "Keyboard and search"), h("button.tool.close", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×")), h("div.helps", null, KEYS.map(part)));
  dialog.showModal();
}
