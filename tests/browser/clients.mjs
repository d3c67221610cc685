// The clients of others in a page: `pusher-js`, `laravel-echo` and `centrifuge`, as npm has them for browsers, against the
// server to run, over cuts; and one topic through all doors of it (doors/).
//
//   node clients.mjs chromium|firefox SERVER      the server's program
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.

import { readFileSync } from "node:fs";
import { WAIT_MS, assert, bounded, check } from "../clients/harness.mjs";
import { Application } from "./doors/application.mjs";
import { room } from "./doors/room.mjs";
import { launch } from "./launch.mjs";
import { equal } from "./site.mjs";

const [name, program] = process.argv.slice(2);
const report = (what, run) => check(`${name}-clients-${what}`, run);

/** The lines of docs/SERVER.md for a stream that the browser gave up, verbatim but for the host. */
function snippet(host) {
  const text = readFileSync(new URL("../../docs/SERVER.md", import.meta.url), "utf8");
  const block = text.split("```js\n").find((block) => block.startsWith("let last ="));
  return block.split("```")[0].replace("https://ws.example.org", `http://${host}`);
}

/** Firefox gives a stream of another origin up where it cannot connect; others go on. */
async function streamIsRefused(page, { between, post }) {
  await page.evaluate(() => {
    const [sources, waiting] = [[], new Set()];
    let errors = 0;
    const look = () => waiting.forEach((look) => look());
    globalThis.shown = [];
    globalThis.show = (text) => (shown.push(text), look());
    globalThis.EventSource = class extends EventSource {
      constructor(address) {
        super(address);
        sources.push(this);
        this.addEventListener("error", () => (errors++, look()));
        this.addEventListener("subscribed", look);
      }
    };
    globalThis.isOpen = () => sources.at(-1).readyState === EventSource.OPEN;
    globalThis.isRefused = () => sources[0].readyState === EventSource.CLOSED || errors > 3;
    globalThis.until = (condition) => new Promise((resolve) => {
      const look = () => condition() && (waiting.delete(look), resolve());
      waiting.add(look);
      look();
    });
  });
  const soon = (promise, otherwise) => bounded(promise, otherwise, WAIT_MS / 2);
  await page.evaluate(snippet(between.host));
  await soon(page.evaluate(() => until(isOpen)), "it does not open");
  await post("scores", "before");
  await soon(page.evaluate(() => until(() => shown.includes("before"))), "nothing comes");
  between.refuse(true);
  between.cut("destroy");
  try {
    await soon(page.evaluate(() => until(isRefused)), "it was not refused");
    await post("scores", "meanwhile");
  } finally {
    between.refuse(false);
  }
  await post("scores", "after");
  await soon(page.evaluate(() => until(() => shown.includes("after"))), "it does not come back");
  equal(await page.evaluate(() => shown), ["before", "meanwhile", "after"]);
}

const application = await Application.start(program);
const { origin, stranger } = application;
let browser;
try {
  browser = await launch(name);
  const page = await browser.newPage();
  await page.goto(`${origin}/clients`);
  const cases = await page.evaluate("Object.keys(cases)");
  assert(cases.length > 0, "there are no cases");
  for (const one of cases) await report(one, () => page.evaluate(`cases[${JSON.stringify(one)}]()`));
  await report("a-stream-that-is-given-up-is-made-anew", () => streamIsRefused(page, application));
  await report("a-stranger-gets-no-connection", async () => {
    await page.goto(`${stranger}/clients`);
    await page.evaluate("stranger()");
  });
  await room(application, browser, name, check);
  await report("and-nothing-is-left", async () => {
    await page.close();
    let left;
    do {
      const { channels } = await (await application.backend.get({ path: "/channels" })).json();
      left = [channels, (await application.centrifugeApi("channels", {})).channels];
    } while (left.some((channels) => Object.keys(channels).length > 0));
    equal(left, [{}, {}]);
  });
} finally {
  await browser?.close();
  application.close();
}
