// A daemon that says what a test wants it to say. The page comes from a real one (`pageFrom`), or, for work on the page
// itself, straight from page/:
//
//   npm run fake -- healthy|alert|bare [PORT]
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const PAGE = new URL("../../page/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const INTERVAL_MS = 10_000;
const SAMPLES = 90;

function random(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const rule = (raise_above, clear_below, unit = "percent", severity = "warning") => ({
  raise_above,
  clear_below,
  unit,
  severity,
  enabled: true,
  consecutive: 3,
  clear_consecutive: 3,
});
const THRESHOLDS = {
  cpu: rule(80, 70),
  memory: rule(85, 80),
  swap: rule(60, 50),
  disk: rule(90, 85),
  gpu_memory: rule(90, 85),
  gpu_temperature: rule(85, 80, "celsius"),
  temperature: rule(85, 80, "celsius"),
  pressure_cpu: rule(60, 40, "percent", "info"),
  pressure_memory: rule(20, 10),
  pressure_io: rule(40, 20, "percent", "info"),
  latency: rule(100, 80, "ms"),
  errors: rule(5, 1),
  queue: rule(80, 50),
  not_ready: rule(50, 50, "percent", "critical"),
  restarts: rule(2, 1, "restarts"),
};

/** A quarter of an hour of a box: `story` changes each sample by its place from 0 (oldest) to 1 (newest). */
function history(now, seed, story) {
  const chance = random(seed);
  const wave = (place, turns) => Math.sin(place * Math.PI * 2 * turns + seed);
  const samples = [];
  for (let at = 0; at < SAMPLES; at += 1) {
    const place = at / (SAMPLES - 1);
    const cpu = 34 + 9 * wave(place, 2) + 8 * chance();
    const p50 = 6.1 + 0.6 * wave(place, 3) + chance();
    const sample = {
      number: at + 1,
      at_ms: now - (SAMPLES - 1 - at) * INTERVAL_MS,
      cpu_percent: cpu,
      cores_percent: Array.from({ length: 4 }, (_, core) =>
        Math.max(1, Math.min(100, cpu + 14 * wave(place, 4 + core) + 12 * (chance() - 0.5))),
      ),
      memory_percent: 51 + 2 * wave(place, 1) + 0.5 * chance(),
      swap_percent: 3,
      disks: [
        { mount: "/", percent: 45.2 },
        { mount: "/data", percent: 71 + place },
      ],
      gpus: [],
      temperatures: [
        { sensor: "cpu", celsius: 52 + 3 * wave(place, 2) + chance() },
        { sensor: "board", celsius: 41 + chance() },
      ],
      pressure: { cpu: 4 + 3 * chance(), memory: 0, io: 1.2 * chance() },
      requests_per_second: 42 + 8 * wave(place, 2) + 5 * chance(),
      errors_percent: chance() < 0.07 ? 0.4 : 0,
      p50_ms: p50,
      p95_ms: p50 * 1.9 + 2 * chance(),
      p99_ms: p50 * 2.6 + 5 * chance(),
      queue_waiting: Math.floor(3 * chance()),
    };
    story(sample, place, chance);
    samples.push(sample);
  }
  return samples;
}

const iso = (ms) => new Date(ms).toISOString();

/** What the daemon says in each story. */
export function scenario(name, now = Date.now()) {
  return { ...told(name, now), measured: Date.now() - 1200 };
}

function told(name, now) {
  const alert = (fields) => ({
    instance: "",
    severity: "warning",
    unit: "percent",
    consecutive: 3,
    message: "",
    ...fields,
  });
  // As the daemon has them: the oldest first.
  const changes = [
    alert({
      alert: "disk",
      instance: "/data",
      value: 91.4,
      threshold: 90,
      since: iso(now - 7_900_000),
      at: iso(now - 7_900_000),
      state: "firing",
    }),
    alert({
      alert: "disk",
      instance: "/data",
      value: 84.2,
      threshold: 85,
      since: iso(now - 7_900_000),
      at: iso(now - 7_200_000),
      state: "resolved",
    }),
  ];
  const base = {
    ready: true,
    reason: null,
    phase: "running",
    gpu: false,
    firing: [],
    changes,
    spans: [],
    model: {
      name: "digits",
      version: "3",
      variant: "quantized",
      variant_reason: "qualified on this box: it agrees to 99.20 % on 250 frames (the same best class in 248 of 250 rows), it is 3.10 times as fast (3.02 to 3.17)",
      provider: "CPUExecutionProvider",
      loaded_at: iso(now - 93_000_000),
      takes_pictures: true,
      canary: { state: "well", reason: null, asks: "known answer" },
    },
    actors: ["model", "engine", "web", "monitor", "alert"].map((room) => ({ name: room, state: "up", restarts: 0 })),
  };
  if (name === "healthy") {
    const hole = (sample, place) => place > 0.42 && place < 0.5;
    return { ...base, samples: history(now, 7, () => {}).filter((sample, at) => !hole(sample, at / SAMPLES)) };
  }
  if (name === "bare") {
    const nothing = {
      cpu_percent: 7,
      cores_percent: [],
      memory_percent: null,
      swap_percent: null,
      disks: [],
      gpus: [],
      temperatures: [],
      pressure: null,
      requests_per_second: 0,
      errors_percent: null,
      p50_ms: null,
      p95_ms: null,
      p99_ms: null,
      queue_waiting: 0,
    };
    const samples = history(now, 3, (sample) => Object.assign(sample, nothing)).slice(-2);
    return {
      ...base,
      ready: false,
      reason: "the model is being loaded",
      phase: "starting",
      model: null,
      changes: [],
      samples,
      actors: base.actors.slice(0, 1),
    };
  }
  const from = now - 250_000;
  const samples = history(now, 11, (sample, place, chance) => {
    const climb = Math.max(0, place - 0.35) / 0.65;
    sample.memory_percent = 58 + 35 * Math.min(1, climb * 1.25) + chance();
    sample.swap_percent = 4 + 38 * climb;
    sample.pressure.memory = Math.max(0, 34 * climb ** 2 + 4 * chance());
    sample.cpu_percent = Math.min(100, sample.cpu_percent + 30 * climb);
    sample.cores_percent = sample.cores_percent.map((core) => Math.min(100, core + 30 * climb));
    for (const key of ["p50_ms", "p95_ms", "p99_ms"]) sample[key] *= 1 + 7 * climb ** 2;
    sample.queue_waiting = Math.round(44 * climb ** 3);
    sample.requests_per_second *= 1 - 0.45 * climb;
    sample.errors_percent = climb > 0.9 ? 3.4 : 0;
    sample.gpus = [
      { name: "0", utilisation_percent: 60 + 20 * chance(), memory_percent: 71, temperature_celsius: 66 + 10 * climb },
    ];
  });
  const last = samples.at(-1);
  const firing = [
    alert({
      alert: "memory",
      value: last.memory_percent,
      threshold: 85,
      consecutive: 26,
      since: iso(from),
      message: "memory is 92.8 %, above 85.0 % for 26 samples",
    }),
    alert({
      alert: "pressure_memory",
      value: last.pressure.memory,
      threshold: 20,
      consecutive: 14,
      since: iso(now - 130_000),
      message: "pressure_memory is 34.6 %, above 20.0 % for 14 samples",
    }),
  ];
  const spans = firing.map((one) => ({ alert: one.alert, instance: "", from_ms: Date.parse(one.since), to_ms: null }));
  spans.push({ alert: "latency", instance: "", from_ms: now - 640_000, to_ms: now - 560_000 });
  const fresh = [
    alert({
      alert: "latency",
      value: 61,
      threshold: 100,
      unit: "ms",
      since: iso(now - 640_000),
      at: iso(now - 560_000),
      state: "resolved",
    }),
    ...firing.map((one) => ({ ...one, state: "firing", at: one.since })),
  ];
  const trouble = { ...base, gpu: true, samples, firing, changes: [...changes, ...fresh], spans };
  trouble.actors = base.actors.map((actor) => (actor.name === "engine" ? { ...actor, restarts: 1 } : actor));
  if (name !== "unready") return trouble;
  const unready = alert({
    alert: "not_ready",
    severity: "critical",
    value: 100,
    threshold: 50,
    consecutive: 9,
    since: iso(now - 95_000),
    message: "not_ready is 100.0 %, above 50.0 % for 9 samples",
  });
  return {
    ...trouble,
    ready: false,
    reason: "canary: the answers differ from those at warm-up",
    firing: [unready, ...firing],
    model: { ...base.model, canary: { ...base.model.canary, state: "failing", reason: "the answers differ" } },
    spans: [...spans, { alert: "not_ready", instance: "", from_ms: now - 95_000, to_ms: null }],
  };
}

/** A sample of the box as the status has it. */
function resources(sample) {
  if (!sample) return { cpu: null, memory: null, swap: null, disks: [], gpus: [], pressure: null, temperatures: [] };
  const percent = (used_percent) => (used_percent === null ? null : { scope: "box", used_percent });
  return {
    cpu: { scope: "box", usage_percent: sample.cpu_percent, per_core: [] },
    memory: percent(sample.memory_percent),
    swap: percent(sample.swap_percent),
    disks: sample.disks.map(({ mount, percent }) => ({ mount, used_percent: percent })),
    gpus: [],
    pressure: null,
    temperatures: [],
  };
}

export function status(story) {
  const last = story.samples.at(-1) ?? null;
  return {
    monitoring_active: true,
    monitor_interval: INTERVAL_MS / 1000,
    thresholds: THRESHOLDS,
    gpu_available: story.gpu,
    current_resources: resources(last),
    snapshot: { age_seconds: (Date.now() - story.measured) / 1000, stale: false },
    ready: story.ready,
    reason: story.reason,
    phase: story.phase,
    model: story.model,
    queue: { waiting: last?.queue_waiting ?? 0, limit: 64 },
    traffic: {
      requests_per_second: last?.requests_per_second ?? 0,
      errors_percent: last?.errors_percent ?? null,
      p50_ms: last?.p50_ms ?? null,
      p95_ms: last?.p95_ms ?? null,
      p99_ms: last?.p99_ms ?? null,
    },
    alerts: { firing: story.firing, changes: story.changes },
    actors: story.actors,
    build: { version: "0.1.0", commit: "0123456789ab", runtime: "1.31.1" },
    uptime_seconds: 93_211,
    host: "box1",
  };
}

export const past = (story, after = 0) => ({
  interval_seconds: INTERVAL_MS / 1000,
  samples: story.samples.filter((sample) => sample.number > after),
  firing: story.spans,
});

async function fromFolder(path) {
  if (path === "/") {
    const values = {
      assets: "/assets/0",
      tone: "well",
      word: "Serving",
      host: "edge-service",
      reason_hidden: " hidden",
      changes_hidden: " hidden",
    };
    const text = await readFile(new URL("index.html", PAGE), "utf8");
    return { type: TYPES.html, body: text.replace(/\{\{(\w+)\}\}/g, (_, key) => values[key] ?? "") };
  }
  const name = path.split("/").at(-1);
  const body = await readFile(new URL(name.startsWith("uPlot") ? `vendor/${name}` : name, PAGE));
  return { type: TYPES[name.split(".").at(-1)] ?? "text/plain", body };
}

/** Starts it; a `mute` one has the page but no news: `say(name)` changes what it says, `push()` measures once more, `stop()` lets it go silent. */
export async function start(name, { pageFrom = null, port = 0, mute = false } = {}) {
  let story = scenario(name);
  const asked = [];
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    asked.push(`${request.method} ${request.url}`);
    const json = (code, value) => {
      response.writeHead(code, { "content-type": "application/json" });
      response.end(JSON.stringify(value));
    };
    try {
      if (mute && pathname.startsWith("/api/")) return json(404, { error: "Not Found" });
      if (pathname === "/api/v1/monitoring/status") return json(200, status(story));
      if (pathname === "/api/v1/history") {
        const after = Number(searchParams.get("after") ?? 0);
        return json(200, past(story, after));
      }
      if (pathname === "/api/v1/frames" && request.method === "POST") {
        const parts = [];
        for await (const part of request) parts.push(part);
        const body = Buffer.concat(parts);
        const picture = body.subarray(1, 4).toString("latin1") === "PNG" || (body[0] === 0xff && body[1] === 0xd8);
        if (!picture) return json(400, { error: "the body is neither a JPEG nor a PNG picture" });
        const scores = [
          ["7", 7, 0.949],
          ["9", 9, 0.031],
          ["2", 2, 0.011],
          ["3", 3, 0.006],
          ["1", 1, 0.002],
        ];
        return json(200, {
          id: "00003ec5-4",
          model_name: "digits",
          predictions: scores.map(([label, index, score]) => ({ label, index, score })),
          timing_ms: { decode: 0.05, preprocess: 0.06, queue: 0.01, inference: 0.35 },
        });
      }
      if (pathname !== "/" && !pathname.startsWith("/assets/")) return json(404, { error: "Not Found" });
      if (pageFrom) {
        const real = await fetch(new URL(request.url, pageFrom), { headers: { "accept-encoding": "identity" } });
        const headers = Object.fromEntries(
          [...real.headers].filter(
            ([key]) => !["connection", "content-encoding", "content-length", "transfer-encoding"].includes(key),
          ),
        );
        response.writeHead(real.status, headers);
        return response.end(Buffer.from(await real.arrayBuffer()));
      }
      const { type, body } = await fromFolder(pathname);
      response.writeHead(200, {
        "content-type": type,
        "content-security-policy": POLICY,
        "cache-control": pathname === "/" ? "no-cache" : "max-age=60",
      });
      return response.end(body);
    } catch {
      return json(500, { error: "the fake daemon failed" });
    }
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const own = server.address().port;
  return {
    url: `http://127.0.0.1:${own}`,
    asked,
    say: (other) => {
      story = scenario(other);
    },
    push: () => {
      const last = story.samples.at(-1);
      story.samples.push({ ...last, number: last.number + 1, at_ms: last.at_ms + INTERVAL_MS, cpu_percent: 61 });
      story.measured = Date.now();
    },
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(resolve);
      }),
    /** Another daemon on the same box, whose clock is `shift` milliseconds off. */
    restart: (shift) => {
      const samples = story.samples.slice(-3).map((sample, at) => ({
        ...sample,
        number: at + 1,
        at_ms: Date.now() + shift - (2 - at) * INTERVAL_MS,
        cpu_percent: 33,
      }));
      story = { ...story, samples, measured: Date.now() };
    },
    again: () => new Promise((resolve) => server.listen(own, "127.0.0.1", resolve)),
  };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const fake = await start(process.argv[2] ?? "healthy", {
    port: Number(process.argv[3] ?? 8099),
    pageFrom: process.env.PAGE_FROM,
  });
  console.log(fake.url);
}
