// What the daemon says, asked for by one small request at a time.

const EVERY_MS = 2000;
const HIDDEN_MS = 30_000;
const LONGEST_MS = 30_000;
const PATIENCE_MS = 5000;
const MINUTE_MS = 60_000;
/** A young daemon's few samples are not lost in an empty quarter of an hour. */
const WINDOWS_MS = [1, 2, 5, 15].map((minutes) => minutes * MINUTE_MS);

async function ask(path) {
  const response = await fetch(path, {
    headers: { accept: "application/json" },
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (!response.ok) throw new Error(`it answers ${response.status}`);
  return response.json();
}

/** The samples that are drawn, in the order of their time. */
export class History {
  samples = [];
  spans = [];
  interval = 10_000;
  /** What is drawn. */
  window = WINDOWS_MS[0];
  #kept = WINDOWS_MS.at(-1);

  get last() {
    return this.samples.at(-1);
  }

  take(answer) {
    this.interval = (answer.interval_seconds ?? 10) * 1000;
    this.spans = answer.firing ?? [];
    for (const sample of answer.samples ?? []) this.push(sample);
    const length = this.samples.length ? this.last.at_ms - this.samples[0].at_ms : 0;
    this.#kept = Math.max(this.#kept, length);
    this.window = WINDOWS_MS.find((window) => window >= length) ?? length;
  }

  push(sample) {
    if (!Number.isFinite(sample?.at_ms)) return;
    // Where the daemon's clock stepped back, what it took for the future is over.
    while (this.last?.at_ms >= sample.at_ms) this.samples.pop();
    this.samples.push(sample);
    while (this.samples[0].at_ms < sample.at_ms - this.#kept) this.samples.shift();
  }
}

/** Asks for the state again and again: `onStatus` hears every answer, `onSilence` every question without one. */
export class Contact {
  failures = 0;
  lastMs = null;
  nextMs = null;
  history = new History();
  #timer = null;
  #asking = false;
  #number = null;
  #askedMs = null;
  #uptime = 0;
  #changes = null;

  constructor(onStatus, onSilence) {
    this.onStatus = onStatus;
    this.onSilence = onSilence;
    document.addEventListener("visibilitychange", () => document.hidden || this.now());
    addEventListener("online", () => this.now());
  }

  now() {
    clearTimeout(this.#timer);
    if (!this.#asking) this.#look();
  }

  async #look() {
    this.#asking = true;
    try {
      const status = await ask("/api/v1/monitoring/status");
      const grown = await this.#follow(status);
      this.failures = 0;
      this.lastMs = Date.now();
      this.onStatus(status, grown);
    } catch (error) {
      this.failures += 1;
      this.onSilence(error);
    }
    this.#asking = false;
    const patience = Math.min(LONGEST_MS, EVERY_MS * 2 ** Math.max(0, this.failures - 1));
    const wait = Math.max(patience, document.hidden ? HIDDEN_MS : 0);
    this.nextMs = Date.now() + wait;
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  /** Brings the history up to the status: asked for where a sample was taken since, or where an alert came or went. */
  async #follow(status) {
    const now = performance.now();
    const alerts = status.alerts ?? {};
    const changes = JSON.stringify([
      alerts.firing?.map((alert) => [alert.alert, alert.instance, alert.since]),
      alerts.changes?.at(-1)?.at,
    ]);
    const uptime = status.uptime_seconds ?? 0;
    const started = uptime < this.#uptime;
    this.#uptime = uptime;
    const age = status.snapshot?.age_seconds;
    const taken = this.#askedMs === null || (Number.isFinite(age) && age * 1000 < now - this.#askedMs);
    if (!taken && !started && changes === this.#changes) return false;
    const whole = this.#number === null || started;
    let answer = await ask(`/api/v1/history${whole ? "" : `?after=${this.#number}`}`);
    // Another daemon counts from the beginning.
    if (taken && !whole && !answer.samples?.length) answer = await ask("/api/v1/history");
    this.history.take(answer);
    this.#number = this.history.last?.number ?? null;
    this.#askedMs = now;
    this.#changes = changes;
    return true;
  }
}
