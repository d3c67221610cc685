// The clients of Pusher and of Centrifugo, as they are, at two servers that share a Redis: what is published at one comes at
// the other, and a client that loses its server goes on at the other one.
//
// Usage: node nodes.mjs SERVER    the server's program; redis-server is in the path

import { deepEqual, equal, ok } from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Backend from "pusher";
import Pusher from "pusher-js";
import { bounded, check, start } from "./harness.mjs";
import { client, clients, connected, formats, gathered, json, next, subscribed } from "./transports.mjs";

const [program] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "nodes-"));
const file = (name, text) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const SECRET = "the secret of the application";
const children = [];

/** A port that nobody has, and a Redis at it. */
const probe = createServer();
await once(probe.listen(0, "127.0.0.1"), "listening");
const { port: redisPort } = probe.address();
await once(probe.close(), "close");
function startRedis() {
  const child = spawn("redis-server", ["--port", `${redisPort}`, "--bind", "127.0.0.1", "--dir", folder, "--save", ""], { stdio: "ignore" });
  children.push(child);
  return child;
}
let redis = startRedis();

async function node(...more) {
  const common = ["--listen", "127.0.0.1:0", "--history", "10000", "--presence-delay", "1", "--redis", `redis://127.0.0.1:${redisPort}`];
  const it = await start(program, [...common, ...more], "http");
  children.push(it.child);
  it.port = new URL(it.url).port;
  await ready(it);
  return it;
}
async function ready(it) {
  const late = Date.now() + 20_000;
  while ((await fetch(`${it.url}/readyz`)).status !== 200) {
    ok(Date.now() < late, "it is not ready");
    await pause(50);
  }
}
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const topic = () => `t${randomBytes(6).toString("hex")}`;

/** What leads to the first of these servers that is there, as a balancer does. */
async function balancer(...nodes) {
  const server = createServer((client) => {
    const attempt = ([first, ...others]) => {
      if (!first) return client.destroy();
      const there = connect(first.port, "127.0.0.1");
      client.on("error", () => there.destroy());
      there.on("error", () => (there.readyState === "closed" && there.bytesRead === 0 ? attempt(others) : client.destroy()));
      there.on("connect", () => client.pipe(there).pipe(client));
      there.on("close", () => there.bytesRead && client.destroy());
    };
    attempt(nodes);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  children.push({ kill: () => server.close() });
  return { url: `http://127.0.0.1:${server.address().port}` };
}

const ofCentrifugo = ["--centrifuge", "--presence"];
// The first of both has several loops, which are nodes as well.
const open = [await node(...ofCentrifugo, "--loops", "2"), await node(...ofCentrifugo)];
const apps = ["--pusher-app", `1:key:${file("app", SECRET)}`];
const guarded = [await node(...apps, "--loops", "2"), await node(...apps)];

for (const format of formats) {
  await check(`${format.name}: publications of one server come at the other, in one order`, async () => {
    const both = open.map((it) => client(format, it));
    const name = topic();
    const subs = both.map((it) => it.newSubscription(name));
    const got = subs.map((sub) => gathered(sub, format));
    await Promise.all(both.map(connected));
    await Promise.all(subs.map(subscribed));
    await Promise.all(Array.from({ length: 40 }, (_, nth) => subs[nth % 2].publish(format.data(nth))));
    const [one, other] = await Promise.all(got.map(({ until }) => until(40)));
    deepEqual(one, other);
    deepEqual(one.map(({ offset }) => offset), Array.from({ length: 40 }, (_, nth) => nth + 1));
    const { publications } = await subs[0].history({ limit: 100 });
    equal(publications.length, 40);
  });
}

await check("clients of a server that is killed go on at the other one, and miss nothing", async () => {
  const first = await node(...ofCentrifugo);
  const way = await balancer(first, open[1]);
  const all = formats.map((format) => ({ format, one: client(format, way) }));
  const name = topic();
  for (const it of all) {
    const sub = it.one.newSubscription(name, { recoverable: true });
    it.sub = sub;
    it.got = gathered(sub, it.format);
    it.told = [];
    sub.on("subscribed", ({ wasRecovering, recovered }) => it.told.push([wasRecovering, recovered]));
    await connected(it.one);
    await subscribed(sub);
  }
  for (let nth = 0; nth < 100; nth++) {
    const answer = await fetch(`${open[0].url}/${name}`, { method: "POST", body: `${nth}` });
    equal(answer.status, 200);
    if (nth === 30) first.child.kill("SIGKILL");
    await pause(5);
  }
  for (const { format, got, told } of all) {
    const texts = (await got.until(100)).map(({ data }) => Number(data));
    deepEqual(texts, Array.from({ length: 100 }, (_, nth) => nth), format.name);
    deepEqual(told, [[false, false], [true, true]], format.name);
  }
});

for (const format of formats) {
  await check(`${format.name}: who is in a channel is the same at each server`, async () => {
    const [one, other] = open.map((it) => client(format, it));
    const name = topic();
    const [mine, its] = [one, other].map((it) => it.newSubscription(name, { joinLeave: true }));
    const [joins, leaves] = [[], []];
    mine.on("join", ({ info }) => joins.push(info.client));
    mine.on("leave", ({ info }) => leaves.push(info.client));
    const until = async (list, count) => {
      const late = Date.now() + 20_000;
      while (list.length < count) {
        ok(Date.now() < late, `${list.length} of ${count}`);
        await pause(10);
      }
    };
    await connected(one);
    await subscribed(mine);
    // It is subscribed before the broker has its coming: the other one's could overtake that.
    await until(joins, 1);
    await connected(other);
    await subscribed(its);
    await until(joins, 2);
    const ids = Object.keys((await its.presence()).clients).sort();
    deepEqual([...joins].sort(), ids);
    deepEqual(Object.keys((await mine.presence()).clients).sort(), ids);
    const { numClients, numUsers } = await mine.presenceStats();
    deepEqual([numClients, numUsers], [2, 1]);
    its.unsubscribe();
    await until(leaves, 1);
    deepEqual(leaves, joins.slice(1));
    equal((await mine.presenceStats()).numClients, 1);
  });
}

/** A client of Pusher's at a server. */
function pusher(it, user = "ada") {
  const made = new Pusher("key", {
    cluster: "",
    wsHost: "127.0.0.1",
    wsPort: it.port,
    forceTLS: false,
    enabledTransports: ["ws"],
    channelAuthorization: { customHandler: ({ socketId, channelName }, done) => done(null, backend(it).authorizeChannel(socketId, channelName, channelName.startsWith("presence-") ? { user_id: user, user_info: { of: user } } : undefined)) },
    userAuthentication: { customHandler: ({ socketId }, done) => done(null, backend(it).authenticateUser(socketId, { id: user })) },
  });
  clients.push(made);
  return made;
}
const encryptionMasterKeyBase64 = Buffer.alloc(32, 7).toString("base64");
const backend = ({ port }) =>
  new Backend({ appId: "1", key: "key", secret: SECRET, host: "127.0.0.1", port, useTLS: false, encryptionMasterKeyBase64 });
const heard = (source, event) => bounded(new Promise((done) => source.bind(event, done)), `no ${event}`);
async function joined(client, name) {
  const channel = client.subscribe(name);
  await heard(channel, "pusher:subscription_succeeded");
  return channel;
}

await check("Pusher: events of one server come at the other, but at their sender", async () => {
  const both = guarded.map((it) => pusher(it));
  for (const name of ["public", "private-p", "private-encrypted-e"]) {
    const [one, other] = await Promise.all(both.map((it) => joined(it, name)));
    const own = [];
    one.bind("news", (data) => own.push(data));
    const came = heard(other, "news");
    const socket_id = both[0].connection.socket_id;
    await backend(guarded[1]).trigger(name, "news", { name }, { socket_id });
    deepEqual(await came, { name });
    const all = [one, other].map((it) => heard(it, "last"));
    await backend(guarded[0]).trigger(name, "last", 1);
    await Promise.all(all);
    deepEqual(own, []);
  }
  const said = heard(both[1].channel("private-p"), "client-x");
  both[0].channel("private-p").trigger("client-x", { n: 1 });
  deepEqual(await said, { n: 1 });
  both[0].signin();
  await both[0].user.signinDonePromise;
  while (!both[0].user.serverToUserChannel?.subscribed) await pause(20);
  const own = heard(both[0].user, "for-ada");
  await backend(guarded[1]).sendToUser("ada", "for-ada", { n: 2 });
  deepEqual(await own, { n: 2 });
  await backend(guarded[0]).trigger("cache-c", "news", "latest");
  equal(await heard(both[1].subscribe("cache-c"), "news"), "latest");
});

await check("a backend asks one server, and clients of both are closed or unsubscribed", async () => {
  const both = guarded.map((it) => pusher(it, "eve"));
  for (const it of both) {
    it.signin();
    await it.user.signinDonePromise;
  }
  const ends = both.map((it) => heard(it.connection, "disconnected"));
  const answer = await backend(guarded[0]).terminateUserConnections("eve");
  equal(answer.status, 200);
  await Promise.all(ends);
  deepEqual(both.map((it) => it.connection.state), ["disconnected", "disconnected"]);
});

const ids = (members) => Object.keys(members.members).sort();
await check("Pusher: members are those of both servers, and of one that is killed each leaves once", async () => {
  const third = await node(...apps);
  const name = "presence-p";
  const one = await joined(pusher(guarded[0], "ada"), name);
  deepEqual([ids(one.members), one.members.me.info], [["ada"], { of: "ada" }]);
  const told = [];
  for (const what of ["added", "removed"]) one.bind(`pusher:member_${what}`, ({ id, info }) => told.push([what, id, info]));
  const users = Array.from({ length: 10 }, (_, nth) => `u${nth}`);
  const killed = users.map((user) => pusher(third, user));
  const channels = await Promise.all(killed.map((it) => joined(it, name)));
  const last = await joined(pusher(guarded[1], "ada"), name);
  deepEqual(ids(last.members), ["ada", ...users]);
  equal(last.members.count, 11);
  channels.forEach(({ members }, nth) => equal(members.me.id, users[nth]));
  await joined(pusher(guarded[1], "u0"), name);
  const answer = await backend(guarded[1]).get({ path: `/channels/${name}/users` });
  deepEqual((await answer.json()).users.map(({ id }) => id), ["ada", ...users]);
  third.child.kill("SIGKILL");
  const late = Date.now() + 28_000;
  while (told.length < 19 && Date.now() < late) await pause(50);
  await pause(500);
  deepEqual(told.filter(([what]) => what === "added").map(([, id]) => id).sort(), users);
  deepEqual(told.filter(([what]) => what === "removed").map(([, id]) => id).sort(), users.slice(1));
  deepEqual(ids(one.members), ["ada", "u0"]);
  deepEqual(ids(last.members), ["ada", "u0"]);
}, 60_000);

await check("while Redis stands still, a subscription is asked for again until it is there", async () => {
  const one = client(json, open[0]);
  const sub = one.newSubscription(topic(), { minResubscribeDelay: 50, maxResubscribeDelay: 500 });
  await connected(one);
  redis.kill("SIGSTOP");
  const failed = next(sub, "error");
  sub.subscribe();
  equal((await failed).error.code, 100);
  const there = next(sub, "subscribed");
  redis.kill("SIGCONT");
  await there;
});

await check("a Redis that has lost its data has clients come back, and told of it", async () => {
  const all = formats.map((format) => ({ format, one: client(format, open[0]) }));
  const name = topic();
  for (const it of all) {
    it.sub = it.one.newSubscription(name, { recoverable: true });
    await connected(it.one);
    await subscribed(it.sub);
  }
  const channel = await joined(pusher(guarded[0]), "back");
  const rooms = await Promise.all(guarded.map((it, nth) => joined(pusher(it, `user${nth}`), "presence-back")));
  const back = [...all.map(({ sub }) => next(sub, "subscribed")), heard(channel, "pusher:subscription_succeeded")];
  redis.kill("SIGKILL");
  await once(redis, "exit");
  redis = startRedis();
  for (const { wasRecovering, recovered } of (await Promise.all(back)).slice(0, -1)) deepEqual([wasRecovering, recovered], [true, false]);
  await Promise.all([...open, ...guarded].map(ready));
  const last = [...all.map(({ sub }) => next(sub, "publication")), heard(channel, "news")];
  equal((await fetch(`${open[1].url}/${name}`, { method: "POST", body: '"x"' })).status, 200);
  await backend(guarded[1]).trigger("back", "news", 1);
  await Promise.all(last);
  const late = Date.now() + 20_000;
  while (!rooms.every(({ members }) => ids(members).join() === "user0,user1")) {
    ok(Date.now() < late, "not all are members again");
    await pause(50);
  }
}, 60_000);

clients.forEach((it) => it.disconnect());
children.forEach((it) => it.kill("SIGKILL"));
rmSync(folder, { recursive: true });
// Clients may still be at their next try.
process.exit();
