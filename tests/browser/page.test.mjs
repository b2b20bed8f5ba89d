// The page in a real headless Chromium, as a person meets it: on a healthy box, under alerts, on a box that is not ready,
// and with the daemon gone; light and dark, from a phone to a wall. Screenshots go to target/screenshots.
//
//   PAGE_FROM=URL   the page and its headers come from a daemon at URL, what it says from fake.mjs (else: page/ itself)
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { PICTURE, shot, sound, visit } from "./browser.mjs";
import { past, scenario, start, status } from "./fake.mjs";

const { PAGE_FROM } = process.env;
const SIZES = [
  [320, 640],
  [1280, 800],
  [2560, 1440],
];
const SCHEMES = ["light", "dark"];

/** Opens the page against a daemon that says `story`. */
async function open(context, story, { mute = false, ...look } = {}) {
  const fake = await start(story, { pageFrom: PAGE_FROM, mute });
  context.after(() => fake.stop().catch(() => {}));
  return { fake, ...(await visit(context, fake.url, look)) };
}

async function everywhere(context, story, look, { gone = false } = {}) {
  for (const colorScheme of SCHEMES) {
    for (const [width, height] of SIZES) {
      const { page, fake, faults } = await open(context, story, { width, height, colorScheme });
      const name = gone ? "gone" : story;
      if (gone) {
        await fake.stop();
        await page.locator("body[data-tone=lost]").waitFor({ timeout: 10_000 });
      }
      await look(page, fake);
      await sound(page, faults, `${name} ${colorScheme} ${width}`);
      await shot(page, `${name}-${colorScheme}-${width}`);
      await page.context().close();
    }
  }
}

const word = (page) => page.locator("#word").textContent();
const charts = (page) => page.locator("#grid figure .title").allTextContents();

test("what the page says is what the daemon says", async (context) => {
  await everywhere(context, "healthy", async (page, { url }) => {
    const status = await (await fetch(`${url}/api/v1/monitoring/status`)).json();
    assert.equal(await word(page), status.ready ? "Serving" : "Not ready");
    assert.equal(await page.locator("#firing li").count(), status.alerts.firing.length);
    assert.equal(await page.locator("#host").textContent(), status.host);
    assert.ok((await page.locator("#grid canvas").count()) > 0, "no chart is drawn");
    assert.equal(await page.locator("#try").isVisible(), status.model?.takes_pictures === true);
    assert.equal(await page.locator("#span").textContent(), "15 minutes");
  });
});

test("it may do nothing but talk to its daemon", async (context) => {
  const { page, fake } = await open(context, "healthy");
  const { headers, body } = await page.evaluate(async () => {
    const response = await fetch("/");
    return { headers: Object.fromEntries(response.headers), body: await response.text() };
  });
  assert.match(headers["content-security-policy"], /^default-src 'none';/);
  assert.doesNotMatch(headers["content-security-policy"], /unsafe|\*|http/);
  assert.doesNotMatch(body, /<style| style=|<script>/);
  const broken = await page
    .evaluate(async () => {
      const told = new Promise((resolve) =>
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective), {
          once: true,
        }),
      );
      const script = document.createElement("script");
      script.setAttribute("src", "http://127.0.0.1:9/");
      document.head.append(script);
      return told;
    })
    .catch((error) => error.message);
  assert.match(broken, /script-src|TrustedScriptURL|trusted/i);
  if (!PAGE_FROM) return;
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal(headers["referrer-policy"], "no-referrer");
  const origin = PAGE_FROM;
  const path = body.match(/\/assets\/[^"]*page\.js/)[0];
  const file = await fetch(new URL(path, origin), { headers: { "accept-encoding": "gzip" } });
  assert.equal(file.headers.get("content-encoding"), "gzip");
  assert.match(file.headers.get("cache-control"), /immutable/);
  assert.equal(file.headers.get("x-content-type-options"), "nosniff");
  const other = await fetch(new URL(path.replace(/\/assets\/[^/]*/, "/assets/0000000000000000"), origin));
  assert.equal(other.status, 404);
});

test("a moment is looked at by keyboard in all charts", async (context) => {
  const { page } = await open(context, "healthy");
  const stops = [];
  for (let press = 0; press < 12; press += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const focused = document.activeElement;
      if (focused === document.body) return null;
      const shown = focused.id === "file" ? focused.closest("label") : focused;
      const { outlineStyle, outlineWidth } = getComputedStyle(shown);
      return {
        name: focused.id || focused.getAttribute("href"),
        seen: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
      };
    });
    if (!stop) break;
    stops.push(stop);
  }
  assert.deepEqual(
    stops.filter((stop) => !stop.seen),
    [],
    "a focus cannot be seen",
  );
  const names = stops.map((stop) => stop.name);
  for (const name of ["#alerts", "time", "/metrics", "/readyz", "/v2"])
    assert.ok(names.includes(name), `${name} is not reached: ${names}`);
  assert.ok(names.includes("file"), "the drop zone is not reached");

  await page.locator(".skip").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "alerts");

  await page.locator("#time").focus();
  const now = await page.locator("[data-chart=cpu] .worth").last().textContent();
  for (let press = 0; press < 20; press += 1) await page.keyboard.press("ArrowLeft");
  assert.match(await page.locator("#moment").textContent(), /^\d\d:\d\d:\d\d$/);
  assert.notEqual(await page.locator("[data-chart=cpu] .worth").last().textContent(), now);
  assert.ok(await page.locator("[data-chart=disks] .u-cursor-x").isVisible(), "the crosshair is in one chart only");
  await shot(page, "moment-light-1280");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#moment").textContent(), "now");
});

test("a pointer over one chart reads all of them", async (context) => {
  const { page } = await open(context, "healthy");
  const box = await page.locator("[data-chart=memory] .u-over").boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + box.height / 2);
  assert.match(await page.locator("#moment").textContent(), /^\d\d:\d\d:\d\d$/);
  const at = (chart) =>
    page
      .locator(`[data-chart=${chart}] .u-cursor-x`)
      .evaluate((line) => line.getBoundingClientRect().x - line.closest(".u-over").getBoundingClientRect().x);
  assert.ok(Math.abs((await at("memory")) - box.width * 0.3) < 8);
  assert.ok((await at("disks")) > 0);
  await page.mouse.move(1, 1);
  assert.equal(await page.locator("#moment").textContent(), "now");
});

test("alerts come first, with their measure and since when", async (context) => {
  await everywhere(context, "alert", async (page) => {
    assert.equal(await word(page), "Serving");
    assert.equal(await page.locator("body").getAttribute("data-tone"), "warn");
    assert.deepEqual(await page.locator("#firing b").allTextContents(), ["Memory", "Memory pressure"]);
    assert.match(await page.locator("#firing .when").first().textContent(), /^since .*\d\d:\d\d$/);
    assert.match(await page.locator("[data-figure=memory] .note").textContent(), /% over, 26 samples/);
    assert.equal(await page.locator("[data-chart=memory]").getAttribute("data-firing"), "yes");
    assert.deepEqual(await charts(page), [
      "Requests",
      "Latency",
      "Queue",
      "CPU",
      "Memory",
      "Pressure",
      "GPU",
      "Temperature",
      "Disks",
    ]);
  });
});

test("a box that does not serve says why and since when", async (context) => {
  await everywhere(context, "unready", async (page) => {
    assert.equal(await word(page), "Not ready");
    assert.match(await page.locator("#reason").textContent(), /^canary: the answers differ .* since .*\d\d:\d\d$/);
    assert.equal(await page.locator("body").getAttribute("data-tone"), "bad");
    assert.match(await page.title(), /^Not ready · box1$/);
  });
});

test("what the box lacks is not drawn", async (context) => {
  const { page, faults } = await open(context, "bare");
  assert.deepEqual(await charts(page), ["Requests", "Latency", "Queue", "CPU"]);
  assert.equal(await page.locator("[data-figure=memory] .number").textContent(), "–");
  assert.equal(await page.locator("#span").textContent(), "minute", "few samples are lost in a long time");
  assert.equal(await page.locator("#try").isVisible(), false);
  await sound(page, faults, "bare");
  await shot(page, "bare-light-1280");
});

test("a daemon that is gone is said at once, and so is its return", async (context) => {
  await everywhere(
    context,
    "alert",
    async (page) => {
      assert.match(await word(page), /^No contact for \d+\s(s|min)/);
      assert.match(await page.locator("#box").textContent(), /as it was at \d\d:\d\d:\d\d/);
      assert.match(await page.locator("#spoken").textContent(), /No contact/);
      assert.ok(await page.locator("#again").isVisible());
    },
    { gone: true },
  );

  const { page, fake } = await open(context, "healthy");
  await fake.stop();
  await page.locator("body[data-tone=lost]").waitFor({ timeout: 10_000 });
  const before = await word(page);
  await page.waitForFunction((old) => document.getElementById("word").textContent !== old, before);
  await fake.again();
  await page.locator("#again").click();
  await page.locator("#word", { hasText: "Serving" }).waitFor();
  assert.equal(await page.locator("#again").isVisible(), false);
  assert.match(await page.locator("#spoken").textContent(), /^Serving/);
});

test("it asks for little, and less and less of a daemon that is gone", async (context) => {
  const { page, fake } = await open(context, "healthy");
  const begun = fake.asked.length;
  await page.waitForTimeout(6500);
  const asked = fake.asked.slice(begun);
  assert.ok(asked.length >= 2 && asked.length <= 4, `${asked}`);
  assert.deepEqual([...new Set(asked)], ["GET /api/v1/monitoring/status"]);

  let tries = 0;
  page.on("requestfailed", () => {
    tries += 1;
  });
  await fake.stop();
  await page.waitForTimeout(12_500);
  assert.ok(tries >= 2 && tries <= 4, `${tries} tries in 12 s`);
});

test("a new sample is asked for when it is there, and news is heard", async (context) => {
  const { page, fake } = await open(context, "healthy");
  const asked = () => fake.asked.filter((path) => path.includes("history"));
  fake.push();
  await page.locator("[data-chart=cpu] .worth", { hasText: "61" }).waitFor();
  assert.deepEqual(asked(), ["GET /api/v1/history", "GET /api/v1/history?after=90"]);
  fake.say("unready");
  await page.locator("#word", { hasText: "Not ready" }).waitFor();
  assert.match(await page.locator("#spoken").textContent(), /Not ready/);
  assert.ok(asked().length > 2, "the spans that fire were not asked for");
});

test("a daemon that starts again, or whose clock steps back, is followed", async (context) => {
  const { page, fake } = await open(context, "healthy");
  const points = () => page.locator("#time").getAttribute("max").then(Number);
  const before = await points();
  fake.restart(-3_600_000);
  await page.waitForFunction((before) => Number(document.getElementById("time").max) < before, before);
  assert.ok((await points()) >= 1);
  await page.locator("[data-chart=cpu] .worth", { hasText: "33" }).first().waitFor();
});

test("a picture is shown with its labels, a bad one with the server's words", async (context) => {
  for (const [width, height, colorScheme] of [
    [320, 640, "dark"],
    [1280, 800, "light"],
  ]) {
    const { page, faults } = await open(context, "healthy", { width, height, colorScheme });
    await page.locator("#file").setInputFiles(PICTURE);
    await page.locator("#labels li").first().waitFor();
    assert.equal(await page.locator("#verdict").textContent(), "7, 94.9 %");
    assert.equal(await page.locator("#timing div").count(), 4);
    assert.ok(await page.locator("#picture").evaluate((picture) => picture.naturalWidth > 0));
    await sound(page, faults, `try ${width}`);
    await shot(page, `try-${colorScheme}-${width}`);
    await page
      .locator("#file")
      .setInputFiles({ name: "note.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
    await page.locator("#verdict", { hasText: "neither a JPEG nor a PNG" }).waitFor();
    await sound(page, faults, `refused ${width}`);
  }
});

test("where news are not to be had, the server's own words stand", async (context) => {
  const { page } = await open(context, "healthy", { mute: true, until: "it answers 404" });
  await page.waitForTimeout(1500);
  assert.match(await word(page), /^(Serving|Not ready)$/);
  assert.notEqual(await page.locator("body").getAttribute("data-tone"), "lost");
});

test("dropped pictures are taken", async (context) => {
  const { page } = await open(context, "healthy");
  const bytes = [...(await readFile(PICTURE))];
  await page.evaluate((all) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(all)], "7.png", { type: "image/png" }));
    document
      .getElementById("drop")
      .dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }, bytes);
  await page.locator("#verdict", { hasText: "7, 94.9 %" }).waitFor();
});

/** The paths of all that is in `value`, but not of what a box or a story may lack. */
function paths(value, path = "") {
  if (value === null || typeof value !== "object") return [path];
  if (Array.isArray(value)) return value.slice(0, 1).flatMap((one) => paths(one, `${path}[]`));
  return Object.entries(value).flatMap(([key, one]) => [`${path}.${key}`, ...paths(one, `${path}.${key}`)]);
}

// What the daemon has been made up to say must be what the real one says.
if (PAGE_FROM) {
  test("the daemon that is made up says nothing that the real one does not", async () => {
    const real = async (path) => paths(await (await fetch(new URL(path, PAGE_FROM))).json());
    // Alerts, sensors and a GPU: the real box may have none now.
    const absent = /^\.(alerts|firing|samples\[\]\.(temperatures|gpus|disks|pressure|cores_percent))/;
    const story = scenario("healthy");
    for (const [path, made] of [
      ["/api/v1/monitoring/status", status(story)],
      ["/api/v1/history", past(story)],
    ]) {
      const known = new Set(await real(path));
      const unknown = paths(made).filter((one) => !known.has(one) && !absent.test(one));
      assert.deepEqual(unknown, [], path);
    }
  });
}

// What a browser without script shows is the server's own work.
if (PAGE_FROM) {
  test("without script the state stands all the same", async (context) => {
    for (const [width, height] of SIZES) {
      const { page, faults } = await open(context, "healthy", { width, height, javaScriptEnabled: false });
      assert.match(await word(page), /^(Serving|Not ready)$/);
      assert.match(await page.locator("noscript").textContent(), /Without script/);
      assert.equal(await page.locator("#charts").isVisible(), false);
      assert.ok((await page.locator("#quiet").isVisible()) || (await page.locator("#firing li").count()) > 0);
      assert.deepEqual(faults, []);
      await shot(page, `noscript-light-${width}`);
    }
  });
}
