// Runs in a page of the peer (tests/clients/peer.rs): what a page sees of its WebSockets. Each
// case resolves, or rejects with what is wrong.

const MIB = 1 << 20;
const peer = `ws://${location.host}/`;

function assert(condition, why) {
  if (!condition) throw new Error(why);
}

function equal(actual, expected) {
  assert(actual === expected, `${actual} and not ${expected}`);
}

/** The next such event; rejects if the end comes before. */
function next(socket, name) {
  return new Promise((resolve, reject) => {
    socket.onclose = ({ code, reason }) => reject(new Error(`closed with ${code} ${reason}`));
    socket[`on${name}`] = resolve;
  });
}

async function open(protocols = []) {
  const socket = new WebSocket(peer, protocols);
  socket.binaryType = "arraybuffer";
  await next(socket, "open");
  // Chromium shows the parameters, too.
  equal(socket.extensions.split(";")[0], "permessage-deflate");
  return socket;
}

/** Closes in an orderly way, so that the peer has one client at a time. */
async function finish(socket) {
  const end = next(socket, "close");
  socket.close();
  return await end;
}

async function ask(socket, message) {
  const answer = next(socket, "message");
  socket.send(message);
  return (await answer).data;
}

/** What it costs to send a message and to get it back, in bytes on the wire. */
async function costs(socket, message) {
  const before = (await ask(socket, "traffic")).split(" ");
  await echoes(socket, message);
  const after = (await ask(socket, "traffic")).split(" ");
  return after.map((bytes, way) => bytes - before[way]);
}

/** What the peer says to a text of a connection of its own. */
async function once(text) {
  const socket = await open();
  const answer = await ask(socket, text);
  await finish(socket);
  return answer;
}

function same(one, other) {
  if (typeof one === "string" || typeof other === "string") return one === other;
  const [a, b] = [one, other].map((it) => new Uint8Array(it));
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

async function echoes(socket, message) {
  assert(same(await ask(socket, message), message), `${message.length ?? message.byteLength} came back changed`);
}

const echo = (...messages) => async () => {
  const socket = await open();
  for (const message of messages) await echoes(socket, message);
  await finish(socket);
};

/** Bytes that nothing compresses. */
function noise(bytes) {
  const all = new Uint8Array(bytes);
  // Whoever asks for more than 64 KiB of randomness at once gets none.
  for (let at = 0; at < bytes; at += 65_536) crypto.getRandomValues(all.subarray(at, at + 65_536));
  return all.buffer;
}

/** Text gets shorter on the wire, noise does not, so that it is its length that the frame has to say. */
const length = (bytes) => echo("x".repeat(bytes), noise(bytes));

/** Each answer lets the next message out, while the answers to `window - 1` others are under way. */
const pipelined = (makeMessages, window) => async () => {
  const messages = makeMessages();
  const socket = await open();
  const complete = new Promise((resolve, reject) => {
    let answers = 0;
    socket.onmessage = ({ data }) => {
      if (!same(data, messages[answers++])) reject(new Error(`answer ${answers} is another`));
      else if (answers === messages.length) resolve();
      else if (answers + window <= messages.length) socket.send(messages[answers + window - 1]);
    };
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
  });
  for (const message of messages.slice(0, window)) socket.send(message);
  await complete;
  await finish(socket);
};

const closeByClient = (code, reason) => async () => {
  const socket = await open();
  const end = next(socket, "close");
  if (code) socket.close(code, reason);
  else socket.close();
  const { code: answered, reason: echoed, wasClean } = await end;
  equal(`${answered} ${echoed}`, `${code ?? 1005} ${reason ?? ""}`);
  assert(wasClean, "the end is not clean");
  equal(await once("last close"), `${code ?? 1005} ${reason ?? ""}`);
};

/** Both events of a connection that fails, in their order (WHATWG WebSockets, "fail the connection"). */
async function fails(socket) {
  const events = [];
  await new Promise((resolve) => {
    socket.onopen = () => { events.push("open"); socket.close(); };
    socket.onerror = () => events.push("error");
    socket.onclose = ({ code, wasClean }) => resolve(events.push(`close ${code} ${wasClean}`));
  });
  equal(events.join(), "error,close 1006 false");
}

const cases = {
  text: echo("κόσμε 🦀"),
  binary: echo(Uint8Array.from({ length: 256 }, (_, byte) => byte).buffer),
  async blob() {
    const socket = await open();
    socket.binaryType = "blob";
    const answer = await ask(socket, new Blob(["blo", "b"]));
    assert(answer instanceof Blob, `${answer} is no Blob`);
    equal(await answer.text(), "blob");
    await finish(socket);
  },
  ...Object.fromEntries([0, 125, 126, 65_535, 65_536, MIB].map((bytes) => [`length-${bytes}`, length(bytes)])),
  async "too-long"() {
    const socket = await open();
    const end = next(socket, "close");
    socket.send(new Blob([noise(MIB), "!"]));
    equal((await end).code, 1009);
  },
  async "server-pings"() { equal(await once("pings"), "pings"); },
  pipelined: pipelined(() => Array.from({ length: 200 }, (_, number) => `message ${number}`), 200),
  duplex: pipelined(() => Array.from({ length: 16 }, () => noise(MIB)), 4),
  async "buffered-amount"() {
    const socket = await open();
    const answer = next(socket, "message");
    const mib = noise(MIB);
    equal(socket.bufferedAmount, 0);
    socket.send(mib);
    equal(socket.bufferedAmount, MIB);
    socket.send("κόσμε");
    equal(socket.bufferedAmount, MIB + 10);
    await answer;
    // The last answer may be there before the page hears that all is sent; whoever runs this gives up.
    while (socket.bufferedAmount > 0) await new Promise((resolve) => setTimeout(resolve));
    await finish(socket);
  },
  "close-by-client-1000": closeByClient(1000, "done"),
  "close-by-client-4001": closeByClient(4001, "κόσμε"),
  "close-without-code": closeByClient(),
  async "close-by-server"() {
    const socket = await open();
    const end = next(socket, "close");
    socket.send("close 4001 bye");
    const { code, reason, wasClean } = await end;
    equal(`${code} ${reason} ${wasClean}`, "4001 bye true");
    equal(await once("last close"), "4001 ");
  },
  async "subprotocol-none"() {
    const socket = await open();
    equal(socket.protocol, "");
    await finish(socket);
  },
  async "subprotocol-chosen"() {
    const socket = await open(["chat.v1", "chat.v2"]);
    equal(socket.protocol, "chat.v2");
    await finish(socket);
  },
  async "subprotocol-refused"() {
    if (!navigator.userAgent.includes("Firefox")) return fails(new WebSocket(peer, ["chat.v1"]));
    // Firefox does not fail the connection, as it should, but goes on with none.
    const socket = await open(["chat.v1"]);
    equal(socket.protocol, "");
    await finish(socket);
  },
  async traffic() {
    const socket = await open();
    for (const bytes of await costs(socket, "0123456789abcdef".repeat(MIB / 16))) {
      assert(bytes < MIB / 10, `${bytes} bytes for a message of ${MIB}`);
    }
    await finish(socket);
  },
  // Random digits, base 16, shrink to half; only a reference to the first time makes less of them.
  async takeover(mode) {
    const socket = await open();
    const random = crypto.getRandomValues(new Uint8Array(2048));
    const digits = random.reduce((text, byte) => text + (byte % 16).toString(16), "");
    await echoes(socket, digits);
    // The browser's messages refer back in any case, and the server's if it is told to.
    for (const [way, bytes] of (await costs(socket, digits)).entries()) {
      assert(bytes < 512 === (way === 0 || mode === "takeover"), `${bytes} bytes for a message of ${digits.length}`);
    }
    await finish(socket);
  },
};
