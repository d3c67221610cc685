// Pages of other origins that publish to the server, in a headless browser: what each way of sending
// delivers, and what a page gets that is not let in.
//
//   node origins.mjs chromium|firefox SERVER      the server's program
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.

import { bounded, check, start } from "../clients/harness.mjs";
import { launch } from "./launch.mjs";
import { equal, site } from "./site.mjs";

const [name, program] = process.argv.slice(2);
const report = (what, run) => check(`${name}-origins-${what}`, run);

const [friend, stranger] = [await site(), await site()];
const { child, url } = await start(program, ["--listen", "127.0.0.1:0", "--allow-origin", friend.origin], "http");
const topic = `${url}/scores`;

/** What was published before this marker, as the page has seen it, and not been given before. */
let markers = 0;
async function delivered(page) {
  const marker = `marker ${++markers}`;
  await fetch(topic, { method: "POST", body: marker });
  await page.evaluate((it) => until(it), marker);
  return await page.evaluate((it) => seen.splice(0, seen.indexOf(it) + 1).slice(0, -1), marker);
}

/** What a page does; `topic` is where it publishes to. */
const ways = {
  text: () => fetch(topic, { method: "POST", body: "Goal!" }).then((it) => it.json()),
  // Neither of these types is one that a page may send unasked: a preflight goes before.
  json: () => fetch(topic, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: '{"goal":1}',
  }).then((it) => it.json()),
  blob: () => fetch(topic, {
    method: "POST", body: new Blob([new Uint8Array([8, 150, 1])], { type: "application/octet-stream" }),
  }).then((it) => it.json()),
  beacon: () => navigator.sendBeacon(topic, "beacon"),
};

/** The answer to a page that tries this way, or the name of its error. */
const run = (page, way) => page.evaluate(`(async () => {
  const topic = ${JSON.stringify(topic)};
  return await (${ways[way]})();
})().catch((error) => error.name)`);

async function friends(page) {
  await page.goto(friend.origin);
  await page.evaluate((address) => new Promise((resolve, reject) => {
    globalThis.seen = [];
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => seen.push(typeof data === "string" ? data : [...new Uint8Array(data)]);
    globalThis.until = (text) => new Promise((found) => {
      const look = () => seen.includes(text) && found();
      socket.addEventListener("message", look);
      look();
    });
    [socket.onopen, socket.onerror] = [resolve, reject];
  }), topic.replace("http", "ws"));
  const messages = { text: "Goal!", json: '{"goal":1}', blob: [8, 150, 1] };
  for (const [way, message] of Object.entries(messages)) {
    await report(`${way}-is-delivered-once`, async () => {
      equal(await run(page, way), { delivered: 1 });
      equal(await delivered(page), [message]);
    });
  }
  await report("beacon-is-delivered-once", async () => {
    equal(await run(page, "beacon"), true);
    await page.evaluate(() => until("beacon"));
    equal(await delivered(page), ["beacon"]);
  });
  // What the server answers before its application hears of it, too.
  for (const [path, length, status] of [["/%ff", 1, 400], ["/scores", 70_000, 413], ["/", 1, 404]]) {
    await report(`a-${status}-can-be-read`, async () => {
      equal(await page.evaluate(
        (to, size) => fetch(to, { method: "POST", body: "x".repeat(size) }).then((it) => it.status), url + path, length), status);
    });
  }
  // No browser sends a stream over HTTP/1.1: Chromium gives the page an error, Firefox knows of none and would
  // send the text "[object ReadableStream]", so that pages ask first.
  await report("no-stream-leaves-the-browser", async () => {
    const outcome = await page.evaluate(async (to) => {
      let asked = false;
      const body = new Blob(["streamed"]).stream();
      const request = new Request(to, { method: "POST", body, get duplex() { asked = true; return "half"; } });
      if (!asked || request.headers.has("Content-Type")) return "unknown";
      return await fetch(request).then((it) => it.status, (error) => error.name);
    }, topic);
    equal(outcome, name === "firefox" ? "unknown" : "TypeError");
    equal(await delivered(page), []);
  });
}

async function strangers(page, witness) {
  await page.goto(stranger.origin);
  for (const way of ["text", "json", "blob"]) {
    await report(`a-stranger-s-${way}-fails`, async () => {
      equal(await run(page, way), "TypeError");
      equal(await delivered(witness), []);
    });
  }
  await report("a-stranger-s-beacon-is-lost", async () => {
    const answered = new Promise((resolve) => {
      page.on("response", (response) => response.url() === topic && resolve(response.status()));
    });
    equal(await run(page, "beacon"), true);
    equal(await bounded(answered, "the beacon was not answered"), 403);
    equal(await delivered(witness), []);
  });
}

let browser;
try {
  browser = await launch(name, true);
  const witness = await browser.newPage();
  await friends(witness);
  await strangers(await browser.newPage(), witness);
} finally {
  await browser?.close();
  child.kill();
  for (const { pages } of [friend, stranger]) pages.close(() => {}).closeAllConnections();
}
