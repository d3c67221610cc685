// The peer (peer.rs) against a stock client: `ws` from npm.
//
// Usage: node ws.mjs SERVER [ARGUMENT]...   the command that starts the peer; it prints its ws:// address
//
// Each check is made with compression and without; with `takeover` among the arguments, only with it.

import { deepEqual, equal, ok } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";
import { check, start } from "./harness.mjs";

const MIB = 1 << 20;

/** The arguments of the next such event; rejects when the connection fails or ends before. */
function next(client, event) {
  return new Promise((resolve, reject) => {
    client.once(event, (...what) => resolve(what));
    client.once("error", reject);
    client.once("close", (code) => reject(new Error(`closed with ${code}`)));
  });
}

/** The answer to a message, in the form in which one is sent: a string is text, a Buffer is binary. */
async function ask(client, message) {
  const answer = next(client, "message");
  client.send(message);
  const [data, isBinary] = await answer;
  return isBinary ? data : data.toString();
}

async function echoes(client, message) {
  const answer = await ask(client, message);
  equal(typeof answer, typeof message, "text and binary are mixed up");
  // Not deepEqual: a mebibyte twice is not an explanation.
  ok(Buffer.from(answer).equals(Buffer.from(message)), `${message.length} bytes came back changed`);
}

const length = (bytes) => async (open) => {
  const client = await open();
  await echoes(client, "x".repeat(bytes));
  await echoes(client, Buffer.alloc(bytes, 0xa5));
};

/** Each answer lets the next message out, while the answers to `window - 1` others are under way. */
async function pipelined(client, messages, window) {
  const answers = [];
  const complete = new Promise((resolve, reject) => {
    client.on("message", (data) => {
      if (answers.push(data) === messages.length) resolve();
      else if (answers.length + window <= messages.length) client.send(messages[answers.length + window - 1]);
    });
    client.once("close", (code) => reject(new Error(`closed with ${code}`)));
  });
  for (const message of messages.slice(0, window)) client.send(message);
  await complete;
  const same = (answer, number) => answer.equals(Buffer.from(messages[number]));
  ok(answers.every(same), "not the messages, or not in their order");
}

/** What it costs to send a message and to get it back, in bytes on the wire. */
async function costs(client, message) {
  const before = (await ask(client, "traffic")).split(" ");
  await echoes(client, message);
  const after = (await ask(client, "traffic")).split(" ");
  return after.map((bytes, way) => bytes - before[way]);
}

/** How the server saw the end of the connection before. */
const lastClose = async (open) => ask(await open(), "last close");

const closeByClient = (code, reason) => async (open) => {
  const client = await open();
  const end = next(client, "close");
  client.close(code, reason);
  const answered = code ?? 1005;
  const [echoed, text] = await end;
  equal(`${echoed} ${text}`, `${answered} ${reason ?? ""}`);
  equal(await lastClose(open), `${answered} ${reason ?? ""}`);
};

const cases = {
  text: async (open) => echoes(await open(), "κόσμε 🦀"),
  binary: async (open) => echoes(await open(), Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))),
  ...Object.fromEntries([0, 125, 126, 65_535, 65_536, MIB].map((bytes) => [`length-${bytes}`, length(bytes)])),
  "too-long": async (open) => {
    const client = await open();
    client.send(Buffer.alloc(MIB + 1));
    equal((await next(client, "close"))[0], 1009);
  },
  fragments: async (open) => {
    const client = await open();
    const answer = next(client, "message");
    client.send("one ".repeat(1000), { fin: false });
    client.send("", { fin: false });
    client.ping();
    client.send("message", { fin: true });
    equal((await answer)[0].toString(), `${"one ".repeat(1000)}message`);
  },
  ping: async (open) => {
    const client = await open();
    for (const payload of [Buffer.alloc(0), Buffer.alloc(125, 0xff)]) {
      const pong = next(client, "pong");
      client.ping(payload);
      deepEqual((await pong)[0], payload);
    }
  },
  "server-pings": async (open) => equal(await ask(await open(), "pings"), "pings"),
  pipelined: async (open) => pipelined(await open(), Array.from({ length: 200 }, (_, number) => `message ${number}`), 200),
  duplex: async (open) => pipelined(await open(), Array.from({ length: 16 }, () => randomBytes(MIB)), 4),
  "close-by-client-1000": closeByClient(1000, "done"),
  "close-by-client-4001": closeByClient(4001, "κόσμε"),
  "close-without-code": closeByClient(),
  "close-by-server": async (open) => {
    const client = await open();
    client.send("close 4001 bye");
    const [code, reason] = await next(client, "close");
    equal(`${code} ${reason}`, "4001 bye");
    equal(await lastClose(open), "4001 ");
  },
  "subprotocol-chosen": async (open) => equal((await open(["chat.v1", "chat.v2"])).protocol, "chat.v2"),
  "subprotocol-refused": (open) => open(["chat.v1"]).then(
    () => { throw new Error("the client goes on without a subprotocol"); },
    (error) => equal(error.message, "Server sent no subprotocol"),
  ),
  traffic: async (open, mode) => {
    for (const bytes of await costs(await open(), "0123456789abcdef".repeat(MIB / 16))) {
      ok(mode === "plain" ? bytes > MIB : bytes < MIB / 10, `${bytes} bytes for a message of ${MIB}`);
    }
  },
  // Random digits, base 16, shrink to half; only a reference to the first time makes less of them.
  takeover: async (open, mode) => {
    const [client, digits] = [await open(), randomBytes(1024).toString("hex")];
    await echoes(client, digits);
    // The client's messages refer back in any case, and the server's if it is told to.
    const refers = [mode !== "plain", mode === "takeover"];
    for (const [way, bytes] of (await costs(client, digits)).entries()) {
      equal(bytes < 512, refers[way], `${bytes} bytes for a message of ${digits.length}`);
    }
  },
};

async function run(mode, url, name, attempt) {
  const clients = [];
  const open = async (protocols = []) => {
    // What is short is compressed, too.
    const client = new WebSocket(url, protocols, { perMessageDeflate: mode !== "plain" && { threshold: 0 } });
    clients.push(client);
    await once(client, "open");
    equal(client.extensions, mode === "plain" ? "" : "permessage-deflate");
    return client;
  };
  await check(`ws-${mode}-${name}`, () => attempt(open, mode));
  for (const client of clients) client.terminate();
}

const [program, ...parameters] = process.argv.slice(2);
const { child, url } = await start(program, parameters, "ws");
try {
  for (const mode of parameters.includes("takeover") ? ["takeover"] : ["plain", "deflate"]) {
    for (const [name, attempt] of Object.entries(cases)) await run(mode, url, name, attempt);
  }
} finally {
  child.kill();
}
