// Drives the README's browser snippet and the live page in headless Chromium.
//
//   npm install
//   node snippet.mjs --server ../../target/release/pushloop [--screenshots DIR]
//   node snippet.mjs http://127.0.0.1:9001/ [--screenshots DIR]
//
// With --server the script runs the server itself, so that it can also stop and restart it.
// CHROMIUM names the browser (default /usr/bin/chromium). One line for each check; the exit
// status is 1 if one failed. Every wait is for a condition and bounded by WAIT_MS.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import puppeteer from "puppeteer-core";
import { takeScreenshots } from "./screenshots.mjs";

const WAIT_MS = 30_000;
const { values: options, positionals } = parseArgs({
  options: { server: { type: "string" }, screenshots: { type: "string" } },
  allowPositionals: true,
});
if (!options.server === !positionals[0]) {
  console.error("usage: node snippet.mjs (--server PATH | URL) [--screenshots DIR]");
  process.exit(2);
}

let failures = 0;
async function check(name, run) {
  try {
    await bounded(run(), "nothing happened");
    console.log(`ok ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL ${name}: ${error.message.split("\n")[0].slice(0, 300)}`);
  }
}

function bounded(promise, otherwise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${otherwise} within ${WAIT_MS} ms`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function assert(condition, why) {
  if (!condition) throw new Error(why);
}

/** Starts the server on `address` and resolves with the process and the URL that it prints. */
async function startServer(address) {
  const child = spawn(options.server, ["--listen", address], { stdio: ["ignore", "pipe", "pipe"] });
  const base = new Promise((resolve, reject) => {
    let printed = "";
    const read = (chunk) => {
      printed += chunk;
      const url = printed.match(/http:\/\/127\.0\.0\.1:\d+\//);
      if (url) resolve(url[0]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the server exited with ${code}: ${printed}`)));
  });
  return { child, base: await bounded(base, "the server printed no URL") };
}

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
  const page = await (await browser.createBrowserContext()).newPage();
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
  await check("page-state-open", async () => {
    await Promise.all([one, two].map((page) => stateIs(page, "open")));
    for (const page of [one, two]) assert(await page.$eval("#state", (state) => state.textContent) === "open", "it does not say open");
  });
  await check("page-message-arrives", async () => {
    await say(one, "hello from the first window");
    await rowAppears(two, "hello from the first window");
  });
  await check("page-own-latency", async () => {
    await one.waitForSelector("#messages .mine");
    assert(/^[\d.,]+$/.test(await one.$eval("#latency", (latency) => latency.textContent)), "no figure is shown");
  });
  await check("page-markup-is-text", async () => {
    await say(one, "<b id=injected>bold</b>");
    await rowAppears(two, "<b id=injected>bold</b>");
    assert(await two.$("#injected") === null, "the message became an element");
  });
  await check("page-binary", async () => {
    await two.evaluate(() => {
      const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/lobby`);
      socket.onopen = () => { socket.send(new Uint8Array([0xde, 0xad, 0xbe, 0xef])); socket.close(); };
    });
    await rowAppears(one, "4 bytes  de ad be ef");
  });
  await check("page-rows-capped", async () => {
    await two.evaluate(() => {
      const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/lobby`);
      socket.onopen = () => { for (let i = 1; i <= 250; i++) socket.send(`row ${i}`); socket.close(); };
    });
    await rowAppears(one, "row 250");
    const rows = await one.$$eval("#messages li", (list) => list.length);
    assert(rows === 200, `${rows} rows are kept, not 200`);
  });
  await check("page-second-topic", async () => {
    await one.type("#topic", "scores");
    await one.keyboard.press("Enter");
    await one.waitForFunction(() => document.querySelectorAll("#topics [data-state=open]").length === 2);
    await fetch(`${base}scores`, { method: "POST", body: "Goal!" });
    await rowAppears(one, "Goal!");
  });
  await check("page-follows-its-address", async () => {
    await one.evaluate(() => { location.hash = "lobby"; });
    await one.waitForFunction(() => document.querySelectorAll("#topics li").length === 1);
  });
  for (const id of ["connections-chart", "deliveries-chart"]) {
    await check(`page-${id}-moves`, async () => {
      await one.waitForFunction(() => document.querySelector("#stats").dataset.samples >= 3);
      const before = await one.$eval(`#${id}`, (canvas) => canvas.toDataURL());
      await one.waitForFunction((chart, was) => document.getElementById(chart).toDataURL() !== was, {}, id, before);
    });
  }
  await check("page-fits-a-phone", async () => {
    await two.setViewport({ width: 390, height: 844 });
    const width = await two.evaluate(() => document.documentElement.scrollWidth);
    assert(width <= 390, `the page is ${width} px wide`);
  });
  await check("page-no-console-errors", async () => {
    const errors = [...oneLog.errors, ...twoLog.errors];
    assert(errors.length === 0, errors.join("; "));
  });
  return one;
}

async function checkSnippet(browser, base) {
  const { page, log } = await openPage(browser, base);
  // Only the snippet's onopen sends, so its message coming back shows that open fired.
  await check("snippet-open", async () => {
    await page.evaluate(snippet(new URL(base).host));
    await log.hear("message hello");
  });
  await check("snippet-message", async () => {
    await fetch(`${base}scores`, { method: "POST", body: "Goal!" });
    await log.hear("message Goal!");
  });
  await check("snippet-error", async () => {
    const dead = await openPage(browser, base);
    await dead.page.evaluate(snippet(`127.0.0.1:${await deadPort()}`));
    await dead.log.hear("error");
    await dead.log.hear("closed 1006");
    await dead.page.close();
  });
  return { page, log };
}

let server = options.server && await startServer("127.0.0.1:0");
const base = server ? server.base : new URL("/", positionals[0]).href;
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding"],
});
try {
  if (options.screenshots) {
    mkdirSync(options.screenshots, { recursive: true });
    const file = (name) => join(options.screenshots, name);
    await takeScreenshots(browser, base, { desktop: file("page-desktop.png"), phone: file("page-phone.png") });
  }
  const live = await checkLivePage(browser, base);
  const { page, log } = await checkSnippet(browser, base);
  if (server) {
    const exited = once(server.child, "exit");
    await check("snippet-close", async () => {
      server.child.kill("SIGTERM");
      await log.hear("closed 1001");
    });
    await check("page-retries", () => stateIs(live, "retrying"));
    await check("server-exits", async () => assert((await exited)[0] === 0, "its exit status is not 0"));
    await check("page-reconnects", async () => {
      server = await startServer(new URL(base).host);
      await stateIs(live, "open");
      await say(live, "back again");
      await rowAppears(live, "back again");
    });
  } else {
    await check("snippet-close", async () => {
      await page.evaluate("socket.close(1000)");
      await log.hear("closed 1000");
    });
  }
} finally {
  await browser.close();
  if (server) server.child.kill("SIGKILL");
}
process.exitCode = failures ? 1 : 0;
