// Pages whose connections are cut, in a headless browser: an EventSource, and the WebSocket of docs/SERVER.md, come
// back by themselves, and what they missed comes once; and so a page knows who is there, by the lines of docs/SERVER.md.
//
//   node resume.mjs chromium|firefox SERVER      the server's program
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { assert, bounded, check, start } from "../clients/harness.mjs";
import { launch } from "./launch.mjs";
import { relay } from "./relay.mjs";

const [name, program] = process.argv.slice(2);
// Of twelve cuts, each may cost some seconds.
const report = (what, run) => check(`${name}-resume-${what}`, run, 60_000);
const serve = (address) => start(program, ["--listen", address, "--history", "100", "--retry", "50", "--presence", "--presence-delay", "0"], "http");

let server = await serve("127.0.0.1:0");
const { host } = new URL(server.url);
const between = await relay(Number(host.split(":")[1]));

function equal(actual, expected) {
  const [is, due] = [actual, expected].map((list) => list.map((it) => JSON.stringify(it)));
  const at = due.findIndex((it, at) => it !== is[at]);
  assert(is.length === due.length && at < 0, `${is.length} of ${due.length}: ${is[at]?.slice(0, 99)} and not ${due[at]?.slice(0, 99)}`);
}

/** Past the relay. Gives the id. */
async function publish(topic, body) {
  const answer = await fetch(`${server.url}/${topic}`, { method: "POST", body });
  return (await answer.json()).id;
}

/** The ways of a connection's end, in turn. */
const cuts = [
  () => between.cut("destroy"),
  () => between.cut("reset"),
  (nth) => between.cutAfter(1 + 7 * nth),
];

/** Kills the server, and starts another one at its address. */
async function restart() {
  const exited = once(server.child, "exit");
  server.child.kill("SIGKILL");
  await exited;
  server = await serve(host);
}

/** A page of the server that does nothing by itself. */
async function openPage(browser) {
  const page = await browser.newPage();
  await page.goto(`http://${between.host}/healthz`);
  await page.evaluate(() => {
    // What came, by topic, and what each subscription began with.
    [globalThis.seen, globalThis.begun] = [{}, []];
    const waiting = new Set();
    globalThis.come = (topic, what) => {
      (seen[topic] ??= []).push(what);
      waiting.forEach((look) => look());
    };
    globalThis.begin = (told) => {
      begun.push(told);
      waiting.forEach((look) => look());
    };
    globalThis.until = (condition) => new Promise((resolve) => {
      const look = () => condition() && (waiting.delete(look), resolve());
      waiting.add(look);
      look();
    });
  });
  return page;
}

/** Publishes a marker, and gives what came of the topic before it. */
let markers = 0;
async function cameOf(page, topic) {
  const marker = `marker ${++markers}`;
  await publish(topic, marker);
  const came = page.evaluate((topic, marker) => until(() => seen[topic]?.includes(marker)), topic, marker);
  await bounded(came, `${marker} did not come`);
  return await page.evaluate((topic, marker) => {
    const all = seen[topic].splice(0);
    return all.slice(0, all.indexOf(marker));
  }, topic, marker);
}

/** What is published around so many cuts comes exactly once. */
async function cutsAreMended(page, topics, times, cut) {
  const published = Object.fromEntries(topics.map((topic) => [topic, []]));
  const next = async (topic) => {
    const text = `${topic} ${published[topic].length}`;
    published[topic].push(text);
    await publish(topic, text);
  };
  for (let nth = 0; nth < times; nth++) {
    const before = await page.evaluate(() => begun.length);
    for (const topic of topics) await next(topic);
    cut(nth);
    for (const topic of [...topics, ...topics]) await next(topic);
    await bounded(page.evaluate((more) => until(() => begun.length >= more), before + topics.length), "it does not come back");
    for (const topic of topics) await next(topic);
  }
  for (const topic of topics) equal(await cameOf(page, topic), published[topic]);
  const begun = await page.evaluate(() => begun.map((told) => told.recovered));
  // One that is cut before it has an id has missed nothing that it knew of.
  equal(begun.slice(topics.length), begun.slice(topics.length).map(() => true));
  assert(begun.length >= topics.length * (times + 1), `it came back ${begun.length} times`);
}

async function eventSource(browser) {
  const page = await openPage(browser);
  await page.evaluate(() => {
    globalThis.source = new EventSource("/scores");
    const bytes = (data) => Uint8Array.from(atob(data), (it) => it.charCodeAt(0));
    source.addEventListener("subscribed", ({ data }) => begin(JSON.parse(data)));
    source.addEventListener("message", ({ data }) => come("scores", data));
    source.addEventListener("base64", ({ data }) => come("scores", [...bytes(data)]));
    source.addEventListener("base64-text", ({ data }) => come("scores", new TextDecoder().decode(bytes(data))));
    return until(() => begun.length);
  });
  await report("an-event-source-is-told-where-it-begins", async () => {
    const [told] = await page.evaluate(() => begun);
    equal([told.topic, told.recovered], ["scores", null]);
  });
  const texts = ["", "\n", "two\nlines", " leads:\n\n", "a\r\nb\r", "κόσμε 🦀\0", "id: 1\n\ndata: x", "\ufeffx", "x".repeat(60_000)];
  const bytes = [0, 10, 13, 255];
  const all = [...texts, bytes];
  const publishAll = async () => {
    for (const text of texts) await publish("scores", text);
    const headers = { "Content-Type": "application/octet-stream" };
    await fetch(`${server.url}/scores`, { method: "POST", body: new Uint8Array(bytes), headers });
  };
  await report("what-is-published-arrives-as-it-was", async () => {
    await publishAll();
    equal(await cameOf(page, "scores"), all);
  });
  await report("and-so-does-what-was-missed", async () => {
    const before = await page.evaluate(() => begun.length);
    between.refuse(true);
    between.cut("destroy");
    await publishAll();
    between.refuse(false);
    await page.evaluate((more) => until(() => begun.length > more), before);
    equal(await cameOf(page, "scores"), all);
  });
  await report("an-event-source-misses-nothing-over-cuts", () => cutsAreMended(page, ["scores"], 20, (nth) => cuts[nth % 3](nth)));
  await report("an-event-source-is-told-of-another-server", async () => {
    const before = await page.evaluate(() => begun.length);
    await restart();
    await bounded(page.evaluate((more) => until(() => begun.length > more), before), "it does not come back");
    const told = await page.evaluate(() => begun.at(-1));
    equal([told.recovered, typeof told.why], [false, "string"]);
    await publish("scores", "live");
    equal(await cameOf(page, "scores"), ["live"]);
  });
  await page.close();
}

/** The snippet of docs/SERVER.md that begins so, verbatim but for the host. */
function snippet(begin) {
  const text = readFileSync(new URL("../../docs/SERVER.md", import.meta.url), "utf8");
  const block = text.split("```js\n").find((block) => block.startsWith(begin));
  assert(block, `docs/SERVER.md has no \`\`\`js block that begins with \`${begin}\``);
  return block.split("```")[0].replace(/ws:\/\/[^/"]+/, `ws://${between.host}`);
}

async function webSocket(browser) {
  const page = await openPage(browser);
  await page.evaluate(() => {
    globalThis.refreshed = [];
    globalThis.show = come;
    globalThis.refresh = (topic) => refreshed.push(topic);
    // What each connection was told first.
    globalThis.WebSocket = class extends WebSocket {
      constructor(url) {
        super(url);
        this.addEventListener("message", ({ data }) => {
          const told = JSON.parse(data);
          if ("recovered" in told) begin(told);
        });
      }
    };
  });
  await page.evaluate(snippet("const topics ="));
  await page.evaluate(() => until(() => begun.length === 2));
  await report("a-websocket-misses-nothing-over-cuts", () =>
    cutsAreMended(page, ["scores", "news"], 10, (nth) => cuts[nth % 3](nth)));
  await report("a-websocket-is-told-of-another-server", async () => {
    const before = await page.evaluate(() => begun.length);
    equal(await page.evaluate(() => refreshed), []);
    await restart();
    await bounded(page.evaluate((more) => until(() => begun.length >= more), before + 2), "it does not come back");
    equal(await page.evaluate(() => refreshed.sort()), ["news", "scores"]);
    await publish("news", "live");
    equal(await cameOf(page, "news"), ["live"]);
  });
  await page.close();
}

/** A member of the room, past the relay. Gives what has it leave. */
const streams = [];
async function member(id) {
  const leaves = new AbortController();
  const headers = { Accept: "text/event-stream" };
  // What nobody refers to is collected, and with it its connection ends.
  streams.push(await fetch(`${server.url}/room?member=${id}`, { headers, signal: leaves.signal }));
  return () => leaves.abort();
}

async function presence(browser) {
  const page = await openPage(browser);
  // The first question for the list is cut.
  await page.evaluate(() => {
    const asks = globalThis.fetch;
    globalThis.fetch = () => {
      globalThis.fetch = asks;
      return Promise.reject(new TypeError("cut"));
    };
  });
  await page.evaluate(snippet("const offset ="));
  const shows = async (...ids) => {
    const isSo = (wanted) => members && [...members.keys()].sort().join() === wanted;
    try {
      // A page is looked at also when it is not drawn.
      await page.waitForFunction(isSo, { polling: 100 }, ids.sort().join());
    } catch ({ message }) {
      const is = await page.evaluate(() => JSON.stringify({ members: members && [...members.keys()], early: early.length, asked, state: changes.readyState }));
      assert(false, `${message}: ${is}, and not ${ids}`);
    }
  };
  await report("a-page-knows-who-is-there-over-cuts", async () => {
    await shows();
    const here = new Map();
    for (let nth = 0; nth < 12; nth++) {
      between.cut("destroy");
      here.set(`ada ${nth}`, await member(`ada ${nth}`));
      if (nth % 3 === 2) {
        here.get(`ada ${nth - 2}`)();
        here.delete(`ada ${nth - 2}`);
      }
      await shows(...here.keys());
    }
  });
  await report("a-page-knows-who-is-there-in-another-server", async () => {
    await restart();
    await member("ben");
    await shows("ben");
  });
  await page.close();
}

let browser;
try {
  browser = await launch(name);
  await eventSource(browser);
  await webSocket(browser);
  await presence(browser);
} finally {
  await browser?.close();
  server.child.kill("SIGKILL");
  between.close();
}
