// The page's own thread: what the daemon says goes to its place, and so does its silence.

import { Charts } from "./charts.js";
import { Contact } from "./contact.js";
import { known, moment, number, seconds, span, whole, withUnit, words } from "./format.js";
import { Try } from "./try.js";

const QUARTER_MS = 15 * 60_000;
const FRESH_MS = 5000;
const MOST_CHANGES = 6;

const at = (id) => document.getElementById(id);
const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};
const assets = new URL(".", import.meta.url).pathname;

let build = null;
let shown = null;
let spoken = null;
let lost = false;

const charts = new Charts();
const trying = new Try();
const contact = new Contact(heard, silent);

// The icon for "no contact" must be here before it is needed.
for (const tone of ["well", "warn", "bad", "lost"]) new Image().src = `${assets}${tone}.svg`;

function tone(name) {
  if (document.body.dataset.tone === name) return;
  document.body.dataset.tone = name;
  at("mark").setAttribute("href", `#mark-${name}`);
  document.querySelector("link[rel=icon]").href = `${assets}${name}.svg`;
}

function state(word, reason, box) {
  write(at("word"), word);
  write(at("reason"), reason);
  at("reason").hidden = !reason;
  write(at("box"), box);
  const host = shown?.host ?? at("host").textContent;
  document.title = `${word} · ${host}`;
}

/** Said aloud once for each change; the seconds that run on are not. */
function speak(text) {
  if (spoken !== null && spoken !== text) write(at("spoken"), text);
  spoken = text;
}

function heard(status, grown) {
  lost = false;
  shown = status;
  const version = JSON.stringify([status.build?.version, status.build?.commit]);
  build ??= version;
  // Another daemon brings another page; a picture that somebody looks at is not taken away.
  if (build !== version && !trying.used) location.reload();

  const firing = [...(status.alerts?.firing ?? [])].sort(bySeverity);
  const stale = status.snapshot?.stale === true;
  const critical = firing.some((alert) => alert.severity === "critical");
  const trouble = firing.some((alert) => alert.severity !== "info");
  const starting = status.phase === "starting";
  tone((!status.ready && !starting) || critical ? "bad" : !status.ready || trouble || stale ? "warn" : "well");

  const unready = firing.find((alert) => alert.alert === "not_ready");
  const since = unready ? `, since ${moment(unready.since)}` : "";
  const reason = status.ready ? "" : `${status.reason ?? "it does not say why"}${since}`;
  state(status.ready ? "Serving" : "Not ready", reason, health(status, firing, stale));
  write(at("host"), status.host ?? "edge-service");
  at("again").hidden = true;
  told();
  speak(`${at("word").textContent}. ${at("reason").textContent} ${at("box").textContent}`);

  facts(status);
  alerts(status, firing);
  figures(status);
  if (grown || at("charts").hidden) charts.update(contact.history, status);
  trying.offer(status.model?.takes_pictures === true);
  const { version: number, commit, runtime } = status.build ?? {};
  if (number) write(at("build"), `edge-service ${number} (${commit}), ONNX Runtime ${runtime}`);
}

function silent(error) {
  if (contact.lastMs === null && error.message.startsWith("it answers")) {
    // A daemon is there and the server's own words stand: only the news is missing.
    write(at("contact"), `The state cannot be asked for: ${error.message}`);
    return;
  }
  lost = true;
  tone("lost");
  at("again").hidden = false;
  told();
  speak("No contact with the daemon.");
}

/** What changes by the second. */
function told() {
  const now = Date.now();
  if (lost) {
    const since = contact.lastMs ?? opened;
    const next = contact.nextMs > now ? `next try in ${span((contact.nextMs - now) / 1000)}` : "trying";
    state(`No contact for ${span((now - since) / 1000)}`, "", `All below is as it was at ${seconds(since)}.`);
    write(at("contact"), next);
  } else if (contact.lastMs !== null) {
    const age = now - contact.lastMs;
    write(at("contact"), age < FRESH_MS ? "live" : `as of ${span(age / 1000)} ago`);
  }
}

const opened = Date.now();
setInterval(() => document.hidden || told(), 1000);

const RANKS = ["critical", "warning", "info"];
const bySeverity = (one, other) => RANKS.indexOf(one.severity) - RANKS.indexOf(other.severity);
const samples = (count) => `${count} sample${count === 1 ? "" : "s"}`;
const title = (alert) => words(alert.alert) + (alert.instance ? ` ${alert.instance}` : "");

function health(status, firing, stale) {
  if (!known(status.snapshot?.age_seconds)) return "The box has not been measured yet.";
  if (stale) return `The box was last measured ${span(status.snapshot.age_seconds)} ago.`;
  if (status.monitoring_active === false) return "The box is not watched for the moment.";
  const others = firing.filter((alert) => alert.alert !== "not_ready");
  if (!others.length) return firing.length ? "Nothing else is firing." : "The box is well, nothing is firing.";
  const [first] = others;
  if (others.length === 1) {
    if (!known(first.value)) return `${title(first)} has no value since ${moment(first.since)}.`;
    const [value, limit] = [first.value, first.threshold].map((one) => withUnit(one, first.unit));
    return `${title(first)} ${value}, limit ${limit}, since ${moment(first.since)}.`;
  }
  const named = others
    .slice(0, 3)
    .map((alert) => `${title(alert)} since ${moment(alert.since)}`)
    .join(", ");
  return `${others.length} alerts firing: ${named}${others.length > 3 ? " and others" : ""}.`;
}

function facts(status) {
  const { model, actors = [] } = status;
  const down = actors.filter((actor) => actor.state !== "up").map((actor) => `${actor.name} ${actor.state}`);
  const restarts = actors.reduce((sum, actor) => sum + (actor.restarts ?? 0), 0);
  const list = [
    ["Model", model ? `${model.name} ${model.version}` : "none", ""],
    model && ["Variant", model.variant, model.variant_reason],
    model?.provider && ["Runs on", model.provider.replace(/ExecutionProvider$/, ""), ""],
    model?.canary && ["Canary", model.canary.state, model.canary.reason],
    ["Up for", span(status.uptime_seconds), ""],
    actors.length && [
      "Rooms",
      down.length ? down.join(", ") : "all up",
      restarts ? `${restarts} restart${restarts > 1 ? "s" : ""}` : "",
    ],
  ].filter(Boolean);
  const key = JSON.stringify(list);
  if (at("facts").dataset.key === key) return;
  at("facts").dataset.key = key;
  at("facts").replaceChildren(
    ...list.map(([name, value, more]) => {
      const [box, term, told, small] = ["div", "dt", "dd", "small"].map((tag) => document.createElement(tag));
      term.textContent = name;
      told.textContent = value ?? "–";
      if (more) {
        small.textContent = ` ${more}`;
        told.append(small);
      }
      box.append(term, told);
      return box;
    }),
  );
}

function row(alert, resolved) {
  const item = at("alert-row").content.firstElementChild.cloneNode(true);
  const part = (name) => item.querySelector(`.${name}`);
  item.dataset.severity = alert.severity;
  item.dataset.state = alert.state ?? "firing";
  const mark = resolved ? "well" : alert.severity === "critical" ? "bad" : alert.severity === "info" ? "info" : "warn";
  item.querySelector("use").setAttribute("href", `#mark-${mark}`);
  item.querySelector("b").textContent = words(alert.alert);
  part("instance").textContent = alert.instance ?? "";
  // Ready or not has no measure.
  const values =
    alert.alert === "not_ready"
      ? ""
      : known(alert.value)
        ? `${withUnit(alert.value, alert.unit)}, limit ${withUnit(alert.threshold, alert.unit)}, `
        : "no value, ";
  if (alert.state) {
    const length = (Date.parse(alert.at) - Date.parse(alert.since)) / 1000;
    part("much").textContent = known(length) ? `resolved after ${span(length)}` : "resolved";
    part("when").textContent = moment(alert.at);
  } else {
    part("much").textContent = `${values}${samples(alert.consecutive)}, ${alert.severity}`;
    part("when").textContent = `since ${moment(alert.since)}`;
  }
  return item;
}

function alerts(status, firing) {
  const changes = (status.alerts?.changes ?? [])
    .filter((change) => change.state === "resolved")
    .sort((one, other) => Date.parse(other.at) - Date.parse(one.at));
  const key = JSON.stringify([firing, changes.slice(0, MOST_CHANGES)]);
  if (at("alerts").dataset.key === key) return;
  at("alerts").dataset.key = key;
  const [last] = changes;
  at("quiet").hidden = firing.length > 0;
  write(at("quiet"), last ? `Nothing firing, last alert ${moment(last.at)}.` : "Nothing firing, and nothing has.");
  at("firing").replaceChildren(...firing.map((alert) => row(alert, false)));
  at("changes").replaceChildren(...changes.slice(0, MOST_CHANGES).map((change) => row(change, true)));
  at("changes-title").hidden = !changes.length;
}

/** The figures: their rule, their value now, and their samples. */
const FIGURES = {
  rate: { now: (status) => status.traffic?.requests_per_second, past: (sample) => sample.requests_per_second },
  p95: { rule: "latency", now: (status) => status.traffic?.p95_ms, past: (sample) => sample.p95_ms },
  queue: {
    rule: "queue",
    now: (status) => status.queue?.waiting,
    past: (sample) => sample.queue_waiting,
    format: whole,
  },
  cpu: {
    rule: "cpu",
    now: (status) => status.current_resources?.cpu?.usage_percent,
    scope: (status) => status.current_resources?.cpu?.scope,
    past: (sample) => sample.cpu_percent,
    top: 100,
  },
  memory: {
    rule: "memory",
    now: (status) => status.current_resources?.memory?.used_percent,
    scope: (status) => status.current_resources?.memory?.scope,
    past: (sample) => sample.memory_percent,
    top: 100,
  },
};

function figures(status) {
  for (const [name, figure] of Object.entries(FIGURES)) {
    const tile = document.querySelector(`[data-figure="${name}"]`);
    const part = (what) => tile.querySelector(`.${what}`);
    const rule = status.thresholds?.[figure.rule];
    const places = name === "queue" && rule?.unit === "percent";
    const limit = rule?.enabled
      ? places
        ? (rule.raise_above / 100) * (status.queue?.limit ?? NaN)
        : rule.raise_above
      : null;
    const value = figure.now(status);
    const firing = status.alerts?.firing?.find((alert) => alert.alert === figure.rule);
    const breached = known(limit) && known(value) && value > limit;
    const over = breached || Boolean(firing);
    tile.dataset.over = over ? "yes" : "no";
    write(part("number"), (figure.format ?? number)(value));
    if (figure.scope) write(part("scope"), figure.scope(status) === "container" ? "container" : "");
    if (name === "queue") write(part("unit"), `of ${status.queue?.limit ?? "–"}`);
    const errors = status.traffic?.errors_percent;
    const bound = known(limit) ? `limit ${name === "queue" ? whole(limit) : withUnit(limit, rule.unit)}` : "";
    write(part("limit"), name === "rate" ? (known(errors) ? `errors ${number(errors)} %` : "") : bound);
    const much = breached
      ? `${places ? whole(value - limit) : withUnit(value - limit, rule.unit)} over`
      : "not clear yet";
    write(part("note"), over ? (breached ? `${much}, ${samples(firing?.consecutive ?? inARow(figure, limit))}` : much) : "");
    spark(tile, figure, limit);
  }
}

/** Samples in a row, back from the last, that were over the limit. */
function inARow(figure, limit) {
  let count = 0;
  for (const sample of [...contact.history.samples].reverse()) {
    if (!(figure.past(sample) > limit)) break;
    count += 1;
  }
  return Math.max(1, count);
}

function spark(tile, figure, limit) {
  const { history } = contact;
  const end = history.last?.at_ms ?? 0;
  const window = Math.min(QUARTER_MS, history.window);
  const samples = history.samples.filter((sample) => sample.at_ms > end - window);
  const values = samples.map(figure.past);
  const most = Math.max(0, ...values.filter(known));
  const top = figure.top ?? (Math.max(most * 1.1, known(limit) && most > limit / 5 ? limit * 1.1 : 0) || 1);
  const x = (sample) => (100 - ((end - sample.at_ms) / window) * 100).toFixed(1);
  const y = (value) => (30 - (Math.min(value, top) / top) * 30).toFixed(1);
  let [path, area, begun, before] = ["", "", null, null];
  samples.forEach((sample, place) => {
    const value = values[place];
    const hole = before !== null && sample.at_ms - before > 2.5 * history.interval;
    if (begun !== null && (hole || !known(value))) {
      area += `V30H${begun}Z`;
      begun = null;
    }
    if (known(value)) {
      path += `${begun === null ? "M" : "L"}${x(sample)} ${y(value)}`;
      area += begun === null ? `M${x(sample)} 30V${y(value)}` : `L${x(sample)} ${y(value)}`;
      begun ??= x(sample);
    }
    before = sample.at_ms;
  });
  if (begun !== null) area += `V30H${begun}Z`;
  tile.querySelector(".line").setAttribute("d", path);
  tile.querySelector(".area").setAttribute("d", area);
  tile.querySelector(".bound").setAttribute("d", known(limit) && limit <= top ? `M0 ${y(limit)}H100` : "");
}

contact.now();
