// Runs in a page of the application (application.mjs): what the clients of others, in their files for browsers, have of
// the server. Each case resolves, or rejects with what is wrong.

const WAIT_MS = 20_000;
const settings = fetch("/settings").then((answer) => answer.json());

function bounded(promise, otherwise) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`${otherwise} within ${WAIT_MS} ms`)), WAIT_MS));
  return Promise.race([promise, late]);
}

function equal(actual, expected) {
  [actual, expected] = [actual, expected].map((it) => JSON.stringify(it));
  if (actual !== expected) throw new Error(`${actual} and not ${expected}`);
}

/** What a script of this address names so, whatever else has that name. */
const scripts = new Map();
function load(address, name) {
  if (!scripts.has(address)) {
    scripts.set(address, new Promise((resolve, reject) => {
      const script = Object.assign(document.createElement("script"), { src: address, onerror: reject });
      script.onload = () => resolve(globalThis[name]);
      document.head.append(script);
    }));
  }
  return scripts.get(address);
}

async function ask(path, body = "") {
  const answer = await fetch(path, { method: "POST", body });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return await answer.json();
}
const publish = (topic, text) => ask(`/publish?topic=${topic}`, text);
const trigger = (channel, event, data) => ask("/pusher/event", JSON.stringify({ channel, event, data }));
const cut = (how) => ask(`/cut?how=${how}`);
/** By FIN, by RST, and in the middle of a message, so many bytes from its beginning. */
const CUTS = ["destroy", "reset", 15];

/** What comes, one after the other. */
function fifo(what) {
  const came = [], waiting = [];
  const put = (it) => (waiting.length ? waiting.shift()(it) : came.push(it));
  const next = () => new Promise((resolve) => (came.length ? resolve(came.shift()) : waiting.push(resolve)));
  return { came, put, next: () => bounded(next(), `no ${what}`) };
}

/** The same of an event. */
function queue(source, event) {
  const it = fifo(event);
  (source.bind ?? source.on).call(source, event, it.put);
  return it;
}

/** How WebSockets of this page ended. */
const ends = fifo("end");
globalThis.WebSocket = class extends WebSocket {
  constructor(...parameters) {
    super(...parameters);
    this.addEventListener("close", ({ code, wasClean }) => ends.put([code, wasClean]));
  }
};

const open = [];

/** A client of Pusher as this user, with the options of docs/PUSHER.md. */
async function pusher(user = "ada", address = "/pusher.js") {
  const [Pusher, { host, key }] = [await load(address, "Pusher"), await settings];
  const [wsHost, wsPort] = host.split(":");
  const client = new Pusher(key, {
    wsHost, wsPort, forceTLS: false, cluster: "", enabledTransports: ["ws"],
    channelAuthorization: { endpoint: `/pusher/auth?user=${user}` },
    userAuthentication: { endpoint: `/pusher/user-auth?user=${user}` },
  });
  open.push(client);
  return client;
}

/** A subscription that is there. */
async function subscribed(client, name) {
  const channel = client.subscribe(name);
  channel.there = queue(channel, "pusher:subscription_succeeded");
  await channel.there.next();
  return channel;
}

async function echo(user) {
  const [{ default: Echo }, { host, key }] = [await load("/echo.js", "Echo"), await settings];
  const [wsHost, wsPort] = host.split(":");
  const made = new Echo({
    broadcaster: "reverb", key, wsHost, wsPort, forceTLS: false, enabledTransports: ["ws"],
    authEndpoint: `/broadcasting/auth?user=${user}`, Pusher: await load("/pusher.js", "Pusher"),
  });
  open.push(made);
  return made;
}

const encoder = new TextEncoder(), decoder = new TextDecoder();
const formats = {
  JSON: { address: "/centrifuge.js", transports: ["http_stream", "sse"], data: (value) => value, value: (data) => data },
  Protobuf: {
    address: "/centrifuge.protobuf.js",
    // Event streams are text.
    transports: ["http_stream"],
    data: (value) => encoder.encode(JSON.stringify(value)),
    value: (data) => JSON.parse(decoder.decode(data)),
  },
};

/** A client of Centrifugo, which has its token from the application. */
async function centrifuge(format, options = {}, transports = []) {
  const [Centrifuge, { host }] = [await load(format.address, "Centrifuge"), await settings];
  const getToken = async () => (await (await fetch("/token?user=ada")).json()).token;
  const address = `ws://${host}/connection/websocket`;
  const ways = transports.length ? [...transports, { transport: "websocket", endpoint: address }] : address;
  const client = new Centrifuge(ways, { minReconnectDelay: 20, maxReconnectDelay: 500, getToken, ...options });
  open.push(client);
  const told = queue(client, "connected");
  client.connect();
  return { client, told };
}

/** What a subscription gets: each publication's value, and its place. */
async function gathered(client, channel, format) {
  const sub = client.newSubscription(channel);
  const publications = queue(sub, "publication"), there = queue(sub, "subscribed");
  sub.subscribe();
  const first = await there.next();
  const next = async () => {
    const { data, offset } = await publications.next();
    return [format.value(data), offset];
  };
  return { sub, there, first, next, came: publications.came };
}

const ofPusher = {
  async "pusher-js-has-what-is-published"() {
    const channel = await subscribed(await pusher(), "scores");
    const [messages, goals] = [queue(channel, "message"), queue(channel, "goal")];
    for (const how of [...CUTS, ""]) {
      for (const [text, data] of [["Goal!", "Goal!"], ['{"home":1}', { home: 1 }], ["7", 7]]) {
        await publish("scores", text);
        equal(await messages.next(), data);
      }
      for (const data of [{ home: 2 }, "Goal!", [1, "two"], null]) {
        await trigger("scores", "goal", data);
        equal(await goals.next(), data);
      }
      if (!how) continue;
      const back = channel.there.next();
      await cut(how);
      // Of what is cut short the page sees nothing, and Pusher's clients do not ask for it again.
      if (how > 0) await publish("scores", "x".repeat(100));
      await back;
    }
    equal([messages.came, goals.came], [[], []]);
  },

  async "pusher-js-asks-its-backend-for-private-and-presence-channels"() {
    const [ada, ben] = [await pusher("ada"), await pusher("ben")];
    const refused = queue(ada.subscribe("private-forbidden"), "pusher:subscription_error");
    equal((await refused.next()).status, 403);
    const [from, to] = [await subscribed(ada, "private-chat"), await subscribed(ben, "private-chat")];
    const room = await subscribed(ada, "presence-room");
    const [added, removed] = [queue(room, "pusher:member_added"), queue(room, "pusher:member_removed")];
    const other = await subscribed(ben, "presence-room");
    equal(await added.next(), { id: "ben", info: { name: "the ben" } });
    equal([other.members.count, other.members.me.id, other.members.get("ada").info], [2, "ben", { name: "the ada" }]);
    const [own, types] = [queue(from, "client-types"), queue(to, "client-types")];
    for (const how of ["destroy", "reset", ""]) {
      from.trigger("client-types", { how });
      equal(await types.next(), { how });
      if (!how) continue;
      const back = [from, to, room, other].map(({ there }) => there.next());
      await cut(how);
      await Promise.all(back);
    }
    // Had its own events come back, they would have come before this.
    const last = queue(from, "last");
    await trigger("private-chat", "last", {});
    await last.next();
    equal(own.came, []);
    // On a slow machine, one that comes back may have been gone for too long.
    while (room.members.count !== 2) await added.next();
    ben.disconnect();
    while (room.members.count !== 1) await removed.next();
    equal(room.members.me.id, "ada");
  },

  async "pusher-js-opens-encrypted-channels"() {
    const channel = await subscribed(await pusher("ada", "/pusher-with-encryption.js"), "private-encrypted-a");
    const came = queue(channel, "event");
    for (const how of ["reset", ""]) {
      await trigger("private-encrypted-a", "event", { how });
      equal(await came.next(), { how });
      if (!how) continue;
      const back = channel.there.next();
      await cut(how);
      await back;
    }
  },

  async "pusher-js-signs-a-user-in"() {
    const client = await pusher("cy");
    const notes = queue(client.user, "note");
    client.signin();
    await bounded(client.user.signinDonePromise, "it is not signed in");
    const { serverToUserChannel } = client.user;
    if (!serverToUserChannel.subscribed) await queue(serverToUserChannel, "pusher:subscription_succeeded").next();
    await ask("/pusher/user-event", JSON.stringify({ user: "cy", event: "note", data: { n: 1 } }));
    equal(await notes.next(), { n: 1 });
  },

  async "laravel-echo-listens-joins-and-whispers"() {
    const [ada, ben] = [await echo("ada"), await echo("ben")];
    const calls = (listen) => {
      const it = fifo("call by Echo");
      listen(it.put);
      return it;
    };
    const there = calls((it) => ada.private("orders").subscribed(it));
    const shipped = calls((it) => ada.private("orders").listen("OrderShipped", it));
    const scored = calls((it) => ada.channel("goals").listen(".goal", it));
    await Promise.all([there.next(), calls((it) => ada.channel("goals").subscribed(it)).next()]);
    const here = calls((it) => ada.join("hall").here(it));
    const [joining, leaving] = ["joining", "leaving"].map((what) => calls((it) => ada.join("hall")[what](it)));
    const whispers = calls((it) => ada.join("hall").listenForWhisper("typing", it));
    equal(await here.next(), [{ name: "the ada" }]);
    const both = calls((it) => ben.join("hall").here(it));
    equal((await both.next()).length, 2);
    equal(await joining.next(), { name: "the ben" });
    for (const how of ["destroy", ""]) {
      await trigger("private-orders", "App\\Events\\OrderShipped", { order: 7 });
      equal(await shipped.next(), { order: 7 });
      await trigger("goals", "goal", { home: 1 });
      equal(await scored.next(), { home: 1 });
      ben.join("hall").whisper("typing", { how });
      equal(await whispers.next(), { how });
      if (!how) continue;
      const back = [there, here, both].map((it) => it.next());
      await cut(how);
      await Promise.all(back);
    }
    ben.leave("hall");
    equal(await leaving.next(), { name: "the ben" });
  },
};

/** With each of its two encodings. */
const ofCentrifuge = (format) => ({
  async "has-what-is-published-and-publishes"() {
    const { client, told } = await centrifuge(format);
    await told.next();
    const { sub, first, next } = await gathered(client, "news", format);
    equal([first.recoverable, first.positioned, first.wasRecovering], [true, true, false]);
    let { offset } = first.streamPosition;
    for (const value of [{ goal: 1 }, 7, [1, "two"], "Goal!", false]) {
      await publish("news", JSON.stringify(value));
      equal(await next(), [value, ++offset]);
      await sub.publish(format.data(value));
      equal(await next(), [value, ++offset]);
    }
    const { publications } = await sub.history({ limit: 2, reverse: true });
    equal(publications.map(({ data, offset }) => [format.value(data), offset]), [[false, offset], [false, offset - 1]]);
    equal(Object.values((await sub.presence()).clients).map(({ user }) => user), ["ada"]);
    const { numClients, numUsers } = await sub.presenceStats();
    equal([numClients, numUsers], [1, 1]);
  },

  async "misses-nothing-over-cuts"() {
    const { client, told } = await centrifuge(format);
    await told.next();
    const { there, first, next, came } = await gathered(client, "steps", format);
    let { offset } = first.streamPosition, published = 0;
    const answers = [];
    for (const how of [...CUTS, 1, "reset", "destroy", 29]) {
      const back = there.next();
      await publish("steps", `${published++}`);
      await cut(how);
      for (let nth = 0; nth < 3; nth += 1) await publish("steps", `${published++}`);
      answers.push(await back);
      await publish("steps", `${published++}`);
    }
    for (let nth = 0; nth < published; nth += 1) equal(await next(), [nth, ++offset]);
    equal(came, []);
    // One cut may have been two, if it came while the one before was mended.
    answers.push(...there.came);
    equal(answers.map(({ wasRecovering, recovered }) => wasRecovering && recovered), answers.map(() => true));
  },

  async "is-told-that-a-token-is-none"() {
    const { client } = await centrifuge(format, { token: "no token", getToken: null });
    equal((await queue(client, "disconnected").next()).code, 3500);
  },

  async "comes-over-each-transport"() {
    const { host } = await settings;
    for (const transport of format.transports) {
      const ways = [{ transport, endpoint: `http://${host}/connection/${transport}` }];
      const { client, told } = await centrifuge(format, { emulationEndpoint: `http://${host}/emulation` }, ways);
      equal((await told.next()).transport, transport);
      const { sub, there, first, next } = await gathered(client, "ways", format);
      let { offset } = first.streamPosition;
      await sub.publish(format.data("posted"));
      equal(await next(), ["posted", ++offset]);
      const back = there.next();
      await publish("ways", "1");
      await cut("reset");
      await publish("ways", "2");
      equal((await back).wasRecovering, true);
      for (const value of [1, 2]) equal(await next(), [value, ++offset]);
      client.disconnect();
    }
  },
});

const ofBoth = {
  async "all-come-back-to-the-next-server"() {
    const channel = await subscribed(await pusher(), "next");
    const messages = queue(channel, "message");
    const subs = [];
    for (const format of Object.values(formats)) {
      const { client, told } = await centrifuge(format);
      await told.next();
      subs.push(await gathered(client, "next", format));
    }
    await publish("next", "0");
    equal(await messages.next(), 0);
    for (const { next } of subs) equal(await next(), [0, 1]);
    const back = [channel.there.next(), ...subs.map(({ there }) => there.next())];
    equal(await ask("/restart"), { code: 0 });
    // It keeps its histories in memory, so that clients are told that they have missed something.
    const [, ...answers] = await Promise.all(back);
    equal(answers.map(({ wasRecovering, recovered }) => [wasRecovering, recovered]), [[true, false], [true, false]]);
    await publish("next", "1");
    equal(await messages.next(), 1);
    for (const { next } of subs) equal(await next(), [1, 1]);
  },

  async "each-ends-with-a-closing-handshake"() {
    const channel = await subscribed(await pusher(), "end");
    const disconnected = queue(channel.pusher.connection, "disconnected");
    const { client, told } = await centrifuge(formats.JSON);
    await told.next();
    const ended = queue(client, "disconnected");
    ends.came.splice(0);
    channel.pusher.disconnect();
    await disconnected.next();
    client.disconnect();
    equal((await ended.next()).code, 0);
    for (let nth = 0; nth < 2; nth += 1) equal((await ends.next())[1], true);
  },
};

/** What a page of an origin that is not listed gets of both: no connection. */
async function stranger() {
  const client = await pusher();
  equal(await ends.next(), [1006, false]);
  const { client: other } = await centrifuge(formats.JSON, { getToken: null });
  equal((await queue(other, "error").next()).error.code, 2);
  equal([client.connection.state, other.state], ["connecting", "connecting"]);
}

/** Each client of a case ends with it. */
const closing = (run) => async () => {
  try {
    await run();
  } finally {
    for (const client of open.splice(0)) client.disconnect();
  }
};
const named = Object.entries(formats).flatMap(([name, format]) =>
  Object.entries(ofCentrifuge(format)).map(([what, run]) => [`centrifuge-${name}-${what}`, run]));
globalThis.cases = Object.fromEntries(
  [...Object.entries(ofPusher), ...named, ...Object.entries(ofBoth)].map(([name, run]) => [name, closing(run)]));
globalThis.stranger = closing(stranger);
