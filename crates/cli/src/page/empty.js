// What is said where nothing is there yet: why, and what to do.

import { h } from "./dom.js";

/** A place for it. */
export const nothing = () => h("section.empty", { hidden: true, "aria-label": "Nothing here yet" });

/** Shows it while `there` is false. What it says is made when it first has to be, and when `key` changes. */
export function tell(place, there, key, make) {
  place.hidden = there;
  if (there || place.dataset.key === key) return;
  place.dataset.key = key;
  const [title, ...parts] = make();
  place.replaceChildren(h("h2", null, title), ...parts.map((part) => (typeof part === "string" ? h("p", null, part) : part)));
}

/** Something to be typed in a terminal. */
export function command(text) {
  const copy = h("button.tool", {
    type: "button",
    onclick: () => navigator.clipboard?.writeText(text).then(() => { copy.textContent = "copied"; }, () => getSelection().selectAllChildren(shown)),
  }, "copy");
  const shown = h("pre", { tabindex: 0, role: "region", "aria-label": "Command" }, text);
  return h("div.command", null, shown, copy);
}

/** Two ways to invoke a function. */
export function howToInvoke(run) {
  const name = run.functions[0];
  return [
    "Invoke a function from a terminal:",
    command(`curl -d '{}' ${run.endpoint}/2015-03-31/functions/${name}/invocations`),
    "Or with the AWS command line, which wants some credentials but does not use them:",
    command(`aws lambda invoke --endpoint-url ${run.endpoint} --function-name ${name} \\\n  --cli-binary-format raw-in-base64-out --payload '{}' /dev/stdout`),
  ];
}

/** How an agent finds the local Datadog. */
export function howToSend(run) {
  return [
    "Point an agent at the local Datadog:",
    command([...["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"].map((name) => `export ${name}=${run.intake}`), ...(run.authority ? [`export DD_TLS_CERT_FILE=${run.authority}`] : [])].join("\n")),
  ];
}

/** Whatever brings something here. */
export const howToBegin = (run) => (run.functions.length ? howToInvoke(run) : howToSend(run));
