// Clients of `centrifuge` from npm, by their transport and encoding, each with its way to be cut.

import { EventSource } from "eventsource";
import WebSocket from "ws";
import { Centrifuge, UnauthorizedError } from "centrifuge";
import * as protobufs from "centrifuge/build/protobuf";
import { bounded } from "./harness.mjs";

/** The sockets of a client, the newest last, so that they can be cut. */
function sockets() {
  const all = [];
  class Socket extends WebSocket {
    constructor(...what) {
      super(...what);
      all.push(this);
    }
  }
  return { all, Socket };
}

/** What goes over HTTP, and can be cut. */
function requests() {
  let cutter = new AbortController();
  const cuttable = (url, options) =>
    fetch(url, { ...options, signal: AbortSignal.any([options.signal, cutter.signal].filter(Boolean)) });
  class Source extends EventSource {
    constructor(url, options) {
      super(url, { ...options, fetch: cuttable });
    }
  }
  const cut = () => {
    cutter.abort(new Error("it was cut"));
    cutter = new AbortController();
  };
  return { cut, options: { fetch: cuttable, eventsource: Source, readableStream: ReadableStream } };
}

export const clients = [];
export function client(format, server, options = {}) {
  const quick = { minReconnectDelay: 20, maxReconnectDelay: 200, timeout: 20_000 };
  let made;
  if (format.transport === "websocket") {
    const { all, Socket } = sockets();
    const url = `${server.url.replace("http", "ws")}/connection/websocket`;
    made = new format.Client(url, { websocket: Socket, ...quick, ...options });
    made.cut = () => all.at(-1)?.terminate();
  } else {
    const { cut, options: over } = requests();
    const transports = [{ transport: format.transport, endpoint: `${server.url}/connection/${format.transport}` }];
    const emulationEndpoint = `${server.url}/emulation`;
    made = new format.Client(transports, { emulationEndpoint, ...over, ...quick, ...options });
    made.cut = cut;
  }
  clients.push(made);
  return made;
}

export const json = { name: "JSON", transport: "websocket", isText: true, Client: Centrifuge, UnauthorizedError, data: (value) => value, text: (data) => data };
const encoder = new TextEncoder();
export const protobuf = {
  name: "Protobuf",
  transport: "websocket",
  Client: protobufs.Centrifuge,
  UnauthorizedError: protobufs.UnauthorizedError,
  data: (value) => encoder.encode(JSON.stringify(value)),
  text: (data) => JSON.parse(Buffer.from(data).toString()),
};
export const streams = [
  { ...json, name: "event stream", transport: "sse" },
  { ...json, name: "HTTP streaming, JSON", transport: "http_stream" },
  { ...protobuf, name: "HTTP streaming, Protobuf", transport: "http_stream" },
];
export const formats = [json, protobuf, ...streams];

/** What an emitter tells next under a name. */
export const next = (emitter, name) => bounded(new Promise((done) => emitter.once(name, done)), `no ${name}`);
export async function connected(client) {
  const told = next(client, "connected");
  client.connect();
  return await told;
}
export async function subscribed(sub) {
  const told = next(sub, "subscribed");
  sub.subscribe();
  return await told;
}
/** What a subscription gets, and a wait until it is so many. */
export function gathered(sub, format) {
  const got = [];
  let wake = () => {};
  sub.on("publication", ({ data, offset }) => {
    got.push({ data: format.text(data), offset });
    wake();
  });
  const until = (count) =>
    bounded(
      new Promise((done) => {
        wake = () => got.length >= count && done(got);
        wake();
      }),
      `of ${count} publications ${got.length} came`,
    );
  return { got, until };
}
