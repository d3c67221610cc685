// Drives the README's browser snippet and the live page in a headless browser.
//
//   npm install
//   node snippet.mjs --server ../../target/release/pushloop [--browser firefox] [--screenshots DIR]
//   node snippet.mjs http://127.0.0.1:9001/ [--browser firefox] [--screenshots DIR]
//
// With --server the script runs the server itself, so that it can also stop and restart it.
// One line for each check; the exit status is 1 if one failed. Every wait is for a condition and
// bounded by WAIT_MS.

import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { WAIT_MS, assert, bounded, check, start } from "../clients/harness.mjs";
import { browsers, launch } from "./launch.mjs";
import { takeScreenshots } from "./screenshots.mjs";

const { values: options, positionals } = parseArgs({
  options: {
    server: { type: "string" }, browser: { type: "string", default: "chromium" }, screenshots: { type: "string" },
  },
  allowPositionals: true,
});
if (!options.server === !positionals[0] || !browsers.includes(options.browser)) {
  console.error(`usage: node snippet.mjs (--server PATH | URL) [--browser ${browsers.join("|")}] [--screenshots DIR]`);
  process.exit(2);
}

const startServer = (address) => start(options.server, ["--listen", address], "http");
const report = (name, run) => check(`${options.browser}-${name}`, run);

/** What a page writes to its console, and a way to wait for it. */
function listen(page) {
  const lines = [], errors = [], waiting = new Set();
  page.on("console", (message) => {
    lines.push(message.text());
    if (message.type() === "error") errors.push(message.text());
    for (const look of waiting) look();
  });
  page.on("pageerror", (error) => errors.push(error.message));
  const hear = (start) => {
    const heard = new Promise((resolve) => {
      const look = () => lines.some((line) => line.startsWith(start)) && resolve();
      waiting.add(look);
      look();
    });
    return bounded(heard, `"${start}" was not logged (only ${JSON.stringify(lines)})`);
  };
  return { hear, errors };
}

/** A page in a window of its own: one behind another is hidden, and draws nothing. */
async function openPage(browser, url) {
  const page = await (await browser.createBrowserContext()).newPage({ type: "window" });
  page.setDefaultTimeout(WAIT_MS);
  const log = listen(page);
  await page.goto(url);
  return { page, log };
}

/** The README's snippet, verbatim but for the host and port. */
function snippet(host) {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const block = readme.match(/```js\n(const socket = new WebSocket\([\s\S]*?)```/);
  assert(block, "README.md has no ```js block that starts with `const socket = new WebSocket(`");
  return block[1].replace(/ws:\/\/[^/"]+/, `ws://${host}`);
}

/** A port of this machine that nobody listens on. */
async function deadPort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

const stateIs = (page, state) => page.waitForSelector(`#state[data-state=${state}]`);

/** Waits for a row of the page's list with exactly this text. */
function rowAppears(page, text) {
  return page.waitForFunction(
    (wanted) => [...document.querySelectorAll("#messages .body")].some((body) => body.textContent === wanted),
    {}, text);
}

async function say(page, text) {
  await page.type("#text", text);
  await page.keyboard.press("Enter");
}

async function checkLivePage(browser, base) {
  const { page: one, log: oneLog } = await openPage(browser, `${base}#lobby`);
  const { page: two, log: twoLog } = await openPage(browser, `${base}#lobby`);
  await report("page-state-open", async () => {
    await Promise.all([one, two].map((page) => stateIs(page, "open")));
    for (const page of [one, two]) assert(await page.$eval("#state", (state) => state.textContent) === "open", "it does not say open");
  });
  await report("page-message-arrives", async () => {
    await say(one, "hello from the first window");
    await rowAppears(two, "hello from the first window");
  });
  await report("page-own-latency", async () => {
    await one.waitForSelector("#messages .mine");
    assert(/^[\d.,]+$/.test(await one.$eval("#latency", (latency) => latency.textContent)), "no figure is shown");
  });
  await report("page-markup-is-text", async () => {
    await say(one, "<b id=injected>bold</b>");
    await rowAppears(two, "<b id=injected>bold</b>");
    assert(await two.$("#injected") === null, "the message became an element");
  });
  await report("page-binary", async () => {
    await two.evaluate(() => {
      const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/lobby`);
      socket.onopen = () => { socket.send(new Uint8Array([0xde, 0xad, 0xbe, 0xef])); socket.close(); };
    });
    await rowAppears(one, "4 bytes  de ad be ef");
  });
  await report("page-rows-capped", async () => {
    await two.evaluate(() => {
      const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/lobby`);
      socket.onopen = () => { for (let i = 1; i <= 250; i++) socket.send(`row ${i}`); socket.close(); };
    });
    await rowAppears(one, "row 250");
    const rows = await one.$$eval("#messages li", (list) => list.length);
    assert(rows === 200, `${rows} rows are kept, not 200`);
  });
  await report("page-second-topic", async () => {
    await one.type("#topic", "scores");
    await one.keyboard.press("Enter");
    await one.waitForFunction(() => document.querySelectorAll("#topics [data-state=open]").length === 2);
    await fetch(`${base}scores`, { method: "POST", body: "Goal!" });
    await rowAppears(one, "Goal!");
  });
  await report("page-follows-its-address", async () => {
    await one.evaluate(() => { location.hash = "lobby"; });
    await one.waitForFunction(() => document.querySelectorAll("#topics li").length === 1);
  });
  for (const id of ["connections-chart", "deliveries-chart"]) {
    await report(`page-${id}-moves`, async () => {
      await one.waitForFunction(() => document.querySelector("#stats").dataset.samples >= 3);
      const before = await one.$eval(`#${id}`, (canvas) => canvas.toDataURL());
      await one.waitForFunction((chart, was) => document.getElementById(chart).toDataURL() !== was, {}, id, before);
    });
  }
  await report("page-fits-a-phone", async () => {
    await two.setViewport({ width: 390, height: 844 });
    const width = await two.evaluate(() => document.documentElement.scrollWidth);
    assert(width <= 390, `the page is ${width} px wide`);
  });
  await report("page-no-console-errors", async () => {
    const errors = [...oneLog.errors, ...twoLog.errors];
    assert(errors.length === 0, errors.join("; "));
  });
  return one;
}

async function checkSnippet(browser, base) {
  const { page, log } = await openPage(browser, base);
  // Only the snippet's onopen sends, so its message coming back shows that open fired.
  await report("snippet-open", async () => {
    await page.evaluate(snippet(new URL(base).host));
    await log.hear("message hello");
  });
  await report("snippet-message", async () => {
    await fetch(`${base}scores`, { method: "POST", body: "Goal!" });
    await log.hear("message Goal!");
  });
  await report("snippet-error", async () => {
    const dead = await openPage(browser, base);
    await dead.page.evaluate(snippet(`127.0.0.1:${await deadPort()}`));
    await dead.log.hear("error");
    await dead.log.hear("closed 1006");
    await dead.page.close();
  });
  return { page, log };
}

let server = options.server && await startServer("127.0.0.1:0");
const base = new URL("/", server ? server.url : positionals[0]).href;
let browser;
try {
  browser = await launch(options.browser);
  if (options.screenshots) {
    mkdirSync(options.screenshots, { recursive: true });
    const file = (name) => join(options.screenshots, name);
    await takeScreenshots(browser, base, { desktop: file("page-desktop.png"), phone: file("page-phone.png") });
  }
  const live = await checkLivePage(browser, base);
  const { page, log } = await checkSnippet(browser, base);
  if (server) {
    const exited = once(server.child, "exit");
    await report("snippet-close", async () => {
      server.child.kill("SIGTERM");
      await log.hear("closed 1001");
    });
    await report("page-retries", () => stateIs(live, "retrying"));
    await report("server-exits", async () => assert((await exited)[0] === 0, "its exit status is not 0"));
    await report("page-reconnects", async () => {
      server = await startServer(new URL(base).host);
      await stateIs(live, "open");
      await say(live, "back again");
      await rowAppears(live, "back again");
    });
  } else {
    await report("snippet-close", async () => {
      await page.evaluate("socket.close(1000)");
      await log.hear("closed 1000");
    });
  }
} finally {
  await browser?.close();
  if (server) server.child.kill("SIGKILL");
}
