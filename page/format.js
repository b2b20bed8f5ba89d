// Values as people read them. No value: an en dash.

const NONE = "–";
const MINUTE = 60_000;

export const known = (value) => typeof value === "number" && Number.isFinite(value);

/** Three digits at most, so that a column of them stays narrow. */
export function number(value) {
  if (!known(value)) return NONE;
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return value.toFixed(size < 1 ? 2 : size < 10 ? 1 : 0);
}

export const whole = (value) => (known(value) ? value.toFixed(0) : NONE);

const UNITS = { percent: "%", celsius: "°C", ms: "ms", seconds: "s", per_second: "/s" };

export const unit = (name) => UNITS[name] ?? (name === "count" ? "" : (name ?? ""));

export function withUnit(value, name) {
  const shown = unit(name);
  return shown && known(value) ? `${number(value)}\u00a0${shown}` : number(value);
}

/** `gpu_memory` as "GPU memory", `pressure_io` as "IO pressure". */
export function words(name) {
  const turned = String(name ?? "").replace(/^pressure_(.*)$/, "$1_pressure");
  const text = turned.replaceAll("_", " ").replace(/\b(cpu|gpu|io)\b/g, (word) => word.toUpperCase());
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const secondFormat = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });

export const clock = (ms) => clockFormat.format(ms);
export const seconds = (ms) => secondFormat.format(ms);

/** The time of day, with the day where it is another one. */
export function moment(when) {
  const date = new Date(when ?? NaN);
  if (Number.isNaN(date.getTime())) return NONE;
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock(date) : `${dayFormat.format(date)} ${clock(date)}`;
}

/** A length of time in its two largest units. */
export function span(length) {
  if (!known(length)) return NONE;
  const total = Math.max(0, Math.round(length));
  const [days, hours] = [Math.floor(total / 86_400), Math.floor(total / 3600) % 24];
  const [minutes, rest] = [Math.floor(total / 60) % 60, total % 60];
  // A number stays on one line with its unit.
  const join = (...parts) => parts.filter(Boolean).join(" ");
  if (days) return join(`${days}\u00a0d`, hours && `${hours}\u00a0h`);
  if (hours) return join(`${hours}\u00a0h`, minutes && `${minutes}\u00a0min`);
  if (minutes) return join(`${minutes}\u00a0min`, minutes < 10 && rest && `${rest}\u00a0s`);
  return `${rest}\u00a0s`;
}

export const minutes = (ms) =>
  ms <= MINUTE ? "minute" : ms < 90 * MINUTE ? `${Math.round(ms / MINUTE)} minutes` : `${Math.round(ms / MINUTE / 60)} hours`;
