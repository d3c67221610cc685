// One topic and all doors: two pages with a WebSocket, an EventSource, `pusher-js` and `centrifuge` each (doors.html), a
// plain WebSocket beside them, and publications by every door there is.

import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { WAIT_MS, assert, bounded } from "../../clients/harness.mjs";
import { equal } from "../site.mjs";

const TOPIC = "private-room";
const BURST = 5; // of each sender, fewer than `client_events_per_second`
const STEP_MS = WAIT_MS / 2; // a check that fails has the time to say what of it
const DOORS = ["websocket", "stream", "pusher", "centrifuge"];

const open = JSON.stringify({ event: "goal", data: { home: 2 } });
const bytes = { base64: "AAH/" };
/** What is published, in order: by which door; the text or the bytes that this makes of the topic; Pusher's event and
    Centrifuge's data, by the tables of docs/PUSHER.md and docs/CENTRIFUGE.md. */
const publications = [
  { by: "post", sent: "Goal!", text: "Goal!", event: ["message", "Goal!"], data: "Goal!" },
  { by: "post", sent: '{"home": 1}', text: '{"home": 1}', event: ["message", { home: 1 }], data: { home: 1 } },
  { by: "post", sent: open, text: open, event: ["goal", { home: 2 }], data: { event: "goal", data: { home: 2 } } },
  { by: "bytes", sent: [0, 1, 255], ...bytes, event: ["message", "AAH/"], data: "AAH/" },
  { by: "websocket", sent: "7", text: "7", event: ["message", 7], data: 7 },
  { by: "websocket", sent: "<b>κόσμε</b>", text: "<b>κόσμε</b>", event: ["message", "<b>κόσμε</b>"], data: "<b>κόσμε</b>" },
  { by: "pusherApi", sent: '{"home":3}', text: '{"event":"goal","data":{"home":3}}', event: ["goal", { home: 3 }],
    data: { event: "goal", data: { home: 3 } } },
  { by: "pusherApi", sent: "Goal!", text: '{"event":"goal","data":"Goal!"}', event: ["goal", "Goal!"],
    data: { event: "goal", data: "Goal!" } },
  { by: "pusher", sent: '{"in":1}', text: '{"event":"client-message","data":{"in":1}}', event: ["client-message", { in: 1 }],
    data: { event: "client-message", data: { in: 1 } } },
  { by: "centrifuge", sent: '{"home":4}', text: '{"home":4}', event: ["message", { home: 4 }], data: { home: 4 } },
  { by: "centrifuge", sent: "Goal!", text: '"Goal!"', event: ["message", "Goal!"], data: "Goal!" },
  { by: "centrifugeApi", sent: '{"home":5}', text: '{"home":5}', event: ["message", { home: 5 }], data: { home: 5 } },
];

/** What the columns show of these. */
const due = {
  websocket: ({ text, base64 }) => ["", text ?? base64],
  stream: ({ text, base64 }) => [base64 ? "base64" : "", text ?? base64],
  pusher: ({ event }) => event,
  centrifuge: ({ data }) => ["", data],
};

/** Resolves as soon as each of a page's columns is in this state and has so many publications, or more. */
const shows = (page, counts, state = "open") => bounded(page.evaluate((counts, state) => new Promise((resolve) => {
  const holds = ([id, count]) => document.getElementById(id)?.dataset.state === state
    && [...document.querySelectorAll(`#${id} li`)].filter((row) => row.publication).length >= count;
  const look = () => Object.entries(counts).every(holds) && (observer.disconnect(), resolve());
  const observer = new MutationObserver(look);
  observer.observe(document.body, { subtree: true, childList: true, attributes: true });
  look();
}), counts, state), `the columns are not ${state} with ${JSON.stringify(counts)}`, STEP_MS);
const each = (count, more = {}) => ({ ...Object.fromEntries(DOORS.map((id) => [id, count])), ...more });

/** What came of a column. (`$$eval` would ask Firefox for each row by itself.) */
const rows = (page, id) => page.evaluate((id) =>
  [...document.querySelectorAll(`#${id} li`)].map((row) => row.publication).filter(Boolean), id);
/** `[event, data]`, after so many. */
const column = async (page, id, from = 0) => (await rows(page, id)).slice(from).map(({ event, data }) => [event, data]);
const places = async (page, id) => (await rows(page, id)).map(({ place }) => place);
const publish = (page, by, text) => page.evaluate((by, text) => globalThis.publish(by, text), by, text);

class Room {
  errors = [];
  pages = [];
  /** How many publications the second page has had. */
  had = 0;

  constructor(application, browser, name, check) {
    Object.assign(this, { application, browser });
    // What the pages look like when a check fails, and then alone.
    this.check = (what, run) => check(`${name}-doors-${what}`, async () => {
      try {
        await run();
      } catch (error) {
        const path = join(tmpdir(), `doors-${name}-${what}.png`);
        await this.pages.at(-1)?.screenshot({ path });
        throw new Error(`${error.message.split("\n")[0]}, see ${path}`);
      }
    });
  }

  /** A page in a window of its own: one behind another is hidden, and draws nothing. */
  async open(user) {
    const page = await (await this.browser.createBrowserContext()).newPage({ type: "window" });
    page.setDefaultTimeout(WAIT_MS);
    page.on("pageerror", (error) => this.errors.push(error.message));
    this.pages.push(page);
    await page.goto(`${this.application.origin}/?topic=${TOPIC}&user=${user}`);
    await shows(page, each(0));
    return page;
  }

  /** By this door, from the first page, or of bytes from the backend. */
  async send(by, sent) {
    if (by === "bytes") await this.application.post(TOPIC, new Uint8Array(sent), "application/octet-stream");
    else await publish(this.pages[0], by, sent);
    await shows(this.pages[1], each(++this.had));
  }

  async opens() {
    for (const user of ["ada", "ben"]) await this.open(user);
    const plain = this.plain = [];
    const token = await this.pages[0].evaluate(async () => (await (await fetch("/token?user=cy")).json()).token);
    this.socket = new WebSocket(`${this.application.url.replace("http", "ws")}/${TOPIC}`, ["bearer", token]);
    this.socket.on("message", (data, isBinary) => plain.push(isBinary ? { base64: data.toString("base64") } : { text: `${data}` }));
    await once(this.socket, "open");
  }

  /** Each publication once, in order, and by the tables. */
  async maps() {
    for (const { by, sent } of publications) await this.send(by, sent);
    const [one, two] = this.pages;
    for (const id of DOORS) equal(await column(two, id), publications.map(due[id]));
    // A client's event does not come back to it, and comes by the other doors of its page.
    const others = publications.filter(({ by }) => by !== "pusher");
    await shows(one, each(publications.length, { pusher: others.length }));
    for (const id of DOORS) equal(await column(one, id), (id === "pusher" ? others : publications).map(due[id]));
    for (const id of DOORS.filter((id) => id !== "pusher")) equal(await places(two, id), publications.map((_, nth) => nth + 1));
    while (this.plain.length < publications.length) await bounded(once(this.socket, "message"), "no message");
    equal(this.plain, publications.map(({ text, base64 }) => (text ? { text } : { base64 })));
  }

  /** All doors at once: the same order everywhere. */
  async bursts() {
    const [one, two] = this.pages;
    const begins = await Promise.all(this.pages.map((page) => Promise.all(DOORS.map((id) => column(page, id)))));
    const ways = ["post", "websocket", "pusherApi", "centrifuge", "centrifugeApi"];
    const senders = this.pages.flatMap((page, nth) => ways.map((by) => ({ page, by, from: `${nth} ${by}` })));
    senders.push({ page: one, by: "pusher", from: "0 pusher" });
    await Promise.all(senders.map(({ page, by, from }) => page.evaluate(async (by, from, count) => {
      for (let nth = 0; nth < count; nth += 1) await publish(by, JSON.stringify({ from, nth }));
    }, by, from, BURST)));
    const all = senders.length * BURST;
    await shows(two, each(this.had + all));
    const own = begins[0][DOORS.indexOf("pusher")].length + all - BURST;
    await shows(one, each(this.had + all, { pusher: own }));
    /** What was published, without what a door makes of it. */
    const value = (id, [event, data]) => {
      const said = id === "pusher" ? (event === "message" ? data : { event, data }) : typeof data === "string" ? JSON.parse(data) : data;
      return said.event ? said.data : said;
    };
    const came = async (page, nth, id) =>
      (await column(page, id, begins[nth][DOORS.indexOf(id)].length)).map((it) => value(id, it));
    const first = await came(two, 1, "websocket");
    for (const { from } of senders) {
      equal(first.filter((it) => it.from === from).map(({ nth }) => nth), Array.from({ length: BURST }, (_, nth) => nth));
    }
    equal(first.length, all);
    for (const id of DOORS) {
      equal(await came(two, 1, id), first);
      equal(await came(one, 0, id), id === "pusher" ? first.filter(({ from }) => from !== "0 pusher") : first);
    }
    this.had += all;
  }

  /** What is typed at the page, by its keys alone, is read in all four columns. */
  async looksTheSame() {
    const [one, two] = this.pages;
    await one.focus("#text");
    for (const text of ["Goal!", '{"home":6}', "two\\nlines"]) {
      await one.keyboard.type(text);
      await one.keyboard.press("Enter");
      await shows(two, each(++this.had));
      for (const id of DOORS) equal(await two.$eval(`#${id} li:last-child .body`, (body) => body.textContent), text);
      equal(await two.$eval("[role=status]", (voice) => voice.textContent), text);
    }
  }

  /** While none of its doors is open, a page misses what only Pusher's protocol has no way to ask for again. */
  async resumes() {
    const [, two] = this.pages, { between } = this.application;
    const before = await Promise.all(DOORS.map((id) => column(two, id)));
    between.hold(true);
    between.cut("destroy");
    const missed = Array.from({ length: 5 }, (_, nth) => `missed ${nth}`);
    try {
      await shows(two, each(0), "retrying");
      for (const text of missed) await this.application.post(TOPIC, text);
    } finally {
      between.hold(false);
    }
    await shows(two, each(this.had));
    await this.application.post(TOPIC, "live");
    this.had += missed.length + 1;
    await shows(two, each(this.had, { pusher: this.had - missed.length }));
    for (const [nth, id] of DOORS.entries()) {
      const came = (await column(two, id, before[nth].length)).map(([, data]) => data);
      equal(came, id === "pusher" ? ["live"] : [...missed, "live"]);
      const note = await two.$eval(`#${id} .note:nth-last-child(1 of .note)`, ({ textContent }) => textContent);
      equal(note, id === "pusher" ? "back, without what was published meanwhile" : "back, and nothing is missing");
    }
  }

  /** What a reader of the screen and a phone have of it, and from where it all is. */
  async isPlain() {
    const [, two] = this.pages, { origin, between } = this.application;
    const nameless = await two.$$eval("input, select, button, ol, section", (all) => all.filter((it) => !(
      it.ariaLabel || it.textContent.trim()
    )).map((it) => it.outerHTML));
    equal(nameless, []);
    equal(await two.$$eval(".door .state", (states) => states.map(({ textContent }) => textContent)), DOORS.map(() => "open"));
    await two.setViewport({ width: 390, height: 844 });
    equal(await two.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
    const from = await two.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => new URL(name).host));
    assert(from.length > 0, "nothing was loaded");
    equal(from.filter((host) => ![new URL(origin).host, between.host].includes(host)), []);
    equal(this.errors, []);
  }
}

export async function room(...parameters) {
  const room = new Room(...parameters);
  await room.check("a-page-opens-all-four", () => room.opens());
  await room.check("what-comes-by-any-comes-by-all-as-the-tables-say", () => room.maps());
  await room.check("all-at-once-come-in-one-order", () => room.bursts());
  await room.check("the-columns-show-the-same", () => room.looksTheSame());
  await room.check("the-page-is-for-all-and-from-nowhere-else", () => room.isPlain());
  await room.check("three-resume-and-one-says-that-it-does-not", () => room.resumes());
  room.socket?.terminate();
  for (const page of room.pages) await page.close();
}
