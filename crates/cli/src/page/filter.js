// What people type to find something: words that have to be there, `key:value`, `-without`, `>10ms`, `<1s`.

const LENGTHS = { ns: 1, us: 1e3, "µs": 1e3, ms: 1e6, s: 1e9 };

/** The words of a query, quotes kept together. */
function words(query) {
  return [...query.matchAll(/(-?)(?:"([^"]*)"|(\S+))/g)].map(([, not, quoted, plain]) => ({ not: not === "-", text: (quoted ?? plain).toLowerCase() }));
}

function test({ text }) {
  const length = text.match(/^([<>])([\d.]+)(ns|us|µs|ms|s)$/);
  if (length) {
    const limit = Number(length[2]) * LENGTHS[length[3]];
    return (item) => (length[1] === ">" ? item.ns > limit : item.ns < limit);
  }
  const colon = text.indexOf(":");
  if (colon > 0) {
    const [key, value] = [text.slice(0, colon), text.slice(colon + 1)];
    return (item) => {
      const found = item.field(key);
      return found === undefined ? item.text().includes(text) : String(found).toLowerCase().includes(value);
    };
  }
  return (item) => item.text().includes(text);
}

/**
 * Whether something is meant by the query. Items have `text()` in lower case, `field(key)` and `ns`, how long they
 * take. `null` when everything is meant.
 */
export function matcher(query) {
  const tests = words(query || "").map((word) => ({ not: word.not, test: test(word) }));
  return tests.length ? (item) => tests.every((one) => one.test(item) !== one.not) : null;
}

/** An item of plain fields. */
export function item(fields, ns) {
  let text;
  return {
    ns,
    text: () => (text ??= Object.values(fields).join("\n").toLowerCase()),
    field: (key) => fields[Object.keys(fields).find((name) => name.toLowerCase() === key)],
  };
}
