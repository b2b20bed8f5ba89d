// Small multiples over one time axis: what the box lacks is not drawn, a gap in the samples is a gap in the line.
/* global uPlot */

import { clock, known, minutes, seconds, unit, whole, withUnit } from "./format.js";

const DASHES = ["", "7 4", "2 3", "9 3 2 3", "5 2", "1 2"];
const MOST_LINES = 6;
const MOST_CORES = 32;

const line = (label, get, more = {}) => ({ label, get, ...more });
const names = (samples, list, key) => {
  const found = [];
  for (const sample of samples) {
    for (const item of sample[list] ?? []) if (!found.includes(item[key])) found.push(item[key]);
  }
  return found;
};
const item = (list, key, name, value) => (sample) => sample[list]?.find((one) => one[key] === name)?.[value];

/** What is drawn: each chart's lines, made from what the samples hold. */
const CHARTS = [
  {
    key: "requests",
    title: "Requests",
    unit: "per_second",
    always: true,
    rules: ["errors", "not_ready", "restarts"],
    lines: () => [
      line("answered", (sample) => sample.requests_per_second, { fill: true }),
      line("errors", (sample) => sample.errors_percent, { scale: "right", unit: "percent", rule: "errors" }),
    ],
  },
  {
    key: "latency",
    title: "Latency",
    unit: "ms",
    always: true,
    rules: ["latency"],
    lines: () => [
      line("p50", (sample) => sample.p50_ms, { colour: 2 }),
      line("p95", (sample) => sample.p95_ms, { colour: 0, rule: "latency", dash: "" }),
      line("p99", (sample) => sample.p99_ms, { colour: 1, dash: "2 3" }),
    ],
  },
  {
    key: "queue",
    title: "Queue",
    unit: "count",
    always: true,
    rules: ["queue"],
    lines: () => [
      line("waiting", (sample) => sample.queue_waiting, { fill: true, stepped: true, rule: "queue", places: true }),
    ],
  },
  {
    key: "cpu",
    title: "CPU",
    unit: "percent",
    percent: true,
    rules: ["cpu"],
    lines: (samples) => {
      const cores = Math.max(0, ...samples.map((sample) => sample.cores_percent?.length ?? 0));
      const each =
        cores > 1 && cores <= MOST_CORES
          ? Array.from({ length: cores }, (_, core) =>
              line("", (sample) => sample.cores_percent?.[core], { core: true }),
            )
          : [];
      const busiest = (sample) => (sample.cores_percent?.length ? Math.max(...sample.cores_percent) : null);
      return [
        ...each,
        ...(cores > 1
          ? [line(`busiest of ${cores} cores`, busiest, each.length ? { told: true } : { colour: 1 })]
          : []),
        line("all", (sample) => sample.cpu_percent, { colour: 0, rule: "cpu", dash: "", strong: true }),
      ];
    },
  },
  {
    key: "memory",
    title: "Memory",
    unit: "percent",
    percent: true,
    rules: ["memory", "swap"],
    lines: () => [
      line("memory", (sample) => sample.memory_percent, { rule: "memory", fill: true }),
      line("swap", (sample) => sample.swap_percent, { rule: "swap" }),
    ],
  },
  {
    key: "pressure",
    title: "Pressure",
    unit: "percent",
    rules: ["pressure_cpu", "pressure_memory", "pressure_io"],
    lines: () => [
      line("CPU", (sample) => sample.pressure?.cpu, { rule: "pressure_cpu" }),
      line("memory", (sample) => sample.pressure?.memory, { rule: "pressure_memory" }),
      line("I/O", (sample) => sample.pressure?.io, { rule: "pressure_io" }),
    ],
  },
  {
    key: "gpu",
    title: "GPU",
    unit: "percent",
    percent: true,
    rules: ["gpu_memory"],
    lines: (samples) =>
      names(samples, "gpus", "name").flatMap((name, place, all) => {
        const called = (what) => (all.length > 1 ? `${name} ${what}` : what);
        return [
          line(called("busy"), item("gpus", "name", name, "utilisation_percent"), { colour: 2 * place, dash: "" }),
          line(called("memory"), item("gpus", "name", name, "memory_percent"), {
            colour: 2 * place + 1,
            dash: "7 4",
            rule: "gpu_memory",
          }),
        ];
      }),
  },
  {
    key: "temperature",
    title: "Temperature",
    unit: "celsius",
    rules: ["temperature", "gpu_temperature"],
    lines: (samples) => [
      ...names(samples, "temperatures", "sensor").map((name) =>
        line(name, item("temperatures", "sensor", name, "celsius"), { rule: "temperature" }),
      ),
      ...names(samples, "gpus", "name").map((name) =>
        line(`GPU ${name}`, item("gpus", "name", name, "temperature_celsius"), { rule: "gpu_temperature" }),
      ),
    ],
  },
  {
    key: "disks",
    title: "Disks",
    unit: "percent",
    percent: true,
    rules: ["disk"],
    lines: (samples) =>
      names(samples, "disks", "mount").map((name) =>
        line(name, item("disks", "mount", name, "percent"), { rule: "disk" }),
      ),
  },
];

/** The lines that have anything to draw: the highest ones where they are too many. */
function drawn(chart, samples) {
  const highest = (one) => samples.reduce((most, sample) => Math.max(most, one.get(sample) ?? -Infinity), -Infinity);
  let lines = chart.lines(samples).filter((one) => samples.some((sample) => known(one.get(sample))));
  const main = lines.filter((one) => !one.core);
  if (main.length > MOST_LINES) {
    const kept = [...main].sort((one, other) => highest(other) - highest(one)).slice(0, MOST_LINES);
    lines = main.filter((one) => kept.includes(one));
    lines.left = main.length - MOST_LINES;
  }
  let place = 0;
  for (const one of lines) {
    if (one.core || one.told) continue;
    one.colour ??= place;
    one.dash ??= DASHES[place % DASHES.length];
    place += 1;
  }
  return lines;
}

/** Times and values for uPlot: a hole where samples are missing. */
function columns(lines, history) {
  const columns = [[], ...lines.map(() => [])];
  let before = null;
  for (const sample of history.samples) {
    if (before !== null && sample.at_ms - before > 2.5 * history.interval) {
      columns[0].push((before + history.interval) / 1000);
      lines.forEach((_, place) => columns[place + 1].push(null));
    }
    columns[0].push(sample.at_ms / 1000);
    lines.forEach((one, place) => {
      const value = one.get(sample);
      columns[place + 1].push(known(value) ? value : null);
    });
    before = sample.at_ms;
  }
  return columns;
}

/** Samples that stand alone between holes: a line cannot show them, a point does. */
function alone(plot, series) {
  const values = plot.data[series];
  const found = [];
  for (let at = 0; at < values.length; at += 1) {
    if (values[at] !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null) found.push(at);
  }
  return found;
}

export class Charts {
  #grid = document.getElementById("grid");
  #time = document.getElementById("time");
  #moment = document.getElementById("moment");
  #section = document.getElementById("charts");
  #cards = new Map();
  #history = null;
  #status = null;
  #at = null;
  #colours = null;
  #leading = false;

  constructor() {
    this.#time.addEventListener("input", () => this.#look(Number(this.#time.value)));
    this.#time.addEventListener("keydown", (event) => event.key === "Escape" && this.#look(null));
    this.#time.addEventListener("blur", () => this.#look(null));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#again());
    let width = 0;
    new ResizeObserver(() => {
      if (this.#grid.clientWidth === width) return;
      width = this.#grid.clientWidth;
      for (const card of this.#cards.values()) this.#fit(card);
    }).observe(this.#grid);
  }

  update(history, status) {
    this.#history = history;
    this.#status = status;
    this.#section.hidden = false;
    document.getElementById("span").textContent = minutes(history.window);
    for (const chart of CHARTS) this.#draw(chart);
    this.#time.max = String(Math.max(0, history.samples.length - 1));
    if (this.#at === null) this.#time.value = this.#time.max;
    this.#tell();
  }

  #again() {
    this.#colours = null;
    for (const card of this.#cards.values()) {
      card.plot?.destroy();
      card.figure.remove();
    }
    this.#cards.clear();
    if (this.#history) this.update(this.#history, this.#status);
  }

  #colour(name) {
    this.#colours ??= getComputedStyle(document.documentElement);
    return this.#colours.getPropertyValue(`--${name}`).trim();
  }

  /** A threshold in the chart's own unit: places of the queue where the rule counts per cent of them. */
  #threshold(one) {
    const rule = this.#status?.thresholds?.[one.rule];
    if (!rule?.enabled || !known(rule.raise_above)) return null;
    const limit = this.#status.queue?.limit;
    return one.places && rule.unit === "percent"
      ? known(limit)
        ? (rule.raise_above / 100) * limit
        : null
      : rule.raise_above;
  }

  #draw(chart) {
    const lines = drawn(chart, this.#history.samples);
    const shape = JSON.stringify(lines.map((one) => one.label));
    let card = this.#cards.get(chart.key);
    if (!lines.length && !chart.always) {
      if (card) {
        card.plot?.destroy();
        card.figure.remove();
        this.#cards.delete(chart.key);
      }
      return;
    }
    if (card?.shape !== shape) {
      card?.plot?.destroy();
      card = this.#build(chart, lines, shape, card?.figure);
    }
    card.lines = lines;
    const firing = (this.#status?.alerts?.firing ?? []).some((alert) => chart.rules.includes(alert.alert));
    card.figure.dataset.firing = firing ? "yes" : "no";
    const shown = chart.unit === "count" ? `of ${this.#status?.queue?.limit ?? "–"} places` : unit(chart.unit);
    card.figure.querySelector(".of").textContent = lines.length
      ? `${firing ? "firing · " : ""}${shown}`
      : "nothing yet";
    card.plot?.setData(
      columns(
        lines.filter((one) => !one.told),
        this.#history,
      ),
    );
  }

  #build(chart, lines, shape, before) {
    const figure = document.getElementById("chart-card").content.firstElementChild.cloneNode(true);
    figure.querySelector(".title").textContent = chart.title;
    figure.dataset.chart = chart.key;
    const key = figure.querySelector(".key");
    for (const one of lines) {
      if (one.core) continue;
      const row = document.getElementById("key-row").content.firstElementChild.cloneNode(true);
      const swatch = row.querySelector(".swatch");
      swatch.style.color = one.told ? this.#colour("cores") : this.#colour(`line-${one.colour % 6}`);
      if (one.dash)
        swatch.firstElementChild.setAttribute(
          "stroke-dasharray",
          one.dash
            .split(" ")
            .map((part) => part / 1.4)
            .join(" "),
        );
      row.querySelector(".label").textContent = one.label;
      one.worth = row.querySelector(".worth");
      key.append(row);
    }
    if (lines.left) key.append(Object.assign(document.createElement("li"), { textContent: `and ${lines.left} lower` }));
    if (before) before.replaceWith(figure);
    else {
      const after = CHARTS.slice(CHARTS.indexOf(chart) + 1)
        .map((next) => this.#cards.get(next.key)?.figure)
        .find(Boolean);
      this.#grid.insertBefore(figure, after ?? null);
    }
    const card = {
      chart,
      figure,
      lines,
      shape,
      rows: lines.filter((one) => !one.core).map((one) => one.worth),
      plot: null,
    };
    this.#cards.set(chart.key, card);
    card.plot = this.#plot(card);
    return card;
  }

  #plot(card) {
    const { chart, figure } = card;
    const lines = card.lines.filter((one) => !one.told);
    if (!lines.length) return null;
    const holder = figure.querySelector(".plot");
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const font = `${Math.round(0.69 * rem)}px system-ui, sans-serif`;
    const right = lines.some((one) => one.scale === "right");
    const axis = {
      stroke: this.#colour("soft"),
      font,
      ticks: { show: false },
      grid: { stroke: this.#colour("grid"), width: 1 },
    };
    const series = lines.map((one) => {
      const colour = one.core ? this.#colour("cores") : this.#colour(`line-${one.colour % 6}`);
      return {
        label: one.label,
        scale: one.scale ?? "y",
        stroke: colour,
        width: one.core ? 1 : one.strong ? 2.4 : 1.8,
        dash: one.dash ? one.dash.split(" ").map(Number) : undefined,
        fill: one.fill ? `${colour}22` : undefined,
        paths: one.stepped ? uPlot.paths.stepped({ align: -1 }) : undefined,
        points: { show: !one.core, size: 5, fill: colour, filter: alone },
      };
    });
    return new uPlot(
      {
        width: Math.max(60, holder.clientWidth),
        height: holder.clientHeight,
        padding: [Math.round(0.5 * rem), right ? 0 : Math.round(0.6 * rem), 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          drag: { x: false, y: false, setScale: false },
          sync: { key: "box", setSeries: false },
          points: { size: 6 },
        },
        scales: {
          x: { time: true, range: () => this.#range() },
          y: { range: (plot, low, high) => this.#height(card, high, "y") },
          ...(right ? { right: { range: (plot, low, high) => [0, Math.max(10, (high ?? 0) * 1.2)] } } : {}),
        },
        axes: [
          {
            ...axis,
            size: Math.round(1.35 * rem),
            space: 4.4 * rem,
            gap: 4,
            values: (plot, splits) => splits.map((at) => (at % 60 ? seconds : clock)(at * 1000)),
          },
          {
            ...axis,
            size: Math.round(2.3 * rem),
            space: 1.8 * rem,
            gap: 3,
            values: (plot, splits) => splits.map((at) => String(Math.round(at * 1000) / 1000)),
          },
          ...(right
            ? [
                {
                  ...axis,
                  scale: "right",
                  side: 1,
                  size: Math.round(2.3 * rem),
                  space: 2.4 * rem,
                  gap: 3,
                  grid: { show: false },
                  values: (plot, splits) => splits.map((at) => `${Math.round(at * 10) / 10}%`),
                },
              ]
            : []),
        ],
        series: [{}, ...series],
        hooks: {
          drawClear: [(plot) => this.#shade(plot, chart)],
          draw: [(plot) => this.#bounds(plot, card, rem)],
          setCursor: [(plot) => this.#moved(plot)],
        },
      },
      columns(lines, this.#history),
      holder,
    );
  }

  /** The right edge is now, as the daemon's clock has it: a monitor that fell silent leaves a hole there. */
  #range() {
    const age = this.#status?.snapshot?.stale ? (this.#status.snapshot.age_seconds ?? 0) * 1000 : 0;
    const end = (this.#history.last?.at_ms ?? Date.now()) + age;
    return [(end - this.#history.window) / 1000, end / 1000];
  }

  #height(card, high, scale) {
    if (card.chart.percent) return [0, 100];
    let top = Math.max(high ?? 0, 0) * 1.15;
    for (const one of card.lines) {
      const bound = (one.scale ?? "y") === scale ? this.#threshold(one) : null;
      // A threshold far above everything would press the line to the ground.
      if (bound !== null && (high ?? 0) >= bound / 5) top = Math.max(top, bound * 1.12);
    }
    const least = { pressure: 5, queue: 4, requests: 1, temperature: 40 }[card.chart.key] ?? 0.001;
    return [0, Math.max(top, least)];
  }

  #shade(plot, chart) {
    const { ctx, bbox } = plot;
    const [from, to] = [plot.scales.x.min * 1000, plot.scales.x.max * 1000];
    for (const span of this.#history.spans) {
      if (!chart.rules.includes(span.alert)) continue;
      const [begin, end] = [Math.max(from, span.from_ms), Math.min(to, span.to_ms ?? to)];
      if (end <= begin) continue;
      const left = plot.valToPos(begin / 1000, "x", true);
      const width = Math.max(2, plot.valToPos(end / 1000, "x", true) - left);
      ctx.save();
      ctx.fillStyle = this.#colour("shade");
      ctx.fillRect(left, bbox.top, width, bbox.height);
      ctx.fillStyle = this.#colour("bound");
      ctx.fillRect(left, bbox.top, width, 3 * devicePixelRatio);
      ctx.restore();
    }
  }

  #bounds(plot, card, rem) {
    const { ctx, bbox } = plot;
    const said = new Set();
    const several = new Set(card.lines.map((one) => one.rule).filter(Boolean)).size > 1;
    let above = 0;
    for (const one of card.lines) {
      const bound = this.#threshold(one);
      const text =
        bound === null ? "" : card.chart.unit === "count" ? whole(bound) : withUnit(bound, one.unit ?? card.chart.unit);
      // Sensors share their limit; memory and swap each have one.
      const name = several && card.chart.key !== "temperature" ? `${one.label} ` : "";
      if (bound === null || said.has(name + text)) continue;
      said.add(name + text);
      const scale = one.scale ?? "y";
      const inside = bound <= plot.scales[scale].max;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = this.#colour("bound");
      ctx.font = `600 ${Math.round(0.66 * rem * devicePixelRatio)}px system-ui, sans-serif`;
      const far = scale === "right" || !inside;
      ctx.textAlign = far ? "right" : "left";
      const left = far ? bbox.left + bbox.width - 3 * devicePixelRatio : bbox.left + 4 * devicePixelRatio;
      if (inside) {
        const y = Math.round(plot.valToPos(bound, scale, true)) + 0.5;
        ctx.lineWidth = 1.3 * devicePixelRatio;
        ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
        const room = y - bbox.top > 0.95 * rem * devicePixelRatio;
        ctx.textBaseline = room ? "bottom" : "top";
        ctx.fillText(name + text, left, room ? y - 2 : y + 3);
      } else if (scale === "y") {
        ctx.fillStyle = this.#colour("soft");
        ctx.textBaseline = "top";
        ctx.fillText(`↑ ${name}${text}`, left, bbox.top + 2 + above);
        above += 0.9 * rem * devicePixelRatio;
      }
      ctx.restore();
    }
  }

  #fit(card) {
    const holder = card.figure.querySelector(".plot");
    card.plot?.setSize({ width: Math.max(60, holder.clientWidth), height: holder.clientHeight });
  }

  /** The crosshair went over a chart: the same moment is read in all of them. */
  #moved(plot) {
    if (this.#leading) return;
    const { idx, left } = plot.cursor;
    const at = left >= 0 && idx !== null && idx !== undefined ? plot.data[0][idx] * 1000 : null;
    const samples = this.#history.samples;
    const place = at === null ? null : samples.findIndex((sample) => sample.at_ms >= at);
    this.#at = place === null || place < 0 ? null : samples[place].at_ms;
    this.#time.value = this.#at === null ? this.#time.max : String(place);
    this.#tell();
  }

  /** The slider went to a sample: the crosshair follows it. */
  #look(place) {
    const samples = this.#history?.samples ?? [];
    const sample = place === null || place >= samples.length - 1 ? null : samples[place];
    this.#at = sample?.at_ms ?? null;
    if (!sample) this.#time.value = this.#time.max;
    this.#leading = true;
    for (const { plot } of this.#cards.values()) {
      if (!plot) continue;
      plot.setCursor(
        sample ? { left: plot.valToPos(sample.at_ms / 1000, "x"), top: 1 } : { left: -10, top: -10 },
        false,
      );
    }
    this.#leading = false;
    this.#tell();
  }

  #tell() {
    const samples = this.#history?.samples ?? [];
    const sample = this.#at === null ? samples.at(-1) : samples.find((one) => one.at_ms === this.#at);
    const text = this.#at === null ? "now" : seconds(this.#at);
    if (this.#moment.textContent !== text) this.#moment.textContent = text;
    this.#time.setAttribute("aria-valuetext", text);
    for (const { chart, lines, rows } of this.#cards.values()) {
      lines
        .filter((one) => !one.core)
        .forEach((one, place) => {
          const value = sample ? one.get(sample) : null;
          if (rows[place])
            rows[place].textContent = chart.unit === "count" ? whole(value) : withUnit(value, one.unit ?? chart.unit);
        });
    }
  }
}
