// Pusher's own clients against the server to run: `pusher-js` and `laravel-echo` in front, the SDK `pusher` behind.
// Each feature that docs/PUSHER.md claims, before a cut of all connections and after it.
//
// Usage: node pusher.mjs SERVER    the server's program

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Echo from "laravel-echo";
import Backend from "pusher";
import Pusher from "pusher-js";
import WebSocket from "ws";
import { bounded, check, start } from "./harness.mjs";

const [program] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "pushloop-pusher-"));
const file = (name, content) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const secrets = ["the secret of the first", "the secret of the second"];
const publishKey = "a key to publish with";

// What is between the clients and the server, and cuts.

const sockets = new Set();
let port;
const proxy = createServer((client) => {
  const server = connect(port, "127.0.0.1");
  for (const [one, other] of [[client, server], [server, client]]) {
    sockets.add(one);
    one.on("error", () => {});
    one.on("close", () => {
      sockets.delete(one);
      other.destroy();
    });
    one.pipe(other);
  }
});
await once(proxy.listen(0, "127.0.0.1"), "listening");
const cut = () => sockets.forEach((socket) => socket.destroy());

// The backend's address for webhooks, and what they have told; it refuses the first once.

const told = [];
let refused;
const receiver = createHttpServer(async (request, response) => {
  let rawBody = "";
  request.setEncoding("utf8");
  for await (const piece of request) rawBody += piece;
  const webhook = backend().webhook({ headers: request.headers, rawBody });
  if (refused === undefined) {
    refused = rawBody;
    response.statusCode = 500;
  } else {
    const isRecent = webhook.isValid() && Math.abs(webhook.getTime() - Date.now()) < 60_000;
    told.push(...(isRecent ? webhook.getEvents() : [{ name: "invalid", rawBody }]));
  }
  response.end();
});
await once(receiver.listen(0, "127.0.0.1"), "listening");

async function serve(...more) {
  const apps = secrets.flatMap((secret, nth) => ["--pusher-app", `${nth + 1}:key-${nth + 1}:${file(`${nth}`, secret)}`]);
  const key = ["--publish-key-file", file("key", publishKey.replaceAll(" ", "-")), "--anyone-may-subscribe"];
  const drain = ["--presence-delay", "3", "--drain-spread", "1"];
  const hook = ["--pusher-webhook", `1:http://127.0.0.1:${receiver.address().port}/webhooks`];
  const { child, url } = await start(program, ["--listen", "127.0.0.1:0", ...apps, ...key, ...drain, ...hook, ...more], "http");
  port = new URL(url).port;
  return child;
}
let server = await serve();

/** The backend of an application. */
const backend = (nth = 1) =>
  new Backend({
    appId: `${nth}`,
    key: `key-${nth}`,
    secret: secrets[nth - 1],
    host: "127.0.0.1",
    port: proxy.address().port,
    useTLS: false,
    encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString("base64"),
  });

const open = [];

/** A client of the application, as this user. */
function client({ user = "ada", app = 1, ...more } = {}) {
  const signs = backend(app);
  const member = { user_id: user, user_info: { name: `the ${user}` } };
  const pusher = new Pusher(`key-${app}`, {
    cluster: "",
    wsHost: "127.0.0.1",
    wsPort: proxy.address().port,
    forceTLS: false,
    enabledTransports: ["ws"],
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) =>
        callback(null, signs.authorizeChannel(socketId, channelName, channelName.startsWith("presence-") ? member : undefined)),
    },
    userAuthentication: {
      customHandler: ({ socketId }, callback) => callback(null, signs.authenticateUser(socketId, { id: user })),
    },
    ...more,
  });
  open.push(pusher);
  return pusher;
}

/** What comes of an event, one after the other. */
function queue(source, event) {
  const came = [];
  const waiting = [];
  source.bind(event, (data, metadata) => {
    const it = { data, metadata };
    if (waiting.length) waiting.shift()(it);
    else came.push(it);
  });
  return {
    came,
    next: () => bounded(came.length ? Promise.resolve(came.shift()) : new Promise((resolve) => waiting.push(resolve)), event),
  };
}

/** A subscription that is there. */
async function subscribed(pusher, name) {
  const channel = pusher.subscribe(name);
  channel.there = queue(channel, "pusher:subscription_succeeded");
  await channel.there.next();
  return channel;
}

/** Everything as at first: `run` before a cut, and again once all of `channels` are back. */
async function twice(channels, run) {
  await run("before");
  const back = channels.map((channel) => channel.there.next());
  cut();
  await Promise.all(back);
  await run("after");
}

const post = (path, body, more) =>
  fetch(`http://127.0.0.1:${port}${path}`, {
    method: "POST",
    body,
    headers: { authorization: `Bearer ${publishKey.replaceAll(" ", "-")}` },
    ...more,
  });
const answer = async (response) => (await response).json();

await check("an event comes as the backend sent it", async () => {
  const channel = await subscribed(client(), "scores");
  const goals = queue(channel, "goal");
  await twice([channel], async (when) => {
    for (const data of [{ home: 1, when }, "Goal!", 7, [1, "two"], null, "", "{not json"]) {
      equal((await backend().trigger("scores", "goal", data)).status, 200);
      deepEqual((await goals.next()).data, data);
    }
  });
});

await check("an event goes to a hundred channels and to none more", async () => {
  const names = Array.from({ length: 100 }, (_, nth) => `many-${nth}`);
  const channel = await subscribed(client(), "many-99");
  const came = queue(channel, "event");
  const body = await (await backend().trigger(names, "event", "x")).json();
  deepEqual([body, (await came.next()).data], [{}, "x"]);
  const events = { path: "/events", body: { name: "event", data: "x", channels: [...names, "one-more"] } };
  await rejects(backend().post(events), (error) => error.status === 400 && error.body.includes("event_channels_max = 100"));
});

await check("a batch of events is published whole and in order", async () => {
  const channel = await subscribed(client(), "batches");
  const came = queue(channel, "event");
  await twice([channel], async () => {
    const batch = Array.from({ length: 10 }, (_, nth) => ({ channel: "batches", name: "event", data: { nth } }));
    deepEqual(await answer(backend().triggerBatch(batch)), {});
    for (let nth = 0; nth < 10; nth += 1) deepEqual((await came.next()).data, { nth });
  });
});

await check("what is posted to a topic is a message, and plain subscribers read events", async () => {
  const channel = await subscribed(client(), "scores");
  const messages = queue(channel, "message");
  await twice([channel], async () => {
    for (const [body, data] of [["Goal!", "Goal!"], ['{"home":1}', { home: 1 }], ["7", 7]]) {
      equal((await post("/scores", body)).status, 200);
      deepEqual((await messages.next()).data, data);
    }
    const events = queue(channel, "goal");
    await post("/scores", '{"event":"goal","data":{"home":2}}');
    deepEqual((await events.next()).data, { home: 2 });
    const plain = new WebSocket(`ws://127.0.0.1:${port}/scores`);
    await once(plain, "open");
    const stream = await fetch(`http://127.0.0.1:${port}/scores`, { headers: { accept: "text/event-stream" } });
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    const first = once(plain, "message");
    await backend().trigger("scores", "goal", { home: 3 });
    const [message] = await first;
    equal(message.toString(), '{"event":"goal","data":{"home":3}}');
    let read = "";
    while (!read.includes("home")) read += (await reader.read()).value;
    ok(read.includes('data: {"event":"goal","data":{"home":3}}\n'), read);
    plain.close();
    await reader.cancel();
  });
});

await check("a private channel is for those whose signature is good", async () => {
  const channel = await subscribed(client(), "private-a");
  const came = queue(channel, "event");
  await twice([channel], async () => {
    await backend().trigger("private-a", "event", { secret: true });
    deepEqual((await came.next()).data, { secret: true });
  });
  const customHandler = ({ socketId }, callback) => callback(null, backend().authorizeChannel(socketId, "private-b"));
  const forged = client({ channelAuthorization: { customHandler } }).subscribe("private-a");
  const error = await queue(forged, "pusher:subscription_error").next();
  deepEqual([error.data.type, error.data.status], ["AuthError", 401]);
});

await check("a presence channel tells who is there, who comes and who goes", async () => {
  const channel = await subscribed(client({ user: "ada" }), "presence-room");
  const [added, removed] = [queue(channel, "pusher:member_added"), queue(channel, "pusher:member_removed")];
  deepEqual([channel.members.count, channel.members.me.id], [1, "ada"]);
  const ben = client({ user: "ben" });
  const room = await subscribed(ben, "presence-room");
  deepEqual([room.members.count, room.members.get("ada").info], [2, { name: "the ada" }]);
  deepEqual((await added.next()).data, { id: "ben", info: { name: "the ben" } });
  // Further connections of a user are the same member, and so is one that comes back in time.
  const again = client({ user: "ben" });
  await subscribed(again, "presence-room");
  const back = [channel, room].map((it) => it.there.next());
  cut();
  await Promise.all(back);
  deepEqual([channel.members.count, added.came.length, removed.came.length], [2, 0, 0]);
  ben.disconnect();
  again.disconnect();
  equal((await removed.next()).data.id, "ben");
  equal(channel.members.count, 1);
  equal(added.came.length, 0);
});

await check("a cache channel has the latest event, or says that it has none", async () => {
  const first = client().subscribe("cache-a");
  await queue(first, "pusher:cache_miss").next();
  await backend().trigger("cache-a", "event", { nth: 1 });
  await backend().trigger("cache-a", "event", { nth: 2 });
  for (const name of ["cache-a", "private-cache-a", "presence-cache-a"]) {
    await backend().trigger(name, "event", { nth: 2 });
    const channel = client().subscribe(name);
    channel.there = queue(channel, "pusher:subscription_succeeded");
    const came = queue(channel, "event");
    await channel.there.next();
    await twice([channel], async () => deepEqual((await came.next()).data, { nth: 2 }));
    equal(came.came.length, 0);
  }
  const { cache } = await answer(backend().get({ path: "/channels/cache-a", params: { info: "cache" } }));
  equal(cache.data, '{"nth":2}');
});

await check("an encrypted channel is opened by its clients alone", async () => {
  const channel = await subscribed(client(), "private-encrypted-a");
  const came = queue(channel, "event");
  await twice([channel], async (when) => {
    await backend().trigger("private-encrypted-a", "event", { when });
    deepEqual((await came.next()).data, { when });
  });
});

await check("a client's events reach the others, with who it is", async () => {
  const [ada, ben] = [client({ user: "ada" }), client({ user: "ben" })];
  for (const name of ["private-chat", "presence-chat"]) {
    const [from, to] = [await subscribed(ada, name), await subscribed(ben, name)];
    const [own, others] = [queue(from, "client-types"), queue(to, "client-types")];
    await twice([from, to], async (when) => {
      ok(from.trigger("client-types", { when }));
      const { data, metadata } = await others.next();
      deepEqual([data, metadata.user_id], [{ when }, name.startsWith("presence-") ? "ada" : undefined]);
      // Had it come back, it would have come before this.
      const last = queue(from, "last");
      await backend().trigger(name, "last", {});
      await last.next();
      equal(own.came.length, 0);
    });
  }
});

await check("a client that sends too many events is told so and stays", async () => {
  const pusher = client();
  const channel = await subscribed(pusher, "private-fast");
  const errors = queue(pusher.connection, "error");
  for (let nth = 0; nth < 50; nth += 1) channel.trigger("client-x", { nth });
  equal((await errors.next()).data.data.code, 4301);
  equal(pusher.connection.state, "connected");
});

await check("a user gets what is sent to it on each connection, and can be thrown out", async () => {
  const clients = [client({ user: "cy" }), client({ user: "cy" }), client({ user: "dee" })];
  const signedIn = clients.map((pusher) => queue(pusher, "pusher:signin_success"));
  const user = clients.map((pusher) => queue(pusher.user, "note"));
  const signs = async () => {
    clients.forEach((pusher) => pusher.signin());
    await Promise.all(clients.map((pusher) => pusher.user.signinDonePromise));
    await Promise.all(clients.map((pusher) => until(() => pusher.user.serverToUserChannel?.subscribed)));
  };
  await signs();
  ok(signedIn);
  await backend().sendToUser("cy", "note", { n: 1 });
  deepEqual([(await user[0].next()).data, (await user[1].next()).data], [{ n: 1 }, { n: 1 }]);
  // It says `connected` until it is to connect again, which may take a moment only.
  const again = clients.map((pusher) => queue(pusher.connection, "connecting").next());
  cut();
  await Promise.all(again);
  await Promise.all(clients.map((pusher) => until(() => pusher.user.serverToUserChannel?.subscribed)));
  await backend().sendToUser("cy", "note", { n: 2 });
  deepEqual([(await user[0].next()).data, (await user[1].next()).data], [{ n: 2 }, { n: 2 }]);
  equal(user[2].came.length, 0);
  await backend().terminateUserConnections("cy");
  await until(() => clients.slice(0, 2).every((pusher) => pusher.connection.state === "disconnected"));
  equal(clients[2].connection.state, "connected");
});

await check("an event is not for the connection that is left out", async () => {
  const [ada, ben] = [client(), client()];
  const [left, got] = [await subscribed(ada, "others"), await subscribed(ben, "others")];
  const [none, some] = [queue(left, "event"), queue(got, "event")];
  await twice([left, got], async () => {
    await backend().trigger("others", "event", { nth: 1 }, { socket_id: ada.connection.socket_id });
    await backend().trigger("others", "event", { nth: 2 });
    deepEqual((await none.next()).data, { nth: 2 });
    deepEqual([(await some.next()).data.nth, (await some.next()).data.nth], [1, 2]);
  });
});

await check("the API tells of channels and of who is in them", async () => {
  const users = [client({ user: "ada" }), client({ user: "ben" })];
  for (const pusher of users) await subscribed(pusher, "presence-asked");
  await subscribed(users[0], "asked");
  const get = (path, params) => answer(backend().get({ path, params }));
  deepEqual(await get("/channels", { filter_by_prefix: "aske" }), { channels: { asked: {} } });
  deepEqual(await get("/channels", { filter_by_prefix: "presence-ask", info: "user_count" }), {
    channels: { "presence-asked": { user_count: 2 } },
  });
  deepEqual(await get("/channels/presence-asked", { info: "user_count,subscription_count" }), {
    occupied: true,
    user_count: 2,
    subscription_count: 2,
  });
  deepEqual(await get("/channels/nobody", {}), { occupied: false });
  deepEqual(await get("/channels/presence-asked/users", {}), { users: [{ id: "ada" }, { id: "ben" }] });
  const told = await answer(backend().trigger("presence-asked", "e", {}, { info: "user_count,subscription_count" }));
  deepEqual(told, { channels: { "presence-asked": { user_count: 2, subscription_count: 2 } } });
  for (const [path, params] of [["/channels", { info: "user_count" }], ["/channels/asked/users", {}], ["/channels/asked", { info: "user_count" }]]) {
    await rejects(backend().get({ path, params }), (error) => error.status === 400);
  }
});

await check("an application has channels of its own", async () => {
  const [one, two] = [await subscribed(client(), "shared"), await subscribed(client({ app: 2 }), "shared")];
  const [first, second] = [queue(one, "event"), queue(two, "event")];
  await backend(2).trigger("shared", "event", { app: 2 });
  await backend(1).trigger("shared", "event", { app: 1 });
  deepEqual([(await first.next()).data.app, (await second.next()).data.app], [1, 2]);
  const mixed = new Backend({ appId: "2", key: "key-1", secret: secrets[0], host: "127.0.0.1", port, useTLS: false });
  await rejects(mixed.trigger("shared", "event", {}), (error) => error.status === 401);
});

await check("webhooks are valid for the SDK, and tell of channels, members, events and misses", async () => {
  const room = "presence-cache-told";
  const of = (channel) => told.filter((event) => event.channel === channel);
  const ada = client({ user: "ada" });
  const channel = await subscribed(ada, room);
  const socket_id = ada.connection.socket_id;
  channel.trigger("client-moves", { to: "κόσμε" });
  await until(() => of(room).length === 4);
  deepEqual(of(room), [
    { name: "channel_occupied", channel: room },
    { name: "member_added", channel: room, user_id: "ada" },
    { name: "cache_miss", channel: room },
    { name: "client_event", channel: room, event: "client-moves", data: '{"to":"κόσμε"}', socket_id, user_id: "ada" },
  ]);
  // What comes back in time was not away.
  const back = channel.there.next();
  cut();
  await back;
  ada.disconnect();
  await until(() => of(room).length >= 6);
  deepEqual(of(room).slice(4).sort((one, other) => one.name.localeCompare(other.name)), [
    { name: "channel_vacated", channel: room },
    { name: "member_removed", channel: room, user_id: "ada" },
  ]);
  // Another application has channels of the same names, and no webhook.
  await subscribed(client({ app: 2 }), "untold");
  await subscribed(client(), "told");
  await until(() => of("told").length === 1);
  deepEqual([of("untold"), told.filter((event) => event.name === "invalid")], [[], []]);
  // What was refused has come again, as it was.
  deepEqual(JSON.parse(refused).events, told.slice(0, JSON.parse(refused).events.length));
});

await check("a client with a key that nobody has is told so and stays away", async () => {
  const stranger = new Pusher("nobody", {
    cluster: "", wsHost: "127.0.0.1", wsPort: port, forceTLS: false, enabledTransports: ["ws"],
  });
  open.push(stranger);
  const errors = queue(stranger.connection, "error");
  equal((await errors.next()).data.error.data.code, 4001);
  await until(() => ["disconnected", "failed"].includes(stranger.connection.state));
});

await check("Laravel Echo listens, joins and whispers", async () => {
  const [ada, ben] = ["ada", "ben"].map((user) => new Echo({ broadcaster: "pusher", client: client({ user }), key: "key-1" }));
  const heard = new Promise((resolve) => ada.channel("orders").listen(".shipped", resolve).subscribed(async () => {
    await backend().trigger("orders", "shipped", { order: 7 });
  }));
  deepEqual(await bounded(heard, "listen"), { order: 7 });
  const spaced = new Promise((resolve) => ada.private("orders").listen("OrderShipped", resolve).subscribed(async () => {
    await backend().trigger("private-orders", "App\\Events\\OrderShipped", { order: 8 });
  }));
  deepEqual(await bounded(spaced, "listen with a namespace"), { order: 8 });
  const here = (echo) => new Promise((resolve) => echo.join("echo").here(resolve));
  const whispered = new Promise((resolve) => ada.join("echo").listenForWhisper("typing", resolve));
  deepEqual(await bounded(here(ada), "here"), [{ name: "the ada" }]);
  const joined = new Promise((resolve) => ada.join("echo").joining(resolve));
  equal((await bounded(here(ben), "here")).length, 2);
  deepEqual(await bounded(joined, "joining"), { name: "the ben" });
  ben.join("echo").whisper("typing", { in: "echo" });
  deepEqual(await bounded(whispered, "whisper"), { in: "echo" });
  const left = new Promise((resolve) => ada.join("echo").leaving(resolve));
  ben.leave("echo");
  deepEqual(await bounded(left, "leaving"), { name: "the ben" });
});

await check("clients of a server that ends come back to the next one", async () => {
  const channels = [];
  for (let nth = 0; nth < 20; nth += 1) channels.push(await subscribed(client(), "drain"));
  const back = channels.map((channel) => channel.there.next());
  const ended = once(server, "exit");
  server.kill("SIGTERM");
  const [code] = await bounded(ended, "the server ended");
  equal(code, 0);
  server = await serve();
  await Promise.all(back);
  const came = channels.map((channel) => queue(channel, "event"));
  await backend().trigger("drain", "event", { here: true });
  for (const events of came) deepEqual((await events.next()).data, { here: true });
});

async function until(holds) {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
}

open.forEach((pusher) => pusher.disconnect());
server.kill();
rmSync(folder, { recursive: true });
process.exit();
