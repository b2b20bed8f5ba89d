// The page and the daemon behind it, nothing made up: under load, under an alert, and after the daemon was killed.
//
//   BINARY=FILE   the daemon, target/release/edge-service where unset
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { PICTURE, shot, sound, visit } from "./browser.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const { BINARY = join(ROOT, "target/release/edge-service") } = process.env;
const LOOKS = [
  { width: 320, height: 640, colorScheme: "dark" },
  { width: 1280, height: 800, colorScheme: "light" },
  { width: 1280, height: 800, colorScheme: "dark" },
];
const name = (what, { width, colorScheme }) => `daemon-${what}-${colorScheme}-${width}`;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A daemon that samples twice a second and has only those alerts that `rules` makes it have. */
async function daemon(context, rules = {}) {
  const [port, state] = [await freePort(), await mkdtemp(join(tmpdir(), "edge-service-page-"))];
  const url = `http://127.0.0.1:${port}`;
  const settings = { MONITOR__INTERVAL_SECONDS: 0.5, ALERTS__CONSECUTIVE: 10_000, ...rules };
  const environment = Object.entries(settings).map(([key, value]) => [`EDGE_SERVICE__${key}`, String(value)]);
  const env = { ...process.env, STATE_DIRECTORY: state, ...Object.fromEntries(environment) };
  const args = ["run", "--config", "config/edge-service.toml", "--listen", `127.0.0.1:${port}`];
  let child = null;
  const begin = async () => {
    child = spawn(BINARY, args, { cwd: ROOT, env, stdio: "ignore" });
    for (let tries = 0; tries < 300; tries += 1) {
      const ready = await fetch(`${url}/readyz`).catch(() => null);
      if (ready?.ok) return;
      assert.equal(child.exitCode, null, "the daemon ended before it was ready");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.fail("the daemon is not ready after 30 s");
  };
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  context.after(async () => {
    await kill();
    await rm(state, { recursive: true, force: true });
  });
  await begin();
  return { url, kill, begin };
}

/** Asks for a picture's labels again and again, now quicker, now slower. */
function load(context, url) {
  let over = false;
  const asking = (async () => {
    const body = await readFile(PICTURE);
    for (let turn = 0; !over; turn += 1) {
      const answer = await fetch(`${url}/api/v1/frames`, { method: "POST", body }).catch(() => null);
      await answer?.arrayBuffer();
      await new Promise((resolve) => setTimeout(resolve, 10 + 30 * (1 + Math.sin(turn / 40))));
    }
  })();
  const stop = () => {
    over = true;
    return asking;
  };
  context.after(stop);
  return stop;
}

const samples = (page, count) =>
  page.waitForFunction((count) => Number(document.getElementById("time").max) >= count, count);
const status = async (url) => (await fetch(`${url}/api/v1/monitoring/status`)).json();
const figure = (page, what) => page.locator(`[data-figure=${what}] .number`).textContent();

test("a daemon at work shows its load, and its past to whoever comes later", async (context) => {
  const { url } = await daemon(context);
  load(context, url);
  await visit(context, url).then(({ page }) => samples(page, 25));

  for (const look of LOOKS) {
    const { page, faults } = await visit(context, url, look);
    assert.ok(Number(await page.locator("#time").getAttribute("max")) >= 20, "the past is not there at once");
    const said = await status(url);
    assert.equal(await page.locator("#word").textContent(), "Serving");
    assert.equal(await page.locator("#host").textContent(), said.host);
    assert.equal(await page.locator("body").getAttribute("data-tone"), "well");
    const drawn = await page.locator("#grid figure .title").allTextContents();
    for (const chart of ["Requests", "Latency", "Queue", "CPU", "Memory"]) assert.ok(drawn.includes(chart), drawn);
    const lines = await page.locator("[data-chart=latency] .label").allTextContents();
    assert.deepEqual(lines, ["p50", "p95", "p99"]);
    for (const what of ["rate", "p95", "cpu", "memory"])
      assert.ok(Number(await figure(page, what)) > 0, `${what} has no value`);
    const memory = Number(await figure(page, "memory"));
    assert.ok(Math.abs(memory - said.current_resources.memory.used_percent) < 5, `memory ${memory}`);
    for (const what of ["p95", "cpu", "memory"])
      assert.match(await page.locator(`[data-figure=${what}] .limit`).textContent(), /^limit \d/);

    await page.locator("#file").setInputFiles(PICTURE);
    await page.locator("#labels li").first().waitFor();
    assert.match(await page.locator("#verdict").textContent(), /^7, \d/);
    assert.equal(await page.locator("#timing div").count(), 4);
    assert.ok(await page.locator("#picture").evaluate((picture) => picture.naturalWidth > 0));
    await page
      .locator("#file")
      .setInputFiles({ name: "note.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
    await page.locator("#verdict[data-failed=yes]").waitFor();
    await page.locator("#file").setInputFiles(PICTURE);
    await page.locator("#labels li").first().waitFor();
    await sound(page, faults, `at work ${look.width}`);
    await shot(page, name("at-work", look));
  }

  const { page } = await visit(context, url, { javaScriptEnabled: false });
  assert.ok(Number(await figure(page, "memory")) > 0, "without script there is no memory");
  assert.match(await page.locator("[data-figure=memory] .line").getAttribute("d"), /^M.*L/);
  await shot(page, "daemon-at-work-noscript");
});

test("an alert is shown as it fires, then the daemon is gone, then back", async (context) => {
  const memory = { RAISE_ABOVE: 1, CLEAR_BELOW: 0.5, CONSECUTIVE: 2 };
  const rules = Object.entries(memory).map(([key, value]) => [`ALERTS__RULES__MEMORY__${key}`, value]);
  const { url, kill, begin } = await daemon(context, Object.fromEntries(rules));
  const stop = load(context, url);
  const pages = [];
  for (const look of LOOKS) {
    const { page, faults } = await visit(context, url, look);
    await page.locator("#firing b", { hasText: "Memory" }).waitFor();
    pages.push([look, page, faults]);
  }
  await samples(pages[0][1], 20);
  for (const [look, page, faults] of pages) {
    await page.bringToFront();
    await page.locator("#contact", { hasText: "live" }).waitFor();
    assert.equal(await page.locator("#word").textContent(), "Serving");
    assert.equal(await page.locator("body").getAttribute("data-tone"), "warn");
    assert.match(await page.locator("#firing .much").textContent(), /^[\d.]+\s%, limit 1\s%, \d+ samples, warning$/);
    assert.match(await page.locator("[data-figure=memory] .note").textContent(), /over, \d+ samples$/);
    assert.equal(await page.locator("[data-chart=memory]").getAttribute("data-firing"), "yes");
    await sound(page, faults, `alert ${look.width}`);
    await shot(page, name("alert", look));
  }
  const { page: still } = await visit(context, url, { javaScriptEnabled: false });
  assert.equal(await still.locator("#firing b").textContent(), "Memory");
  await shot(still, "daemon-alert-noscript");

  await kill();
  await stop();
  for (const [look, page, faults] of pages) {
    await page.bringToFront();
    await page.locator("body[data-tone=lost]").waitFor({ timeout: 10_000 });
    assert.match(await page.locator("#word").textContent(), /^No contact for /);
    assert.equal(await page.locator("#firing b").textContent(), "Memory", "what was known is gone");
    await sound(page, faults, `gone ${look.width}`);
    await shot(page, name("gone", look));
  }

  await begin();
  const [, page] = pages[1];
  await page.bringToFront();
  await page.locator("#again").click();
  await page.locator("#word", { hasText: "Serving" }).waitFor();
  await page.locator("#firing b", { hasText: "Memory" }).waitFor();
  const last = () => page.locator("[data-figure=memory] .line").getAttribute("d");
  const before = await last();
  await page.waitForFunction((d) => document.querySelector("[data-figure=memory] .line").getAttribute("d") !== d, before);
});
