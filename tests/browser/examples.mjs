// Drives an example application's page in a headless browser: three pages at once.
//
//   node examples.mjs APP PROGRAM chromium|firefox [--screenshots DIR]
//   node examples.mjs feed target/release/examples/feed chromium --screenshots docs/images
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed. What an
// application does and how that is seen is in examples/APP.mjs; its default export has
//
//   act(page, n)       does something that the other pages will see, and gives what to look for
//   sees(page, what)   resolves as soon as the page shows that
//   same(pages)        resolves as soon as all of them show one state
//   offence            a message that the application refuses by closing with 1008 or 4000-4999
//   checks(story)      further checks, if there are any
//   intercepts         true if these intercept requests
//   picture(pages)     makes the first page worth a picture, if the story does not leave it so
//
// Each page reaches the server through a wire of its own, which is cut and mended here.

import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { WAIT_MS, assert, check, start } from "../clients/harness.mjs";
import { Wire } from "./examples/wire.mjs";
import { browsers, launch } from "./launch.mjs";

const PAGES = 3;
const PICTURES = [["light", 1280, 800], ["dark", 1280, 800], ["phone", 390, 844]];
/** What a browser itself logs of a connection that fails, which pages cannot keep it from. */
const OUTAGE = /^WebSocket connection to .* failed|can.t establish a connection to the server|connection to wss?:\S+ was interrupted/;

const { values: options, positionals: [name, program, browserName] } = parseArgs({
  options: { screenshots: { type: "string" } }, allowPositionals: true,
});
if (!name || !program || !browsers.includes(browserName)) {
  console.error(`usage: node examples.mjs APP PROGRAM ${browsers.join("|")} [--screenshots DIR]`);
  process.exit(2);
}

/** The server, the pages, and what can happen to them. */
class Story {
  pages = [];
  wires = [];
  errors = [];

  constructor(app, browser, server) {
    Object.assign(this, { app, browser, server, host: new URL(server.url).host });
  }

  check = (what, run, ms) => check(`${name}-${browserName}-${what}`, run, ms);
  stateIs = (page, state) => page.waitForSelector(`#state[data-state=${state}]`);
  allOpen = () => Promise.all(this.pages.map((page) => this.stateIs(page, "open")));

  /** A page in a window of its own: one behind another is hidden, and draws nothing. */
  async open() {
    const wire = await Wire.to(this.host);
    const page = await (await this.browser.createBrowserContext()).newPage({ type: "window" });
    page.setDefaultTimeout(WAIT_MS);
    // A page is looked at also while a browser that gets little of a processor does not draw it.
    const waits = page.waitForFunction.bind(page);
    page.waitForFunction = (isSo, options, ...values) => waits(isSo, { polling: 100, ...options }, ...values);
    await page.setViewport({ width: 1280, height: 800 });
    const note = (error) => { if (!OUTAGE.test(error)) this.errors.push(error); };
    page.on("console", (message) => { if (message.type() === "error") note(message.text()); });
    page.on("pageerror", (error) => note(error.message));
    // The page's sockets, so that a check can speak for a page that went wrong; and timers that
    // can be kept from bringing a connection back.
    await page.evaluateOnNewDocument(() => {
      const schedule = setTimeout;
      window.setTimeout = (run, ...rest) => window.noRetries && run.name === "reconnect" ? 0 : schedule(run, ...rest);
      window.sockets = [];
      const Native = WebSocket;
      window.WebSocket = class extends Native {
        constructor(...parameters) {
          super(...parameters);
          window.sockets.push(this);
        }
      };
    });
    await page.goto(wire.url);
    this.pages.push(page);
    this.wires.push(wire);
    return page;
  }

  /** One page acts, and these see it. */
  async shared(from, others) {
    this.acts = (this.acts ?? 0) + 1;
    const what = await this.app.act(from, this.acts);
    await Promise.all(others.map((page) => this.app.sees(page, what)));
  }

  async kill() {
    const exited = once(this.server.child, "exit");
    this.server.child.kill("SIGKILL");
    await exited;
  }

  async restart() {
    this.server = await start(program, ["--listen", this.host], "http");
  }

  async close() {
    await this.browser.close();
    for (const wire of this.wires) wire.cut();
    this.server.child.kill("SIGKILL");
  }
}

async function tell(story) {
  const { app, check, pages } = story;
  await check("opens", async () => {
    for (let n = 0; n < PAGES; n++) await story.open();
    await story.allOpen();
  });
  const [one, two, three] = pages;
  for (const [at, page] of pages.entries()) {
    await check(`page-${at + 1}-is-seen-by-the-others`, () => story.shared(page, pages.filter((other) => other !== page)));
  }
  await check("same-state", () => app.same(pages));
  await check("a-cut-is-shown", async () => {
    await three.evaluate(() => { window.noRetries = true; });
    await story.wires[2].cut();
    await story.stateIs(three, "retrying");
  });
  await check("others-go-on", () => story.shared(one, [two]));
  await check("online-is-heard", async () => {
    await story.wires[2].mend();
    await three.evaluate(() => {
      dispatchEvent(new Event("online"));
      window.noRetries = false;
    });
    await story.stateIs(three, "open");
  });
  await check("same-state-after-a-cut", () => app.same(pages));
  await check("a-dead-server-is-shown", async () => {
    await story.kill();
    await Promise.all(pages.map((page) => story.stateIs(page, "retrying")));
  });
  await check("all-come-back", async () => {
    await story.restart();
    await story.allOpen();
  });
  await check("shared-after-a-restart", () => story.shared(two, [one, three]));
  await check("same-state-after-a-restart", () => app.same(pages));
  await app.checks?.(story);
}

/** One page breaks the rules: it alone is refused, is told why, and does not come again. */
async function refusal(story) {
  const { app, check, pages: [one, two, three] } = story;
  await check("an-offender-is-refused", async () => {
    await three.evaluate((offence) => sockets.at(-1).send(offence), app.offence);
    await story.stateIs(three, "refused");
    const text = await three.$eval("#state", (state) => state.textContent);
    assert(/^refused: \w.{8,}/.test(text), `no reason is shown: ${text}`);
  });
  const sockets = await three.evaluate(() => window.sockets.length);
  await check("the-others-are-not", async () => {
    await story.shared(one, [two]);
    await story.shared(two, [one]);
  });
  await check("an-offender-stays-away", async () => {
    assert(await three.evaluate(() => window.sockets.length) === sockets, "it was tried again");
    await story.stateIs(three, "refused");
  });
}

async function layout(story) {
  const [page] = story.pages;
  await story.check("fits-a-phone", async () => {
    await page.setViewport({ width: 390, height: 844 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert(width <= 390, `the page is ${width} px wide`);
  });
  await story.check("controls-have-names", async () => {
    const unnamed = await page.$$eval("button, input, textarea, select, canvas, [role=img]", (all) => all.filter((one) =>
      !(one.textContent.trim() || one.ariaLabel || one.ariaHidden === "true" || one.labels?.length || one.getAttribute("aria-labelledby")))
      .map((one) => one.outerHTML));
    assert(unnamed.length === 0, unnamed.join(" "));
  });
}

async function pictures(story, folder) {
  const [page] = story.pages;
  mkdirSync(folder, { recursive: true });
  for (const [look, width, height] of PICTURES) {
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: look === "dark" ? "dark" : "light" }]);
    await story.app.picture?.(story.pages, look);
    await page.screenshot({ path: join(folder, `example-${name}-${look}.png`) });
  }
}

const app = (await import(`./examples/${name}.mjs`)).default;
const server = await start(program, ["--listen", "127.0.0.1:0"], "http");
let story;
try {
  story = new Story(app, await launch(browserName, app.intercepts), server);
  await tell(story);
  if (options.screenshots) await pictures(story, options.screenshots);
  await refusal(story);
  await layout(story);
  await story.check("no-console-errors", async () => assert(story.errors.length === 0, story.errors.join("; ")));
} finally {
  await story?.close();
  server.child.kill("SIGKILL");
}
