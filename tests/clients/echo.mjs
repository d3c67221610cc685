// The echo example against a stock client: `ws` from npm.
//
// Usage: node echo.mjs SERVER [ARGUMENT]...   the command that starts the server; it prints its ws:// address
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setImmediate } from "node:timers/promises";
import WebSocket from "ws";

const PATIENCE_MS = 10_000; // for one check

/** The next message, in the form in which it is sent: a string is text, a Buffer is binary. */
async function next(client) {
  const [data, isBinary] = await once(client, "message");
  return isBinary ? data : data.toString();
}

async function echoes(client, message) {
  const coming = next(client);
  client.send(message);
  const answer = await coming;
  assert.equal(typeof answer, typeof message, "text and binary are mixed up");
  // Not deepEqual: 64 KiB twice is not an explanation.
  assert.ok(Buffer.from(answer).equals(Buffer.from(message)), `${message.length} bytes came back changed`);
}

async function pipelined(client) {
  const messages = Array.from({ length: 200 }, (_, number) => `message ${number}`);
  const answers = [];
  const complete = new Promise((resolve) => {
    client.on("message", (data) => answers.push(data.toString()) === messages.length && resolve());
  });
  for (const message of messages) client.send(message);
  await complete;
  assert.deepEqual(answers, messages);
}

const length = (size) => async (client) => {
  await echoes(client, "x".repeat(size));
  await echoes(client, Buffer.alloc(size, 0xa5));
};

const close = (code) => async (client) => {
  client.close(code, "done");
  const [answer] = await once(client, "close");
  assert.equal(answer, code);
};

const checks = {
  text: (client) => echoes(client, "κόσμε 🦀"),
  binary: (client) => echoes(client, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))),
  ...Object.fromEntries([0, 125, 126, 65_535, 65_536].map((size) => [`length ${size}`, length(size)])),
  fragments: async (client) => {
    const answer = next(client);
    client.send("one ", { fin: false });
    client.send("", { fin: false });
    client.send("message", { fin: true });
    assert.equal(await answer, "one message");
  },
  ping: async (client) => {
    for (const payload of [Buffer.alloc(0), Buffer.alloc(125, 0xff)]) {
      const pong = once(client, "pong");
      client.ping(payload);
      assert.deepEqual((await pong)[0], payload);
    }
  },
  pipelined,
  "close 1000": close(1000),
  "close 4001": close(4001),
};

/** Rejects when the connection fails, ends, or says nothing for too long. */
async function trouble(client) {
  const event = (name) => once(client, name, { signal: AbortSignal.timeout(PATIENCE_MS) });
  const [what] = await Promise.race([event("error"), event("close")]);
  await setImmediate(); // a check that waits for the end sees it first
  throw what instanceof Error ? what : new Error(`closed with ${what}`);
}

async function run(url, check) {
  const client = new WebSocket(url);
  try {
    await Promise.race([once(client, "open").then(() => check(client)), trouble(client)]);
  } finally {
    client.terminate();
  }
}

async function address(server) {
  for await (const line of createInterface({ input: server.stdout })) {
    const found = line.match(/ws:\/\/[\w.:[\]]+/);
    if (found) return found[0];
  }
  throw new Error("the server printed no address");
}

const [program, ...parameters] = process.argv.slice(2);
const server = spawn(program, parameters, { stdio: ["ignore", "pipe", "inherit"] });
try {
  const url = await address(server);
  for (const [name, check] of Object.entries(checks)) {
    try {
      await run(url, check);
      console.log(`ok ws: ${name}`);
    } catch (problem) {
      process.exitCode = 1;
      console.log(`FAIL ws: ${name}: ${problem.message.replace(/\s+/g, " ")}`);
    }
  }
} catch (problem) {
  process.exitCode = 1;
  console.log(`FAIL ws: ${problem.message}`);
} finally {
  server.kill();
}
