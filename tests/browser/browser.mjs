// A real headless Chromium, and what every look at the page asks of it.
//
//   CHROMIUM=FILE   the browser, /usr/bin/chromium where unset
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const { CHROMIUM = "/usr/bin/chromium" } = process.env;
const SHOTS = fileURLToPath(new URL("../../target/screenshots/", import.meta.url));
export const PICTURE = fileURLToPath(new URL("../../models/digits/samples/7-03.png", import.meta.url));
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;
before(async () => {
  await mkdir(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
});
after(() => browser?.close());

/** Opens the page at `url`; whatever leaves the origin or breaks the policy is noted. */
export async function visit(
  context,
  url,
  { width = 1280, height = 800, colorScheme = "light", until = "live", ...more } = {},
) {
  const own = await browser.newContext({ viewport: { width, height }, colorScheme, ...more });
  context.after(() => own.close());
  const page = await own.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.stack));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !message.text().startsWith("Failed to load resource"))
      faults.push(message.text());
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== url && protocol !== "blob:") faults.push(`asked elsewhere: ${request.url()}`);
  });
  await page.goto(url);
  if (more.javaScriptEnabled !== false) await page.locator("#contact", { hasText: until }).waitFor();
  return { page, faults };
}

/** What a person with another way of seeing or another screen would trip over. */
export async function sound(page, faults, where) {
  const wide = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide[0] <= wide[1], `${where}: ${wide[0]} px are wider than the window's ${wide[1]} px`);
  const findings = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
  const told = findings.violations.map(
    (one) => `${one.id}: ${one.nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`,
  );
  assert.deepEqual(told, [], `${where}: axe-core finds something`);
  assert.deepEqual(faults, [], where);
}

export const shot = (page, name) => page.screenshot({ path: `${SHOTS}${name}.png`, fullPage: true });
