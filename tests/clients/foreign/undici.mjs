// undici, which is also the WebSocket of Node itself, for foreign.py. Like a page's, it sends neither Pings nor fragments.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { WebSocket } from "undici";

const say = (...words) => process.stdout.write(`${words.join(" ")}\n`);
const bytes = (hex) => Buffer.from(hex, "hex");
const hex = (data) => Buffer.from(data).toString("hex");
let client;

const commands = {
  open(url, subprotocols) {
    const socket = new WebSocket(url, subprotocols?.split(",") ?? []);
    client = socket;
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      say("open", socket.protocol || "-", socket.extensions.replaceAll(" ", "") || "-");
    };
    socket.onmessage = ({ data }) => say(typeof data === "string" ? "text" : "binary", hex(data));
    socket.onclose = ({ code, reason }) => (opened ? say("closed", code, hex(reason)) : say("failed", code));
  },
  text: (payload) => client.send(bytes(payload).toString()),
  binary: (payload) => client.send(bytes(payload)),
  close: (code, reason) => client.close(Number(code), bytes(reason).toString()),
};

const { version } = JSON.parse(readFileSync(new URL("../../../node_modules/undici/package.json", import.meta.url)));
say("client", "undici", version, "deflate", "strict");
createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, ...words] = line.split(" ");
  commands[command](...words);
});
