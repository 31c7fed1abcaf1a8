// Numbers as people read them.

export function duration(ns) {
  if (!Number.isFinite(ns)) return "–";
  if (ns === 0) return "0";
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${Math.round(ns / 1e3)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(ns < 1e7 ? 2 : 1)} ms`;
  if (ns < 6e10) return `${(ns / 1e9).toFixed(2)} s`;
  return `${Math.floor(ns / 6e10)} min ${Math.round((ns % 6e10) / 1e9)} s`;
}

export const millis = (ms) => (ms === null || ms === undefined ? "–" : duration(ms * 1e6));

export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(2);
  return value.toLocaleString("en", { maximumSignificantDigits: 5 });
}

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  if (count < 1024) return `${count} B`;
  return count < 1048576 ? `${(count / 1024).toFixed(1)} kB` : `${(count / 1048576).toFixed(1)} MB`;
}

/** `14:03:02.123` of an RFC 3339 time. */
export const clock = (time) => time.slice(11, 23);

export const clockOf = (ns) => new Date(ns / 1e6).toISOString().slice(11, 23);

export const count = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;

/** Round steps for an axis of this length: at most `most`. */
export function ticks(from, to, most) {
  const rough = (to - from) / most;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough) || power;
  const all = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to && all.length < 50; tick += step) all.push(tick);
  return all;
}
