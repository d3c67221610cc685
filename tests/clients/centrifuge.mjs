// The server to run against an unmodified client of Centrifugo: `centrifuge` from npm, over WebSocket, event streams and
// HTTP streaming, in JSON and in Protobuf.
//
// Usage: node centrifuge.mjs SERVER

import { deepEqual, equal, ok } from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { WAIT_MS, bounded, check, start } from "./harness.mjs";
import { client, clients, connected, formats, gathered, json, next, streams, subscribed } from "./transports.mjs";

const [program] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "centrifuge-"));
const SECRET = "0123456789abcdef0123456789abcdef";
const KEY = "a-key-of-the-server-api";
const file = (name, text) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

/** A token of these claims. */
function token(claims) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encode({ alg: "HS256" })}.${encode({ exp: now() + 3600, ...claims })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}
const now = () => Math.floor(Date.now() / 1000);

const common = ["--listen", "127.0.0.1:0", "--centrifuge", "--presence", "--presence-delay", "0"];
// For how long clients are cut: a campaign has a minute of it, and all that is published meanwhile is kept.
const CUTS_MS = process.env.FULL ? 60_000 : 4_000;
const open = await start(program, [...common, "--history", `${5 * CUTS_MS}`], "http");
const small = await start(program, [...common, "--history", "3"], "http");
const keys = ["--jwt-secret-file", file("secret", SECRET), "--centrifuge-key-file", file("key", KEY)];
const guarded = await start(program, [...common, "--history", "1000", ...keys], "http");

async function post(server, topic, body, headers = {}) {
  const answer = await fetch(`${server.url}/${topic}`, { method: "POST", body, headers });
  equal(answer.status, 200, await answer.text());
}
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
async function eventually(isSo, why, seconds = 20) {
  const late = Date.now() + 1000 * seconds;
  while (!isSo() && Date.now() < late) await pause(20);
  ok(isSo(), why);
}
const topic = () => `t${randomBytes(6).toString("hex")}`;
const offsets = (got) => got.map(({ offset }) => offset);

/** The code of the error that a call ends with. */
async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return error.code;
  }
  return 0;
}

// These wait for the protocol's times, beside all others.
function raw(path = "") {
  const socket = new WebSocket(`${open.url.replace("http", "ws")}/connection/websocket${path}`);
  socket.closes = once(socket, "close");
  socket.on("error", () => {});
  return socket;
}
const patient = [raw(), raw()];
patient.forEach((socket) => socket.on("open", () => socket.on("message", (data) => (socket.last = data.toString()))));
patient[1].on("open", () => patient[1].send('{"id":1,"connect":{}}'));
const pinged = client(json, open);
let frames = 0;
pinged.on("connected", () => pinged._transport._transport.addEventListener("message", ({ data }) => (frames += data === "{}")));
await connected(pinged);
const connect = { method: "POST", body: '{"id":1,"connect":{}}', headers: { "Content-Type": "application/json" } };
const unanswered = fetch(`${open.url}/connection/http_stream`, connect).then((answer) => answer.text());
let returns = 0;
const streaming = streams.map((format) => client(format, open));
for (const one of streaming) {
  await connected(one);
  one.on("connecting", () => returns++);
}

for (const format of formats) {
  const named = (name, run) => check(`${format.name}: ${name}`, run);

  await named("what is posted comes, as JSON, text or bytes", async () => {
    const one = client(format, open);
    const name = topic();
    const sub = one.newSubscription(name);
    const { until } = gathered(sub, { text: (data) => Buffer.from(format.isText ? JSON.stringify(data) : data) });
    const told = await connected(one);
    ok(/^[0-9a-f-]{36}$/.test(told.client), told.client);
    await subscribed(sub);
    await post(open, name, '{"a":\n1}');
    await post(open, name, "Goal!");
    await post(open, name, Buffer.from([0, 255]), { "Content-Type": "application/octet-stream" });
    const got = (await until(3)).map(({ data }) => data.toString("latin1"));
    deepEqual(got, format.isText ? ['{"a":1}', '"Goal!"', '"AP8="'] : ['{"a":\n1}', "Goal!", "\0\xff"]);
    deepEqual(offsets(await until(3)), [1, 2, 3]);
  });

  await named("what a client publishes comes to all, by every door", async () => {
    const [one, other] = [client(format, open), client(json, open)];
    const name = topic();
    const plain = new WebSocket(`${open.url.replace("http", "ws")}/${name}`);
    const text = once(plain, "message");
    await once(plain, "open");
    const events = await fetch(`${open.url}/${name}`, { headers: { Accept: "text/event-stream" } });
    const reader = events.body.pipeThrough(new TextDecoderStream()).getReader();
    const subs = [one, other].map((it) => it.newSubscription(name));
    const [own, others] = [gathered(subs[0], format), gathered(subs[1], json)];
    await Promise.all([one, other].map(connected));
    await Promise.all(subs.map(subscribed));
    await subs[0].publish(format.data({ hello: "world" }));
    deepEqual((await own.until(1))[0].data, { hello: "world" });
    deepEqual((await others.until(1))[0].data, { hello: "world" });
    equal((await text)[0].toString(), '{"hello":"world"}');
    let stream = "";
    while (!stream.includes("hello")) stream += (await reader.read()).value;
    ok(stream.includes('data: {"hello":"world"}'), stream);
    await reader.cancel();
    plain.terminate();
  });

  await named("a cut client recovers what it missed, once and in order", async () => {
    const one = client(format, open);
    const name = topic();
    const sub = one.newSubscription(name);
    const { until } = gathered(sub, format);
    await connected(one);
    const fresh = await subscribed(sub);
    deepEqual([fresh.recoverable, fresh.positioned, fresh.wasRecovering], [true, true, false]);
    equal(fresh.streamPosition.offset, 0);
    await post(open, name, "0");
    await until(1);
    const again = next(sub, "subscribed");
    const lost = next(one, "connecting");
    one.cut();
    await lost;
    for (let nth = 1; nth < 20; nth++) await post(open, name, `${nth}`);
    const { wasRecovering, recovered, hasRecoveredPublications, streamPosition } = await again;
    deepEqual([wasRecovering, recovered, hasRecoveredPublications], [true, true, true]);
    await post(open, name, "20");
    const all = Array.from({ length: 21 }, (_, nth) => nth);
    deepEqual((await until(21)).map(({ data }) => data), all);
    equal(streamPosition.epoch, fresh.streamPosition.epoch);
    // And with nothing to recover.
    const third = next(sub, "subscribed");
    one.cut();
    const told = await third;
    deepEqual([told.wasRecovering, told.recovered, told.hasRecoveredPublications], [true, true, false]);
    equal((await until(21)).length, 21);
  });

  await named("what cannot be recovered is told, each time", async () => {
    const one = client(format, small);
    await connected(one);
    const name = topic();
    for (let nth = 0; nth < 8; nth++) await post(small, name, `${nth}`);
    const { epoch, offset } = await one.history(name, { limit: 0 });
    equal(offset, 8);
    const since = [
      [4, epoch, false], // no longer kept
      [9, epoch, false], // not yet published
      [8, "", false],
      [8, "0123456789abcdef", false],
      [8, "another", false],
      [5, epoch, true],
      [8, epoch, true],
    ];
    for (const [offset, epoch, recovered] of since) {
      const sub = one.newSubscription(name, { since: { offset, epoch } });
      const { until } = gathered(sub, format);
      const told = await subscribed(sub);
      deepEqual([told.wasRecovering, told.recovered], [true, recovered], `${offset} ${epoch}`);
      if (recovered) equal((await until(8 - offset)).length, 8 - offset);
      else equal(told.streamPosition.offset, 8);
      sub.unsubscribe();
      one.removeSubscription(sub);
    }
  });

  await named("one that unsubscribes and comes back has all, once", async () => {
    const one = client(format, open);
    const name = topic();
    const sub = one.newSubscription(name, { recoverable: true });
    const { until } = gathered(sub, format);
    await connected(one);
    await subscribed(sub);
    await post(open, name, "0");
    await until(1);
    sub.unsubscribe();
    await post(open, name, "1");
    const told = await subscribed(sub);
    equal(told.recovered, true);
    await post(open, name, "2");
    deepEqual((await until(3)).map(({ data }) => data), [0, 1, 2]);
  });

  await named("who is there, who comes and who goes", async () => {
    const [one, other] = [client(format, open), client(json, open)];
    const name = topic();
    const subs = [one, other].map((it) => it.newSubscription(name, { joinLeave: true }));
    const own = next(subs[0], "join");
    const first = await connected(one);
    await subscribed(subs[0]);
    equal((await own).info.client, first.client);
    const joins = next(subs[0], "join");
    const second = await connected(other);
    await subscribed(subs[1]);
    const { info } = await joins;
    deepEqual([info.client, info.user ?? ""], [second.client, ""]);
    const { clients } = await subs[0].presence();
    deepEqual(Object.keys(clients).sort(), [first.client, second.client].sort());
    deepEqual(await subs[0].presenceStats(), { numClients: 2, numUsers: 1 });
    const leaves = next(subs[0], "leave");
    other.cut();
    equal((await leaves).info.client, second.client);
  });

  await named("history, from both ends and page by page", async () => {
    const one = client(format, open);
    const name = topic();
    await connected(one);
    for (let nth = 0; nth < 10; nth++) await post(open, name, `${nth}`);
    const read = async (options) => {
      const { publications } = await one.history(name, options);
      return publications.map(({ data, offset }) => (equal(format.text(data) + 1, offset), offset));
    };
    const { epoch } = await one.history(name, { limit: 0 });
    deepEqual(await read({ limit: 0 }), []);
    deepEqual(await read({ limit: -1 }), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    deepEqual(await read({ limit: 3 }), [1, 2, 3]);
    deepEqual(await read({ limit: 3, since: { offset: 3, epoch } }), [4, 5, 6]);
    deepEqual(await read({ limit: 3, reverse: true }), [10, 9, 8]);
    deepEqual(await read({ limit: 3, reverse: true, since: { offset: 8, epoch } }), [7, 6, 5]);
    deepEqual(await read({ limit: 3, since: { offset: 10, epoch } }), []);
    equal(await refusal(one.history(name, { limit: 3, since: { offset: 3, epoch: "x" } })), 112);
  });

  await named("what is not there is refused, and the connection lives", async () => {
    const one = client(format, open);
    await connected(one);
    equal(await refusal(one.rpc("method", format.data(1))), 108);
    equal(await refusal(one.publish("$stats", format.data(1))), 103);
    const errors = [];
    for (const name of ["x".repeat(256), "a/../b", "a\nb"]) {
      const sub = one.newSubscription(name);
      const ended = next(sub, "unsubscribed");
      sub.subscribe();
      errors.push((await ended).code);
    }
    deepEqual(errors, [107, 107, 107]);
    const longest = one.newSubscription("x".repeat(245));
    await subscribed(longest);
    longest.unsubscribe();
    equal(one.state, "connected");
    const gone = next(one, "disconnected");
    one.send(format.data("nobody has it"));
    equal((await gone).code, 3508);
  });

  await named("a token says who it is and what it may", async () => {
    const claims = { sub: "ada", info: { desk: 12 }, subscribe: ["news", "$presence/news"], publish: ["news"] };
    const one = client(format, guarded, { token: token(claims) });
    await connected(one);
    const sub = one.newSubscription("news", { joinLeave: true });
    const join = next(sub, "join");
    await subscribed(sub);
    const { info } = await join;
    equal(info.user, "ada");
    deepEqual(format.text(info.connInfo), { desk: 12 });
    equal(Object.values((await sub.presence()).clients)[0].user, "ada");
    await sub.publish(format.data("mine"));
    equal(await refusal(one.publish("others", format.data(1))), 103);
    equal(await refusal(one.history("others")), 103);
    equal(await refusal(one.presence("others")), 103);
    const other = one.newSubscription("others");
    const ended = next(other, "unsubscribed");
    other.subscribe();
    equal((await ended).code, 103);
    const endOf = async (options) => {
      const one = client(format, guarded, options);
      const end = next(one, "disconnected");
      one.connect();
      return (await end).code;
    };
    equal(await endOf({ token: "no token" }), 3500);
    equal(await endOf({ token: `${token(claims)}x` }), 3500);
    equal(await endOf({ token: token({ sub: "ada", channel: "news" }) }), 3500);
    equal(await endOf({}), 3501);
  });

  await named("a token that ends is replaced, in band or when it has ended", async () => {
    let asked = 0;
    const fresh = (left) => token({ sub: "ada", exp: now() + left, subscribe: ["news"] });
    const getToken = async () => fresh(++asked === 1 ? 3 : 3600);
    const one = client(format, guarded, { token: fresh(-5), getToken });
    await connected(one);
    equal(asked, 1, "it had ended");
    await eventually(() => asked === 2, "it was about to end");
    const sub = one.newSubscription("news");
    await subscribed(sub);
    equal(one.state, "connected");
    const getNone = async () => {
      throw new format.UnauthorizedError("");
    };
    const refused = client(format, guarded, { getToken: getNone });
    const end = next(refused, "disconnected");
    refused.connect();
    equal((await end).reason, "unauthorized");
  });

  await named("a subscription may have a token of its own", async () => {
    const one = client(format, guarded, { token: token({ sub: "ada" }) });
    await connected(one);
    const channel = `private-${topic()}`;
    let asked = 0;
    const getToken = async () => token({ sub: "ada", channel, exp: now() + (++asked === 1 ? 2 : 3600) });
    const sub = one.newSubscription(channel, { getToken });
    await subscribed(sub);
    await eventually(() => asked >= 2, "it was refreshed");
    equal(sub.state, "subscribed");
    const foreign = one.newSubscription(topic(), { token: token({ sub: "ada", channel }) });
    const end = next(one, "disconnected");
    foreign.subscribe();
    equal((await end).code, 3500, "the token is for another channel");
  });

  await named("subscriptions of the server's, with a cut", async () => {
    const channel = topic();
    const one = client(format, guarded, { token: token({ sub: "ada", channels: [channel], publish: ["*"] }) });
    const told = next(one, "subscribed");
    const got = [];
    let wake;
    one.on("publication", ({ data }) => {
      got.push(format.text(data));
      wake?.();
    });
    const until = (count) =>
      bounded(
        new Promise((done) => {
          wake = () => got.length >= count && done();
          wake();
        }),
        `of ${count} came ${got.length}`,
      );
    await connected(one);
    deepEqual([(await told).channel, (await told).recoverable], [channel, true]);
    const call = async (method, body) => {
      const asked = { method: "POST", headers: { "X-API-Key": KEY }, body: JSON.stringify(body) };
      return await (await fetch(`${guarded.url}/api/${method}`, asked)).json();
    };
    const publish = (data) => call("publish", { channel, data });
    equal((await publish(0)).result.offset, 1);
    await until(1);
    const again = next(one, "subscribed");
    const lost = next(one, "connecting");
    one.cut();
    await lost;
    for (let nth = 1; nth < 5; nth++) await publish(nth);
    equal((await again).recovered, true);
    await publish(5);
    await until(6);
    deepEqual(got, [0, 1, 2, 3, 4, 5]);
    const ended = next(one, "unsubscribed");
    deepEqual(await call("unsubscribe", { user: "ada", channel }), { result: {} });
    equal((await ended).channel, channel);
    const back = next(one, "subscribed");
    deepEqual(await call("subscribe", { user: "ada", channel }), { result: {} });
    equal((await back).channel, channel);
    const gone = next(one, "disconnected");
    deepEqual(await call("disconnect", { user: "ada" }), { result: {} });
    equal((await gone).code, 3503);
  });
}

async function cutsUnderLoad() {
  const name = topic();
  const all = Array.from({ length: 50 }, (_, nth) => {
    const format = formats[nth % formats.length];
    const one = client(format, open);
    const sub = one.newSubscription(name);
    const state = { one, sub, got: [], lost: 0, recovered: 0 };
    sub.on("publication", ({ data, offset }) => state.got.push([format.text(data), offset]));
    sub.on("subscribed", ({ wasRecovering, recovered }) => {
      state.recovered += Number(wasRecovering && recovered);
      state.lost += Number(wasRecovering && !recovered);
    });
    return state;
  });
  await Promise.all(all.map(({ one, sub }) => connected(one).then(() => subscribed(sub))));
  const publisher = new WebSocket(`${open.url.replace("http", "ws")}/${name}`);
  // It hears itself, so that a machine that is too slow for so many gets fewer.
  let [sent, heard] = [0, 0];
  publisher.on("message", () => heard++);
  await once(publisher, "open");
  const began = Date.now();
  while (Date.now() - began < CUTS_MS) {
    const due = (Date.now() - began) * 2;
    while (sent < due && sent - heard < 500) publisher.send(`${sent++}`);
    const { one } = all[Math.floor(Math.random() * all.length)];
    if (Math.random() < 0.5) one.cut();
    await pause(5);
  }
  const isDone = ({ got, lost }) => lost > 0 || got.length >= sent;
  await eventually(() => all.every(isDone), "all came").catch(() => {});
  publisher.terminate();
  const isWrong = ([data, offset], nth) => data !== nth || offset !== nth + 1;
  const sum = (of) => all.reduce((sum, it) => sum + of(it), 0);
  const told = {
    gaps: sum(({ got }) => got.filter(isWrong).length),
    missing: sum(({ got }) => sent - got.length),
    lost: sum(({ lost }) => lost),
  };
  deepEqual(told, { gaps: 0, missing: 0, lost: 0 }, JSON.stringify(told));
  ok(sum(({ recovered }) => recovered) > 50, "so many were cut");
}
const cutsName = "50 clients that are cut at random under 2,000 publications a second: no gaps, no doubles";
await check(cutsName, cutsUnderLoad, CUTS_MS + WAIT_MS);

await check("one that says nothing is closed, one that answers no ping, and one that does stays", async () => {
  equal((await patient[0].closes)[0], 3502);
  await eventually(() => frames > 0, "there was no ping");
  equal((await patient[1].closes)[0], 3012);
  equal(patient[1].last, "{}");
  equal(pinged.state, "connected");
  const lines = (await bounded(unanswered, "the stream did not end")).trim().split("\n").slice(1);
  deepEqual(lines, ["{}", '{"push":{"disconnect":{"code":3012,"reason":"no pong"}}}']);
  equal(returns, 0, "those that answer stay");
});

await check("clients come back from a server that ends", async () => {
  const all = formats.map((format) => client(format, small));
  await Promise.all(all.map(connected));
  const codes = all.map((one) => next(one, "connecting"));
  small.child.kill("SIGTERM");
  deepEqual((await Promise.all(codes)).map(({ code }) => code), Array(all.length).fill(3001));
});

clients.forEach((it) => it.disconnect());
patient.forEach((it) => it.terminate());
[open, small, guarded].forEach(({ child }) => child.kill("SIGKILL"));
rmSync(folder, { recursive: true });
